# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path

import pytest

from hypensearch.bench.__main__ import main as bench
from hypensearch.bench.measure import mean_overlap
from hypensearch.encode.__main__ import main as encode
from hypensearch.hits import Hit
from hypensearch.index.__main__ import main as index


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path) -> Path:
    """An index of 60 documents with a graph and codes, topics and qrels."""
    folder = tmp_path_factory.mktemp("bench")
    documents = [{"id": f"d{i}", "contents": f"river {i} flows north past storm {i * 7 % 13}"} for i in range(60)]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(document) + "\n" for document in documents))
    (folder / "topics.tsv").write_text("1\triver of the north\n2\tstorm 5\n")
    (folder / "qrels.txt").write_text("1 0 d1 1\n2 0 d5 1\n")
    made = str(folder / "index")
    source, target = ["input", "--corpus", str(folder / "corpus.jsonl")], ["output", "--embeddings", made]
    assert encode([*source, *target, "encoder", "--encoder", str(tiny_checkpoint)]) == 0
    assert index(["--index", made, "--degree", "8"]) == 0
    assert index(["--index", made, "--surrogate"]) == 0
    return folder


def test_every_search_is_measured(collection: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = [
        "--index",
        collection / "index",
        "--topics",
        collection / "topics.tsv",
        "--qrels",
        collection / "qrels.txt",
    ]
    flags += ["--output", collection / "bench.json", "--picture", collection / "bench.png", "--hits", "5"]
    assert bench([str(flag) for flag in flags]) == 0
    report = json.loads((collection / "bench.json").read_text())
    found = {measurement["name"]: measurement for measurement in report["measurements"]}
    assert found["exhaustive fp32"]["overlap"] == found["surrogate 0.998"]["overlap"] == 1
    assert found["exhaustive fp32"]["documents_scored"] == 60
    assert found["graph 10000/64/16"]["overlap"] == 1
    assert set(found["exhaustive fp32"]["measures"]) == {"nDCG@10", "RR(rel=1)@10"}
    assert all(0 < m["p50"] <= m["p95"] <= m["p99"] and m["batched"] > 0 for m in found.values())
    assert (collection / "bench.png").read_bytes().startswith(b"\x89PNG")
    assert "exhaustive fp32" in capsys.readouterr().out


def test_overlap_by_eye() -> None:
    wanted = [[Hit("a", 3.0), Hit("b", 2.0)], [Hit("c", 1.0), Hit("d", 0.5)]]
    found = [[Hit("b", 2.0), Hit("a", 1.0)], [Hit("c", 1.0), Hit("x", 0.9)]]
    assert mean_overlap(found, wanted, 2) == 0.75
