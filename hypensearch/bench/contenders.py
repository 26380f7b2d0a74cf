# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The searches that are measured: ours, the paper's settings, and a bi-encoder in Faiss over the same vectors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from hypensearch.bench.measure import Contender
from hypensearch.hits import Hit
from hypensearch.index.flat import FlatIndex
from hypensearch.index.graph import GraphIndex, graph_names
from hypensearch.index.surrogate import open_surrogate
from hypensearch.search.exhaustive import ExhaustiveSearch
from hypensearch.search.graph_search import GraphSearch
from hypensearch.search.surrogate_search import SurrogateOptions, SurrogateSearch

# entry points, candidates, iterations; the last two are the paper's Efficient 1 and 2
GRAPH_SETTINGS = ((1_000, 16, 8), (1_000, 64, 16), (10_000, 64, 16), (100_000, 328, 20))
TARGETS = (0.9, 0.99, 0.998, 0.9999)


def exhaustive(index: FlatIndex, device: torch.device, precisions: Sequence[str]) -> Iterator[Contender]:
    """Exhaustive search in several precisions."""
    for precision in precisions:
        yield Contender(f"exhaustive {precision}", ExhaustiveSearch(index, device, precision).search)


def surrogates(index: FlatIndex, device: torch.device, targets: Sequence[float] = TARGETS) -> Iterator[Contender]:
    """Surrogate search at several target recalls, where the index has codes."""
    codes = open_surrogate(index)
    if codes is None:
        return
    for target in targets:
        search = SurrogateSearch(index, codes, device, SurrogateOptions(target_recall=target))
        yield Contender(f"surrogate {target}", search.search, _scored_by(search))


def graphs(
    index: FlatIndex, device: torch.device, settings: Sequence[tuple[int, int, int]] = GRAPH_SETTINGS
) -> Iterator[Contender]:
    """The paper's Algorithm 1 at several settings, its own among them, on each graph of the index."""
    for name in graph_names(index):
        graph = GraphIndex.open(index, name)
        for entries, candidates, iterations in settings:
            search = GraphSearch(
                index, graph, device, num_entry_points=entries, ncandidates=candidates, max_iter=iterations
            )
            label = f"graph {entries}/{candidates}/{iterations}"
            yield Contender(label, search.search, _scored_by(search))


def faiss(index: FlatIndex, query_vectors: np.ndarray, *, hnsw: bool = True) -> Iterator[Contender]:
    """A bi-encoder in Faiss over the same document vectors, where Faiss is installed: the cosine of both encodings.

    :param query_vectors: The queries encoded as documents are, *Shape:* ``(num_queries, dim)``.
    """
    try:
        import faiss as library
    except ImportError:
        return
    vectors = _normalised(np.concatenate([np.asarray(shard.vectors, dtype=np.float32) for shard in index.shards]))
    query_vectors = _normalised(query_vectors)
    flat = library.IndexFlatIP(index.dim)
    flat.add(vectors)
    yield Contender("Faiss flat", _faiss_search(index, flat), queries=query_vectors)
    if hnsw:
        graph = library.IndexHNSWFlat(index.dim, 32, library.METRIC_INNER_PRODUCT)
        graph.add(vectors)
        graph.hnsw.efSearch = 128
        yield Contender("Faiss HNSW", _faiss_search(index, graph), queries=query_vectors)


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
