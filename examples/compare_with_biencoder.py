# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Does a Hypencoder beat the bi-encoder trained beside it? Same backbone, data, number of steps and seeds.

Known items of documentation strings: summaries must find the rest of their documentation. Training pairs, validation
and test topics are of different source files. Both models start as the backbone's bi-encoder and are trained whole,
with in-batch negatives; their last weights are measured. Settings were chosen on the validation topics (``--no-test``);
the test topics are only measured.

    python examples/compare_with_biencoder.py --run RUN --seeds 1 2 3
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import norm, sem, ttest_rel

from hypensearch.demo import docstrings
from hypensearch.formats.qrels import write_qrels
from hypensearch.formats.write_topics import write_topics
from hypensearch.models import load_model
from hypensearch.models.checkpoint import bundled_model
from hypensearch.train.batches import Tokens
from hypensearch.train.config import TrainingConfig
from hypensearch.train.model import TrainingModel
from hypensearch.train.run import train
from hypensearch.train.validation import Collection, Validation, read_collection

COLLECTED, TEST_DOCUMENTS, DISTRACTORS = 20_000, 8_000, 2_000
TEXT_LENGTH = 32
MEASURE = "RR@10"
ARCHITECTURES = ("biencoder", "hypencoder")  # the first is the baseline

SETTINGS: dict[str, Any] = {
    "num_blocks": 2,
    "pooling": "mean",
    "start": "warm",
    "logit_scale": 20.0,
    "losses": {"cross_entropy": 1.0},
    "num_negatives": 0,
    "query_length": TEXT_LENGTH,
    "document_length": TEXT_LENGTH,
    "batch_size": 32,
    "scheduler": "linear",
    "warmup_steps": 10,
    "eval_steps": 50,
    "resume": True,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--backbone", default=str(bundled_model()), help="the encoder inside the package if left out")
    parser.add_argument("--run", type=Path, required=True, help="folder for data and models")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--pairs", type=int, default=5000, help="training pairs, chosen by hash")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--learning-rate", type=float, default=5e-5, help="of both models")
    parser.add_argument("--data-only", action="store_true", help="make the data and train nothing")
    parser.add_argument("--test-documents", type=int, default=2000, help="measure over so many")
    parser.add_argument("--no-test", action="store_true", help="leave the test topics unmeasured")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if not (args.run / "train.jsonl").is_file():
        write_data(args.run, args.pairs)
    if args.data_only:
        return
    models = {kind: [trained(args, kind, seed) for seed in args.seeds] for kind in ARCHITECTURES}
    for name in ("validation",) if args.no_test else ("validation", "test"):
        collection = of_size(read_collection(args.run / name), args.test_documents)
        print(len(collection.topics), "topics over", len(collection.documents), "documents of", name, flush=True)
        report({kind: measured(folders, collection) for kind, folders in models.items()}, args.run / f"{name}.json")


def trained(args: argparse.Namespace, architecture: str, seed: int) -> Path:
    """Train a model unless that was done before."""
    folder: Path = args.run / f"{architecture}-{args.steps}-{args.learning_rate}-{seed}"
    if not (folder / "config.json").is_file():
        changes = {
            "architecture": architecture,
            "backbone": args.backbone,
            "train": [str(args.run / "train.jsonl")],
            "output": str(folder),
            "max_steps": args.steps,
            "learning_rate": args.learning_rate,
            "seed": seed,
        }
        train(TrainingConfig(**SETTINGS, **changes))
    return folder


def measured(folders: list[Path], collection: Collection) -> np.ndarray:
    """Return reciprocal ranks, *Shape:* ``(num_models, num_topics)``."""
    ranks = []
    for folder in folders:
        model = load_model(str(folder))
        assert model.tokenizer is not None
        tokens = Tokens(model.tokenizer, query_length=TEXT_LENGTH, document_length=TEXT_LENGTH)
        validation = Validation([collection], tokens, measures=[MEASURE])
        (by_topic,) = validation.evaluate(TrainingModel(model, {}).eval(), collection).per_topic.values()
        ranks.append([by_topic[topic] for topic in collection.topics])
    return np.array(ranks)


def report(values: dict[str, np.ndarray], path: Path) -> None:
    """Print MRR@10 by seed, and how the topics' means over seeds differ from the first model's, in a paired t-test."""
    baseline = next(iter(values.values()))
    figures: dict[str, Any] = {"topics": int(baseline.shape[1])}
    for name, ranks in values.items():
        figures[name] = {"MRR@10": ranks.mean(axis=1).round(4).tolist()}
        if ranks is not baseline:
            figures[name] |= paired(ranks.mean(axis=0), baseline.mean(axis=0))
        print(f"{name:12}", json.dumps(figures[name]), flush=True)
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


def write_data(run: Path, count: int) -> None:
    """Write both held-out collections and, last, the training pairs."""
    known = docstrings.collect(max_topics=100_000)
    topics = [
        (topic, known.corpus[docid])
        for number, topic in known.topics("validation").items()
        for docid in known.qrels("validation")[number]
    ]
    pairs = sorted(known.pairs(), key=lambda pair: number_of(pair[0]))[:count]
    distractors = sorted((text for _, text in pairs), key=number_of)[:DISTRACTORS]
    write_validation(run / "validation", topics, distractors)
    write_test(run / "test")
    write_lines(run / "train.jsonl", (json.dumps({"query": q, "positive": d}) for q, d in pairs))


def write_validation(folder: Path, pairs: list[tuple[str, str]], distractors: list[str]) -> None:
    """Write a collection of known items and of texts that answer no topic."""
    docids = {text: f"d{i}" for i, text in enumerate(dict.fromkeys([*(d for _, d in pairs), *distractors]))}
    write_lines(folder / "corpus.jsonl", (json.dumps({"id": i, "contents": text}) for text, i in docids.items()))
    write_lines(folder / "topics.tsv", (f"{n}\t{' '.join(q.split())}" for n, (q, _) in enumerate(pairs, 1)))
    write_lines(folder / "qrels.txt", (f"{n} 0 {docids[d]} 1" for n, (_, d) in enumerate(pairs, 1)))


def write_test(folder: Path) -> None:
    """Write all test topics with their documents and, by hash, some of the others."""
    test = docstrings.collect(max_docs=COLLECTED, max_topics=100_000)
    wanted = {docid for grades in test.qrels("test").values() for docid in grades}
    kept = set(sorted(test.corpus, key=lambda d: (d not in wanted, number_of(d)))[:TEST_DOCUMENTS])
    lines = [json.dumps({"id": d, "contents": text}) for d, text in test.corpus.items() if d in kept]
    write_lines(folder / "corpus.jsonl", lines)
    write_topics(folder / "topics.tsv", test.topics())
    write_qrels(folder / "qrels.txt", test.qrels())


def of_size(collection: Collection, count: int) -> Collection:
    """Leave out documents, by hash, that answer no topic."""
    wanted = {docid for grades in collection.qrels.values() for docid in grades}
    pairs = zip(collection.docids, collection.documents, strict=True)
    kept = dict(sorted(pairs, key=lambda pair: (pair[0] not in wanted, number_of(pair[1])))[:count])
    return replace(collection, docids=list(kept), documents=list(kept.values()))


def number_of(text: str) -> int:
    """Return a text's hash."""
    return int.from_bytes(hashlib.sha1(text.encode()).digest()[:8], "big") % (1 << 60)


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write a file, and its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(line + "\n" for line in lines)


if __name__ == "__main__":
    main()
