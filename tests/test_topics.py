# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import sys
from pathlib import Path

import pytest

from hypensearch.errors import HypensearchError
from hypensearch.pyserini import bridge as pyserini_bridge
from hypensearch.topics import load_topics, read_topics, write_topics


def test_a_file_needs_neither_pyserini_nor_java(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "topics.tsv"
    path.write_text("2\tstone\n1\twater\n")
    monkeypatch.setitem(sys.modules, "hypensearch.pyserini.bridge", None)  # importing it would fail
    assert load_topics(str(path)) == {"1": "water", "2": "stone"}


def test_the_format_is_handed_on(tmp_path: Path) -> None:
    path = tmp_path / "topics.jsonl"
    path.write_text('{"id": "b", "input": "water"}\n{"id": "a", "input": "stone"}\n')
    assert load_topics(str(path), "kilt") == {"b": "water", "a": "stone"}


@pytest.mark.parametrize("path", ["nowhere.tsv", "no/where", "./nowhere", "nowhere.jsonl.gz"])
def test_what_looks_like_a_path_is_never_asked_of_pyserini(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pyserini_bridge, "named_topics", _unreachable)
    with pytest.raises(HypensearchError, match="no such file"):
        load_topics(path)


def test_a_name_is_asked_of_pyserini(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pyserini_bridge, "named_topics", lambda name, form: {"1": f"{name} as {form}"})
    assert load_topics("dl19-passage") == {"1": "dl19-passage as default"}


TOPICS = {"2": "water  and stone", "a-1": 'say "caf\u00e9"', "10": "x"}


@pytest.mark.parametrize("name", ["t.tsv", "t.txt", "t.json", "t.jsonl", "t.tsv.gz", "new/t.jsonl.gz"])
def test_written_and_read(tmp_path: Path, name: str) -> None:
    write_topics(tmp_path / name, TOPICS)
    assert read_topics(tmp_path / name) == TOPICS
    before = (tmp_path / name).read_bytes()
    write_topics(tmp_path / name, TOPICS)
    assert (tmp_path / name).read_bytes() == before


@pytest.mark.parametrize(
    ("name", "topics", "said"),
    [
        ("t.tsv", {"1": "a\tb"}, "cannot be written: .*t.tsv:1: .*found 2 tabs"),
        ("t.tsv", {"1": " a"}, "t.tsv: topic '1' would not be read as it is .* write a .json file"),
        ("t.tsv", {"1": "a\nb"}, "cannot be written: .*t.tsv:2"),
        ("t.jsonl", {"1": " "}, "cannot be written: .*t.jsonl:1: topic '1' has an empty query"),
        ("t.tsv", {"1 2": "a"}, "holds white space"),
        ("t.tsv", {}, "holds no topics"),
        ("t.xml", {"1": "a"}, "does not say in which form topics are to be written; wanted .tsv"),
    ],
)
def test_what_would_be_read_otherwise_is_not_written(
    tmp_path: Path, name: str, topics: dict[str, str], said: str
) -> None:
    with pytest.raises(HypensearchError, match=said):
        write_topics(tmp_path / name, topics)
    assert not list(tmp_path.iterdir())


def test_json_keeps_ids_and_texts(tmp_path: Path) -> None:
    topics = {"007": "a\tb\nc"}
    write_topics(tmp_path / "t.json", topics)
    assert read_topics(tmp_path / "t.json") == topics


def _unreachable(*_: object) -> None:
    raise AssertionError("Pyserini was asked")
