# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Graph-based adaptive reranking: MacAvaney, Tonellotto and Macdonald, CIKM 2022 (arXiv 2208.08942), Algorithm 1.

Batches are scored in turn from the first stage's ranking and from the frontier, which holds the neighbours of what was
scored so far, those of the best documents first. The budget is the same as without a graph.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence

import numpy as np


def adaptive_rerank(
    initial: Sequence[int],
    neighbours: Callable[[int], np.ndarray],
    score: Callable[[np.ndarray], np.ndarray],
    *,
    budget: int,
    batch: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Choose and score the documents of one query.

    :param initial: Rows of the first stage's ranking, best first, each once.
    :param neighbours: Gives a row's nearest rows, nearest first.
    :param score: Gives the scores of rows, *Shape:* ``(n,)``.
    :param budget: Documents scored, at most (the paper's c).
    :param batch: Documents scored at a time (the paper's b).
    :return: The rows that were scored, int64, in that order, and their scores.
    """
    taken: set[int] = set()
    pools: list[_Ranking | _Frontier] = [_Ranking(initial), frontier := _Frontier()]
    rows: list[int] = []
    scores: list[float] = []
    turn = empty = 0
    while len(rows) < budget and empty < len(pools):
        chosen = _take(pools[turn % 2], min(batch, budget - len(rows)), taken)
        turn += 1
        empty = 0 if chosen else empty + 1
        if chosen:
            found = score(np.array(chosen, dtype=np.int64))
            rows += chosen
            scores += found.tolist()
            for place in np.argsort(-found, kind="stable").tolist():
                frontier.add(neighbours(chosen[place]), float(found[place]))
    return np.array(rows, dtype=np.int64), np.array(scores, dtype=np.float64)


def _take(pool: _Ranking | _Frontier, count: int, taken: set[int]) -> list[int]:
    """Take a pool's best rows that were not taken before, and mark them."""
    chosen: list[int] = []
    while len(chosen) < count and (row := pool.pop()) is not None:
        if row not in taken:
            taken.add(row)
            chosen.append(row)
    return chosen


class _Ranking:
    """The first stage's ranking."""

    def __init__(self, rows: Sequence[int]) -> None:
        self._rows = iter(rows)

    def pop(self) -> int | None:
        """Take the best row that is left."""
        return next(self._rows, None)


class _Frontier:
    """Rows with the best score of a document whose neighbour they are; of equal ones, the first that was found."""

    def __init__(self) -> None:
        self._best: dict[int, float] = {}
        self._order: dict[int, int] = {}
        self._heap: list[tuple[float, int, int]] = []

    def add(self, rows: np.ndarray, score: float) -> None:
        """Add the neighbours of a scored document."""
        for row in rows.tolist():
            if row not in self._best or score > self._best[row]:
                self._best[row] = score
                heapq.heappush(self._heap, (-score, self._order.setdefault(row, len(self._order)), row))

    def pop(self) -> int | None:
        """Take the best row; one that was added again may come again."""
        return heapq.heappop(self._heap)[2] if self._heap else None
