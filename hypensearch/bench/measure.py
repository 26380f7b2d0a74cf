# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Times searches and compares what they find with exhaustive search."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hypensearch.bench.contenders import Contender
from hypensearch.scoring.found import Found
from hypensearch.stages import clocked, stage

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"


@dataclass(frozen=True)
class Measurement:
    """What was measured of a search.

    :param name: Which one.
    :param k: Hits of each query.
    :param overlap: Share of exhaustive search's best k among the hits, mean over queries.
    :param documents_scored: Documents scored by the q-nets, mean over queries.
    :param p50: Median seconds of a single query, its q-net given; p95 and p99 likewise.
    :param batched: Seconds a query when all are searched in one batch.
    :param measures: Effectiveness, where there are qrels.
    :param exact: Whether its scores are those of the q-nets.
    :param stages: Mean seconds of a single query by stage, those that took any.
    :param memory: Megabytes, see :func:`memory_mb`.
    """

    name: str
    k: int
    overlap: float
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
        """Return the fields, for JSON."""
        return {**asdict(self), "queries_per_second": 1 / self.batched}


def measure(
    contender: Contender,
    num_queries: int,
    k: int,
    exhaustive: Sequence[Found],
    effectiveness: Callable[[list[Found]], Mapping[str, float]],
) -> Measurement:
    """Search one by one and in a batch.

    :param exhaustive: What exhaustive search finds, to compare with.
    :param effectiveness: Measures of what was found, empty without qrels.
    """
    contender.search(slice(0, 1), k)  # warm up
    reset_peak()
    seconds: list[float] = []
    found: list[Found] = []
    with clocked() as clock:
        for number in range(num_queries):
            started = time.perf_counter()
            with stage("search"):
                found += contender.search(slice(number, number + 1), k)
            seconds.append(time.perf_counter() - started)
    memory = memory_mb()
    started = time.perf_counter()
    contender.search(slice(0, num_queries), k)
    batched = (time.perf_counter() - started) / num_queries
    p50, p95, p99 = (float(np.percentile(seconds, p)) for p in (50, 95, 99))
    return Measurement(
        contender.name,
        k,
        mean_overlap([one.rows.tolist() for one in found], [one.rows.tolist() for one in exhaustive], k),
        float(np.mean([of_query.scored for of_query in found])),
        p50,
        p95,
        p99,
        batched,
        dict(effectiveness(found)),
        contender.exact,
        {name: spent / num_queries for name, spent in clock.seconds.items() if spent},
        memory,
    )


def mean_overlap(found: Iterable[Sequence[Hashable]], wanted: Iterable[Sequence[Hashable]], k: int) -> float:
    """Return the mean share of the wanted best k that were found.

    :param found: Rows or docids of each query, best first.
    :param wanted: The same of the search to compare with.
    """
    shares = [len({*a[:k]} & {*b[:k]}) / max(1, len(b[:k])) for a, b in zip(found, wanted, strict=True)]
    return float(np.mean(shares))


def reset_peak() -> None:
    """Let the peak start at what is resident now, where the system can (Linux); elsewhere it is that of the process."""
    try:
        _CLEAR.write_text(_RESET_PEAK)
    except OSError:
        return


def memory_mb() -> dict[str, int]:
    """Return the resident memory in MB: ``peak`` with mapped files, and on Linux ``own`` and ``mapped`` now."""
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return {"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}
    kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.endswith(" kB")}
    names = {"peak": "VmHWM", "own": "RssAnon", "mapped": "RssFile"}
    return {name: kilobytes[field] // 1024 for name, field in names.items()}
