# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Exhaustive search: every document of the index scored by every q-net, block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from hypensearch.errors import HypensearchError
from hypensearch.exhaustive.ranks import ALONE, Ranks
from hypensearch.exhaustive.streaming import CUDA_BLOCK_ROWS, Block, DeviceVectors, go_through
from hypensearch.flat.index import FlatIndex
from hypensearch.flat.shard import FlatShard
from hypensearch.hits import Hit, in_rank_order
from hypensearch.models.q_net import QNets
from hypensearch.scoring.choice import BlockScorer, Case, choose_scorer, make_scorer
from hypensearch.scoring.gpu.candidates import Candidates
from hypensearch.scoring.gpu.triton_scorer import TritonScorer
from hypensearch.scoring.scorer import DTYPES, Scorer, as_tensor
from hypensearch.scoring.top_k import TopK
from hypensearch.stages import stage

CPU_BLOCK_ROWS = 65536
_AGAIN = 128  # candidates that are scored again at a time, beside the first k; an eighth of k if that is more
_SAFETY = 2.0  # times the scan's largest error so far is how wrong it is thought to be


class ExhaustiveSearch:
    """Scores every document of an index; what does not fit into memory is read again for each batch.

    In fp32 an exact scorer's scores are the hits' scores. Elsewhere the scan picks twice as many candidates as are
    wanted, and of these are scored again in fp32 as many as its errors ask for: every hit has its exact score.

    On a GPU that has the vectors already, a search of one shard waits for the best candidates once, and for each query
    once for every time that some are scored again; with the Triton kernel once more, to see whether candidates were
    lost. To the GPU go the q-nets twice, for the scan and to score again, and 8 bytes for each candidate that is scored
    again (its vector where the GPU has no room for the file's values). From it come 8 bytes for each candidate, and 4
    for each exact score.

    :param index: The document vectors.
    :param device: Where to score.
    :param precision: One of :data:`hypensearch.scoring.options.PRECISIONS`.
    :param block_rows: Rows read at a time; changes memory use, never hits. None for the device's default.
    :param scorer: One of :data:`hypensearch.scoring.options.SCORERS`.
    :param ranks: The processes that share the search: each scores a range of the documents, all get the same hits.
    """

    def __init__(
        self,
        index: FlatIndex,
        device: torch.device,
        precision: str = "fp32",
        block_rows: int | None = None,
        scorer: str = "auto",
        ranks: Ranks = ALONE,
    ) -> None:
        kind = choose_scorer(Case(device, precision), scorer)
        self._is_exact = precision == "fp32" and kind.exact
        self.index = index
        self.device = device
        self.precision = precision
        self.scorer = scorer
        self._ranks = ranks
        self._block_rows = block_rows or (CUDA_BLOCK_ROWS if device.type == "cuda" else CPU_BLOCK_ROWS)
        self._vectors = DeviceVectors(device, None if self._is_exact else DTYPES.get(precision))
        self._docid_rank: dict[int, Tensor] = {}

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
        mine = self._ranks.share_of(self.index.num_docs)
        found = [
            self._search_shard(shard, rows, q_nets, k, threads)
            for shard in self.index.shards
            if (rows := _overlap(shard, mine))
        ]
        if not found:
            found = [[[] for _ in range(len(q_nets))]]
        best = [in_rank_order(hit for hits in of_query for hit in hits)[:k] for of_query in zip(*found, strict=True)]
        return self._ranks.merged(best, k)

    def _search_shard(
        self, shard: FlatShard, rows: range, q_nets: QNets, k: int, threads: int | None
    ) -> list[list[Hit]]:
        wanted = min(k if self._is_exact else 2 * k + 256, len(rows))
        scorer = make_scorer(q_nets, Case(self.device, self.precision, q_nets.config, threads), self.scorer)
        if isinstance(scorer, TritonScorer):
            best = self._collect(shard, rows, scorer, len(q_nets), wanted)
        else:
            best = self._score(shard, rows, scorer, len(q_nets), wanted)
        found = best.best(shard.rows_by_rank)
        return [self._hits(shard, q_net, *of_query, k) for q_net, of_query in zip(q_nets, found, strict=True)]

    def _score(self, shard: FlatShard, rows: range, scorer: BlockScorer, num_queries: int, wanted: int) -> TopK:
        best = TopK(num_queries, wanted, self._docid_rank_of(shard))

        def use(first_row: int, vectors: Block) -> None:
            with stage("score"):
                scores = scorer.score(vectors)
            best.add(first_row, scores)

        self._go_through(shard, rows, use)
        return best

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

    def _docid_rank_of(self, shard: FlatShard) -> Tensor:
        if shard.start not in self._docid_rank:
            ranks = shard.docid_rank.view(np.int32)  # torch computes with few unsigned types
            self._docid_rank[shard.start] = as_tensor(ranks).to(self.device)
        return self._docid_rank[shard.start]

    def _go_through(self, shard: FlatShard, rows: range, use: Callable[[int, Block], None]) -> None:
        """Use all blocks; rows of a block that were too many for the memory are not tried again."""

        def blocks(some: range, block_rows: int) -> Iterator[tuple[int, Block]]:
            if self.device.type == "cuda":
                yield from self._vectors.blocks(shard, some, block_rows, keep=rows)
                return
            for start in range(some.start, some.stop, block_rows):
                yield start, shard.vectors[start : min(start + block_rows, some.stop)]

        used = go_through(rows, self._block_rows, blocks, use)
        self._block_rows = min(self._block_rows, used) if used < min(self._block_rows, len(rows)) else self._block_rows

    def _hits(self, shard: FlatShard, q_net: QNets, rows: np.ndarray, scores: np.ndarray, k: int) -> list[Hit]:
        if not self._is_exact:
            scores = self.score_again(shard, q_net, rows, scores, k)
        hits = [Hit(shard.docids[int(row)], float(score)) for row, score in zip(rows, scores, strict=False)]
        return in_rank_order(hits)[:k]

    def score_again(self, shard: FlatShard, q_net: QNets, rows: np.ndarray, rough: np.ndarray, k: int) -> np.ndarray:
        """Score candidates again in fp32, best first, until no other can be among the best k.

        None can where the scan would have to be wrong by more than twice its largest error so far.

        :param rows: The candidates, best first, *Shape:* ``(n,)``.
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
            more = self.scores_of(shard, scorer, rows[done : max(done, k) + max(_AGAIN, k // 8)])
            scores = np.concatenate([scores, more])
        return scores

    def scores_of(self, shard: FlatShard, scorer: Scorer, rows: np.ndarray) -> np.ndarray:
        """Return the scores of some documents under a scorer's first q-net.

        :param rows: Rows of the shard, *Shape:* ``(n,)``.
        :return: float32, *Shape:* ``(n,)``.
        """
        order = np.sort(rows)
        scores = scorer.score(self._vectors.gather(shard, order))[0].cpu().numpy()
        result: np.ndarray = scores[np.searchsorted(order, rows)]
        return result


def _overlap(shard: FlatShard, rows: range) -> range:
    """Return those of the index-wide rows that lie in a shard, as rows of the shard."""
    return range(max(0, rows.start - shard.start), min(shard.num_docs, rows.stop - shard.start))
