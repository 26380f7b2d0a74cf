# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The documents of a run (BM25's, say), for a search to start from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hypensearch.errors import HypensearchError
from hypensearch.flat.index import FlatIndex
from hypensearch.formats.files import PathLike
from hypensearch.formats.ids import IdLookup
from hypensearch.formats.run import read_run


class Seeds:
    """Documents by topic.

    :param run: A run in TREC's or MS MARCO's form.
    :param index: The index that is searched.
    :raises HypensearchError: When the run cannot be read.
    """

    def __init__(self, run: PathLike, index: FlatIndex) -> None:
        self._index = index
        self._docids = {topic: [hit.docid for hit in hits] for topic, hits in read_run(run).items()}
        self._ids = IdLookup(self._docids)

    def rows(self, topic_ids: Sequence[str]) -> list[np.ndarray]:
        """Return the rows of each topic's documents, best first, each once; none for a topic that the run does not
        have.

        :raises HypensearchError: When the index does not hold a document.
        """
        return [self._rows_of(topic) for topic in topic_ids]

    def _rows_of(self, topic: str) -> np.ndarray:
        docids = list(dict.fromkeys(self._docids.get(self._ids.find(topic) or "", ())))
        rows = self._index.rows_of(docids)
        for place in np.flatnonzero(rows < 0)[:1]:
            raise HypensearchError(
                f"seed {docids[place]!r} of topic {topic!r} is not in {self._index.folder}; was it found in another "
                "corpus?"
            )
        return rows
