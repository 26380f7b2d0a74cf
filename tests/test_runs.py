# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections import namedtuple
from pathlib import Path
from typing import Any

import ir_measures
import pandas
import pytest

from hypensearch.errors import HypensearchError
from hypensearch.eval import evaluate
from hypensearch.hits import Hit
from hypensearch.runs import (
    from_ir_measures,
    from_pandas,
    read_run,
    to_ir_measures,
    to_pandas,
    write_run,
)

RUN = {"2": [Hit("b", 2.5), Hit("a", 1.0), Hit("c", 1.0)], "010": [Hit("a", -0.5)]}


def test_written_and_read(tmp_path: Path) -> None:
    write_run(tmp_path / "runs/run.txt", RUN, tag="mine")
    assert (tmp_path / "runs/run.txt").read_text() == (
        "2 Q0 b 1 2.500000 mine\n2 Q0 a 2 1.000000 mine\n2 Q0 c 3 0.999999 mine\n010 Q0 a 1 -0.500000 mine\n"
    )
    assert [hit.docid for hit in read_run(tmp_path / "runs/run.txt")["2"]] == ["b", "a", "c"]


def test_scores_as_they_are_and_as_many_as_wanted(tmp_path: Path) -> None:
    write_run(tmp_path / "run.txt", RUN, keep_ties=True)
    assert read_run(tmp_path / "run.txt") == RUN
    write_run(tmp_path / "run.txt", RUN, max_hits=1)
    assert [len(hits) for hits in read_run(tmp_path / "run.txt").values()] == [1, 1]
    write_run(tmp_path / "run.txt", {"1": [Hit(str(n), -n) for n in range(3000)]})
    assert len(read_run(tmp_path / "run.txt")["1"]) == 3000
    write_run(tmp_path / "run.tsv", RUN, "msmarco")
    assert (tmp_path / "run.tsv").read_text().startswith("2\tb\t1\n2\ta\t2\n")


def test_hits_of_others_are_written_by_score(tmp_path: Path) -> None:
    """Pyserini's searchers give objects of their own, and a fused list may be in any order."""
    other = namedtuple("other", "docid score lucene_docid")
    write_run(tmp_path / "run.txt", {"1": [other("x", 1, 7), other("y", 2.0, 3)]})
    assert read_run(tmp_path / "run.txt") == {"1": [Hit("y", 2.0), Hit("x", 1.0)]}


def test_what_cannot_be_written_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "run.txt").write_text("before")
    for run in ({"1": [Hit("a b", 1.0)]}, {"1": [Hit("a", float("nan"))]}, {"1": [Hit("a", 1.0), Hit("a", 0.5)]}):
        with pytest.raises(HypensearchError, match="run.txt: topic '1'|no finite number"):
            write_run(tmp_path / "run.txt", run)
    assert (tmp_path / "run.txt").read_text() == "before"


def test_to_and_from_pandas() -> None:
    frame = to_pandas(RUN)
    assert list(frame.columns) == ["query_id", "doc_id", "score", "rank"]
    assert frame["rank"].tolist() == [1, 2, 3, 1]
    assert from_pandas(frame) == RUN
    assert from_pandas(frame.rename(columns={"query_id": "qid", "doc_id": "docno"})) == RUN  # PyTerrier's
    assert from_pandas(frame.rename(columns={"query_id": "topic", "doc_id": "docid"})) == RUN  # Pyserini's
    assert from_pandas(frame.sample(frac=1, random_state=0))["2"][0] == Hit("b", 2.5)


def test_to_and_from_ir_measures() -> None:
    assert to_ir_measures(RUN)[0] == ir_measures.ScoredDoc("2", "b", 2.5)
    assert from_ir_measures(to_ir_measures(RUN)) == RUN
    assert from_ir_measures({topic: {hit.docid: hit.score for hit in hits} for topic, hits in RUN.items()}) == RUN
    assert from_ir_measures(to_pandas(RUN)) == RUN
    qrels = {"2": {"a": 1}, "010": {"a": 2}}
    theirs = ir_measures.calc_aggregate([ir_measures.nDCG @ 10], qrels, to_ir_measures(RUN))
    assert list(evaluate(qrels, RUN, ["nDCG@10"]).values.values()) == pytest.approx(list(theirs.values()))


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ({"topic": ["1"], "docid": ["a"]}, "columns topic, docid: wanted one called score"),
        ({"qid": ["1"], "document": ["a"], "score": [1.0]}, "wanted one called doc_id or docno or docid"),
        ({"qid": [1.0], "docno": ["a"], "score": [1.0]}, "the topic id 1.0 is a float: wanted text"),
        ({"qid": ["1"], "docno": [None], "score": [1.0]}, "the document id"),
        ({"qid": ["1"], "docno": ["a"], "score": [float("nan")]}, "the score nan of document 'a' of topic '1'"),
        ({"qid": ["1", "1"], "docno": ["a", "a"], "score": [1.0, 2.0]}, "topic '1' has document 'a' twice"),
        ({"qid": [], "docno": [], "score": []}, "found no rows"),
    ],
)
def test_frames_that_are_no_runs(rows: dict[str, Any], said: str) -> None:
    with pytest.raises(HypensearchError, match=said):
        from_pandas(pandas.DataFrame(rows))


def test_ids_that_pandas_took_for_numbers() -> None:
    assert from_pandas(pandas.DataFrame({"qid": [7], "docno": [12], "score": [1]})) == {"7": [Hit("12", 1.0)]}
