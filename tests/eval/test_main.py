# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import sys
from pathlib import Path

import ir_measures  # noqa: F401
import pytest

from hypensearch.eval.__main__ import main

QRELS = "1 0 a 1\n1 0 b 2\n2 0 c 1\n"
GOOD = "1 Q0 b 1 2.0 good\n1 Q0 a 2 1.0 good\n2 Q0 c 1 1.0 good\n"
POOR = "1 Q0 x 1 2.0 poor\n1 Q0 a 2 1.0 poor\n9 Q0 c 1 1.0 poor\n"


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, text in {"qrels.txt": QRELS, "run.good.txt": GOOD, "run.poor.txt": POOR, "empty.txt": ""}.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def evaluate(*args: str) -> int:
    return main(["--qrels", "qrels.txt", "--run", *args])


def test_one_run(capsys):
    assert evaluate("run.good.txt", "--metrics", "RR(rel=2)@10", "R@1000", "-m", "map") == 0

    assert capsys.readouterr().out.splitlines() == [
        "measure        run.good",
        "RR(rel=2)@10     0.5000",
        "R(rel=1)@1000    1.0000",
        "AP(rel=1)        1.0000",
        "",
        "2 topics",
    ]


def test_two_runs_and_what_was_odd_about_them(capsys):
    assert evaluate("run.good.txt", "run.poor.txt", "--metrics", "RR@10") == 0

    printed = capsys.readouterr()
    assert printed.out.splitlines()[:2] == [
        "measure       run.good  run.poor  p(run.poor)",
        "RR(rel=1)@10    1.0000    0.2500       0.2048",
    ]
    assert "run.poor: 1 of the judged topics without hits, counted as 0 (2)" in printed.err
    assert "run.poor: 1 of its topics without judgements, ignored (9)" in printed.err
    assert "grades up to 2" in printed.err


def test_another_baseline(capsys):
    assert evaluate("run.good.txt", "--baseline", "run.poor.txt", "--metrics", "RR", "--output-format", "tsv") == 0

    assert capsys.readouterr().out.startswith("topic\tmeasure\trun.poor\trun.good\tp(run.good)\n")


@pytest.mark.parametrize("flags", [("--dl",), ("--relevance-level", "2"), ("-l", "2")])
def test_relevance_level(capsys, flags):
    assert evaluate("run.good.txt", *flags, "--output-format", "json", "--metrics", "P@2") == 0

    printed = capsys.readouterr()
    assert json.loads(printed.out)["runs"][0]["values"] == {"P(rel=2)@2": 0.25}
    assert "grades" not in printed.err


def test_per_query(capsys):
    assert evaluate("run.poor.txt", "--per-query", "--no-complete", "--metrics", "RR", "--output-format", "tsv") == 0

    printed = capsys.readouterr()
    assert printed.out.splitlines()[1:] == ["1\tRR(rel=1)\t0.500000", "all\tRR(rel=1)\t0.500000"]
    assert "left out" in printed.err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["no-such-run.txt"], "no-such-run.txt"),
        (["run.good.txt", "--qrels", "nowhere.txt"], "nowhere.txt"),
        (["empty.txt"], "empty.txt"),
        (["run.good.txt", "--metrics", "nGCD@10", "Q@5"], "'nGCD@10' (unknown), 'Q@5' (unknown)"),
        (["run.good.txt", "run.poor.txt", "--no-complete"], "do not have the same topics"),
        (["run.good.txt", "--relevance-level", "0"], "--relevance-level"),
    ],
)
def test_errors_are_one_line(capsys, args, message):
    try:
        code = evaluate(*args)
    except SystemExit as exit_code:
        code = exit_code.code

    printed = capsys.readouterr()
    assert code == 2
    assert printed.out == ""
    assert message in printed.err
    assert printed.err.count("\n") == 1


def test_names_of_qrels_are_pyserinis(capsys, monkeypatch):
    monkeypatch.setattr(sys, "path", [])

    assert evaluate("run.good.txt", "--qrels", "dl19-passage") == 2
    assert "pip install pyserini" in capsys.readouterr().err


