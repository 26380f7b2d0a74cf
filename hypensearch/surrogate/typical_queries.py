# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Queries that an index might be asked, where nobody gives any: the first words of some of its documents."""

from __future__ import annotations

import numpy as np

from hypensearch.errors import HypensearchError
from hypensearch.flat.index import FlatIndex

_QUERY_WORDS = 10


def typical_queries(index: FlatIndex, count: int, *, seed: int = 0) -> list[str]:
    """Take the first words of some documents as queries; a gzipped corpus is read through once for them.

    :param index: Knows where its documents are.
    :param count: Queries; fewer where there are fewer documents.
    :param seed: Chooses the documents.
    :raises HypensearchError: When the documents' text cannot be had, or they have none.
    """
    rows = np.random.default_rng(seed).permutation(index.num_docs)[:count]
    try:
        documents = index.documents(np.sort(rows))
    except HypensearchError as error:
        raise HypensearchError(f"{error}; or give typical queries with --topics") from None
    texts = [" ".join(document.contents().split()[:_QUERY_WORDS]) for document in documents]
    if not any(texts):
        raise HypensearchError(f"{index.folder}: its documents have no contents to take queries from")
    return texts
