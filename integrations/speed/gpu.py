# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""First contact with a GPU, in stages of minutes: first whether it is right, then how fast.

    python -m integrations.speed.gpu check|headline|searchers|encode|train --output FILE.jsonl

``check`` compares scores of every scorer with float64 (at most 1.5 times as wrong as plain torch in the same type) and
hits with those of the CPU; its exit code is 1 if one is wrong. ``headline`` times exhaustive search over 8.8 million
synthetic documents, beside the GPU's own matrix rate and the authors' path. ``searchers`` times exhaustive, graph and
surrogate search of one index, and building; ``encode`` and ``train`` the bundled model. Every stage needs torch and
Triton alone. A line of JSON is written and flushed for each figure, so that what was measured stays if time ends.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hypensearch.bench.measure import mean_overlap
from hypensearch.exhaustive.options import ExhaustiveOptions
from hypensearch.exhaustive.search import ExhaustiveSearch
from hypensearch.flat import FlatIndex, FlatIndexWriter
from hypensearch.graph.builder import build_graph
from hypensearch.graph.options import GraphBuildOptions, GraphOptions
from hypensearch.graph.search import GraphSearch
from hypensearch.models import QNetConfig, QNets, load_model
from hypensearch.models.checkpoint import BUNDLED
from hypensearch.scoring.gpu.candidates import Candidates
from hypensearch.scoring.gpu.triton_scorer import TritonScorer
from hypensearch.scoring.scorer import DTYPES, Scorer
from hypensearch.scoring.top_k import TopK
from hypensearch.surrogate.builder import build_surrogate
from hypensearch.surrogate.search import SurrogateSearch
from hypensearch.train.config import TrainingConfig
from hypensearch.train.run import train as train_model

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
AUTHORS_BATCH = 100_000
BLOCK_ROWS = 131_072
WRONG_AT_MOST = 1.5  # times as wrong as plain torch in the same type

Figures = Iterator[dict[str, Any]]


def main(argv: Sequence[str] | None = None) -> int:
    """Run a stage.

    :return: The exit code: 1 if a figure says that something is wrong.
    """
    parser = argparse.ArgumentParser(
        prog="python -m integrations.speed.gpu",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("stage", choices=list(STAGES))
    parser.add_argument("--output", type=Path, help="file that lines are appended to; the standard output has them too")
    parser.add_argument("--docs", type=int, help="documents (8,841,823 for the headline, 200,000 for searchers)")
    parser.add_argument("--dim", type=int, default=768, help="size of a document vector (768)")
    parser.add_argument("--layers", type=int, nargs="+", default=[2, 6], help="blocks of the q-nets (2 6)")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 64], help="queries that share a pass (1 8 64)")
    parser.add_argument("--steps", type=int, default=25, help="steps of training (25)")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each, of which the fastest counts (3)")
    args = parser.parse_args(argv)
    facts = {"stage": args.stage, "gpu": torch.cuda.get_device_name(), "torch": str(torch.__version__)}
    right = True
    for figure in STAGES[args.stage](args):
        line = json.dumps({**facts, **figure})
        print(line, flush=True)
        right &= figure.get("right", True)
        if args.output:
            with open(args.output, "a", encoding="utf-8") as file:
                file.write(line + "\n")
    return 0 if right else 1


