# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""An index's vectors on a GPU: kept there where they fit, else streamed through pinned buffers."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from hypensearch.index.flat import FlatShard

logger = logging.getLogger(__name__)

BLOCK_ROWS = 131072
_RESIDENT_SHARE = 0.6  # of a GPU's free memory that vectors may take up for good


class CudaVectors:
    """Gives the vectors of shards block by block on a GPU.

    :param device: The GPU.
    :param block_rows: Rows of a block; None for the default.
    """

    def __init__(self, device: torch.device, block_rows: int | None = None) -> None:
        self.device = device
        self.block_rows = block_rows or BLOCK_ROWS
        self._resident: dict[int, Tensor] = {}

    def blocks(self, shard: FlatShard) -> Iterator[tuple[int, Tensor]]:
        """Yield the first row and the vectors of each block; a block is valid until the next one is asked for."""
        resident = self._on_device(shard)
        if resident is None:
            yield from self._streamed(shard)
            return
        for start in range(0, shard.num_docs, self.block_rows):
            yield start, resident[start : start + self.block_rows]

    def _on_device(self, shard: FlatShard) -> Tensor | None:
        """Return a shard's vectors on the GPU, put there once, or None when they do not fit."""
        if shard.start not in self._resident:
            free, _ = torch.cuda.mem_get_info(self.device)
            if shard.vectors.nbytes > _RESIDENT_SHARE * free:
                return None
            resident = torch.empty(shard.vectors.shape, dtype=_dtype_of(shard), device=self.device)
            for first_row, block in self._streamed(shard):
                resident[first_row : first_row + len(block)] = block
            self._resident[shard.start] = resident
            logger.info("%d document vectors are kept on %s", shard.num_docs, self.device)
        return self._resident[shard.start]

    def _streamed(self, shard: FlatShard) -> Iterator[tuple[int, Tensor]]:
        """Copy blocks to the GPU through two pinned buffers, the next one while this one is scored."""
        dtype = _dtype_of(shard)
        shape = (min(self.block_rows, shard.num_docs), shard.vectors.shape[1])
        pinned = [torch.empty(shape, dtype=dtype, pin_memory=True) for _ in range(2)]
        on_device = [torch.empty(shape, dtype=dtype, device=self.device) for _ in range(2)]
        copies = torch.cuda.Stream(self.device)
        arrived = [torch.cuda.Event() for _ in range(2)]
        scored = [torch.cuda.Event() for _ in range(2)]

        def send(start: int, slot: int) -> int:
            count = min(self.block_rows, shard.num_docs - start)
            arrived[slot].synchronize()
            np.copyto(pinned[slot][:count].numpy(), shard.vectors[start : start + count])
            with torch.cuda.stream(copies):
                copies.wait_event(scored[slot])
                on_device[slot][:count].copy_(pinned[slot][:count], non_blocking=True)
                arrived[slot].record(copies)
            return count

        starts = range(0, shard.num_docs, self.block_rows)
        count = send(0, 0)
        for number, start in enumerate(starts):
            slot = number % 2
            following = send(start + self.block_rows, 1 - slot) if number + 1 < len(starts) else 0
            torch.cuda.current_stream(self.device).wait_event(arrived[slot])
            yield start, on_device[slot][:count]
            scored[slot].record(torch.cuda.current_stream(self.device))
            count = following


def _dtype_of(shard: FlatShard) -> torch.dtype:
    return torch.from_numpy(np.empty(0, dtype=shard.vectors.dtype)).dtype
