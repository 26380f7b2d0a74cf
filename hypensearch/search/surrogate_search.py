# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Surrogate search: fit a linear function to a few exact scores, score what it likes best, fit again.

The idea is known for cross-encoders (AXN, arXiv 2405.03651). Here the function is linear in a feature that the q-nets
have in common (:mod:`hypensearch.search.surrogate_builder`), so that some hundred exact scores determine it:

1. score a sample, the same for all queries, and fit (the sample's part of the fit is computed once);
2. one scan of all documents' codes, the leading components only, gives a shortlist;
3. in rounds: score the shortlist's most promising documents, refit on whole codes, until few documents are likely to be
   missing from the best k.

Hits have their exact scores. Every search estimates its own recall from the errors of its predictions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hypensearch.hits import Hit, in_rank_order
from hypensearch.index.flat import FlatIndex
from hypensearch.index.surrogate import Surrogate
from hypensearch.models.q_net import QNets
from hypensearch.search.report import OfThisThread
from hypensearch.search.scorer import Scorer, as_tensor
from hypensearch.search.surrogate_builder import gather

_RIDGE = 0.03
_CHOSEN_WEIGHT = 4.0  # of a document chosen by the fit, against one of the sample
_MAX_ROUNDS = 64
_FAR = 6.0  # errors away from a bar, nothing is expected above it
_ROUGH_SCORES = 2**26  # of all documents for some queries, at a time


@dataclass(frozen=True)
class SurrogateOptions:
    """How hard a search tries.

    :param sample: Documents scored before the first fit.
    :param step: Documents scored a round; None for half of k, at least 32.
    :param shortlist: Documents that rounds choose from; None for 8 k, at least 2,048.
    :param target_recall: Stop when the estimated recall of the best k reaches this.
    :param max_scored: Documents scored, at most; None for no bound.
    """

    sample: int = 256
    step: int | None = None
    shortlist: int | None = None
    target_recall: float = 0.998
    max_scored: int | None = None


@dataclass(frozen=True)
class SurrogateStats:
    """What a search of one query did.

    :param documents_scored: Exact scores computed.
    :param rounds: Fits after the first.
    :param estimated_recall: Estimated share of the true best k among the hits.
    """

    documents_scored: int
    rounds: int
    estimated_recall: float


class SurrogateSearch:
    """Finds the best documents with a few hundred exact scores a query.

    :param index: The document vectors.
    :param surrogate: The codes of its documents.
    :param device: Where to compute.
    :param options: How hard to try.
    """

    #: What this thread's last search did, a record for each query.
    stats = OfThisThread[list[SurrogateStats]](list)

    def __init__(
        self, index: FlatIndex, surrogate: Surrogate, device: torch.device, options: SurrogateOptions | None = None
    ) -> None:
        self.index = index
        self.options = options or SurrogateOptions()
        self._device = device
        self._codes = _Codes(surrogate, device)
        self._sample = surrogate.sample[: self.options.sample][: self.options.max_scored]
        outliers = np.setdiff1d(surrogate.outliers, self._sample)
        self._first = np.concatenate([self._sample, outliers])[: self.options.max_scored]
        self._first_vectors = gather(index, self._first)
        codes = self._codes.of(torch.from_numpy(self._sample))
        self._prior = _prior(codes)
        head = codes[:, : self._codes.head.shape[1]]
        self._head_solver = _prior(head) @ head.T
        self._solver = self._prior @ codes.T

    @torch.inference_mode()
    def search(self, q_nets: QNets, k: int) -> list[list[Hit]]:
        """Find the best documents of each query.

        :param k: Hits wanted of each query; fewer where the index, or ``max_scored``, is smaller.
        :return: A ranked list for each q-net: exact scores, higher first, equal ones by docid.
        """
        together = max(1, _ROUGH_SCORES // self.index.num_docs)
        found = [
            result
            for start in range(0, len(q_nets), together)
            for result in self._search_some(q_nets[start : start + together], k)
        ]
        self.stats = [stats for _, stats in found]
        return [hits for hits, _ in found]

    def _search_some(self, q_nets: QNets, k: int) -> Iterator[tuple[list[Hit], SurrogateStats]]:
        scorer = Scorer(q_nets, self._device)
        first_scores = scorer.score(self._first_vectors)
        sample_scores = first_scores[:, : len(self._sample)]  # outliers would spoil the fit
        means = sample_scores.mean(dim=1, keepdim=True)
        deviations = (sample_scores - means).T
        rough = self._codes.head @ (self._head_solver @ deviations).to(self._codes.head.dtype)
        weights = self._solver @ deviations
        for query in range(len(q_nets)):
            fit = _Fit(self._prior, weights[:, query], float(means[query]))
            yield self._search_one(scorer, query, first_scores[query], rough[:, query].float(), fit, k)

    def _search_one(
        self, scorer: Scorer, query: int, first_scores: Tensor, rough: Tensor, fit: _Fit, k: int
    ) -> tuple[list[Hit], SurrogateStats]:
        options = self.options
        k = min(k, self.index.num_docs)
        step = options.step or max(32, k // 2)
        budget = min(options.max_scored or self.index.num_docs, self.index.num_docs)
        found = _Found(self._first, first_scores.cpu().numpy(), k)
        shortlist = _Shortlist(self._codes, max(options.shortlist or max(2048, 8 * k), k), fit)
        shortlist.fill(rough, found.rows)
        rounds, recall = 0, 0.0
        while rounds < _MAX_ROUNDS and len(found.rows) < budget:
            count = min(step, budget - len(found.rows))
            if shortlist.left < count or (rounds & (rounds - 1) == 0 and rounds):
                shortlist.fill(self._codes.scan(fit.weights), found.rows)
            chosen = shortlist.choose(min(count, shortlist.left))
            rows = shortlist.rows[chosen.cpu().numpy()]
            scores = scorer.score_one(query, gather(self.index, rows))
            error = scores - shortlist.predictions[chosen]
            fit.add(shortlist.codes[chosen], scores)
            found.add(rows, scores.cpu().numpy())
            rounds += 1
            recall = shortlist.recall(found, float(error.square().mean().sqrt()), options.target_recall)
            if recall >= options.target_recall:
                break
        if len(found.rows) == self.index.num_docs:
            recall = 1.0
        return found.hits(self.index), SurrogateStats(len(found.rows), rounds, recall)


class _Codes:
    """The codes as tensors; on a CPU they stay mapped, the head in the type that processors multiply fastest."""

    def __init__(self, surrogate: Surrogate, device: torch.device) -> None:
        self.head = as_tensor(np.asarray(surrogate.head).view(np.int16)).view(torch.bfloat16).to(device)
        self._tail = as_tensor(np.asarray(surrogate.tail))

    def scan(self, weights: Tensor) -> Tensor:
        """Predict every document's score from its head alone, without the mean, *Shape:* ``(num_docs,)``."""
        head_weights = weights[: self.head.shape[1], None].to(self.head.dtype)
        return (self.head @ head_weights).squeeze(1).float()

    def of(self, rows: Tensor) -> Tensor:
        """Return whole codes of documents, float32, *Shape:* ``(len(rows), code_size)``."""
        device, width = self.head.device, self.head.shape[1]
        codes = torch.empty(len(rows), width + self._tail.shape[1], device=device)
        codes[:, :width] = self.head.index_select(0, rows.to(device))  # several times faster than head[rows]
        codes[:, width:] = self._tail.index_select(0, rows)
        return codes


class _Shortlist:
    """The documents that one query's rounds choose from.

    :param size: How many, at most.
    :param fit: Predicts their scores.
    """

    def __init__(self, codes: _Codes, size: int, fit: _Fit) -> None:
        self._all, self._size, self._fit = codes, size, fit

    def fill(self, scan: Tensor, scored: np.ndarray) -> None:
        """Take the best documents of a scan.

        :param scan: Every document's predicted score, without the mean, *Shape:* ``(num_docs,)``.
        :param scored: Rows that are scored already, which are left out.
        """
        self._outside = scan.cpu().numpy()
        self._outside[scored] = -np.inf
        size = self.left = min(self._size, len(self._outside) - len(scored))
        self.rows = np.argpartition(self._outside, -size)[-size:] if size else np.empty(0, np.intp)
        self.rows.sort()
        self._rough = self._outside[self.rows]
        self._outside[self.rows] = -np.inf
        self.codes = self._all.of(torch.from_numpy(self.rows))
        self._open = torch.ones(size, dtype=torch.bool, device=self.codes.device)
        self.predictions = self._fit.predict(self.codes)

    def choose(self, count: int) -> Tensor:
        """Take the most promising documents that are not scored yet; returns their places in the list."""
        chosen = torch.where(self._open, self.predictions, -torch.inf).topk(count).indices
        self._open[chosen] = False
        self.left -= count
        return chosen

    def recall(self, found: _Found, error: float, enough: float) -> float:
        """Predict anew, and estimate the share of the true best k that is found already.

        A document that was not scored is taken to have its predicted score plus a normal error: as large as the
        error of the last round's predictions inside of the list, as that of the first scan outside of it, where it
        is only looked at when what is inside leaves ``enough``.
        """
        self.predictions = self._fit.predict(self.codes)
        worst = found.worst_hit
        if worst is None:
            return 0.0
        missing = _expected_above(worst, self.predictions[self._open].cpu().numpy(), error)
        recall = found.k / (found.k + missing)
        if recall < enough:
            return recall
        rough_error = self.predictions.cpu().numpy() - self._rough
        missing += _expected_above(worst - float(rough_error.mean()), self._outside, float(rough_error.std()))
        return found.k / (found.k + missing)


class _Fit:
    """Ridge regression of one query's scores on codes, added to round by round (recursive least squares).

    :param prior: Inverse of the sample's regularised Gram matrix, *Shape:* ``(code_size, code_size)``.
    :param weights: The fit to the sample, *Shape:* ``(code_size,)``.
    :param mean: The sample's mean score.
    """

    def __init__(self, prior: Tensor, weights: Tensor, mean: float) -> None:
        self.weights = weights
        self._inverse, self._mean = prior, mean
        self._half: Tensor | None = None  # what the inverse has still to lose

    def add(self, codes: Tensor, scores: Tensor) -> None:
        """Learn from documents that the fit itself chose: they lie where it must be right."""
        if self._half is not None:
            self._inverse = torch.addmm(self._inverse, self._half.T, self._half, alpha=-1)
        gain = codes @ self._inverse
        inner = gain @ codes.T
        inner.diagonal().add_(1 / _CHOSEN_WEIGHT)
        factor = torch.linalg.cholesky(inner)
        self._half = torch.linalg.solve_triangular(factor, gain, upper=False)
        surprise = (scores - self.predict(codes)).unsqueeze(1)
        step = torch.linalg.solve_triangular(factor, surprise, upper=False)
        self.weights = torch.addmv(self.weights, self._half.T, step.squeeze(1))

    def predict(self, codes: Tensor) -> Tensor:
        """Predict scores of codes, *Shape:* ``(num_docs,)``."""
        return codes @ self.weights + self._mean


class _Found:
    """The exact scores of one query so far."""

    def __init__(self, rows: np.ndarray, scores: np.ndarray, k: int) -> None:
        self.rows, self.scores, self.k = rows, scores, k

    def add(self, rows: np.ndarray, scores: np.ndarray) -> None:
        """Add scored documents."""
        self.rows = np.concatenate([self.rows, rows])
        self.scores = np.concatenate([self.scores, scores])

    @property
    def worst_hit(self) -> float | None:
        """The score of the k-th best document, None while there are fewer."""
        if len(self.scores) < self.k:
            return None
        return float(np.partition(self.scores, len(self.scores) - self.k)[len(self.scores) - self.k])

    def hits(self, index: FlatIndex) -> list[Hit]:
        """Rank the best k."""
        worst = self.worst_hit
        kept = np.flatnonzero(self.scores >= (-np.inf if worst is None else worst))
        hits = [Hit(index.docid(int(self.rows[i])), float(self.scores[i])) for i in kept]
        return in_rank_order(hits)[: self.k]


def _prior(codes: Tensor) -> Tensor:
    """Return the inverse of the Gram matrix of codes, its diagonal raised by a share of its mean."""
    gram = codes.double().T @ codes.double()
    raise_by = _RIDGE * float(gram.diagonal().mean()) + 1e-6
    return torch.linalg.inv(gram + raise_by * torch.eye(len(gram), device=gram.device)).float()


def _expected_above(bar: float, predictions: np.ndarray, error: float) -> float:
    """Expected number of predictions whose true value lies above a bar."""
    if error <= 0:
        return float((predictions > bar).sum())
    near = predictions[predictions > bar - _FAR * error]
    return float(torch.special.ndtr(torch.from_numpy((near - bar) / error)).sum())