def check(args: argparse.Namespace) -> Figures:
    """Compare scores with float64, and hits with those of the CPU."""
    options: list[dict[str, Any]] = [{}, {"layer_norm_before_residual": False}, {"layer_norm": False}]
    options += [{"activation": "gelu"}, {"residual": False}]
    vectors = synthetic(min(args.docs or 5000, 5000), args.dim)
    for layers in args.layers:
        for option in options:
            q_nets = random_q_nets(QNetConfig(dims=(*[args.dim] * (layers + 1), 1), **option), 2)
            exact = q_nets.to(dtype=torch.float64)(vectors.double())
            for precision in ("bf16", "fp16"):
                plain = q_nets.to(dtype=DTYPES[precision])(vectors.to(DTYPES[precision]))
                allowed = WRONG_AT_MOST * _error(plain, exact)
                for scorer in (Scorer(q_nets, CUDA, precision), TritonScorer(q_nets, CUDA, precision)):
                    error = _error(scorer.score(vectors), exact)
                    what = {"layers": layers, **option, "precision": precision, "scorer": type(scorer).__name__}
                    yield {**what, "error": error, "allowed": allowed, "right": error <= allowed}
    with _index(vectors.float().cpu().numpy()) as index:
        for layers in args.layers:
            q_nets = random_q_nets(QNetConfig(dims=(*[args.dim] * (layers + 1), 1)), 8).to(CPU)
            wanted = ExhaustiveSearch(index, CPU).search(q_nets, 100)
            for precision, scorer in (("fp32", "fused"), ("bf16", "fused"), ("bf16", "triton"), ("fp16", "triton")):
                search = ExhaustiveSearch(index, CUDA, ExhaustiveOptions(precision, scorer))
                pairs = zip(search.search(q_nets, 100), wanted, strict=True)
                same = sum(int((found.rows == other.rows).sum()) for found, other in pairs)
                share = same / (8 * min(100, index.num_docs))
                yield {
                    "hits of": f"{scorer} {precision}",
                    "layers": layers,
                    "same places": share,
                    "right": share > 0.99,
                }


def headline(args: argparse.Namespace) -> Figures:
    """Time exhaustive scans of synthetic documents that lie on the GPU, in bf16."""
    docs = args.docs or 8_841_823
    vectors = synthetic(docs, args.dim)
    rate = matrix_rate(args.dim)
    yield {"matrix rate": rate, "shape": [BLOCK_ROWS, args.dim, args.dim]}
    for layers in args.layers:
        config = QNetConfig(dims=(*[args.dim] * (layers + 1), 1))
        work = 2 * docs * sum(rows * columns for rows, columns in config.weight_shapes)
        for batch in args.batches:
            q_nets = random_q_nets(config, batch)
            ways: dict[str, Callable[[], object]] = {
                "triton": lambda q_nets=q_nets: collect(q_nets, vectors),
                "fused": lambda q_nets=q_nets: scan(q_nets, vectors),
            }
            if batch == 1:
                ways["authors"] = lambda q_nets=q_nets: authors(q_nets, vectors)
            for name, way in ways.items():
                torch.cuda.reset_peak_memory_stats()
                seconds = timed(way, args.repeats) / batch
                peak = torch.cuda.max_memory_allocated() - vectors.nbytes
                what = {"documents": docs, "dim": args.dim, "layers": layers, "batch": batch, "way": name}
                times = {"ms a query": 1000 * seconds, "share of the matrix rate": work / seconds / rate}
                yield {**what, **times, "MB beside the vectors": peak >> 20}


def searchers(args: argparse.Namespace) -> Figures:
    """Time what builds an index's graph and codes, and its searches, single queries; overlap with exhaustive fp32."""
    vectors = synthetic(args.docs or 200_000, args.dim).float().cpu().numpy()
    k = min(10, len(vectors))
    with _index(vectors) as index:
        for layers in args.layers:
            config = QNetConfig(dims=(*[args.dim] * (layers + 1), 1))
            q_nets = random_q_nets(config, 8).to(CPU)
            exact = ExhaustiveSearch(index, CUDA, ExhaustiveOptions("fp32")).search(q_nets, k)
            typical = random_q_nets(config, 64).to(CPU)
            seconds = clocked(lambda typical=typical: build_surrogate(index, typical, CUDA, show_progress=False))
            yield {"layers": layers, "built": "codes", "seconds": seconds}
            seconds = clocked(
                lambda: build_graph(index, CUDA, GraphBuildOptions(degree=min(32, index.num_docs - 1), overwrite=True))
            )
            yield {"layers": layers, "built": "graph", "seconds": seconds}
            for name, search in _searches(index):
                found = [search(q_net, k)[0] for q_net in q_nets]
                times = [clocked(functools.partial(search, q_net, k)) for q_net in q_nets]
                overlap = mean_overlap([one.rows.tolist() for one in found], [one.rows.tolist() for one in exact], k)
                what = {"documents": index.num_docs, "layers": layers, "search": name}
                yield {**what, "median ms": 1000 * float(np.median(times)), "overlap@10": overlap}


