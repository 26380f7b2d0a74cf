# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import sys
from pathlib import Path

import pytest

from hypensearch import pyserini_bridge
from hypensearch.errors import HypensearchError
from hypensearch.topics import load_topics


def test_a_file_needs_neither_pyserini_nor_java(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "topics.tsv"
    path.write_text("2\tstone\n1\twater\n")
    monkeypatch.setitem(sys.modules, "hypensearch.pyserini_bridge", None)  # importing it would fail
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


def _unreachable(*_: object) -> None:
    raise AssertionError("Pyserini was asked")
