# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
import gzip
import io
from pathlib import Path
from typing import Any

import pytest

from hypensearch.errors import HypensearchError
from hypensearch.formats import json_lines
from hypensearch.formats.json_lines import binary_lines, id_of, read_json_lines


def test_objects_come_with_their_lines_and_blank_ones_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b'\xef\xbb\xbf{"a": 1}\n \x00\n\r\n\x1f{"a": "\xe2\x80\xa8"}'))
    assert list(read_json_lines(path, dict)) == [(1, {"a": 1}), (4, {"a": "\u2028"})]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", ":2: not JSON: Expecting property name enclosed in double quotes (column 2)"),
        ('{"a": 1} 2', ":2: not JSON: Extra data (column 10)"),
        ("[" * 100_000, ":2: not JSON: nested too deeply"),
        ('{"a": %s}' % ("9" * 5000), ":2: not JSON: a number with too many digits"),
        ("null", ":2: a JSON object was wanted, found null"),
        ("[1]", ":2: a JSON object was wanted, found a list"),
        ("{}", ":2: nothing in it"),
    ],
)
def test_other_lines_are_named(tmp_path: Path, line: str, message: str) -> None:
    def parse(record: dict[str, Any]) -> int:
        if not record:
            raise ValueError("nothing in it")
        return len(record)

    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1}\n' + line)
    with pytest.raises(HypensearchError) as caught:
        list(read_json_lines(path, parse))
    assert str(caught.value) == f"{path}{message}"


def test_places_of_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = binary_lines(io.BytesIO(b"a\r\n\n\xe2\x80\xa8b"), "a.jsonl", 3, 10)
    assert list(lines) == [(4, 10, b"a\r\n"), (5, 13, b"\n"), (6, 14, b"\xe2\x80\xa8b")]
    monkeypatch.setattr(json_lines, "MAX_LINE_BYTES", 3)
    with pytest.raises(HypensearchError, match=r"^a.jsonl:2: line is longer than 3 bytes$"):
        list(binary_lines(io.BytesIO(b"ab\nabcd"), "a.jsonl"))


@pytest.mark.parametrize(("value", "taken"), [("a", "a"), ("007", "007"), (7, "7"), (0, "0"), (-1, "-1")])
def test_ids_in_records(value: object, taken: str) -> None:
    assert id_of({"docid": "x", "_id": value}, "id", "_id", "docid") == taken


@pytest.mark.parametrize("value", [1.5, True, None, [], {"a": "x" * 50}])
def test_values_that_are_no_ids(value: object) -> None:
    with pytest.raises(
        ValueError, match=r"^an id \(a string or a whole number\) was wanted under 'id' or '_id', found"
    ):
        id_of({"id": value}, "id", "_id")
    with pytest.raises(ValueError, match="^the id is empty$"):
        id_of({"id": ""}, "id")
