# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Exhaustive scoring of synthetic documents against the machine's own limits and the authors' scoring path.

``python -m integrations.speed.exhaustive`` prints a table for each combination of layers and batch size.

The authors' path is written here from its description: batches of documents, a copy of the input and new memory for
every operation, ``torch.topk`` on each batch.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from hypensearch import cli
from hypensearch.bench.measure import mean_overlap
from hypensearch.device import resolve_device
from hypensearch.errors import HypensearchError
from hypensearch.exhaustive.options import ExhaustiveOptions
from hypensearch.exhaustive.search import ExhaustiveSearch
from hypensearch.flat import FlatIndex, FlatIndexWriter
from hypensearch.formats.files import replace_when_whole
from hypensearch.models import QNetConfig, QNets
from hypensearch.scoring.choice import Case as ScorerCase
from hypensearch.scoring.choice import make_scorer
from hypensearch.scoring.found import Found
from hypensearch.scoring.options import PRECISIONS, SCORERS
from integrations.speed import limits

AUTHORS_BATCHES = (100_000, 2_000)  # the released code's default; about its best on a CPU
_WRITE_ROWS = 8192
_ROUNDING = 1e-4

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Case:
    """What is scored.

    :param documents: How many, drawn from a normal distribution.
    :param dim: Width of documents and blocks.
    :param layers: Blocks of a q-net.
    :param queries: Q-nets searched in one batch.
    :param hits: Hits of each.
    """

    documents: int
    dim: int
    layers: int
    queries: int
    hits: int

    @property
    def flop(self) -> float:
        """Operations of the matrix products."""
        return 2.0 * self.queries * self.documents * (self.layers * self.dim * self.dim + self.dim)


@dataclass(frozen=True)
class Figure:
    """What was measured of one way to score.

    :param name: Which one.
    :param seconds: Median, of the whole search.
    :param rate: Operations a second, in 10^9.
    :param share: Of the matrix rate in the same precision, from the same run.
    :param times_faster: Than the authors' path in its faster batches: median of the ratios turn by turn.
    :param overlap: Of its hits with those of the plain reference; None where there are no hits.
    :param equal: Whether its hits are those of the plain reference, scores up to rounding.
    """

    name: str
    seconds: float
    rate: float
    share: float | None
    times_faster: float | None
    overlap: float | None
    equal: bool | None


def random_q_nets(case: Case) -> QNets:
    """Q-nets with the spread of weights that keeps states alive."""
    config = QNetConfig(dims=(case.dim,) * (case.layers + 1) + (1,))
    chance = torch.Generator().manual_seed(0)
    shapes = config.weight_shapes
    weights = [torch.randn(case.queries, *shape, generator=chance) * (2 / shape[0]) ** 0.5 for shape in shapes]
    biases = [torch.randn(case.queries, out, generator=chance) * 0.1 for _, out in shapes[:-1]]
    return QNets(config, weights, biases)


def synthetic_index(folder: Path, documents: int, dim: int) -> FlatIndex:
    """Write and open an index of random vectors."""
    chance = np.random.default_rng(0)
    with FlatIndexWriter(folder, dim=dim) as writer:
        for start in range(0, documents, _WRITE_ROWS):
            count = min(_WRITE_ROWS, documents - start)
            block = chance.standard_normal((count, dim), dtype=np.float32)
            writer.append([f"d{row}" for row in range(start, start + count)], block)
        writer.finish()
    return FlatIndex.open(folder)


