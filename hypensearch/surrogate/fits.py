# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The linear functions of codes that a surrogate search predicts one query's scores by.

:class:`RidgeFit` is fitted to exact scores. :class:`TangentFit` is the q-net's own slope where the best documents lie:
what it takes instead where q-nets are far from linear, as those of cold-started models.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from hypensearch.surrogate.gradients import Tape

_CHOSEN_WEIGHT = 4.0  # of a document chosen by the fit, against one of the sample
TANGENT_DOCS = (32, 128)  # best documents whose gradients are counted: k, but so many at least and at most,
_SHARE = 3  # and one in so many of what is scored, while that is less
_UPWARDS = 2.0  # an error upwards stands for one downwards as large


class Fit(ABC):
    """A linear function of codes that predicts one query's scores."""

    #: *Shape:* ``(code_size,)``.
    weights: Tensor
    mean: float
    #: Rounds before a new scan, whatever is expected of it.
    scans: tuple[int, ...]
    #: Whether a search goes on until a round changes nothing of the best k.
    must_settle: bool
    #: Documents that a round scores, at least.
    step: int
    #: Documents that rounds choose from, for each of the best k.
    choice: int
    #: What scoring has to keep for the fit.
    tape: Tape | None = None

    @abstractmethod
    def add(self, codes: Tensor, scores: Tensor, errors: Tensor) -> None:
        """Learn from the documents that were scored last.

        :param codes: *Shape:* ``(n, code_size)``.
        :param scores: *Shape:* ``(n,)``.
        :param errors: How large each one's error is; what lies far out, and is not linear there, must not bend the
            fit. *Shape:* ``(n,)``.
        """

    def predict(self, codes: Tensor) -> Tensor:
        """Predict scores of codes, *Shape:* ``(num_docs,)``."""
        return codes @ self.weights + self.mean

    @abstractmethod
    def squares(self, surprise: Tensor) -> Tensor:
        """Return squares of errors as far as they tell what documents that are not scored may be above predictions.

        :param surprise: What scores are above predictions, in errors, *Shape:* ``(n,)``.
        """


class TangentFit(Fit):
    """The mean gradient of a q-net at the best documents that are scored.

    Where q-nets are far from linear, it ranks what lies near the best better than any fit to scores does, and takes
    fewer of them.

    :param tape: The query's, when the sample is what was scored last.
    :param gradient_map: Gives weights from a gradient, *Shape:* ``(code_size, dim)``.
    :param codes: The sample's, *Shape:* ``(n, code_size)``.
    :param scores: The sample's, *Shape:* ``(n,)``.
    :param k: Hits wanted.
    """

    scans: tuple[int, ...] = (1, 4, 8, 16)
    must_settle = True
    step = 96
    choice = 4  # it is scanned more often

    def __init__(self, tape: Tape, gradient_map: Tensor, codes: Tensor, scores: Tensor, k: int) -> None:
        self.tape: Tape = tape
        self._map = gradient_map
        self._size = min(max(k, TANGENT_DOCS[0]), TANGENT_DOCS[1])
        self._num_scored = len(scores)
        best = scores.topk(min(TANGENT_DOCS[0], len(scores))).indices
        self._codes, self._scores, self._traces = codes[best], scores[best], tape.traces(best)
        spread = scores.std(correction=0).clamp(min=1e-12)
        self._follow(torch.softmax((self._scores - self._scores[0]) / spread, dim=0))

    def add(self, codes: Tensor, scores: Tensor, errors: Tensor) -> None:
        """Learn from the documents that were scored last: those that are now among the best tell their gradients."""
        self._num_scored += len(scores)
        size = max(min(self._size, self._num_scored // _SHARE), 1)
        best = torch.cat([self._scores, scores]).topk(min(size, len(self._scores) + len(scores))).indices
        old, new = best[best < len(self._scores)], best[best >= len(self._scores)] - len(self._scores)
        self._codes = torch.cat([self._codes[old], codes[new]])
        self._scores = torch.cat([self._scores[old], scores[new]])
        self._traces = torch.cat([self._traces[old], self.tape.traces(new)])
        self._follow(torch.full_like(self._scores, 1 / len(self._scores)))

    def _follow(self, shares: Tensor) -> None:
        self.weights = self._map @ self.tape.gradient(shares @ self._traces)
        self.mean = float(shares @ (self._scores - self._codes @ self.weights))

    def squares(self, surprise: Tensor) -> Tensor:
        """Judge by errors upwards; those downwards, of what turns out not to lie near the best, are large."""
        return _UPWARDS * surprise.clamp(min=0).square()


class RidgeFit(Fit):
    """Ridge regression of one query's scores on codes, added to round by round (recursive least squares).

    :param prior: Inverse of the sample's regularised, weighted Gram matrix, *Shape:* ``(code_size, code_size)``.
    :param weights: The fit to the sample, *Shape:* ``(code_size,)``.
    :param mean: The sample's mean score.
    """

    scans: tuple[int, ...] = (2, 4, 8, 16)
    must_settle = False
    step = 48
    choice = 8

    def __init__(self, prior: Tensor, weights: Tensor, mean: float) -> None:
        self.weights = weights
        self._inverse, self.mean = prior, mean
        self._half: Tensor | None = None  # what the inverse has still to lose

    def add(self, codes: Tensor, scores: Tensor, errors: Tensor) -> None:
        """Learn from documents that the fit itself chose: they lie where it must be right."""
        if self._half is not None:
            self._inverse = torch.addmm(self._inverse, self._half.T, self._half, alpha=-1)
        gain = codes @ self._inverse
        inner = gain @ codes.T
        inner.diagonal().add_(errors.square() / _CHOSEN_WEIGHT)
        factor = torch.linalg.cholesky(inner)
        self._half = torch.linalg.solve_triangular(factor, gain, upper=False)
        surprise = (scores - self.predict(codes)).unsqueeze(1)
        step = torch.linalg.solve_triangular(factor, surprise, upper=False)
        self.weights = torch.addmv(self.weights, self._half.T, step.squeeze(1))

    def squares(self, surprise: Tensor) -> Tensor:
        """Return errors' squares."""
        return surprise.square()
