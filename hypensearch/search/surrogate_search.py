# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Surrogate search: fit a linear function to a few exact scores, score what it likes best, fit again.

The idea is known for cross-encoders (AXN, arXiv 2405.03651). Here the function is linear in a feature that the q-nets
have in common (:mod:`hypensearch.search.surrogate_builder`), and typical queries have told, for each output layer of a
q-net, which function is to be expected and how others differ from it, so that few exact scores determine it:

1. score a sample, the same for all queries, and fit (the sample's part of the fit is computed once);
2. one scan of all documents' codes, as 8-bit integers, gives a shortlist;
3. in rounds: score the shortlist's most promising documents, refit, until few documents are likely to be
   missing from the best k.

Hits have their exact scores. Every search estimates its own recall from the errors of its predictions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hypensearch.hits import Hit, in_rank_order
from hypensearch.index.flat import FlatIndex
from hypensearch.index.surrogate import Surrogate
from hypensearch.models.q_net import QNets
from hypensearch.search.product_search import Codes, Engine, Proposals, Scan
from hypensearch.search.report import OfThisThread
from hypensearch.search.scorer import Scorer, torch_threads
from hypensearch.search.surrogate_builder import gather, inverse_gram, weighted_mean

_CHOSEN_WEIGHT = 4.0  # of a document chosen by the fit, against one of the sample
_MAX_ROUNDS = 32
_SAMPLE = 64
_LATER = 2  # times as many documents as the first round are scored by those after it
_GROWTH = 4  # of the shortlist, when what is outside of it counts
_STEP_SHARE = 12  # of what is scored already, a round scores at least one in so many
_FAR = 6.0  # errors away from a bar, nothing is expected above it
_ROUGH_SCORES = 2**26  # of all documents for some queries, at a time


@dataclass(frozen=True)
class SurrogateOptions:
    """How hard a search tries.

    :param sample: Documents scored before the first fit; None for 64.
    :param step: Documents scored by the first round, half of each later one's; None for half of k, at least 32.
    :param shortlist: Documents that rounds choose from at first; None for 8 k, at least 1,024.
    :param target_recall: Stop when the estimated recall of the best k reaches this; None for :func:`usual_target`.
    :param max_scored: Documents scored, at most; None for no bound.
    """

    sample: int | None = None
    step: int | None = None
    shortlist: int | None = None
    target_recall: float | None = None
    max_scored: int | None = None


def usual_target(k: int) -> float:
    """Return the recall that a search for k documents stops at: what is missing of many matters less, it ranks low."""
    return 1 - min(0.02, 0.002 * (max(k, 10) / 10) ** 0.5)


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
    :param engine: Gives what finds the highest inner products of codes; :mod:`hypensearch.search.product_search`.
    """

    #: What this thread's last search did, a record for each query.
    stats = OfThisThread[list[SurrogateStats]](list)

    def __init__(
        self,
        index: FlatIndex,
        surrogate: Surrogate,
        device: torch.device,
        options: SurrogateOptions | None = None,
        engine: Callable[[Codes], Engine] = Scan,
    ) -> None:
        self.index = index
        self.options = options or SurrogateOptions()
        self._device = device
        self._codes = Codes(surrogate, device)
        self._engine = engine(self._codes)
        self._surrogate = surrogate
        self._errors = surrogate.errors()
        size, most = self.options.sample or _SAMPLE, self.options.max_scored
        self._start = _Start(index, surrogate, self._codes, self._errors, size, most)

    @torch.inference_mode()
    def search(self, q_nets: QNets, k: int) -> list[list[Hit]]:
        """Find the best documents of each query.

        :param k: Hits wanted of each query; fewer where the index, or ``max_scored``, is smaller.
        :return: A ranked list for each q-net: exact scores, higher first, equal ones by docid.
        """
        together, threads = max(1, _ROUGH_SCORES // self.index.num_docs), torch.get_num_threads()
        with torch_threads(1):  # what is large is shared out among threads as a whole
            found = [
                result
                for first in range(0, len(q_nets), together)
                for result in self._search_some(q_nets[first : first + together], k, threads)
            ]
        self.stats = [stats for _, stats in found]
        return [hits for hits, _ in found]

    def _search_some(self, q_nets: QNets, k: int, threads: int) -> Iterator[tuple[list[Hit], SurrogateStats]]:
        scorer, start = Scorer(q_nets, self._device, threads=threads), self._start
        first_scores = scorer.score(start.vectors)
        fits = start.fits(q_nets, first_scores[:, : len(start.sample)])  # outliers would spoil them
        weights = torch.stack([fit.weights for fit in fits])
        proposals = self._engine.propose(weights, self._shortlist_size(k), start.rows, threads)
        for query, fit in enumerate(fits):
            found = _Found(start.rows, first_scores[query].cpu().numpy(), min(k, self.index.num_docs))
            shortlist = _Shortlist(self._codes, fit, self._errors, start.extremes)
            shortlist.fill(proposals[query], found.rows)
            yield self._search_one(scorer, query, found, shortlist, fit, k, threads)

    def _shortlist_size(self, k: int) -> int:
        return max(self.options.shortlist or max(1024, 8 * k), k)

    def _search_one(
        self, scorer: Scorer, query: int, found: _Found, shortlist: _Shortlist, fit: _Fit, k: int, threads: int
    ) -> tuple[list[Hit], SurrogateStats]:
        options = self.options
        k = min(k, self.index.num_docs)
        step = options.step or max(32, k // 2)
        target = options.target_recall or usual_target(k)
        budget = min(options.max_scored or self.index.num_docs, self.index.num_docs)
        rounds, recall, stale, size = 0, 0.0, False, self._shortlist_size(k)
        while rounds < _MAX_ROUNDS and len(found.rows) < budget:
            count = min(max(step * (_LATER if rounds else 1), len(found.rows) // _STEP_SHARE), budget - len(found.rows))
            if shortlist.left < count or stale or (shortlist.is_partial and rounds and rounds & (rounds - 1) == 0):
                size *= _GROWTH if stale else 1
                proposals = self._engine.propose(fit.weights[None], size, found.rows, threads)[0]
                shortlist.fill(proposals, found.rows)
                if not shortlist.left:
                    break
            chosen = shortlist.choose(min(count, shortlist.left), found)
            rows = shortlist.rows[chosen.cpu().numpy()]
            scores = scorer.score_one(query, gather(self.index, rows))
            error = (scores - shortlist.predictions[chosen]) / shortlist.errors[chosen]
            fit.add(shortlist.codes[chosen], scores, shortlist.errors[chosen])
            found.add(rows, scores.cpu().numpy())
            rounds += 1
            recall, stale = shortlist.recall(found, float(error.square().mean().sqrt()), target)
            if recall >= target:
                break
        if len(found.rows) == self.index.num_docs:
            recall = 1.0
        return found.hits(self.index), SurrogateStats(len(found.rows), rounds, recall)


class _Start:
    """What every query begins with, and what of it is computed once for all.

    :param size: Documents of the sample.
    :param most: Documents that may be scored; None for no bound.
    """

    def __init__(
        self, index: FlatIndex, surrogate: Surrogate, codes: Codes, errors: np.ndarray, size: int, most: int | None
    ) -> None:
        self.sample = surrogate.sample[:size][:most]
        outliers = np.setdiff1d(surrogate.outliers, self.sample)
        self.rows = np.concatenate([self.sample, outliers])[:most]
        self.extremes = np.setdiff1d(surrogate.extremes, self.rows)
        self.vectors = gather(index, self.rows)
        of_sample = codes.gather(torch.from_numpy(self.sample))
        self._sample_errors = torch.from_numpy(errors[self.sample]).to(of_sample.device)
        self._codes = of_sample
        self._output_map = torch.from_numpy(surrogate.output_map).to(of_sample.device)
        penalty = torch.from_numpy(surrogate.penalty).to(of_sample.device)
        self._inverse = inverse_gram(of_sample, self._sample_errors, penalty).float()
        self._solver = self._inverse @ (of_sample / self._sample_errors.square().unsqueeze(1)).T

    def fits(self, q_nets: QNets, sample_scores: Tensor) -> list[_Fit]:
        """Fit each query's scores of the sample: ridge regression towards what its output layer lets expect.

        :param sample_scores: *Shape:* ``(num_queries, sample_size)``.
        """
        outputs = q_nets.weights[-1].squeeze(2).to(self._output_map)
        expected = outputs.new_zeros(len(outputs), len(self._output_map))
        if outputs.shape[1] == self._output_map.shape[1]:  # else codes were made with q-nets of another width
            expected = outputs @ self._output_map.T
        surprise = sample_scores - expected @ self._codes.T
        means = weighted_mean(surprise, self._sample_errors)
        weights = expected + (surprise - means) @ self._solver.T
        return [_Fit(self._inverse, *of_query) for of_query in zip(weights, means.squeeze(1).tolist(), strict=True)]


class _Shortlist:
    """The documents that one query's rounds choose from: what the engine likes best, and those far out.

    :param fit: Predicts their scores.
    :param all_errors: How large each document's errors are, compared with others', *Shape:* ``(num_docs,)``.
    :param extremes: Rows of those far out, ascending.
    """

    def __init__(self, codes: Codes, fit: _Fit, all_errors: np.ndarray, extremes: np.ndarray) -> None:
        self._all, self._fit, self._all_errors, self._extremes = codes, fit, all_errors, extremes

    def fill(self, proposals: Proposals, scored: np.ndarray) -> None:
        """Take what an engine proposes."""
        extremes = np.setdiff1d(self._extremes, np.concatenate([proposals.rows, scored]))
        self._proposed, self._rough, self._outside = len(proposals.rows), proposals.predictions, proposals.outside
        if self._outside is not None:
            self._outside[extremes] = -np.inf
        self.rows = np.concatenate([proposals.rows, extremes])
        self.left = len(self.rows)
        self.codes = self._all.gather(torch.from_numpy(self.rows))
        self.errors = torch.from_numpy(self._all_errors[self.rows]).to(self.codes.device)
        self._open = torch.ones(self.left, dtype=torch.bool, device=self.codes.device)
        self.predictions = self._fit.predict(self.codes)

    @property
    def is_partial(self) -> bool:
        """Whether nothing is known of documents outside of it."""
        return self._outside is None

    def choose(self, count: int, found: _Found) -> Tensor:
        """Take the documents that are most likely among the best k, of those not scored; returns their places."""
        open_predictions = torch.where(self._open, self.predictions, -torch.inf)
        bar = found.bar_with(open_predictions.topk(min(found.k, len(self.rows))).values.cpu().numpy())
        chosen = torch.where(self._open, (self.predictions - bar) / self.errors, -torch.inf).topk(count).indices
        self._open[chosen] = False
        self.left -= count
        return chosen

    def recall(self, found: _Found, error: float, enough: float) -> tuple[float, bool]:
        """Predict anew, and estimate the share of the true best k that is found already.

        A document that was not scored is taken to have its predicted score plus a normal error: as large as the
        error of the last round's predictions inside of the list; outside of it, where the prediction is the last
        scan's, the difference between that scan and the predictions of today comes on top. It is only looked at when
        what is inside leaves ``enough``.

        :return: The estimate, and whether it is the age of the scan that keeps it below ``enough``.
        """
        self.predictions = self._fit.predict(self.codes)
        worst = found.worst_hit
        if worst is None:
            return 0.0, False
        still = self._open.cpu().numpy()
        predictions, errors = self.predictions.cpu().numpy(), self.errors.cpu().numpy()
        missing = _expected_above(worst, predictions[still], error * errors[still])
        recall = found.k / (found.k + missing)
        if recall < enough or self._outside is None:
            return recall, False
        drift = predictions[: self._proposed] - self._rough
        outside_error = float(np.hypot(drift.std(), error)) if len(drift) else error
        bar = worst - float(drift.mean()) if len(drift) else worst
        missing += _expected_above(bar, self._outside, outside_error * self._all_errors)
        recall = found.k / (found.k + missing)
        return recall, recall < enough


class _Fit:
    """Ridge regression of one query's scores on codes, added to round by round (recursive least squares).

    :param prior: Inverse of the sample's regularised, weighted Gram matrix, *Shape:* ``(code_size, code_size)``.
    :param weights: The fit to the sample, *Shape:* ``(code_size,)``.
    :param mean: The sample's mean score.
    """

    def __init__(self, prior: Tensor, weights: Tensor, mean: float) -> None:
        self.weights = weights
        self._inverse, self._mean = prior, mean
        self._half: Tensor | None = None  # what the inverse has still to lose

    def add(self, codes: Tensor, scores: Tensor, errors: Tensor) -> None:
        """Learn from documents that the fit itself chose: they lie where it must be right.

        :param errors: How large each one's error is; what lies far out, and is not linear there, must not bend the fit.
        """
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

    def bar_with(self, predictions: np.ndarray) -> float:
        """Return what the k-th best score would be if some more documents had the scores predicted."""
        scores = np.concatenate([self.scores, predictions])
        k = min(self.k, len(scores))
        return float(np.partition(scores, len(scores) - k)[len(scores) - k])

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


def _expected_above(bar: float, predictions: np.ndarray, errors: np.ndarray) -> float:
    """Expected number of predictions whose true value lies above a bar, their errors given."""
    distances = (predictions - bar) / np.maximum(errors, 1e-30)
    near = distances[distances > -_FAR]
    return float(torch.special.ndtr(torch.from_numpy(near)).sum())
