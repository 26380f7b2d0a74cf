# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from hypensearch.train import step_profile
from hypensearch.train.config import TrainingConfig
from hypensearch.train.run import _prepare, _profile, train
from hypensearch.train.scorers import LossModel
from hypensearch.train.step_profile import PARTS, _Clock, _step

KINDS: dict[str, dict[str, Any]] = {
    "whole": {"start": "warm"},
    "biencoder": {"architecture": "biencoder"},
    "frozen": {"start": "warm", "freeze_encoder": True},
    "fixed blocks": {"start": "warm", "freeze_encoder": True, "fixed_blocks": True},
    "twin": {"architecture": "twin"},
}


@pytest.fixture
def settings(backbone: Path, data: Path, tmp_path: Path) -> Any:
    def make(**changes: Any) -> TrainingConfig:
        paths: dict[str, Any] = {
            "backbone": str(backbone),
            "train": [str(data / "train.jsonl")],
            "output": str(tmp_path / "model"),
            "cache": str(tmp_path / "cache"),
        }
        usual: dict[str, Any] = {
            "pooling": "mean",
            "num_blocks": 2,
            "losses": {"cross_entropy": 1.0},
            "num_negatives": 1,
            "batch_size": 16,
            "max_steps": 2,
            "eval_steps": 2,
            "warmup_steps": 0,
        }
        return TrainingConfig(**{**paths, **usual, **changes})

    return make


def gradients(model: LossModel) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("kind", KINDS)
def test_parts_together_give_the_gradients_of_the_whole(settings: Any, kind: str) -> None:
    run = _prepare(settings(**KINDS[kind]))
    batch = run.collator([run.examples[row] for row in range(8)])
    run.loss_model.eval()
    _step(run.loss_model, batch, _Clock(torch.device("cpu")), bf16=False)
    in_parts = gradients(run.loss_model)
    run.loss_model.zero_grad()
    run.loss_model(**batch)["loss"].backward()
    whole = gradients(run.loss_model)
    assert in_parts.keys() == whole.keys()
    for name, gradient in whole.items():
        assert torch.allclose(in_parts[name], gradient, rtol=1e-3, atol=1e-6), name


def test_profiling_counts_steps_and_learns_nothing(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    config = settings(profile_steps=3, start="warm")
    run = _prepare(config)
    before = {name: tensor.clone() for name, tensor in run.loss_model.state_dict().items()}
    ticks = iter(range(1000))
    monkeypatch.setattr(step_profile.time, "perf_counter", lambda: float(next(ticks)))
    profile: Any = _profile(run, config)["profile"]
    assert all(torch.equal(before[name], tensor) for name, tensor in run.loss_model.state_dict().items())
    assert profile["steps"] == 3
    assert profile["seconds"] == {"data": 1, "encoder": 2, "hyper head": 2, "q-nets and loss": 2, "optimizer": 1}
    assert profile["step_seconds"] == 8
    assert profile["peak_memory_mb"] > 50


def test_a_run_reports_its_profile(settings: Any) -> None:
    config = settings(profile_steps=2)
    train(config)
    report = json.loads((Path(config.output) / "training" / "report.json").read_text())
    assert list(report["profile"]["seconds"]) == list(PARTS)
    assert "| hyper head |" in (Path(config.output) / "README.md").read_text()
