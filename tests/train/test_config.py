# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from hypensearch.train.__main__ import build_parser, main
from hypensearch.train.config import TrainingConfig, read_config

REQUIRED = "backbone: b\ntrain: [t.jsonl]\noutput: o\n"


def config_file(tmp_path: Path, text: str) -> str:
    (tmp_path / "c.yaml").write_text(REQUIRED + text)
    return str(tmp_path / "c.yaml")


def test_defaults_are_the_papers_recipe(tmp_path: Path) -> None:
    config = read_config(config_file(tmp_path, ""), {})
    assert config.losses == {"margin_mse": 1.0, "cross_entropy_positives": 1.0}
    assert (config.learning_rate, config.warmup_steps, config.batch_size) == (2e-5, 6000, 64)
    assert (config.num_negatives, config.query_length, config.document_length) == (7, 32, 196)


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
        ("batch_size: many", "batch_size: wanted int, found 'many'"),
        ("bf16: 1", "bf16: wanted bool, found 1"),
        ("losses: [mse]", "losses: unknown mse"),
        ("start: hot", "start: unknown 'hot'"),
        ("freeze_encoder: true", "cache: frozen encoders need a folder"),
        ("patience: 3", "patience: stopping early needs --validation"),
        ("train: [", "not readable as YAML"),
    ],
)
def test_bad_settings_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, message: str) -> None:
    assert main(["--config", config_file(tmp_path, text + "\n")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_what_is_missing_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "missing settings: backbone, train, output" in capsys.readouterr().err


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from hypensearch.train.__main__ import build_parser; build_parser().format_help();"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
