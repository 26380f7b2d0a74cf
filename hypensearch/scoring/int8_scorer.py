# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Scores document vectors on a CPU with matrix products of 8-bit integers, for a scan whose best are scored again.

Weights get a scale for each output unit, states one for each block: the largest value among some of the first documents
that are scored; what is larger is cut. oneDNN multiplies (the VNNI instructions), the rest is float32.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from hypensearch import onednn
from hypensearch.models.q_net import QNets
from hypensearch.scoring.epilogue import Epilogue, to_bytes
from hypensearch.scoring.scorer import as_tensor
from hypensearch.threads import default_threads, map_on_cores, on_cores

TILE_ROWS = 512
_SAMPLE = 256  # documents that the scales of states are taken from


def unsupported(device: torch.device) -> str | None:
    """Return why there is no scoring in int8 on a device, None where there is."""
    if device.type != "cpu":
        return "its int8 runs on a CPU only"
    return None if onednn.usable(torch.int8) else "its int8 needs a torch with oneDNN"


class Int8Scorer:
    """Scores tiles of document vectors with a batch of q-nets in int8.

    :param q_nets: The q-nets, on the CPU or not.
    :param threads: CPU threads; None for as many as torch uses.
    """

    def __init__(self, q_nets: QNets, *, threads: int | None = None) -> None:
        self._q_nets = [q_net.to("cpu", torch.float32) for q_net in q_nets]
        self._threads = threads or default_threads()
        self._quantised: list[_Int8QNet] | None = None
        self._quantising = threading.Lock()

    def score(self, vectors: Tensor | np.ndarray) -> Tensor:
        """Score documents; see :class:`hypensearch.scoring.choice.BlockScorer`."""
        vectors = as_tensor(vectors)
        scores = torch.empty(len(self._q_nets), len(vectors))
        if not len(vectors):
            return scores
        q_nets = self._quantise(vectors)

        @torch.inference_mode()
        def do(start: int) -> None:
            tile = vectors[start : start + TILE_ROWS].to("cpu", torch.float32)
            count = len(tile)
            if count < TILE_ROWS:  # what weights are packed for
                tile = torch.cat([tile, tile.new_zeros(TILE_ROWS - count, tile.shape[1])])
            for query, q_net in enumerate(q_nets):
                scores[query, start : start + count] = q_net.score(tile)[:count]

        on_cores(self._threads, do, range(0, len(vectors), TILE_ROWS))
        return scores

    def _quantise(self, vectors: Tensor) -> list[_Int8QNet]:
        with self._quantising:
            if self._quantised is None:
                sample = vectors[:: max(1, len(vectors) // _SAMPLE)][:_SAMPLE].to("cpu", torch.float32)
                self._quantised = map_on_cores(self._threads, lambda q_net: _Int8QNet(q_net, sample), self._q_nets)
            return self._quantised


@dataclass(frozen=True)
class _Block:
    """A hidden block's quantised linear map."""

    weight: Tensor  # packed by oneDNN
    weight_scale: Tensor
    bias: Tensor
    input_scale: float
    epilogue: Epilogue

    def multiply(self, inputs: Tensor) -> Tensor:
        return onednn.int8_linear(inputs, self.input_scale, self.weight, self.weight_scale, self.bias)


class _Int8QNet:
    """One quantised q-net.

    :param q_net: A batch of one.
    :param sample: Some documents, *Shape:* ``(num_docs, dim)``.
    """

    @torch.inference_mode()
    def __init__(self, q_net: QNets, sample: Tensor) -> None:
        *hidden, _ = q_net.layers(sample.unsqueeze(0))
        inputs = [sample, *hidden][: q_net.config.num_blocks]
        self._blocks = [
            _block(weight[0], bias[0], states, Epilogue(q_net.config, number))
            for number, (weight, bias, states) in enumerate(zip(q_net.weights, q_net.biases, inputs, strict=False))
        ]
        self._output = q_net.weights[-1][0, :, 0].contiguous()

    def score(self, states: Tensor) -> Tensor:
        """Score documents, *Shape:* ``(rows, dim)``, float32."""
        if not self._blocks:
            return states @ self._output
        inputs = torch.empty(states.shape, dtype=torch.uint8)
        to_bytes(states, self._blocks[0].input_scale, inputs)
        for block, following in pairwise(self._blocks):
            outputs = block.multiply(inputs)
            if inputs.shape != outputs.shape:
                inputs = torch.empty(outputs.shape, dtype=torch.uint8)
            states = block.epilogue.finish_to_bytes(outputs, states, following.input_scale, inputs)
        last = self._blocks[-1]
        return last.epilogue.finish_to_scores(last.multiply(inputs), states, self._output)


def _block(weight: Tensor, bias: Tensor, inputs: Tensor, epilogue: Epilogue) -> _Block:
    scale = weight.abs().amax(dim=0).clamp(min=1e-12) / 127
    integers = (weight / scale).round().to(torch.int8).t().contiguous()
    input_scale = max(float(inputs.abs().max()), 1e-12) / 127
    return _Block(onednn.int8_packed(integers, TILE_ROWS), scale, bias.contiguous(), input_scale, epilogue)
