# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""How the searches grow with the corpus: made-up vectors of any number, or a part of a real index, each searched alike.

    python -m integrations.speed.scale make --folder F --documents 8841823     # vectors, codes and a graph
    python -m integrations.speed.scale part --index INDEX --folder F --documents 10000
    python -m integrations.speed.scale measure --folder F --output F.json [--topics T --encoder M] [--exhaustive 2]
    python -m integrations.speed.scale picture --reports A.json B.json .. --output growth.png

Made-up vectors are ``(m + z) B + e``: ``m`` one of 4,096 means, ``z`` normal, its spectrum falling as ``1 / sqrt(i)``,
in 128 dimensions, ``B`` random to 768, ``e`` a little noise; float16. Q-nets have two blocks of 768: weights common to
all, a tenth of own noise in the hidden ones, and an output layer of their own. Their graph joins a document with its 90
nearest of the same mean, found by ``z``, and 10 documents of the nearest other means: that is no exact graph, which
would take days at 8.8 million; how long, is told by the exact builder's rate on some documents.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hypensearch.bench.measure import mean_overlap, memory_mb, reset_peak
from hypensearch.exhaustive.options import ExhaustiveOptions
from hypensearch.flat import FlatIndex, FlatIndexWriter
from hypensearch.formats.files import replace_when_whole
from hypensearch.formats.sealed import FileRecord
from hypensearch.graph.builder import GraphWriter, build_graph
from hypensearch.graph.nearest import ExactNeighbours
from hypensearch.graph.options import GraphOptions
from hypensearch.graph.store import GraphManifest, graph_names
from hypensearch.models import QNetConfig, QNets, load_model
from hypensearch.scoring.found import Search
from hypensearch.surrogate.builder import build_surrogate, how_many_queries
from hypensearch.surrogate.options import SurrogateOptions
from hypensearch.topics import load_topics

DIM, LATENT, MEANS = 768, 128, 4096
DEGREE, NEAR = 100, 90
SEARCHES = ("exhaustive", "surrogate", "graph")
CPU = torch.device("cpu")
_BLOCK = 65536
_NOISE_ROWS = 16384
_CONFIG = QNetConfig(dims=(DIM, DIM, DIM, 1))


def main(argv: Sequence[str] | None = None) -> None:
    args = _arguments(argv)
    args.run(args)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("make")
    one.add_argument("--folder", required=True)
    one.add_argument("--documents", type=int, required=True)
    one.set_defaults(run=make)
    one = commands.add_parser("part")
    one.add_argument("--index", required=True)
    one.add_argument("--folder", required=True)
    one.add_argument("--documents", type=int, required=True)
    one.add_argument("--topics", required=True, help="typical queries")
    one.add_argument("--encoder", required=True)
    one.set_defaults(run=part)
    one = commands.add_parser("measure")
    one.add_argument("--folder", required=True)
    one.add_argument("--output", required=True)
    one.add_argument("--topics", help="for a real index; made-up q-nets without")
    one.add_argument("--encoder")
    one.add_argument("--queries", type=int, default=20)
    one.add_argument("--k", type=int, default=10)
    one.add_argument("--searches", nargs="+", choices=SEARCHES, default=list(SEARCHES))
    one.add_argument("--exhaustive", type=int, help="queries of exhaustive search; all by default")
    one.add_argument("--precision", default="fp32", help="of exhaustive search's scan; hits have exact scores in each")
    one.add_argument("--graph-sample", type=int, default=256, help="documents to time the exact builder on, or 0")
    one.set_defaults(run=measure)
    one = commands.add_parser("picture")
    one.add_argument("--reports", nargs="+", required=True)
    one.add_argument("--output", required=True)
    one.add_argument("--documents", type=int, default=8_841_823, help="where to extrapolate to")
    one.set_defaults(run=picture)
    return parser.parse_args(argv)


# Made-up vectors


