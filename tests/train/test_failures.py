# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Runs that are killed, break or are given nonsense: one clear error, and what was good stays."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from hypensearch.device import computes_in
from hypensearch.errors import HypensearchError
from hypensearch.train.checkpoints import last_checkpoint
from hypensearch.train.config import TrainingConfig, to_json
from hypensearch.train.history import read_history
from hypensearch.train.run import train
from hypensearch.train.trainer import HypensearchTrainer
from tests.commands import content, refuse, succeed
from tests.train.toy import make_settings

# Kills its own process, as kill -9 does, before a step or between the files of a checkpoint.
KILLED = """
import os, signal, sys
from hypensearch.train.__main__ import main
from hypensearch.train.trainer import HypensearchTrainer
step, place, arguments = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
usual = getattr(HypensearchTrainer, place)
def dying(self, *given, **named):
    result = usual(self, *given, **named)
    if self.state.global_step >= step:
        os.kill(os.getpid(), signal.SIGKILL)
    return result
setattr(HypensearchTrainer, place, dying)
main(arguments)
"""


LONG = {"max_steps": 12, "eval_steps": 4, "dropout": 0.1, "batch_size": 64, "scheduler": "linear"}


def train_in_own_process(config: TrainingConfig, path: Path, *more: str) -> None:
    """Train in a process that finds nothing of what another left."""
    path.write_text(to_json(config))
    command = [sys.executable, "-m", "hypensearch.train", "--config", str(path), *more]
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture(scope="module")
def uninterrupted(backbone: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uninterrupted")
    train_in_own_process(make_settings(backbone, data, folder, **LONG), folder / "config.json")
    return folder / "model"


@pytest.mark.parametrize(("place", "step"), [("compute_loss", 6), ("_save", 9), ("evaluate", 8)])
def test_killed_and_resumed_ends_with_the_same_weights(
    settings: Any, uninterrupted: Path, tmp_path: Path, place: str, step: int
) -> None:
    config, path, model = settings(**LONG), tmp_path / "config.json", tmp_path / "model"
    path.write_text(to_json(config))
    command = [sys.executable, "-c", KILLED, str(step), place, "--config", str(path)]
    killed = subprocess.run(command, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]
    assert not (model / "model.safetensors").exists()
    train_in_own_process(config, path, "--resume")
    for name in ("model.safetensors", "training/checkpoint-12/model.safetensors"):  # the best weights, and the last
        whole, resumed = load_file(uninterrupted / name), load_file(model / name)
        assert all(torch.equal(whole[key], resumed[key]) for key in whole | resumed), name


def test_a_half_written_checkpoint_does_not_count(settings: Any, tmp_path: Path) -> None:
    config = settings(max_steps=4, eval_steps=2)
    train(config)
    folder = tmp_path / "model" / "training"
    assert last_checkpoint(folder) == folder / "checkpoint-4"
    state = folder / "checkpoint-4" / "trainer_state.json"
    state.write_bytes(state.read_bytes()[:50])
    assert last_checkpoint(folder) == folder / "checkpoint-2"


@pytest.mark.parametrize("changes", [{"validation": []}, {"patience": 1, "learning_rate": 1e-12}])
def test_stopped_behind_the_last_step_no_step_is_added(settings: Any, tmp_path: Path, changes: Any) -> None:
    options = {"max_steps": 4, "eval_steps": 2, **changes}
    whole = train(settings(**options)).state_dict()
    written = content(tmp_path / "model")
    for path in (tmp_path / "model").iterdir():
        if path.is_file():
            path.unlink()
    resumed = train(settings(**options, resume=True)).state_dict()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    again = content(tmp_path / "model")
    assert {name for name in written if written[name] != again[name]} <= {
        "README.md",
        "training/report.json",
        "training/config.json",
    }


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt", "trainer_state.json", "checksums.json"])
def test_a_damaged_checkpoint_does_not_count(settings: Any, tmp_path: Path, name: str) -> None:
    train(settings(max_steps=4, eval_steps=2))
    folder = tmp_path / "model" / "training"
    assert last_checkpoint(folder) == folder / "checkpoint-4"
    content = bytearray((folder / "checkpoint-4" / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "checkpoint-4" / name).write_bytes(content)
    assert last_checkpoint(folder) == folder / "checkpoint-2"


def good_run(settings: Any, tmp_path: Path) -> tuple[TrainingConfig, dict[str, bytes]]:
    config = settings(max_steps=4, eval_steps=2, train_file="scored", losses={"margin_mse": 1.0})
    train(config)
    (tmp_path / "c.json").write_text(to_json(config))
    return config, content(tmp_path / "model")


BAD_RECORDS: dict[str, tuple[Any, str]] = {
    "label_key absent": (
        {"query": "q", "items": [{"content": "a", "rank": 1}, {"content": "b", "rank": 2}]},
        "line 1: an item has no 'score', which the losses need (see --label-key)",
    ),
    "one candidate": (
        {"query": "q", "items": [{"content": "a", "score": 1}]},
        "line 1: 0 negatives, the losses need at least 1",
    ),
    "empty query": ({"query": " ", "items": [{"content": "a", "score": 1}]}, "line 1: query is empty"),
    "score is a word": ({"query": "q", "items": [{"content": "a", "score": "x"}]}, "score 'x' is not a number"),
    "NaN score": (
        {"query": "q", "items": [{"content": "a", "score": float("nan")}, {"content": "b", "score": 1}]},
        "line 1: an item has no 'score'",
    ),
}


@pytest.mark.parametrize("kind", BAD_RECORDS)
def test_bad_records_are_one_error_and_harm_nothing(settings: Any, tmp_path: Path, kind: str) -> None:
    _, before = good_run(settings, tmp_path)
    record, message = BAD_RECORDS[kind]
    (tmp_path / "bad.jsonl").write_text(json.dumps(record) + "\n")
    for more in ([], ["--output", tmp_path / "new"]):
        error = refuse("train", "--config", tmp_path / "c.json", "--train", tmp_path / "bad.jsonl", *more)
        assert message in error or "holds the checkpoints of another run" in error
    assert message in error
    assert content(tmp_path / "model") == before
    assert not (tmp_path / "new").exists()


def test_bad_settings_harm_nothing(settings: Any, tmp_path: Path) -> None:
    config, before = good_run(settings, tmp_path)
    for flags, message in (
        (["--train", tmp_path / "none.jsonl", "--output", tmp_path / "new"], "no such file of training records"),
        (["--validation", tmp_path, "--output", tmp_path / "new"], "corpus.jsonl"),
        (["--backbone", "/no/such", "--output", tmp_path / "new"], "--backbone /no/such: cannot be loaded"),
        (["--learning-rate", "0.5", "--resume"], "--resume: the run in"),
        (["--num-blocks", "3", "--resume"], "has num_blocks 2: resume it with the same"),
        (["--push-to-hub", "u/n", "--output", tmp_path / "new"], "HF_HUB_OFFLINE is set"),
        ([], "holds the checkpoints of another run: --resume it"),
    ):
        assert message in refuse("train", "--config", tmp_path / "c.json", *flags)
    assert content(tmp_path / "model") == before
    assert not (tmp_path / "new").exists()


def test_a_loss_that_is_no_number_keeps_the_last_good_checkpoint(settings: Any, tmp_path: Path) -> None:
    """Good records, and one whose score is absurd, met in the third step at the earliest."""
    good = {"query": "w1", "items": [{"content": "w1 f1", "score": 3}, {"content": "f2", "score": 1}]}
    absurd = {"query": "w2", "items": [{"content": "w2 f1", "score": 1}, {"content": "f2", "score": 1e30}]}
    options = {"train": [str(tmp_path / "t.jsonl")], "losses": {"margin_mse": 1.0}, "batch_size": 4, "eval_steps": 1}
    (tmp_path / "t.jsonl").write_text((json.dumps(good) + "\n") * 40)
    train(settings(**options, max_steps=2))
    folder = tmp_path / "model" / "training"
    before = load_file(folder / "checkpoint-2" / "model.safetensors")
    (tmp_path / "t.jsonl").write_text((json.dumps(absurd) + "\n") * 40)
    with pytest.raises(HypensearchError, match="the loss is inf after step 2"):
        train(settings(**options, max_steps=6, resume=True))
    after = load_file(folder / "checkpoint-2" / "model.safetensors")
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    (tmp_path / "t.jsonl").write_text((json.dumps(good) + "\n") * 40)
    train(settings(**options, max_steps=6, resume=True))
    assert last_checkpoint(folder) == folder / "checkpoint-6"


def test_broken_weights_do_not_replace_good_ones(settings: Any, tmp_path: Path, monkeypatch: Any) -> None:
    usual = HypensearchTrainer.compute_loss

    def breaking(self: Any, *given: Any, **named: Any) -> Any:
        if self.state.global_step == 3:
            next(self.bare().parameters()).data[0] = torch.nan  # after the loss of the step before was seen
            return next(self.bare().parameters()).sum() * 0 + 1
        return usual(self, *given, **named)

    monkeypatch.setattr(HypensearchTrainer, "compute_loss", breaking)
    with pytest.raises(HypensearchError, match="NaN or infinity in"):
        train(settings(max_steps=6, eval_steps=2, max_grad_norm=1.0))
    folder = tmp_path / "model" / "training"
    assert last_checkpoint(folder) == folder / "checkpoint-2"
    for file in (folder / "checkpoint-2" / "model.safetensors", folder / "best.safetensors"):
        assert all(torch.isfinite(tensor).all() for tensor in load_file(file).values())


def test_two_runs_do_not_mix(settings: Any) -> None:
    train(settings(max_steps=2, eval_steps=2))
    with pytest.raises(HypensearchError, match="--resume it"):
        train(settings(max_steps=2, eval_steps=2))


def test_the_command_leaves_card_curves_and_history(settings: Any, tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text(to_json(settings(max_steps=4, eval_steps=2, start="warm")))
    succeed("train", "--config", tmp_path / "c.json", "--bf16", "--gradient-checkpointing", "--patience", "9")
    card = (tmp_path / "model" / "README.md").read_text()
    report = json.loads((tmp_path / "model" / "training" / "report.json").read_text())
    assert f"| held_out | {report['start']['eval_held_out']:.4f} | {report['end']['eval_held_out']:.4f} |" in card
    usable = computes_in(torch.device("cuda" if torch.cuda.is_available() else "cpu"), torch.bfloat16)
    assert ("    bf16: true" in card) == usable
    assert "encoder --encoder model" in card
    assert "Validation cuts queries at 32 tokens and documents at 196, encode and search at 256; for the same" in card
    history = [json.loads(x) for x in (tmp_path / "model" / "training" / "history.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in history if "eval_mean" in entry] == [0, 2, 4]
    assert any("loss" in entry for entry in history)


def test_stops_early_and_keeps_the_best(settings: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A learning rate that soon does harm: two validations without a better one are enough."""
    config = settings(start="warm", max_steps=40, eval_steps=2, patience=2, learning_rate=3.0, train_file="shuffled")
    caplog.set_level("INFO")
    train(config)
    report = json.loads((tmp_path / "model" / "training" / "report.json").read_text())
    measured = [entry["eval_mean"] for entry in read_history(tmp_path / "model" / "training") if "eval_mean" in entry]
    assert report["steps"] == 2 * (measured.index(max(measured)) + 2) < 40
    assert report["end"]["eval_mean"] == max(measured) > measured[-1]
    best = len(measured) - 1 - measured[::-1].index(max(measured))
    assert (report["kept_step"], report["measure"]) == (2 * best, "RR@10")
    shown = f"mean RR@10 {max(measured):.4f}, the best of {len(measured)} validations"
    assert f"kept the weights of step {2 * best} of {report['steps']}: {shown}" in caplog.messages
    card = (tmp_path / "model" / "README.md").read_text()
    assert f"seconds), the weights of step {2 * best} kept by RR@10, on:" in card


@pytest.mark.parametrize("content", ["", "[]", '{"a": ', "[" * 100_000])
def test_a_run_whose_settings_are_damaged_is_not_resumed(settings: Any, tmp_path: Path, content: str) -> None:
    train(settings(max_steps=1, eval_steps=1, validation=[]))
    path = tmp_path / "model" / "training" / "config.json"
    path.write_text(content)
    with pytest.raises(HypensearchError, match=f"--resume: {path}: not the settings of a run .*; start again"):
        train(settings(max_steps=2, eval_steps=1, validation=[], resume=True))


def test_a_run_of_an_earlier_version_is_resumed(settings: Any, tmp_path: Path) -> None:
    """Its settings have more keys; those that did nothing are no difference."""
    train(settings(max_steps=1, eval_steps=1, validation=[]))
    path = tmp_path / "model" / "training" / "config.json"
    earlier = json.loads(path.read_text()) | {"freeze_encoder": False, "mining_margin": 0.95, "start_maps": ""}
    path.write_text(json.dumps(earlier))
    train(settings(max_steps=2, eval_steps=1, validation=[], resume=True))
    path.write_text(json.dumps(earlier | {"freeze_encoder": True}))
    with pytest.raises(HypensearchError, match="has freeze_encoder True: resume it with the same"):
        train(settings(max_steps=3, eval_steps=1, validation=[], resume=True))
