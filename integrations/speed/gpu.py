# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The exhaustive scorers on a GPU: first right, then how fast, beside the GPU's own matrix rate and the authors' path.

python -m integrations.speed.gpu [--docs 8841823] [--layers 2 6] [--batches 1 8 64]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch

from hypensearch.models import QNetConfig, QNets
from hypensearch.search.candidates import Candidates
from hypensearch.search.scorer import Scorer
from hypensearch.search.triton_scorer import TritonScorer

AUTHORS_BATCH = 100_000
BLOCK_ROWS = 131_072


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--docs", type=int, default=8_841_823, help="synthetic documents")
    parser.add_argument("--dim", type=int, default=768, help="size of a document vector")
    parser.add_argument("--layers", type=int, nargs="+", default=[2, 6], help="blocks of the q-nets")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 64], help="queries that share a pass")
    args = parser.parse_args()
    device = torch.device("cuda")
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
    vectors = synthetic(args.docs, args.dim, device)
    rate = matrix_rate(args.dim, device)
    print(f"matrix rate at (131072, {args.dim}) x ({args.dim}, {args.dim}) in bf16: {rate / 1e12:.0f} TFLOP/s")
    for layers in args.layers:
        config = QNetConfig(dims=(*[args.dim] * (layers + 1), 1))
        check(config, vectors[:5000])
        work = 2 * args.docs * sum(rows * columns for rows, columns in config.weight_shapes)
        for batch in args.batches:
            q_nets = random_q_nets(config, batch, device)
            ways = {"triton": lambda q=q_nets: collect(q, vectors), "fused": lambda q=q_nets: scan(q, vectors)}
            if batch == 1:
                ways["authors"] = lambda q=q_nets: authors(q, vectors)
            for name, way in ways.items():
                torch.cuda.reset_peak_memory_stats()
                seconds = timed(way) / batch
                peak = torch.cuda.max_memory_allocated() - vectors.nbytes
                print(
                    f"{layers} layers, batch {batch:2}, {name:8}: {seconds * 1000:8.1f} ms a query, "
                    f"{work / seconds / rate:5.1%} of the matrix rate, {peak / 2**20:,.0f} MB beside the vectors"
                )


def synthetic(docs: int, dim: int, device: torch.device) -> torch.Tensor:
    chance = torch.Generator(device).manual_seed(0)
    vectors = torch.empty(docs, dim, dtype=torch.bfloat16, device=device)
    for part in vectors.split(BLOCK_ROWS):
        part.copy_(torch.randn(part.shape, generator=chance, device=device))
    return vectors


def random_q_nets(config: QNetConfig, number: int, device: torch.device) -> QNets:
    chance = torch.Generator(device).manual_seed(1)
    weights = [
        torch.randn(number, *shape, generator=chance, device=device) * (2 / shape[0]) ** 0.5
        for shape in config.weight_shapes
    ]
    biases = [torch.randn(number, out, generator=chance, device=device) * 0.1 for _, out in config.weight_shapes[:-1]]
    return QNets(config, weights, biases)


def check(config: QNetConfig, vectors: torch.Tensor) -> None:
    """Compare all ways with the plain q-nets in fp32."""
    q_nets = random_q_nets(config, 2, vectors.device)
    plain = q_nets(vectors.float())
    for precision, share in (("bf16", 0.1), ("fp16", 0.02)):
        found = TritonScorer(q_nets, vectors.device, precision).score(vectors)
        error = float((found - plain).abs().max() / plain.std())
        print(f"{config.num_blocks} layers, {precision}: largest error {error:.4f} standard deviations of the scores")
        assert error < share * config.num_blocks


def collect(q_nets: QNets, vectors: torch.Tensor, k: int = 1000) -> None:
    order = torch.arange(len(vectors), dtype=torch.int32, device=vectors.device)
    scorer = TritonScorer(q_nets, vectors.device, "bf16")
    found = Candidates(len(q_nets), 2 * k + 256, BLOCK_ROWS, vectors.device)
    for start in range(0, len(vectors), BLOCK_ROWS):
        scorer.collect(vectors[start : start + BLOCK_ROWS], order[start : start + BLOCK_ROWS], found)
    found.best()
    assert not found.overflowed


def scan(q_nets: QNets, vectors: torch.Tensor, k: int = 1000) -> None:
    scorer = Scorer(q_nets, vectors.device, "bf16")
    for start in range(0, len(vectors), BLOCK_ROWS):
        scorer.score(vectors[start : start + BLOCK_ROWS]).topk(k)


def authors(q_nets: QNets, vectors: torch.Tensor, k: int = 1000) -> None:
    """As the released code scores: plain operations over batches of 100,000 documents."""
    low = q_nets.to(dtype=torch.bfloat16)
    for start in range(0, len(vectors), AUTHORS_BATCH):
        low(vectors[start : start + AUTHORS_BATCH]).topk(min(k, len(vectors) - start))


def matrix_rate(dim: int, device: torch.device) -> float:
    """Measure FLOP per second of torch's own matrix product at the shape of a block."""
    left = torch.randn(BLOCK_ROWS, dim, dtype=torch.bfloat16, device=device)
    right = torch.randn(dim, dim, dtype=torch.bfloat16, device=device)
    out = torch.empty(BLOCK_ROWS, dim, dtype=torch.bfloat16, device=device)
    repeats = 50
    seconds = timed(lambda: [torch.mm(left, right, out=out) for _ in range(repeats)])
    return 2 * BLOCK_ROWS * dim * dim * repeats / seconds


def timed(way: Callable[[], object]) -> float:
    """Seconds of the fastest of three runs after one that warms up."""
    way()
    times = []
    for _ in range(3):
        before, after = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        before.record()
        way()
        after.record()
        after.synchronize()
        times.append(before.elapsed_time(after) / 1000)
    return min(times)


if __name__ == "__main__":
    main()
