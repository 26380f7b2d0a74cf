# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Does a Hypencoder beat the bi-encoder trained beside it? Same backbone, data, number of steps and seeds.

Known items of documentation strings: summaries must find the rest of their documentation. Training pairs, validation
and test topics are of different source files. Settings were chosen on the validation topics (``--no-test``); the test
topics are only measured. For each seed:

- twin: the bi-encoder, two 384 x 384 maps, ``--steps``;
- hypencoder: the same for fewer steps, folded into a warm start, whose attention over the query is then trained
  for the rest, ``--head-steps``.

With ``--train-encoder`` the encoder is trained along, ``--steps`` for both: a plain bi-encoder, and a warm-started
Hypencoder with all of its hyper head; in-batch negatives, shorter texts. The last weights are measured.

    python examples/compare_with_twin.py --run RUN --seeds 1 2 3
    python examples/compare_with_twin.py --run RUN --seeds 1 2 3 --ablation
    python examples/compare_with_twin.py --run RUN --seeds 1 2 3 --train-encoder --steps 150 --test-documents 2000
"""

from __future__ import annotations

import argparse
import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from scipy.stats import norm, sem, ttest_rel
from train_bundled_model_data import percentile, write_collection, write_lines

from hypensearch.demo import docstrings
from hypensearch.models.bundled import bundled_model
from hypensearch.models.dual_encoder import QueryEncoder, load_model, token_states
from hypensearch.models.new_model import load_backbone
from hypensearch.models.warm_start import LinearMaps
from hypensearch.train.config import TrainingConfig
from hypensearch.train.embedding_cache import EmbeddingCache
from hypensearch.train.inputs import FrozenInputs, TokenInputs
from hypensearch.train.run import MAPS, train
from hypensearch.train.scorers import FixedBlocksScorer, HeadScorer, Scorer, TextScorer, TwinScorer
from hypensearch.train.validation import Collection, Validation, read_collection

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

#: With the encoder trained along: both architectures start as the backbone and have the same of everything.
TEXT_LENGTH = 32
ENCODER: dict[str, Any] = {
    "start": "warm",
    "num_negatives": 0,
    "mined_negatives": 0,
    "query_length": TEXT_LENGTH,
    "document_length": TEXT_LENGTH,
    "batch_size": 32,
    "learning_rate": 5e-5,
    "warmup_steps": 10,
    "start_decay": 0.0,
    "validation": [],
}
ENCODER_ARMS = ("biencoder", "hypencoder")

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
    parser.add_argument("--negatives", type=int, default=4, help="mined ones of each query; of the step's, all count")
    parser.add_argument(
        "--train-encoder", action="store_true", help="train the encoder along, of a plain bi-encoder too"
    )
    parser.add_argument("--learning-rate", type=float, help="with --train-encoder; of both models")
    parser.add_argument("--ablation", action="store_true", help="train the variants of the first seed as well")
    parser.add_argument("--data-only", action="store_true", help="make the data and train nothing")
    parser.add_argument("--test-documents", type=int, default=TEST_DOCUMENTS, help="measure over so many")
    parser.add_argument("--no-test", action="store_true", help="leave the test topics unmeasured")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if not (args.run / "train.jsonl").is_file():
        write_data(args.run, tuple(args.packages), args.pairs)
    if args.data_only:
        return
    if args.train_encoder:
        models = with_encoders(args)
        report(measured(args, models, "validation"), "biencoder", args.run / "report-encoders-validation.json")
    else:
        models = over_frozen_encoder(args)
        for name, folders in models.items():
            print(f"{name:32}", *(validated(folder) for folder in folders), "on validation topics", flush=True)
    if not args.no_test:
        baseline = next(iter(models))
        report(measured(args, models, "test"), baseline, args.run / f"report{'-encoders' * args.train_encoder}.json")


def with_encoders(args: argparse.Namespace) -> dict[str, list[Path]]:
    """Train the bi-encoder and the Hypencoder, encoders and all."""
    models: dict[str, list[Path]] = {arm: [] for arm in ENCODER_ARMS}
    rate = args.learning_rate or ENCODER["learning_rate"]
    tag = f"-rate-{rate}" if rate != ENCODER["learning_rate"] else ""
    for seed in args.seeds:
        for arm, folders in models.items():
            settings = {**ENCODER, "architecture": arm, "max_steps": args.steps, "learning_rate": rate, "seed": seed}
            folders.append(trained(args, f"{arm}-with-encoder{tag}-{seed}", settings))
    return models


def over_frozen_encoder(args: argparse.Namespace) -> dict[str, list[Path]]:
    """Train the twin, the Hypencoder and, where asked for, the ablation's variants."""
    models: dict[str, list[Path]] = {"twin": [], "hypencoder": []}
    negatives = {"num_negatives": args.negatives}
    tag = f"-{args.negatives}-negatives" if args.negatives != COMMON["num_negatives"] else ""
    for seed in args.seeds:
        twin = {**TWIN, **negatives, "seed": seed}
        models["twin"].append(trained(args, f"twin{tag}-{seed}", {**twin, "max_steps": args.steps}))
        first = trained(args, f"first{tag}-{seed}", {**twin, "max_steps": args.steps - args.head_steps})
        settings = {"start_maps": str(first), **HYPENCODER, **negatives, "max_steps": args.head_steps, "seed": seed}
        models["hypencoder"].append(trained(args, f"hypencoder{tag}-{seed}", settings))
    if args.ablation:
        seed = args.seeds[0]
        for name, changes in ABLATION.items():
            settings = {"start_maps": str(args.run / f"first{tag}-{seed}"), **negatives, **changes, "seed": seed}
            settings["max_steps"] = args.head_steps if settings["start_maps"] else args.steps
            variant = "".join(c if c.isalnum() else "-" for c in name)
            models[name] = [trained(args, f"{variant}{tag}-{seed}", settings)]
    return models


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


