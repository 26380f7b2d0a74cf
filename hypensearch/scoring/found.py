# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""What every search has in common: its options, how it is called, and what it returns.

A search is a folder: options that open it (:class:`SearchOptions`), and a class with one method (:class:`Search`). A
new one is named in :data:`hypensearch.search.registry.SEARCHES`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from hypensearch.hits import Hit
from hypensearch.options import Options

if TYPE_CHECKING:
    import torch

    from hypensearch.flat.index import FlatIndex
    from hypensearch.models.q_net import QNets


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What a search found for one query.

    :param rows: Documents, best first: higher scores first, equal ones by docid. int64, *Shape:* ``(at most k,)``.
    :param scores: Their scores under the q-net, float32, *Shape:* ``(at most k,)``; those that are not finite come
        first.
    :param scored: Documents scored.
    :param rounds: Passes over the documents, iterations of graph search, or rounds of surrogate search.
    :param recall: The search's own estimate of its recall; None where it makes none.
    :param searcher: The search that "auto" chose; empty for the others.
    """

    rows: np.ndarray
    scores: np.ndarray
    scored: int
    rounds: int = 1
    recall: float | None = None
    searcher: str = ""

    def hits(self, docid_of: Callable[[int], str]) -> list[Hit]:
        """Return the documents as hits.

        :param docid_of: Gives the docid of a row.
        """
        pairs = zip(self.rows.tolist(), self.scores.tolist(), strict=True)
        return [Hit(docid_of(row), score) for row, score in pairs]


def in_rank_order(scores: np.ndarray, docid_order: np.ndarray) -> np.ndarray:
    """Return positions in the order of hits: higher scores first, equal ones by docid; not finite ones before all.

    :param scores: *Shape:* ``(n,)``.
    :param docid_order: Numbers that are ordered as the docids are, *Shape:* ``(n,)``.
    """
    return np.lexsort((docid_order, -scores, np.isfinite(scores)))


class Search(Protocol):
    """Finds documents of one index for q-nets."""

    def search(self, q_nets: QNets, k: int, starts: Sequence[np.ndarray] | None = None) -> list[Found]:
        """Find the best documents of each query.

        :param q_nets: The queries' q-nets, for vectors of the index's size.
        :param k: Documents wanted of each query; fewer are found where the index has fewer.
        :param starts: Rows of each query to start from, best first; a search without a starting point ignores them.
        """
        ...


class SearchOptions(Options):
    """Base class of the options of a search."""

    def open(self, index: FlatIndex, device: torch.device, *, check: bool = True) -> Search:
        """Open the search.

        :param index: The document vectors, and what was built beside them.
        :param device: Where to compute.
        :param check: Whether to compare what was built with its checksums, once after it was written or copied.
        :raises HypensearchError: When the index lacks what the search needs; says how to build it.
        """
        raise NotImplementedError
