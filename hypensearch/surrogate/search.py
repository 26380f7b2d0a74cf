# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Surrogate search: fit a linear function to a few exact scores, score the highest-ranked predictions, fit again.

The idea is known for cross-encoders (AXN, arXiv 2405.03651). Here the function is linear in a feature that the q-nets
have in common (:mod:`hypensearch.surrogate.builder`), and the fit has a prior that was estimated from typical queries,
so that few exact scores determine it:

1. score a sample, the same for all queries, and fit (the sample's part of the fit is computed once);
2. one scan of all documents' codes, as 8-bit integers, gives a shortlist: those most likely among the best k;
3. in rounds: score the most likely of the shortlist, as many as seem to be needed, and fit again; scan again from time
   to time; stop when few documents are likely to be missing from the best k.

Where q-nets are far from linear, codes are of the document vectors, and the q-net's mean gradient at the best documents
takes the place of the regression (:mod:`hypensearch.surrogate.fits`). The first one, at documents of the sample, is
rough: in a large index it ranks a subsample only.

Hits have their exact scores. Every search estimates its own recall from the errors of its predictions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hypensearch.flat.index import FlatIndex
from hypensearch.models.q_net import QNets
from hypensearch.scoring.found import Found
from hypensearch.scoring.scorer import Scorer
from hypensearch.surrogate.codes import Codes, Subsample
from hypensearch.surrogate.fits import Fit, first_fits
from hypensearch.surrogate.options import SurrogateOptions
from hypensearch.surrogate.scored import DOUBT, JUDGED_ROUNDS, SETTLED, Scored, probabilities_above
from hypensearch.surrogate.store import Surrogate

_MAX_ROUNDS = 32
_LEAST_HITS = 128  # the shortlist for fewer hits is as long as for so many
_LATER, _GROWTH = 2, 1 / 3  # a later round scores at most so many times the first one's documents, or of all scored
_CHOICE = 4  # a shortlist has at least so many times the documents of the next round
_ROUGH_SCORES = 2**26  # numbers that a scan may give at a time, for several queries


def usual_target(k: int) -> float:
    """Return the default target recall for k hits: what is missing of many hits ranks low and matters less."""
    return 1 - min(0.02, 0.002 * (max(k, 10) / 10) ** 0.5)


class SurrogateSearch:
    """Finds the best documents with a few hundred exact scores a query.

    :param index: The document vectors.
    :param surrogate: The codes of its documents.
    :param device: Where to compute.
    :param options: When to stop.
    """

    def __init__(
        self, index: FlatIndex, surrogate: Surrogate, device: torch.device, options: SurrogateOptions | None = None
    ) -> None:
        self.index = index
        self.options = options or SurrogateOptions()
        self.has_gradients = surrogate.has_gradients
        self._device = device
        self._codes = Codes(surrogate, device)
        self._budget = min(self.options.max_scored or index.num_docs, index.num_docs)
        is_large = Subsample.is_worthwhile(index.num_docs)
        self._subsample = Subsample(self._codes) if surrogate.has_gradients and is_large else None
        self._first_rows, self._first_fits = first_fits(index, surrogate, self._codes, self.options.max_scored, device)

    @torch.inference_mode()
    def search(self, q_nets: QNets, k: int, starts: Sequence[np.ndarray] | None = None) -> list[Found]:
        """Find the best documents of each query.

        :param q_nets: The queries' q-nets.
        :param k: Documents wanted of each query; fewer are found where the index, or ``max_scored``, is smaller.
        :param starts: Ignored.
        """
        together = max(1, _ROUGH_SCORES // self.index.num_docs)
        parts = [q_nets[first : first + together] for first in range(0, len(q_nets), together)]
        return [found for part in parts for found in self._search_some(part, min(k, self.index.num_docs))]

    def _search_some(self, q_nets: QNets, k: int) -> Iterator[Found]:
        scorer = Scorer(q_nets, self._device)
        first_scores, fits = self._first_fits(scorer, q_nets, k)
        weights = torch.stack([fit.weights for fit in fits])
        size, step = self._shortlist_size(fits[0], k), _step(fits[0], k)
        some: list[tuple[np.ndarray, np.ndarray]] = []
        every = np.empty(0)
        if self._subsample and self._budget >= len(self._first_rows) + 2 * step:
            some = self._subsample.best(weights, step, self._first_rows)
        else:
            every = self._codes.scan(weights)
        for query in range(len(q_nets)):
            fit = fits.pop(0)  # what it keeps of its documents is needed no longer than its search takes
            scored = Scored(self._first_rows, first_scores[query].cpu().numpy(), k)
            shortlist = _Shortlist(self._codes, fit, scored)
            if some:
                shortlist.take(*some[query])
            else:
                shortlist.choose_from(every[query], size)
            yield self._search_one(scorer, query, scored, shortlist, fit)

    def _shortlist_size(self, fit: Fit, k: int) -> int:
        return fit.choice * max(k, _LEAST_HITS)

    def _search_one(self, scorer: Scorer, query: int, scored: Scored, shortlist: _Shortlist, fit: Fit) -> Found:
        step = _step(fit, scored.k)
        target = self.options.target_recall or usual_target(scored.k)
        rounds, outlook, error = 0, _Outlook(0.0, step, is_stale=False), 0.0
        squares: list[Tensor] = []  # of errors, by round
        while len(scored.rows) < self._budget and rounds < _MAX_ROUNDS:
            most = max(_LATER * step, int(len(scored.rows) * _GROWTH))
            count = min(max(step, min(outlook.needed, most)), self._budget - len(scored.rows))
            if shortlist.left < count or outlook.is_stale or rounds in fit.scans:
                size = max(self._shortlist_size(fit, scored.k), _CHOICE * count)
                shortlist.choose_from(self._codes.scan(fit.weights[None])[0], size)
                if not shortlist.left:
                    break
                if outlook.is_stale:
                    outlook = shortlist.outlook(error, target)
                    if outlook.recall >= target:
                        break
            chosen = shortlist.pop_likeliest(min(count, shortlist.left))
            rows = shortlist.rows[chosen.cpu().numpy()]
            scores = scorer.score_one(query, self.index.vectors(rows), fit.tape)
            squares.append(fit.squares((scores - shortlist.predictions[chosen]) / shortlist.errors[chosen]))
            error = DOUBT * float(torch.cat(squares[-JUDGED_ROUNDS:]).mean().sqrt())
            scored.add(rows, scores.cpu().numpy())
            rounds += 1
            if fit.must_settle and not scored.has_new(int(SETTLED * count)):
                outlook = shortlist.outlook(error, target)
                if outlook.recall >= target:
                    break
            fit.add(shortlist.codes[chosen], scores, shortlist.errors[chosen])
            shortlist.predict()
            outlook = shortlist.outlook(error, target)
            if outlook.recall >= target and not fit.must_settle:
                break
        recall = 1.0 if len(scored.rows) == self.index.num_docs else outlook.recall
        return Found(*scored.best(self.index), len(scored.rows), rounds, recall)


def _step(fit: Fit, k: int) -> int:
    return max(fit.step, k // 2)


@dataclass(frozen=True)
class _Outlook:
    """What more rounds would bring.

    :param recall: Estimated share of the true best k that is found.
    :param needed: Documents to score for the target, if predictions and errors stayed as they are.
    :param is_stale: Whether the estimate is below the target only because the last scan is old.
    """

    recall: float
    needed: int
    is_stale: bool


class _Shortlist:
    """The documents that one query's rounds choose from.

    :param fit: Predicts their scores.
    :param scored: What is scored already.
    """

    def __init__(self, codes: Codes, fit: Fit, scored: Scored) -> None:
        self._all, self._fit, self._scored = codes, fit, scored
        self._outside: np.ndarray | None = None  # predictions of all documents that are not on the list

    def choose_from(self, products: np.ndarray, size: int) -> None:
        """Take those of all documents that are most likely among the best k.

        :param products: Inner products with all codes, written over, *Shape:* ``(num_docs,)``.
        :param size: Documents to take.
        """
        scored = self._scored.rows
        products[scored] = -np.inf
        size = min(size, len(products) - len(scored))
        worth = products
        if not self._all.has_even_errors:
            bar = self._bar(products + np.float32(self._fit.mean)) - self._fit.mean
            worth = (products - np.float32(bar)) / self._all.errors.numpy()
        rows = np.sort(np.argpartition(worth, -size)[-size:]) if size else np.empty(0, np.intp)
        self.take(rows, products[rows])
        self._outside = products
        products[rows] = -np.inf

    def take(self, rows: np.ndarray, products: np.ndarray) -> None:
        """Take given documents; nothing is known of the others.

        :param rows: Documents that are not scored yet, ascending, *Shape:* ``(n,)``.
        :param products: Their codes' inner products with the weights, *Shape:* ``(n,)``.
        """
        self.rows, self._rough, self._outside = rows, products, None
        self.codes = self._all.gather(torch.from_numpy(rows))
        self.errors = self._all.errors[torch.from_numpy(rows)].to(self.codes.device)
        self.left = len(rows)
        self._open = torch.ones(self.left, dtype=torch.bool, device=self.codes.device)
        self.predict()

    def _bar(self, predictions: np.ndarray) -> float:
        """Return what the k-th best score would be if documents that are not scored had the scores predicted."""
        k = min(self._scored.k, len(predictions))
        return self._scored.bar_with(np.partition(predictions, len(predictions) - k)[len(predictions) - k :])

    def pop_likeliest(self, count: int) -> Tensor:
        """Return the places of the documents that are most likely among the best k, and take them off the list."""
        open_predictions = torch.where(self._open, self.predictions, -torch.inf)
        bar = self._bar(open_predictions.cpu().numpy())
        chosen = ((open_predictions - bar) / self.errors).topk(count).indices
        self._open[chosen] = False
        self.left -= count
        return chosen

    def predict(self) -> None:
        """Predict scores by the present fit."""
        self.predictions = self._fit.predict(self.codes)

    def outlook(self, error: float, target: float) -> _Outlook:
        """Estimate the share of the true best k that is found already, and how many documents to score for more.

        A document that was not scored is taken to have its predicted score plus a normal error: on the list an error as
        large as those of the last rounds' predictions. Off the list, where the prediction is the last scan's, the
        difference between that scan and the present predictions comes on top; those documents are considered only when
        the ones on the list leave the ``target`` reachable.

        :param error: Root mean square of errors divided by the documents' own.
        :param target: The recall to reach.
        """
        scored, worst = self._scored, self._scored.worst_hit
        if worst is None:
            return _Outlook(0.0, scored.k, is_stale=False)
        if self._outside is None:
            return _Outlook(0.0, 2 * scored.k, is_stale=False)  # nothing is known of the others; a large round helps
        still = self._open.cpu().numpy()
        predictions, errors = self.predictions.cpu().numpy(), self.errors.cpu().numpy()
        inside = probabilities_above(worst, predictions[still], errors[still], error)
        recall = scored.k / (scored.k + float(inside.sum()))
        if recall < target:
            left = np.cumsum(np.sort(inside))  # of the least likely ones
            return _Outlook(recall, int((left > scored.k / target - scored.k).sum()), is_stale=False)
        drift = predictions - self._rough
        outside_error = float(np.hypot(drift.std(), error)) if len(drift) else error
        bar = worst - float(drift.mean()) if len(drift) else worst
        outside = probabilities_above(bar, self._outside, self._all.errors.numpy(), outside_error)
        recall = scored.k / (scored.k + float(inside.sum() + outside.sum()))
        return _Outlook(recall, 0, is_stale=recall < target)
