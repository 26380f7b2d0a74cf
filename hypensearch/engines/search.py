# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Surrogate search over a database: a round is one call, and exact scores and fits are computed here.

The rounds are those of :mod:`hypensearch.surrogate.search`, but what lies beyond the engine's answer is not seen: its
share of the best k is estimated from the sample, a random part of all documents, whose codes are kept here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from hypensearch.engines.engine import Documents, Engine, blocks
from hypensearch.engines.options import EngineOptions
from hypensearch.errors import HypensearchError, as_typed
from hypensearch.flat.index import FlatIndex
from hypensearch.models.q_net import QNets
from hypensearch.scoring.found import Found
from hypensearch.scoring.scorer import Scorer
from hypensearch.surrogate.codes import Codes
from hypensearch.surrogate.fits import SAMPLE, Fit, first_fits
from hypensearch.surrogate.scored import DOUBT, JUDGED_ROUNDS, SETTLED, Scored, probabilities_above
from hypensearch.surrogate.search import usual_target
from hypensearch.surrogate.store import Surrogate, open_surrogate

_MAX_ROUNDS = 16
_LISTED = 4  # an answer lists so many times the documents that come with their vectors
_BLOCK_ROWS = 65536


class EngineSearch:
    """Finds the best documents with a few calls to a database for each query.

    :param index: The index that was exported; its codes and vectors are not read, but for a sample of about 1,000.
    :param engine: The database that holds them.
    :param device: Where to score.
    :param options: When to stop.
    :raises HypensearchError: When the engine does not hold this index, or not all of it.
    """

    def __init__(self, index: FlatIndex, engine: Engine, device: torch.device, options: EngineOptions) -> None:
        self.index, self.engine, self.options = index, engine, options
        self._device = device
        surrogate = open_surrogate(index)
        check_holds(engine, index, surrogate, options.engine_url)
        assert surrogate is not None
        self._errors = surrogate.errors()
        self._budget = min(options.max_scored or index.num_docs, index.num_docs)
        self._codes = Codes(surrogate, torch.device("cpu"))
        self._sample, self._sample_codes = surrogate.sample, self._codes.gather(torch.from_numpy(surrogate.sample))
        self._first_rows, self._first_fits = first_fits(index, surrogate, self._codes, options.max_scored, device)

    @torch.inference_mode()
    def search(self, q_nets: QNets, k: int, starts: Sequence[np.ndarray] | None = None) -> list[Found]:
        """Find the best documents of each query.

        :param q_nets: The queries' q-nets.
        :param k: Documents wanted of each query; fewer are found where the index, or ``max_scored``, is smaller.
        :param starts: Ignored.
        """
        k = min(k, self.index.num_docs)
        scorer = Scorer(q_nets, self._device)
        scores, fits = self._first_fits(scorer, q_nets, k)
        found = []
        for query, of_query in enumerate(scores.cpu().numpy()):
            found.append(self._search_one(scorer, query, Scored(self._first_rows, of_query, k), fits.pop(0)))
        return found

    @torch.inference_mode()
    def recall_of_engine(self, q_nets: QNets, count: int = SAMPLE) -> float:
        """Measure the recall of the engine's own index: the mean share of the best codes that it finds.

        :param q_nets: Their first fits are asked for.
        :param count: Best codes of each fit.
        """
        _, fits = self._first_fits(Scorer(q_nets, self._device), q_nets, count)
        weights = torch.stack([fit.weights for fit in fits]).cpu()
        best = self._best_codes(weights, min(count, self.index.num_docs))
        none = np.empty(0, dtype=np.int64)
        shares = []
        for wanted, of_fit in zip(best, weights.numpy(), strict=True):
            found = self.engine.best(of_fit, len(wanted), 0, none).rows
            shares.append(len(np.intersect1d(found, wanted)) / len(wanted))
        return float(np.mean(shares))

    def _best_codes(self, weights: torch.Tensor, count: int) -> np.ndarray:
        """Return the rows of the highest inner products with weights, *Shape:* ``(num_fits, count)``."""
        products = []
        for rows in blocks(self.index.num_docs, 0, _BLOCK_ROWS):
            products.append(weights @ self._codes.gather(torch.arange(rows.start, rows.stop)).T)
        return torch.cat(products, dim=1).topk(count, dim=1).indices.numpy()

    def _search_one(self, scorer: Scorer, query: int, scored: Scored, fit: Fit) -> Found:
        step = max(fit.step, scored.k // 2)
        target = self.options.target_recall or usual_target(scored.k)
        rounds, needed, recall, settled = 0, step, 0.0, not fit.must_settle
        squares: list[torch.Tensor] = []  # of errors, by round
        while len(scored.rows) < self._budget and rounds < _MAX_ROUNDS:
            count = min(max(step, needed), self._budget - len(scored.rows))
            answer = self.engine.best(fit.weights.cpu().numpy(), _LISTED * count, count, scored.rows)
            codes = torch.from_numpy(answer.codes).to(self._device)
            predictions = fit.predict(codes)
            if squares:
                error = DOUBT * float(torch.cat(squares[-JUDGED_ROUNDS:]).mean().sqrt())
                is_all = len(answer.rows) < _LISTED * count
                recall, needed = self._outlook(scored, fit, answer, predictions.cpu().numpy(), error, target, is_all)
                if recall >= target and settled:
                    break
            if not len(answer.rows):
                break
            best = slice(len(answer.vectors))
            rows = answer.rows[best]
            scores = scorer.score_one(query, answer.vectors.astype(np.float32), fit.tape)
            errors = torch.from_numpy(self._errors[rows]).to(self._device)
            squares.append(fit.squares((scores - predictions[best]) / errors))
            scored.add(rows, scores.cpu().numpy())
            rounds += 1
            settled = not fit.must_settle or not scored.has_new(int(SETTLED * len(rows)))
            fit.add(codes[best], scores, errors)
        recall = 1.0 if len(scored.rows) == self.index.num_docs else recall
        return Found(*scored.best(self.index), len(scored.rows), rounds, recall)

    def _outlook(
        self,
        scored: Scored,
        fit: Fit,
        answer: Documents,
        predictions: np.ndarray,
        error: float,
        target: float,
        is_all: bool,
    ) -> tuple[float, int]:
        """Estimate the share of the true best k that is found, and how many documents to score for the target.

        :param predictions: Of the answer's documents.
        :param error: Root mean square of errors divided by the documents' own.
        :param is_all: Whether the answer lists all documents that are not scored.
        """
        worst = scored.worst_hit
        if worst is None:
            return 0.0, scored.k
        inside = probabilities_above(worst, predictions, self._errors[answer.rows], error)
        outside = 0.0
        if not is_all:
            of_sample = fit.predict(self._sample_codes.to(self._device)).cpu().numpy()
            beyond = (of_sample < predictions.min()) & ~np.isin(self._sample, scored.rows)
            likely = probabilities_above(worst, of_sample[beyond], self._errors[self._sample[beyond]], error)
            outside = float(likely.sum()) * self.index.num_docs / len(self._sample)
        left = np.cumsum(np.sort(inside)) + outside
        recall = scored.k / (scored.k + float(inside.sum()) + outside)
        return recall, int((left > scored.k / target - scored.k).sum())


def check_holds(engine: Engine, index: FlatIndex, surrogate: Surrogate | None, url: str) -> None:
    """Check that an engine holds the codes and vectors of an index, all of them.

    :raises HypensearchError: Says how to export it.
    """
    export = as_typed("hypensearch.export", "--index", index.folder, "--engine-url", url)
    facts = engine.facts()
    if facts is None:
        raise HypensearchError(f"{url} does not hold {index.folder}; load it with: {export}")
    if surrogate is None or facts.get("codes") != surrogate.digest:
        raise HypensearchError(f"{url} holds other codes than {index.folder}; load it again: {export} --overwrite")
    if (found := engine.num_docs()) != index.num_docs:
        raise HypensearchError(f"{url} holds {found:,} of {index.num_docs:,} documents; continue with: {export}")
