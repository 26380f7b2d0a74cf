# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Scores document vectors on a CPU with matrix products of 8-bit integers, for a scan whose best are scored again.

Weights get a scale for each output unit, states one for each block: the largest value among some of the first documents
that are scored; what is larger is cut. oneDNN multiplies (the VNNI instructions), the rest is float32.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hypensearch.models.config import QNetConfig
from hypensearch.models.q_net import QNets, activation
from hypensearch.search.scorer import as_tensor, core_pool

TILE_ROWS = 256
_SAMPLE = 256  # documents that the scales of states are taken from
_ZERO = 128  # what 0 is among unsigned bytes
_LAYER_NORM_EPS = 1e-5


def unfit(device: torch.device) -> str | None:
    """Return why there is no scoring in int8 on a device, None where there is."""
    if device.type != "cpu":
        return "its int8 runs on a CPU only"
    if not torch.backends.mkldnn.is_available() or "onednn" not in torch.backends.quantized.supported_engines:
        return "its int8 needs a torch with oneDNN"
    return None


class Int8Scorer:
    """Scores tiles of document vectors with a batch of q-nets in int8.

    :param q_nets: The q-nets, on the CPU or not.
    :param threads: CPU threads; None for as many as torch uses.
    """

    def __init__(self, q_nets: QNets, *, threads: int | None = None) -> None:
        self._q_nets = [q_net.to("cpu", torch.float32) for q_net in q_nets]
        self._threads = threads or torch.get_num_threads()
        self._quantised: list[_Int8QNet] | None = None
        self._quantising = threading.Lock()

    def score(self, vectors: Tensor | np.ndarray) -> Tensor:
        """Score documents; see :class:`hypensearch.search.scorers.BlockScorer`."""
        if isinstance(vectors, np.ndarray):
            vectors = as_tensor(vectors)
        scores = torch.empty(len(self._q_nets), len(vectors))
        if not len(vectors):
            return scores
        pool, q_nets = core_pool(self._threads), self._quantise(vectors)

        @torch.inference_mode()
        def do(start: int) -> None:
            tile = vectors[start : start + TILE_ROWS].to("cpu", torch.float32)
            count = len(tile)
            if count < TILE_ROWS:  # what weights are packed for
                tile = torch.cat([tile, tile.new_zeros(TILE_ROWS - count, tile.shape[1])])
            for query, q_net in enumerate(q_nets):
                scores[query, start : start + count] = q_net.score(tile)[:count]

        list(pool.map(do, range(0, len(vectors), TILE_ROWS)))
        return scores

    def _quantise(self, vectors: Tensor) -> list[_Int8QNet]:
        with self._quantising:
            if self._quantised is None:
                sample = vectors[:: max(1, len(vectors) // _SAMPLE)][:_SAMPLE].to("cpu", torch.float32)
                pool = core_pool(self._threads)
                self._quantised = list(pool.map(lambda q_net: _Int8QNet(q_net, sample), self._q_nets))
            return self._quantised


@dataclass(frozen=True)
class _Block:
    """A hidden block's quantised linear map."""

    weight: Tensor  # packed by oneDNN
    weight_scale: Tensor
    weight_zero: Tensor
    bias: Tensor
    input_scale: float


class _Int8QNet:
    """One quantised q-net.

    :param q_net: A batch of one.
    :param sample: Some documents, *Shape:* ``(num_docs, dim)``.
    """

    @torch.inference_mode()
    def __init__(self, q_net: QNets, sample: Tensor) -> None:
        self._config: QNetConfig = q_net.config
        *hidden, _ = q_net.layers(sample.unsqueeze(0))
        inputs = [sample, *hidden][: q_net.config.num_blocks]
        self._blocks = [
            _block(weight[0], bias[0], states)
            for weight, bias, states in zip(q_net.weights, q_net.biases, inputs, strict=False)
        ]
        self._output = q_net.weights[-1][0, :, 0].contiguous()
        fused = q_net.config.activation == "relu"
        self._post_op = "relu" if fused else "none"
        self._activate = None if fused else activation(q_net.config.activation)

    def score(self, states: Tensor) -> Tensor:
        """Score documents, *Shape:* ``(rows, dim)``, float32."""
        for number, block in enumerate(self._blocks):
            states = self._apply(number, block, states)
        return states @ self._output

    def _apply(self, number: int, block: _Block, states: Tensor) -> Tensor:
        outputs = torch.ops.onednn.qlinear_pointwise(
            _as_bytes(states, block.input_scale),
            *(block.input_scale, _ZERO, block.weight, block.weight_scale, block.weight_zero, block.bias),
            *(1.0, 0, torch.float32, self._post_op, [], ""),
        )
        if self._activate is not None:
            outputs = self._activate(outputs)
        config = self._config
        residual = states if config.has_residual(number) else None
        if not config.layer_norm:
            return outputs if residual is None else outputs.add_(residual)
        if config.layer_norm_before_residual:
            return _layer_norm(outputs, residual)
        return _layer_norm(outputs if residual is None else outputs.add_(residual), None)


def _block(weight: Tensor, bias: Tensor, inputs: Tensor) -> _Block:
    scale = weight.abs().amax(dim=0).clamp(min=1e-12) / 127
    integers = (weight / scale).round().to(torch.int8).t().contiguous()
    return _Block(
        torch.ops.onednn.qlinear_prepack(integers, [TILE_ROWS, weight.shape[0]]),
        scale,
        torch.zeros(len(scale), dtype=torch.int32),
        bias.contiguous(),
        max(float(inputs.abs().max()), 1e-12) / 127,
    )


def _as_bytes(states: Tensor, scale: float) -> Tensor:
    """Round to multiples of the scale, cut what is larger than a byte holds."""
    return torch.add(torch.tensor(_ZERO + 0.5), states, alpha=1 / scale).clamp_(0, 255).to(torch.uint8)


def _layer_norm(states: Tensor, residual: Tensor | None) -> Tensor:
    """Normalise, and add; from the sums of values and squares, which is half the time of torch's own in float32."""
    width = states.shape[1]
    mean = states.sum(dim=1, keepdim=True).div_(width)
    squares = torch.linalg.vector_norm(states, dim=1, keepdim=True).square_().div_(width)
    inverse = (squares - mean.square()).clamp_(min=0).add_(_LAYER_NORM_EPS).rsqrt_()
    normed = states.mul_(inverse) if residual is None else torch.addcmul(residual, states, inverse)
    return normed.sub_(mean.mul_(inverse))