def measure(
    case: Case,
    precisions: Sequence[str],
    device: torch.device,
    repeats: int,
    scorers: Sequence[str] = ("auto",),
) -> Iterator[Figure]:
    """Measure the limits, the authors' path and ours in turn, in one process.

    On a CPU the scan of what is not in fp32 is measured by itself as well, without what is scored again.

    :param precisions: Those of our scan.
    :param scorers: Of :data:`hypensearch.scoring.options.SCORERS`; combinations that do not fit are left out.
    """
    q_nets = random_q_nets(case)
    with (
        tempfile.TemporaryDirectory() as folder,
        synthetic_index(Path(folder) / "index", case.documents, case.dim) as index,
    ):
        runs, work = _limits(case, precisions, device)
        if device.type == "cpu":  # the authors keep everything on the device, in fp32
            vectors = torch.from_numpy(np.array(index.shards[0].vectors))
            for rows in AUTHORS_BATCHES:
                name = f"authors fp32, batches of {rows:,}"
                runs[name] = partial(authors_search, q_nets, vectors, case.hits, rows)
                work[name] = case.flop
        searches = dict(_searches(index, device, precisions, scorers))
        for name, search in searches.items():
            runs[name], work[name] = partial(search.search, q_nets, case.hits), case.flop
            if search.precision != "fp32" and device.type == "cpu":
                name = name.replace("hypensearch", "scan")
                runs[name], work[name] = partial(_scan, index, search, q_nets), case.flop
        seconds = limits.interleaved(runs, repeats, device)
        plain = ExhaustiveSearch(index, device, ExhaustiveOptions(scorer="eager")).search(q_nets, case.hits)
        for name, found in seconds.items():
            hits = searches[name].search(q_nets, case.hits) if name in searches else None
            yield _figure(name, found, work[name], seconds, work, hits, plain)


def _searches(
    index: FlatIndex, device: torch.device, precisions: Sequence[str], scorers: Sequence[str]
) -> Iterator[tuple[str, ExhaustiveSearch]]:
    for precision in precisions:
        for scorer in scorers:
            try:
                search = ExhaustiveSearch(index, device, ExhaustiveOptions(precision, scorer))
            except HypensearchError as error:
                logger.info("left out: %s", error)
                continue
            yield f"hypensearch {precision}" + ("" if scorer == "auto" else f" {scorer}"), search


def _scan(index: FlatIndex, search: ExhaustiveSearch, q_nets: QNets) -> Tensor:
    (shard,) = index.shards
    case = ScorerCase(search.device, search.precision, q_nets.config)
    return make_scorer(q_nets, case, search.scorer).score(shard.vectors)


def authors_search(q_nets: QNets, vectors: Tensor, k: int, rows: int) -> Tensor:
    """Score as the released code does.

    :param vectors: *Shape:* ``(num_docs, dim)``.
    :param rows: Documents of a batch.
    :return: The best scores, *Shape:* ``(num_queries, k)``.
    """
    with torch.inference_mode():
        return torch.cat([_authors_query(q_net, vectors, k, rows) for q_net in q_nets])


def _authors_query(q_net: QNets, vectors: Tensor, k: int, rows: int) -> Tensor:
    found = []
    for batch in vectors.split(rows):
        x = batch.unsqueeze(0)
        for block, bias in enumerate(q_net.biases):
            y = torch.einsum("qin,qnh->qih", x.clone(), q_net.weights[block])
            y = y + bias.unsqueeze(1)
            y = functional.layer_norm(torch.relu(y), y.shape[-1:])
            x = y + x if q_net.config.has_residual(block) else y
        scores = torch.einsum("qin,qnh->qih", x, q_net.weights[-1]).squeeze(2)
        found.append(torch.topk(scores, min(k, scores.shape[1])).values)
    together = torch.cat(found, dim=1)
    return torch.topk(together, min(k, together.shape[1])).values


def _limits(
    case: Case, precisions: Sequence[str], device: torch.device
) -> tuple[dict[str, Callable[[], object]], dict[str, float]]:
    runs: dict[str, Callable[[], object]] = {}
    work: dict[str, float] = {}
    packed = [limits.PACKED] if device.type == "cpu" and torch.backends.mkldnn.is_available() else []
    for precision in dict.fromkeys(("fp32", *packed, *precisions)):
        name = f"matrix rate {precision}"
        runs[name], work[name] = limits.matrix_product(case.dim, precision, device)
    runs["memory copy"], work["memory copy"] = limits.memory_copy(device)
    return runs, work


