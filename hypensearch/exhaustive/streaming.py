# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Document vectors block by block on a device: kept there or streamed, in smaller blocks where memory ends."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hypensearch.errors import HypensearchError
from hypensearch.flat.shard import FlatShard
from hypensearch.scoring.scorer import as_tensor

logger = logging.getLogger(__name__)

Block = Tensor | np.ndarray
CUDA_BLOCK_ROWS = 131072
LEAST_BLOCK_ROWS = 512  # below, memory is not what the block takes
_RESIDENT_SHARE = 0.6  # of a GPU's free memory that vectors may take up for good


class DeviceVectors:
    """Gives the vectors of shards on a device.

    On a GPU they stay there if they fit, in the type of the scan, and beside it in the type of the file if that has
    other values and fits as well: candidates are scored again from it. Those that do not fit go from the memory-mapped
    file through two pinned buffers: while one block is scored, the next one is copied by a stream of its own. On a CPU,
    buffers are ordinary and nothing overlaps.

    :param device: Where the vectors are wanted.
    :param dtype: Type of the scan; None for that of the file.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype | None = None) -> None:
        self.device = device
        self._dtype = dtype
        self._kept: dict[int, _Kept | None] = {}  # by the shard's first row

    def blocks(
        self, shard: FlatShard, rows: range, block_rows: int, keep: range | None = None
    ) -> Iterator[tuple[int, Tensor]]:
        """Yield the first row and the vectors of each block; a block is valid until the next one is asked for.

        :param rows: The rows wanted.
        :param block_rows: Rows of a block.
        :param keep: The rows that will be wanted again, ``rows`` among them; they stay on a GPU if they fit.
        """
        if self.device.type == "cuda" and self._kept.get(shard.start) is None:
            self._kept[shard.start] = self._keep(shard, keep or rows, block_rows)
        kept = self._kept.get(shard.start)
        if kept is None:
            yield from self.streamed(shard, rows, block_rows)
            return
        for first in range(rows.start, rows.stop, block_rows):
            end = min(first + block_rows, rows.stop)
            yield first, kept.of_scan[first - kept.first_row : end - kept.first_row]

    def gather(self, shard: FlatShard, rows: np.ndarray) -> Tensor:
        """Return the vectors of some rows, with the values of the file: from the GPU if they are there.

        :param rows: In ascending order, *Shape:* ``(n,)``.
        :return: *Shape:* ``(n, dim)``, on the device or in memory.
        """
        kept = self._kept.get(shard.start)
        if kept is None or kept.of_file is None:
            return as_tensor(shard.vectors[rows])
        return kept.of_file[torch.from_numpy(rows - kept.first_row).to(self.device)]

    def streamed(self, shard: FlatShard, rows: range, block_rows: int) -> Iterator[tuple[int, Tensor]]:
        """As :meth:`blocks`, always from disk."""
        source = as_tensor(shard.vectors)
        parts = [slice(first, min(first + block_rows, rows.stop)) for first in range(rows.start, rows.stop, block_rows)]
        shape = (min(block_rows, len(rows)), source.shape[1])
        slots = [_Slot(shape, source.dtype, self.device) for _ in range(2)]
        copies = torch.cuda.Stream(self.device) if self.device.type == "cuda" else None
        for part in parts[:1]:
            slots[0].send(source[part], copies)
        for number, part in enumerate(parts):
            for following in parts[number + 1 : number + 2]:
                slots[1 - number % 2].send(source[following], copies)
            yield part.start, slots[number % 2].receive()
            slots[number % 2].release()

    def _keep(self, shard: FlatShard, rows: range, block_rows: int) -> _Kept | None:
        """Put vectors on the GPU; None when they do not fit."""
        shape, of_file = (len(rows), shard.vectors.shape[1]), as_tensor(shard.vectors[:0]).dtype
        of_scan = self._dtype or of_file
        is_exact = torch.promote_types(of_scan, of_file) == of_scan
        free, _ = torch.cuda.mem_get_info(self.device)
        room, copies = _RESIDENT_SHARE * free, []
        for dtype in [of_scan] if is_exact else [of_scan, of_file]:
            room -= shape[0] * shape[1] * dtype.itemsize
            if room < 0:
                break
            try:
                copies.append(torch.empty(shape, dtype=dtype, device=self.device))
            except torch.OutOfMemoryError as error:  # free, but in pieces, or taken meanwhile
                logger.warning("%d document vectors in %s do not fit on %s: %s", len(rows), dtype, self.device, error)
                break
        if not copies:
            return None
        for first, block in self.streamed(shard, rows, block_rows):
            for copy in copies:
                copy[first - rows.start : first - rows.start + len(block)].copy_(block)
        logger.info("%d document vectors are kept on %s", len(rows), self.device)
        return _Kept(rows.start, copies[0], copies[-1] if is_exact or len(copies) == 2 else None)


@dataclass(frozen=True)
class _Kept:
    """Vectors on a GPU.

    :param first_row: The row of the first one.
    :param of_scan: In the type of the scan.
    :param of_file: In a type that has the file's values; None where that did not fit.
    """

    first_row: int
    of_scan: Tensor
    of_file: Tensor | None


class _Slot:
    """A buffer in memory and one on the device, and the events that say when each may be used again."""

    def __init__(self, shape: tuple[int, int], dtype: torch.dtype, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._host = torch.empty(shape, dtype=dtype, pin_memory=self._cuda)
        self._on_device = torch.empty(shape, dtype=dtype, device=device)
        self._device = device
        self._count = 0
        if self._cuda:
            self._arrived, self._scored = torch.cuda.Event(), torch.cuda.Event()
            self._scored.record(torch.cuda.current_stream(device))

    def send(self, vectors: Tensor, copies: torch.cuda.Stream | None) -> None:
        """Read vectors from disk and start their copy to the device."""
        self._count = len(vectors)
        if self._cuda:
            self._arrived.synchronize()  # the copy before last, so that the buffer may be filled again
        self._host[: self._count].copy_(vectors)
        stream: AbstractContextManager[object] = nullcontext() if copies is None else torch.cuda.stream(copies)
        with stream:
            if copies is not None:
                copies.wait_event(self._scored)
            self._on_device[: self._count].copy_(self._host[: self._count], non_blocking=True)
            if copies is not None:
                self._on_device.record_stream(copies)
                self._arrived.record(copies)

    def receive(self) -> Tensor:
        """Return the vectors; what is launched from now on waits for them."""
        if self._cuda:
            torch.cuda.current_stream(self._device).wait_event(self._arrived)
        return self._on_device[: self._count]

    def release(self) -> None:
        """Let the buffer be overwritten after what has been launched so far."""
        if self._cuda:
            self._scored.record(torch.cuda.current_stream(self._device))


def go_through(
    rows: range,
    block_rows: int,
    blocks: Callable[[range, int], Iterator[tuple[int, Block]]],
    use: Callable[[int, Block], None],
) -> int:
    """Use all blocks; where memory does not suffice, blocks of half as many rows from there on.

    :param rows: The rows of all blocks.
    :param block_rows: Rows of a block, to begin with.
    :param blocks: From rows and the rows of a block to the blocks, each with its first row.
    :param use: Takes the first row and the vectors of a block, and has no effect when it runs out of memory.
    :return: The rows of a block in the end.
    :raises HypensearchError: When memory does not even suffice for :data:`LEAST_BLOCK_ROWS`.
    """
    block_rows = min(block_rows, max(1, len(rows)))
    while rows:
        problem = None
        try:
            for first, vectors in blocks(rows, block_rows):
                use(first, vectors)
                rows = range(first + len(vectors), rows.stop)
        except (RuntimeError, MemoryError) as error:  # torch.OutOfMemoryError is a RuntimeError
            if not is_out_of_memory(error):
                raise
            problem = str(error).split("\n")[0]
        if problem is not None:  # the traceback is gone, and what it held
            block_rows = _halved(block_rows, problem)
    return block_rows


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory did not suffice; torch has a class for that on GPUs only."""
    out = isinstance(error, (torch.OutOfMemoryError, MemoryError))
    return out or "DefaultCPUAllocator: can't allocate memory" in str(error)


def _halved(block_rows: int, problem: str) -> int:
    if block_rows <= LEAST_BLOCK_ROWS:
        raise HypensearchError(
            f"out of memory even with blocks of {block_rows:,} documents ({problem}): take fewer topics at a time "
            "(--batch-size) or a lower precision (--bf16), or free memory"
        )
    half = max(LEAST_BLOCK_ROWS, block_rows // 2)
    logger.warning("Out of memory with blocks of %d documents, continuing with %d", block_rows, half)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return half
