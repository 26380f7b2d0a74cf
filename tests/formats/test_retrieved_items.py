# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from hypensearch.errors import HypensearchError
from hypensearch.formats.retrieved_items import read_retrieved_items
from hypensearch.hits import Hit


def test_ids_and_hits(tmp_path: Path) -> None:
    path = tmp_path / "retrieved_items.jsonl.gz"
    one = (
        '{"query": {"id": "1", "content": "a\u2028b"}, "items": [{"id": "d", "score": 2, "content": "x", "type": "y"}]}'
    )
    two = '{"query": {"id": 7}, "items": [{"id": 3, "score": -1.5}, {"id": "e", "score": -1.5}]}'
    path.write_bytes(gzip.compress(f"{one}\n\n{two}".encode()))
    assert list(read_retrieved_items(path)) == [
        ("1", [Hit("d", 2.0)]),
        ("7", [Hit("3", -1.5), Hit("e", -1.5)]),
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", ":1: not JSON"),
        ('{"query": {"id": "1"}}', ":1: .*; a line of the authors' run is"),
        ('{"query": {"id": "1"}, "items": ["d"]}', ":1: .*; a line of the authors' run is"),
        ('{"query": {}, "items": []}', r":1: .*missing required field `id` - at `\$.query`; a line of"),
        (
            '{"query": {"id": "1"}, "items": [{"id": "d", "score": NaN}]}',
            ":1: document 'd' has the score nan: a finite one was wanted",
        ),
        (
            '{"query": {"id": "1"}, "items": [{"id": "d", "score": true}]}',
            r":1: Expected `float`, got `bool` - at `\$.items",
        ),
        (
            '{"query": {"id": "1"}, "items": [{"id": "d", "score": 2}, {"id": "d", "score": 1}]}',
            ":1: document 'd' comes twice",
        ),
        (
            '{"query": {"id": "1"}, "items": [{"id": "d", "score": 1}, {"id": "e", "score": 2}]}',
            ":1: document 'e' has a higher score than the one before it",
        ),
    ],
)
def test_lines_that_are_something_else(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text(line)
    with pytest.raises(HypensearchError, match="r.jsonl" + message):
        list(read_retrieved_items(path))