def test_ids_written_differently(capsys, files):
    (files / "run.txt").write_text("001 Q0 a 1 1.0 x\n")

    assert evaluate("run.txt") == 2
    assert "'001'" in capsys.readouterr().err


def test_files_by_position_as_trec_eval_takes_them(capsys):
    line = ["-c", "-M", "1", "-m", "recip_rank", "-m", "recall.1", "qrels.txt", "run.good.txt", "run.poor.txt"]
    assert main(line) == 0
    table = capsys.readouterr().out.splitlines()
    assert table[1].split()[:3] == ["RR(rel=1)", "1.0000", "0.0000"]
    assert table[2].split()[:3] == ["R(rel=1)@1", "0.7500", "0.0000"]


@pytest.mark.parametrize(
    "words",
    [
        ["qrels.txt", "run.good.txt", "-m", "RR"],
        ["-m", "RR", "qrels.txt", "run.good.txt"],
        ["-mRR", "-l1", "qrels.txt", "run.good.txt", "-q"],
        ["-q", "-m", "P@1", "RR", "qrels.txt", "run.good.txt"],
        ["-m", "RR", "--qrels", "qrels.txt", "run.good.txt"],
        ["--qrels", "qrels.txt", "-m", "RR", "--run", "run.good.txt"],
        ["qrels.txt", "-m", "RR", "--run", "run.good.txt"],
        ["qrels.txt", "-m", "RR", "-c", "run.good.txt"],
    ],
)
def test_files_and_flags_in_any_order(capsys, words):
    assert main(words) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert (["all"] if "-q" in words else []) + ["RR(rel=1)", "1.0000"] in lines


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "no judgements were named: give QRELS RUN"),
        (["qrels.txt"], "no run was named beside the judgements qrels.txt"),
        (["-m", "RR", "nGCD@10", "qrels.txt", "run.good.txt"], "nGCD@10"),
        (["-J", "qrels.txt", "run.good.txt"], "-J of trec_eval is not taken: give -remove-unjudged"),
        (["-n", "qrels.txt", "run.good.txt"], "-n of trec_eval is not taken"),
        (["-N", "9", "qrels.txt", "run.good.txt"], "-N of trec_eval is not taken"),
        (["-m", "prefs", "--", "qrels.txt", "run.good.txt"], "'prefs' (it is a set of measures of preferences"),
        (["-m", "judged", "--", "qrels.txt", "run.good.txt"], "'judged' (give it ranks, as in judged.10)"),
        (["-m", "set_P", "utility.1,2", "--qrels", "qrels.txt", "--run", "run.good.txt"], "own parameters only"),
        (["-M", "0", "qrels.txt", "run.good.txt"], "-M"),
    ],
)
def test_what_is_not_taken_says_what_to_do(capsys, words, said):
    try:
        code = main(words)
    except SystemExit as end:
        code = end.code
    printed = capsys.readouterr()
    assert code == 2
    assert said in printed.err
    assert printed.err.count("\n") == 1


def test_unjudged_hits_left_out(capsys):
    line = ["-m", "RR", "judged.1,2", "--output-format", "tsv", "qrels.txt", "run.poor.txt"]
    values = {}
    for words in (line, ["-remove-unjudged", *line]):
        assert main(words) == 0
        values[words[0]] = dict(row.split("\t")[1:] for row in capsys.readouterr().out.splitlines()[1:])
    assert values["-m"] == {"RR(rel=1)": "0.250000", "judged_1": "0.000000", "judged_2": "0.333333"}
    assert values["-remove-unjudged"] == {"RR(rel=1)": "0.500000", "judged_1": "1.000000", "judged_2": "1.000000"}


def test_ids_that_differ_in_leading_zeros_are_pointed_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("qrels.txt").write_text("001 0 a 1\n2 0 a 1\n")
    Path("run.txt").write_text("1 Q0 a 1 1 x\n2 Q0 a 1 1 x\n")
    assert main(["--qrels", "qrels.txt", "--run", "run.txt", "-m", "RR"]) == 0
    printed = capsys.readouterr()
    assert "0.5000" in printed.out  # as trec_eval -c
    assert "run: its topic 1 may be 001 of the judgements: ids count as they are written" in printed.err
