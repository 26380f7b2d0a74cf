# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Scores document vectors with q-nets, fast: tiles that stay in cache, buffers that are used again.

Every tile is computed by the same operations on a tile of the same shape, so that a score depends on its q-net and
its document vector alone, not on its neighbours, the block, the batch or the number of threads.
"""

from __future__ import annotations

import functools
import threading
import warnings
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from hypensearch.device import float32_products
from hypensearch.models.q_net import QNets
from hypensearch.scoring.epilogue import Epilogue, activate
from hypensearch.scoring.linear import LinearMap, linear_map
from hypensearch.stages import stage
from hypensearch.threads import default_threads, on_cores

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
CPU_TILE_ROWS = 384
CUDA_TILE_ROWS = 16384
ROWS_MULTIPLE = 16  # below, matrix products take other paths in BLAS and give other last bits
_FEW_DOCS = 1024
_MANY_DOCS = 8192  # from so many on, weights are laid out for them
_ROWS_OF_A_THREAD = 32  # for fewer documents no second thread is woken
_LAYER_NORM_EPS = 1e-5
_TILE, _MOMENTS = 3, 4  # numbers of buffers; those before are for states
_ALIGNMENT = 64  # bytes, of what torch allocates on a CPU


class Recorder(Protocol):
    """Keeps what the linear maps of one q-net's blocks gave, to go back from there."""

    def start(self, vectors: Tensor | np.ndarray) -> None:
        """Prepare for documents that are going to be scored; those before are forgotten.

        :param vectors: *Shape:* ``(num_docs, dim)``.
        """
        ...

    def keep(self, block: int, start: int, outputs: Tensor) -> None:
        """Keep what the linear map of a block gave for some of the documents.

        :param start: The first of them.
        :param outputs: *Shape:* ``(count, width)``; not valid later.
        """
        ...


