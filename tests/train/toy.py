# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""A tiny backbone, and records with a signal that it can learn: a query's word stands in its document."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertConfig, BertModel, BertTokenizerFast

from hypensearch.train.config import TrainingConfig

WORDS = [f"w{i}" for i in range(40)]
FILLERS = [f"f{i}" for i in range(20)]

COMMON: dict[str, Any] = {
    "pooling": "mean",
    "num_blocks": 2,
    "losses": {"cross_entropy": 1.0},
    "num_negatives": 1,
    "batch_size": 16,
    "scheduler": "constant",
    "warmup_steps": 0,
    "max_steps": 40,
    "eval_steps": 20,
    "learning_rate": 1e-3,
}


@pytest.fixture(scope="session")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_backbone(tmp_path_factory.mktemp("backbone"))


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture
def settings(backbone: Path, data: Path, tmp_path: Path) -> Any:
    return lambda **changes: make_settings(backbone, data, tmp_path, **changes)


def make_backbone(folder: Path) -> Path:
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *FILLERS]
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=256,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder


def make_data(folder: Path) -> Path:
    """``train.jsonl``, ``shuffled.jsonl`` (its documents dealt out again), and ``held_out``, a collection."""
    rng = random.Random(1)
    records = [record(rng, WORDS[i % len(WORDS)]) for i in range(400)]
    write(folder / "train.jsonl", records)
    positives = [r["positive"] for r in records]
    rng.shuffle(positives)
    write(folder / "shuffled.jsonl", [{**r, "positive": d} for r, d in zip(records, positives, strict=True)])
    write(folder / "scored.jsonl", [scored(rng, r) for r in records])
    held_out = [record(rng, word) for word in WORDS]
    (folder / "held_out").mkdir()
    documents = [{"id": f"d{i}", "contents": r["positive"]} for i, r in enumerate(held_out)]
    write(folder / "held_out" / "corpus.jsonl", documents)
    (folder / "held_out" / "topics.tsv").write_text("".join(f"{i}\t{r['query']}\n" for i, r in enumerate(held_out)))
    (folder / "held_out" / "qrels.txt").write_text("".join(f"{i} 0 d{i} 1\n" for i in range(len(held_out))))
    return folder


def make_settings(backbone: Path, data: Path, folder: Path, /, **changes: Any) -> TrainingConfig:
    """Settings of a run that writes below a folder."""
    train_file = changes.pop("train_file", "train")
    paths = {
        "backbone": str(backbone),
        "train": [str(data / f"{train_file}.jsonl")],
        "validation": [str(data / "held_out")],
        "output": str(folder / "model"),
    }
    return TrainingConfig(**{**COMMON, **paths, **changes})


def record(rng: random.Random, word: str) -> dict[str, object]:
    positive, negative = (" ".join([w, *rng.sample(FILLERS, 4)]) for w in (word, rng.choice(WORDS)))
    return {"query": f"{word} {rng.choice(FILLERS)}", "positive": positive, "negatives": [negative]}


def scored(rng: random.Random, record: dict[str, object]) -> dict[str, object]:
    """The same record with a teacher's scores."""
    (negative,) = record["negatives"]  # type: ignore[misc]
    texts = (record["positive"], 5 + rng.random()), (negative, rng.random())
    items = [{"content": text, "score": score} for text, score in texts]
    return {"query": {"content": record["query"]}, "items": items}


def write(path: Path, records: list[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(r) + "\n" for r in records))
