# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Exhaustive search: every document of the index scored by every q-net, block by block."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from hypensearch.errors import HypensearchError
from hypensearch.hits import Hit, in_rank_order
from hypensearch.index.flat import FlatIndex, FlatShard
from hypensearch.models.q_net import QNets
from hypensearch.search.cuda_vectors import CudaVectors
from hypensearch.search.scorer import Scorer
from hypensearch.search.scorers import Case, choose_scorer, make_scorer
from hypensearch.search.top_k import TopK
from hypensearch.stages import stage

CPU_BLOCK_ROWS = 65536


class ExhaustiveSearch:
    """Scores every document of an index; what does not fit into memory is read again for each batch.

    In fp32 the scan's scores are the hits' scores. In lower precisions the scan picks twice as many candidates as are
    wanted, and these are scored again in fp32, so that every hit has its exact score.

    :param index: The document vectors.
    :param device: Where to score.
    :param precision: One of :data:`hypensearch.search.flags.PRECISIONS`.
    :param block_rows: Rows read at a time; changes memory use, never hits. None for the device's default.
    :param scorer: One of :data:`hypensearch.search.flags.SCORERS`.
    """

    def __init__(
        self,
        index: FlatIndex,
        device: torch.device,
        precision: str = "fp32",
        block_rows: int | None = None,
        scorer: str = "auto",
    ) -> None:
        choose_scorer(Case(device, precision), scorer)
        self.index = index
        self.device = device
        self.precision = precision
        self.scorer = scorer
        self._block_rows = block_rows or CPU_BLOCK_ROWS
        self._on_device = CudaVectors(device, block_rows) if device.type == "cuda" else None

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
        case = Case(self.device, self.precision, q_nets.config, len(q_nets), shard.num_docs, threads)
        scorer = make_scorer(q_nets, case, self.scorer)
        for first_row, vectors in self._blocks(shard):
            with stage("score"):
                scores = scorer.score(vectors)
            best.add(first_row, scores)
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
        if self._on_device is not None:
            yield from self._on_device.blocks(shard)
            return
        for start in range(0, shard.num_docs, self._block_rows):
            yield start, shard.vectors[start : start + self._block_rows]
