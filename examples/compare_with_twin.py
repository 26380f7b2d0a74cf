# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Does a Hypencoder beat the bi-encoder trained beside it? Same frozen backbone, data, number of steps and seeds.

Known items of documentation strings: summaries must find the rest of their documentation. Training pairs, validation
and test topics are of different source files. Settings were chosen on the validation topics; the test topics are only
measured. For each seed:

- twin: the bi-encoder, two 384 x 384 maps, 500 steps;
- hypencoder: the same for 300 steps, folded into a warm start, whose attention over the query's tokens is then trained
  for 200 steps.

    python examples/compare_with_twin.py --backbone MINILM --run RUN --seeds 1 2 3
    python examples/compare_with_twin.py --backbone MINILM --run RUN --seeds 1 --ablation
"""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from scipy.stats import ttest_rel
from train_bundled_model_data import percentile, write_collection, write_lines

from hypensearch.demo import docstrings
from hypensearch.models.dual_encoder import QueryEncoder, load_model, token_states
from hypensearch.models.new_model import load_backbone
from hypensearch.models.warm_start import LinearMaps
from hypensearch.train.config import TrainingConfig
from hypensearch.train.embedding_cache import EmbeddingCache
from hypensearch.train.inputs import FrozenInputs
from hypensearch.train.run import MAPS, train
from hypensearch.train.scorers import FixedBlocksScorer, HeadScorer, Scorer, TwinScorer
from hypensearch.train.validation import MRR_DEPTH, Validation, read_collection

TEST_DOCUMENTS, DISTRACTORS = 20_000, 8_000
STEPS, HEAD_STEPS = 500, 200
QUERY_LENGTH, DOCUMENT_LENGTH = 64, 128

COMMON: dict[str, Any] = {
    "num_blocks": 2,
    "pooling": "mean",
    "logit_scale": 20.0,
    "losses": {"cross_entropy": 1.0},
    "num_negatives": 4,
    "mined_negatives": 40,
    "query_length": QUERY_LENGTH,
    "document_length": DOCUMENT_LENGTH,
    "batch_size": 128,
    "scheduler": "linear",
    "warmup_steps": 50,
    "start_decay": 1.0,
    "eval_steps": 100,
    "bf16": True,
    "resume": True,
}
TWIN = {"architecture": "twin", "learning_rate": 5e-4}
HEAD = {"start": "warm", "freeze_encoder": True, "fixed_blocks": True}
ATTENTION = {**HEAD, "attention_only": True, "learning_rate": 3e-4, "max_steps": HEAD_STEPS}
EVERYTHING = {**HEAD, "learning_rate": 1e-5, "projection_rate": 0.1, "dropout": 0.1, "max_steps": HEAD_STEPS}

#: Ablation: what differs from the Hypencoder, which has 2 blocks, trained attention, and mined negatives.
ABLATION: dict[str, dict[str, Any]] = {
    "1 block": {**ATTENTION, "num_blocks": 1},
    "4 blocks": {**ATTENTION, "num_blocks": 4},
    "in-batch negatives only": {**ATTENTION, "num_negatives": 0, "mined_negatives": 0},
    "all but hidden weights": EVERYTHING,
}


#: Another start, whole q-nets: slow, so only its curve is drawn, over the validation topics.
COLD: dict[str, Any] = {
    "freeze_encoder": True,
    "learning_rate": 1e-4,
    "max_steps": HEAD_STEPS,
    "batch_size": 32,
    "num_negatives": 0,
    "mined_negatives": 0,
    "start_decay": 0.0,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--backbone", required=True, help="folder of all-MiniLM-L6-v2")
    parser.add_argument("--run", type=Path, required=True, help="folder for data, encodings and models")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--packages", nargs="*", default=[], help="more installed packages to take training pairs from")
    parser.add_argument("--ablation", action="store_true", help="train the variants of the first seed as well")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if not (args.run / "test" / "qrels.txt").is_file():
        write_data(args.run, tuple(args.packages))
    scorers: dict[str, list[Path]] = {"twin": [], "hypencoder": []}
    for seed in args.seeds:
        scorers["twin"].append(trained(args, f"twin-{seed}", {**TWIN, "max_steps": STEPS, "seed": seed}))
        first = trained(args, f"first-{seed}", {**TWIN, "max_steps": STEPS - HEAD_STEPS, "seed": seed})
        settings = {**ATTENTION, "start_maps": str(first), "seed": seed}
        scorers["hypencoder"].append(trained(args, f"hypencoder-{seed}", settings))
    if args.ablation:
        seed = args.seeds[0]
        for name, changes in ABLATION.items():
            settings = {**changes, "seed": seed, "start_maps": str(args.run / f"first-{seed}")}
            scorers[name] = [trained(args, f"{name.replace(' ', '-')}-{seed}", settings)]
        trained(args, f"cold-{seed}", {**COLD, "seed": seed})
    report(measured(args, scorers), args.run / "report.json")


def write_data(run: Path, packages: tuple[str, ...]) -> None:
    """Write training pairs and both held-out collections."""
    more = docstrings.collect((*docstrings.PACKAGES, *packages), max_topics=100_000)
    pairs = list(more.pairs())
    write_lines(run / "train.jsonl", (json.dumps({"query": q, "positive": d}) for q, d in pairs))
    known = docstrings.collect(max_topics=100_000)
    topics = [
        (topic, known.corpus[docid])
        for number, topic in known.topics("validation").items()
        for docid in known.qrels("validation")[number]
    ]
    distractors = sorted((text for _, text in pairs), key=lambda text: percentile(text, 1 << 60))[:DISTRACTORS]
    write_collection(run / "validation", topics, distractors)
    test = docstrings.collect(max_docs=TEST_DOCUMENTS, max_topics=100_000)
    (run / "test").mkdir(parents=True, exist_ok=True)
    docstrings.write_corpus(test, run / "test" / "corpus.jsonl")
    docstrings.write_topics(test, run / "test" / "topics.tsv")
    docstrings.write_qrels(test, run / "test" / "qrels.txt")


def trained(args: argparse.Namespace, name: str, settings: dict[str, Any]) -> Path:
    """Train a model unless that was done before."""
    folder: Path = args.run / name
    if not (folder / "config.json").is_file():
        paths = {
            "backbone": args.backbone,
            "train": [str(args.run / "train.jsonl")],
            "validation": [str(args.run / "validation")],
            "cache": str(args.run / "cache"),
            "output": str(folder),
        }
        train(TrainingConfig(**{**COMMON, **paths, **settings}))
    return folder


def measured(args: argparse.Namespace, models: dict[str, list[Path]]) -> dict[str, Any]:
    """Measure on the test topics: reciprocal rank within 10 of each topic, for each seed, and MRR@10."""
    transformer, tokenizer = load_backbone(args.backbone)
    collection = read_collection(args.run / "test")
    caches = (
        EmbeddingCache(args.run / "cache", transformer, tokenizer, pooling=pooling, max_length=length, bf16=True)
        for pooling, length in ((None, QUERY_LENGTH), ("mean", DOCUMENT_LENGTH))
    )
    validation = Validation([collection], FrozenInputs(*caches, collection.topics, collection.documents))

    def reciprocal_ranks(scorer: Scorer) -> np.ndarray:
        ranks = np.array(validation.ranks(scorer, collection))
        return np.where(ranks <= MRR_DEPTH, 1 / ranks, 0.0)

    backbone = TwinScorer(LinearMaps.identity(transformer), "mean", 20.0)
    values = {"backbone": reciprocal_ranks(backbone)[None]}
    for name, folders in models.items():
        values[name] = np.stack([reciprocal_ranks(scorer_of(folder, transformer)) for folder in folders])
        print(name, values[name].mean(axis=1).round(4).tolist(), flush=True)
    return values


def scorer_of(folder: Path, transformer: torch.nn.Module) -> Scorer:
    """Load a finished model as a scorer of the backbone's own vectors; the model's are these, scaled."""
    if (folder / MAPS).is_file():
        tensors = load_file(folder / MAPS)
        return TwinScorer(LinearMaps(tensors["queries"], tensors["documents"]), "mean", 20.0)
    model = load_model(str(folder)).eval()
    assert isinstance(model.query_encoder, QueryEncoder)
    ids = torch.tensor([[101, 2023, 102]])
    ours, theirs = (
        token_states(encoder, ids, torch.ones_like(ids)) for encoder in (model.query_encoder.transformer, transformer)
    )
    scale = float((ours.norm() / theirs.norm()).detach())
    head = model.query_encoder.hyper_head
    weights, biases = head.weight_hyper_projection[:-1], head.bias_hyper_projection
    if any(p.any() for projection in (*weights, *biases[:-1]) for p in projection.parameters()):
        return HeadScorer(head, scale, scale)
    static = not any(p.any() for p in biases[-1].parameters())
    return FixedBlocksScorer(head, scale, scale, attention_only=static)


def report(values: dict[str, np.ndarray], path: Path) -> None:
    """Print MRR@10 by seed and a paired t-test of the topics' means over seeds, against the twin."""
    figures: dict[str, Any] = {"topics": int(values["backbone"].shape[1])}
    for name, ranks in values.items():
        seeds = min(len(ranks), len(values["twin"]))
        twin = values["twin"][:seeds].mean(axis=0)
        gain = ranks[:seeds].mean(axis=0) - twin
        figures[name] = {
            "MRR@10": ranks.mean(axis=1).round(4).tolist(),
            "gain over the twin": round(float(gain.mean()), 4),
            "p": None if name == "twin" else float(ttest_rel(ranks[:seeds].mean(axis=0), twin).pvalue),
        }
        print(f"{name:24}", json.dumps(figures[name]), flush=True)
    path.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
