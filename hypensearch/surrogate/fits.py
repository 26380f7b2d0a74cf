# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The linear functions of codes that predict one query's scores in a surrogate search.

A :class:`RidgeFit` is a ridge regression of exact scores. A :class:`TangentFit` is the q-net's mean gradient at the
best documents found so far. A linear fit predicts average scores well, but ranks the top documents poorly where q-nets
are far from linear, as those of cold-started models; the gradient ranks them well.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import torch
from torch import Tensor

from hypensearch.errors import HypensearchError
from hypensearch.flat.index import FlatIndex
from hypensearch.models.q_net import QNets
from hypensearch.scoring.scorer import Scorer
from hypensearch.surrogate.codes import Codes
from hypensearch.surrogate.gradients import Tape, tape_of
from hypensearch.surrogate.store import Surrogate

SAMPLE = 64  # documents that every query scores first
_CHOSEN_WEIGHT = 4.0  # of a document chosen by the fit, relative to one of the sample
TANGENT_DOCS = (32, 128)  # gradients are averaged over the best k documents, but at least and at most over so many,
_SHARE = 3  # and over at most one third of the scored ones
_UPWARDS = 2.0  # only errors upwards are measured: each stands for one downwards of the same size
_RIDGE = 0.03  # of the mean of a Gram matrix' diagonal


class Fit(ABC):
    """A linear function of codes that predicts one query's scores."""

    #: *Shape:* ``(code_size,)``.
    weights: Tensor
    mean: float
    #: Rounds that begin with a new scan of all codes.
    scans: tuple[int, ...]
    #: Whether a search continues until a round changes none of the best k.
    must_settle: bool
    #: Documents that a round scores, at least.
    step: int
    #: Documents on the shortlist for each of the best k.
    choice: int
    #: Records what is scored, for gradients.
    tape: Tape | None = None

    @abstractmethod
    def add(self, codes: Tensor, scores: Tensor, errors: Tensor) -> None:
        """Update the fit by the documents that were scored last.

        :param codes: *Shape:* ``(n, code_size)``.
        :param scores: *Shape:* ``(n,)``.
        :param errors: The expected error of each document's prediction, *Shape:* ``(n,)``; large for documents of high
            leverage, whose scores are not linear in the code and must not distort the fit.
        """

    def predict(self, codes: Tensor) -> Tensor:
        """Predict the scores of codes, *Shape:* ``(num_docs,)``."""
        return codes @ self.weights + self.mean

    @abstractmethod
    def squares(self, residuals: Tensor) -> Tensor:
        """Return squared errors, to judge by how much other documents may score above their predictions.

        :param residuals: Scores minus predictions, in expected errors, *Shape:* ``(n,)``.
        """


