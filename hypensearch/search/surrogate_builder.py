# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Makes the codes of a surrogate search: how an average q-net sees each document.

A q-net's score is linear in the last hidden state. That state depends on the query, but not much: most of a q-net's
blocks is common to all queries. So the last hidden state under the *mean* q-net of some queries is a feature in which
any query's scores are nearly linear, more so than in the document vector, and it is computed once for all queries.

A few documents with extreme features are scored quite otherwise than any linear function would (a q-net's layer norms
bound what such a document gets). They are found with the typical queries, and every search scores them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hypensearch.cli import progress_bar
from hypensearch.index.flat import FlatIndex
from hypensearch.index.surrogate import Surrogate, write_surrogate
from hypensearch.models.q_net import QNets
from hypensearch.search.scorer import Scorer

logger = logging.getLogger(__name__)

CODE_SIZE = 256
CODE_MULTIPLE = 32  # what the product of 8-bit integers takes
SAMPLE_ROWS = 1024
QUERIES = 64
_BLOCK_ROWS = 8192
_FIT_ROWS = 32768
_OUTLIER_CANDIDATES = 1024
_MAX_OUTLIERS = 256
_CALIBRATION_ROWS = 4096
_KNOTS = 8
_MOST_HALF = 65504.0
_SURPRISE = 6.0  # errors of a linear fit: a document is an outlier that scores so much higher for a typical query
_AMONG_BEST = 4  # and higher than so many of the sample have


def build_surrogate(
    index: FlatIndex, q_nets: QNets, device: torch.device, *, seed: int = 0, show_progress: bool = False
) -> Surrogate:
    """Compute and store the codes of all documents.

    :param index: The document vectors.
    :param q_nets: Q-nets of typical queries; their mean gives the features.
    :param device: Where to compute.
    :param seed: Chooses the sample that every query scores first.
    :param show_progress: Whether to draw a progress bar.
    """
    scorer = Scorer(mean_q_net(q_nets), device)
    chance = np.random.default_rng(seed)
    sample = chance.permutation(index.num_docs)[:SAMPLE_ROWS]
    center, basis, spread = _principal_components(scorer, index, chance)
    facts = {"queries": len(q_nets), "seed": seed}
    empty = -basis.shape[1] % CODE_MULTIPLE
    basis, spread = torch.nn.functional.pad(basis, (0, empty)), torch.nn.functional.pad(spread, (0, empty), value=1.0)
    extremes = _Extremes(spread)
    with progress_bar(index.num_docs, unit="document", description="surrogate codes", show=show_progress) as bar:
        blocks = _codes(scorer, index, center, basis, extremes, bar.update)

        def of_extremes() -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
            rows = np.concatenate([sample, np.sort(chance.permutation(index.num_docs)[:_CALIBRATION_ROWS])])
            codes = (scorer.last_states(gather(index, rows)) - center) @ basis
            fits = _Fits(Scorer(q_nets, device), index, sample, codes[: len(sample)])
            others = rows[len(sample) :], codes[len(sample) :]
            return _outliers(fits, extremes), extremes.rows.cpu().numpy(), _growth_of_errors(fits, extremes, *others)

        return write_surrogate(index, sample, blocks, of_extremes, facts)


def mean_q_net(q_nets: QNets) -> QNets:
    """Return the q-net whose weights are the mean of some q-nets' weights."""
    weights = [weight.mean(dim=0, keepdim=True) for weight in q_nets.weights]
    return QNets(q_nets.config, weights, [bias.mean(dim=0, keepdim=True) for bias in q_nets.biases])