def measured(args: argparse.Namespace, models: dict[str, list[Path]], name: str) -> dict[str, np.ndarray]:
    """Return each topic's reciprocal rank within 10 for each seed, and that of the backbone's cosine."""
    query_length, document_length = (TEXT_LENGTH,) * 2 if args.train_encoder else (QUERY_LENGTH, DOCUMENT_LENGTH)
    transformer, tokenizer = load_backbone(args.backbone)
    collection = of_size(read_collection(args.run / name), args.test_documents)
    caches = (
        EmbeddingCache(args.run / "cache", transformer, tokenizer, pooling=pooling, max_length=length)
        for pooling, length in ((None, query_length), ("mean", document_length))
    )
    tokens = TokenInputs(tokenizer, query_length=query_length, document_length=document_length)
    encodings = FrozenInputs(*caches, collection.topics.values(), collection.documents)

    def reciprocal_ranks(scorer: Scorer) -> np.ndarray:
        inputs = tokens if isinstance(scorer, TextScorer) else encodings
        validation = Validation([collection], inputs, measures=[MEASURE])
        (by_topic,) = validation.evaluate(scorer, collection).per_topic.values()
        return np.array([by_topic[topic] for topic in collection.topics])

    def scorer(folder: Path) -> Scorer:
        return TextScorer(load_model(str(folder)).eval()) if args.train_encoder else scorer_of(folder, transformer)

    values = {
        name: np.stack([reciprocal_ranks(scorer(folder)) for folder in folders]) for name, folders in models.items()
    }
    print(len(collection.topics), "topics over", len(collection.documents), "documents of", collection.name, flush=True)
    return {**values, "backbone": reciprocal_ranks(TwinScorer(LinearMaps.identity(transformer), "mean", 20.0))[None]}


def of_size(collection: Collection, count: int) -> Collection:
    """Leave out documents, by hash, that answer no topic."""
    wanted = {docid for grades in collection.qrels.values() for docid in grades}
    pairs = list(zip(collection.docids, collection.documents, strict=True))
    kept = dict(sorted(pairs, key=lambda pair: (pair[0] not in wanted, percentile(pair[1], 1 << 60)))[:count])
    return replace(collection, docids=list(kept), documents=list(kept.values()))


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


def report(values: dict[str, np.ndarray], baseline: str, path: Path) -> None:
    """Print MRR@10 by seed, and what the topics' means over seeds differ by from the baseline's, in a paired t-test."""
    figures: dict[str, Any] = {"topics": int(values[baseline].shape[1])}
    for name, ranks in values.items():
        figures[name] = {"MRR@10": ranks.mean(axis=1).round(4).tolist()}
        if name != baseline:
            seeds = min(len(ranks), len(values[baseline]))
            figures[name] |= paired(ranks[:seeds].mean(axis=0), values[baseline][:seeds].mean(axis=0))
        print(f"{name:32}", json.dumps(figures[name]), flush=True)
    path.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def paired(ranks: np.ndarray, baseline: np.ndarray) -> dict[str, Any]:
    """Return the mean gain with its 95 % interval, p, and the gain that a test at 5 % finds four times in five."""
    test = ttest_rel(ranks, baseline)
    interval = test.confidence_interval(0.95)
    return {
        "gain": round(float((ranks - baseline).mean()), 4),
        "95 %": [round(float(interval.low), 4), round(float(interval.high), 4)],
        "p": float(test.pvalue),
        "found with power .8": round(float((norm.ppf(0.975) + norm.ppf(0.8)) * sem(ranks - baseline)), 4),
    }


if __name__ == "__main__":
    main()