def encode(args: argparse.Namespace) -> Figures:
    """Time encoding of texts of 60 words by the bundled model."""
    words = ["search", "graph", "document", "query", "vector", "network", "index", "score", "layer", "weight"]
    chance = np.random.default_rng(0)
    texts = [" ".join(chance.choice(words, 60)) for _ in range(args.docs or 4096)]
    model = load_model(BUNDLED, device=CUDA)
    wanted = model.encode_documents(texts[:64])
    for precision, dtype in DTYPES.items():
        rounded = load_model(BUNDLED, device=CUDA).to(dtype)
        found = rounded.encode_documents(texts[:64]).astype(np.float32)
        cosine = float(_unit(found * 1.0).ravel() @ _unit(wanted).ravel() / len(found))
        rates = []
        for size in (64, 256):
            batches = [texts[start : start + size] for start in range(0, len(texts), size)]
            seconds = clocked(lambda: [rounded.encode_documents(batch) for batch in batches])  # noqa: B023
            rates.append({"batch": size, "texts a second": len(texts) / seconds})
        yield {"precision": precision, "cosine with fp32": cosine, "rates": rates, "right": cosine > 0.999}


def train(args: argparse.Namespace) -> Figures:
    """Time steps of training the bundled model with its encoder: what more of them take."""
    few, many = max(1, args.steps // 5), args.steps
    for bf16 in (False, True):
        for batch in args.batches:
            seconds = {steps: clocked(lambda steps=steps: _train(batch, steps, bf16)) for steps in (few, many)}  # noqa: B023
            step = (seconds[many] - seconds[few]) / (many - few)
            yield {"bf16": bf16, "batch": batch, "seconds a step": step, "seconds until the first ones": seconds[few]}


def _train(batch: int, steps: int, bf16: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        records = Path(folder, "train.jsonl")
        with open(records, "w", encoding="utf-8") as file:
            for number in range(batch * steps):
                texts = {
                    "query": f"query {number}",
                    "positive": f"text of {number} " * 20,
                    "negatives": [f"other {number} " * 20],
                }
                file.write(json.dumps(texts) + "\n")
        train_model(
            TrainingConfig(
                start_from=BUNDLED,
                train=[str(records)],
                output=str(Path(folder, "model")),
                losses={"cross_entropy": 1.0},
                num_negatives=1,
                batch_size=batch,
                max_steps=steps,
                eval_steps=10_000,
                bf16=bf16,
            )
        )


def _searches(index: FlatIndex) -> Iterator[tuple[str, Callable[..., Any]]]:
    from hypensearch.graph.store import GraphIndex
    from hypensearch.surrogate.store import open_surrogate

    for precision in ("fp32", "bf16"):
        yield f"exhaustive {precision}", ExhaustiveSearch(index, CUDA, ExhaustiveOptions(precision)).search
    entries = min(1000, index.num_docs)
    yield "graph", GraphSearch(index, GraphIndex.open(index), CUDA, GraphOptions(num_entry_points=entries)).search
    if codes := open_surrogate(index):
        yield "surrogate", SurrogateSearch(index, codes, CUDA).search


def synthetic(docs: int, dim: int) -> torch.Tensor:
    """Make document vectors on the GPU, in bf16, *Shape:* ``(docs, dim)``."""
    torch.manual_seed(0)
    vectors = torch.empty(docs, dim, dtype=torch.bfloat16, device=CUDA)
    for part in vectors.split(BLOCK_ROWS):
        part.copy_(torch.randn(part.shape, device=CUDA))
    return vectors


def random_q_nets(config: QNetConfig, number: int) -> QNets:
    """Make q-nets on the GPU whose states keep their size from block to block."""
    torch.manual_seed(1)
    weights = [torch.randn(number, *shape, device=CUDA) * (2 / shape[0]) ** 0.5 for shape in config.weight_shapes]
    biases = [torch.randn(number, out, device=CUDA) * 0.1 for _, out in config.weight_shapes[:-1]]
    return QNets(config, weights, biases)


def collect(q_nets: QNets, vectors: torch.Tensor, k: int = 1000) -> None:
    """Score by the Triton kernel, which keeps candidates on the GPU."""
    scorer = TritonScorer(q_nets, CUDA, "bf16")
    docid_rank = torch.arange(len(vectors), dtype=torch.int32, device=CUDA)
    best = TopK(len(q_nets), min(2 * k + 256, len(vectors)), docid_rank)
    found = Candidates(best, min(BLOCK_ROWS, len(vectors)))
    for start in range(0, len(vectors), BLOCK_ROWS):
        scorer.collect(start, vectors[start : start + BLOCK_ROWS], found)
    found.merge()
    if found.overflowed:
        raise SystemExit("more candidates than there was room for")


def scan(q_nets: QNets, vectors: torch.Tensor, k: int = 1000) -> None:
    """Score by library products, and select in each block."""
    scorer = Scorer(q_nets, CUDA, "bf16")
    for start in range(0, len(vectors), BLOCK_ROWS):
        scores = scorer.score(vectors[start : start + BLOCK_ROWS])
        scores.topk(min(k, scores.shape[1]))


def authors(q_nets: QNets, vectors: torch.Tensor, k: int = 1000) -> None:
    """Score as the released code does: plain operations over batches of 100,000 documents."""
    low = q_nets.to(dtype=torch.bfloat16)
    for start in range(0, len(vectors), AUTHORS_BATCH):
        low(vectors[start : start + AUTHORS_BATCH]).topk(min(k, len(vectors) - start))


def matrix_rate(dim: int) -> float:
    """Measure FLOP per second of torch's own matrix product at the shape of a block."""
    left = torch.randn(BLOCK_ROWS, dim, dtype=torch.bfloat16, device=CUDA)
    right = torch.randn(dim, dim, dtype=torch.bfloat16, device=CUDA)
    out = torch.empty(BLOCK_ROWS, dim, dtype=torch.bfloat16, device=CUDA)
    repeats = 50
    seconds = timed(lambda: [torch.mm(left, right, out=out) for _ in range(repeats)])
    return 2 * BLOCK_ROWS * dim * dim * repeats / seconds


def timed(way: Callable[[], object], repeats: int = 3) -> float:
    """Give seconds on the GPU: the fastest of some runs after one that warms up."""
    way()
    times = []
    for _ in range(repeats):
        before, after = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        before.record()
        way()
        after.record()
        after.synchronize()
        times.append(before.elapsed_time(after) / 1000)
    return min(times)


def clocked(way: Callable[[], object]) -> float:
    """Give seconds by the clock, once the GPU is done."""
    torch.cuda.synchronize()
    started = time.perf_counter()
    way()
    torch.cuda.synchronize()
    return time.perf_counter() - started


def _index(vectors: np.ndarray) -> FlatIndex:
    folder = tempfile.mkdtemp()
    with FlatIndexWriter(Path(folder, "index"), dim=vectors.shape[1]) as writer:
        writer.append([f"d{row}" for row in range(len(vectors))], vectors)
        writer.finish()
    return FlatIndex.open(Path(folder, "index"))


def _error(scores: torch.Tensor, exact: torch.Tensor) -> float:
    return float((scores.double() - exact).square().mean().sqrt() / exact.std())


def _unit(vectors: np.ndarray) -> np.ndarray:
    unit: np.ndarray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


STAGES = {"check": check, "headline": headline, "searchers": searchers, "encode": encode, "train": train}

if __name__ == "__main__":
    sys.exit(main())