def _principal_components(
    scorer: Scorer, index: FlatIndex, chance: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Fit centre and basis on some documents, and the codes' spread; codes have a mean norm of one."""
    rows = np.sort(chance.permutation(index.num_docs)[:_FIT_ROWS])
    states = scorer.last_states(gather(index, rows)).double()
    center = states.mean(dim=0)
    centred = states - center
    scale = centred.norm(dim=1).mean().clamp(min=1e-12)
    _, vectors = torch.linalg.eigh(centred.T @ centred)
    basis = vectors.flip(1)[:, :CODE_SIZE] / scale
    variance = (centred @ basis).square().mean(dim=0)
    spread = (variance + 0.03 * variance.mean()).sqrt().clamp(min=1e-12)
    return center.float(), basis.float(), spread.float()


def _codes(
    scorer: Scorer,
    index: FlatIndex,
    center: Tensor,
    basis: Tensor,
    extremes: _Extremes,
    done: Callable[[int], object],
) -> Iterator[tuple[np.ndarray, ...]]:
    for shard in index.shards:
        for start in range(0, shard.num_docs, _BLOCK_ROWS):
            block = shard.vectors[start : start + _BLOCK_ROWS]
            codes = (scorer.last_states(block) - center) @ basis
            extremes.add(codes, shard.start + start)
            leverage = extremes.leverage(codes).clamp(max=_MOST_HALF).half().cpu().numpy()
            yield (*_quantised(codes.cpu()), leverage)
            done(len(block))


def _quantised(codes: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Write each code as multiples of its own scale."""
    scales = (codes.abs().amax(dim=1) / 127).clamp(min=1e-12).bfloat16()
    integers = (codes / scales.float().unsqueeze(1)).round_().clamp_(-127, 127).to(torch.int8)
    return integers.numpy(), scales.view(torch.int16).numpy().view(np.uint16)


class _Extremes:
    """The documents whose codes lie farthest out, each component measured by its spread (leverage).

    :param spread: Of each component, *Shape:* ``(code_size,)``.
    """

    def __init__(self, spread: Tensor) -> None:
        self.rows = torch.empty(0, dtype=torch.int64, device=spread.device)
        self.codes = spread.new_empty(0, len(spread))
        self._spread = spread

    def add(self, codes: Tensor, start: int) -> None:
        """Look at documents from row ``start``."""
        codes = torch.cat([self.codes, codes])
        rows = torch.cat([self.rows, torch.arange(start, start + len(codes) - len(self.rows), device=codes.device)])
        kept = self.leverage(codes).topk(min(_OUTLIER_CANDIDATES, len(rows))).indices
        self.rows, self.codes = rows[kept], codes[kept]

    def leverage(self, codes: Tensor) -> Tensor:
        """Return how far out codes lie, *Shape:* ``(len(codes),)``; 1 is usual."""
        return (codes / self._spread).square().mean(dim=1)


class _Fits:
    """The linear fits of typical queries' scores to a sample, and how far they are off elsewhere.

    :param scorer: Of the typical queries.
    :param sample: Rows, *Shape:* ``(n,)``.
    :param codes: Theirs, *Shape:* ``(n, code_size)``.
    """

    def __init__(self, scorer: Scorer, index: FlatIndex, sample: np.ndarray, codes: Tensor) -> None:
        self._scorer, self._index = scorer, index
        scores = scorer.score(gather(index, sample)).double()
        self._mean = scores.mean(dim=1, keepdim=True)
        codes = codes.double()
        gram = codes.T @ codes
        gram += (0.03 * gram.diagonal().mean() + 1e-6) * torch.eye(len(gram), device=gram.device)
        self._weights = torch.linalg.solve(gram, codes.T @ (scores - self._mean).T)
        deviations = scores - self._mean - (codes @ self._weights).T
        self.error = deviations.square().mean(dim=1, keepdim=True).sqrt().clamp(min=1e-9)
        self.among_the_best = scores.topk(min(_AMONG_BEST, len(sample)), dim=1).values[:, -1:]

    def surprise(self, rows: np.ndarray, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Return how many errors documents score above their predictions, and their scores: ``(num_queries, n)``."""
        scores = self._scorer.score(gather(self._index, rows)).double()
        return (scores - self._mean - (codes.double() @ self._weights).T) / self.error, scores


def _outliers(fits: _Fits, extremes: _Extremes) -> np.ndarray:
    """Choose the extreme documents that some typical query scores far above a linear fit to the sample."""
    rows = extremes.rows.cpu().numpy()
    surprise, scores = fits.surprise(rows, extremes.codes)
    times = ((surprise > _SURPRISE) & (scores > fits.among_the_best)).sum(dim=0)
    most = times.topk(min(_MAX_OUTLIERS, len(times)))
    return rows[most.indices[most.values > 0].cpu().numpy()]


def _growth_of_errors(fits: _Fits, extremes: _Extremes, rows: np.ndarray, codes: Tensor) -> dict[str, Any]:
    """Measure how the error of a linear fit grows with a document's leverage: farther out, it tells less.

    :param rows: Random documents, *Shape:* ``(n,)``.
    :param codes: Theirs, *Shape:* ``(n, code_size)``.
    :return: Leverages, ascending, and the root mean square error there, 1 for a random document's.
    """
    squares = [
        fits.surprise(*some)[0].square().mean(dim=0)
        for some in ((rows, codes), (extremes.rows.cpu().numpy(), extremes.codes))
    ]
    leverages = [extremes.leverage(some) for some in (codes, extremes.codes)]
    usual = float(squares[0].mean().clamp(min=1e-12))
    knots: list[tuple[float, float]] = []
    for square, leverage in zip(squares, leverages, strict=True):
        order = leverage.argsort()
        for part in order.tensor_split(min(_KNOTS, len(order))):
            knots.append((float(leverage[part].mean()), float((square[part].mean() / usual).sqrt())))
    knots.sort()
    errors = np.maximum.accumulate([error for _, error in knots])
    return {"error_growth": {"leverage": [leverage for leverage, _ in knots], "error": errors.tolist()}}


def gather(index: FlatIndex, rows: Sequence[int] | np.ndarray) -> np.ndarray:
    """Return the vectors of some rows of the whole index, float32, *Shape:* ``(len(rows), dim)``."""
    rows = np.asarray(rows)
    vectors = np.empty((len(rows), index.dim), dtype=np.float32)
    for shard in index.shards:
        inside = (rows >= shard.start) & (rows < shard.start + shard.num_docs)
        if inside.any():
            vectors[inside] = shard.vectors[rows[inside] - shard.start]
    return vectors
