# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from hypensearch.train.__main__ import build_parser, main
from hypensearch.train.config import TrainingConfig, differences, read_config, recipes

REQUIRED = "backbone: b\ntrain: [t.jsonl]\noutput: o\n"


def config_file(tmp_path: Path, text: str) -> str:
    (tmp_path / "c.yaml").write_text(REQUIRED + text)
    return str(tmp_path / "c.yaml")


def test_defaults_are_the_papers_recipe(tmp_path: Path) -> None:
    config = read_config(config_file(tmp_path, ""), {})
    assert config.losses == {"margin_mse": 1.0, "cross_entropy_positives": 1.0}
    assert (config.learning_rate, config.warmup_steps, config.batch_size) == (2e-5, 6000, 64)
    assert (config.num_negatives, config.query_length, config.document_length) == (7, 32, 196)


# The released configurations (hypencoder_cb/train/configs) and the paper's section 4; what they leave open is not here.
RELEASED = {
    "backbone": "google-bert/bert-base-uncased",
    "pooling": "cls",
    "losses": {"margin_mse": 1.0, "cross_entropy_positives": 1.0},
    "label_key": "score",
    "num_negatives": 7,
    "query_length": 32,
    "document_length": 196,
    "max_steps": 1_000_000,
    "batch_size": 64,
    "gradient_accumulation": 1,
    "learning_rate": 2e-5,
    "warmup_steps": 6000,
    "weight_decay": 0.0,
    "bf16": True,
    "eval_steps": 2500,
    "start": "cold",
    "dropout": 0.0,
    "projection_rate": 1.0,
    "max_grad_norm": 1.0,
    "widths": [],
}
FINE_TUNING = {
    "losses": {"cross_entropy": 1.0},
    "num_negatives": 1,
    "query_length": 512,
    "document_length": 512,
    "batch_size": 96,
    "learning_rate": 8e-6,
    "scheduler": "linear",
}
CONSTANT = {"architecture": "hypencoder", "shared_encoder": True, "scheduler": "constant_with_warmup"}
DOCUMENTED = {
    **{f"hypencoder-{n}-layer": {**RELEASED, **CONSTANT, "num_blocks": n} for n in (2, 4, 6, 8)},
    "be-base": {**RELEASED, "architecture": "biencoder", "shared_encoder": False, "scheduler": "linear"},
    "fine-tune-tot": {**FINE_TUNING, "max_steps": 3300, "warmup_steps": 330},
    "fine-tune-followir": {**FINE_TUNING, "max_steps": 10_000, "warmup_steps": 1000},
}


def test_every_recipe_is_documented() -> None:
    assert set(recipes()) == set(DOCUMENTED)


@pytest.mark.parametrize("name", DOCUMENTED)
def test_recipes_are_the_papers(name: str) -> None:
    start = {} if "backbone" in DOCUMENTED[name] else {"start_from": "jfkback/hypencoder.6_layer"}
    config = dataclasses.asdict(read_config(name, {"train": ["t.jsonl"], "output": "o", **start}))
    assert {key: config[key] for key in DOCUMENTED[name]} == DOCUMENTED[name]


def test_a_file_comes_before_a_recipe_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("be-base").write_text(REQUIRED + "batch_size: 3\n")
    assert read_config("be-base", {}).batch_size == 3


def test_a_config_that_is_not_there_names_the_recipes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--config", "be-bas"]) == 2
    assert "--config be-bas: no such file, and not one of the recipes be-base," in capsys.readouterr().err


def test_what_a_resumed_run_may_change(tmp_path: Path) -> None:
    config = read_config(config_file(tmp_path, ""), {})
    earlier = dataclasses.asdict(config) | {"learning_rate": 1.0, "max_steps": 7}
    assert differences(config, earlier) == ["learning_rate"]


def test_flags_come_after_the_file(tmp_path: Path) -> None:
    path = config_file(tmp_path, "learning_rate: 5e-5\nbatch-size: 8\nlosses: [kl]\n")
    arguments = ["--config", path, "--batch-size", "4", "--bf16", "--losses", "kl=0.5", "cross_entropy"]
    flags = vars(build_parser().parse_args(arguments))
    config = read_config(flags.pop("config"), flags)
    assert (config.learning_rate, config.batch_size, config.bf16) == (5e-5, 4, True)
    assert config.losses == {"kl": 0.5, "cross_entropy": 1.0}


def test_every_setting_is_a_flag_with_help() -> None:
    text = build_parser().format_help()
    for setting in dataclasses.fields(TrainingConfig):
        assert "--" + setting.name.replace("_", "-") in text
        assert setting.metadata["help"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("learning_rat: 1", "unknown key 'learning_rat', did you mean 'learning_rate'?"),
        ("batch_size: many", "c.yaml: batch_size: wanted a whole number, found 'many'"),
        ("bf16: 1", "bf16: wanted true or false, found 1"),
        ("losses: [mse]", "losses: unknown mse"),
        ("start: hot", "--start hot: wanted cold or warm"),
        ("freeze_encoder: true", "unknown key 'freeze_encoder'"),
        ("learning_rate: true", "learning_rate: wanted a number, found True"),
        ("widths: [8, x]", "widths: wanted a list, each a whole number, found [8, 'x']"),
        ("losses: {kl: much}", "losses: wanted names with numbers, found {'kl': 'much'}"),
        ("dropout: 1", "--dropout: 1.0 is not a probability below 1"),
        ("losses: [distil]", "--distil-from: goes with the loss distil"),
        ("distil_from: backbone", "--distil-from: goes with the loss distil"),
        ("mix_with_start: 1.5", "--mix-with-start 1.5: wanted at least 0 and at most 1"),
        ("patience: 3", "patience: stopping early needs --validation"),
        ("train: [", "not readable as YAML"),
        ("start_from: x", "backbone: the checkpoint of --start-from has its own"),
        ("chunk_size: -1", "--chunk-size -1: wanted at least 0"),
        ("- a", "not readable as YAML"),
    ],
)
def test_bad_settings_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, message: str) -> None:
    assert main(["--config", config_file(tmp_path, text + "\n")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_what_is_missing_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--train", "t.jsonl", "--output", "o"]) == 2
    assert "--backbone: missing: wanted a transformer" in capsys.readouterr().err
    assert main([]) == 2
    assert "missing settings: train, output (in --config or as flags)" in capsys.readouterr().err


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from hypensearch.train.__main__ import build_parser; build_parser().format_help();"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_settings_of_earlier_versions_that_say_nothing_are_left_out(tmp_path: Path) -> None:
    """The settings beside a finished checkpoint can still be trained with."""
    earlier = "freeze_encoder: false\nmining_margin: 0.95\nstart_maps: ''\nblend: false\nprofile_steps: 0\n"
    assert read_config(config_file(tmp_path, earlier), {}) == read_config(config_file(tmp_path, ""), {})
