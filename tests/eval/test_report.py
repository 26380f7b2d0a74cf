# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import pytest

from hypensearch.eval import Evaluation
from hypensearch.eval.report import EvaluatedRun, as_json, as_table, as_tsv, name_runs


def evaluated(name: str, first: float, second: float, p: float | None = None, compared: bool = False) -> EvaluatedRun:
    evaluation = Evaluation(
        values={"RR(rel=1)@10": (first + second) / 2},
        per_topic={"RR(rel=1)@10": {"1": first, "2": second}},
        topics=("1", "2"),
        missing=("2",) if second == 0 else (),
        unjudged=(),
    )
    return EvaluatedRun(name, f"runs/{name}.txt", evaluation, {"RR(rel=1)@10": p} if compared else None)


ONE = [evaluated("bm25", 1, 0)]
TWO = [*ONE, evaluated("hypencoder", 1, 0.25, 0.00001, compared=True)]


def test_table_of_one_run():
    assert as_table(ONE).splitlines() == ["measure         bm25", "RR(rel=1)@10  0.5000", "", "2 topics"]


def test_table_of_two_runs():
    assert as_table(TWO).splitlines() == [
        "measure         bm25  hypencoder  p(hypencoder)",
        "RR(rel=1)@10  0.5000      0.6250        <0.0001",
        "",
        "2 topics; p: two-sided paired t-test against bm25",
    ]


def test_table_says_what_was_corrected():
    three = [*TWO, evaluated("other", 0, 0, None, compared=True)]

    assert as_table(three).endswith("against bm25, Holm-Bonferroni over 2 runs")
    assert as_table(three).splitlines()[1].endswith("  -")


def test_table_per_topic():
    assert as_table(ONE, per_topic=True).splitlines()[:4] == [
        "topic  measure         bm25",
        "1      RR(rel=1)@10  1.0000",
        "2      RR(rel=1)@10  0.0000",
        "all    RR(rel=1)@10  0.5000",
    ]


def test_tsv():
    assert as_tsv(TWO, per_topic=True).splitlines() == [
        "topic\tmeasure\tbm25\thypencoder\tp(hypencoder)",
        "1\tRR(rel=1)@10\t1.000000\t1.000000\t",
        "2\tRR(rel=1)@10\t0.000000\t0.250000\t",
        "all\tRR(rel=1)@10\t0.500000\t0.625000\t1e-05",
    ]


def test_json():
    described = json.loads(as_json(TWO, per_topic=True))

    assert described["baseline"] == "bm25"
    assert described["runs"][0] == {
        "name": "bm25",
        "path": "runs/bm25.txt",
        "topics": 2,
        "topics_missing": ["2"],
        "topics_unjudged": [],
        "values": {"RR(rel=1)@10": 0.5},
        "per_topic": {"RR(rel=1)@10": {"1": 1, "2": 0}},
    }
    assert described["runs"][1]["p_values"] == {"RR(rel=1)@10": 0.00001}


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["runs/run.bm25.txt", "runs/run.hyp.txt.gz"], ["run.bm25", "run.hyp"]),
        (["a/run.txt", "b/run.txt"], ["a/run", "b/run"]),
        (["run.txt", "run.txt", "run.tsv"], ["run", "run#2", "run#3"]),
        (["runs/run.v1.2"], ["run.v1.2"]),
    ],
)
def test_runs_are_named_by_their_stems(paths, names):
    assert name_runs(paths) == names


def test_runs_that_do_not_fit_side_by_side_stand_below_each_other():
    others = [evaluated(f"a-run-with-a-long-name-{n}", 1, n / 9, 0.5 / n, compared=True) for n in range(1, 6)]
    lines = as_table([*ONE, *others]).splitlines()

    assert lines[:3] == [
        "measure       run                        value       p",
        "RR(rel=1)@10  bm25                      0.5000",
        "RR(rel=1)@10  a-run-with-a-long-name-1  0.5556  0.5000",
    ]
    assert lines[6:8] == ["RR(rel=1)@10  a-run-with-a-long-name-5  0.7778  0.1000", ""]
    assert as_table([*ONE, *others], per_topic=True).splitlines()[2] == (
        "1      RR(rel=1)@10  a-run-with-a-long-name-1  1.0000"
    )
    assert as_tsv([*ONE, *others]).splitlines()[0].count("\t") == 12
