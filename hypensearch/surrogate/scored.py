# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The exact scores of one query so far, and how likely others are to be above the worst of its best k."""

from __future__ import annotations

import numpy as np
import torch

from hypensearch.flat.index import FlatIndex
from hypensearch.scoring.found import in_rank_order

SETTLED = 3 / 4  # a search has settled when the last documents of a round, so many of them, bring nothing new
JUDGED_ROUNDS = 2  # errors are estimated from the last rounds
DOUBT = 1.1  # safety factor of the estimated errors
_FAR = 6.0  # probabilities beyond so many standard errors are taken to be zero


class Scored:
    """The exact scores of one query so far."""

    def __init__(self, rows: np.ndarray, scores: np.ndarray, k: int) -> None:
        self.rows, self.scores, self.k = rows, scores, k

    def add(self, rows: np.ndarray, scores: np.ndarray) -> None:
        """Add scored documents."""
        self.rows = np.concatenate([self.rows, rows])
        self.scores = np.concatenate([self.scores, scores])

    def bar_with(self, predictions: np.ndarray) -> float:
        """Return what the k-th best score would be if some more documents had the scores predicted."""
        scores = np.concatenate([self.scores, predictions])
        k = min(self.k, len(scores))
        return float(np.partition(scores, len(scores) - k)[len(scores) - k])

    def has_new(self, count: int) -> bool:
        """Whether any of the last documents is among the best k."""
        worst = self.worst_hit
        return worst is None or bool((self.scores[len(self.scores) - count :] >= worst).any())

    @property
    def worst_hit(self) -> float | None:
        """The score of the k-th best document, None while there are fewer."""
        if len(self.scores) < self.k:
            return None
        return float(np.partition(self.scores, len(self.scores) - self.k)[len(self.scores) - self.k])

    def best(self, index: FlatIndex) -> tuple[np.ndarray, np.ndarray]:
        """Return rows and scores of the best k, best first, and scores that are not finite before all others."""
        worst = self.worst_hit
        kept = np.flatnonzero(~(self.scores < (-np.inf if worst is None else worst)))
        rows, scores = self.rows[kept], self.scores[kept]
        best = in_rank_order(scores, index.docid_order(rows))[: self.k]
        return rows[best], scores[best]


def probabilities_above(bar: float, predictions: np.ndarray, errors: np.ndarray, times: float) -> np.ndarray:
    """Return the probabilities that scores are above a bar, without those that are next to zero.

    :param errors: Standard errors of the predictions, to be multiplied by ``times``.
    """
    largest = errors.max(initial=0.0) * times
    near = np.flatnonzero(~(predictions <= bar - _FAR * largest))
    distances = (predictions[near] - bar) / np.maximum(times * errors[near], 1e-30)
    probabilities: np.ndarray = torch.special.ndtr(torch.from_numpy(distances[distances > -_FAR])).numpy()
    return probabilities
