# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Makes the codes of a surrogate search: how an average q-net sees each document.

A q-net's score is linear in the last hidden state. That state depends on the query, but not much: most of a q-net's
blocks is common to all queries. So the last hidden state under the *mean* q-net of some queries is a feature in which
any query's scores are nearly linear, more so than in the document vector, and it is computed once for all queries.
A code holds those components of it that typical queries' scores depend on.

Q-nets that have little in common are another matter: typical queries' scores tell whether their gradients, each at its
best documents, predict what lies there clearly better than fits to states. If so, codes hold components of the document
vectors, those that gradients depend on.

A few documents with extreme features are scored quite otherwise than any linear function would (a q-net's layer norms
bound what such a document gets). How much so is measured with the typical queries, for each of those farthest out by
itself; every search scores the worst of them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from hypensearch.errors import HypensearchError
from hypensearch.flat.index import FlatIndex
from hypensearch.models.q_net import QNetConfig, QNets
from hypensearch.progress import progress_bar
from hypensearch.scoring.scorer import Scorer
from hypensearch.surrogate.fits import TANGENT_DOCS
from hypensearch.surrogate.gradients import gradients
from hypensearch.surrogate.store import Surrogate, write_surrogate

logger = logging.getLogger(__name__)

CODE_SIZE = 256
CODE_MULTIPLE = 32  # what the product of 8-bit integers takes
SAMPLE_ROWS = 1024
_MAX_QUERIES, _USUAL_QUERIES, _Q_NET_BYTES = 256, 64, 2**30
_BLOCK_ROWS = 8192
_FIT_ROWS, _SCORED_ROWS = 32768, 8192
_WORSE = 1.2  # times the variance that the most components leave unexplained, for fewer
_OUTLIER_CANDIDATES = 1024
_MAX_OUTLIERS = 128
_OUTLIER_ERROR = 6.0  # times as large as the usual document's
_CALIBRATION_ROWS = 4096
_KNOTS = 8
_RIDGE = 0.03  # of the mean of a Gram matrix' diagonal
_SHRINKAGE, _LEAST_MOMENT, _LEAST_NOISE = 0.1, 1e-6, 1e-4  # of fits to scores that vary by one
_STRANGE_SHARE = 0.02  # of the documents that components are sought on, left out as they lie farthest out
_MOST_HALF = 65504.0
_HEAD = 64  # best documents that features are judged by
_EVEN_ERRORS = {"error_growth": {"leverage": [1.0], "error": [1.0]}}
_BETTER = 0.7  # of the error of linear fits, for gradients to be used


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
    chance = np.random.default_rng(seed)
    sample = chance.permutation(index.num_docs)[:SAMPLE_ROWS]
    features, center, basis, spread = _components(q_nets.to(device, torch.float32), index, chance)
    facts = {"queries": len(q_nets), "seed": seed}
    empty = -basis.shape[1] % CODE_MULTIPLE
    basis, spread = torch.nn.functional.pad(basis, (0, empty)), torch.nn.functional.pad(spread, (0, empty), value=1.0)
    extremes = _Extremes(spread)
    with progress_bar(index.num_docs, unit="document", description="surrogate codes", show=show_progress) as bar:
        blocks = _codes(features, index, center, basis, extremes, bar.update)

        def of_typical_queries() -> tuple[dict[str, np.ndarray], dict[str, Any]]:
            if isinstance(features, Vectors):
                return _without_fits(q_nets, basis)
            rows = np.concatenate([sample, np.sort(chance.permutation(index.num_docs)[:_CALIBRATION_ROWS])])
            codes = (features.of(index.vectors(rows)) - center) @ basis
            leverage = extremes.leverage(codes[: len(sample)])
            fits = _Fits(q_nets, index, sample, codes[: len(sample)], leverage, basis)
            others = rows[len(sample) :], codes[len(sample) :]
            errors, facts = _errors_far_out(fits, extremes, *others)
            farthest = extremes.rows.cpu().numpy()
            arrays = {"outliers": _outliers(farthest, errors), "extremes": farthest, "extreme_errors": errors}
            return arrays | fits.prior | {"gradient_map": np.zeros((basis.shape[1], index.dim))}, facts

        return write_surrogate(index, sample, blocks, of_typical_queries, facts)


