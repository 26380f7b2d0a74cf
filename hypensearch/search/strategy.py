# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""One switch between the ways to search: exhaustive, graph, surrogate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch

from hypensearch.errors import HypensearchError
from hypensearch.hits import Hit
from hypensearch.index.surrogate import open_surrogate
from hypensearch.search.exhaustive import ExhaustiveSearch
from hypensearch.search.flags import SEARCHERS

if TYPE_CHECKING:
    from hypensearch.index.flat import FlatIndex
    from hypensearch.models.q_net import QNets
    from hypensearch.search.surrogate_search import SurrogateSearch


@dataclass(frozen=True)
class SearchOptions:
    """How an index is searched.

    :param searcher: One of :data:`hypensearch.search.flags.SEARCHERS`; "auto" is surrogate search where the index has
        codes for it, else exhaustive search.
    :param precision: Of exhaustive search: one of :data:`hypensearch.search.flags.PRECISIONS`.
    :param scorer: Of exhaustive search: one of :data:`hypensearch.search.flags.SCORERS`.
    :param block_rows: Of exhaustive search: vectors read at a time.
    :param max_scored: Documents scored for a query, at most.
    :param target_recall: Surrogate search stops when its own estimate of recall reaches this.
    :param graph: Name of the graph; None for the only one.
    :param num_entry_points: Random documents that graph search starts from.
    :param ncandidates: Documents whose neighbours graph search looks at, in each iteration.
    :param max_iter: Iterations of graph search, at most.
    :param early_stop: Whether graph search stops before that when it seems useless.
    :param seeds: A run whose documents graph search starts from as well, by topic id.
    :param check: Whether to compare the index with its checksums, once after it was written or copied.
    """

    searcher: str = "auto"
    precision: str = "fp32"
    scorer: str = "auto"
    block_rows: int | None = None
    max_scored: int | None = None
    target_recall: float = 0.998
    graph: str | None = None
    num_entry_points: int = 10_000
    ncandidates: int = 64
    max_iter: int = 16
    early_stop: bool = True
    seeds: str | None = None
    check: bool = True


class Strategy(Protocol):
    """A way to search: q-nets to ranked lists with exact scores."""

    def search(
        self, q_nets: QNets, k: int, threads: int | None, topic_ids: Sequence[str] | None
    ) -> tuple[list[list[Hit]], int]:
        """Return a ranked list for each q-net, and how many documents were scored in all."""
        ...


def make_strategy(index: FlatIndex, device: torch.device, options: SearchOptions) -> Strategy:
    """Make what the options name.

    :raises HypensearchError: When the name is unknown, or the index lacks what it needs; says how to make it.
    """
    if options.searcher not in SEARCHERS:
        raise HypensearchError(f"--searcher {options.searcher}: wanted {', '.join(SEARCHERS[:-1])} or {SEARCHERS[-1]}")
    if options.searcher == "graph":
        return _Graph(index, device, options)
    codes = open_surrogate(index) if options.searcher in ("auto", "surrogate") else None
    if codes is not None:
        from hypensearch.search.surrogate_search import SurrogateOptions, SurrogateSearch

        effort = SurrogateOptions(target_recall=options.target_recall, max_scored=options.max_scored)
        return _Surrogate(SurrogateSearch(index, codes, device, effort))
    if options.searcher == "surrogate":
        raise HypensearchError(
            f"{index.folder} has no codes for surrogate search; make them with: python -m hypensearch.index --index "
            f"{index.folder} --surrogate"
        )
    return _Exhaustive(index, device, options)


class _Exhaustive:
    def __init__(self, index: FlatIndex, device: torch.device, options: SearchOptions) -> None:
        if options.max_scored is not None and options.max_scored < index.num_docs:
            raise HypensearchError("--max-scored bounds graph and surrogate search; exhaustive search scores all")
        self._search = ExhaustiveSearch(index, device, options.precision, options.block_rows, options.scorer)

    def search(
        self, q_nets: QNets, k: int, threads: int | None, topic_ids: Sequence[str] | None
    ) -> tuple[list[list[Hit]], int]:
        return self._search.search(q_nets, k, threads), len(q_nets) * self._search.index.num_docs


class _Surrogate:
    def __init__(self, search: SurrogateSearch) -> None:
        self._search = search

    def search(
        self, q_nets: QNets, k: int, threads: int | None, topic_ids: Sequence[str] | None
    ) -> tuple[list[list[Hit]], int]:
        with _torch_threads(threads):
            hits = self._search.search(q_nets, k)
        return hits, sum(stats.documents_scored for stats in self._search.stats)


class _Graph:
    def __init__(self, index: FlatIndex, device: torch.device, options: SearchOptions) -> None:
        from hypensearch.index.graph import GraphIndex
        from hypensearch.search.graph_search import GraphSearch, seeds_of_run

        graph = GraphIndex.open(index, options.graph)
        if options.check:
            graph.check_once()
        self._search = GraphSearch(
            index,
            graph,
            device,
            num_entry_points=options.num_entry_points,
            ncandidates=options.ncandidates,
            max_iter=options.max_iter,
            early_stop=options.early_stop,
            max_scored=options.max_scored,
            seeds=seeds_of_run(options.seeds) if options.seeds else None,
        )

    def search(
        self, q_nets: QNets, k: int, threads: int | None, topic_ids: Sequence[str] | None
    ) -> tuple[list[list[Hit]], int]:
        with _torch_threads(threads):
            hits = self._search.search(q_nets, k, topic_ids)
        return hits, sum(stats.documents_scored for stats in self._search.stats)


@contextmanager
def _torch_threads(threads: int | None) -> Iterator[None]:
    """Let torch use so many CPU threads within."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
