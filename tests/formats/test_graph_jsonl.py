# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import gzip
import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypensearch.errors import HypensearchError
from hypensearch.formats.graph_jsonl import NeighbourList, read_graph_jsonl

docids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)


@given(st.lists(st.tuples(docids, st.lists(docids, max_size=4)), max_size=5), st.booleans())
def test_what_is_written_is_read(graph: list[tuple[str, list[str]]], escaped: bool) -> None:
    lines = [json.dumps({"item_id": docid, "neighbors": near}, ensure_ascii=escaped) for docid, near in graph]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "graph.jsonl"
        path.write_text("".join(line + "\n" for line in lines), encoding="utf-8", newline="\n")
        wanted = [NeighbourList(number, docid, near) for number, (docid, near) in enumerate(graph, start=1)]
        assert list(read_graph_jsonl(path)) == wanted


def test_the_authors_graphs(variant: Path) -> None:
    for name in ("l2", "ip"):
        lines = list(read_graph_jsonl(variant / f"neighbors_{name}.jsonl"))
        assert [line.docid for line in lines] == [f"doc-{row:03}" for row in range(200)]
        assert {len(line.neighbours) for line in lines} <= {20, 21}


def test_gzip_blank_lines_and_whole_numbers(tmp_path: Path) -> None:
    path = tmp_path / "graph.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"item_id": 1, "neighbors": [2, "b"]}\n\n{"item_id": 2, "neighbors": []}'))
    assert list(read_graph_jsonl(path)) == [NeighbourList(1, "1", ["2", "b"]), NeighbourList(3, "2", [])]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "graph.jsonl:2: not JSON"),
        ("[]", "graph.jsonl:2: a JSON object was wanted, found a list"),
        ('{"item_id": "a"}', 'graph.jsonl:2: .*`neighbors`; a line is {"item_id"'),
        ('{"neighbors": []}', "graph.jsonl:2: .*`item_id`; a line is"),
        ('{"item_id": "a", "neighbors": "b"}', "graph.jsonl:2: Expected `array`, got `str`.*; a line is"),
        ('{"item_id": null, "neighbors": []}', r"graph.jsonl:2: Expected `int \| str`, got `null`"),
        ('{"item_id": "a", "neighbors": [true]}', r"graph.jsonl:2: Expected `int \| str`, got `bool`"),
        ('{"item_id": "a", "neighbors": [""]}', "graph.jsonl:2: Expected `str` of length >= 1"),
    ],
)
def test_other_lines_are_refused(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "graph.jsonl"
    path.write_text('{"item_id": "a", "neighbors": ["b"]}\n' + line)
    with pytest.raises(HypensearchError, match=message):
        list(read_graph_jsonl(path))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(HypensearchError, match="no such file"):
        list(read_graph_jsonl(tmp_path / "graph.jsonl"))
