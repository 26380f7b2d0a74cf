# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Does a Hypencoder beat the bi-encoder trained beside it? Same frozen backbone, data, number of steps and seeds.

Known items of documentation strings: summaries must find the rest of their documentation. Training pairs, validation
and test topics are of different source files. Settings were chosen on the validation topics (``--no-test``); the test
topics are only measured. For each seed:

- twin: the bi-encoder, two 384 x 384 maps, ``--steps``;
- hypencoder: the same for fewer steps, folded into a warm start, whose attention over the query is then trained
  for the rest, ``--head-steps``.

    python examples/compare_with_twin.py --run RUN --seeds 1 2 3
    python examples/compare_with_twin.py --run RUN --seeds 1 2 3 --ablation
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
from hypensearch.models.bundled import bundled_model
from hypensearch.models.dual_encoder import QueryEncoder, load_model, token_states
from hypensearch.models.new_model import load_backbone
from hypensearch.models.warm_start import LinearMaps
from hypensearch.train.config import TrainingConfig
from hypensearch.train.embedding_cache import EmbeddingCache
from hypensearch.train.inputs import FrozenInputs
from hypensearch.train.run import MAPS, train
from hypensearch.train.scorers import FixedBlocksScorer, HeadScorer, Scorer, TwinScorer
from hypensearch.train.validation import Validation, read_collection

COLLECTED, TEST_DOCUMENTS, DISTRACTORS = 20_000, 8_000, 2_000
QUERY_LENGTH, DOCUMENT_LENGTH = 64, 128
MEASURE = "RR@10"

COMMON: dict[str, Any] = {
    "num_blocks": 2,
    "pooling": "mean",
    "logit_scale": 20.0,
    "losses": {"cross_entropy": 1.0},
    "num_negatives": 4,
    "mined_negatives": 40,
    "query_length": QUERY_LENGTH,
    "document_length": DOCUMENT_LENGTH,
    "batch_size": 64,
    "scheduler": "linear",
    "warmup_steps": 25,
    "start_decay": 1.0,
    "eval_steps": 50,
    "measures": [MEASURE],
    "resume": True,
}
TWIN = {"architecture": "twin", "learning_rate": 5e-4}
HEAD = {"start": "warm", "freeze_encoder": True, "fixed_blocks": True}
ATTENTION = {**HEAD, "attention_only": True, "learning_rate": 3e-4}
TOWERS = {**HEAD, "static_bias": True, "learning_rate": 1e-4, "dropout": 0.1}
HYPENCODER = ATTENTION

#: Ablation: what differs from the Hypencoder, which has 2 blocks, a residual, mined negatives and the twin's maps.
ABLATION: dict[str, dict[str, Any]] = {
    "depth: 1 block (no residual)": {**HYPENCODER, "num_blocks": 1},
    "depth: 4 blocks": {**HYPENCODER, "num_blocks": 4},
    "loss: in-batch negatives only": {**HYPENCODER, "num_negatives": 0, "mined_negatives": 0},
    "loss: own negatives only": {**HYPENCODER, "losses": {"cross_entropy_own": 1.0}},
    "start: the backbone's cosine": {**HYPENCODER, "start_maps": ""},
    "trained: blocks and final weight": TOWERS,
    "trained: last bias as well": {**HEAD, "learning_rate": 1e-5, "projection_rate": 0.1, "dropout": 0.1},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--backbone", default=str(bundled_model()), help="encoder; the one inside the package if left out"
    )
    parser.add_argument("--run", type=Path, required=True, help="folder for data, encodings and models")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--packages", nargs="*", default=[], help="more installed packages to take training pairs from")
    parser.add_argument("--pairs", type=int, help="training pairs, chosen by hash; all if left out")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--head-steps", type=int, default=200, help="those of the Hypencoder after the twin's")
    parser.add_argument("--ablation", action="store_true", help="train the variants of the first seed as well")
    parser.add_argument("--data-only", action="store_true", help="make the data and train nothing")
    parser.add_argument("--no-test", action="store_true", help="leave the test topics unmeasured")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if not (args.run / "train.jsonl").is_file():
        write_data(args.run, tuple(args.packages), args.pairs)
    if args.data_only:
        return
    scorers: dict[str, list[Path]] = {"twin": [], "hypencoder": []}
    for seed in args.seeds:
        scorers["twin"].append(trained(args, f"twin-{seed}", {**TWIN, "max_steps": args.steps, "seed": seed}))
        first = trained(args, f"first-{seed}", {**TWIN, "max_steps": args.steps - args.head_steps, "seed": seed})
        settings = {"start_maps": str(first), **HYPENCODER, "max_steps": args.head_steps, "seed": seed}
        scorers["hypencoder"].append(trained(args, f"hypencoder-{seed}", settings))
    if args.ablation:
        seed = args.seeds[0]
        for name, changes in ABLATION.items():
            settings = {"start_maps": str(args.run / f"first-{seed}"), **changes, "seed": seed}
            settings["max_steps"] = args.head_steps if settings["start_maps"] else args.steps
            scorers[name] = [trained(args, f"{''.join(c if c.isalnum() else '-' for c in name)}-{seed}", settings)]
    for name, folders in scorers.items():
        print(f"{name:32}", *(validated(folder) for folder in folders), "on validation topics", flush=True)
    if not args.no_test:
        report(measured(args, scorers), args.run / "report.json")


