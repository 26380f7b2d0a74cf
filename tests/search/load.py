# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Many threads and processes that search at once, compared with one query after the other."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import torch

from hypensearch.graph.builder import build_graph
from hypensearch.graph.options import GraphBuildOptions
from hypensearch.hits import Hit
from hypensearch.models import QNetConfig, QNets
from hypensearch.search import HypencoderSearcher
from hypensearch.surrogate.builder import build_surrogate
from tests.search.strategies import random_q_nets, random_vectors, save_index

SEARCHERS = ("exhaustive", "graph", "surrogate")
CONFIG = QNetConfig(dims=(16, 16, 1))
DISTINCT = 50
K = 10


def make_index(folder: Path, num_docs: int) -> Path:
    """An index that every searcher can search."""
    with save_index(folder, random_vectors(num_docs, 16)) as index:
        build_graph(index, torch.device("cpu"), GraphBuildOptions(degree=8))
        build_surrogate(index, queries(16), torch.device("cpu"))
    return folder


def queries(count: int = DISTINCT) -> QNets:
    """Some q-nets."""
    return random_q_nets(CONFIG, count, seed=3)


def open_searcher(folder: Path, name: str) -> HypencoderSearcher:
    """Open a searcher whose parameters leave something to do for small indexes."""
    options = {"num_entry_points": 20, "ncandidates": 4, "max_iter": 4} if name == "graph" else {}
    return HypencoderSearcher(folder, device="cpu", searcher=name, **options)


def one_by_one(searcher: HypencoderSearcher) -> list[list[Hit]]:
    """The hits of each query, asked alone; what all others are compared with."""
    return [searcher.search(q_net, K) for q_net in queries()]


def share(searcher: HypencoderSearcher, start: int, count: int) -> list[list[Hit]]:
    """Ask a share of the queries, alone and in batches of changing size."""
    q_nets = list(queries())
    found: list[list[Hit]] = []
    while len(found) < count:
        size = min(1 + (start + len(found)) % 5, count - len(found))
        batch = [q_nets[(start + len(found) + place) % DISTINCT] for place in range(size)]
        found += searcher.batch_search(batch, [str(place) for place in range(size)], K).values()
    return found


def by_threads(searcher: HypencoderSearcher, threads: int, count: int) -> list[list[list[Hit]]]:
    """Let threads share a searcher; ``count`` queries each."""
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(lambda start: share(searcher, start, count), range(threads)))


def _in_a_process(folder: Path, name: str, start: int, count: int) -> list[list[Hit]]:
    torch.set_num_threads(1)
    with open_searcher(folder, name) as searcher:
        return share(searcher, start, count)


def by_processes(folder: Path, name: str, processes: int, count: int) -> list[list[list[Hit]]]:
    """Let processes search an index; ``count`` queries each."""
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        jobs = [pool.submit(_in_a_process, folder, name, start, count) for start in range(processes)]
        return [job.result() for job in jobs]


def check(found: Sequence[Sequence[list[Hit]]], wanted: Sequence[list[Hit]]) -> None:
    """Every share has the hits of its queries, asked one by one."""
    for start, hits in enumerate(found):
        for place, of_query in enumerate(hits):
            assert of_query == wanted[(start + place) % DISTINCT]