def how_many_queries(q_net: QNetConfig) -> int:
    """Tell how many typical queries to take: 64, or as many more as have q-nets that fit into a gibibyte (float32)."""
    num_parameters = sum(rows * columns + columns for rows, columns in pairwise(q_net.dims))
    return max(_USUAL_QUERIES, min(_MAX_QUERIES, _Q_NET_BYTES // (4 * num_parameters)))


def mean_q_net(q_nets: QNets) -> QNets:
    """Return the q-net whose weights are the mean of some q-nets' weights."""
    weights = [weight.mean(dim=0, keepdim=True) for weight in q_nets.weights]
    return QNets(q_nets.config, weights, [bias.mean(dim=0, keepdim=True) for bias in q_nets.biases])


class Features(Protocol):
    """What codes are made of."""

    #: Components of a code, at most.
    max_components: int

    def of(self, vectors: np.ndarray) -> Tensor:
        """Return the features of documents, float32, *Shape:* ``(len(vectors), size)``."""
        ...


class States:
    """Last hidden states under the mean q-net."""

    max_components = CODE_SIZE

    def __init__(self, q_nets: QNets, device: torch.device) -> None:
        self._scorer = Scorer(mean_q_net(q_nets), device)

    def of(self, vectors: np.ndarray) -> Tensor:
        """See :class:`Features`."""
        return self._scorer.last_states(vectors)


class Vectors:
    """Document vectors as they are."""

    max_components = 192  # more cost scans more than they save scores

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def of(self, vectors: np.ndarray) -> Tensor:
        """See :class:`Features`."""
        return torch.tensor(vectors, dtype=torch.float32, device=self._device)


def _components(
    q_nets: QNets, index: FlatIndex, chance: np.random.Generator
) -> tuple[Features, Tensor, Tensor, Tensor]:
    """Choose features, fit centre and basis on some documents, and the codes' spread; codes have a mean norm of one.

    Components are those of the features in the directions that typical queries' fits take, or their gradients, so that
    few tell much of scores; there are no more than are needed to tell nearly as much as :data:`CODE_SIZE` do. A second
    pass leaves out what lies farthest out in the first: some strange documents would make components theirs.
    """
    device = q_nets.weights[0].device
    rows = np.sort(chance.permutation(index.num_docs)[:_FIT_ROWS])
    vectors = index.vectors(rows)
    features: Features = States(q_nets, device)
    states = features.of(vectors).double()
    usual = _usual(states)
    scored = usual[:: -(-len(usual) // _SCORED_ROWS)]
    some = vectors[scored.cpu().numpy()]
    scores = _standardised(Scorer(q_nets, device).score(some).double())
    center = states[usual].mean(dim=0)
    fits = _linear_fits(states[scored] - center, scores)
    targets = _tangents(q_nets, torch.tensor(some, device=device), scores)
    if _error_at_head(targets, scores) < _BETTER * _error_at_head(((states[scored] - center) @ fits).T, scores):
        features = Vectors(device)
        states = features.of(vectors).double()
        usual = _usual(states)
        fits = _linear_fits(states[scored] - states[usual].mean(dim=0), targets)
    else:
        targets = scores
    center, basis, spread = _components_of(states[usual], _moments_of(fits))
    size = min(_enough((states[scored] - center) @ basis, targets), features.max_components)
    return features, center.float(), basis[:, :size].float(), spread[:size].float()


def _usual(states: Tensor) -> Tensor:
    """Return the places of features but for those that lie farthest out."""
    center, basis, spread = _components_of(states, torch.eye(states.shape[1], dtype=states.dtype, device=states.device))
    leverage = leverage_of((states - center) @ basis, spread)
    return leverage.topk(len(states) - int(len(states) * _STRANGE_SHARE), largest=False).indices.sort().values


def _standardised(scores: Tensor) -> Tensor:
    scores = scores - scores.mean(dim=1, keepdim=True)
    return scores / scores.square().mean(dim=1, keepdim=True).sqrt().clamp(min=1e-12)


def _tangents(q_nets: QNets, vectors: Tensor, scores: Tensor) -> Tensor:
    """Predict scores by the mean gradient at each query's best documents, *Shape:* ``(num_queries, n)``.

    :param vectors: Documents', *Shape:* ``(n, dim)``.
    :param scores: Theirs, standardised, *Shape:* ``(num_queries, n)``.
    """
    best = scores.topk(min(TANGENT_DOCS[0], len(vectors)), dim=1).indices
    slopes = [gradients(q_nets[query], vectors[of_query]).mean(dim=0) for query, of_query in enumerate(best)]
    return _standardised(torch.stack(slopes).double() @ vectors.double().T)


def _error_at_head(predictions: Tensor, scores: Tensor) -> float:
    """Return the share of the variance of each query's best documents' scores that predictions leave unexplained.

    Predictions may be off by a factor and a constant, as a ranking does not depend on them.
    """
    count = min(_HEAD, scores.shape[1])
    truth, places = scores.topk(count, dim=1)
    agreement = (_standardised(truth) * _standardised(predictions.gather(1, places))).mean(dim=1)
    return float((1 - agreement.clamp(min=0).square()).mean())


def _components_of(states: Tensor, moments: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Find principal components of states as fits with such second moments see them."""
    center = states.mean(dim=0)
    centred, root = states - center, torch.linalg.cholesky(moments)
    _, vectors = torch.linalg.eigh(root.T @ (centred.T @ centred) @ root)
    basis = root @ vectors.flip(1)[:, :CODE_SIZE]
    basis /= (centred @ basis).norm(dim=1).mean().clamp(min=1e-12)
    variance = (centred @ basis).square().mean(dim=0)
    return center, basis, (variance + 0.03 * variance.mean()).sqrt().clamp(min=1e-12)


def _linear_fits(states: Tensor, scores: Tensor) -> Tensor:
    return _ridge(states.T @ states, states.T @ scores.T)


def _moments_of(fits: Tensor) -> Tensor:
    """Return the second moments of fits, *Shape:* ``(width, width)``; half is equal in all directions."""
    moments = fits @ fits.T
    return moments / moments.diagonal().mean().clamp(min=1e-30) + torch.eye(len(moments)).to(moments)


def _enough(codes: Tensor, scores: Tensor) -> int:
    """Tell how many components are enough: more would leave hardly less of typical queries' scores unexplained."""
    gram, products = codes.T @ codes, codes.T @ scores.T
    sizes = [*range(CODE_MULTIPLE, codes.shape[1], CODE_MULTIPLE), codes.shape[1]]
    fits = [_ridge(gram[:size, :size], products[:size]) for size in sizes]
    errors = [(scores - (codes[:, : len(fit)] @ fit).T).square().mean() for fit in fits]
    enough = _WORSE * errors[-1] + _LEAST_NOISE
    return next(size for size, error in zip(sizes, errors, strict=True) if error <= enough)


def _ridge(gram: Tensor, products: Tensor) -> Tensor:
    raised = gram + (1e-3 * gram.diagonal().mean() + 1e-12) * torch.eye(len(gram)).to(gram)
    return torch.linalg.solve(raised, products)


def leverage_of(codes: Tensor, spread: Tensor) -> Tensor:
    """Return how far out codes lie, *Shape:* ``(len(codes),)``; 1 is usual."""
    return (codes / spread).square().mean(dim=1)


def _codes(
    features: Features,
    index: FlatIndex,
    center: Tensor,
    basis: Tensor,
    extremes: _Extremes,
    done: Callable[[int], object],
) -> Iterator[tuple[np.ndarray, ...]]:
    for shard in index.shards:
        for start in range(0, shard.num_docs, _BLOCK_ROWS):
            block = shard.vectors[start : start + _BLOCK_ROWS]
            codes = (features.of(block) - center) @ basis
            extremes.add(codes, shard.start + start)
            leverage = extremes.leverage(codes).clamp(max=_MOST_HALF).half().cpu().numpy()
            yield (*_quantised(codes.cpu()), leverage)
            done(len(block))


def _quantised(codes: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Write each code as multiples of its own scale."""
    scales = (codes.abs().amax(dim=1) / 127).clamp(min=1e-12).bfloat16()
    integers = (codes / scales.float().unsqueeze(1)).round_().clamp_(-127, 127).to(torch.int8)
    return integers.numpy(), scales.view(torch.int16).numpy().view(np.uint16)


def _without_fits(q_nets: QNets, basis: Tensor) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return what is stored beside codes of vectors, where gradients take the place of linear fits.

    :param basis: What vectors become codes by, *Shape:* ``(dim, code_size)``.
    """
    none, size = np.empty(0, dtype=np.int64), basis.shape[1]
    arrays = {
        "outliers": none,
        "extremes": none,
        "extreme_errors": none,
        "output_map": np.zeros((size, q_nets.config.dims[-2])),
        "penalty": np.eye(size),
        "gradient_map": torch.linalg.pinv(basis.double()).cpu().numpy(),
    }
    return arrays, _EVEN_ERRORS


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
        return leverage_of(codes, self._spread)


class _Fits:
    """The linear fits of typical queries' scores to a sample, and how far they are off elsewhere.

    :param q_nets: Those of the typical queries.
    :param sample: Rows, *Shape:* ``(n,)``.
    :param codes: Theirs, *Shape:* ``(n, code_size)``.
    :param leverage: Theirs, *Shape:* ``(n,)``; those far out count for less.
    :param basis: What last hidden states become codes by, *Shape:* ``(width, code_size)``.
    """

    def __init__(
        self, q_nets: QNets, index: FlatIndex, sample: np.ndarray, codes: Tensor, leverage: Tensor, basis: Tensor
    ) -> None:
        self._scorer, self._index = Scorer(q_nets, codes.device), index
        scores = self._scorer.score(index.vectors(sample)).double()
        codes, errors = codes.double(), leverage.double().clamp(min=1.0)
        self._mean = weighted_mean(scores, errors)
        shares = errors.square().reciprocal() / errors.square().reciprocal().sum()
        deviations = scores - self._mean
        spread = (deviations.square() @ shares).sqrt().clamp(min=1e-12).unsqueeze(1)
        expected, output_map = _by_output_layer(q_nets, codes, shares, deviations / spread, spread, basis)
        surprise = deviations - expected @ codes.T
        rest = inverse_gram(codes, errors) @ ((codes / errors.square().unsqueeze(1)).T @ surprise.T)
        self._weights = expected.T + rest
        residuals = deviations - (codes @ self._weights).T
        self.error = (residuals / errors).square().mean(dim=1, keepdim=True).sqrt().clamp(min=1e-9)
        noise = max(float((residuals / spread).square().mul(shares).sum(dim=1).mean()), _LEAST_NOISE)
        penalty = noise * torch.linalg.inv(_second_moments((rest / spread.T).T))
        #: What is known of a fit before anything is scored, as :class:`~hypensearch.surrogate.store.Surrogate` has it.
        self.prior = {"output_map": output_map.cpu().numpy(), "penalty": penalty.cpu().numpy()}

    def surprise(self, rows: np.ndarray, codes: Tensor) -> Tensor:
        """Return how many errors documents score above their predictions, *Shape:* ``(num_queries, n)``."""
        scores = self._scorer.score(self._index.vectors(rows)).double()
        return (scores - self._mean - (codes.double() @ self._weights).T) / self.error


def _by_output_layer(
    q_nets: QNets, codes: Tensor, shares: Tensor, deviations: Tensor, spread: Tensor, basis: Tensor
) -> tuple[Tensor, Tensor]:
    """Predict fits from the q-nets' output layers, as if their hidden blocks were those that codes were made with.

    Such a prediction is exact where all q-nets have the same blocks (but for the components that codes leave out), and
    worth nothing where they have little in common: one factor, fitted to the typical queries, says how much.

    :param deviations: Scores of a sample over their ``spread``, *Shape:* ``(num_queries, n)``.
    :return: The fits, *Shape:* ``(num_queries, code_size)``, and the map from output layers to them.
    """
    output_map = torch.linalg.pinv(basis.double())
    outputs = q_nets.weights[-1].squeeze(2).to(codes.device).double()
    predictions = (outputs @ output_map.T) @ codes.T
    predictions = (predictions - (predictions @ shares).unsqueeze(1)) / spread
    agreement = ((predictions * deviations) @ shares).mean()
    output_map *= agreement / (predictions.square() @ shares).mean().clamp(min=1e-12)
    return outputs @ output_map.T, output_map


def _second_moments(weights: Tensor) -> Tensor:
    """Return the second moments of fits, *Shape:* ``(n, code_size)``, shrunk towards an equal one of all directions."""
    moments = weights.T @ weights / len(weights)
    equal = _SHRINKAGE * moments.diagonal().mean() + _LEAST_MOMENT
    return moments + equal * torch.eye(len(moments), device=moments.device, dtype=moments.dtype)


def _errors_far_out(
    fits: _Fits, extremes: _Extremes, rows: np.ndarray, codes: Tensor
) -> tuple[np.ndarray, dict[str, Any]]:
    """Measure the errors of linear fits: how they grow with a document's leverage, and of each of those farthest out.

    :param rows: Random documents, *Shape:* ``(n,)``.
    :param codes: Theirs, *Shape:* ``(n, code_size)``.
    :return: The errors upwards of those farthest out, float32, and as facts leverages, ascending, with the root mean
        square error there. The usual random document's (the median) is 1.
    """
    surprises = [fits.surprise(*some) for some in ((rows, codes), (extremes.rows.cpu().numpy(), extremes.codes))]
    squares = [surprise.square().mean(dim=0) for surprise in surprises]
    usual = squares[0].median().clamp(min=1e-12)
    upwards = (2 * surprises[1].clamp(min=0).square().mean(dim=0) / usual).sqrt().clamp(min=1.0)
    knots: list[tuple[float, float]] = []
    for square, some in zip(squares, (codes, extremes.codes), strict=True):
        leverage = extremes.leverage(some).clamp(max=_MOST_HALF)
        order = leverage.argsort()
        for part in order.tensor_split([int(len(order) * (1 - 0.5**halvings)) for halvings in range(1, _KNOTS)]):
            if len(part):  # half of all, a quarter, an eighth: errors grow fast where few documents lie
                knots.append((float(leverage[part].mean()), float((square[part].mean() / usual).sqrt())))
    knots.sort()
    errors = np.maximum.accumulate([error for _, error in knots])
    growth = {"leverage": [leverage for leverage, _ in knots], "error": errors.tolist()}
    return upwards.float().cpu().numpy(), {"error_growth": growth}


def _outliers(rows: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """Choose the documents that linear fits tell least of, if it is little enough: every search scores them."""
    worst = np.argsort(-errors, kind="stable")[:_MAX_OUTLIERS]
    return rows[worst[errors[worst] > _OUTLIER_ERROR]]


def inverse_gram(codes: Tensor, errors: Tensor, penalty: Tensor | None = None) -> Tensor:
    """Return the inverse of the Gram matrix of codes over their errors, and of a penalty.

    :param codes: *Shape:* ``(n, code_size)``.
    :param errors: Of predictions, 1 for the usual document's, *Shape:* ``(n,)``.
    :param penalty: *Shape:* ``(code_size, code_size)``; a share of the mean of the diagonal if left out.
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
    """Return each query's mean score, documents of large errors counting for less, *Shape:* ``(num_queries, 1)``."""
    weights = errors.to(scores.dtype).square().reciprocal()
    return ((scores @ weights) / weights.sum()).unsqueeze(1)
