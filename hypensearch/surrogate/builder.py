# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Builds the codes of a surrogate search: how the mean q-net sees each document.

A q-net's score is linear in the last hidden state. That state depends on the query, but only a little: q-nets have most
of their hidden weights in common. So the last hidden state under the *mean* q-net of typical queries is a feature in
which any query's scores are nearly linear, more so than in the document vector, and it is computed once for all
queries. A code holds the components of this feature that typical queries' scores depend on.

Where q-nets have little in common, their gradients at the best documents predict the scores near those better than a
linear fit does; typical queries' scores show which case it is. Then codes hold the components of the document vectors
that gradients depend on.

A few documents with extreme features score far from any linear function of them, because layer norm bounds their
scores. Their errors are measured with the typical queries, one by one for those of the highest leverage; every search
scores the worst of them.
"""

from __future__ import annotations

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
from hypensearch.surrogate.fits import TANGENT_DOCS, inverse_gram, weighted_mean
from hypensearch.surrogate.gradients import gradients
from hypensearch.surrogate.store import Surrogate, write_surrogate

CODE_SIZE = 256
CODE_MULTIPLE = 32  # required by the product of 8-bit integers
SAMPLE_ROWS = 1024
_MAX_QUERIES, _USUAL_QUERIES, _Q_NET_BYTES = 256, 64, 2**30
_QUERY_WORDS = 10
_BLOCK_ROWS = 8192
_FIT_ROWS, _SCORED_ROWS = 32768, 8192
_WORSE = 1.2  # fewer components may leave so many times the variance unexplained that all of them do
_OUTLIER_CANDIDATES = 1024
_MAX_OUTLIERS = 128
_OUTLIER_ERROR = 6.0  # times the median document's
_CALIBRATION_ROWS = 4096
_KNOTS = 8
_SHRINKAGE, _LEAST_MOMENT, _LEAST_NOISE = 0.1, 1e-6, 1e-4  # of fits to scores that vary by one
_STRANGE_SHARE = 0.02  # of the documents, those of the highest leverage, is left out when components are computed
_MOST_HALF = 65504.0
_HEAD = 64  # best documents by which gradients are compared with linear fits
_EVEN_ERRORS = {"error_growth": {"leverage": [1.0], "error": [1.0]}}
_BETTER = 0.7  # gradients are used where their error is below this fraction of the linear fits' error


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
    rng = np.random.default_rng(seed)
    sample = rng.permutation(index.num_docs)[:SAMPLE_ROWS]
    features, center, basis, spread = _components(q_nets.to(device, torch.float32), index, rng)
    facts = {"queries": len(q_nets), "seed": seed}
    empty = -basis.shape[1] % CODE_MULTIPLE
    basis, spread = torch.nn.functional.pad(basis, (0, empty)), torch.nn.functional.pad(spread, (0, empty), value=1.0)
    extremes = _Extremes(spread)
    with progress_bar(index.num_docs, unit="document", description="surrogate codes", show=show_progress) as bar:
        blocks = _codes(features, index, center, basis, extremes, bar.update)

        def of_typical_queries() -> tuple[dict[str, np.ndarray], dict[str, Any]]:
            if isinstance(features, Vectors):
                return _without_fits(q_nets, basis)
            rows = np.concatenate([sample, np.sort(rng.permutation(index.num_docs)[:_CALIBRATION_ROWS])])
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
    """Return how many typical queries to use: as many as have q-nets that fit into a gibibyte, 64 to 256."""
    num_parameters = sum(rows * columns + columns for rows, columns in pairwise(q_net.dims))
    return max(_USUAL_QUERIES, min(_MAX_QUERIES, _Q_NET_BYTES // (4 * num_parameters)))


def typical_queries(index: FlatIndex, count: int, *, seed: int = 0) -> list[str]:
    """Take the first words of some documents as queries; a gzipped corpus is read through once for them.

    :param index: Knows where the texts of its documents are.
    :param count: Queries; fewer where there are fewer documents.
    :param seed: Chooses the documents.
    :raises HypensearchError: When the documents' texts cannot be read, or are empty.
    """
    rows = np.random.default_rng(seed).permutation(index.num_docs)[:count]
    try:
        documents = index.documents(np.sort(rows))
    except HypensearchError as error:
        raise HypensearchError(f"{error}; or give typical queries with --topics") from None
    texts = [" ".join(document.contents().split()[:_QUERY_WORDS]) for document in documents]
    if not any(texts):
        raise HypensearchError(f"{index.folder}: its documents have no contents to take queries from")
    return texts


class Features(Protocol):
    """What codes are components of."""

    #: Components of a code, at most.
    max_components: int

    def of(self, vectors: np.ndarray) -> Tensor:
        """Return the features of documents, float32, *Shape:* ``(len(vectors), size)``."""
        ...


class States:
    """Last hidden states under the mean q-net."""

    max_components = CODE_SIZE

    def __init__(self, q_nets: QNets, device: torch.device) -> None:
        weights, biases = (
            [part.mean(dim=0, keepdim=True) for part in parts] for parts in (q_nets.weights, q_nets.biases)
        )
        self._scorer = Scorer(QNets(q_nets.config, weights, biases), device)

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


def _components(q_nets: QNets, index: FlatIndex, rng: np.random.Generator) -> tuple[Features, Tensor, Tensor, Tensor]:
    """Choose the features, and compute their centre, the basis of codes and the codes' spread on some documents.

    The components are principal components of the features, weighted by the directions of typical queries' fits (or
    gradients), so that a few explain most of the scores; there are no more than are needed to explain nearly as much as
    :data:`CODE_SIZE` would. Documents of the highest leverage are left out, as they would dominate the components.
    Codes have a mean norm of one.
    """
    device = q_nets.weights[0].device
    rows = np.sort(rng.permutation(index.num_docs)[:_FIT_ROWS])
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
    """Return the places of the features without those of the highest leverage."""
    center, basis, spread = _components_of(states, torch.eye(states.shape[1], dtype=states.dtype, device=states.device))
    leverage = _leverage((states - center) @ basis, spread)
    return leverage.topk(len(states) - int(len(states) * _STRANGE_SHARE), largest=False).indices.sort().values


def _standardised(scores: Tensor) -> Tensor:
    scores = scores - scores.mean(dim=1, keepdim=True)
    return scores / scores.square().mean(dim=1, keepdim=True).sqrt().clamp(min=1e-12)


def _tangents(q_nets: QNets, vectors: Tensor, scores: Tensor) -> Tensor:
    """Predict scores by the mean gradient at each query's best documents, *Shape:* ``(num_queries, n)``.

    :param vectors: Documents', *Shape:* ``(n, dim)``.
    :param scores: Their scores, standardised, *Shape:* ``(num_queries, n)``.
    """
    best = scores.topk(min(TANGENT_DOCS[0], len(vectors)), dim=1).indices
    slopes = [gradients(q_nets[query], vectors[of_query]).mean(dim=0) for query, of_query in enumerate(best)]
    return _standardised(torch.stack(slopes).double() @ vectors.double().T)


def _error_at_head(predictions: Tensor, scores: Tensor) -> float:
    """Return the share of the variance that predictions leave unexplained among each query's best documents.

    A factor and a constant do not count, as the ranking does not depend on them.
    """
    count = min(_HEAD, scores.shape[1])
    truth, places = scores.topk(count, dim=1)
    agreement = (_standardised(truth) * _standardised(predictions.gather(1, places))).mean(dim=1)
    return float((1 - agreement.clamp(min=0).square()).mean())


def _components_of(states: Tensor, moments: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the principal components of states weighted by fits of these second moments.

    :return: Centre, basis and the components' spread.
    """
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
    """Return the second moments of fits plus as much of the unit matrix, *Shape:* ``(width, width)``."""
    moments = fits @ fits.T
    return moments / moments.diagonal().mean().clamp(min=1e-30) + torch.eye(len(moments)).to(moments)


