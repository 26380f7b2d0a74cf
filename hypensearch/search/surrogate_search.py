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

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hypensearch.hits import Hit, in_rank_order
from hypensearch.index.flat import FlatIndex
from hypensearch.index.surrogate import Surrogate
from hypensearch.models.q_net import QNets
from hypensearch.search.scorer import Scorer, as_tensor
from hypensearch.search.surrogate_builder import gather

_RIDGE = 0.03
_CHOSEN_WEIGHT = 4.0  # of a document chosen by the fit, against one of the sample
_MAX_ROUNDS = 64


@dataclass(frozen=True)
class SurrogateOptions:
    """How hard a search tries.

    :param sample: Documents scored before the first fit.
    :param step: Documents scored a round; None for half of k, at least 64.
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

    def __init__(
        self, index: FlatIndex, surrogate: Surrogate, device: torch.device, options: SurrogateOptions | None = None
    ) -> None:
        self.index = index
        self.options = options or SurrogateOptions()
        #: What the last search did, a record for each query.
        self.stats: list[SurrogateStats] = []
        self._surrogate = surrogate
        self._device = device
        self._head = as_tensor(surrogate.head).to(device)
        self._sample = surrogate.sample[: self.options.sample]
        self._sample_vectors = gather(index, self._sample)
        codes = torch.from_numpy(surrogate.codes(self._sample)).to(device)
        self._sample_codes = codes
        head = codes[:, : self._head.shape[1]]
        self._head_solver = torch.linalg.solve(_regularised(head), head.T)
        self._gram = _regularised(codes)

    @torch.inference_mode()
    def search(self, q_nets: QNets, k: int) -> list[list[Hit]]:
        """Find the best documents of each query.

        :param k: Hits wanted of each query; fewer where the index, or ``max_scored``, is smaller.
        :return: A ranked list for each q-net: exact scores, higher first, equal ones by docid.
        """
        scorer = Scorer(q_nets, self._device)
        sample_scores = scorer.score(self._sample_vectors)
        means = sample_scores.mean(dim=1, keepdim=True)
        weights = self._head_solver @ (sample_scores - means).T
        rough = self._head @ weights.to(self._head.dtype)
        found = [
            self._search_one(scorer, query, sample_scores[query], rough[:, query].float(), k)
            for query in range(len(q_nets))
        ]
        self.stats = [stats for _, stats in found]
        return [hits for hits, _ in found]

    def _search_one(
        self, scorer: Scorer, query: int, sample_scores: Tensor, rough: Tensor, k: int
    ) -> tuple[list[Hit], SurrogateStats]:
        options = self.options
        k = min(k, self.index.num_docs)
        step = options.step or max(64, k // 2)
        budget = min(options.max_scored or self.index.num_docs, self.index.num_docs)
        shortlist = _Shortlist(self._surrogate, rough, max(options.shortlist or max(2048, 8 * k), k), self._sample)
        fit = _Fit(self._gram, self._sample_codes, sample_scores)
        found = _Found(self._sample, sample_scores.cpu().numpy(), k)
        rounds, recall = 0, 0.0
        while rounds < _MAX_ROUNDS:
            count = min(step, budget - len(found.rows), shortlist.left)
            if count <= 0:
                break
            chosen = shortlist.choose(fit.weights(), fit.mean, count)
            scores = scorer.score_one(query, gather(self.index, shortlist.rows[chosen]))
            error = scores - shortlist.predictions[chosen]
            fit.add(shortlist.codes[chosen], scores)
            found.add(shortlist.rows[chosen], scores.cpu().numpy())
            rounds += 1
            recall = shortlist.recall(fit.weights(), fit.mean, found, float(error.pow(2).mean().sqrt()))
            if recall >= options.target_recall:
                break
        if len(found.rows) == self.index.num_docs:
            recall = 1.0
        return found.hits(self.index), SurrogateStats(len(found.rows), rounds, recall)


class _Shortlist:
    """The documents that one query's rounds choose from."""

    def __init__(self, surrogate: Surrogate, rough: Tensor, size: int, scored: np.ndarray) -> None:
        size = min(size, len(rough))
        by_row = rough.cpu().numpy()
        self.rows = np.argpartition(by_row, len(by_row) - size)[len(by_row) - size :]
        self.rows.sort()
        self.codes = torch.from_numpy(surrogate.codes(self.rows)).to(rough.device)
        self.predictions = rough[torch.from_numpy(self.rows).to(rough.device)]
        self._rough = self.predictions
        self._outside = np.delete(by_row, self.rows)
        self._open = torch.from_numpy(~np.isin(self.rows, scored)).to(rough.device)
        self.left = int(self._open.sum())

    def choose(self, weights: Tensor, mean: Tensor, count: int) -> Tensor:
        """Take the most promising documents that are not scored yet; returns their places in the list."""
        self.predictions = self.codes @ weights + mean
        chosen = torch.where(self._open, self.predictions, -torch.inf).topk(count).indices
        self._open[chosen] = False
        self.left -= count
        return chosen

    def recall(self, weights: Tensor, mean: Tensor, found: _Found, error: float) -> float:
        """Estimate the share of the true best k that is found already.

        A document that was not scored is taken to have its predicted score plus a normal error: as large as the
        error of the last round's predictions inside of the list, as that of the first scan outside of it.
        """
        worst = found.worst_hit
        if worst is None:
            return 0.0
        predictions = self.codes @ weights + mean
        inside = _chance_above(worst, predictions[self._open], error)
        rough_error = predictions - (self._rough + mean)
        bias, spread = float(rough_error.mean()), float(rough_error.std())
        outside = _chance_above(worst, torch.from_numpy(self._outside) + mean.cpu() + bias, spread)
        return found.k / (found.k + inside + outside)


class _Fit:
    """Ridge regression of one query's scores on codes, added to round by round."""

    def __init__(self, gram: Tensor, codes: Tensor, scores: Tensor) -> None:
        self.mean = scores.mean()
        self._gram = gram.clone()
        self._moment = codes.T @ (scores - self.mean)

    def add(self, codes: Tensor, scores: Tensor) -> None:
        """Learn from documents that the fit itself chose: they lie where it must be right."""
        self._gram.addmm_(codes.T, codes, alpha=_CHOSEN_WEIGHT)
        self._moment.addmv_(codes.T, scores - self.mean, alpha=_CHOSEN_WEIGHT)

    def weights(self) -> Tensor:
        """Solve for the weights of the codes."""
        factor = torch.linalg.cholesky(self._gram)
        return torch.cholesky_solve(self._moment.unsqueeze(1), factor).squeeze(1)


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


def _regularised(codes: Tensor) -> Tensor:
    """Return the Gram matrix of codes, its diagonal raised by a share of its mean."""
    gram = codes.T @ codes
    raise_by = _RIDGE * float(gram.diagonal().mean()) + 1e-6
    return gram + raise_by * torch.eye(len(gram), device=gram.device)


def _chance_above(bar: float, predictions: Tensor, error: float) -> float:
    """Expected number of predictions whose true value lies above a bar."""
    if error <= 0:
        return float((predictions > bar).sum())
    return float(torch.special.ndtr((predictions - bar) / error).sum())
