# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Gradients of q-nets' scores with respect to the document vector.

:func:`gradients` computes them for any documents. A :class:`Tape` needs no forward pass where a scorer has scored the
documents: it records the outputs of their linear maps, and backpropagates from there.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor

from hypensearch.models.q_net import QNets
from hypensearch.scoring.epilogue import Epilogue
from hypensearch.scoring.linear import product_with_transposed


def differentiable(q_nets: QNets) -> QNets:
    """Return q-nets that gradients can be computed with: torch refuses tensors that were made in inference mode."""
    with torch.inference_mode(False):
        weights = [weight.clone() if weight.is_inference() else weight for weight in q_nets.weights]
        biases = [bias.clone() if bias.is_inference() else bias for bias in q_nets.biases]
        return QNets(q_nets.config, weights, biases)


def gradients(q_net: QNets, vectors: Tensor) -> Tensor:
    """Differentiate the scores of documents with respect to their vectors.

    :param q_net: One q-net.
    :param vectors: *Shape:* ``(num_docs, dim)``.
    :return: *Shape:* ``(num_docs, dim)``.
    """
    with torch.inference_mode(False), torch.enable_grad():
        points = vectors.clone().requires_grad_()
        (slopes,) = torch.autograd.grad(differentiable(q_net)(points).sum(), points)
    return slopes


class Tape:
    """Computes gradients at the documents that one q-net scored last.

    A linear combination of gradients is computed from the same linear combination of *traces*. The last product with a
    weight matrix is left until then: a mean gradient takes it once, not once for each document.

    This class supports any q-net on any device: it computes the gradients by torch, and its traces are the gradients.

    :param q_net: One q-net, float32.
    """

    def __init__(self, q_net: QNets) -> None:
        self._q_net = q_net
        self._vectors: Tensor | np.ndarray = torch.empty(0, q_net.dim)

    def start(self, vectors: Tensor | np.ndarray) -> None:
        """Prepare for documents that are going to be scored; those before are forgotten.

        :param vectors: *Shape:* ``(num_docs, dim)``.
        """
        self._vectors = vectors

    def keep(self, block: int, start: int, outputs: Tensor) -> None:
        """Record the output of a block's linear map for some of the documents.

        :param start: The first of the documents.
        :param outputs: *Shape:* ``(count, width)``; not valid later.
        """

    def traces(self, places: Tensor) -> Tensor:
        """Return the traces of some of the documents, *Shape:* ``(len(places), size)``."""
        if isinstance(self._vectors, np.ndarray):
            vectors = torch.from_numpy(self._vectors[places.cpu().numpy()])
        else:
            vectors = self._vectors[places.to(self._vectors.device)]
        return gradients(self._differentiable, vectors.to(self._q_net.weights[0]))

    @functools.cached_property
    def _differentiable(self) -> QNets:
        return differentiable(self._q_net)

    def gradient(self, trace: Tensor) -> Tensor:
        """Return the gradient that a linear combination of traces stands for.

        :param trace: *Shape:* ``(size,)``.
        :return: With respect to the document vector, *Shape:* ``(dim,)``.
        """
        return trace


class _KeptOutputs(Tape):
    """Backpropagates by compiled loops; a trace is the gradient at the first linear map's output, then its bypass."""

    def __init__(self, q_net: QNets) -> None:
        super().__init__(q_net)
        config = q_net.config
        self._width, self._has_bypass = config.dims[1], config.has_residual(0)
        self._epilogues = [Epilogue(config, block) for block in range(config.num_blocks)]
        self._outputs: list[Tensor] = [torch.empty(0, width) for width in config.dims[1:-1]]

    def start(self, vectors: Tensor | np.ndarray) -> None:
        """See :class:`Tape`."""
        if len(vectors) > len(self._outputs[0]):
            self._outputs = [torch.empty(len(vectors), outputs.shape[1]) for outputs in self._outputs]

    def keep(self, block: int, start: int, outputs: Tensor) -> None:
        """See :class:`Tape`."""
        self._outputs[block][start : start + len(outputs)] = outputs

    @torch.inference_mode()
    def traces(self, places: Tensor) -> Tensor:
        """See :class:`Tape`."""
        q_net = self._q_net
        slopes = q_net.weights[-1][0].T  # the same for all documents
        for block in reversed(range(q_net.config.num_blocks)):
            inside = self._epilogues[block].back(self._outputs[block], places, slopes)
            bypass = slopes if q_net.config.has_residual(block) else None
            if block:
                slopes = product_with_transposed(inside, q_net.weights[block][0])
                slopes = slopes if bypass is None else slopes.add_(bypass)
        return inside if bypass is None else torch.cat([inside, bypass.expand(len(places), -1)], dim=1)

    @torch.inference_mode()
    def gradient(self, trace: Tensor) -> Tensor:
        """See :class:`Tape`."""
        gradient = self._q_net.weights[0][0] @ trace[: self._width]
        return gradient + trace[self._width :] if self._has_bypass else gradient


def tape_of(q_net: QNets) -> Tape:
    """Return the fastest tape for a q-net.

    :param q_net: One q-net.
    """
    weights, config = q_net.weights[0], q_net.config
    is_plain = weights.device.type == "cpu" and weights.dtype == torch.float32
    if is_plain and config.num_blocks and Epilogue.goes_back(config):
        return _KeptOutputs(q_net)
    return Tape(q_net)
