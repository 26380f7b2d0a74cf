# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Exhaustive scoring against the authors' scoring path and the machine's own matrix rate, all in one process.

``python -m integrations.speed.exhaustive [--documents 50000] [--layers 6] [--k 1000]`` prints one line of JSON a
measurement. The authors' path is written here from its description: batches of 100,000 documents, a copy of the input
and new memory for every operation, ``torch.topk`` on each batch.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from hypensearch.index import FlatIndex, FlatIndexWriter
from hypensearch.models import QNetConfig, QNets
from hypensearch.search.exhaustive import ExhaustiveSearch


def main() -> None:
    args = _arguments()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    q_net = _random_q_net(args.layers, args.dim)
    with tempfile.TemporaryDirectory() as folder, _synthetic_index(folder, args.documents, args.dim) as index:
        vectors = torch.from_numpy(np.array(index.shards[0].vectors)).to(device)
        flop = 2 * args.documents * sum(into * out for into, out in q_net.config.weight_shapes)
        plain = _plain_hits(q_net.to(device), vectors, args.k)
        runs: dict[str, Callable[[], object]] = {
            "matrix rate fp32": lambda: _matrix(args.dim, torch.float32, device),
            "matrix rate bf16": lambda: _matrix(args.dim, torch.bfloat16, device),
        }
        for rows in (100_000, 2_000):
            runs[f"authors fp32, batches of {rows:,}"] = lambda rows=rows: _authors(
                q_net.to(device), vectors, args.k, rows
            )
        searches = {name: ExhaustiveSearch(index, device, name) for name in ("fp32", "bf16")}
        for name, search in searches.items():
            runs[f"hypensearch {name}"] = lambda search=search: search.search(q_net, args.k)
        seconds = _interleaved(runs, args.repeats)
        for name, found in seconds.items():
            work = 2 * 2048 * args.dim**2 * _MATRIX_REPEATS if name.startswith("matrix") else flop
            best = statistics.median(found)
            print(json.dumps({"what": name, "seconds": round(best, 4), "gflops": round(work / best / 1e9, 1)}))
        for name, search in searches.items():
            hits = [hit.docid for hit in search.search(q_net, args.k)[0]]
            same = hits == plain if name == "fp32" else len(set(hits) & set(plain)) / args.k
            print(json.dumps({"what": f"hits of {name} against the plain reference", "equal or overlap": same}))
        _print_ratios(seconds)


_MATRIX_REPEATS = 20


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=50_000)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--dim", type=int, default=768)
    parser.add_argument("--k", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    return parser.parse_args()


def _random_q_net(layers: int, dim: int) -> QNets:
    config = QNetConfig(dims=(dim,) * (layers + 1) + (1,))
    chance = torch.Generator().manual_seed(0)
    weights = [torch.randn(1, *shape, generator=chance) * (2 / shape[0]) ** 0.5 for shape in config.weight_shapes]
    biases = [torch.randn(1, out, generator=chance) * 0.1 for _, out in config.weight_shapes[:-1]]
    return QNets(config, weights, biases)


def _synthetic_index(folder: str, documents: int, dim: int) -> FlatIndex:
    path = Path(folder) / "index"
    chance = np.random.default_rng(0)
    with FlatIndexWriter(path) as writer:
        writer.begin(dim=dim)
        for start in range(0, documents, 8192):
            count = min(8192, documents - start)
            block = chance.standard_normal((count, dim), dtype=np.float32)
            writer.append([f"d{row}" for row in range(start, start + count)], block)
        writer.finish()
    return FlatIndex.open(path)


@torch.inference_mode()
def _plain_hits(q_net: QNets, vectors: Tensor, k: int) -> list[str]:
    scores = torch.cat([q_net(block)[0] for block in vectors.split(5_000)])
    order = sorted(range(len(scores)), key=lambda row: (-float(scores[row]), f"d{row}"))
    return [f"d{row}" for row in order[:k]]


@torch.inference_mode()
def _authors(q_net: QNets, vectors: Tensor, k: int, rows: int) -> Tensor:
    found = []
    for batch in vectors.split(rows):
        x = batch.unsqueeze(0)
        for block, bias in enumerate(q_net.biases):
            y = torch.einsum("qin,qnh->qih", x.clone(), q_net.weights[block])
            y = y + bias.unsqueeze(1)
            y = functional.layer_norm(torch.relu(y), y.shape[-1:])
            x = y + x if q_net.config.has_residual(block) else y
        scores = torch.einsum("qin,qnh->qih", x, q_net.weights[-1]).squeeze()
        found.append(torch.topk(scores, min(k, len(scores))).values)
    return torch.topk(torch.cat(found), k).values


@torch.inference_mode()
def _matrix(dim: int, dtype: torch.dtype, device: torch.device) -> None:
    a = torch.ones(2048, dim, dtype=dtype, device=device)
    b = torch.ones(dim, dim, dtype=dtype, device=device)
    for _ in range(_MATRIX_REPEATS):
        a @ b
    if device.type == "cuda":
        torch.cuda.synchronize()


def _interleaved(runs: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Time everything in turn, after a warm-up, so that a drifting machine hits all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(repeats + 1):
        for name, run in runs.items():
            started = time.perf_counter()
            run()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if turn:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def _print_ratios(seconds: dict[str, list[float]]) -> None:
    authors = seconds["authors fp32, batches of 100,000"]
    for name in ("hypensearch fp32", "hypensearch bf16"):
        ratios = [theirs / ours for theirs, ours in zip(authors, seconds[name], strict=True)]
        print(json.dumps({"what": f"authors' default / {name}", "times faster": round(statistics.median(ratios), 2)}))


if __name__ == "__main__":
    main()
