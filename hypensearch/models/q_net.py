# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Q-nets: the small networks, one per query, that score document vectors (paper section 3.4, equation 6)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from hypensearch.models.config import QNetConfig

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "gelu": functional.gelu,
    "leaky_relu": functional.leaky_relu,
}


class QNets:
    """The q-nets of a batch of queries.

    A bi-encoder's query vectors are q-nets without hidden blocks: their only weight is the query vector.

    :param config: Their common architecture.
    :param weights: Weight matrices, *Shape:* ``(num_queries, in, out)`` each, to be applied as ``x @ weight``.
    :param biases: One per hidden block, *Shape:* ``(num_queries, out)`` each.
    :raises ValueError: When the shapes do not fit ``config``.
    """

    def __init__(self, config: QNetConfig, weights: Sequence[Tensor], biases: Sequence[Tensor]) -> None:
        self.config = config
        self.weights = list(weights)
        self.biases = list(biases)
        _check_shapes(config, self.weights, self.biases)

    @classmethod
    def from_vectors(cls, vectors: Tensor) -> QNets:
        """Wrap a bi-encoder's query vectors.

        :param vectors: *Shape:* ``(num_queries, dim)``.
        """
        return cls(QNetConfig(dims=(vectors.shape[1], 1)), [vectors.unsqueeze(2)], [])

    @classmethod
    def concat(cls, parts: Sequence[QNets]) -> QNets:
        """Join batches of q-nets of one architecture, in order.

        :raises ValueError: When there are none, or their architectures differ.
        """
        if not parts or any(part.config != parts[0].config for part in parts):
            raise ValueError("wanted at least one batch of q-nets, all of one architecture")
        weights = [torch.cat(tensors) for tensors in zip(*(part.weights for part in parts), strict=True)]
        biases = [torch.cat(tensors) for tensors in zip(*(part.biases for part in parts), strict=True)]
        return cls(parts[0].config, weights, biases)

    def __len__(self) -> int:
        return self.weights[0].shape[0]

    def __repr__(self) -> str:
        dims = " -> ".join(map(str, self.config.dims))
        weights = self.weights[0]
        dtype = str(weights.dtype).removeprefix("torch.")
        return f"<QNets of {len(self)} queries: {dims}, {self.config.activation}, {dtype} on {weights.device}>"

    def __getitem__(self, index: int | slice) -> QNets:
        """Return some of the q-nets as a batch (of one, for an int)."""
        if isinstance(index, int):
            index = range(len(self))[index]
            index = slice(index, index + 1)
        return QNets(self.config, [w[index] for w in self.weights], [b[index] for b in self.biases])

    def __iter__(self) -> Iterator[QNets]:
        return (self[i] for i in range(len(self)))

    @property
    def dim(self) -> int:
        """Size of the document vectors that these q-nets score."""
        return self.config.dims[0]

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> QNets:
        """Return the q-nets on another device or in another dtype."""
        move = [tensor.to(device=device, dtype=dtype) for tensor in (*self.weights, *self.biases)]
        return QNets(self.config, move[: len(self.weights)], move[len(self.weights) :])

    def truncated(self, width: int) -> QNets:
        """Cut the hidden layers to ``width``, as a Matryoshka checkpoint allows.

        :raises HypensearchError: When ``width`` does not fit.
        """
        config = self.config.truncated(width)
        shapes = config.weight_shapes
        weights = [w[:, :i, :o].contiguous() for w, (i, o) in zip(self.weights, shapes, strict=True)]
        return QNets(config, weights, [bias[:, :width].contiguous() for bias in self.biases])

    def __call__(self, vectors: Tensor) -> Tensor:
        """Score the same documents with every q-net; the plain way that all fast ways are held against.

        :param vectors: Document vectors, *Shape:* ``(num_docs, dim)``.
        :return: Scores, *Shape:* ``(num_queries, num_docs)``; unbounded, higher is better.
        """
        return self.score_each(vectors.expand(len(self), -1, -1))

    def score_each(self, vectors: Tensor, *, training: bool = False) -> Tensor:
        """Score each query's own documents.

        :param vectors: *Shape:* ``(num_queries, num_docs, dim)``.
        :param training: Whether to apply the architecture's dropout.
        :return: *Shape:* ``(num_queries, num_docs)``.
        """
        *_, scores = self.layers(vectors, training=training)
        return scores.squeeze(2)

    def layers(self, vectors: Tensor, *, training: bool = False) -> Iterator[Tensor]:
        """Yield the output of each hidden block, then the scores.

        :param vectors: *Shape:* ``(num_queries, num_docs, dim)``.
        :return: Tensors of *Shape:* ``(num_queries, num_docs, width)``, the last one of width 1.
        """
        states = vectors
        for block in range(self.config.num_blocks):
            states = self._block(block, states, training)
            yield states
        yield states @ self.weights[-1]

    def _block(self, block: int, states: Tensor, training: bool) -> Tensor:
        config = self.config
        inputs = functional.dropout(states, config.dropout, training=training and config.dropout > 0)
        outputs = torch.baddbmm(self.biases[block].unsqueeze(1), inputs, self.weights[block])
        outputs = activation(config.activation)(outputs)
        if config.layer_norm and config.layer_norm_before_residual:
            outputs = _layer_norm(outputs)
        if config.has_residual(block):
            outputs = outputs + states
        if config.layer_norm and not config.layer_norm_before_residual:
            outputs = _layer_norm(outputs)
        return outputs


def activation(name: str) -> Callable[[Tensor], Tensor]:
    """Return the activation function of that name (see :data:`hypensearch.models.config.ACTIVATIONS`)."""
    return _ACTIVATIONS[name]


def _layer_norm(states: Tensor) -> Tensor:
    return functional.layer_norm(states, states.shape[-1:])


def _check_shapes(config: QNetConfig, weights: list[Tensor], biases: list[Tensor]) -> None:
    wanted = config.weight_shapes
    found = [tuple(weight.shape[1:]) for weight in weights]
    if found != wanted:
        raise ValueError(f"the q-nets' weights are {found}, their architecture wants {wanted}")
    found_biases = [tuple(bias.shape[1:]) for bias in biases]
    if found_biases != [(out,) for _, out in wanted[:-1]]:
        raise ValueError(f"the q-nets' biases are {found_biases}, their architecture wants {wanted[:-1]}")
    if any(tensor.shape[0] != weights[0].shape[0] for tensor in (*weights, *biases)):
        raise ValueError("the q-nets' weights and biases are of different numbers of queries")
