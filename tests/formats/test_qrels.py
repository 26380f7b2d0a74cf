# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
import gzip
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypensearch.errors import HypensearchError
from hypensearch.formats import qrels
from hypensearch.formats.qrels import read_qrels
from tests.formats.strategies import near_misses, outcome_of

QRELS = {"010": {"d1": 2, "d2": 0}, "q2": {"d1": -1, "dé\u00a0x": 1}}
TREC = "010 0 d1 2\n010\t0\td2  0\r\n\nq2 Q0 d1 -1\nq2 0 dé\u00a0x +1 \n"
BEIR = "010\td1\t2\n010\td2\t0\nq2\td1\t-1\nq2\tdé\u00a0x\t1\n"


@pytest.mark.parametrize("text", [TREC, "\ufeff" + TREC, BEIR, "query-id\tcorpus-id\tscore\n" + BEIR, BEIR + BEIR])
@pytest.mark.parametrize("name", ["qrels.txt", "qrels.tsv.gz"])
def test_every_form_gives_the_same_grades(tmp_path: Path, text: str, name: str) -> None:
    content = text.encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    assert read_qrels(tmp_path / name) == QRELS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a.txt: holds no judgements; qrels are read in TREC's form"),
        ("query-id\tcorpus-id\tscore\n", "a.txt: holds no judgements"),
        ("q 0 d 1\nq 0 d 2\n", "a.txt:2: topic 'q' judges document 'd' as 2, but before as 1"),
        ("q 0 d 1\n\nq d 2\n", "a.txt:3: found 3 columns, 4 columns were wanted as on the first line"),
        ("q d 1\nq 0 d 1\n", "a.txt:2: found 4 columns, 3 columns were wanted"),
        ("q d\n", "a.txt:1: found 2 columns, wanted TREC's form"),
        ("q Q0 d 1 0.5 tag\n", "a.txt:1: found 6 columns, wanted TREC's form"),
        ("q 0 d 1.0\n", "a.txt:1: the grade '1.0' is not a whole number"),
        ("q 0 d 1\nq 0 e x\n", "a.txt:2: the grade 'x' is not a whole number"),
        ("q 0 d 1000001\n", "a.txt:1: the grade '1000001' is not a whole number between"),
        (f"q 0 d {'9' * 9999}\n", "a.txt:1: the grade '9{40}' is not"),
        ("q 0 d 1\n" + "x" * 70_000, "a.txt:2: line is longer than 65,536 bytes"),
    ],
)
def test_flaws_are_reported_with_file_and_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(HypensearchError, match=message):
        read_qrels(tmp_path / "a.txt")


@settings(max_examples=100, deadline=None)
@given(near_misses(b"q 0 d 1\n", b"q\td\t1\n", b" 0 ", b"-", b"q"), st.sampled_from(["a.tsv", "a.gz"]))
def test_any_bytes_give_qrels_or_one_line_of_error(content: bytes, name: str) -> None:
    qrels = outcome_of(read_qrels, name, content)
    assert qrels is None or all(isinstance(g, int) for grades in qrels.values() for g in grades.values())  # type: ignore[attr-defined]


@pytest.mark.parametrize("limit", ["MAX_BYTES", "MAX_LINE_BYTES"])
def test_larger_qrels_than_there_are_get_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    monkeypatch.setattr(qrels, limit, 30)
    (tmp_path / "q").write_text("topic 0 a-docid-of-many-letters 1\n")
    with pytest.raises(HypensearchError, match="30 bytes"):
        read_qrels(tmp_path / "q")


@pytest.mark.parametrize("grade", [1_000_000, -1_000_000])
def test_the_highest_grades(tmp_path: Path, grade: int) -> None:
    (tmp_path / "q").write_text(f"1 0 d {grade}\n")
    assert read_qrels(tmp_path / "q") == {"1": {"d": grade}}
