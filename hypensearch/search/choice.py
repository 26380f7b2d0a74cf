# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Which search ``--searcher auto`` takes: the one that is faster by a small model of their times.

The times are of one query on one thread of a CPU, as ``python -m integrations.speed.choice`` measured and fitted them.
Only their ratio matters. The model depends on the index, the q-nets and k, never on a clock, the load, the number of
threads or the batch (which speeds up both searches alike): the same query is always searched in the same way.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from hypensearch.scoring.found import Found, Search

if TYPE_CHECKING:
    import numpy as np

    from hypensearch.models.q_net import QNets

#: Fitted to :func:`exhaustive_terms` and :func:`surrogate_terms`.
MILLISECONDS = {"exhaustive": (2.18, 24.1, 0.0058), "surrogate": (0.00105, 0.0424, 24.1)}

# What a surrogate search scores, without gradients and with them: a constant, and a multiple of k. Without gradients
# measured by the same command, with them on cold-started models (docs/approximate_search.md).
_SCORED = {False: (110.0, 1.45), True: (320.0, 2.5)}
_SHORTLIST, _LEAST_HITS = 8, 128  # as hypensearch.surrogate.search chooses its shortlist


class FasterSearch:
    """Takes the faster of exhaustive and surrogate search for each batch.

    :param exhaustive: The one.
    :param surrogate: The other.
    """

    def __init__(self, exhaustive: Search, surrogate: Any) -> None:
        self._searches: dict[str, Search] = {"exhaustive": exhaustive, "surrogate": surrogate}
        self._num_docs, self._has_gradients = surrogate.index.num_docs, surrogate.has_gradients

    def search(self, q_nets: QNets, k: int, starts: Sequence[np.ndarray] | None = None) -> list[Found]:
        """Find the best documents of each query by the search that is faster for these q-nets and k."""
        name = faster_search(self._num_docs, k, q_nets.config.dims, self._has_gradients)
        found = self._searches[name].search(q_nets, k, starts)
        return [dataclasses.replace(of_query, searcher=name) for of_query in found]


def faster_search(
    num_docs: int, k: int, dims: Sequence[int], has_gradients: bool
) -> Literal["exhaustive", "surrogate"]:
    """Return the search that is faster, exactness aside.

    :param num_docs: Documents in the index.
    :param k: Hits wanted.
    :param dims: Widths of the q-nets, from the document vector to the score.
    :param has_gradients: Whether the index's codes are for gradients.
    """
    if _scored(num_docs, k, has_gradients) >= num_docs:
        return "exhaustive"
    exhaustive = _time("exhaustive", exhaustive_terms(num_docs, k, dims, has_gradients))
    surrogate = _time("surrogate", surrogate_terms(num_docs, k, dims, has_gradients))
    return "exhaustive" if exhaustive <= surrogate else "surrogate"


def exhaustive_terms(num_docs: int, k: int, dims: Sequence[int], has_gradients: bool) -> tuple[float, ...]:
    """Return the terms of the time of an exhaustive search: a constant, arithmetic (10^9 operations), hits."""
    return 1.0, num_docs * _operations(dims) / 1e9, float(min(k, num_docs))


def surrogate_terms(num_docs: int, k: int, dims: Sequence[int], has_gradients: bool) -> tuple[float, ...]:
    """Return the terms of the time of a surrogate search.

    Documents on the shortlist, documents scored, arithmetic (10^9 operations), the last at the rate of exhaustive
    search. The scan of codes is negligible beside these.
    """
    scored = _scored(num_docs, k, has_gradients)
    shortlist = min(_SHORTLIST * max(k, _LEAST_HITS), num_docs)
    return float(shortlist), scored, scored * _operations(dims) / 1e9


def _scored(num_docs: int, k: int, has_gradients: bool) -> float:
    least, each = _SCORED[has_gradients]
    return min(least + each * min(k, num_docs), num_docs)


def _operations(dims: Sequence[int]) -> float:
    """Return the operations that a q-net scores a document with."""
    return 2.0 * sum(wide * out for wide, out in zip(dims, dims[1:], strict=False))


def _time(way: str, terms: Sequence[float]) -> float:
    return sum(each * term for each, term in zip(MILLISECONDS[way], terms, strict=True))
