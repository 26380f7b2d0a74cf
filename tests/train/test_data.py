# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from hypensearch.errors import HypensearchError
from hypensearch.train.batches import EpochOrder, Examples
from hypensearch.train.data import Item, Record, RecordFile, parse_record
from tests.commands import piped


def lines(path: Path, *records: Any) -> Path:
    text = [record if isinstance(record, str) else json.dumps(record) for record in records]
    path.write_text("".join(line + "\n" for line in text), encoding="utf-8")
    return path


FORMS = {
    "pair": {"query": "q", "positive": "p"},
    "triple": {"anchor": "q", "positive": "p", "negative": "n"},
    "negatives": {"query": "q", "pos": ["p"], "neg": ["n"]},
    "authors": {
        "query": {"id": "1", "content": "q"},
        "items": [{"id": "2", "content": "p", "score": 3.5, "type": "positive"}, {"content": "n", "score": -1}],
    },
    "tevatron": {"query": "q", "positive_passages": [{"title": "t", "text": "p"}], "negative_passages": []},
    "columns": {"question": "q", "answer": "p", "negative_1": "n", "negative_2": None},
    "list": ["q", "p", "n"],
}


@pytest.mark.parametrize("form", FORMS)
def test_forms(form: str) -> None:
    record = parse_record(json.dumps(FORMS[form]))
    assert record.query == "q"
    assert record.positives[0].text == ("t p" if form == "tevatron" else "p")
    assert [item.text for item in record.negatives] == ([] if form in ("pair", "tevatron") else ["n"])


def test_a_sets_first_text_is_the_query() -> None:
    assert parse_record('{"set": ["q", "p", "r"]}') == parse_record('{"query": "q", "positives": ["p", "r"]}')


def test_negatives_keep_the_order_of_their_numbers() -> None:
    columns = {"anchor": "q", "positive": "p", **{f"negative_{i}": f"n{i}" for i in (10, 9, 1)}}
    assert [item.text for item in parse_record(json.dumps(columns)).negatives] == ["n1", "n9", "n10"]


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ({"label": [3, 1, 0.5]}, (3, 1, 0.5)),
        ({"scores": [2, 2.5]}, (0, -2, -2.5)),  # margins
        ({"score": [2, 2.5]}, (0, -2, -2.5)),
        ({"pos_scores": [3], "neg_scores": [1, 0.5]}, (3, 1, 0.5)),
    ],
)
def test_scores_in_lists_are_read(scores: dict[str, object], expected: tuple[float, ...]) -> None:
    columns = {"query": "q", "positive": "p", "negative_1": "n", "negative_2": "m", **scores}
    record = parse_record(json.dumps(columns))
    assert tuple(item.score for item in (*record.positives, *record.negatives)) == expected


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"query": "q", "positive": "p", "negative": "n", "label": [1, 2, 3]}, "label has 3 numbers for 1 positives"),
        ({"query": "q", "pos": ["p"], "neg": ["n"], "neg_scores": []}, "neg_scores has 0 numbers for 1 texts"),
        ({"query": "q", "positive": "p", "negative": "n", "label": ["high"]}, "label .'high'. is not a number"),
        ({"sentence1": "q", "sentence2": "p", "label": 0}, "a pair of label 0: only pairs that belong together"),
        ({"set": ["q"]}, "no positive"),
        ({"query": "q", "items": []}, "no positive: items is empty"),
        ({"set": []}, "query is not a text"),
        (["q"], "wanted a JSON object, or a list of at least two texts, found list"),
    ],
)
def test_columns_that_do_not_fit_each_other(columns: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_record(json.dumps(columns))


def test_scores_are_read() -> None:
    assert parse_record(json.dumps(FORMS["authors"])) == Record("q", (Item("p", 3.5),), (Item("n", -1.0),))
    assert math.isnan(parse_record(json.dumps(FORMS["authors"]), label_key="other").positives[0].score)


def test_all_bad_lines_are_listed(tmp_path: Path) -> None:
    good = FORMS["pair"]
    path = lines(tmp_path / "a.jsonl", good, "{", {"query": " ", "positive": "p"}, {"query": "q"}, [1], good)
    with pytest.raises(HypensearchError) as error:
        RecordFile(path)
    for found in ("4 bad lines", "line 2: not JSON", "line 3: query is empty", "line 4: no positive", "line 5: wanted"):
        assert found in str(error.value)


def test_many_bad_lines_are_counted(tmp_path: Path) -> None:
    with pytest.raises(HypensearchError, match=r"30 bad lines: line 1: .*line 20: [^;]*; and 10 more$"):
        RecordFile(lines(tmp_path / "a.jsonl", *["{"] * 30))


def test_what_losses_need_is_checked(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", FORMS["triple"], FORMS["pair"])
    with pytest.raises(HypensearchError, match="line 2: 0 negatives"):
        RecordFile(path, least_negatives=1)
    with pytest.raises(HypensearchError, match="line 1: an item has no 'label'"):
        RecordFile(path, needs_scores=True, label_key="label")


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_an_empty_file_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.jsonl").write_text(content)
    with pytest.raises(HypensearchError, match="no training record"):
        RecordFile(tmp_path / "a.jsonl")


def test_draws_depend_on_epoch_and_record_only(tmp_path: Path) -> None:
    record = {"query": "q", "positive": "p", "negatives": [f"n{i}" for i in range(50)]}
    examples = Examples([RecordFile(lines(tmp_path / "a.jsonl", record, record))], num_negatives=5, seed=1)
    first = examples[1]
    assert examples[0].items != first.items
    examples.set_epoch(1)
    assert examples[1].items != first.items
    examples.set_epoch(0)
    assert examples[1] == first


def test_few_negatives_are_filled_up(tmp_path: Path) -> None:
    examples = Examples([RecordFile(lines(tmp_path / "a.jsonl", FORMS["triple"]))], num_negatives=3, seed=1)
    assert [item and item.text for item in examples[0].items] == ["p", "n", None, None]


def test_batches_are_of_one_source(tmp_path: Path) -> None:
    files = [RecordFile(lines(tmp_path / name, *[FORMS["pair"]] * size)) for name, size in (("a", 40), ("b", 20))]
    examples = Examples(files, num_negatives=0, seed=3)
    order = EpochOrder(examples, batch_size=8, seed=3)
    rows = list(order)
    batches = [rows[start : start + 8] for start in range(0, len(rows), 8)]
    assert len(rows) == len(set(rows)) == len(order) == 56
    assert all(len({row >= 40 for row in batch}) == 1 for batch in batches)
    order.set_epoch(1)
    assert list(order) != rows
    order.set_epoch(0)
    assert list(order) == rows


def test_a_pipe_is_refused_with_its_reason() -> None:
    with (
        piped('{"query": "q", "positives": ["p"], "negatives": ["n"]}\n') as pipe,
        pytest.raises(HypensearchError, match="a pipe, but training reads records in random order"),
    ):
        RecordFile(pipe)
