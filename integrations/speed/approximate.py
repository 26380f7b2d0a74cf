# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Approximate search against the authors' algorithm as they wrote it, and against a flat scan and as many exact scores.

``python -m integrations.speed.approximate --index INDEX --topics TOPICS`` needs an index with a graph and codes; it
prints one line of JSON a measurement, all in one process, single queries in turn, their q-nets given. The authors' path
is written here from its description: ids, neighbours and explored documents as Python objects, one query at a time, a
queue with a lock, ``.item()`` for each score, a copy of the entry points for each query.
"""

from __future__ import annotations

import argparse
import copy
import json
import random
import statistics
import time
from collections.abc import Callable
from queue import PriorityQueue
from typing import Any

import numpy as np
import torch

from hypensearch.bench.contenders import faiss
from hypensearch.bench.measure import mean_overlap
from hypensearch.exhaustive.options import ExhaustiveOptions
from hypensearch.flat import FlatIndex
from hypensearch.graph.options import GraphOptions
from hypensearch.graph.search import GraphSearch
from hypensearch.graph.store import GraphIndex
from hypensearch.models.q_net import QNets
from hypensearch.scoring.found import Found
from hypensearch.search import HypencoderSearcher
from hypensearch.surrogate.options import SurrogateOptions
from hypensearch.surrogate.search import SurrogateSearch
from hypensearch.topics import load_topics

CPU = torch.device("cpu")
EFFICIENT_1 = {"num_entry_points": 10_000, "ncandidates": 64, "max_iter": 16}


class AuthorsSearch:
    """The released approximate retriever; its defects that keep it from running at all are left out."""

    def __init__(self, index: FlatIndex, graph: GraphIndex, num_entry_points: int, ncandidates: int, max_iter: int):
        self.ids = list(index.docids())
        self.place = {docid: row for row, docid in enumerate(self.ids)}
        self.vectors = torch.from_numpy(np.concatenate([np.asarray(shard.vectors) for shard in index.shards])).float()
        self.neighbours = {
            docid: [self.ids[other] for other in of_row if other >= 0]
            for docid, of_row in zip(self.ids, graph.neighbours.tolist(), strict=True)
        }
        drawn = random.Random(43).sample(range(len(self.ids)), min(num_entry_points, len(self.ids)))
        self.entry_points = [self.ids[row] for row in drawn]
        self.ncandidates, self.max_iter = ncandidates, max_iter
        self.scored = 0

    @torch.inference_mode()
    def search(self, q_net: QNets, k: int) -> list[Found]:
        """Search with one q-net."""
        frontier = copy.deepcopy(self.entry_points)
        explored = set(frontier)
        queue: PriorityQueue[tuple[float, str]] = PriorityQueue(maxsize=k)
        self.scored = 0
        for _ in range(self.max_iter):
            places = [self.place[docid] for docid in frontier]
            scores = q_net(self.vectors[torch.tensor(places)])[0]
            self.scored += len(places)
            best, order = torch.topk(scores, min(max(self.ncandidates, k), len(scores)))
            following, found_any = [], False
            for number in range(len(order)):
                docid, score = frontier[order[number].item()], best[number].item()
                if not queue.full():
                    queue.put((score, docid))
                    found_any = True
                elif score > queue.queue[0][0]:
                    queue.get()
                    queue.put((score, docid))
                    found_any = True
                if number < self.ncandidates:
                    for neighbour in self.neighbours[docid]:
                        if neighbour not in explored:
                            explored.add(neighbour)
                            following.append(neighbour)
            if not found_any or not following:
                break
            frontier = following
        ranked = sorted(queue.queue, key=lambda item: item[0], reverse=True)
        rows = np.array([self.place[docid] for _, docid in ranked])
        return [Found(rows, np.array([score for score, _ in ranked], dtype=np.float32), self.scored)]


def main() -> None:
    args = _arguments()
    topics = list(load_topics(args.topics).values())[: args.queries]
    with HypencoderSearcher(args.index, args.encoder, device="cpu", searcher="exhaustive") as searcher:
        index, q_nets = searcher.index, searcher.encode(topics)
        embed = searcher.query_encoder.encode_documents
        vectors = np.concatenate([embed([topic]) for topic in topics])
        exact = [found.rows.tolist() for found in ExhaustiveOptions().open(index, CPU).search(q_nets, args.k)]
        surrogate = SurrogateOptions().open(index, CPU)
        scored = round(statistics.mean(found.scored for found in surrogate.search(q_nets, args.k)))
        graph = GraphIndex.open(index, args.graph)
        searches = _searches(index, graph, surrogate, vectors, q_nets, scored)
        seconds, found = _in_turn(searches, len(topics), args.k)
    for name, times in seconds.items():
        facts = {f"p{p}_ms": round(1000 * float(np.percentile(times, p)), 2) for p in (50, 95)}
        overlap = round(mean_overlap([one.rows.tolist() for one in found[name]], exact, args.k), 4)
        count = round(statistics.mean(one.scored for one in found[name]))
        _print({"what": name, "k": args.k, "overlap": overlap, "scored": count, **facts})
    ours = seconds["surrogate, as it comes"]
    for name, times in seconds.items():
        ratio = statistics.median(theirs / own for theirs, own in zip(times, ours, strict=True))
        _print({"what": f"{name} / surrogate", "times as long": round(ratio, 2)})


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--index", required=True)
    parser.add_argument("--topics", required=True)
    parser.add_argument("--encoder", help="the index's own by default")
    parser.add_argument("--graph", help="name of the graph, where there are several")
    parser.add_argument("--queries", type=int, default=30)
    parser.add_argument("--k", type=int, default=10)
    return parser.parse_args()


def _searches(
    index: FlatIndex, graph: GraphIndex, surrogate: SurrogateSearch, vectors: np.ndarray, q_nets: QNets, scored: int
) -> dict[str, Callable[[slice, int], list[Found]]]:
    authors = AuthorsSearch(index, graph, **EFFICIENT_1)
    walk, exhaustive = GraphSearch(index, graph, CPU, GraphOptions(**EFFICIENT_1)), ExhaustiveOptions().open(index, CPU)
    searches: dict[str, Callable[[slice, int], list[Found]]] = {
        "authors' algorithm, Efficient 1": lambda part, k: authors.search(q_nets[part], k),
        "our graph search, Efficient 1": lambda part, k: walk.search(q_nets[part], k),
        "surrogate, as it comes": lambda part, k: surrogate.search(q_nets[part], k),
        "exhaustive fp32": lambda part, k: exhaustive.search(q_nets[part], k),
    }
    of_faiss = faiss(index, q_nets, vectors, CPU, ef_search=(), reranked=(scored,))
    return searches | {contender.name: contender.search for contender in of_faiss}


def _in_turn(
    searches: dict[str, Callable[[slice, int], list[Found]]], queries: int, k: int
) -> tuple[dict[str, list[float]], dict[str, list[Found]]]:
    """Search with every query in every way, one after the other, so that a drifting machine hits all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in searches}
    found: dict[str, list[Found]] = {name: [] for name in searches}
    for query in range(queries):
        for name, search in searches.items():
            started = time.perf_counter()
            of_query = search(slice(query, query + 1), k)
            seconds[name].append(time.perf_counter() - started)
            found[name] += of_query
    return seconds, found


def _print(facts: dict[str, Any]) -> None:
    print(json.dumps(facts), flush=True)


if __name__ == "__main__":
    main()