def _enough(codes: Tensor, scores: Tensor) -> int:
    """Return how many components suffice: more would hardly explain more of typical queries' scores."""
    gram, products = codes.T @ codes, codes.T @ scores.T
    sizes = [*range(CODE_MULTIPLE, codes.shape[1], CODE_MULTIPLE), codes.shape[1]]
    fits = [_ridge(gram[:size, :size], products[:size]) for size in sizes]
    errors = [(scores - (codes[:, : len(fit)] @ fit).T).square().mean() for fit in fits]
    enough = _WORSE * errors[-1] + _LEAST_NOISE
    return next(size for size, error in zip(sizes, errors, strict=True) if error <= enough)


def _ridge(gram: Tensor, products: Tensor) -> Tensor:
    raised = gram + (1e-3 * gram.diagonal().mean() + 1e-12) * torch.eye(len(gram)).to(gram)
    return torch.linalg.solve(raised, products)


def _leverage(codes: Tensor, spread: Tensor) -> Tensor:
    """Return the leverage of codes, their mean squared distance in spreads, *Shape:* ``(len(codes),)``; about 1."""
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

    :param basis: Maps vectors to codes, *Shape:* ``(dim, code_size)``.
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
    """The documents of the highest leverage.

    :param spread: Of each component of a code, *Shape:* ``(code_size,)``.
    """

    def __init__(self, spread: Tensor) -> None:
        self.rows = torch.empty(0, dtype=torch.int64, device=spread.device)
        self.codes = spread.new_empty(0, len(spread))
        self._spread = spread

    def add(self, codes: Tensor, start: int) -> None:
        """Consider the documents from row ``start`` on."""
        codes = torch.cat([self.codes, codes])
        rows = torch.cat([self.rows, torch.arange(start, start + len(codes) - len(self.rows), device=codes.device)])
        kept = self.leverage(codes).topk(min(_OUTLIER_CANDIDATES, len(rows))).indices
        self.rows, self.codes = rows[kept], codes[kept]

    def leverage(self, codes: Tensor) -> Tensor:
        """Return the leverage of codes, *Shape:* ``(len(codes),)``."""
        return _leverage(codes, self._spread)


