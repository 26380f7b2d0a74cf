# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from hypensearch.__main__ import COMMANDS
from hypensearch.encode.__main__ import parse_args as parse_encode
from hypensearch.eval.measures import resolve_measures
from hypensearch.pyserini.bridge import full_name
from hypensearch.reproductions.command import MEASURES, P_MRR, verdict
from hypensearch.reproductions.conditions import COLLECTIONS, Measurement, Plan, read_conditions
from tests.commands import refuse, run, succeed

#: Run for real by integrations/test_reproductions.py, with the versions of Pyserini that there are.
PYSERINIS = (
    "pyserini.index.lucene",
    "pyserini.search.lucene",
    "pyserini.encode",
    "pyserini.search.faiss",
    "pyserini.fusion",
)


@pytest.mark.parametrize("collection", COLLECTIONS)
def test_every_command_line_parses_and_every_measure_is_known(collection: str) -> None:
    conditions = read_conditions(collection)
    plan = Plan(collection, conditions)
    lines = 0
    for condition in conditions:
        for measurement in condition.measurements:
            measures = [MEASURES[name] for name in measurement.scores if name != P_MRR]
            assert list(resolve_measures(measures)) == measures
            for (python, dash, module, *words), path in plan.commands(condition, measurement).items():
                assert (python, dash) == ("python", "-m")
                assert any(path in word for word in words)
                assert not any("$" in word for word in words)
                lines += 1
                name = module.removeprefix("hypensearch.")
                if name == "encode":
                    parse_encode(words)
                elif name == "pyserini":
                    assert full_name(words[0]) in PYSERINIS
                else:
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
    from hypensearch.reproductions.conditions import Condition

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
    condition = Condition("c", "C", ("python -m hypensearch.none",), "python -m hypensearch.none", (made,))
    monkeypatch.setattr(command, "read_conditions", lambda collection: [condition])
    (tmp_path / "c.c").mkdir()

    places = ["--directory", tmp_path, "--data", tmp_path, "--indexes", tmp_path]
    said = succeed("2cr", "--collection", "tot", "--all", *places)

    assert "MRR (rel 2)  : 0.3333 [OK]" in said
    matrix = ["--generate-report", "--output", tmp_path / "matrix.html"]
    succeed("2cr", "--collection", "tot", *matrix, *places)
    assert "<td>MRR (rel 2) 0.3333</td><td>MRR (rel 2) 0.3333 [OK]</td>" in (tmp_path / "matrix.html").read_text()


def test_conditions_that_build_on_others_run_them_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = succeed("2cr", "--collection", "scifact", "--condition", "rerank", "--dry-run", "--display-commands")

    lines = [line for line in said.splitlines() if line.startswith("python -m ")]
    assert [line.split()[2:4] for line in lines] == [
        ["hypensearch.pyserini", "index.lucene"],
        ["hypensearch.pyserini", "search.lucene"],
        ["hypensearch.encode", "input"],
        ["hypensearch.rerank", "--run"],
    ]
    assert "--run runs/run.scifact.bm25.scifact-topics.txt --index indexes/hypencoder.scifact-corpus" in lines[-1]


def test_a_command_that_fails_ends_the_reproduction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hypensearch.reproductions import command
    from hypensearch.reproductions.conditions import Condition

    made = Measurement("t", ("t/topics.tsv",), ("t/qrels.txt",), {"nDCG@10": 1.0}, "t/corpus.jsonl")
    condition = Condition("c", "C", (), "python -m hypensearch.none --output $output", (made,))
    monkeypatch.setattr(command, "read_conditions", lambda collection: [condition])

    said = refuse("2cr", "--collection", "tot", "--all", "--directory", tmp_path)

    assert said == f"exit code 1 of: python -m hypensearch.none --output {tmp_path}/run.tot.c.t-topics.txt"


def judged(folder: Path, name: str, grades: str) -> str:
    (folder / "hard").mkdir(exist_ok=True)
    (folder / "hard" / name).write_text(grades)
    return f"hard/{name}"


def test_judgements_that_do_not_count(tmp_path: Path) -> None:
    """Of DL-Hard, those that are not TREC's: pairs of one file less those of another."""
    from hypensearch.reproductions.command import measure
    from hypensearch.reproductions.conditions import Condition

    qrels = judged(tmp_path, "all.qrels", "1 Q0 a 3\n1 Q0 b 2\n2 Q0 a 3\n")
    without = judged(tmp_path, "new.qrels", "2 0 a 3\n1 0 b 1\n9 0 x 1\n")
    (tmp_path / "run.dl-hard.c.hard-topics.txt").write_text("1 Q0 b 1 2.0 t\n1 Q0 a 2 1.0 t\n2 Q0 x 1 1.0 t\n")
    scores = {"MRR (rel 2)": 0.5, "R@1K (rel 2)": 1.0}
    made = Measurement("hard", ("hard/topics.tsv",), (qrels,), scores, "c", without=without)
    condition = Condition("c", "C", (), "", (made,))

    assert measure(Plan("dl-hard", [condition], str(tmp_path), data=str(tmp_path)), condition, made) == scores


def test_changed_instructions(tmp_path: Path) -> None:
    """Two runs, measured together by p-MRR, and the first alone by the other measures."""
    from hypensearch.reproductions.command import measure
    from hypensearch.reproductions.conditions import Condition

    og, changed = judged(tmp_path, "og.qrels", "1 0 a 1\n1 0 b 1\n"), judged(tmp_path, "ch.qrels", "1 0 a 0\n1 0 b 1\n")
    (tmp_path / "run.followir.c.hard-og.txt").write_text("1 Q0 a 1 2.0 t\n1 Q0 b 2 1.0 t\n")
    (tmp_path / "run.followir.c.hard-ch.txt").write_text("1 Q0 b 1 2.0 t\n1 Q0 a 2 1.0 t\n")
    wanted = {"AP": 1.0, "p-MRR": 0.5}
    made = Measurement("x", ("hard/og.tsv",), (og,), wanted, "c", changed=("hard/ch.tsv", changed))
    condition = Condition("c", "C", (), "", (made,))

    assert measure(Plan("followir", [condition], str(tmp_path), data=str(tmp_path)), condition, made) == wanted
    conditions = read_conditions("followir")
    lines = Plan("followir", conditions).commands(conditions[0], conditions[0].measurements[0])
    assert [words[words.index("--topics") + 1].rpartition("/")[2] for words in lines if "--topics" in words] == [
        "topics.og.tsv",
        "topics.changed.tsv",
    ]


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
    assert "<td>MRR@10 0.3860, R@1K 0.9810</td><td>not run</td>" in page.read_text()


def test_what_is_not_there() -> None:
    assert "not among hypencoder-6" in refuse("2cr", "--collection", "beir", "--condition", "x")
    assert "has msmarco-passage-dev-subset" in refuse(
        "2cr", "--collection", "msmarco-v1-passage", "--condition", "hypencoder-6", "--topic", "x"
    )
    assert "nothing to do" in refuse("2cr", "--collection", "beir")
    assert run("2cr", "--collection", "beir", "--list-conditions").out == "hypencoder-6\n"
