# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The flat index: document vectors on disk, written block by block, opened without a copy.

Knows nothing of the model that made the vectors beyond what its manifest records. numpy only.
"""

from hypensearch.flat.document import IndexedDocument
from hypensearch.flat.index import FlatIndex
from hypensearch.flat.manifest import Manifest, ShardRecord
from hypensearch.flat.shard import FlatShard
from hypensearch.flat.writer import BadRow, FlatIndexWriter, check_may_write

__all__ = [
    "BadRow",
    "FlatIndex",
    "FlatIndexWriter",
    "FlatShard",
    "IndexedDocument",
    "Manifest",
    "ShardRecord",
    "check_may_write",
]


def __dir__() -> list[str]:
    return __all__
