# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Interpolation and adaptive reranking, slow and plain."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence


def interpolate(
    first: Mapping[str, float], second: Mapping[str, float], alpha: float, normalization: str
) -> dict[str, float]:
    """Combine what both stages say of the second stage's documents, by docid."""
    known = _normalise({docid: first[docid] for docid in second if docid in first}, normalization)
    least = min(known.values(), default=0.0)
    of_second = _normalise(second, normalization)
    return {docid: alpha * known.get(docid, least) + (1 - alpha) * of_second[docid] for docid in second}


def _normalise(scores: Mapping[str, float], normalization: str) -> dict[str, float]:
    values = list(scores.values())
    if normalization == "none" or not values:
        return dict(scores)
    if max(values) == min(values):
        return dict.fromkeys(scores, 0.0)
    if normalization == "z":
        mean, deviation = statistics.fmean(values), statistics.pstdev(values)
        return {docid: (score - mean) / deviation for docid, score in scores.items()}
    return {docid: (score - min(values)) / (max(values) - min(values)) for docid, score in scores.items()}


def adaptive(
    initial: Sequence[int],
    neighbours: Sequence[Sequence[int]],
    scores: Sequence[float],
    *,
    budget: int,
    batch: int,
) -> list[int]:
    """Algorithm 1 of MacAvaney et al. (2022), word by word; gives the rows scored, in that order."""
    reranked: list[int] = []
    ranking = list(initial)
    frontier: dict[int, float] = {}  # in order of discovery
    pool_is_ranking = True
    while len(reranked) < budget and (ranking or frontier):
        pool = ranking if pool_is_ranking else sorted(frontier, key=lambda row: -frontier[row])
        chosen = pool[: min(batch, budget - len(reranked))]
        reranked += chosen
        ranking = [row for row in ranking if row not in chosen]
        frontier = {row: score for row, score in frontier.items() if row not in chosen}
        for source in sorted(chosen, key=lambda row: -scores[row]):
            for row in neighbours[source]:
                if row not in reranked:
                    frontier[row] = max(scores[source], frontier.get(row, scores[source]))
        pool_is_ranking = not pool_is_ranking
    return reranked
