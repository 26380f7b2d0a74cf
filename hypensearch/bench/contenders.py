# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The searches that are measured: ours, the paper's settings, and a bi-encoder in Faiss over the same vectors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from hypensearch.bench.measure import Contender
from hypensearch.exhaustive.search import ExhaustiveSearch
from hypensearch.flat.index import FlatIndex
from hypensearch.graph.search import GraphSearch
from hypensearch.graph.store import GraphIndex, graph_names
from hypensearch.hits import Hit
from hypensearch.models.q_net import QNets
from hypensearch.scoring.scorer import Scorer
from hypensearch.surrogate.search import SurrogateOptions, SurrogateSearch
from hypensearch.surrogate.store import open_surrogate

#: Entry points, candidates, iterations; the last two are the paper's Efficient 1 and 2.
GRAPH_SETTINGS = ((1_000, 16, 8), (1_000, 64, 16), (10_000, 64, 16), (100_000, 328, 20))
PUBLISHED = {(10_000, 64, 16): " = Efficient 1", (100_000, 328, 20): " = Efficient 2"}
TARGETS = (0.9, 0.99, 0.998, 0.9999)
EF_SEARCH = (32, 128, 512)
HNSW_LINKS = 32


def exhaustive(index: FlatIndex, device: torch.device, precisions: Sequence[str]) -> Iterator[Contender]:
    """Exhaustive search in several precisions."""
    for precision in precisions:
        yield Contender(f"exhaustive {precision}", ExhaustiveSearch(index, device, precision).search)


def surrogates(index: FlatIndex, device: torch.device, targets: Sequence[float] = TARGETS) -> Iterator[Contender]:
    """Surrogate search at several target recalls, where the index has codes."""
    surrogate = open_surrogate(index)
    if surrogate is None:
        return
    for target in targets:
        search = SurrogateSearch(index, surrogate, device, SurrogateOptions(target_recall=target))
        yield Contender(f"surrogate {target}", search.search, _scored_by(search))


def graphs(
    index: FlatIndex,
    device: torch.device,
    settings: Sequence[tuple[int, int, int]] = GRAPH_SETTINGS,
    variants: Sequence[str] = ("released",),
) -> Iterator[Contender]:
    """The paper's Algorithm 1 at several settings, its own among them, on each graph of the index."""
    names = graph_names(index)
    for name in names:
        graph = GraphIndex.open(index, name)
        for variant in variants:
            for entries, candidates, iterations in settings:
                search = GraphSearch(
                    index,
                    graph,
                    device,
                    num_entry_points=entries,
                    ncandidates=candidates,
                    max_iter=iterations,
                    variant=variant,
                )
                setting = (entries, candidates, iterations)
                label = f"graph-{variant} {entries}/{candidates}/{iterations}{PUBLISHED.get(setting, '')}"
                yield Contender(label + (f" {name}" if len(names) > 1 else ""), search.search, _scored_by(search))


class With:
    """Q-nets and something else of each query, taken apart together.

    :param q_nets: Set by :meth:`of`.
    :param others: The queries' vectors, *Shape:* ``(num_queries, dim)``.
    """

    def __init__(self, q_nets: QNets | None, others: np.ndarray) -> None:
        self.q_nets, self.others = q_nets, others

    def of(self, q_nets: QNets) -> With:
        """Give the same with q-nets."""
        return With(q_nets, self.others)

    def __len__(self) -> int:
        return len(self.others)

    def __getitem__(self, part: slice) -> With:
        assert self.q_nets is not None
        return With(self.q_nets[part], self.others[part])


def faiss(
    index: FlatIndex,
    query_vectors: np.ndarray,
    device: torch.device,
    *,
    ef_search: Sequence[int] = EF_SEARCH,
    reranked: Sequence[int] = (),
) -> Iterator[Contender]:
    """A bi-encoder in Faiss over the same document vectors, where Faiss is installed: the cosine of both encodings.

    :param query_vectors: The queries encoded as documents are, *Shape:* ``(num_queries, dim)``.
    :param ef_search: HNSW's at search; without one no HNSW graph is built, which takes a while.
    :param reranked: Also score so many of the flat scan's best with the q-net: what a scan and as many exact scores
        take together.
    """
    try:
        import faiss as library
    except ImportError:
        return
    vectors = _normalised(np.concatenate([np.asarray(shard.vectors, dtype=np.float32) for shard in index.shards]))
    query_vectors = _normalised(query_vectors)
    flat = library.IndexFlatIP(index.dim)
    flat.add(vectors)
    yield Contender("Faiss flat", _faiss_search(index, flat), queries=query_vectors, exact=False)
    for count in reranked:
        search = _Reranked(index, flat, count, device)
        yield Contender(f"Faiss+q-net flat, {count} scored", search.search, search.scored, With(None, query_vectors))
    if not ef_search:
        return
    graph = library.IndexHNSWFlat(index.dim, HNSW_LINKS, library.METRIC_INNER_PRODUCT)
    graph.add(vectors)
    for ef in ef_search:
        yield Contender(f"Faiss-HNSW {ef}", _hnsw_search(index, graph, ef), queries=query_vectors, exact=False)


class _Reranked:
    """The best of a flat scan, scored by the q-net."""

    def __init__(self, index: FlatIndex, engine: Any, count: int, device: torch.device) -> None:
        self._index, self._engine, self._device = index, engine, device
        self._count = min(count, index.num_docs)
        self._queries = 0

    def search(self, queries: With, k: int) -> list[list[Hit]]:
        assert queries.q_nets is not None
        _, rows = self._engine.search(queries.others, self._count)
        self._queries = len(rows)
        return [self._best(queries.q_nets[i : i + 1], of_query, k) for i, of_query in enumerate(rows)]

    def scored(self) -> list[int]:
        return [self._count] * self._queries

    def _best(self, q_net: QNets, rows: np.ndarray, k: int) -> list[Hit]:
        scores = Scorer(q_net, self._device).score(self._index.vectors(rows))[0].cpu().numpy()
        best = np.argsort(-scores, kind="stable")[:k]
        return [Hit(self._index.docid(int(rows[i])), float(scores[i])) for i in best]


def _hnsw_search(index: FlatIndex, graph: Any, ef: int) -> Callable[[np.ndarray, int], list[list[Hit]]]:
    search = _faiss_search(index, graph)

    def search_with(queries: np.ndarray, k: int) -> list[list[Hit]]:
        graph.hnsw.efSearch = max(ef, k)
        return search(queries, k)

    return search_with


def _normalised(vectors: np.ndarray) -> np.ndarray:
    lengths: np.ndarray = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), dtype=np.float32)


def _faiss_search(index: FlatIndex, engine: Any) -> Callable[[np.ndarray, int], list[list[Hit]]]:
    def search(queries: np.ndarray, k: int) -> list[list[Hit]]:
        scores, rows = engine.search(queries, k)
        return [
            [Hit(index.docid(int(row)), float(score)) for row, score in zip(*of_query, strict=True) if row >= 0]
            for of_query in zip(rows, scores, strict=True)
        ]

    return search


def _scored_by(search: SurrogateSearch | GraphSearch) -> Callable[[], list[int]]:
    return lambda: [stats.documents_scored for stats in search.stats]