def _figure(
    name: str,
    found: Sequence[float],
    work: float,
    seconds: dict[str, list[float]],
    all_work: dict[str, float],
    found_by_it: list[Found] | None,
    plain: list[Found],
) -> Figure:
    median = statistics.median(found)
    share = overlap = equal = None
    if name.startswith(("hypensearch", "scan", "authors")):
        limit = f"matrix rate {name.split()[1].rstrip(',')}"
        share = statistics.median(
            (work / ours) / (all_work[limit] / theirs) for ours, theirs in zip(found, seconds[limit], strict=True)
        )
    if found_by_it is not None:
        rows = ([of_query.rows.tolist() for of_query in one] for one in (found_by_it, plain))
        overlap, equal = mean_overlap(*rows, len(plain[0].rows)), _equal(found_by_it, plain)
    return Figure(name, median, work / median / 1e9, share, _times_faster(name, found, seconds), overlap, equal)


def _equal(found: list[Found], plain: list[Found]) -> bool:
    """Whether two searches found the same documents with the same scores, up to rounding in float32."""
    return all(
        set(one.rows) == set(other.rows)
        and np.allclose(one.scores[np.argsort(one.rows)], other.scores[np.argsort(other.rows)], _ROUNDING, _ROUNDING)
        for one, other in zip(found, plain, strict=True)
    )


def _times_faster(name: str, found: Sequence[float], seconds: dict[str, list[float]]) -> float | None:
    authors = [times for other, times in seconds.items() if other.startswith("authors")]
    if not authors or not name.startswith("hypensearch"):
        return None
    best = min(authors, key=statistics.median)
    return statistics.median(theirs / ours for theirs, ours in zip(best, found, strict=True))


def main(argv: Sequence[str] | None = None) -> int:
    """Measure each combination of layers and batch size.

    :return: The exit code.
    """
    parser = cli.CommandParser(prog="python -m integrations.speed.exhaustive", description=__doc__)
    parser.add_argument("--documents", type=cli.positive_int, default=50_000, help="how many")
    parser.add_argument("--dim", type=cli.positive_int, default=768, help="width of documents and blocks")
    parser.add_argument("--layers", nargs="+", type=cli.positive_int, default=[6, 2], help="blocks of a q-net")
    parser.add_argument("--batch-size", nargs="+", type=cli.positive_int, default=[1], help="queries of a pass")
    parser.add_argument("--hits", type=cli.positive_int, default=100, help="hits of each query")
    parser.add_argument("--precision", nargs="+", choices=PRECISIONS, default=["fp32"], help="precisions to measure")
    parser.add_argument("--scorers", nargs="+", choices=SCORERS, default=["auto"], help="scorers to measure")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--repeats", type=cli.positive_int, default=3, help="times that each is measured")
    parser.add_argument("--output", help="JSON file to write")
    cli.add_threads_flag(parser)
    args = parser.parse_args(argv)
    return cli.run(lambda: run(args), threads=cli.threads_of(args))


def run(args: argparse.Namespace) -> None:
    """Measure, print and write."""
    device, reports = resolve_device(args.device), []
    for layers in args.layers:
        for queries in args.batch_size:
            case = Case(args.documents, args.dim, layers, queries, args.hits)
            print(f"{case.documents:,} documents x {case.dim}, {layers} layers, {queries} queries, k = {case.hits}")
            print(_line("", "seconds", "10^9/s", "of limit", "x authors", "overlap", "equal"))
            figures = []
            for figure in measure(case, args.precision, device, args.repeats, args.scorers):
                print(_row(figure), flush=True)
                figures.append(asdict(figure))
            reports.append({"layers": layers, "queries": queries, "hits": case.hits, "figures": figures})
    if args.output:
        facts = {"device": str(device), "cores": os.cpu_count(), "torch": torch.__version__}
        with replace_when_whole(args.output, "w") as file:
            json.dump({**facts, "documents": args.documents, "dim": args.dim, "cases": reports}, file, indent=1)


def _row(figure: Figure) -> str:
    share = None if figure.share is None else f"{100 * figure.share:.0f} %"
    faster = None if figure.times_faster is None else f"{figure.times_faster:.2f}"
    overlap = None if figure.overlap is None else f"{figure.overlap:.4f}"
    return _line(figure.name, f"{figure.seconds:.3f}", f"{figure.rate:.1f}", share, faster, overlap, figure.equal)


def _line(name: str, *cells: Any) -> str:
    return f"{name:<34}" + "".join(f"{'-' if cell is None else cell!s:>11}" for cell in cells)


if __name__ == "__main__":
    raise SystemExit(main())
