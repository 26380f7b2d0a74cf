# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Graph-based adaptive reranking: MacAvaney, Tonellotto and Macdonald, CIKM 2022 (arXiv 2208.08942), Algorithm 1.

Batches are scored in turn from the first stage's ranking and from the frontier, which holds the neighbours of what was
scored so far, those of the best documents first. The budget is the same as without a graph.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

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
    :param neighbours: Returns a row's nearest rows, nearest first.
    :param score: Returns the scores of rows, *Shape:* ``(n,)``.
    :param budget: Documents scored, at most (the paper's c).
    :param batch: Documents scored at a time (the paper's b).
    :return: The rows that were scored, int64, in that order, and their scores.
    """
    taken: set[int] = set()
    best: dict[int, float] = {}  # of rows in the frontier: the best score of a document whose neighbour they are
    found_at: dict[int, int] = {}  # of equal ones, the row that was found first comes first
    heap: list[tuple[float, int, int]] = []

    def frontier() -> Iterator[int]:
        while heap:
            yield heapq.heappop(heap)[2]

    def untaken(pool: Iterable[int]) -> Iterator[int]:
        for row in pool:
            if row not in taken:
                taken.add(row)
                yield row

    ranking = iter(initial)
    rows: list[int] = []
    scores: list[float] = []
    turn = empty = 0
    while len(rows) < budget and empty < 2:
        pool = untaken(frontier() if turn % 2 else ranking)
        chosen = list(islice(pool, min(batch, budget - len(rows))))
        turn, empty = turn + 1, 0 if chosen else empty + 1
        if not chosen:
            continue
        found = score(np.array(chosen, dtype=np.int64))
        rows += chosen
        scores += found.tolist()
        for place in np.argsort(-found, kind="stable").tolist():
            for row in neighbours(chosen[place]).tolist():
                if row not in best or found[place] > best[row]:
                    best[row] = float(found[place])
                    heapq.heappush(heap, (-best[row], found_at.setdefault(row, len(found_at)), row))
    return np.array(rows, dtype=np.int64), np.array(scores, dtype=np.float64)
