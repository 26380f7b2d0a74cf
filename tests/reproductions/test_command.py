# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from hypensearch.__main__ import COMMANDS
from hypensearch.encode.__main__ import parse_args as parse_encode
from hypensearch.eval.measures import resolve_measures
from hypensearch.reproductions.command import MEASURES, verdict
from hypensearch.reproductions.conditions import COLLECTIONS, Places, commands, read_conditions
from tests.commands import refuse, run, succeed


@pytest.mark.parametrize("collection", COLLECTIONS)
def test_every_command_line_parses_and_every_measure_is_known(collection: str) -> None:
    lines = 0
    for condition in read_conditions(collection):
        for measurement in condition.measurements:
            assert list(resolve_measures([MEASURES[name] for name in measurement.scores])) == [
                MEASURES[name] for name in measurement.scores
            ]
            for path, (python, dash, module, *words) in commands(Places(), collection, condition, measurement):
                assert (python, dash) == ("python", "-m")
                assert path in words
                lines += 1
                if module == "hypensearch.encode":
                    parse_encode(words)
                else:
                    name = module.removeprefix("hypensearch.")
                    importlib.import_module(COMMANDS[name][0]).build_parser().parse_args(words)
    assert lines >= 2


@pytest.mark.parametrize(
    ("score", "expected", "said"),
    [
        (0.386, 0.386, "[OK]"),
        (0.3864, 0.386, "[OKish] expected 0.3860"),
        (0.3855, 0.386, "[OKish] expected 0.3860"),
        (0.5, 0.386, "[OKish] expected 0.3860"),
        (0.3854, 0.386, "[FAIL] expected 0.3860"),
    ],
)
def test_verdicts(score: float, expected: float, said: str) -> None:
    assert verdict(score, expected) == said


def test_existing_runs_are_measured_over_the_topics_of_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hypensearch.reproductions import command
    from hypensearch.reproductions.conditions import Condition, Measurement

    for name, docid in {"a": "d", "b": "x", "c": "x"}.items():
        folder = "one" if name == "a" else "two"
        (tmp_path / folder).mkdir(exist_ok=True)
        with (tmp_path / folder / "qrels.txt").open("a") as file:
            file.write(f"{name} 0 d 2\n")
        with (tmp_path / f"run.tot.c.{folder}-topics.txt").open("a") as file:
            file.write(f"{name} Q0 {docid} 1 1.0 t\n")
    made = Measurement(
        "both", ("one/topics.tsv", "two/topics.tsv"), ("one/qrels.txt", "two/qrels.txt"), {"MRR (rel 2)": 0.3333}, "c"
    )
    condition = Condition("c", "C", "python -m hypensearch.none", "python -m hypensearch.none", (made,))
    monkeypatch.setattr(command, "read_conditions", lambda collection: [condition])
    (tmp_path / "c.c").mkdir()

    places = ["--directory", tmp_path, "--data", tmp_path, "--indexes", tmp_path]
    said = succeed("2cr", "--collection", "tot", "--all", *places)

    assert "MRR (rel 2)  : 0.3333 [OK]" in said


def test_dry_run_displays_and_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = succeed(
        "2cr", "--collection", "beir", "--condition", "hypencoder-6", "--topic", "beir-v1.0.0-fiqa-test",
        "--dry-run", "--display-commands",
    )  # fmt: skip
    assert said.count("python -m hypensearch.") == 2
    assert "--topics beir-v1.0.0-fiqa-test" in said
    assert not list(tmp_path.iterdir())


def test_report(tmp_path: Path) -> None:
    page = tmp_path / "matrix.html"
    succeed("2cr", "--collection", "msmarco-v1-passage", "--generate-report", "--output", page)
    assert "MRR@10 0.3860, R@1K 0.9810" in page.read_text()


def test_what_is_not_there() -> None:
    assert "not among hypencoder-6" in refuse("2cr", "--collection", "beir", "--condition", "x")
    assert "has msmarco-passage-dev-subset" in refuse(
        "2cr", "--collection", "msmarco-v1-passage", "--condition", "hypencoder-6", "--topic", "x"
    )
    assert "nothing to do" in refuse("2cr", "--collection", "beir")
    assert run("2cr", "--collection", "beir", "--list-conditions").out == "hypencoder-6\n"
