# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The searches that are measured: ours, the paper's settings, and a bi-encoder in Faiss over the same vectors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from hypensearch.exhaustive.options import ExhaustiveOptions
from hypensearch.flat.index import FlatIndex
from hypensearch.graph.options import GraphOptions
from hypensearch.graph.store import graph_names
from hypensearch.models.q_net import QNets
from hypensearch.scoring.found import Found, in_rank_order
from hypensearch.scoring.scorer import Scorer
from hypensearch.surrogate.options import SurrogateOptions
from hypensearch.surrogate.store import open_surrogate

#: Entry points, candidates, iterations; the last two are the paper's Efficient 1 and 2.
GRAPH_SETTINGS = ((1_000, 16, 8), (1_000, 64, 16), (10_000, 64, 16), (100_000, 328, 20))
PUBLISHED = {(10_000, 64, 16): " = Efficient 1", (100_000, 328, 20): " = Efficient 2"}
TARGETS = (0.9, 0.99, 0.998, 0.9999)
EF_SEARCH = (32, 128, 512)
HNSW_LINKS = 32


@dataclass(frozen=True)
class Contender:
    """A search to measure.

    :param name: Its name in tables and pictures; the first word is its family.
    :param search: Searches with some of the queries, for k documents each.
    :param exact: Whether its scores are those of the q-nets.
    """

    name: str
    search: Callable[[slice, int], list[Found]]
    exact: bool = True


def exhaustive(index: FlatIndex, q_nets: QNets, device: torch.device, precisions: Sequence[str]) -> Iterator[Contender]:
    """Exhaustive search in several precisions."""
    for precision in precisions:
        yield _ours(f"exhaustive {precision}", ExhaustiveOptions(precision=precision).open(index, device), q_nets)


def surrogates(
    index: FlatIndex, q_nets: QNets, device: torch.device, targets: Sequence[float] = TARGETS
) -> Iterator[Contender]:
    """Surrogate search at several target recalls, where the index has codes."""
    for target in targets if open_surrogate(index) is not None else ():
        search = SurrogateOptions(target_recall=target).open(index, device, check=False)
        yield _ours(f"surrogate {target}", search, q_nets)


def graphs(
    index: FlatIndex,
    q_nets: QNets,
    device: torch.device,
    settings: Sequence[tuple[int, int, int]] = GRAPH_SETTINGS,
    variants: Sequence[str] = ("released",),
) -> Iterator[Contender]:
    """Graph search at several settings, the paper's among them, on each graph of the index."""
    names = graph_names(index)
    for name in names:
        for variant in variants:
            for setting in settings:
                entries, candidates, iterations = setting
                options = GraphOptions(name, variant, entries, ncandidates=candidates, max_iter=iterations)
                label = f"graph-{variant} {entries}/{candidates}/{iterations}{PUBLISHED.get(setting, '')}"
                label += f" {name}" if len(names) > 1 else ""
                yield _ours(label, options.open(index, device, check=False), q_nets)


def _ours(name: str, search: Any, q_nets: QNets) -> Contender:
    return Contender(name, lambda part, k: search.search(q_nets[part], k))


def faiss(
    index: FlatIndex,
    q_nets: QNets,
    query_vectors: np.ndarray,
    device: torch.device,
    *,
    ef_search: Sequence[int] = EF_SEARCH,
    reranked: Sequence[int] = (),
) -> Iterator[Contender]:
    """A bi-encoder in Faiss over the same document vectors, where Faiss is installed: the cosine of both encodings.

    :param query_vectors: The queries encoded as documents are, *Shape:* ``(num_queries, dim)``.
    :param ef_search: HNSW's at search; without one no HNSW graph is built, which takes a while.
    :param reranked: Also score so many of the flat scan's best with the q-net, to compare with a search that scores as
        many documents.
    """
    try:
        import faiss as library
    except ImportError:
        return
    vectors = _normalised(np.concatenate([np.asarray(shard.vectors, dtype=np.float32) for shard in index.shards]))
    queries = _normalised(query_vectors)
    flat = library.IndexFlatIP(index.dim)
    flat.add(vectors)
    yield Contender("Faiss flat", partial(_search_faiss, flat, queries), exact=False)
    for count in reranked:
        candidates = partial(_search_faiss, flat, queries)
        search = partial(_rerank, index, q_nets, candidates, min(count, index.num_docs), device)
        yield Contender(f"Faiss+q-net flat, {count} scored", search)
    if not ef_search:
        return
    graph = library.IndexHNSWFlat(index.dim, HNSW_LINKS, library.METRIC_INNER_PRODUCT)
    graph.add(vectors)
    for ef in ef_search:
        yield Contender(f"Faiss-HNSW {ef}", partial(_search_faiss, graph, queries, ef=ef), exact=False)


def _search_faiss(engine: Any, queries: np.ndarray, part: slice, k: int, ef: int | None = None) -> list[Found]:
    if ef is not None:
        engine.hnsw.efSearch = max(ef, k)
    pairs = zip(*engine.search(queries[part], k), strict=True)
    return [Found(rows[rows >= 0], products[rows >= 0], 0) for products, rows in pairs]


def _rerank(
    index: FlatIndex,
    q_nets: QNets,
    search: Callable[[slice, int], list[Found]],
    count: int,
    device: torch.device,
    part: slice,
    k: int,
) -> list[Found]:
    found = []
    for q_net, candidates in zip(q_nets[part], search(part, count), strict=True):
        rows = candidates.rows
        scores = Scorer(q_net, device).score(index.vectors(rows))[0].cpu().numpy()
        best = in_rank_order(scores, index.docid_order(rows))[:k]
        found.append(Found(rows[best], scores[best], len(rows)))
    return found


def _normalised(vectors: np.ndarray) -> np.ndarray:
    lengths: np.ndarray = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), dtype=np.float32)
