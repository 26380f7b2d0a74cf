# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Interpolation of two stages' scores: a convex combination, each side normalised over the query's candidates.

Min-max is what Pyserini's and ranx' fusions normalise with, and what Bruch et al. ("An Analysis of Fusion Functions for
Hybrid Retrieval", TOIS 2023) find no worse than others for a convex combination.
"""

from __future__ import annotations

import numpy as np

NORMALIZATIONS = ("min-max", "z", "none")


def interpolate(first: np.ndarray, second: np.ndarray, alpha: float, normalization: str) -> np.ndarray:
    """Combine the scores of one query's candidates: ``alpha * first + (1 - alpha) * second``.

    :param first: The first stage's scores, NaN for documents that it did not find: they count as its worst one.
        *Shape:* ``(num_docs,)``.
    :param second: The q-net's scores, *Shape:* ``(num_docs,)``.
    :param alpha: Weight of the first stage, 0 to 1.
    :param normalization: One of :data:`NORMALIZATIONS`.
    :return: float64, *Shape:* ``(num_docs,)``.
    """
    found = ~np.isnan(first)
    of_first = np.zeros(len(first))
    if found.any():
        of_first[found] = normalise(first[found], normalization)
        of_first[~found] = of_first[found].min()
    return np.asarray(alpha * of_first + (1 - alpha) * normalise(second, normalization), dtype=np.float64)


def normalise(scores: np.ndarray, normalization: str) -> np.ndarray:
    """Normalise the scores of one query; scores that are all equal become 0.

    :param scores: *Shape:* ``(num_docs,)``, at least one.
    :param normalization: "min-max", to 0 for the least and 1 for the highest; "z", to mean 0 and standard deviation 1;
        or "none".
    :return: float64, *Shape:* ``(num_docs,)``.
    """
    scores = np.asarray(scores, dtype=np.float64)
    if normalization == "none":
        return scores
    if scores.max() == scores.min():
        return np.zeros(len(scores))
    if normalization == "z":
        return np.asarray((scores - scores.mean()) / scores.std())
    return np.asarray((scores - scores.min()) / (scores.max() - scores.min()))