def write_data(run: Path, packages: tuple[str, ...], count: int | None) -> None:
    """Write both held-out collections and, last, the training pairs."""
    known = docstrings.collect(max_topics=100_000)
    topics = [
        (topic, known.corpus[docid])
        for number, topic in known.topics("validation").items()
        for docid in known.qrels("validation")[number]
    ]
    more = docstrings.collect((*docstrings.PACKAGES, *packages), max_topics=100_000) if packages else known
    pairs = sorted(more.pairs(), key=lambda pair: percentile(pair[0], 1 << 60))[:count]
    distractors = sorted((text for _, text in pairs), key=lambda text: percentile(text, 1 << 60))[:DISTRACTORS]
    write_collection(run / "validation", topics, distractors)
    write_test(run / "test")
    write_lines(run / "train.jsonl", (json.dumps({"query": q, "positive": d}) for q, d in pairs))


def write_test(folder: Path) -> None:
    """Write all test topics with their documents and, by hash, some of the others."""
    test = docstrings.collect(max_docs=COLLECTED, max_topics=100_000)
    wanted = {docid for grades in test.qrels("test").values() for docid in grades}
    kept = set(sorted(test.corpus, key=lambda d: (d not in wanted, percentile(d, 1 << 60)))[:TEST_DOCUMENTS])
    lines = [json.dumps({"id": d, "contents": text}) for d, text in test.corpus.items() if d in kept]
    write_lines(folder / "corpus.jsonl", lines)
    docstrings.write_topics(test, folder / "topics.tsv")
    docstrings.write_qrels(test, folder / "qrels.txt")


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


def validated(folder: Path) -> str:
    """Return a run's measure on the validation topics, at its start and its best."""
    figures = json.loads((folder / "training" / "report.json").read_text())
    return f"{figures['start']['eval_mean']:.4f} -> {figures['end']['eval_mean']:.4f}"


def measured(args: argparse.Namespace, models: dict[str, list[Path]]) -> dict[str, Any]:
    """Measure on the test topics: reciprocal rank within 10 of each topic, for each seed."""
    transformer, tokenizer = load_backbone(args.backbone)
    collection = read_collection(args.run / "test")
    caches = (
        EmbeddingCache(args.run / "cache", transformer, tokenizer, pooling=pooling, max_length=length)
        for pooling, length in ((None, QUERY_LENGTH), ("mean", DOCUMENT_LENGTH))
    )
    inputs = FrozenInputs(*caches, collection.topics.values(), collection.documents)
    validation = Validation([collection], inputs, measures=[MEASURE])

    def reciprocal_ranks(scorer: Scorer) -> np.ndarray:
        (by_topic,) = validation.evaluate(scorer, collection).per_topic.values()
        return np.array([by_topic[topic] for topic in collection.topics])

    backbone = TwinScorer(LinearMaps.identity(transformer), "mean", 20.0)
    values = {"backbone": reciprocal_ranks(backbone)[None]}
    for name, folders in models.items():
        values[name] = np.stack([reciprocal_ranks(scorer_of(folder, transformer)) for folder in folders])
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
    return FixedBlocksScorer(head, scale, scale, static_bias=static)


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
        print(f"{name:32}", json.dumps(figures[name]), flush=True)
    path.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
