# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hypensearch.train.config import TrainingConfig, read_config, to_json
from hypensearch.train.history import append_history, read_history
from hypensearch.train.report import model_card, write_report
from hypensearch.train.run import train

REPORT = {
    "records": {"t.jsonl": 12},
    "start": {"eval_a": 0.25, "eval_mean": 0.25, "eval_seconds": 1},
    "end": {"eval_a": 0.5, "eval_mean": 0.5, "eval_seconds": 1},
    "steps": 7,
    "seconds": 3,
}
HISTORY = [{"step": 0, "eval_a": 0.25, "eval_mean": 0.25}, {"step": 7, "loss": 1.5}, {"step": 7, "eval_mean": 0.5}]


def config() -> TrainingConfig:
    return TrainingConfig(backbone="models/tiny", train=["t.jsonl"], output="o", learning_rate=1e-3)


def test_the_card_says_what_happened() -> None:
    card = model_card(config(), REPORT, has_curves=False)
    lines = card.splitlines()
    wanted = ("# Hypencoder over tiny", "- t.jsonl: 12 records", "| a | 0.2500 | 0.5000 |", "    learning_rate: 0.001")
    for line in wanted:
        assert line in lines
    assert "batch_size" not in card


def test_curves_and_card_are_written(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    write_report(tmp_path, config(), HISTORY, REPORT)
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert "curves.png" in (tmp_path / "README.md").read_text()


def test_a_resumed_runs_steps_count_once(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    summary = {"step": 7, "train_loss": 1.4}  # what transformers logs at the end of a run
    path.write_text("".join(json.dumps(entry) + "\n" for entry in [*HISTORY, {"step": 7, "loss": 1.25}, summary]))
    assert [entry.get("loss") for entry in read_history(tmp_path)] == [None, 1.25, None, None]


def test_the_command_in_the_card_repeats_the_run(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(to_json(config()))
    assert read_config(str(tmp_path / "config.json"), {}) == config()


def test_tensorboard_has_loss_and_measures(settings: Any, tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    train(settings(max_steps=4, eval_steps=2))
    (events,) = (tmp_path / "model" / "training").rglob("events.out.tfevents.*")
    scalars = accumulator.EventAccumulator(str(events.parent)).Reload()
    history = read_history(tmp_path / "model" / "training")
    for tag, key in (
        ("train/loss", "loss"),
        ("eval/mean", "eval_mean"),
        ("eval/held_out_R@100", "eval_held_out_R@100"),
    ):
        logged = [(entry["step"], pytest.approx(entry[key])) for entry in history if key in entry]
        assert [(event.step, event.value) for event in scalars.Scalars(tag)] == logged
        assert len(logged) >= 2


def test_a_line_that_a_kill_has_cut_is_left_out(tmp_path: Path) -> None:
    append_history(tmp_path, {"step": 1, "loss": 2.0})
    with open(tmp_path / "history.jsonl", "a") as file:
        file.write('{"step": 2, "lo')
    append_history(tmp_path, {"step": 2, "loss": 1.0})
    append_history(tmp_path, {"step": 3, "loss": 0.5})
    assert [entry["loss"] for entry in read_history(tmp_path)] == [2.0, 1.0, 0.5]


def test_lines_that_are_no_entries_are_left_out(tmp_path: Path) -> None:
    lines = ["7", '{"loss": 2}', '{"step": "1", "loss": 2}', '{"step": true}', "[" * 3000, '{"step": 1, "loss"']
    (tmp_path / "history.jsonl").write_text("\n".join([*lines[:3], '{"step": 3, "loss": 1.5}', *lines[3:]]))
    assert read_history(tmp_path) == [{"step": 3, "loss": 1.5}]
