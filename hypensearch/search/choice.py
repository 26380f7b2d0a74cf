# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Which search ``--searcher auto`` takes: the one that a small model of their times says is faster.

The times are of one query on one thread of a CPU, as ``python -m integrations.speed.choice`` measured and fitted them.
Only their ratio matters. The model looks at the index, the q-nets and k, never at a clock, the load, the number of
threads or the batch (which speeds up both ways alike): the same query is searched in the same way wherever it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

#: Fitted to :func:`exhaustive_terms` and :func:`surrogate_terms`.
MILLISECONDS = {"exhaustive": (2.18, 24.1, 0.0058), "surrogate": (0.00105, 0.0424, 24.1)}

# What a surrogate search scores, without gradients and with them: so many documents, and so many times k. The former is
# measured by the same command, the latter by that of cold-started models in docs/approximate_search.md.
_SCORED = {False: (110.0, 1.45), True: (320.0, 2.5)}
_SHORTLIST, _LEAST_HITS = 8, 128  # as hypensearch.surrogate.search chooses its shortlist


def faster_search(
    num_docs: int, k: int, dims: Sequence[int], has_gradients: bool
) -> Literal["exhaustive", "surrogate"]:
    """Return the search that is faster, exactness aside.

    :param num_docs: Documents in the index.
    :param k: Hits wanted.
    :param dims: Widths of the q-nets, from the document vector to the score.
    :param has_gradients: Whether the index's codes are for following gradients.
    """
    if _scored(num_docs, k, has_gradients) >= num_docs:
        return "exhaustive"
    exhaustive = _time("exhaustive", exhaustive_terms(num_docs, k, dims, has_gradients))
    surrogate = _time("surrogate", surrogate_terms(num_docs, k, dims, has_gradients))
    return "exhaustive" if exhaustive <= surrogate else "surrogate"


def exhaustive_terms(num_docs: int, k: int, dims: Sequence[int], has_gradients: bool) -> tuple[float, ...]:
    """Return what the time of an exhaustive search is a sum of: a constant, arithmetic (10^9 operations), hits."""
    return 1.0, num_docs * _operations(dims) / 1e9, float(min(k, num_docs))


def surrogate_terms(num_docs: int, k: int, dims: Sequence[int], has_gradients: bool) -> tuple[float, ...]:
    """Return what the time of a surrogate search is a sum of.

    Documents on the shortlist, documents scored, arithmetic (10^9 operations), the last at the rate of exhaustive
    search. What the scan of codes takes did not show beside these.
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