class Corpus:
    """Where made-up documents come from, block by block, the same again and again."""

    def __init__(self, documents: int, seed: int = 0) -> None:
        chance = np.random.default_rng(seed)
        self.documents = documents
        self.spectrum = (1 / np.sqrt(np.arange(1, LATENT + 1))).astype(np.float32)
        self.means = chance.standard_normal((MEANS, LATENT), dtype=np.float32) * self.spectrum * 1.5
        self.mean_of = chance.integers(0, MEANS, documents, dtype=np.int32)
        self.basis = chance.standard_normal((LATENT, DIM), dtype=np.float32)
        self.noise = chance.standard_normal((_NOISE_ROWS, DIM), dtype=np.float32) * 0.2

    def blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield latent vectors, *Shape:* ``(n, LATENT)``, and document vectors, ``(n, DIM)``."""
        for start in range(0, self.documents, _BLOCK):
            chance = np.random.default_rng((1, start))
            mean_of = self.mean_of[start : start + _BLOCK]
            latent = chance.standard_normal((len(mean_of), LATENT), dtype=np.float32) * self.spectrum
            latent += self.means[mean_of]
            noise = self.noise[chance.integers(0, _NOISE_ROWS, len(mean_of))]
            yield latent, (latent @ self.basis + noise).astype(np.float16)


def made_up_q_nets(count: int, seed: int) -> QNets:
    """Give q-nets that have most of their hidden weights in common."""
    common, own = _random_q_nets(1, 99), _random_q_nets(count, seed)
    weights = [c + 0.1 * o for c, o in zip(common.weights[:-1], own.weights[:-1], strict=True)]
    biases = [c + 0.1 * o for c, o in zip(common.biases, own.biases, strict=True)]
    return QNets(_CONFIG, [*weights, own.weights[-1]], biases)


def _random_q_nets(count: int, seed: int) -> QNets:
    chance = torch.Generator().manual_seed(seed)
    shapes = _CONFIG.weight_shapes
    weights = [torch.randn(count, *shape, generator=chance) * (2 / shape[0]) ** 0.5 for shape in shapes]
    return QNets(_CONFIG, weights, [torch.randn(count, out, generator=chance) * 0.1 for _, out in shapes[:-1]])


def make(args: argparse.Namespace) -> None:
    folder = Path(args.folder)
    corpus = Corpus(args.documents)
    latents = np.lib.format.open_memmap(
        _made(folder.with_suffix(".latent.npy")), "w+", np.float16, (args.documents, LATENT)
    )
    seconds: dict[str, float] = {}
    with _timed(seconds, "vectors"), FlatIndexWriter(folder, dim=DIM, dtype="float16") as writer:
        start = 0
        for latent, vectors in corpus.blocks():
            latents[start : start + len(latent)] = latent
            writer.append([f"d{row}" for row in range(start, start + len(vectors))], vectors)
            start += len(vectors)
        writer.finish()
    with FlatIndex.open(folder) as index:
        with _timed(seconds, "codes"):
            build_surrogate(index, made_up_q_nets(how_many_queries(_CONFIG), seed=5), CPU, show_progress=True)
        with _timed(seconds, "graph"):
            _made_up_graph(index, corpus, latents)
    del latents
    folder.with_suffix(".latent.npy").unlink()
    (folder / "seconds.json").write_text(json.dumps(seconds))
    _print({"documents": args.documents, "seconds": seconds})


def _made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _made_up_graph(index: FlatIndex, corpus: Corpus, latents: np.ndarray) -> None:
    order = np.argsort(corpus.mean_of, kind="stable").astype(np.int32)
    bounds = np.searchsorted(corpus.mean_of[order], np.arange(MEANS + 1))
    near = torch.cdist(torch.from_numpy(corpus.means), torch.from_numpy(corpus.means)).topk(11, largest=False).indices
    neighbours = np.full((index.num_docs, DEGREE), -1, dtype=np.int32)
    chance = np.random.default_rng(2)
    for mean in range(MEANS):
        rows = order[bounds[mean] : bounds[mean + 1]]
        if len(rows):
            neighbours[rows, :NEAR] = _nearest_inside(rows, latents)
            for place, other in enumerate(near[mean, 1:].tolist()):
                others = order[bounds[other] : bounds[other + 1]]
                if len(others):
                    neighbours[rows, NEAR + place] = others[chance.integers(0, len(others), len(rows))]
    facts = GraphManifest(index.num_docs, DEGREE, "l2", "imported", index.vectors_digest, FileRecord(0, ""))
    with GraphWriter(index, "made_up", facts) as writer:
        for start in range(0, index.num_docs, _BLOCK):
            writer.append(neighbours[start : start + _BLOCK])
        writer.finish()


def _nearest_inside(rows: np.ndarray, latents: np.ndarray) -> np.ndarray:
    vectors = torch.from_numpy(latents[rows].astype(np.float32))
    squares = vectors.square().sum(dim=1)
    closeness = torch.addmm(-squares, vectors, vectors.T, alpha=2).fill_diagonal_(-torch.inf)
    count = min(NEAR, len(rows) - 1)
    result = np.full((len(rows), NEAR), -1, dtype=np.int32)
    result[:, :count] = rows[closeness.topk(count, dim=1).indices.numpy()]
    return result


# Parts of real indexes


def part(args: argparse.Namespace) -> None:
    seconds: dict[str, float] = {}
    model = load_model(args.encoder)
    with FlatIndex.open(args.index) as whole:
        rows = np.sort(np.random.default_rng(0).permutation(whole.num_docs)[: args.documents])
        vectors = np.concatenate([np.asarray(shard.vectors) for shard in whole.shards])[rows]
        with FlatIndexWriter(args.folder, dim=whole.dim, dtype=whole.dtype, model=whole.model) as writer:
            writer.append([whole.docid(int(row)) for row in rows], vectors)
            writer.finish()
    with FlatIndex.open(args.folder) as index:
        typical = list(load_topics(args.topics).values())[: how_many_queries(model.q_net_config)]
        with _timed(seconds, "codes"):
            build_surrogate(index, model.encode_queries(typical), CPU)
        with _timed(seconds, "graph"):
            build_graph(index, CPU)
    (Path(args.folder) / "seconds.json").write_text(json.dumps(seconds))
    _print({"documents": len(rows), "seconds": seconds})


# Measuring


def measure(args: argparse.Namespace) -> None:
    q_nets = _q_nets(args)
    started = time.perf_counter()
    index = FlatIndex.open(args.folder)
    opened = time.perf_counter() - started
    report: dict[str, Any] = {"documents": index.num_docs, "dim": index.dim, "k": args.k, "open_seconds": opened}
    report |= {"queries": len(q_nets), "made_up": args.topics is None, "threads": torch.get_num_threads()}
    seconds_file = Path(args.folder) / "seconds.json"
    report["build_seconds"] = json.loads(seconds_file.read_text()) if seconds_file.exists() else {}
    report["precision"] = args.precision
    searches = _searches(index, args.precision)
    found: dict[str, list[list[int]]] = {}
    report["searches"] = []
    for name in args.searches:
        queries = q_nets[: args.exhaustive] if name == "exhaustive" and args.exhaustive else q_nets
        found[name], facts = _measured(queries, args.k, searches[name], index.num_docs, warm=name != "exhaustive")
        exact = found.get("exhaustive")
        if exact is not None:
            facts["overlap"] = mean_overlap(found[name][: len(exact)], exact, args.k)
        report["searches"].append({"name": name, **facts})
        _print({"documents": index.num_docs, "name": name, **facts})
    if args.graph_sample:
        report["exact_graph"] = _exact_graph(index, args.graph_sample)
        _print(report["exact_graph"])
    with replace_when_whole(args.output, "w") as file:
        json.dump(report, file, indent=1)


def _q_nets(args: argparse.Namespace) -> QNets:
    if args.topics is None:
        return made_up_q_nets(args.queries, seed=7)
    return load_model(args.encoder).encode_queries(list(load_topics(args.topics).values())[: args.queries])


def _searches(index: FlatIndex, precision: str) -> dict[str, Search]:
    return {
        "exhaustive": ExhaustiveOptions(precision).open(index, CPU),
        "surrogate": SurrogateOptions().open(index, CPU, check=False),
        "graph": GraphOptions(graph_names(index)[0]).open(index, CPU, check=False),
    }


def _measured(
    q_nets: QNets, k: int, search: Search, num_docs: int, *, warm: bool
) -> tuple[list[list[int]], dict[str, Any]]:
    started = time.perf_counter()
    if warm:
        search.search(q_nets[:1], k)
    first = time.perf_counter() - started
    reset_peak()
    seconds, scored, rows = [], [], []
    for query in range(len(q_nets)):
        started = time.perf_counter()
        (found,) = search.search(q_nets[query : query + 1], k)
        seconds.append(time.perf_counter() - started)
        scored.append(found.scored)
        rows.append(found.rows.tolist())
    times = {f"p{p}": float(np.percentile(seconds, p)) for p in (50, 95)}
    share = float(np.mean(scored)) / num_docs
    facts = {"documents_scored": float(np.mean(scored)), "share": share, "first_seconds": first, **times}
    return rows, {**facts, "memory_mb": memory_mb()}


def _exact_graph(index: FlatIndex, sample: int) -> dict[str, float]:
    """Time the exact builder on some documents, and say what all of them take at that rate."""
    exact = ExactNeighbours(index, "l2", DEGREE, CPU)
    rows = np.arange(min(sample, index.num_docs))
    started = time.perf_counter()
    exact(rows)
    seconds = time.perf_counter() - started
    pairs = len(rows) * index.num_docs
    return {
        "sample": len(rows),
        "seconds": seconds,
        "pairs_per_second": pairs / seconds,
        "hours_for_all": seconds / len(rows) * index.num_docs / 3600,
    }


class _timed:
    """Notes how long its block took."""

    def __init__(self, seconds: dict[str, float], name: str) -> None:
        self.seconds, self.name = seconds, name

    def __enter__(self) -> None:
        self.started = time.perf_counter()

    def __exit__(self, *error: object) -> None:
        self.seconds[self.name] = time.perf_counter() - self.started


def _print(facts: Any) -> None:
    print(json.dumps(facts), flush=True)


# The picture


def picture(args: argparse.Namespace) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    reports = sorted((json.loads(Path(path).read_text()) for path in args.reports), key=lambda one: one["documents"])
    figure, panels = pyplot.subplots(1, 2, figsize=(11, 4.3))
    for panel, (what, label) in zip(
        panels, (("p50", "median seconds a query"), ("documents_scored", "documents scored")), strict=True
    ):
        for made_up, kind in ((True, "made up, 768"), (False, "real, 384")):
            own = [report for report in reports if report["made_up"] == made_up]
            for name, color in (("exhaustive", "tab:blue"), ("graph", "tab:green"), ("surrogate", "tab:orange")):
                points = [
                    (report["documents"], found[what])
                    for report in own
                    for found in report["searches"]
                    if found["name"] == name
                ]
                if len(points) > 1:
                    style = {"color": color, "marker": "o" if made_up else "s", "linestyle": "-" if made_up else "--"}
                    panel.plot(*zip(*points, strict=True), **style, label=f"{name}, {kind}")
                    line = _fitted(points, args.documents)
                    _print({"line": f"{name}, {kind}", "what": what, **line})
                    panel.plot([args.documents], [line["extrapolated"]], marker="x", color=color)
        panel.set(xscale="log", yscale="log", xlabel="documents", ylabel=label)
        panel.grid(alpha=0.3)
    panels[0].legend(fontsize=7)
    panels[0].set_title(f"x: extrapolated to {args.documents:,} from fewer", fontsize=9)
    figure.tight_layout()
    figure.savefig(args.output, dpi=110)


def _fitted(points: Sequence[tuple[int, float]], documents: int) -> dict[str, float]:
    """Fit a power of the number of documents to what was measured below a number, and extrapolate to that."""
    sizes, values = (np.array(part, dtype=float) for part in zip(*points, strict=True))
    below = sizes < documents
    exponent, factor = np.polyfit(np.log(sizes[below]), np.log(values[below]), 1)
    line = {"exponent": round(float(exponent), 3), "extrapolated": float(np.exp(factor) * documents**exponent)}
    return line if below.all() else {**line, "measured": float(values[~below][0])}


if __name__ == "__main__":
    main()
