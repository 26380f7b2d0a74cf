# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Scores document vectors with q-nets, fast: tiles that stay in cache, buffers that are used again.

Every tile is computed by the same operations on a tile of the same shape, so that a score depends on its q-net and
its document vector alone, not on its neighbours, the block, the batch or the number of threads.
"""

from __future__ import annotations

import itertools
import threading
import warnings
from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from hypensearch.device import float32_products
from hypensearch.models.q_net import QNets
from hypensearch.scoring.epilogue import Epilogue
from hypensearch.scoring.linear import linear_map
from hypensearch.stages import stage
from hypensearch.threads import default_threads, on_cores

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
CPU_TILE_ROWS = 384
CUDA_TILE_ROWS = 16384
ROWS_MULTIPLE = 16  # below, matrix products take other paths in BLAS and give other last bits
_FEW_DOCS = 1024
_MANY_DOCS = 8192  # from so many on, weights are laid out for them
_ROWS_OF_A_THREAD = 32  # for fewer documents no second thread is woken
_TILE = 2  # number of the buffer for vectors; 0 and 1 are for states
_ALIGNMENT = 64  # bytes, of what torch allocates on a CPU

Keep = Callable[..., None]  # called with ``block`` and ``outputs``


class Recorder(Protocol):
    """Keeps what the linear maps of one q-net's blocks gave, to go back from there."""

    def start(self, vectors: Tensor | np.ndarray) -> None:
        """Prepare for documents that are going to be scored; those before are forgotten.

        :param vectors: *Shape:* ``(num_docs, dim)``.
        """
        ...

    def keep(self, block: int, start: int, outputs: Tensor) -> None:
        """Keep what the linear map of a block gave for some of the documents; not called on a GPU.

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
    :param precision: A key of :data:`DTYPES`; sums inside a matrix product are in float32 at least.
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
        self._threads = threads or default_threads()
        self._has_loops = device.type == "cpu" and self.dtype in (torch.float32, torch.bfloat16)
        self._epilogues = [Epilogue(q_nets.config, block) for block in range(q_nets.config.num_blocks)]
        self._lay_out(None)

    def _lay_out(self, rows: int | None) -> None:
        """Make the blocks' linear maps, by query and block.

        :param rows: As in :func:`hypensearch.scoring.linear.linear_map`.
        """
        pairs = list(zip(self._q_nets.weights, self._q_nets.biases, strict=False))  # the output layer has no bias
        queries = range(len(self._q_nets) if self._has_loops else 0)
        self._maps = [[linear_map(weight[n], bias[n], rows=rows) for weight, bias in pairs] for n in queries]
        self._for_many = rows is not None

    def score(self, vectors: Tensor | np.ndarray) -> Tensor:
        """Score documents.

        :param vectors: *Shape:* ``(num_docs, dim)``, any floating dtype, on any device.
        :return: float32, *Shape:* ``(num_queries, num_docs)``, on the scorer's device.
        """
        scores = torch.empty(len(self._q_nets), len(vectors), device=self.device)

        def score_tile(tile: Tensor, start: int, count: int) -> None:
            for query in range(len(self._q_nets)):
                scores[query, start : start + count] = self._score_tile(query, tile)[:count]

        self._each_tile(vectors, score_tile)
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

        def score_tile(tile: Tensor, start: int, count: int) -> None:
            def keep(block: int, outputs: Tensor) -> None:
                recorder.keep(block, start, outputs[:count])  # type: ignore[union-attr]

            scores[start : start + count] = self._score_tile(query, tile, keep if recorder else None)[:count]

        self._each_tile(vectors, score_tile)
        return scores

    def last_states(self, vectors: Tensor | np.ndarray) -> Tensor:
        """Return what the first q-net's output layer sees: the last block's output, or the vectors without blocks.

        :param vectors: *Shape:* ``(num_docs, dim)``.
        :return: float32, *Shape:* ``(num_docs, width)``.
        """
        config = self._q_nets.config
        states = torch.empty(len(vectors), config.dims[-2], device=self.device)

        def keep_tile(tile: Tensor, start: int, count: int) -> None:
            states[start : start + count] = self._states(0, tile, config.num_blocks)[:count]

        self._each_tile(vectors, keep_tile)
        return states

    def _each_tile(self, vectors: Tensor | np.ndarray, work: Callable[[Tensor, int, int], None]) -> None:
        """Do some work on every tile, in threads that each compute on one core.

        :param work: Gets the tile, the row of its first document and the number of its documents.
        """
        vectors = as_tensor(vectors)

        def do(start: int) -> None:
            part = vectors[start : start + rows]
            with torch.inference_mode(), float32_products(self.device, self.dtype):
                work(self._tile(part), start, len(part))

        with stage("score"):
            if len(vectors) >= _MANY_DOCS and not self._for_many:
                self._lay_out(self.tile_rows)
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
        return max(ROWS_MULTIPLE, min(self.tile_rows, _whole(-(-num_docs // threads))))

    def _tile(self, vectors: Tensor) -> Tensor:
        """Copy vectors, where they cannot be used as they are; zeros fill them up to a multiple of 16 rows."""
        like, rows = self._q_nets.weights[0], _whole(len(vectors))
        same = vectors.device == like.device and vectors.dtype == like.dtype and rows == len(vectors)
        if same and vectors.is_contiguous() and vectors.data_ptr() % _ALIGNMENT == 0:  # how products are added up may
            return vectors  # depend on the alignment
        tile = _buffer(_TILE, rows, vectors.shape[1], like)
        tile[: len(vectors)].copy_(vectors)
        tile[len(vectors) :].zero_()
        return tile

    def _score_tile(self, query: int, tile: Tensor, keep: Keep | None = None) -> Tensor:
        """Return the scores of a tile's rows, *Shape:* ``(rows,)``, float32: in bf16 thousands of others would tie."""
        weights, last = self._q_nets.weights[-1][query].squeeze(1).float(), self._q_nets.config.num_blocks - 1
        if last < 0 or not self._has_loops:
            return self._states(query, tile, last + 1).float() @ weights
        states = self._states(query, tile, last, keep)
        return self._epilogues[last].finish_to_scores(
            self._outputs(query, last, states, keep), states, weights.contiguous()
        )

    def _states(self, query: int, tile: Tensor, end: int, keep: Keep | None = None) -> Tensor:
        """Return what the first blocks make of a tile, *Shape:* ``(rows, width)``; valid until the next call."""
        states = tile
        if self._has_loops:
            for block in range(end):
                states = self._epilogues[block].finish(self._outputs(query, block, states, keep), states)
        else:
            for of_block in itertools.islice(self._q_nets[query].layers(tile.unsqueeze(0)), end):
                states = of_block.squeeze(0)
        return states

    def _outputs(self, query: int, block: int, states: Tensor, keep: Keep | None) -> Tensor:
        """Apply a block's linear map."""
        buffer = _buffer(block % 2, len(states), self._q_nets.config.dims[block + 1], states)
        outputs = self._maps[query][block](states, buffer)
        if keep:
            keep(block=block, outputs=outputs)
        return outputs


class _OfThisThread(threading.local):
    """A thread's memory for tiles and states: new memory costs a short search much of its time."""

    def __init__(self) -> None:
        self.buffers: dict[tuple[int, torch.dtype], Tensor] = {}


_of_this_thread = _OfThisThread()


def _buffer(number: int, rows: int, width: int, like: Tensor) -> Tensor:
    """Return memory with anything in it, *Shape:* ``(rows, width)``; on a CPU what was in that buffer is gone."""
    if like.device.type != "cpu":
        return like.new_empty(rows, width)
    buffers = _of_this_thread.buffers
    key = (number, like.dtype)
    if key not in buffers or buffers[key].numel() < rows * width:
        buffers[key] = like.new_empty(rows * width)
    return buffers[key][: rows * width].view(rows, width)


def _whole(rows: int) -> int:
    return -(-rows // ROWS_MULTIPLE) * ROWS_MULTIPLE


def as_tensor(vectors: Tensor | np.ndarray) -> Tensor:
    """View an array, read-only ones (memory maps) included, as a tensor that is only read."""
    if isinstance(vectors, Tensor):
        return vectors
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(vectors)
