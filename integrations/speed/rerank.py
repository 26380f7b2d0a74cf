# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Reranking on a CPU at the size of the released 6-layer model: time of a query, and what takes it.

python -m integrations.speed.rerank [--candidates 1000] [--layers 6] [--dim 768] [--queries 20]

Weights and vectors are random; sizes are those of BERT-base, and of a flat index that candidates are read from in any
order. The query's encoder runs too: a transformer of 12 layers, then the hyper head, which makes the q-net.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from transformers import BertConfig, BertModel

from hypensearch.hits import Hit
from hypensearch.models import DualEncoder, QNetConfig, load_model
from hypensearch.models.new_model import new_hypencoder
from hypensearch.rerank import Reranker, RerankOptions
from tests.search.strategies import random_vectors, save_index

QUERY = "what is the main risk of abdominal aortic aneurysms and how are they prevented"
HEADS, TRANSFORMER_LAYERS = 12, 12


def main() -> None:
    args = _arguments()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, fp32")
    model = make_model(args.layers, args.dim)
    with tempfile.TemporaryDirectory() as folder:
        save_index(Path(folder, "index"), random_vectors(args.docs, args.dim)).close()
        with Reranker.from_index(
            Path(folder, "index"), model, device="cpu", options=RerankOptions(depth=args.candidates)
        ) as reranker:
            _measure(args, reranker)


def make_model(layers: int, dim: int) -> DualEncoder:
    """Make a Hypencoder of random weights on a transformer of BERT's shape."""
    config = BertConfig(hidden_size=dim, num_hidden_layers=TRANSFORMER_LAYERS, num_attention_heads=HEADS)
    config.intermediate_size = 4 * dim
    transformer = BertModel(config, add_pooling_layer=False)
    q_net = QNetConfig(dims=(*[dim] * (layers + 1), 1))
    chance = torch.Generator().manual_seed(0)
    tokenizer = load_model("bundled").tokenizer  # bert-base-uncased's
    return new_hypencoder(transformer, tokenizer, q_net=q_net, pooling="cls", generator=chance).eval()


def _measure(args: argparse.Namespace, reranker: Reranker) -> None:
    chance = np.random.default_rng(0)
    seconds = []
    for number in range(args.queries + 1):
        rows = chance.choice(args.docs, args.candidates, replace=False)
        candidates = [Hit(f"d{row}", float(-rank)) for rank, row in enumerate(rows)]
        if number == 1:  # the first one is for warming up
            before = dict(reranker.stats.seconds)
        started = time.perf_counter()
        assert len(reranker.rerank(QUERY, candidates)) == args.candidates
        seconds.append(time.perf_counter() - started)
    of_phase = {phase: (spent - before[phase]) / args.queries for phase, spent in reranker.stats.seconds.items()}
    total = sum(of_phase.values())
    print(f"{args.candidates:,} candidates of {args.docs:,} documents, {args.layers} layers, {args.dim} wide:")
    print(f"  median of {args.queries} queries: {1000 * statistics.median(seconds[1:]):.1f} ms")
    for phase, spent in of_phase.items():
        print(f"  {phase:8} {1000 * spent:7.2f} ms  {spent / total:5.1%}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=int, default=1000)
    parser.add_argument("--docs", type=int, default=50_000)
    parser.add_argument("--layers", type=int, default=6, help="blocks of the q-nets")
    parser.add_argument("--dim", type=int, default=768)
    parser.add_argument("--queries", type=int, default=20)
    return parser.parse_args()


if __name__ == "__main__":
    main()