class TangentFit(Fit):
    """The mean gradient of a q-net at the best documents that are scored.

    :param tape: Has recorded the scoring of the sample.
    :param gradient_map: Maps a gradient to weights, *Shape:* ``(code_size, dim)``.
    :param codes: Of the sample, *Shape:* ``(n, code_size)``.
    :param scores: Of the sample, *Shape:* ``(n,)``.
    :param k: Documents wanted.
    """

    scans: tuple[int, ...] = (1, 4, 8, 16)
    must_settle = True
    step = 96
    choice = 4  # it scans more often

    def __init__(self, tape: Tape, gradient_map: Tensor, codes: Tensor, scores: Tensor, k: int) -> None:
        self.tape: Tape = tape
        self._map = gradient_map
        self._size = min(max(k, TANGENT_DOCS[0]), TANGENT_DOCS[1])
        self._num_scored = len(scores)
        best = scores.topk(min(TANGENT_DOCS[0], len(scores))).indices
        self._codes, self._scores, self._traces = codes[best], scores[best], tape.traces(best)
        spread = scores.std(correction=0).clamp(min=1e-12)
        self._average(torch.softmax((self._scores - self._scores[0]) / spread, dim=0))

    def add(self, codes: Tensor, scores: Tensor, errors: Tensor) -> None:
        """Update the fit: the gradients of documents that are now among the best are averaged too."""
        self._num_scored += len(scores)
        size = max(min(self._size, self._num_scored // _SHARE), 1)
        best = torch.cat([self._scores, scores]).topk(min(size, len(self._scores) + len(scores))).indices
        old, new = best[best < len(self._scores)], best[best >= len(self._scores)] - len(self._scores)
        self._codes = torch.cat([self._codes[old], codes[new]])
        self._scores = torch.cat([self._scores[old], scores[new]])
        self._traces = torch.cat([self._traces[old], self.tape.traces(new)])
        self._average(torch.full_like(self._scores, 1 / len(self._scores)))

    def _average(self, shares: Tensor) -> None:
        self.weights = self._map @ self.tape.gradient(shares @ self._traces)
        self.mean = float(shares @ (self._scores - self._codes @ self.weights))

    def squares(self, residuals: Tensor) -> Tensor:
        """Return squares of errors upwards; documents far from the best score far below their predictions."""
        return _UPWARDS * residuals.clamp(min=0).square()


class RidgeFit(Fit):
    """Ridge regression of one query's scores on codes, updated round by round (recursive least squares).

    :param inverse: Of the sample's regularised, weighted Gram matrix, *Shape:* ``(code_size, code_size)``.
    :param weights: The fit to the sample, *Shape:* ``(code_size,)``.
    :param mean: The sample's mean score.
    """

    scans: tuple[int, ...] = (2, 4, 8, 16)
    must_settle = False
    step = 48
    choice = 8

    def __init__(self, inverse: Tensor, weights: Tensor, mean: float) -> None:
        self.weights = weights
        self._inverse, self.mean = inverse, mean
        self._half: Tensor | None = None  # of the last update, which the inverse does not have yet

    def add(self, codes: Tensor, scores: Tensor, errors: Tensor) -> None:
        """Update the fit; documents that the fit chose weigh more than those of the sample."""
        if self._half is not None:
            self._inverse = torch.addmm(self._inverse, self._half.T, self._half, alpha=-1)
        gain = codes @ self._inverse
        inner = gain @ codes.T
        inner.diagonal().add_(errors.square() / _CHOSEN_WEIGHT)
        factor = torch.linalg.cholesky(inner)
        self._half = torch.linalg.solve_triangular(factor, gain, upper=False)
        residuals = (scores - self.predict(codes)).unsqueeze(1)
        step = torch.linalg.solve_triangular(factor, residuals, upper=False)
        self.weights = torch.addmv(self.weights, self._half.T, step.squeeze(1))

    def squares(self, residuals: Tensor) -> Tensor:
        """Return the squares."""
        return residuals.square()


class FirstRidgeFits:
    """Ridge regression of the sample's scores, with a prior mean predicted from each q-net's output layer.

    :param surrogate: Has the prior.
    :param vectors: Of the sample and the outliers, *Shape:* ``(num_rows, dim)``.
    :param codes: Of the sample, *Shape:* ``(n, code_size)``.
    :param errors: Of the sample, *Shape:* ``(n,)``.
    """

    def __init__(self, surrogate: Surrogate, vectors: np.ndarray, codes: Tensor, errors: Tensor) -> None:
        self._vectors, self._codes, self._errors = vectors, codes, errors.to(codes.device)
        self._output_map = torch.from_numpy(surrogate.output_map).to(codes.device)
        penalty = torch.from_numpy(surrogate.penalty).to(codes.device)
        self._inverse = inverse_gram(codes, self._errors, penalty).float()
        self._solver = self._inverse @ (codes / self._errors.square().unsqueeze(1)).T

    def __call__(self, scorer: Scorer, q_nets: QNets, k: int) -> tuple[Tensor, list[Fit]]:
        """Return each query's scores, *Shape:* ``(num_queries, num_rows)``, and its first fit."""
        scores = scorer.score(self._vectors)
        outputs = q_nets.weights[-1].squeeze(2).to(self._output_map)
        prior = outputs.new_zeros(len(outputs), len(self._output_map))
        if outputs.shape[1] == self._output_map.shape[1]:  # else codes were made with q-nets of another width
            prior = outputs @ self._output_map.T
        residuals = scores[:, : len(self._codes)] - prior @ self._codes.T
        means = weighted_mean(residuals, self._errors)
        weights = prior + (residuals - means) @ self._solver.T
        each = zip(weights, means.squeeze(1).tolist(), strict=True)
        return scores, [RidgeFit(self._inverse, *of_query) for of_query in each]


class FirstTangentFits:
    """Each q-net's mean gradient at the best documents of the sample.

    :param surrogate: Has the map from gradients to weights.
    :param vectors: Of the sample, *Shape:* ``(n, dim)``.
    :param codes: Of the sample, *Shape:* ``(n, code_size)``.
    """

    def __init__(self, surrogate: Surrogate, vectors: np.ndarray, codes: Tensor) -> None:
        self._vectors, self._codes = vectors, codes
        self._map = torch.from_numpy(surrogate.gradient_map).to(codes.device)

    def __call__(self, scorer: Scorer, q_nets: QNets, k: int) -> tuple[Tensor, list[Fit]]:
        """Return each query's scores, *Shape:* ``(num_queries, num_rows)``, and its fit, for a search of the best k."""
        scores: list[Tensor] = []
        fits: list[Fit] = []
        for query, q_net in enumerate(q_nets.to(self._codes.device, self._codes.dtype)):
            tape = tape_of(q_net)
            scores.append(scorer.score_one(query, self._vectors, tape))
            fits.append(TangentFit(tape, self._map, self._codes, scores[query][: len(self._codes)], k))
        return torch.stack(scores), fits


def first_fits(
    index: FlatIndex, surrogate: Surrogate, codes: Codes, max_scored: int | None, device: torch.device
) -> tuple[np.ndarray, FirstRidgeFits | FirstTangentFits]:
    """Return the rows that every query scores first, the sample and the outliers, and what fits are made of there.

    A fit is to scores of the sample alone, as outliers would distort it.

    :param max_scored: Documents scored for a query, at most.
    :param device: Where scores are computed.
    """
    sample = surrogate.sample[:SAMPLE][:max_scored]
    rows = np.concatenate([sample, np.setdiff1d(surrogate.outliers, sample)])[:max_scored]
    vectors, of_sample = index.vectors(rows), codes.gather(torch.from_numpy(sample)).to(device)
    if surrogate.has_gradients:
        return rows, FirstTangentFits(surrogate, vectors, of_sample)
    return rows, FirstRidgeFits(surrogate, vectors, of_sample, codes.errors[torch.from_numpy(sample)])


def inverse_gram(codes: Tensor, errors: Tensor, penalty: Tensor | None = None) -> Tensor:
    """Return the inverse of the Gram matrix of codes, each divided by its error, plus a penalty.

    :param codes: *Shape:* ``(n, code_size)``.
    :param errors: Of predictions, 1 for the median document, *Shape:* ``(n,)``.
    :param penalty: *Shape:* ``(code_size, code_size)``; by default a fraction of the mean of the diagonal.
    :return: float64, *Shape:* ``(code_size, code_size)``.
    """
    codes = codes.double() / errors.double().unsqueeze(1)
    gram = codes.T @ codes
    if penalty is None:
        raise_by = _RIDGE * float(gram.diagonal().mean()) + 1e-6
        penalty = raise_by * torch.eye(len(gram), device=gram.device, dtype=gram.dtype)
    inverse, flaw = torch.linalg.inv_ex(gram + penalty.double())
    if flaw.any():
        raise HypensearchError("the codes of these documents allow no fit: make them again (index --surrogate)")
    return inverse


def weighted_mean(scores: Tensor, errors: Tensor) -> Tensor:
    """Return each query's mean score, weighted by inverse squared errors, *Shape:* ``(num_queries, 1)``."""
    weights = errors.to(scores.dtype).square().reciprocal()
    return ((scores @ weights) / weights.sum()).unsqueeze(1)
