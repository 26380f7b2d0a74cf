# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Graph search: walk from document to near document, best candidates first (the paper's Algorithm 1).

All queries of a batch walk at once, in tensors whose shapes depend on the parameters alone, and nothing in the loop
asks what is in them: on a GPU the host never waits until the walk has ended. On a CPU, where asking costs nothing, only
what is new is scored, and a walk that has nowhere to go ends at once.

A document and its score are one number, whose order is the order of hits (:func:`hypensearch.scoring.top_k.pack`).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hypensearch.errors import HypensearchError
from hypensearch.flat.docids import rank_docids
from hypensearch.flat.index import FlatIndex
from hypensearch.flat.manifest import DOCID, DOCID_OFFSETS
from hypensearch.formats.files import PathLike
from hypensearch.formats.ids import IdLookup
from hypensearch.formats.npy import map_npy
from hypensearch.formats.run import read_run
from hypensearch.graph.store import GraphIndex, check_belongs
from hypensearch.hits import Hit
from hypensearch.models.q_net import QNets
from hypensearch.scoring.scorer import Scorer, as_tensor
from hypensearch.scoring.top_k import NOTHING, pack, unpack
from hypensearch.search.report import OfThisThread
from hypensearch.stages import stage

VARIANTS = ("paper", "released")

_VISITED_BYTES = {"cpu": 2**28, "cuda": 2**31}
_MAX_BATCH = 64
_GPU_ROWS = 2**16  # document vectors gathered at a time on a GPU


@dataclass(frozen=True, slots=True)
class GraphSearchStats:
    """What a search of one query did.

    :param scored_per_iteration: Documents scored in each iteration, entry points first.
    """

    scored_per_iteration: tuple[int, ...]

    @property
    def documents_scored(self) -> int:
        """Documents scored."""
        return sum(self.scored_per_iteration)

    @property
    def iterations(self) -> int:
        """Iterations that scored anything."""
        return len(self.scored_per_iteration)


