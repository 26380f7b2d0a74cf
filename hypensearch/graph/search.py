# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Graph search: walk from document to near document, best candidates first (the paper's Algorithm 1).

All queries of a batch walk at once, in tensors whose shapes depend on the options alone, and nothing in the loop reads
their values: on a GPU the host never waits until the walk has ended. Then it waits four times a batch, for 12 bytes a
hit; the q-nets go to the GPU twice. On a CPU, where reading costs nothing, only new documents are scored, and a walk
that has nowhere to go ends at once.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from hypensearch.errors import HypensearchError
from hypensearch.flat.docids import rank_docids
from hypensearch.flat.index import FlatIndex
from hypensearch.flat.manifest import DOCID, DOCID_OFFSETS
from hypensearch.formats.npy import map_npy
from hypensearch.graph.options import GraphOptions
from hypensearch.graph.store import GraphIndex, check_belongs
from hypensearch.models.q_net import QNets
from hypensearch.scoring.found import Found
from hypensearch.scoring.scorer import Scorer, as_tensor
from hypensearch.scoring.top_k import NOTHING, TopK, pack, unpack
from hypensearch.stages import stage

_VISITED_BYTES = {"cpu": 2**28, "cuda": 2**31}
_MAX_BATCH = 64
_GPU_ROWS = 2**16  # document vectors gathered at a time on a GPU
_COPIED_ROWS = 2**16
_NO_ROWS = np.empty(0, dtype=np.int64)


