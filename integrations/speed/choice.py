# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""When is exhaustive search faster than surrogate search: the figures behind ``--searcher auto``.

    python -m integrations.speed.choice measure --index INDEX --topics TOPICS --output F.json
    python -m integrations.speed.choice fit --reports F.json [G.json ...]

``measure`` cuts indexes of several sizes from one, makes their codes, and searches each by both ways in turn, in one
process, on one thread. Times are the process' own on the CPU, the least of several repeats, so that a busy machine
disturbs them little. ``fit`` fits the constants of
:mod:`hypensearch.search.choice` to such reports, and prints for each case what its rule takes and what that costs.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.optimize import nnls

from hypensearch.flat import FlatIndex, FlatIndexWriter
from hypensearch.formats.files import replace_when_whole
from hypensearch.models import QNets
from hypensearch.search import HypencoderSearcher
from hypensearch.search.choice import MILLISECONDS, exhaustive_terms, faster_search, surrogate_terms
from hypensearch.search.registry import open_search
from hypensearch.surrogate.builder import build_surrogate, how_many_queries, typical_queries
from hypensearch.threads import torch_threads
from hypensearch.topics import load_topics

WAYS = ("exhaustive", "surrogate")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(required=True)
    measuring = verbs.add_parser("measure")
    measuring.add_argument("--index", required=True, help="index folder, of at least the largest size")
    measuring.add_argument("--topics", required=True, help="topics file")
    measuring.add_argument("--encoder", help="checkpoint; the index's own model by default")
    measuring.add_argument("--output", required=True, help="JSON file to write")
    measuring.add_argument("--sizes", type=int, nargs="+", default=[500, 1000, 2000, 4000, 8000])
    measuring.add_argument("--hits", type=int, nargs="+", default=[10, 100, 1000])
    measuring.add_argument("--batches", type=int, nargs="+", default=[1, 16])
    measuring.add_argument("--repeats", type=int, default=5, help="times that each case is measured")
    measuring.set_defaults(run=measure)
    fitting = verbs.add_parser("fit")
    fitting.add_argument("--reports", required=True, nargs="+", help="what measure wrote")
    fitting.set_defaults(run=lambda args: fit([json.loads(Path(path).read_text()) for path in args.reports]))
    args = parser.parse_args()
    args.run(args)


def measure(args: argparse.Namespace) -> None:
    cases: list[dict[str, Any]] = []
    with HypencoderSearcher(args.index, args.encoder, device="cpu", searcher="exhaustive") as searcher:
        model, most = searcher.query_encoder, max(args.batches)
        q_nets = searcher.encode(list(load_topics(args.topics).values())[:most])
        typical = searcher.encode(typical_queries(searcher.index, how_many_queries(model.q_net_config)))
        for size in args.sizes:
            with part_of(searcher.index, size, typical) as index:
                for k in args.hits:
                    for batch in args.batches:
                        cases += [timed(index, q_nets[:batch], k, args.repeats)]
                        print(json.dumps(cases[-1]), flush=True)
    facts = {"cores": os.cpu_count(), "torch": torch.__version__, "model": model.name}
    with replace_when_whole(args.output, "w") as file:
        json.dump({**facts, "cases": cases}, file, indent=1)


@contextmanager
def part_of(index: FlatIndex, size: int, typical: QNets) -> Iterator[FlatIndex]:
    """Write the first documents of an index as one of their own, with codes."""
    (shard, *_) = index.shards
    with tempfile.TemporaryDirectory() as folder:
        with FlatIndexWriter(Path(folder, "index"), dim=index.dim) as writer:
            writer.append([shard.docids[row] for row in range(size)], np.array(shard.vectors[:size]))
            writer.finish()
        with FlatIndex.open(Path(folder, "index")) as part:
            build_surrogate(part, typical, torch.device("cpu"), show_progress=False)
            yield part


def timed(index: FlatIndex, q_nets: QNets, k: int, repeats: int) -> dict[str, Any]:
    """Search by both ways in turn; gives milliseconds and documents scored a query."""
    device = torch.device("cpu")
    ways = {way: open_search(index, device, way, check=False)[1] for way in WAYS}
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    scored = {}
    for repeat in range(repeats + 1):
        for way, search in ways.items():
            started = time.process_time()
            with torch_threads(1):
                found = search.search(q_nets, min(k, index.num_docs))
            if repeat:  # the first one warms up
                seconds[way].append((time.process_time() - started) / len(q_nets))
            scored[way] = float(np.mean([of_query.scored for of_query in found]))
    facts = {"num_docs": index.num_docs, "k": k, "batch": len(q_nets), "dims": list(q_nets.config.dims)}
    gradients = ways["surrogate"].has_gradients  # type: ignore[attr-defined]
    times = {f"{way}_ms": 1000 * min(times) for way, times in seconds.items()}
    return {**facts, "gradients": gradients, **times, "scored": scored["surrogate"]}


def fit(reports: list[dict[str, Any]]) -> None:
    """Fit the constants by least squares of relative errors, and print what the rule in force makes of the cases."""
    cases = [case for report in reports for case in report["cases"]]
    rate = 0.0  # milliseconds of 10^9 operations
    for way, terms in (("exhaustive", exhaustive_terms), ("surrogate", surrogate_terms)):
        rows = np.array([terms(case["num_docs"], case["k"], case["dims"], case["gradients"]) for case in cases])
        times = np.array([case[f"{way}_ms"] for case in cases])
        if way == "exhaustive":
            constants, _ = nnls(rows / times[:, None], np.ones(len(times)))
            rate = constants[1]
        else:
            constants, _ = nnls(rows[:, :-1] / times[:, None], 1 - rate * rows[:, -1] / times)
            constants = np.append(constants, rate)
        errors = np.abs(rows @ constants / times - 1)
        print(f"{way}: {', '.join(f'{constant:.4g}' for constant in constants)} (in force: {MILLISECONDS[way]})")
        print(f"  relative error: median {np.median(errors):.2f}, largest {errors.max():.2f}")
    slower = []
    for case in cases:
        taken = faster_search(case["num_docs"], case["k"], case["dims"], case["gradients"])
        best = min(case[f"{way}_ms"] for way in WAYS)
        slower.append(case[f"{taken}_ms"] / best)
        print(
            f"{case['num_docs']:>8,} documents, k {case['k']:>5,}, batch {case['batch']:>3}: exhaustive "
            f"{case['exhaustive_ms']:8.2f} ms, surrogate {case['surrogate_ms']:8.2f} ({case['scored']:,.0f} scored), "
            f"auto {taken}{'' if slower[-1] == 1 else f' ({slower[-1]:.2f} times the faster)'}"
        )
    print(f"taken is the faster in {np.mean(np.array(slower) == 1):.0%} of the cases; at worst {max(slower):.2f} times")


if __name__ == "__main__":
    main()