class GraphSearch:
    """Finds good documents by scoring the neighbours of good documents.

    Each iteration scores the frontier, expands its best ``ncandidates`` and offers its best to the hits. The variants
    differ in how many are offered and in when early stopping stops:

    - "paper", Algorithm 1: ``ncandidates`` are offered; stops when the best of them is below the k-th hit so far. So
      there are at most ``ncandidates * max_iter`` hits.
    - "released", the authors' code: ``max(ncandidates, k)`` are offered; stops when none of them became a hit. With all
      documents as entry points its hits are those of exhaustive search, whatever k.

    :param index: The document vectors.
    :param graph: A graph of theirs.
    :param device: Where to search; on a GPU vectors and neighbours are kept there.
    :param num_entry_points: Random documents that every walk starts from, besides its seeds; all where there are fewer.
    :param ncandidates: Documents whose neighbours are looked at, in each iteration.
    :param max_iter: Iterations, at most.
    :param early_stop: Whether to stop before that when it seems useless.
    :param variant: "paper" or "released".
    :param seed: Chooses the entry points: those of Python's ``random.Random(seed).sample(range(num_docs), num)``, as in
        the authors' code for 43.
    :param max_scored: Documents scored for a query, at most; None for no bound. Seeds come before random entry points,
        and neighbours of better documents before others.
    :param seeds: Docids to start from by topic id, best first; see :func:`seeds_of_run`.
    :raises HypensearchError: When the graph belongs to other vectors, or a parameter makes no sense.
    """

    #: What this thread's last search did, a record for each query.
    stats = OfThisThread[list[GraphSearchStats]](list)

    def __init__(
        self,
        index: FlatIndex,
        graph: GraphIndex,
        device: torch.device,
        *,
        num_entry_points: int = 10_000,
        ncandidates: int = 64,
        max_iter: int = 16,
        early_stop: bool = True,
        variant: str = "released",
        seed: int = 43,
        max_scored: int | None = None,
        seeds: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        _check_parameters(num_entry_points, ncandidates, max_iter, variant, max_scored)
        check_belongs(index, graph.manifest, graph.folder)
        self.index = index
        self.graph = graph
        self.device = device
        self.num_entry_points = min(num_entry_points, index.num_docs)
        self.ncandidates = ncandidates
        self.max_iter = max_iter
        self.early_stop = early_stop
        self.variant = variant
        self.max_scored = min(max_scored or index.num_docs, index.num_docs)
        self.seeds = seeds or {}
        self._seed_ids = IdLookup(self.seeds)
        self._documents = _Documents(index, device)
        self._neighbours = _on_device(graph.neighbours, device, graph.folder)
        self._docid_rank = torch.from_numpy(_docid_rank(index).view(np.int32)).to(device)
        drawn = random.Random(seed).sample(range(index.num_docs), self.num_entry_points)
        self._entry_rows = np.array(drawn, dtype=np.int64)[: self.max_scored]
        self._entries = torch.from_numpy(self._entry_rows).to(device)
        self._entry_vectors = self._documents.gather(self._entries)

    def search(
        self,
        q_nets: QNets,
        k: int,
        topic_ids: Sequence[str] | None = None,
        seed_rows: Sequence[Sequence[int] | np.ndarray] | None = None,
    ) -> list[list[Hit]]:
        """Find good documents of each query.

        :param q_nets: The queries' q-nets.
        :param k: Hits wanted of each query; there are fewer where fewer documents were offered.
        :param topic_ids: The queries' topics, whose ``seeds`` are entry points.
        :param seed_rows: Rows to start from, of each query: found by another search, say.
        :return: A ranked list for each q-net: exact scores, higher first, equal ones by docid.
        :raises HypensearchError: When the q-nets take other vectors than the index holds, a score is not finite, a seed
            is not in the index, or a query has no entry point.
        """
        found: list[list[Hit]] = []
        for start, walked in self._walks(q_nets, k, topic_ids, seed_rows):
            found += self._hits(walked, start)
        return found

    def _walks(
        self,
        q_nets: QNets,
        k: int,
        topic_ids: Sequence[str] | None,
        seed_rows: Sequence[Sequence[int] | np.ndarray] | None,
    ) -> Iterator[tuple[int, _Walked]]:
        """Walk batch by batch, and give each one's first query."""
        if q_nets.dim != self._documents.dim:
            raise HypensearchError(
                f"document vectors in {self.index.folder} have {self._documents.dim} dimensions, but the q-nets take "
                f"{q_nets.dim}: was the corpus encoded with another checkpoint?"
            )
        seeds = self._seeds_of(len(q_nets), topic_ids, seed_rows)
        stats: list[GraphSearchStats] = []
        for batch in self._batches(len(q_nets)):
            walked = self._walk(q_nets[batch], min(k, self.index.num_docs), seeds[batch])
            stats += walked.stats()
            yield batch.start, walked
        self.stats = stats

    def _batches(self, num_queries: int) -> Iterator[slice]:
        """Cut queries so that a visited mark for each document and query fits into memory."""
        size = max(1, min(_MAX_BATCH, _VISITED_BYTES[self.device.type] // (self.index.num_docs + 1)))
        for start in range(0, num_queries, size):
            yield slice(start, min(start + size, num_queries))

    @torch.inference_mode()
    def _walk(self, q_nets: QNets, k: int, seeds: Sequence[np.ndarray]) -> _Walked:
        """Walk from the entry points; nothing here waits for the device."""
        num_queries, no_row = len(q_nets), self.index.num_docs
        scores_of = self._scores_of(q_nets)
        frontier, scores = self._start(q_nets, seeds, scores_of)
        visited = _zeros(num_queries, no_row + 1, self.device).scatter_(1, frontier, True)
        hits = _Hits(num_queries, k, no_row, self.device)
        active = torch.ones(num_queries, dtype=torch.bool, device=self.device)
        not_finite = torch.zeros(num_queries, dtype=torch.bool, device=self.device)
        counts = []
        for iteration in range(self.max_iter):
            scores = scores_of(frontier) if iteration else scores
            there = frontier < no_row
            counts.append(there.sum(dim=1))
            not_finite |= (there & ~torch.isfinite(scores)).any(dim=1)
            keys = pack(scores, self._docid_rank[frontier.clamp(max=no_row - 1)]).masked_fill_(~there, NOTHING)
            candidates, goes_on = self._offer(keys, frontier, hits)
            active &= goes_on
            if iteration + 1 == self.max_iter:
                break
            left = self.max_scored - torch.stack(counts).sum(dim=0)
            frontier = self._expand(candidates, visited, active, left)
            if self.device.type == "cpu" and not bool((frontier < no_row).any()):
                break
        return _Walked(hits.keys, hits.rows, torch.stack(counts), not_finite)

    def _offer(self, keys: Tensor, frontier: Tensor, hits: _Hits) -> tuple[Tensor, Tensor]:
        """Offer the frontier's best to the hits.

        :return: Rows to expand, *Shape:* ``(num_queries, at most ncandidates)``, and which queries go on,
            ``(num_queries,)``.
        """
        offered = self.ncandidates if self.variant == "paper" else max(self.ncandidates, hits.k)
        best, slots = keys.topk(min(offered, keys.shape[1]), dim=1)
        rows = frontier.gather(1, slots)
        last, first = hits.keys[:, -1] >> 32, best[:, 0] >> 32  # a key's upper half tells the score
        goes_on = first >= last if self.variant == "paper" else first > last
        hits.add(best, rows)
        return rows[:, : self.ncandidates], goes_on | (not self.early_stop)

    def _expand(self, candidates: Tensor, visited: Tensor, active: Tensor, left: Tensor) -> Tensor:
        """Give the neighbours that were not visited yet, each once, and mark them.

        :param candidates: Rows, best first, *Shape:* ``(num_queries, num_candidates)``.
        :param visited: *Shape:* ``(num_queries, num_docs + 1)``.
        :param active: Queries that go on, *Shape:* ``(num_queries,)``.
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
        if self.max_scored < no_row:
            new &= new.cumsum(dim=1) <= left.unsqueeze(1)
        frontier = rows.masked_fill_(~new, no_row)
        visited.scatter_(1, frontier, True)
        return frontier

    def _scores_of(self, q_nets: QNets) -> Callable[[Tensor], Tensor]:
        """Give the function that scores a frontier, ``(num_queries, size)`` rows; what it says of no row is of no use.

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
                scores[query, part] = scorer.score_one(query, self._documents.gather(rows[part]))
        return scores

    def _score_all_places(self, q_nets: QNets, frontier: Tensor) -> Tensor:
        rows = frontier.clamp(max=self.index.num_docs - 1)
        size = max(1, _GPU_ROWS // len(rows))
        with stage("score"):
            parts = [q_nets.score_each(self._documents.gather(part)) for part in rows.split(size, dim=1)]
        return torch.cat(parts, dim=1)

    def _start(
        self, q_nets: QNets, seeds: Sequence[np.ndarray], scores_of: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Give the entry points of each query and their scores; random ones are the same for all."""
        if not any(len(rows) for rows in seeds):
            frontier = self._entries.expand(len(q_nets), -1)
            return frontier, Scorer(q_nets, self.device).score(self._entry_vectors)
        of_queries = [np.concatenate([rows, self._entry_rows[~np.isin(self._entry_rows, rows)]]) for rows in seeds]
        size = min(max(map(len, of_queries)), self.max_scored)
        padded = np.full((len(seeds), size), self.index.num_docs, dtype=np.int64)
        for query, rows in enumerate(of_queries):
            padded[query, : len(rows)] = rows[:size]
        frontier = torch.from_numpy(padded).to(self.device)
        return frontier, scores_of(frontier)

    def _seeds_of(
        self,
        num_queries: int,
        topic_ids: Sequence[str] | None,
        seed_rows: Sequence[Sequence[int] | np.ndarray] | None,
    ) -> list[np.ndarray]:
        """Give each query's seeds as rows, each once, best first."""
        topics: Sequence[str | None] = topic_ids or [None] * num_queries
        given = seed_rows or [()] * num_queries
        if len(topics) != num_queries or len(given) != num_queries:
            raise ValueError(f"{num_queries} q-nets, {len(topics)} topic ids, {len(given)} lists of seeds")
        seeds = [self._rows_of_seeds(topic, rows) for topic, rows in zip(topics, given, strict=True)]
        for topic, rows in zip(topics, seeds, strict=True):
            if not len(rows) and not len(self._entry_rows):
                raise HypensearchError(
                    f"topic {topic!r} has no seeds, and there are no random entry points: set --num-entry-points above "
                    "0, or give seeds for every topic"
                )
        return seeds

    def _rows_of_seeds(self, topic: str | None, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        found = [int(row) for row in rows]
        for row in found:
            if not 0 <= row < self.index.num_docs:
                raise HypensearchError(
                    f"seed {row} is no row of {self.index.folder} ({self.index.num_docs:,} documents)"
                )
        for docid in self.seeds.get(self._seed_ids.find(topic) or "", ()) if topic is not None else ():
            seed = self.index.row_of(docid)
            if seed is None:
                raise HypensearchError(
                    f"seed {docid!r} of topic {topic!r} is not in {self.index.folder}; was it found in another corpus?"
                )
            found.append(seed)
        return np.array(list(dict.fromkeys(found))[: self.max_scored], dtype=np.int64)

    def _hits(self, walked: _Walked, first_query: int) -> list[list[Hit]]:
        rows, scores = walked.rows.cpu().numpy(), unpack(walked.keys)[0].cpu().numpy()
        if bool(walked.not_finite.any()):
            query = int(walked.not_finite.nonzero()[0, 0]) + first_query
            raise HypensearchError(
                f"a score under q-net {query} is not finite: the q-net overflows or has broken weights; check the "
                "checkpoint"
            )
        return [
            [
                Hit(self.index.docid(int(row)), float(score))
                for row, score in zip(of_query, of_rows, strict=True)
                if row < self.index.num_docs
            ]
            for of_query, of_rows in zip(rows, scores, strict=True)
        ]


def seeds_of_run(path: PathLike, depth: int | None = None) -> dict[str, list[str]]:
    """Take the documents of a run (BM25's, say) as seeds, by topic id, best first.

    :param path: A run in TREC's or MS MARCO's form.
    :param depth: Take this many of each topic; None for all.
    :raises HypensearchError: When it cannot be read.
    """
    return {topic: [hit.docid for hit in hits[:depth]] for topic, hits in read_run(path).items()}


@dataclass(frozen=True)
class _Walked:
    """What a batch of walks came to, all on the device.

    :param keys: Keys of the hits, best first, *Shape:* ``(num_queries, k)``.
    :param rows: Their rows, *Shape:* ``(num_queries, k)``.
    :param counts: Documents scored, *Shape:* ``(num_iterations, num_queries)``.
    :param not_finite: Whether a score was NaN or infinite, *Shape:* ``(num_queries,)``.
    """

    keys: Tensor
    rows: Tensor
    counts: Tensor
    not_finite: Tensor

    def stats(self) -> list[GraphSearchStats]:
        return [GraphSearchStats(tuple(filter(None, of_query))) for of_query in self.counts.T.tolist()]


class _Hits:
    """The best k of what was offered to each query."""

    def __init__(self, num_queries: int, k: int, no_row: int, device: torch.device) -> None:
        self.k = k
        self.keys = torch.full((num_queries, k), NOTHING, device=device)
        self.rows = torch.full((num_queries, k), no_row, device=device)

    def add(self, keys: Tensor, rows: Tensor) -> None:
        """Offer documents, *Shape:* ``(num_queries, n)``, none of them offered before."""
        self.keys, places = torch.cat([self.keys, keys], dim=1).topk(self.k, dim=1)
        self.rows = torch.cat([self.rows, rows], dim=1).gather(1, places)


class _Documents:
    """Document vectors by row, gathered from the mapped files, or on a GPU from memory of its own."""

    def __init__(self, index: FlatIndex, device: torch.device) -> None:
        self._shards = [(shard.start, shard.num_docs, as_tensor(shard.vectors)) for shard in index.shards]
        if device.type != "cpu":
            self._shards = [(0, index.num_docs, _all_vectors(index, device))]
        self.dim = index.dim

    def gather(self, rows: Tensor) -> Tensor:
        """Give vectors, *Shape:* ``(*rows.shape, dim)``, float32."""
        if len(self._shards) == 1:
            return self._shards[0][2][rows].float()
        result = torch.empty(*rows.shape, self._shards[0][2].shape[1])
        for start, num_docs, vectors in self._shards:
            here = (rows >= start) & (rows < start + num_docs)
            result[here] = vectors[rows[here] - start].float()
        return result


def _all_vectors(index: FlatIndex, device: torch.device) -> Tensor:
    dtype = torch.float16 if index.dtype == "float16" else torch.float32
    vectors = _room((index.num_docs, index.dim), dtype, device, index.folder)
    for shard in index.shards:
        _copy(shard.vectors, vectors[shard.start : shard.start + shard.num_docs])
    return vectors


def _on_device(array: np.ndarray, device: torch.device, folder: str) -> Tensor:
    if device.type == "cpu":
        return as_tensor(array)
    result = _room(array.shape, torch.int32, device, folder)
    _copy(array, result)
    return result


def _copy(array: np.ndarray, to: Tensor, rows: int = 2**16) -> None:
    """Copy a mapped array block by block, so that it is never in memory twice."""
    for start in range(0, len(array), rows):
        to[start : start + rows] = torch.from_numpy(np.array(array[start : start + rows]))


def _room(shape: Sequence[int], dtype: torch.dtype, device: torch.device, what: str) -> Tensor:
    try:
        return torch.empty(tuple(shape), dtype=dtype, device=device)
    except torch.OutOfMemoryError:
        raise HypensearchError(f"{what}: does not fit on {device}; search with --device cpu") from None


def _zeros(rows: int, columns: int, device: torch.device) -> Tensor:
    """Give False; on a CPU from memory that the system clears as it is touched."""
    if device.type == "cpu":
        return torch.from_numpy(np.zeros((rows, columns), dtype=bool))
    return torch.zeros(rows, columns, dtype=torch.bool, device=device)


def _docid_rank(index: FlatIndex) -> np.ndarray:
    """Give the place of every document's docid among all, over shards, *Shape:* ``(num_docs,)``, uint32."""
    if len(index.shards) == 1:
        return np.array(index.shards[0].docid_rank)
    data, starts, size = [], [np.zeros(1, dtype=np.uint64)], 0
    for shard in index.shards:
        data.append(np.fromfile(f"{shard.folder}/{DOCID}", dtype=np.uint8))
        offsets = map_npy(f"{shard.folder}/{DOCID_OFFSETS}")
        starts.append(offsets[1:] + np.uint64(size))
        size += len(data[-1])
    return rank_docids(np.concatenate(data), np.concatenate(starts))


def _check_parameters(
    num_entry_points: int, ncandidates: int, max_iter: int, variant: str, max_scored: int | None
) -> None:
    if variant not in VARIANTS:
        raise HypensearchError(f"unknown variant {variant!r} of graph search: known are {', '.join(VARIANTS)}")
    for flag, value in (("ncandidates", ncandidates), ("max-iter", max_iter), ("max-scored", max_scored)):
        if value is not None and value < 1:
            raise HypensearchError(f"--{flag} {value}: wanted at least 1")
    if num_entry_points < 0:
        raise HypensearchError(f"--num-entry-points {num_entry_points}: wanted at least 0 (and seeds, for 0)")
