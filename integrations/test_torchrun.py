# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Two processes of torchrun train what one process does with batches twice as large."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from hypensearch.models import load_model

STEPS = 100
WORDS = [f"w{i}" for i in range(40)]
DISTILLED = {"losses": {"cross_entropy": 1, "distil": 1}, "distil_from": "backbone"}


@pytest.mark.parametrize("changes", [{}, DISTILLED], ids=["plain", "distilled"])
def test_two_processes_equal_one(backbone: Path, data: Path, tmp_path: Path, changes: dict[str, object]) -> None:
    config = json.loads((backbone / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (backbone / "config.json").write_text(json.dumps(config))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "29613", "-m"]
    one = run([sys.executable, "-m"], 16, backbone, data, tmp_path / "one", **changes)
    other_order = run([sys.executable, "-m"], 16, backbone, data, tmp_path / "chunks", **changes, chunk_size=8)
    two = run(torchrun, 8, backbone, data, tmp_path / "two", **changes)
    assert torch.allclose(losses(one), losses(two), atol=1e-3)
    rounding = float((scores(one) - scores(other_order)).abs().max())  # Adam makes steps of it where gradients are 0
    found = float((scores(one) - scores(two)).abs().max())
    assert found < 0.01 * scores(one).std() + 3 * rounding


def losses(output: Path) -> torch.Tensor:
    history = (output / "training" / "history.jsonl").read_text().splitlines()
    return torch.tensor([entry["loss"] for entry in map(json.loads, history) if "loss" in entry])


def scores(output: Path) -> torch.Tensor:
    model = load_model(str(output))
    return model.encode_queries(["w1 f1", "w2", "w7 f3"])(torch.from_numpy(model.encode_documents(WORDS)))


def run(launcher: list[str], batch_size: int, backbone: Path, data: Path, output: Path, **more: object) -> Path:
    settings = {
        "backbone": str(backbone),
        "train": [str(data / "train.jsonl")],
        "output": str(output),
        "pooling": "mean",
        "num_blocks": 2,
        "start": "warm",
        "losses": {"cross_entropy": 1},
        "num_negatives": 1,
        "batch_size": batch_size,
        "max_steps": STEPS,
        "eval_steps": STEPS,
        "warmup_steps": 10,
        "learning_rate": 1e-4,
        **more,
    }
    config = output.with_suffix(".yaml")  # torchrun takes some of our flags for abbreviations of its own
    config.write_text(json.dumps(settings))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    finished = subprocess.run(
        [*launcher, "hypensearch.train", "--config", str(config)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert finished.returncode == 0, finished.stderr[-2000:]
    return output
