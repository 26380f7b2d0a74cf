# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Times searches and compares their hits with those of exhaustive search."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np

from hypensearch.bench.memory import memory_mb, reset_peak
from hypensearch.hits import Hit
from hypensearch.models.q_net import QNets
from hypensearch.stages import clocked, stage

Search = Callable[[QNets, int], list[list[Hit]]]


class Queries(Protocol):
    """Queries that can be counted and taken apart: q-nets, vectors, or both."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice) -> Any: ...


@runtime_checkable
class NeedsQNets(Protocol):
    """Queries that wait for their q-nets."""

    def of(self, q_nets: QNets) -> Queries:
        """Give the same with q-nets."""


@dataclass(frozen=True)
class Contender:
    """A search to measure.

    :param name: What it is called in tables and pictures; its first word is its family.
    :param search: Q-nets (or whatever :attr:`queries` holds) and k to ranked lists.
    :param scored: Documents scored for each query of the last call; None where that is every document.
    :param queries: What to search with instead of q-nets: a bi-encoder's query vectors, say.
    :param exact: Whether its hits have the q-nets' scores.
    """

    name: str
    search: Callable[[Any, int], list[list[Hit]]]
    scored: Callable[[], Sequence[int]] | None = None
    queries: Queries | None = None
    exact: bool = True


@dataclass(frozen=True)
class Measurement:
    """What was measured of a search.

    :param name: Which one.
    :param k: Hits of each query.
    :param overlap: Share of exhaustive search's best k among the hits, mean over queries; None where nobody knows them.
    :param exact: Whether its hits have the q-nets' scores.
    :param documents_scored: Exact scores computed, mean over queries.
    :param p50: Median seconds of a single query, its q-net given; p95 and p99 likewise.
    :param batched: Seconds a query when all are searched in one batch.
    :param measures: Effectiveness, where there are qrels.
    :param stages: Mean seconds of a single query by stage, those that took any.
    :param memory: Megabytes, see :func:`hypensearch.bench.memory.memory_mb`.
    """

    name: str
    k: int
    overlap: float | None
    documents_scored: float
    p50: float
    p95: float
    p99: float
    batched: float
    measures: Mapping[str, float]
    exact: bool = True
    stages: Mapping[str, float] = field(default_factory=dict)
    memory: Mapping[str, int] = field(default_factory=dict)

    def facts(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return {**asdict(self), "queries_per_second": 1 / self.batched}


def measure(
    contender: Contender,
    q_nets: QNets,
    k: int,
    num_docs: int,
    exhaustive: Sequence[Sequence[Hit]] | None,
    effectiveness: Callable[[list[list[Hit]]], Mapping[str, float]],
) -> Measurement:
    """Search one by one and in a batch.

    :param exhaustive: The ranked lists to compare with; None where there are none.
    :param effectiveness: Measures of ranked lists, empty without qrels.
    """
    queries: Queries = q_nets if contender.queries is None else contender.queries
    if isinstance(queries, NeedsQNets):
        queries = queries.of(q_nets)
    contender.search(queries[:1], k)  # warm up
    reset_peak()
    seconds: list[float] = []
    scored: list[int] = []
    hits: list[list[Hit]] = []
    with clocked() as clock:
        for number in range(len(queries)):
            started = time.perf_counter()
            with stage("search"):
                hits += contender.search(queries[number : number + 1], k)
            seconds.append(time.perf_counter() - started)
            scored += contender.scored() if contender.scored else [num_docs if contender.exact else 0]
    memory = memory_mb()
    started = time.perf_counter()
    contender.search(queries, k)
    batched = (time.perf_counter() - started) / len(queries)
    p50, p95, p99 = (float(np.percentile(seconds, p)) for p in (50, 95, 99))
    return Measurement(
        contender.name,
        k,
        None if exhaustive is None else mean_overlap(hits, exhaustive, k),
        float(np.mean(scored)),
        p50,
        p95,
        p99,
        batched,
        dict(effectiveness(hits)),
        contender.exact,
        {name: spent / len(queries) for name, spent in clock.seconds.items() if spent},
        memory,
    )


def mean_overlap(found: Sequence[Sequence[Hit]], wanted: Sequence[Sequence[Hit]], k: int) -> float:
    """Return the mean share of the wanted best k that were found."""
    shares = [
        len({hit.docid for hit in a[:k]} & {hit.docid for hit in b[:k]}) / max(1, len(b[:k]))
        for a, b in zip(found, wanted, strict=True)
    ]
    return float(np.mean(shares))