class GraphSearch:
    """Finds good documents by scoring the neighbours of good documents.

    :param index: The document vectors.
    :param graph: A graph of these vectors.
    :param device: Where to search; on a GPU vectors and neighbours are kept there.
    :param options: How to walk.
    :raises HypensearchError: When the graph belongs to other vectors.
    """

    def __init__(
        self, index: FlatIndex, graph: GraphIndex, device: torch.device, options: GraphOptions | None = None
    ) -> None:
        check_belongs(index, graph.manifest, graph.folder)
        self.index = index
        self.device = device
        self.options = options = options or GraphOptions()
        self._max_scored = min(options.max_scored or index.num_docs, index.num_docs)
        drawn = random.Random(options.entry_seed).sample(
            range(index.num_docs), min(options.num_entry_points, index.num_docs)
        )
        self._entry_rows = np.array(drawn, dtype=np.int64)[: self._max_scored]
        self._neighbours = _on_device(graph.neighbours, device, graph.folder)
        docid_rank, self._rows_by_rank = _order_of_docids(index)
        self._docid_rank = torch.from_numpy(docid_rank.view(np.int32)).to(device)
        self._vectors = _Vectors(index, device)
        self._entries = torch.from_numpy(self._entry_rows).to(device)
        self._entry_vectors = self._vectors.gather(self._entries)

    def search(self, q_nets: QNets, k: int, starts: Sequence[np.ndarray] | None = None) -> list[Found]:
        """Find good documents of each query; there are fewer than k where fewer were offered to the hits.

        :param q_nets: The queries' q-nets.
        :param k: Documents wanted of each query.
        :param starts: Rows of each query to start from beside the random ones, best first, each once.
        :raises HypensearchError: When a start is not a row, or a query has nothing to start from.
        """
        starts = self._checked_starts(starts, len(q_nets))
        found: list[Found] = []
        for batch in self._batches(len(q_nets)):
            best, counts = self._walk(q_nets[batch], min(k, self.index.num_docs), starts[batch])
            scores, ranks = (unpacked.numpy() for unpacked in unpack(best.keys.cpu()))
            rows = self._rows_by_rank[ranks].astype(np.int64)
            for query, scored in enumerate(counts.T.tolist()):
                there = ranks[query] >= 0
                found.append(Found(rows[query][there], scores[query][there], sum(scored), sum(map(bool, scored))))
        return found

    def _checked_starts(self, starts: Sequence[np.ndarray] | None, num_queries: int) -> list[np.ndarray]:
        checked = [np.asarray(rows, dtype=np.int64)[: self._max_scored] for rows in starts or [_NO_ROWS] * num_queries]
        for query, rows in enumerate(checked):
            if len(rows) and not 0 <= rows.min() <= rows.max() < self.index.num_docs:
                raise HypensearchError(
                    f"query {query} starts at rows {rows.min()} to {rows.max()}; {self.index.folder} has rows 0 to "
                    f"{self.index.num_docs - 1}"
                )
            if not len(rows) and not len(self._entry_rows):
                raise HypensearchError(
                    f"query {query} has no documents to start from: set --num-entry-points above 0, or give seeds for "
                    "every topic"
                )
        return checked

    def _batches(self, num_queries: int) -> Iterator[slice]:
        """Split queries so that a visited mark for each document and query fits into memory."""
        size = max(1, min(_MAX_BATCH, _VISITED_BYTES[self.device.type] // (self.index.num_docs + 1)))
        for start in range(0, num_queries, size):
            yield slice(start, min(start + size, num_queries))

    @torch.inference_mode()
    def _walk(self, q_nets: QNets, k: int, starts: Sequence[np.ndarray]) -> tuple[TopK, Tensor]:
        """Walk from the entry points; nothing here waits for the device.

        :return: The hits, and how many documents each iteration scored, *Shape:* ``(num_iterations, num_queries)``.
        """
        num_queries, no_row = len(q_nets), self.index.num_docs
        scores_of = self._scores_of(q_nets)
        frontier, scores = self._start(q_nets, starts, scores_of)
        visited = _zeros(num_queries, no_row + 1, self.device).scatter_(1, frontier, True)
        hits = TopK(num_queries, k, self._docid_rank)
        active = torch.ones(num_queries, dtype=torch.bool, device=self.device)
        counts = []
        for iteration in range(self.options.max_iter):
            scores = scores_of(frontier) if iteration else scores
            there = frontier < no_row
            counts.append(there.sum(dim=1))
            keys = pack(scores, self._docid_rank[frontier.clamp(max=no_row - 1)]).masked_fill_(~there, NOTHING)
            candidates, continues = self._offer(keys, frontier, hits)
            active &= continues
            if iteration + 1 == self.options.max_iter:
                break
            left = self._max_scored - torch.stack(counts).sum(dim=0)
            frontier = self._expand(candidates, visited, active, left)
            if self.device.type == "cpu" and not bool((frontier < no_row).any()):
                break
        return hits, torch.stack(counts)

    def _offer(self, keys: Tensor, frontier: Tensor, hits: TopK) -> tuple[Tensor, Tensor]:
        """Offer the frontier's best to the hits.

        :return: Rows to expand, *Shape:* ``(num_queries, at most ncandidates)``, and which queries continue,
            ``(num_queries,)``.
        """
        is_paper, ncandidates = self.options.variant == "paper", self.options.ncandidates
        best, slots = keys.topk(min(ncandidates if is_paper else max(ncandidates, hits.k), keys.shape[1]), dim=1)
        last, first = hits.keys[:, -1] >> 32, best[:, 0] >> 32  # the upper half of a key is the score
        continues = first >= last if is_paper else first > last
        hits.merge(best)
        return frontier.gather(1, slots[:, :ncandidates]), continues | (not self.options.early_stop)

    def _expand(self, candidates: Tensor, visited: Tensor, active: Tensor, left: Tensor) -> Tensor:
        """Return the neighbours that were not visited yet, each once, and mark them.

        :param candidates: Rows, best first, *Shape:* ``(num_queries, num_candidates)``.
        :param visited: *Shape:* ``(num_queries, num_docs + 1)``.
        :param active: Queries that continue, *Shape:* ``(num_queries,)``.
        :param left: Documents that may still be scored, *Shape:* ``(num_queries,)``.
        :return: Rows, ``num_docs`` for none, *Shape:* ``(num_queries, num_candidates * degree)``.
        """
        no_row = self.index.num_docs
        neighbours = self._neighbours[candidates.clamp(max=no_row - 1)].masked_fill_(
            (candidates == no_row).unsqueeze(2), no_row
        )
        rows = neighbours.flatten(1)
        rows = rows.masked_fill_((rows < 0) | (rows > no_row), no_row)  # unchecked, a graph may hold anything
        ordered, order = rows.sort(dim=1, stable=True)
        first = torch.ones_like(ordered, dtype=torch.bool)
        first[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
        rows = rows.long()
        new = torch.zeros_like(first).scatter_(1, order, first) & ~visited.gather(1, rows) & (rows < no_row)
        new &= active.unsqueeze(1)
        if self._max_scored < no_row:
            new &= new.cumsum(dim=1) <= left.unsqueeze(1)
        frontier = rows.masked_fill_(~new, no_row)
        visited.scatter_(1, frontier, True)
        return frontier

    def _start(
        self, q_nets: QNets, starts: Sequence[np.ndarray], scores_of: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Return the entry points of each query and their scores; random ones are the same for all."""
        if not any(len(rows) for rows in starts):
            frontier = self._entries.expand(len(q_nets), -1)
            return frontier, Scorer(q_nets, self.device).score(self._entry_vectors)
        of_queries = [np.concatenate([rows, self._entry_rows[~np.isin(self._entry_rows, rows)]]) for rows in starts]
        size = min(max(map(len, of_queries)), self._max_scored)
        padded = np.full((len(starts), size), self.index.num_docs, dtype=np.int64)
        for query, rows in enumerate(of_queries):
            padded[query, : len(rows)] = rows[:size]
        frontier = torch.from_numpy(padded).to(self.device)
        return frontier, scores_of(frontier)

    def _scores_of(self, q_nets: QNets) -> Callable[[Tensor], Tensor]:
        """Return the function that scores a frontier, ``(num_queries, size)`` rows; ``num_docs`` gets any score.

        On a CPU only rows that are there are scored, on a GPU all places.
        """
        if self.device.type != "cpu":
            q_nets = q_nets.to(self.device, torch.float32)
            return lambda frontier: self._score_all_places(q_nets, frontier)
        scorer = Scorer(q_nets, self.device)
        return lambda frontier: self._score_rows(scorer, frontier)

    def _score_rows(self, scorer: Scorer, frontier: Tensor) -> Tensor:
        scores = torch.zeros(frontier.shape)
        for query, rows in enumerate(frontier):
            places = (rows < self.index.num_docs).nonzero().squeeze(1)
            for part in places.split(scorer.tile_rows):  # gathered in tiles, which stay in cache until they are scored
                scores[query, part] = scorer.score_one(query, self._vectors.gather(rows[part]))
        return scores

    def _score_all_places(self, q_nets: QNets, frontier: Tensor) -> Tensor:
        rows = frontier.clamp(max=self.index.num_docs - 1)
        size = max(1, _GPU_ROWS // len(rows))
        with stage("score"):
            parts = [q_nets.score_each(self._vectors.gather(part)) for part in rows.split(size, dim=1)]
        return torch.cat(parts, dim=1)


class _Vectors:
    """Document vectors by row, gathered from the mapped files, or on a GPU from its own memory."""

    def __init__(self, index: FlatIndex, device: torch.device) -> None:
        self._shards = [(shard.start, shard.num_docs, as_tensor(shard.vectors)) for shard in index.shards]
        if device.type != "cpu":
            dtype = torch.float16 if index.dtype == "float16" else torch.float32
            vectors = _room((index.num_docs, index.dim), dtype, device, index.folder)
            for shard in index.shards:
                _copy(shard.vectors, vectors[shard.start : shard.start + shard.num_docs])
            self._shards = [(0, index.num_docs, vectors)]

    def gather(self, rows: Tensor) -> Tensor:
        """Return vectors, *Shape:* ``(*rows.shape, dim)``, float32."""
        if len(self._shards) == 1:
            return self._shards[0][2][rows].float()
        result = torch.empty(*rows.shape, self._shards[0][2].shape[1])
        for start, num_docs, vectors in self._shards:
            here = (rows >= start) & (rows < start + num_docs)
            result[here] = vectors[rows[here] - start].float()
        return result


def _on_device(neighbours: np.ndarray, device: torch.device, folder: str) -> Tensor:
    if device.type == "cpu":
        return as_tensor(neighbours)
    result = _room(neighbours.shape, torch.int32, device, folder)
    _copy(neighbours, result)
    return result


def _room(shape: Sequence[int], dtype: torch.dtype, device: torch.device, what: str) -> Tensor:
    try:
        return torch.empty(tuple(shape), dtype=dtype, device=device)
    except torch.OutOfMemoryError:
        raise HypensearchError(f"{what}: does not fit on {device}; search with --device cpu") from None


def _copy(array: np.ndarray, to: Tensor) -> None:
    """Copy a mapped array block by block, so that it is never in memory twice."""
    for start in range(0, len(array), _COPIED_ROWS):
        block = slice(start, start + _COPIED_ROWS)
        to[block] = torch.from_numpy(np.array(array[block]))


def _zeros(rows: int, columns: int, device: torch.device) -> Tensor:
    """Return False; on a CPU in memory that the system clears as it is touched."""
    if device.type == "cpu":
        return torch.from_numpy(np.zeros((rows, columns), dtype=bool))
    return torch.zeros(rows, columns, dtype=torch.bool, device=device)


def _order_of_docids(index: FlatIndex) -> tuple[np.ndarray, np.ndarray]:
    """Return the place of each row's docid among all docids, and the rows in the order of docids.

    :return: uint32, *Shape:* ``(num_docs,)`` each.
    """
    if len(index.shards) == 1:
        return np.array(index.shards[0].docid_rank), index.shards[0].rows_by_rank
    data, starts, size = [], [np.zeros(1, dtype=np.uint64)], 0
    for shard in index.shards:
        data.append(np.fromfile(f"{shard.folder}/{DOCID}", dtype=np.uint8))
        offsets = map_npy(f"{shard.folder}/{DOCID_OFFSETS}")
        starts.append(offsets[1:] + np.uint64(size))
        size += len(data[-1])
    docid_rank = rank_docids(np.concatenate(data), np.concatenate(starts))
    rows_by_rank = np.empty_like(docid_rank)
    rows_by_rank[docid_rank] = np.arange(index.num_docs, dtype=docid_rank.dtype)
    return docid_rank, rows_by_rank
