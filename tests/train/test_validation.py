# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Validation's figures are those of the commands encode, search and eval on the finished checkpoint."""

from __future__ import annotations

import gzip
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from hypensearch.errors import HypensearchError
from hypensearch.train.run import train
from hypensearch.train.validation import read_collection
from tests.commands import encode, search, succeed

MEASURES = ["nDCG@3", "RR@10", "R@5"]
KINDS: dict[str, dict[str, Any]] = {
    "q-nets": {},
    "bi-encoder": {"architecture": "biencoder"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_measures_are_those_of_the_commands(settings: Any, data: Path, tmp_path: Path, kind: str) -> None:
    train(settings(**KINDS[kind], max_steps=2, eval_steps=2, measures=MEASURES))
    held_out, model = data / "held_out", tmp_path / "model"
    succeed("encode", *encode(held_out / "corpus.jsonl", tmp_path / "index", model, "--max-length", "196"))
    succeed("search", *search(tmp_path / "index", held_out / "topics.tsv", tmp_path / "run.txt"))
    judged = ["--qrels", held_out / "qrels.txt", "--run", tmp_path / "run.txt", "--output-format", "json", "--metrics"]
    (run,) = json.loads(succeed("eval", *judged, *MEASURES))["runs"]
    figures = list(run["values"].values())
    end = json.loads((model / "training" / "report.json").read_text())["end"]
    assert [end["eval_held_out"], end["eval_held_out_RR@10"], end["eval_held_out_R@5"]] == pytest.approx(
        figures, abs=1e-9
    )
    assert end["eval_mean"] == end["eval_held_out"]
    assert end["eval_held_out_R@5"] > 0


def test_measures_are_logged_by_name(settings: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    train(settings(max_steps=1, eval_steps=1, measures=["nDCG@3", "R@5"], num_blocks=1))
    lengths = "validation cuts queries at 32 tokens and documents at 196, encode and search at 256"
    assert "validation: the mean nDCG@3 of 1 collections decides, and R@5 are measured as well" in caplog.messages
    assert any(message.startswith(f"{lengths}; for the same figures set") for message in caplog.messages)
    step = r"step 0 of 1: nDCG@3 of held_out \S+, mean nDCG@3 \S+, R@5 of held_out \S+, eval_seconds .*"
    assert any(re.fullmatch(step, message) for message in caplog.messages)


def test_lengths_that_are_searchs_are_not_mentioned(settings: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    train(settings(max_steps=1, eval_steps=1, query_length=256, document_length=256, num_blocks=1))
    assert not any(message.startswith("validation cuts") for message in caplog.messages)
    train(settings(max_steps=1, eval_steps=1, validation=[], num_blocks=1, output=settings().output + "2"))
    assert "kept the weights of step 1, the last one: there was no validation" in caplog.messages


def test_topics_without_an_answer_are_left_out(data: Path, tmp_path: Path) -> None:
    shutil.copytree(data / "held_out", tmp_path / "c")
    (tmp_path / "c" / "qrels.txt").write_text("3 0 d3 1\n4 0 d4 0\n5 0 elsewhere 1\n")
    collection = read_collection(tmp_path / "c")
    assert list(collection.topics) == ["3"]
    assert collection.qrels == {"3": {"d3": 1}}


@pytest.mark.parametrize("judged", ["dev.tsv", "test.tsv", "dev.tsv.gz"])
def test_beirs_layout(data: Path, tmp_path: Path, judged: str) -> None:
    folder = as_beir(data / "held_out", tmp_path / "beir", judged)
    beir, ours = read_collection(folder), read_collection(data / "held_out")
    assert (beir.docids, beir.documents, beir.topics) == (ours.docids, ours.documents, ours.topics)
    assert beir.qrels == {topic: {d: 1 for d, grade in of.items() if grade} for topic, of in ours.qrels.items()}


def test_dev_comes_before_test(data: Path, tmp_path: Path) -> None:
    folder = as_beir(data / "held_out", tmp_path / "beir", "dev.tsv")
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nnobody\td1\t1\n")
    assert read_collection(folder).topics


@pytest.mark.parametrize("missing", ["corpus.jsonl", "queries.jsonl", "qrels"])
def test_what_is_missing_of_a_collection_is_named(data: Path, tmp_path: Path, missing: str) -> None:
    folder = as_beir(data / "held_out", tmp_path / "beir", "test.tsv")
    shutil.move(folder / missing, tmp_path / "away")
    named = {"queries.jsonl": "topics.tsv or queries.jsonl", "qrels": "qrels.txt or qrels/dev.tsv or qrels/test.tsv"}
    with pytest.raises(HypensearchError) as caught:
        read_collection(folder)
    assert str(caught.value).startswith(f"{folder}: no {named.get(missing, missing)} there: wanted corpus.jsonl, ")


def as_beir(collection: Path, folder: Path, judged: str) -> Path:
    """Write a collection of ours as BEIR does, its title, and only grades above 0."""
    (folder / "qrels").mkdir(parents=True)
    documents = [json.loads(line) for line in (collection / "corpus.jsonl").read_text().splitlines()]
    records = [{"_id": d["id"], "title": "", "text": d["contents"], "metadata": {}} for d in documents]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    topics = [line.split("\t") for line in (collection / "topics.tsv").read_text().splitlines()]
    queries = [json.dumps({"_id": topic, "text": text, "metadata": {}}) + "\n" for topic, text in topics]
    (folder / "queries.jsonl").write_text("".join(queries))
    lines = [line.split() for line in (collection / "qrels.txt").read_text().splitlines()]
    rows = [f"{topic}\t{docid}\t{grade}\n" for topic, _, docid, grade in lines if int(grade) > 0]
    whole = "query-id\tcorpus-id\tscore\n" + "".join(rows)
    packed = gzip.compress(whole.encode()) if judged.endswith(".gz") else whole.encode()
    (folder / "qrels" / judged).write_bytes(packed)
    return folder


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"measures": ["MRRR@10"]}, "cannot compute 'MRRR@10'"),
        ({"measures": []}, "measures: none"),
        ({"measures": ["official"]}, "wanted single measures"),
    ],
)
def test_bad_measures_are_refused_at_once(settings: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(HypensearchError, match=message):
        train(settings(**changes))


def test_collections_of_one_name_are_refused(settings: Any, data: Path, tmp_path: Path) -> None:
    shutil.copytree(data / "held_out", tmp_path / "held_out")
    both = [str(data / "held_out"), str(tmp_path / "held_out")]
    with pytest.raises(HypensearchError, match="told apart by their folders' names"):
        train(settings(validation=both))
