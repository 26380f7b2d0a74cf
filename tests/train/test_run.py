# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hypensearch.errors import HypensearchError
from hypensearch.models import load_model
from hypensearch.train.config import TrainingConfig
from hypensearch.train.run import train

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


@pytest.fixture
def settings(backbone: Path, data: Path, tmp_path: Path) -> Any:
    def make(**changes: Any) -> TrainingConfig:
        paths = {
            "backbone": str(backbone),
            "train": [str(data / "train.jsonl")],
            "validation": [str(data / "held_out")],
            "output": str(tmp_path / "model"),
            "cache": str(tmp_path / "cache"),
        }
        return TrainingConfig(**{**COMMON, **paths, **changes})

    return make


KINDS: dict[str, dict[str, Any]] = {
    "cold": {},
    "cls": {"pooling": "cls"},
    "warm": {"start": "warm"},
    "separate": {"start": "warm", "shared_encoder": False},
    "biencoder": {"architecture": "biencoder"},
    "matryoshka": {"widths": [8, 32]},
    "frozen": {"start": "warm", "freeze_encoder": True, "mined_negatives": 5, "blend": True, "start_decay": 0.1},
    "fixed blocks": {"start": "warm", "freeze_encoder": True, "fixed_blocks": True, "dropout": 0.1},
    "twin": {"architecture": "twin"},
    "checkpointing": {"gradient_checkpointing": True, "gradient_accumulation": 2},
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_trains_and_loads(settings: Any, kind: str) -> None:
    config = settings(**{**KINDS[kind], "max_steps": 4, "eval_steps": 2, "validation": []})
    trained = train(config) if not config.blend else train(settings(**{**KINDS[kind], "max_steps": 4, "eval_steps": 2}))
    loaded = load_model(config.output)
    vectors = torch.from_numpy(trained.encode_documents(["w1 f1", "w2 f2 f3"]))
    assert torch.equal(vectors, torch.from_numpy(loaded.encode_documents(["w1 f1", "w2 f2 f3"])))
    assert torch.equal(trained.encode_queries(["w1"])(vectors), loaded.encode_queries(["w1"])(vectors))


@pytest.mark.parametrize("architecture", ["hypencoder", "biencoder"])
def test_learns_a_signal_and_not_noise(settings: Any, data: Path, architecture: str) -> None:
    reached = {}
    for name in ("train", "shuffled"):
        config = settings(
            architecture=architecture,
            start="warm",
            train=[str(data / f"{name}.jsonl")],
            output=str(data / f"{architecture}-{name}"),
            max_steps=60,
        )
        train(config)
        reached[name] = json.loads((Path(config.output) / "training" / "report.json").read_text())["end"]["eval_mrr"]
        shutil.rmtree(config.output)
    assert reached["train"] > 0.9
    assert reached["shuffled"] < reached["train"] - 0.2


@pytest.mark.parametrize("changes", [{}, {"start": "warm", "freeze_encoder": True, "dropout": 0.2, "start_decay": 0.5}])
def test_a_resumed_run_ends_with_the_same_weights(settings: Any, tmp_path: Path, changes: dict[str, Any]) -> None:
    changes = {"max_steps": 12, "eval_steps": 4, "dropout": 0.1, **changes, "batch_size": 64}
    whole = train(settings(**changes, output=str(tmp_path / "whole")))
    train(settings(**changes, output=str(tmp_path / "cut")))
    for step in (12, 8):
        shutil.rmtree(tmp_path / "cut" / "training" / f"checkpoint-{step}", ignore_errors=step == 12)
    shutil.copytree(tmp_path / "whole" / "training" / "checkpoint-8", tmp_path / "cut" / "training" / "checkpoint-8")
    resumed = train(settings(**changes, output=str(tmp_path / "cut"), resume=True))
    for (name, a), b in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def test_randomness_of_the_caller_is_left_alone(settings: Any) -> None:
    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    expected = (random.random(), np.random.rand(), torch.rand(1).item())
    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    train(settings(max_steps=1, eval_steps=1))
    assert (random.random(), np.random.rand(), torch.rand(1).item()) == expected


def test_a_loss_that_is_no_number_stops_and_keeps_the_checkpoints(settings: Any, tmp_path: Path) -> None:
    record = {"query": "w1", "items": [{"content": "w1 f1", "score": 1}, {"content": "f2", "score": 1e30}]}
    path = tmp_path / "huge.jsonl"
    path.write_text((json.dumps(record) + "\n") * 40)
    with pytest.raises(HypensearchError, match="the loss is inf after step 0"):
        train(settings(train=[str(path)], losses={"margin_mse": 1.0}))


def test_two_runs_do_not_mix(settings: Any) -> None:
    train(settings(max_steps=2, eval_steps=2))
    with pytest.raises(HypensearchError, match="--resume it"):
        train(settings(max_steps=2, eval_steps=2))
