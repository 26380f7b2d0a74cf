# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Surrogate search: fit a linear function to a few exact scores, score what it likes best, fit again.

The idea is known for cross-encoders (AXN, arXiv 2405.03651). Here the function is linear in a feature that the q-nets
have in common (:mod:`hypensearch.surrogate.builder`), and typical queries have told, for each output layer of a
q-net, which function is to be expected and how others differ from it, so that few exact scores determine it:

1. score a sample, the same for all queries, and fit (the sample's part of the fit is computed once);
2. one scan of all documents' codes, as 8-bit integers, gives a shortlist: those most likely among the best k;
3. in rounds: score the most likely of them, as many as seem to be needed, refit, now and then scan anew, until few
   documents are likely to be missing from the best k.

Where q-nets are so far from linear that such fits tell little of the best documents, codes are of the document vectors,
and the q-net's mean gradient at the best documents found takes the place of the fit
(:mod:`hypensearch.surrogate.fits`). The first one, of the sample, is rough: among many documents, it is put to
some of them only.

Hits have their exact scores. Every search estimates its own recall from the errors of its predictions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hypensearch.flat.index import FlatIndex
from hypensearch.hits import Hit, in_rank_order
from hypensearch.models.q_net import QNets
from hypensearch.scoring.scorer import Scorer
from hypensearch.search.report import OfThisThread
from hypensearch.surrogate.builder import inverse_gram, weighted_mean
from hypensearch.surrogate.fits import Fit, RidgeFit, TangentFit
from hypensearch.surrogate.gradients import tape_of
from hypensearch.surrogate.product_search import Codes, Engine, Glance, Proposals, Scan
from hypensearch.surrogate.store import Surrogate

_MAX_ROUNDS = 32
_SAMPLE = 64
_LEAST_HITS = 128  # searches for fewer choose from as many documents as those for so many
_SETTLED = 3 / 4  # of a round, the last documents, that bring nothing new when a search has settled
_LATER, _GROWTH = 2, 1 / 3  # the most a later round scores: of the first one's, of what is scored already
_JUDGED_ROUNDS = 2  # the last ones, that tell errors
_DOUBT = 1.1  # times these is what is expected of others: a search goes on where they came out small by chance
_CHOICE = 4  # a scan gives at least so many times the documents that the next round scores
_FAR = 6.0  # errors away from a bar, nothing is expected above it
_ROUGH_SCORES = 2**26  # of all documents for some queries, at a time


@dataclass(frozen=True)
class SurrogateOptions:
    """How hard a search tries.

    :param sample: Documents scored before the first fit; None for 64.
    :param step: Documents scored by a round, at least; None for half of k, at least 48, or 96 where gradients are
        followed.
    :param shortlist: Documents of a scan that rounds choose from; None for 8 k, at least 1,024, or half of that where
        gradients are followed. (There, a first look at some of very many documents takes those of one round.)
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
    """

    #: What this thread's last search did, a record for each query.
    stats = OfThisThread[list[SurrogateStats]](list)

    def __init__(
        self,
        index: FlatIndex,
        surrogate: Surrogate,
        device: torch.device,
        options: SurrogateOptions | None = None,
    ) -> None:
        self.index = index
        self.options = options or SurrogateOptions()
        self.has_gradients = surrogate.has_gradients
        self._device = device
        self._codes = Codes(surrogate, device)
        self._engine = Scan(self._codes)
        takes_glance = surrogate.has_gradients and Glance.is_worthwhile(index.num_docs)
        self._glance = Glance(self._codes) if takes_glance else None
        size, most = self.options.sample or _SAMPLE, self.options.max_scored
        self._start = _Start(index, surrogate, self._codes, size, most)

    @torch.inference_mode()
    def search(self, q_nets: QNets, k: int) -> list[list[Hit]]:
        """Find the best documents of each query.

        :param k: Hits wanted of each query; fewer where the index, or ``max_scored``, is smaller.
        :return: A ranked list for each q-net: exact scores, higher first, equal ones by docid.
        """
        together = max(1, _ROUGH_SCORES // self.index.num_docs)
        found = [
            result
            for first in range(0, len(q_nets), together)
            for result in self._search_some(q_nets[first : first + together], k)
        ]
        self.stats = [stats for _, stats in found]
        return [hits for hits, _ in found]

    def _search_some(self, q_nets: QNets, k: int) -> Iterator[tuple[list[Hit], SurrogateStats]]:
        scorer, start = Scorer(q_nets, self._device), self._start
        first_scores, fits = start.fits(scorer, q_nets, k)
        weights = torch.stack([fit.weights for fit in fits])
        engine, size = self._first_look(fits[0], k)
        proposals = engine.propose(weights, size, start.rows)
        for query in range(len(proposals)):
            fit = fits.pop(0)  # what it keeps of its documents is needed no longer than its search takes
            found = _Found(start.rows, first_scores[query].cpu().numpy(), min(k, self.index.num_docs))
            shortlist = _Shortlist(self._codes, fit, found)
            shortlist.fill(proposals[query], size)
            yield self._search_one(scorer, query, found, shortlist, fit, k)

    def _first_look(self, fit: Fit, k: int) -> tuple[Engine, int]:
        """Return what the first fit is put to, and how many documents it is asked for."""
        step = self._step(fit, k)
        if self._glance and self._budget >= len(self._start.rows) + 2 * step:
            return self._glance, step
        return self._engine, self._shortlist_size(fit, k)

    def _shortlist_size(self, fit: Fit, k: int) -> int:
        return max(self.options.shortlist or fit.choice * max(k, _LEAST_HITS), k)

    def _step(self, fit: Fit, k: int) -> int:
        return self.options.step or max(fit.step, min(k, self.index.num_docs) // 2)

    @property
    def _budget(self) -> int:
        return min(self.options.max_scored or self.index.num_docs, self.index.num_docs)

    def _search_one(
        self, scorer: Scorer, query: int, found: _Found, shortlist: _Shortlist, fit: Fit, k: int
    ) -> tuple[list[Hit], SurrogateStats]:
        k = min(k, self.index.num_docs)
        step = self._step(fit, k)
        target = self.options.target_recall or usual_target(k)
        rounds, outlook, error = 0, _Outlook(0.0, step, is_stale=False), 0.0
        squares: list[Tensor] = []  # of errors, by round
        while len(found.rows) < self._budget and rounds < _MAX_ROUNDS:
            most = max(_LATER * step, int(len(found.rows) * _GROWTH))
            count = min(max(step, min(outlook.needed, most)), self._budget - len(found.rows))
            if shortlist.left < count or outlook.is_stale or rounds in fit.scans:
                size = max(self._shortlist_size(fit, k), _CHOICE * count)
                shortlist.fill(self._engine.propose(fit.weights[None], size, found.rows)[0], size)
                if not shortlist.left:
                    break
                if outlook.is_stale:
                    outlook = shortlist.outlook(error, target)
                    if outlook.recall >= target:
                        break
            chosen = shortlist.choose(min(count, shortlist.left))
            rows = shortlist.rows[chosen.cpu().numpy()]
            vectors = self.index.vectors(rows)
            scores = scorer.score_one(query, vectors, fit.tape)
            squares.append(fit.squares((scores - shortlist.predictions[chosen]) / shortlist.errors[chosen]))
            error = _DOUBT * float(torch.cat(squares[-_JUDGED_ROUNDS:]).mean().sqrt())
            found.add(rows, scores.cpu().numpy())
            rounds += 1
            if fit.must_settle and not found.has_new(int(_SETTLED * count)):
                outlook = shortlist.outlook(error, target)
                if outlook.recall >= target:
                    break
            fit.add(shortlist.codes[chosen], scores, shortlist.errors[chosen])
            shortlist.predict()
            outlook = shortlist.outlook(error, target)
            if outlook.recall >= target and not fit.must_settle:
                break
        recall = 1.0 if len(found.rows) == self.index.num_docs else outlook.recall
        return found.hits(self.index), SurrogateStats(len(found.rows), rounds, recall)


@dataclass(frozen=True)
class _Outlook:
    """What a search expects of going on.

    :param recall: Estimated share of the true best k that is found.
    :param needed: Documents to score for the recall that is wanted, were today's predictions and errors the last.
    :param is_stale: Whether it is the age of the last scan that keeps the estimate below what is wanted.
    """

    recall: float
    needed: int
    is_stale: bool


class _Start:
    """What every query begins with, and what of it is computed once for all.

    :param size: Documents of the sample.
    :param most: Documents that may be scored; None for no bound.
    """

    def __init__(self, index: FlatIndex, surrogate: Surrogate, codes: Codes, size: int, most: int | None) -> None:
        sample = surrogate.sample[:size][:most]
        outliers = np.setdiff1d(surrogate.outliers, sample)
        self.rows = np.concatenate([sample, outliers])[:most]
        vectors = index.vectors(self.rows)
        of_sample = codes.gather(torch.from_numpy(sample))
        #: Scores the rows and gives, for each query, a fit to its scores of the sample: outliers would spoil it.
        self.fits: _Ridges | _Tangents
        if surrogate.has_gradients:
            self.fits = _Tangents(surrogate, vectors, of_sample)
        else:
            self.fits = _Ridges(surrogate, vectors, of_sample, codes.errors[torch.from_numpy(sample)])


class _Ridges:
    """Fits scores of the sample by ridge regression, towards what each query's output layer lets expect.

    :param vectors: The sample's and the outliers', *Shape:* ``(num_rows, dim)``.
    :param codes: The sample's, *Shape:* ``(n, code_size)``.
    :param errors: The sample's, *Shape:* ``(n,)``.
    """

    def __init__(self, surrogate: Surrogate, vectors: np.ndarray, codes: Tensor, errors: Tensor) -> None:
        self._vectors, self._codes, self._errors = vectors, codes, errors.to(codes.device)
        self._output_map = torch.from_numpy(surrogate.output_map).to(codes.device)
        penalty = torch.from_numpy(surrogate.penalty).to(codes.device)
        self._inverse = inverse_gram(codes, self._errors, penalty).float()
        self._solver = self._inverse @ (codes / self._errors.square().unsqueeze(1)).T

    def __call__(self, scorer: Scorer, q_nets: QNets, k: int) -> tuple[Tensor, list[Fit]]:
        """Return each query's scores, *Shape:* ``(num_queries, num_rows)``, and its fit, for a search of the best k."""
        scores = scorer.score(self._vectors)
        outputs = q_nets.weights[-1].squeeze(2).to(self._output_map)
        expected = outputs.new_zeros(len(outputs), len(self._output_map))
        if outputs.shape[1] == self._output_map.shape[1]:  # else codes were made with q-nets of another width
            expected = outputs @ self._output_map.T
        surprise = scores[:, : len(self._codes)] - expected @ self._codes.T
        means = weighted_mean(surprise, self._errors)
        weights = expected + (surprise - means) @ self._solver.T
        each = zip(weights, means.squeeze(1).tolist(), strict=True)
        return scores, [RidgeFit(self._inverse, *of_query) for of_query in each]


class _Tangents:
    """Takes each q-net's gradients at the best documents of the sample.

    :param vectors: The sample's and the outliers', *Shape:* ``(num_rows, dim)``.
    :param codes: The sample's, *Shape:* ``(n, code_size)``.
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


class _Shortlist:
    """The documents that one query's rounds choose from.

    :param fit: Predicts their scores.
    :param found: What is scored already.
    """

    def __init__(self, codes: Codes, fit: Fit, found: _Found) -> None:
        self._all, self._fit, self._found = codes, fit, found

    def fill(self, proposals: Proposals, size: int) -> None:
        """Take what an engine proposes; if that is all documents, those that are most likely among the best k.

        :param proposals: Predictions of all documents are written over.
        :param size: Documents to take of all.
        """
        rows, self._rough, self._outside = proposals.rows, proposals.predictions, None
        self._is_glance = proposals.is_glance
        if rows is None:
            every, scored = proposals.predictions, self._found.rows
            every[scored] = -np.inf
            size = min(size, len(every) - len(scored))
            worth = every
            if not self._all.has_even_errors:
                bar = self._bar(every + np.float32(self._fit.mean)) - self._fit.mean
                worth = (every - np.float32(bar)) / self._all.errors.numpy()
            rows = np.sort(np.argpartition(worth, -size)[-size:]) if size else np.empty(0, np.intp)
            self._rough, self._outside = every[rows], every
            every[rows] = -np.inf
        self.rows = rows
        self.codes = self._all.gather(torch.from_numpy(rows))
        self.errors = self._all.errors[torch.from_numpy(rows)].to(self.codes.device)
        self.left = len(rows)
        self._open = torch.ones(self.left, dtype=torch.bool, device=self.codes.device)
        self.predict()

    def _bar(self, predictions: np.ndarray) -> float:
        """Return what the k-th best score would be if documents that are not scored had the scores predicted."""
        k = min(self._found.k, len(predictions))
        return self._found.bar_with(np.partition(predictions, len(predictions) - k)[len(predictions) - k :])

    def choose(self, count: int) -> Tensor:
        """Take the documents that are most likely among the best k, of those not scored; returns their places."""
        open_predictions = torch.where(self._open, self.predictions, -torch.inf)
        bar = self._bar(open_predictions.cpu().numpy())
        chosen = ((open_predictions - bar) / self.errors).topk(count).indices
        self._open[chosen] = False
        self.left -= count
        return chosen

    def predict(self) -> None:
        """Predict scores by the fit of today."""
        self.predictions = self._fit.predict(self.codes)

    def outlook(self, error: float, wanted: float) -> _Outlook:
        """Estimate the share of the true best k that is found already, and what is to be scored for more.

        A document that was not scored is taken to have its predicted score plus a normal error: as large as the
        errors of the last rounds' predictions inside of the list; outside of it, where the prediction is the last
        scan's, the difference between that scan and the predictions of today comes on top. It is only looked at when
        what is inside leaves the recall ``wanted``.

        :param error: Root mean square, of errors divided by the documents' own.
        :param wanted: The recall to reach.
        """
        found, worst = self._found, self._found.worst_hit
        if worst is None:
            return _Outlook(0.0, found.k, is_stale=False)
        if self._is_glance:
            return _Outlook(0.0, 2 * found.k, is_stale=False)  # the list does not tell; a round of many finds many
        still = self._open.cpu().numpy()
        predictions, errors = self.predictions.cpu().numpy(), self.errors.cpu().numpy()
        chances = _chances_above(worst, predictions[still], errors[still], error)
        recall = found.k / (found.k + float(chances.sum()))
        if recall < wanted:
            left = np.cumsum(np.sort(chances))  # of those that are the least likely
            return _Outlook(recall, int((left > found.k / wanted - found.k).sum()), is_stale=False)
        if self._outside is None:
            return _Outlook(recall, 0, is_stale=False)
        drift = predictions - self._rough
        outside_error = float(np.hypot(drift.std(), error)) if len(drift) else error
        bar = worst - float(drift.mean()) if len(drift) else worst
        outside = _chances_above(bar, self._outside, self._all.errors.numpy(), outside_error)
        recall = found.k / (found.k + float(chances.sum() + outside.sum()))
        return _Outlook(recall, 0, is_stale=recall < wanted)


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

    def has_new(self, count: int) -> bool:
        """Tell whether any of the last documents is among the best k."""
        worst = self.worst_hit
        return worst is None or bool((self.scores[len(self.scores) - count :] >= worst).any())

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
        pairs = zip(self.rows[kept].tolist(), self.scores[kept].tolist(), strict=True)
        return in_rank_order(Hit(index.docid(row), score) for row, score in pairs)[: self.k]


def _chances_above(bar: float, predictions: np.ndarray, errors: np.ndarray, times: float) -> np.ndarray:
    """Chances of true values above a bar, errors of predictions given; without those that have next to none.

    :param times: What the errors are to be multiplied by.
    """
    largest = errors.max(initial=0.0) * times
    near = np.flatnonzero(~(predictions <= bar - _FAR * largest))
    distances = (predictions[near] - bar) / np.maximum(times * errors[near], 1e-30)
    chances: np.ndarray = torch.special.ndtr(torch.from_numpy(distances[distances > -_FAR])).numpy()
    return chances
