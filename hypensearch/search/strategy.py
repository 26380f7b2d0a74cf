# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""One switch between the ways to search: exhaustive, graph, surrogate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import torch

from hypensearch.errors import HypensearchError, as_typed
from hypensearch.exhaustive.ranks import ALONE, Ranks, ranks_of
from hypensearch.exhaustive.search import ExhaustiveSearch
from hypensearch.hits import Hit
from hypensearch.scoring.choice import usable_precision
from hypensearch.search.choice import faster_search
from hypensearch.search.flags import SEARCHERS
from hypensearch.search.report import QueryReport
from hypensearch.surrogate.store import open_surrogate

if TYPE_CHECKING:
    from hypensearch.flat.index import FlatIndex
    from hypensearch.models.q_net import QNets
    from hypensearch.surrogate.search import SurrogateSearch

_ALL_DOCUMENTS = ("exhaustive", "simple")  # the same; the latter is Pyserini's word


@dataclass(frozen=True)
class SearchOptions:
    """How an index is searched.

    :param searcher: One of :data:`hypensearch.search.flags.SEARCHERS`; "simple" is exhaustive search, "auto" the
        faster of exhaustive and surrogate search where the index has codes for the latter.
    :param precision: Of exhaustive search's scan: one of :data:`hypensearch.scoring.options.PRECISIONS`; None for bf16
        on a GPU and fp32 on a CPU. Hits have exact scores in each.
    :param scorer: Of exhaustive search: one of :data:`hypensearch.scoring.options.SCORERS`.
    :param block_rows: Of exhaustive search: vectors read at a time.
    :param max_scored: Documents scored for a query, at most.
    :param target_recall: Surrogate search stops when its own estimate of recall reaches this; None for what the number
        of hits asks for, :func:`hypensearch.surrogate.search.usual_target`.
    :param graph: Name of the graph; None for the only one.
    :param variant: Of graph search: "paper", its Algorithm 1, or "released", the authors' code.
    :param entry_seed: Chooses random documents to start from.
    :param num_entry_points: Random documents that graph search starts from.
    :param ncandidates: Documents whose neighbours graph search looks at, in each iteration.
    :param max_iter: Iterations of graph search, at most.
    :param early_stop: Whether graph search stops before that when it seems useless.
    :param seeds: A run whose documents graph search starts from as well, by topic id.
    :param check: Whether to compare the index with its checksums, once after it was written or copied.
    :param shared: Whether the processes that ``torchrun`` has started share each search.
    """

    searcher: str = "auto"
    precision: str | None = None
    scorer: str = "auto"
    block_rows: int | None = None
    max_scored: int | None = None
    target_recall: float | None = None
    graph: str | None = None
    variant: str = "released"
    entry_seed: int = 43
    num_entry_points: int = 10_000
    ncandidates: int = 64
    max_iter: int = 16
    early_stop: bool = True
    seeds: str | None = None
    check: bool = True
    shared: bool = False


@dataclass(frozen=True)
class Batch:
    """Queries that are searched together.

    :param q_nets: Their q-nets.
    :param k: Hits wanted of each.
    :param topic_ids: Their ids, where they have any.
    """

    q_nets: QNets
    k: int
    topic_ids: Sequence[str] | None = None


class Strategy(Protocol):
    """A way to search: q-nets to ranked lists with exact scores."""

    name: str

    def search(self, batch: Batch) -> tuple[list[list[Hit]], list[QueryReport]]:
        """Return a ranked list for each query, and what was done for it."""
        ...


def make_strategy(index: FlatIndex, device: torch.device, options: SearchOptions) -> Strategy:
    """Make what the options name.

    :raises HypensearchError: When the name is unknown, or the index lacks what it needs; says how to make it.
    """
    if options.searcher not in SEARCHERS:
        raise HypensearchError(f"--searcher {options.searcher}: wanted {', '.join(SEARCHERS[:-1])} or {SEARCHERS[-1]}")
    ranks = ranks_of() if options.shared else ALONE
    if ranks.size > 1 and options.searcher not in ("auto", *_ALL_DOCUMENTS):
        raise HypensearchError(
            f"--searcher {options.searcher} with {ranks.size} processes: they share exhaustive search only, each "
            "scoring a part of the documents; use --searcher exhaustive, or start one process"
        )
    if ranks.size > 1 or options.searcher in _ALL_DOCUMENTS:
        return _Exhaustive(index, device, options, ranks)
    if options.searcher == "graph":
        return _Graph(index, device, options)
    # On a GPU the scan of codes is bound by the host, and exhaustive search is what GPUs are good at.
    on_gpu = device.type == "cuda" and not _asks_for_surrogate(options)
    if options.searcher == "auto" and (on_gpu or open_surrogate(index) is None):
        return _Exhaustive(index, device, options)
    surrogate = _Surrogate(_surrogate_search(index, device, options))
    if options.searcher == "auto" and not _asks_for_surrogate(options):
        return _Faster(_Exhaustive(index, device, options), surrogate)
    return surrogate


