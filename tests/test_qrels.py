# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import Any

import ir_measures
import pandas
import pytest

from hypensearch.errors import HypensearchError
from hypensearch.pyserini import bridge as pyserini_bridge
from hypensearch.qrels import (
    from_ir_measures,
    from_pandas,
    load_qrels,
    read_qrels,
    to_ir_measures,
    to_pandas,
    write_qrels,
)

QRELS = {"2": {"b": 2, "a": -1}, "010": {"a": 0}}


def test_written_and_read(tmp_path: Path) -> None:
    write_qrels(tmp_path / "new/qrels.txt", QRELS)
    assert (tmp_path / "new/qrels.txt").read_text() == "2 0 b 2\n2 0 a -1\n010 0 a 0\n"
    assert read_qrels(tmp_path / "new/qrels.txt") == QRELS == load_qrels(str(tmp_path / "new/qrels.txt"))


@pytest.mark.parametrize(
    ("qrels", "said"),
    [
        ({"1": {"a b": 1}}, "the document id 'a b' holds white space"),
        ({"": {"a": 1}}, "the topic id is empty"),
        ({"1": {"a": 0.5}}, "topic '1': the grade 0.5 of document 'a' is not a whole number"),
        ({"1": {"a": 10**7}}, "is not a whole number between"),
        ({}, "there are no judgements to write"),
    ],
)
def test_what_cannot_be_written_leaves_what_was_there(tmp_path: Path, qrels: Any, said: str) -> None:
    (tmp_path / "qrels.txt").write_text("before")
    with pytest.raises(HypensearchError, match=said):
        write_qrels(tmp_path / "qrels.txt", qrels)
    assert (tmp_path / "qrels.txt").read_text() == "before"


def test_to_and_from_pandas() -> None:
    frame = to_pandas(QRELS)
    assert list(frame.columns) == ["query_id", "doc_id", "relevance"]
    assert from_pandas(frame) == QRELS
    assert from_pandas(frame.rename(columns={"query_id": "qid", "doc_id": "docno", "relevance": "label"})) == QRELS
    assert from_pandas(frame.astype({"relevance": float})) == QRELS
    with pytest.raises(HypensearchError, match="the grade 0.5 of document 'a' of topic '1' is not a whole number"):
        from_pandas(pandas.DataFrame({"qid": ["1"], "docno": ["a"], "label": [0.5]}))


def test_to_and_from_ir_measures() -> None:
    assert to_ir_measures(QRELS)[0] == ir_measures.Qrel("2", "b", 2)
    assert from_ir_measures(to_ir_measures(QRELS)) == QRELS == from_ir_measures(QRELS)


def test_a_name_is_asked_of_pyserini(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pyserini_bridge, "named_qrels", lambda name: {"1": {name: 1}})
    assert load_qrels("dl19-passage") == {"1": {"dl19-passage": 1}}
