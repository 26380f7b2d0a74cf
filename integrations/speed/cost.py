# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""What exhaustive search costs against documents, layers, width and queries of a batch, and a small search by stage.

    python -m integrations.speed.cost curves --output F.json [--picture docs/scoring_cost.png] [--device cuda]
    python -m integrations.speed.cost picture --report F.json --picture docs/scoring_cost.png
    python -m integrations.speed.cost small --index INDEX --topics TOPICS [--encoder M]

``curves`` varies one of the four at a time, all points in turn in one process, and fits a line to the median times; the
width's square is what the matrix products grow with. ``small`` searches an index end to end, query by query, from the
text to the hits, with the default scorer and with the plain one in turn.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hypensearch.device import resolve_device
from hypensearch.exhaustive.search import ExhaustiveSearch
from hypensearch.formats.files import replace_when_whole
from hypensearch.search import HypencoderSearcher
from hypensearch.topics import load_topics
from integrations.speed import limits
from integrations.speed.exhaustive import Case, random_q_nets, synthetic_index

BASE = Case(documents=20_000, dim=384, layers=2, queries=1, hits=100)
CURVES: dict[str, list[int]] = {
    "documents": [1_000, 5_000, 20_000, 80_000],
    "layers": [1, 2, 4, 8],
    "dim": [128, 256, 384, 768],
    "queries": [1, 4, 16, 64],
}
NAMES = {
    "documents": "documents",
    "layers": "blocks of a q-net",
    "dim": "width (line in its square)",
    "queries": "queries of a batch",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(required=True)
    curves = verbs.add_parser("curves")
    curves.add_argument("--output", required=True, help="JSON file to write")
    curves.add_argument("--picture", help="PNG file to draw")
    curves.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    curves.add_argument("--repeats", type=int, default=5, help="times that each point is measured")
    curves.set_defaults(run=measure_curves)
    picture = verbs.add_parser("picture")
    picture.add_argument("--report", required=True, help="what curves wrote")
    picture.add_argument("--picture", required=True, help="PNG file to draw")
    picture.set_defaults(run=lambda args: draw(json.loads(Path(args.report).read_text()), args.picture))
    small = verbs.add_parser("small")
    small.add_argument("--index", required=True, help="index folder")
    small.add_argument("--topics", required=True, help="topics file")
    small.add_argument("--encoder", help="checkpoint; the index's own model by default")
    small.add_argument("--max-topics", type=int, default=50, help="topics measured, at most")
    small.set_defaults(run=measure_small)
    args = parser.parse_args()
    args.run(args)


def measure_curves(args: argparse.Namespace) -> None:
    device = resolve_device(args.device)
    with ExitStack() as stack:
        runs = dict(_runs(stack, device))
        seconds = limits.interleaved(runs, args.repeats, device)
    report: dict[str, Any] = {"device": str(device), "cores": os.cpu_count(), "torch": torch.__version__, "curves": {}}
    for name, values in CURVES.items():
        times = [statistics.median(seconds[str(replace(BASE, **{name: value}))]) for value in values]
        found = {"values": values, "seconds": times, **_fit(name, values, times)}
        report["curves"][name] = found
        print(json.dumps({name: found}))
    with replace_when_whole(args.output, "w") as file:
        json.dump(report, file, indent=1)
    if args.picture:
        draw(report, args.picture)


def _runs(stack: ExitStack, device: torch.device) -> Iterator[tuple[str, Callable[[], object]]]:
    cases = {
        str(case): case for name, values in CURVES.items() for case in (replace(BASE, **{name: v}) for v in values)
    }
    searches: dict[tuple[int, int], ExhaustiveSearch] = {}
    for label, case in cases.items():
        shape = case.documents, case.dim
        if shape not in searches:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            index = stack.enter_context(synthetic_index(Path(folder) / "index", *shape))
            searches[shape] = ExhaustiveSearch(index, device)
        yield label, partial(searches[shape].search, random_q_nets(case), case.hits)


def _grows_with(name: str, values: list[int] | np.ndarray) -> np.ndarray:
    result: np.ndarray = np.array(values, dtype=float) ** (2 if name == "dim" else 1)
    return result


def _fit(name: str, values: list[int], times: list[float]) -> dict[str, float]:
    """Fit a line by least squares; also its share of the variance."""
    x, y = _grows_with(name, values), np.array(times)
    slope, start = np.polyfit(x, y, 1)
    rest = y - (start + slope * x)
    return {
        "start": float(start),
        "slope": float(slope),
        "r_squared": float(1 - (rest**2).sum() / ((y - y.mean()) ** 2).sum()),
    }


def draw(report: dict[str, Any], path: str) -> None:
    """Draw the four curves with their lines."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(report["curves"]), figsize=(15, 3.6))
    for panel, (name, found) in zip(panels, report["curves"].items(), strict=True):
        x, y = np.array(found["values"], dtype=float), np.array(found["seconds"])
        panel.plot(x, 1000 * y, "o")
        label = f"{1000 * found['start']:.2g} + {1000 * found['slope']:.3g} ms each, R² {found['r_squared']:.4f}"
        dense = np.geomspace(x[0], x[-1], 100)
        panel.plot(dense, 1000 * (found["start"] + found["slope"] * _grows_with(name, dense)), "-", label=label)
        panel.set(xscale="log", yscale="log", xlabel=NAMES[name], ylabel="milliseconds" if name == "documents" else "")
        panel.set_xticks(x, [f"{int(value):,}" for value in x])
        panel.set_xticks([], minor=True)
        panel.grid(alpha=0.3, which="both")
        panel.legend(fontsize=8)
    base = f"{BASE.documents:,} documents, {BASE.dim} wide, {BASE.layers} blocks, {BASE.queries} query"
    figure.suptitle(f"Exhaustive search, fp32, {report['device']}; where not varied: {base}", fontsize=10)
    figure.tight_layout()
    figure.savefig(path, dpi=100)


def measure_small(args: argparse.Namespace) -> None:
    queries = list(load_topics(args.topics).values())[: args.max_topics]
    with ExitStack() as stack:
        searchers = {
            scorer: stack.enter_context(
                HypencoderSearcher(args.index, args.encoder, searcher="exhaustive", scorer=scorer)
            )
            for scorer in ("auto", "eager")
        }
        seconds: dict[str, list[float]] = {scorer: [] for scorer in searchers}
        for searcher in searchers.values():
            searcher.search(queries[0], k=10)
        before = {scorer: dict(searcher.stats.seconds) for scorer, searcher in searchers.items()}
        for turn, query in enumerate(queries):
            for scorer in sorted(searchers, reverse=turn % 2 == 1):
                started = time.perf_counter()
                searchers[scorer].search(query, k=10)
                seconds[scorer].append(time.perf_counter() - started)
        for scorer, searcher in searchers.items():
            stages = {
                name: round(1000 * (spent - before[scorer][name]) / len(queries), 2)
                for name, spent in searcher.stats.seconds.items()
            }
            median = round(1000 * statistics.median(seconds[scorer]), 2)
            facts = {"scorer": scorer, "documents": searcher.num_docs, "queries": len(queries), "median_ms": median}
            print(json.dumps({**facts, "mean_ms_by_stage": stages}))
    ratio = statistics.median(a / b for a, b in zip(seconds["auto"], seconds["eager"], strict=True))
    print(json.dumps({"auto_to_eager": round(ratio, 3)}))


if __name__ == "__main__":
    main()
