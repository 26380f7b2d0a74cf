# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path

from hypensearch.formats.run import read_run
from tests.commands import refuse, succeed


def test_the_authors_run_keeps_its_order_and_its_figures(variant: Path, tmp_path: Path) -> None:
    """Their own figures come out of the run that is made of theirs."""
    folder = variant / "retrieval_top50"
    lines = [json.loads(line) for line in (folder / "retrieved_items.jsonl").read_text("utf-8").split("\n") if line]

    said = succeed("convert.run", "--input", folder / "retrieved_items.jsonl", "--output", tmp_path / "run.txt")

    assert f"{len(lines)} topics, {sum(len(line['items']) for line in lines):,} hits" in said
    run = read_run(tmp_path / "run.txt")
    assert {topic: [hit.docid for hit in hits] for topic, hits in run.items()} == {
        line["query"]["id"]: [item["id"] for item in line["items"]] for line in lines
    }
    argv = ["--qrels", variant / "qrels.trec", "--run", tmp_path / "run.txt", "--output-format", "json"]
    ours = json.loads(succeed("eval", *argv, "--metrics", "nDCG@10", "RR@10", "R@1000"))["runs"][0]["values"]
    theirs = json.loads((folder / "metrics/aggregated_metrics.json").read_text())
    for name, value in ours.items():
        assert round(value, 4) == round(theirs[name.replace("(rel=1)", "")], 4), name


def test_depth_tag_and_form(tmp_path: Path) -> None:
    items = [{"id": f"d{rank}", "score": 1.0} for rank in range(3)]
    (tmp_path / "r.jsonl").write_text(json.dumps({"query": {"id": "010"}, "items": items}))
    flags = ["--input", tmp_path / "r.jsonl", "--output", tmp_path / "run.txt", "--hits", 2]

    succeed("convert.run", *flags, "--run-tag", "theirs")
    assert (tmp_path / "run.txt").read_text() == "010 Q0 d0 1 1.000000 theirs\n010 Q0 d1 2 0.999999 theirs\n"
    succeed("convert.run", *flags, "--output-format", "msmarco")
    assert (tmp_path / "run.txt").read_text() == "010\td0\t1\n010\td1\t2\n"


def test_what_is_refused_leaves_the_run_that_was_there(tmp_path: Path) -> None:
    (tmp_path / "run.txt").write_text("before")
    (tmp_path / "r.jsonl").write_text('{"query": {"id": "1"}, "items": []}\n')
    assert refuse("convert.run", "--input", tmp_path / "r.jsonl", "--output", tmp_path / "run.txt").endswith(
        "r.jsonl: holds no items"
    )
    (tmp_path / "r.jsonl").write_text('{"query": {"id": "1"}, "items": [{"id": "d", "score": 1}]}\n{}')
    assert "r.jsonl:2:" in refuse("convert.run", "--input", tmp_path / "r.jsonl", "--output", tmp_path / "run.txt")
    assert (tmp_path / "run.txt").read_text() == "before"
