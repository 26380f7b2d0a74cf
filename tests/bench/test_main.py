# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypensearch.bench.__main__ import main as bench
from hypensearch.bench.measure import mean_overlap, memory_mb, reset_peak
from hypensearch.bench.picture import frontier
from hypensearch.encode.__main__ import main as encode
from hypensearch.index.__main__ import main as index
from tests.commands import refuse, succeed


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
    flags += ["--variants", "paper", "released", "--reranked", "60"]
    flags += ["--output", collection / "bench.json", "--picture", collection / "bench.png", "--hits", "5"]
    assert bench([str(flag) for flag in flags]) == 0
    report = json.loads((collection / "bench.json").read_text())
    found = {measurement["name"]: measurement for measurement in report["measurements"]}
    assert found["exhaustive fp32"]["overlap"] == found["surrogate 0.998"]["overlap"] == 1
    assert found["Faiss flat"]["overlap"] < 1
    assert found["Faiss flat"]["documents_scored"] == 0
    assert found["Faiss+q-net flat, 60 scored"]["overlap"] == 1
    assert found["Faiss+q-net flat, 60 scored"]["documents_scored"] == 60
    assert found["Faiss-HNSW 32"]["p50"] > 0
    assert found["exhaustive fp32"]["documents_scored"] == 60
    assert found["graph-paper 10000/64/16 = Efficient 1"]["overlap"] == 1
    assert set(found["exhaustive fp32"]["measures"]) == {"nDCG@10", "RR(rel=1)@10"}
    assert all(0 < m["p50"] <= m["p95"] <= m["p99"] and m["queries_per_second"] > 0 for m in found.values())
    assert all(m["memory"]["peak"] >= m["memory"]["own"] > 0 for m in found.values())
    for measurement in found.values():
        assert sum(measurement["stages"].values()) == pytest.approx(measurement["p50"], rel=1)
    assert found["exhaustive fp32"]["stages"]["score"] > 0
    assert set(report["query_encoder_seconds"]) == {"encode", "generate"}
    assert (collection / "bench.png").read_bytes().startswith(b"\x89PNG")
    assert "exhaustive fp32" in capsys.readouterr().out


@pytest.mark.parametrize("setting", ["10/2", "10/2/0", "a/b/c"])
def test_settings_that_are_none(setting: str) -> None:
    line = refuse("bench", "--index", "i", "--topics", "t", "--graph-settings", setting)
    assert "is not ENTRIES/CANDIDATES/ITERATIONS" in line


def test_only_what_is_asked_for(collection: Path) -> None:
    where = ["--index", collection / "index", "--topics", collection / "topics.tsv", "--hits", "5"]
    what = ["--searches", "graph", "surrogate", "--graph-settings", "20/4/2", "--targets", "0.5"]
    succeed("bench", *where, *what, "--output", collection / "few.json")
    report = json.loads((collection / "few.json").read_text())
    assert [one["name"] for one in report["measurements"]] == ["surrogate 0.5", "graph-released 20/4/2"]


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1))
def test_frontier_is_what_nothing_dominates(points: list[tuple[int, int]]) -> None:
    def dominated(point: tuple[int, int]) -> bool:
        return any(other != point and other[0] <= point[0] and other[1] >= point[1] for other in points)

    assert frontier(points) == sorted({point for point in points if not dominated(point)})


def test_peak_of_memory_begins_anew() -> None:
    memory = bytearray(200_000_000)
    memory[::4096] = b"x" * len(memory[::4096])
    high = memory_mb()["peak"]
    del memory
    reset_peak()
    assert memory_mb()["peak"] <= high - 100


def test_overlap_by_eye() -> None:
    assert mean_overlap([["b", "a"], ["c", "x"]], [["a", "b"], ["c", "d"]], 2) == 0.75
    assert mean_overlap([[1, 2, 3]], [[1, 4, 2]], 1) == 1