def _asks_for_surrogate(options: SearchOptions) -> bool:
    """Tell whether an option was given that only surrogate search has."""
    return (options.max_scored, options.target_recall) != (None, None)


class _Exhaustive:
    name = "exhaustive"

    def __init__(self, index: FlatIndex, device: torch.device, options: SearchOptions, ranks: Ranks = ALONE) -> None:
        if options.max_scored is not None and options.max_scored < index.num_docs:
            raise HypensearchError("--max-scored bounds graph and surrogate search; exhaustive search scores all")
        precision = usable_precision(device, options.precision)
        self._search = ExhaustiveSearch(index, device, precision, options.block_rows, options.scorer, ranks)

    def search(self, batch: Batch) -> tuple[list[list[Hit]], list[QueryReport]]:
        hits = self._search.search(batch.q_nets, batch.k)
        return hits, [QueryReport(self._search.index.num_docs)] * len(hits)


class _Surrogate:
    name = "surrogate"

    def __init__(self, search: SurrogateSearch) -> None:
        self._search = search
        self.num_docs = search.index.num_docs
        self.has_gradients = search.has_gradients

    def search(self, batch: Batch) -> tuple[list[list[Hit]], list[QueryReport]]:
        _check_dim(self._search.index, batch.q_nets)
        hits = self._search.search(batch.q_nets, batch.k)
        report = [
            QueryReport(stats.documents_scored, stats.rounds, stats.estimated_recall) for stats in self._search.stats
        ]
        _check_finite(hits, report, batch.k)
        return hits, report


class _Faster:
    """For each batch, the faster of exhaustive and surrogate search (:mod:`hypensearch.search.choice`)."""

    name = "exhaustive or surrogate"

    def __init__(self, exhaustive: _Exhaustive, surrogate: _Surrogate) -> None:
        self._ways: dict[str, Strategy] = {"exhaustive": exhaustive, "surrogate": surrogate}
        self._num_docs, self._has_gradients = surrogate.num_docs, surrogate.has_gradients

    def search(self, batch: Batch) -> tuple[list[list[Hit]], list[QueryReport]]:
        taken = faster_search(self._num_docs, batch.k, batch.q_nets.config.dims, self._has_gradients)
        hits, report = self._ways[taken].search(batch)
        return hits, [replace(of_query, searcher=taken) for of_query in report]


class _Graph:
    name = "graph"

    def __init__(self, index: FlatIndex, device: torch.device, options: SearchOptions) -> None:
        from hypensearch.graph.search import GraphSearch, seeds_of_run
        from hypensearch.graph.store import GraphIndex

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
            variant=options.variant,
            seed=options.entry_seed,
            max_scored=options.max_scored,
            seeds=seeds_of_run(options.seeds) if options.seeds else None,
        )

    def search(self, batch: Batch) -> tuple[list[list[Hit]], list[QueryReport]]:
        hits = self._search.search(batch.q_nets, batch.k, batch.topic_ids)
        return hits, [QueryReport(stats.documents_scored, stats.iterations) for stats in self._search.stats]


def _check_dim(index: FlatIndex, q_nets: QNets) -> None:
    if q_nets.dim != index.dim:
        raise HypensearchError(
            f"document vectors in {index.folder} have {index.dim} dimensions, but the q-nets take {q_nets.dim}: was "
            "the corpus encoded with another checkpoint?"
        )


def _check_finite(hits: Sequence[Sequence[Hit]], report: Sequence[QueryReport], k: int) -> None:
    """Refuse hits that are not numbers; documents with such scores may also be missing from the hits."""
    for query, (of_query, done) in enumerate(zip(hits, report, strict=True)):
        missing = len(of_query) < min(k, done.documents_scored)
        if missing or not all(math.isfinite(hit.score) for hit in of_query):
            raise HypensearchError(
                f"a score under q-net {query} is not finite: the q-net overflows or has broken weights; check the "
                "checkpoint"
            )


def _surrogate_search(index: FlatIndex, device: torch.device, options: SearchOptions) -> SurrogateSearch:
    from hypensearch.surrogate.search import SurrogateOptions, SurrogateSearch

    surrogate = open_surrogate(index)
    if surrogate is None:
        raise HypensearchError(
            f"{index.folder} has no codes for surrogate search; make them with: "
            + as_typed("hypensearch.index", "--index", index.folder, "--surrogate")
        )
    if options.check:
        surrogate.check_once()
    effort = SurrogateOptions(target_recall=options.target_recall, max_scored=options.max_scored)
    return SurrogateSearch(index, surrogate, device, effort)
