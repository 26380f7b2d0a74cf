# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Exhaustive search: every document of the index scored by every q-net, block by block."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from hypensearch.errors import HypensearchError
from hypensearch.hits import Hit, in_rank_order
from hypensearch.index.flat import FlatIndex, FlatShard
from hypensearch.models.q_net import QNets
from hypensearch.search.scorer import PRECISIONS, Scorer
from hypensearch.search.top_k import TopK

logger = logging.getLogger(__name__)

CPU_BLOCK_ROWS = 65536
CUDA_BLOCK_ROWS = 131072
_RESIDENT_SHARE = 0.6  # of a GPU's free memory that vectors may take up for good


class ExhaustiveSearch:
    """Scores every document of an index; what does not fit into memory is read again for each batch.

    In fp32 the scan's scores are the hits' scores. In bf16 or fp16 the scan picks twice as many candidates as are
    wanted, and these are scored again in fp32, so that every hit has its exact score.

    :param index: The document vectors.
    :param device: Where to score.
    :param precision: "fp32", "bf16" or "fp16".
    :param block_rows: Rows read at a time; changes memory use, never hits. None for the device's default.
    """

    def __init__(
        self, index: FlatIndex, device: torch.device, precision: str = "fp32", block_rows: int | None = None
    ) -> None:
        if precision not in PRECISIONS:
            raise HypensearchError(f"unknown precision {precision!r}: known are {', '.join(PRECISIONS)}")
        self.index = index
        self.device = device
        self.precision = precision
        self.block_rows = block_rows or (CUDA_BLOCK_ROWS if device.type == "cuda" else CPU_BLOCK_ROWS)
        self._resident: dict[int, Tensor] = {}

    def search(self, q_nets: QNets, k: int, threads: int | None = None) -> list[list[Hit]]:
        """Find the best documents of each query; all q-nets share one pass over the vectors.

        :param q_nets: The queries' q-nets.
        :param k: Hits wanted of each query; fewer where the index has fewer documents.
        :param threads: CPU threads; None for as many as torch uses.
        :return: A ranked list for each q-net: higher scores first, equal ones by docid.
        :raises HypensearchError: When the q-nets take other vectors than the index holds, or a score is not finite.
        """
        if q_nets.dim != self.index.dim:
            raise HypensearchError(
                f"document vectors in {self.index.folder} have {self.index.dim} dimensions, but the q-nets take "
                f"{q_nets.dim}: was the corpus encoded with another checkpoint?"
            )
        found = [self._search_shard(shard, q_nets, k, threads) for shard in self.index.shards]
        return [in_rank_order(hit for hits in of_query for hit in hits)[:k] for of_query in zip(*found, strict=True)]

    def _search_shard(self, shard: FlatShard, q_nets: QNets, k: int, threads: int | None) -> list[list[Hit]]:
        wanted = k if self.precision == "fp32" else 2 * k + 256
        best = TopK(len(q_nets), min(wanted, shard.num_docs), shard.docid_rank)
        scorer = Scorer(q_nets, self.device, self.precision, threads=threads)
        for first_row, vectors in self._blocks(shard):
            best.add(first_row, scorer.score(vectors))
        return [self._hits(shard, q_nets[query], best, query)[:k] for query in range(len(q_nets))]

    def _hits(self, shard: FlatShard, q_net: QNets, best: TopK, query: int) -> list[Hit]:
        rows, scores = best.rows(query), best.scores(query)
        if self.precision != "fp32":
            scores = self.score_rows(shard, q_net, rows)
        hits = [Hit(shard.docids[int(row)], float(score)) for row, score in zip(rows, scores, strict=True)]
        return in_rank_order(hits)

    def score_rows(self, shard: FlatShard, q_net: QNets, rows: np.ndarray) -> np.ndarray:
        """Score some documents with one q-net, in fp32.

        :param rows: Rows of the shard, *Shape:* ``(n,)``.
        :return: float32, *Shape:* ``(n,)``.
        """
        order = np.sort(rows)
        scores = Scorer(q_net, self.device).score(shard.vectors[order])[0].cpu().numpy()
        result: np.ndarray = scores[np.searchsorted(order, rows)]
        return result

    def _blocks(self, shard: FlatShard) -> Iterator[tuple[int, Tensor | np.ndarray]]:
        """Yield the first row and the vectors of each block."""
        if self.device.type != "cuda":
            source: Tensor | np.ndarray = shard.vectors
        elif (resident := self._on_device(shard)) is not None:
            source = resident
        else:
            yield from self._streamed(shard)
            return
        for start in range(0, shard.num_docs, self.block_rows):
            yield start, source[start : start + self.block_rows]

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
        shape = (min(self.block_rows, shard.num_docs), self.index.dim)
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