class Scorer:
    """Scores tiles of document vectors with a batch of q-nets.

    On a CPU each thread takes tiles of its own, so that threads never wait for each other inside a tile and what a tile
    needs stays in the cache of one core.

    :param q_nets: The q-nets.
    :param device: Where to compute.
    :param precision: A key of :data:`hypensearch.scoring.scorer.DTYPES`; sums inside a matrix product are in float32
        at least.
    :param tile_rows: Rows of a tile; None for the device's default.
    :param threads: CPU threads; None for :func:`hypensearch.threads.default_threads`.
    """

    def __init__(
        self,
        q_nets: QNets,
        device: torch.device,
        precision: str = "fp32",
        *,
        tile_rows: int | None = None,
        threads: int | None = None,
    ) -> None:
        self.dtype = DTYPES[precision]
        self.device = device
        self.tile_rows = tile_rows or (CUDA_TILE_ROWS if device.type == "cuda" else CPU_TILE_ROWS)
        self._q_nets = q_nets.to(device, self.dtype)
        self._maps = self._linear_maps()
        self._for_many = False  # whether they are laid out for many documents
        self._threads = 1 if device.type == "cuda" else threads or default_threads()
        self._buffers = _Buffers()

    def score(self, vectors: Tensor | np.ndarray) -> Tensor:
        """Score documents.

        :param vectors: *Shape:* ``(num_docs, dim)``, any floating dtype, on any device.
        :return: float32, *Shape:* ``(num_queries, num_docs)``, on the scorer's device.
        """
        scores = torch.empty(len(self._q_nets), len(vectors), device=self.device)

        def score_tile(workspace: _Workspace, start: int, count: int) -> None:
            for query in range(len(self._q_nets)):
                scores[query, start : start + count] = workspace.score(query)

        self._go_through(vectors, score_tile)
        return scores

    def score_one(self, query: int, vectors: Tensor | np.ndarray, recorder: Recorder | None = None) -> Tensor:
        """Score documents with one of the q-nets.

        :param query: The q-net's position in the batch.
        :param vectors: *Shape:* ``(num_docs, dim)``.
        :param recorder: Gets what the linear maps give.
        :return: float32, *Shape:* ``(num_docs,)``.
        """
        scores = torch.empty(len(vectors), device=self.device)
        if recorder:
            recorder.start(vectors)

        def score_tile(workspace: _Workspace, start: int, count: int) -> None:
            keep = functools.partial(recorder.keep, start=start) if recorder else None
            scores[start : start + count] = workspace.score(query, keep)

        self._go_through(vectors, score_tile)
        return scores

    def last_states(self, vectors: Tensor | np.ndarray) -> Tensor:
        """Return what the first q-net's output layer sees: the last block's output, or the vectors without blocks.

        :param vectors: *Shape:* ``(num_docs, dim)``.
        :return: float32, *Shape:* ``(num_docs, width)``.
        """
        states = torch.empty(len(vectors), self._q_nets.config.dims[-2], device=self.device)

        def keep_tile(workspace: _Workspace, start: int, count: int) -> None:
            states[start : start + count] = workspace.states(0)

        self._go_through(vectors, keep_tile)
        return states

    def _go_through(self, vectors: Tensor | np.ndarray, work: Callable[[_Workspace, int, int], None]) -> None:
        """Do some work on every tile, in threads that each compute on one core.

        :param work: Gets a workspace with the tile, the tile's first row and its number of rows.
        """

        def do(start: int) -> None:
            tile = vectors[start : start + rows]
            # On a CPU each thread has buffers that outlive the scorer: new ones cost a short search much of its time.
            buffers = self._buffers if self.device.type != "cpu" else _of_this_thread.buffers
            workspace = _Workspace(self._q_nets, self._maps, buffers)
            with torch.inference_mode(), float32_products(self.device, self.dtype):
                workspace.load(tile)
                work(workspace, start, len(tile))

        with stage("score"):
            if len(vectors) >= _MANY_DOCS and not self._for_many:
                self._maps, self._for_many = self._linear_maps(self.tile_rows), True
            # Few documents by torch's own threads, which may still be waiting actively and would be in others' way.
            by_torch = len(vectors) <= _FEW_DOCS and self._threads == torch.get_num_threads()
            if self.device.type != "cpu" or by_torch:
                rows = self.tile_rows
                for start in range(0, len(vectors), rows):
                    do(start)
            else:
                rows = self._rows_of_tiles(len(vectors))
                on_cores(self._threads, do, range(0, len(vectors), rows))

    def _rows_of_tiles(self, num_docs: int) -> int:
        """Share few documents out among the threads."""
        threads = max(1, min(self._threads, num_docs // _ROWS_OF_A_THREAD))
        share = -(-num_docs // threads)
        return max(ROWS_MULTIPLE, min(self.tile_rows, -(-share // ROWS_MULTIPLE) * ROWS_MULTIPLE))

    def _linear_maps(self, rows: int | None = None) -> list[list[LinearMap]]:
        pairs = list(zip(self._q_nets.weights, self._q_nets.biases, strict=False))  # the output layer has no bias
        queries = range(len(self._q_nets))
        return [[linear_map(weight[query], bias[query], rows=rows) for weight, bias in pairs] for query in queries]


class _Buffers:
    """Memory that is used again, by number and type."""

    def __init__(self) -> None:
        self._tensors: dict[tuple[int, torch.dtype], Tensor] = {}

    def get(self, number: int, rows: int, width: int, like: Tensor) -> Tensor:
        """Return a buffer, *Shape:* ``(rows, width)``, with anything in it; what was in it is gone."""
        tensor = self._tensors.get((number, like.dtype))
        if tensor is None or tensor.numel() < rows * width:
            tensor = self._tensors[number, like.dtype] = like.new_empty(rows * width)
        return tensor[: rows * width].view(rows, width)


class _OfThisThread(threading.local):
    def __init__(self) -> None:
        self.buffers = _Buffers()


_of_this_thread = _OfThisThread()


class _Workspace:
    """Computes one tile.

    :param q_nets: The q-nets, in the dtype to compute in.
    :param maps: Their blocks' linear maps, by query and block.
    :param buffers: The memory that it is computed in.
    """

    def __init__(self, q_nets: QNets, maps: Sequence[Sequence[LinearMap]], buffers: _Buffers) -> None:
        like = q_nets.weights[0]
        self._q_nets = q_nets
        self._maps = maps
        self._config = q_nets.config
        looped = like.device.type == "cpu" and like.dtype in (torch.float32, torch.bfloat16)
        self._epilogues = [Epilogue(q_nets.config, block) for block in range(q_nets.config.num_blocks) if looped]
        self._like = like
        self._buffers = buffers
        self._loaded = like
        self._count = 0
        self._keep: Callable[..., None] | None = None

    def load(self, vectors: Tensor | np.ndarray) -> None:
        """Copy vectors into the tile, where they cannot be used as they are.

        Rows that fill the tile up to a multiple of 16 are computed along and thrown away.
        """
        vectors = as_tensor(vectors)
        self._count, rows = len(vectors), -(-len(vectors) // ROWS_MULTIPLE) * ROWS_MULTIPLE
        if rows == self._count and _is_like(vectors, self._like):
            self._loaded = vectors
        else:
            self._loaded = self._buffer(_TILE, rows, vectors.shape[1])
            self._loaded[: self._count].copy_(vectors)
            self._loaded[self._count :].zero_()

    def score(self, query: int, keep: Callable[..., None] | None = None) -> Tensor:
        """Return the loaded documents' scores, *Shape:* ``(count,)``.

        :param keep: Called with ``block`` and ``outputs``, what its linear map gave, *Shape:* ``(count, width)``.
        """
        self._keep = keep
        weights = self._q_nets.weights[-1][query].squeeze(1)
        if not self._epilogues:
            states, _ = self._states_before(self._config.num_blocks, query)
            # A score in bf16 would tie with thousands of others.
            return (states.float() @ weights.float())[: self._count]
        last = self._config.num_blocks - 1
        states, in_use = self._states_before(last, query)
        outputs, _ = self._linear(last, query, states, in_use)
        return self._epilogues[last].finish_to_scores(outputs, states, weights.float().contiguous())[: self._count]

    def states(self, query: int) -> Tensor:
        """Return the loaded documents' last states, *Shape:* ``(count, width)``; valid until the next call."""
        return self._states_before(self._config.num_blocks, query)[0][: self._count]

    def _states_before(self, end: int, query: int) -> tuple[Tensor, int | None]:
        """Return what the first blocks make of the tile, and the number of the buffer that it lies in."""
        states: Tensor = self._loaded
        in_use: int | None = None
        for block in range(end):
            states, in_use = self._block(block, query, states, in_use)
        return states, in_use

    def _linear(self, block: int, query: int, states: Tensor, in_use: int | None) -> tuple[Tensor, int]:
        """Apply a block's linear map; returns a buffer's number with the outputs, which may lie elsewhere."""
        free = 1 if in_use == 0 else 0
        buffer = self._buffer(free, len(states), self._config.dims[block + 1])
        outputs = self._maps[query][block](states, buffer)
        if self._keep:
            self._keep(block=block, outputs=outputs[: self._count])
        return outputs, free

    def _block(self, block: int, query: int, states: Tensor, in_use: int | None) -> tuple[Tensor, int]:
        """Compute one hidden block without new memory.

        :param states: The block's input, in buffer number ``in_use``.
        :return: The block's output and the number of its buffer.
        """
        config = self._config
        outputs, number = self._linear(block, query, states, in_use)
        if self._epilogues:
            return self._epilogues[block].finish(outputs, states), number
        outputs, second = activate(config.activation, outputs), min({0, 1, 2} - {number, in_use})
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
        like = self._like.new_empty(0, dtype=torch.float32) if self._like.is_cuda else self._like  # CUDA's are float32
        moments = self._buffers.get(_MOMENTS, 2 * rows, 1, like).view(2, rows, 1)
        torch.ops.aten.native_layer_norm.out(
            states, (width,), None, None, _LAYER_NORM_EPS, out0=out, out1=moments[0], out2=moments[1]
        )
        return out

    def _buffer(self, number: int, rows: int, width: int) -> Tensor:
        return self._buffers.get(number, rows, width, self._like)


def _is_like(vectors: Tensor, tile: Tensor) -> bool:
    """Tell whether vectors lie in memory as a tile does; how products are added up may depend on the alignment."""
    same = vectors.device == tile.device and vectors.dtype == tile.dtype
    return same and vectors.is_contiguous() and vectors.data_ptr() % _ALIGNMENT == 0


def as_tensor(vectors: Tensor | np.ndarray) -> Tensor:
    """View an array, read-only ones (memory maps) included, as a tensor that is only read."""
    if isinstance(vectors, Tensor):
        return vectors
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(vectors)
