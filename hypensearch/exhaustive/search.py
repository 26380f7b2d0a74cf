# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Exhaustive search: every document of the index scored by every q-net, block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from hypensearch.exhaustive.options import ExhaustiveOptions
from hypensearch.exhaustive.ranks import ALONE, Ranks
from hypensearch.exhaustive.streaming import CUDA_BLOCK_ROWS, Block, DeviceVectors, go_through
from hypensearch.flat.index import FlatIndex
from hypensearch.flat.shard import FlatShard
from hypensearch.models.q_net import QNets
from hypensearch.scoring.choice import Case, choose_scorer, make_scorer, usable_precision
from hypensearch.scoring.found import Found, in_rank_order
from hypensearch.scoring.gpu.candidates import Candidates
from hypensearch.scoring.gpu.triton_scorer import TritonScorer
from hypensearch.scoring.scorer import DTYPES, Scorer, as_tensor
from hypensearch.scoring.top_k import TopK
from hypensearch.stages import stage

CPU_BLOCK_ROWS = 65536
_AGAIN = 128  # candidates that are rescored at a time, beside the first k; an eighth of k if that is more
_SAFETY = 2.0  # the scan is taken to be wrong by its largest error so far times this


class ExhaustiveSearch:
    """Scores every document of an index; what does not fit into memory is read again for each batch.

    In fp32 an exact scorer's scores are the hits' scores. Otherwise the scan picks twice as many candidates as are
    wanted, and as many of them are rescored in fp32 as its errors require: every hit has its exact score.

    On a GPU that has the vectors already, a search of one shard waits for the best candidates once, and for each query
    once for every time that some are scored again; with the Triton kernel once more, to see whether candidates were
    lost. To the GPU go the q-nets twice, for the scan and to score again, and 8 bytes for each candidate that is scored
    again (its vector where the GPU has no room for the file's values). From it come 8 bytes for each candidate, and 4
    for each exact score.

    :param index: The document vectors.
    :param device: Where to score.
    :param options: How to score.
    :param ranks: The processes that share the search: each scores a range of the documents, all get the same results.
    :raises HypensearchError: When the scorer does not support the precision on the device.
    """

    def __init__(
        self,
        index: FlatIndex,
        device: torch.device,
        options: ExhaustiveOptions | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        options = options or ExhaustiveOptions()
        self.index = index
        self.device = device
        self.precision = usable_precision(device, options.precision)
        self.scorer = options.scorer
        self._is_exact = choose_scorer(Case(device, self.precision), self.scorer).exact and self.precision == "fp32"
        self._ranks = ranks
        self._block_rows = options.block_rows or (CUDA_BLOCK_ROWS if device.type == "cuda" else CPU_BLOCK_ROWS)
        self._vectors = DeviceVectors(device, None if self._is_exact else DTYPES.get(self.precision))
        self._docid_rank: dict[int, Tensor] = {}

    def search(self, q_nets: QNets, k: int, starts: Sequence[np.ndarray] | None = None) -> list[Found]:
        """Find the best documents of each query; all q-nets share one pass over the vectors.

        :param q_nets: The queries' q-nets.
        :param k: Documents wanted of each query; fewer are found where the index has fewer.
        :param starts: Ignored.
        :raises HypensearchError: When a score in the scan is not finite.
        """
        mine = self._ranks.share_of(self.index.num_docs)
        shares = [(shard, rows) for shard in self.index.shards if (rows := _overlap(shard, mine))]
        of_shards = [self._search_shard(shard, rows, q_nets, k) for shard, rows in shares]
        found = [self._merged([of_query[query] for of_query in of_shards], k) for query in range(len(q_nets))]
        exchanged = self._ranks.exchange([(rows.tolist(), scores.tolist()) for rows, scores in found])
        if exchanged is not None:
            found = [
                self._merged([(np.array(rows), np.array(scores, np.float32)) for rows, scores in of_ranks], k)
                for of_ranks in zip(*exchanged, strict=True)
            ]
        return [Found(rows, scores, self.index.num_docs) for rows, scores in found]

    def _search_shard(
        self, shard: FlatShard, rows: range, q_nets: QNets, k: int
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return index-wide rows and scores of each query."""
        wanted = min(k if self._is_exact else 2 * k + 256, len(rows))
        scorer = make_scorer(q_nets, Case(self.device, self.precision, q_nets.config), self.scorer)
        if isinstance(scorer, TritonScorer):
            best = self._collect(shard, rows, scorer, len(q_nets), wanted)
        else:
            best = TopK(len(q_nets), wanted, self._docid_rank_of(shard))

            def use(first_row: int, vectors: Block) -> None:
                with stage("score"):
                    scores = scorer.score(vectors)
                best.add(first_row, scores)

            self._go_through(shard, rows, use)
        found = best.best(shard.rows_by_rank)
        if not self._is_exact:
            pairs = zip(q_nets, found, strict=True)
            found = [(of_query[0], self.rescore(shard, q_net, *of_query, k)) for q_net, of_query in pairs]
        return [(of_query[: len(scores)] + shard.start, scores) for of_query, scores in found]

    def _collect(self, shard: FlatShard, rows: range, scorer: TritonScorer, num_queries: int, wanted: int) -> TopK:
        """Let the GPU keep the candidates; a second time, merging after every block, where they were too many."""
        for often in (False, True):
            best = TopK(num_queries, wanted, self._docid_rank_of(shard))
            candidates = Candidates(best, min(self._block_rows, len(rows)), often=often)

            def use(first_row: int, vectors: Block, candidates: Candidates = candidates) -> None:
                with stage("score"):
                    scorer.collect(first_row, vectors, candidates)

            self._go_through(shard, rows, use)
            candidates.merge()
            if not candidates.overflowed:
                break
        return best

    def _merged(self, parts: Sequence[tuple[np.ndarray, np.ndarray]], k: int) -> tuple[np.ndarray, np.ndarray]:
        rows = np.concatenate([np.empty(0, dtype=np.int64), *(rows for rows, _ in parts)])
        scores = np.concatenate([np.empty(0, dtype=np.float32), *(scores for _, scores in parts)])
        best = in_rank_order(scores, self.index.docid_order(rows))[:k]
        return rows[best], scores[best]

    def _docid_rank_of(self, shard: FlatShard) -> Tensor:
        if shard.start not in self._docid_rank:
            ranks = shard.docid_rank.view(np.int32)  # torch computes with few unsigned types
            self._docid_rank[shard.start] = as_tensor(ranks).to(self.device)
        return self._docid_rank[shard.start]

    def _go_through(self, shard: FlatShard, rows: range, use: Callable[[int, Block], None]) -> None:
        """Use all blocks; a block size that was too large for the memory is not tried again."""

        def blocks(some: range, block_rows: int) -> Iterator[tuple[int, Block]]:
            if self.device.type == "cuda":
                yield from self._vectors.blocks(shard, some, block_rows, keep=rows)
                return
            for start in range(some.start, some.stop, block_rows):
                yield start, shard.vectors[start : min(start + block_rows, some.stop)]

        used = go_through(rows, self._block_rows, blocks, use)
        if used < min(self._block_rows, len(rows)):
            self._block_rows = used

    def rescore(self, shard: FlatShard, q_net: QNets, rows: np.ndarray, rough: np.ndarray, k: int) -> np.ndarray:
        """Score candidates in fp32, best first, until no other can be among the best k.

        None can where the scan would have to be wrong by more than twice its largest error so far.

        :param rows: The candidates, rows of the shard, best first, *Shape:* ``(n,)``.
        :param rough: Their scores in the scan.
        :return: Scores of the first of them, float32, *Shape:* ``(at most n,)``.
        """
        scorer = Scorer(q_net, self.device)
        scores = np.empty(0, dtype=np.float32)
        while (done := len(scores)) < len(rows):
            if done >= k:
                reach = _SAFETY * np.abs(scores - rough[:done]).max()
                if rough[done] + reach < np.partition(scores, done - k)[done - k]:
                    break
            more = rows[done : max(done, k) + max(_AGAIN, k // 8)]
            order = np.sort(more)
            in_order = scorer.score(self._vectors.gather(shard, order))[0].cpu().numpy()
            scores = np.concatenate([scores, in_order[np.searchsorted(order, more)]])
        return scores


def _overlap(shard: FlatShard, rows: range) -> range:
    """Return those of the index-wide rows that lie in a shard, as rows of the shard."""
    return range(max(0, rows.start - shard.start), min(shard.num_docs, rows.stop - shard.start))