class _Fits:
    """Linear fits of typical queries' scores of a sample: their errors elsewhere, and the prior of other queries' fits.

    :param q_nets: Those of the typical queries.
    :param sample: Rows, *Shape:* ``(n,)``.
    :param codes: Of the sample, *Shape:* ``(n, code_size)``.
    :param leverage: Of the sample, *Shape:* ``(n,)``; documents of high leverage weigh less.
    :param basis: Maps last hidden states to codes, *Shape:* ``(width, code_size)``.
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
        prior_mean, output_map = _by_output_layer(q_nets, codes, shares, deviations / spread, spread, basis)
        unexplained = deviations - prior_mean @ codes.T
        rest = inverse_gram(codes, errors) @ ((codes / errors.square().unsqueeze(1)).T @ unexplained.T)
        self._weights = prior_mean.T + rest
        residuals = deviations - (codes @ self._weights).T
        self.error = (residuals / errors).square().mean(dim=1, keepdim=True).sqrt().clamp(min=1e-9)
        noise = max(float((residuals / spread).square().mul(shares).sum(dim=1).mean()), _LEAST_NOISE)
        penalty = noise * torch.linalg.inv(_second_moments((rest / spread.T).T))
        #: The prior of a fit, as :class:`~hypensearch.surrogate.store.Surrogate` holds it.
        self.prior = {"output_map": output_map.cpu().numpy(), "penalty": penalty.cpu().numpy()}

    def residuals(self, rows: np.ndarray, codes: Tensor) -> Tensor:
        """Return scores minus predictions, in standard errors, *Shape:* ``(num_queries, n)``."""
        scores = self._scorer.score(self._index.vectors(rows)).double()
        return (scores - self._mean - (codes.double() @ self._weights).T) / self.error


def _by_output_layer(
    q_nets: QNets, codes: Tensor, shares: Tensor, deviations: Tensor, spread: Tensor, basis: Tensor
) -> tuple[Tensor, Tensor]:
    """Predict fits from the q-nets' output layers, as if their hidden blocks were those of the mean q-net.

    The prediction is exact where all q-nets have the same hidden blocks (up to the components that codes leave out),
    and useless where they have little in common; one factor, fitted to the typical queries, shrinks it accordingly.

    :param deviations: Scores of a sample over their ``spread``, *Shape:* ``(num_queries, n)``.
    :return: The fits, *Shape:* ``(num_queries, code_size)``, and the map from output layers to fits.
    """
    output_map = torch.linalg.pinv(basis.double())
    outputs = q_nets.weights[-1].squeeze(2).to(codes.device).double()
    predictions = (outputs @ output_map.T) @ codes.T
    predictions = (predictions - (predictions @ shares).unsqueeze(1)) / spread
    agreement = ((predictions * deviations) @ shares).mean()
    output_map *= agreement / (predictions.square() @ shares).mean().clamp(min=1e-12)
    return outputs @ output_map.T, output_map


def _second_moments(weights: Tensor) -> Tensor:
    """Return the second moments of fits, *Shape:* ``(n, code_size)``, shrunk towards a multiple of the unit matrix."""
    moments = weights.T @ weights / len(weights)
    equal = _SHRINKAGE * moments.diagonal().mean() + _LEAST_MOMENT
    return moments + equal * torch.eye(len(moments), device=moments.device, dtype=moments.dtype)


def _errors_far_out(
    fits: _Fits, extremes: _Extremes, rows: np.ndarray, codes: Tensor
) -> tuple[np.ndarray, dict[str, Any]]:
    """Measure the errors of linear fits: how they grow with leverage, and of each document of extreme leverage.

    :param rows: Random documents, *Shape:* ``(n,)``.
    :param codes: Of these, *Shape:* ``(n, code_size)``.
    :return: The errors upwards of the extremes, float32, and as facts leverages, ascending, with the root mean square
        error there. The median random document's error is 1.
    """
    residuals = [fits.residuals(*some) for some in ((rows, codes), (extremes.rows.cpu().numpy(), extremes.codes))]
    squares = [of_some.square().mean(dim=0) for of_some in residuals]
    usual = squares[0].median().clamp(min=1e-12)
    upwards = (2 * residuals[1].clamp(min=0).square().mean(dim=0) / usual).sqrt().clamp(min=1.0)
    knots: list[tuple[float, float]] = []
    for square, some in zip(squares, (codes, extremes.codes), strict=True):
        leverage = extremes.leverage(some).clamp(max=_MOST_HALF)
        order = leverage.argsort()
        for part in order.tensor_split([int(len(order) * (1 - 0.5**halvings)) for halvings in range(1, _KNOTS)]):
            if len(part):  # the first half, then a quarter, an eighth: errors grow fast where documents are few
                knots.append((float(leverage[part].mean()), float((square[part].mean() / usual).sqrt())))
    knots.sort()
    errors = np.maximum.accumulate([error for _, error in knots])
    growth = {"leverage": [leverage for leverage, _ in knots], "error": errors.tolist()}
    return upwards.float().cpu().numpy(), {"error_growth": growth}


def _outliers(rows: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """Choose the documents that linear fits predict worst, if the errors are large enough: every search scores them."""
    worst = np.argsort(-errors, kind="stable")[:_MAX_OUTLIERS]
    return rows[worst[errors[worst] > _OUTLIER_ERROR]]
