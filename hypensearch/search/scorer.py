# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Scores document vectors with q-nets, fast: tiles that stay in cache, buffers that are used again.

Every tile is computed by the same operations on a tile of the same shape, so that a score depends on its q-net and
its document vector alone, not on its neighbours, the block, the batch or the number of threads.
"""

from __future__ import annotations

import warnings

import numpy as np
import torch
from torch import Tensor

from hypensearch.models.config import QNetConfig
from hypensearch.models.q_net import QNets, activation

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
CPU_TILE_ROWS = 512
CUDA_TILE_ROWS = 16384
_LAYER_NORM_EPS = 1e-5
_IN_PLACE = {"relu": torch.relu_, "tanh": torch.tanh_, "sigmoid": torch.sigmoid_}


class Scorer:
    """Scores tiles of document vectors with a batch of q-nets.

    :param q_nets: The q-nets.
    :param device: Where to compute.
    :param precision: A key of :data:`PRECISIONS`; sums inside a matrix product are in float32 at least.
    :param tile_rows: Rows of a tile; None for the device's default.
    """

    def __init__(
        self, q_nets: QNets, device: torch.device, precision: str = "fp32", tile_rows: int | None = None
    ) -> None:
        self.dtype = PRECISIONS[precision]
        self.device = device
        self.tile_rows = tile_rows or (CUDA_TILE_ROWS if device.type == "cuda" else CPU_TILE_ROWS)
        self._q_nets = q_nets.to(device, self.dtype)
        self._config = q_nets.config
        values = self.tile_rows * max(q_nets.config.dims[1:])
        self._buffers = [torch.empty(values, device=device, dtype=self.dtype) for _ in range(3)]
        self._moments = torch.empty(2 * self.tile_rows, device=device, dtype=self.dtype)
        self._tile = torch.zeros(self.tile_rows, q_nets.dim, device=device, dtype=self.dtype)

    @torch.inference_mode()
    def score(self, vectors: Tensor | np.ndarray) -> Tensor:
        """Score documents.

        :param vectors: *Shape:* ``(num_docs, dim)``, any floating dtype, on any device.
        :return: float32, *Shape:* ``(num_queries, num_docs)``, on the scorer's device.
        """
        scores = torch.empty(len(self._q_nets), len(vectors), device=self.device)
        for start in range(0, len(vectors), self.tile_rows):
            tile = self._load(vectors[start : start + self.tile_rows])
            for query in range(len(self._q_nets)):
                of_tile = self._score_tile(query, tile)
                scores[query, start : start + len(of_tile)] = of_tile[: len(vectors) - start]
        return scores

    @torch.inference_mode()
    def score_one(self, query: int, vectors: Tensor | np.ndarray) -> Tensor:
        """Score documents with one of the q-nets.

        :param query: The q-net's position in the batch.
        :param vectors: *Shape:* ``(num_docs, dim)``.
        :return: float32, *Shape:* ``(num_docs,)``.
        """
        scores = torch.empty(len(vectors), device=self.device)
        for start in range(0, len(vectors), self.tile_rows):
            tile = self._load(vectors[start : start + self.tile_rows])
            of_tile = self._score_tile(query, tile)
            scores[start : start + len(of_tile)] = of_tile[: len(vectors) - start]
        return scores

    @torch.inference_mode()
    def last_states(self, vectors: Tensor | np.ndarray) -> Tensor:
        """Return what the first q-net's output layer sees: the last block's output, or the vectors without blocks.

        :param vectors: *Shape:* ``(num_docs, dim)``.
        :return: float32, *Shape:* ``(num_docs, width)``.
        """
        tiles = []
        for start in range(0, len(vectors), self.tile_rows):
            part = vectors[start : start + self.tile_rows]
            tiles.append(self._states(0, self._load(part))[: len(part)].float().clone())
        return torch.cat(tiles)

    def _load(self, vectors: Tensor | np.ndarray) -> Tensor:
        """Copy vectors into the tile; what is left of the tile is scored along and thrown away."""
        count = len(vectors)
        if isinstance(vectors, np.ndarray):
            vectors = as_tensor(vectors)
        self._tile[:count].copy_(vectors)
        return self._tile[: -(-count // 16) * 16] if count < self.tile_rows else self._tile

    def _score_tile(self, query: int, tile: Tensor) -> Tensor:
        return (self._states(query, tile) @ self._q_nets.weights[-1][query]).squeeze(1)

    def _states(self, query: int, tile: Tensor) -> Tensor:
        states, in_use = tile, None
        for block in range(self._config.num_blocks):
            states, in_use = self._block(block, query, states, in_use)
        return states

    def _block(self, block: int, query: int, states: Tensor, in_use: int | None) -> tuple[Tensor, int]:
        """Compute one hidden block without new memory.

        :param states: The block's input, in buffer number ``in_use``.
        :return: The block's output and the number of its buffer.
        """
        config = self._config
        weight, bias = self._q_nets.weights[block][query], self._q_nets.biases[block][query]
        first, second = [number for number in range(3) if number != in_use][:2]
        outputs = torch.addmm(bias, states, weight, out=self._buffer(first, len(states), weight.shape[1]))
        outputs, number = _activate(config, outputs), first
        if config.layer_norm and config.layer_norm_before_residual:
            outputs, number = self._layer_norm(outputs, second), second
        if config.has_residual(block):
            outputs = outputs.add_(states)
        if config.layer_norm and not config.layer_norm_before_residual:
            outputs, number = self._layer_norm(outputs, second), second
        return outputs, number

    def _layer_norm(self, states: Tensor, number: int) -> Tensor:
        rows, width = states.shape
        out = self._buffer(number, rows, width)
        moments = self._moments[: 2 * rows].view(2, rows, 1)
        torch.ops.aten.native_layer_norm.out(
            states, (width,), None, None, _LAYER_NORM_EPS, out0=out, out1=moments[0], out2=moments[1]
        )
        return out

    def _buffer(self, number: int, rows: int, width: int) -> Tensor:
        return self._buffers[number][: rows * width].view(rows, width)


def _activate(config: QNetConfig, states: Tensor) -> Tensor:
    in_place = _IN_PLACE.get(config.activation)
    return in_place(states) if in_place else states.copy_(activation(config.activation)(states))


def as_tensor(vectors: np.ndarray) -> Tensor:
    """View an array, read-only ones (memory maps) included, as a tensor that is only read."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(vectors)
