# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hypensearch.errors import HypensearchError
from hypensearch.flat import FlatIndex
from hypensearch.graph.builder import build_graph, import_graph
from hypensearch.graph.nearest import CuvsNeighbours, ExactNeighbours, recall
from hypensearch.graph.options import DISTANCES, GraphBuildOptions
from hypensearch.graph.store import GraphIndex
from hypensearch.index.join import join_indexes
from tests import reference
from tests.commands import Done
from tests.flat.crashes import dies_at_fsync
from tests.search.strategies import random_vectors, save_index

CPU = torch.device("cpu")


def run_index(*argv: object) -> Done:
    import contextlib
    import io

    from hypensearch.index.__main__ import main

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        return Done(main([str(word) for word in argv]), out.getvalue(), err.getvalue())


def whole_numbers(num_docs: int, dim: int, seed: int, spread: int = 3) -> np.ndarray:
    """Vectors of small whole numbers: distances are exact, many are equal, many vectors too, some are zero."""
    return np.random.default_rng(seed).integers(-spread, spread + 1, (num_docs, dim)).astype(np.float32)


def save_in_shards(folder: Path, vectors: np.ndarray, shards: int) -> FlatIndex:
    parts = [part for part in np.array_split(np.arange(len(vectors)), shards) if len(part)]
    for number, rows in enumerate(parts):
        save_index(folder / str(number), vectors[rows], [f"d{row}" for row in rows]).close()
    join_indexes([folder / str(number) for number in range(len(parts))], folder / "all")
    return FlatIndex.open(folder / "all")


@given(
    st.integers(1, 40),
    st.integers(1, 5),
    st.sampled_from(["l2", "ip"]),
    st.integers(1, 45),
    st.integers(1, 50),
    st.integers(1, 50),
    st.integers(1, 3),
    st.integers(0, 2**16),
)
@settings(max_examples=60)
def test_equals_the_plain_way(
    num_docs: int, dim: int, distance: str, degree: int, block_rows: int, tile_columns: int, shards: int, seed: int
) -> None:
    vectors = whole_numbers(num_docs, dim, seed)
    wanted = reference.nearest(vectors, distance, degree)
    with tempfile.TemporaryDirectory() as folder:
        index = save_in_shards(Path(folder), vectors, shards)
        graph = build_graph(index, CPU, GraphBuildOptions(distance=distance, degree=degree, block_rows=block_rows))
        np.testing.assert_array_equal(graph.neighbours, wanted)
        graph.verify()
        exact = ExactNeighbours(index, distance, degree, CPU, tile_columns)
        np.testing.assert_array_equal(exact(np.arange(num_docs)), wanted)


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_real_numbers(tmp_path: Path, distance: str, dtype: str) -> None:
    vectors = random_vectors(300, 24).astype(dtype).astype(np.float32)
    index = save_index(tmp_path / "index", vectors, dtype=dtype)
    graph = build_graph(index, CPU, GraphBuildOptions(distance=distance, degree=10))
    assert recall(graph.neighbours, reference.nearest(vectors, distance, 10)) == 1
    assert np.mean(graph.neighbours == reference.nearest(vectors, distance, 10)) > 0.999


def test_duplicates_come_first_by_row_and_zero_vectors_have_a_cosine(tmp_path: Path) -> None:
    vectors = np.tile(random_vectors(1, 33) * 1000, (30, 1))
    vectors[4] = 0
    index = save_index(tmp_path / "index", vectors)
    for distance in DISTANCES:
        graph = build_graph(index, CPU, GraphBuildOptions(distance=distance, degree=3, block_rows=7))
        assert graph.neighbours[10].tolist() == [0, 1, 2]
        assert graph.neighbours[1].tolist() == [0, 2, 3]


def test_the_authors_graphs_within_rounding(variant: Path, tmp_path: Path) -> None:
    documents = np.load(variant / "documents.npz")
    index = save_index(tmp_path / "index", documents["embeddings"], documents["ids"].tolist())
    vectors = documents["embeddings"].astype(np.float64)
    for distance in ("l2", "ip"):
        ours = build_graph(index, CPU, GraphBuildOptions(distance=distance, degree=20)).neighbours
        theirs = import_graph(
            index, variant / f"neighbors_{distance}.jsonl", CPU, GraphBuildOptions(distance=distance, name="theirs")
        )
        assert theirs.manifest.recall is not None
        assert theirs.manifest.recall > 0.99
        for row in range(200):
            near = [_distances(vectors, row, rows[row][:20], distance) for rows in (ours, theirs.neighbours)]
            np.testing.assert_allclose(near[0], near[1], atol=0.1 if distance == "l2" else 1e-3)
        (tmp_path / "index" / "graphs" / "theirs").rename(tmp_path / distance)


def _distances(vectors: np.ndarray, row: int, others: np.ndarray, distance: str) -> np.ndarray:
    if distance == "l2":
        return np.asarray(np.sqrt(((vectors[others] - vectors[row]) ** 2).sum(axis=1)))
    return np.asarray(vectors[others] @ vectors[row])


# Faiss


@pytest.mark.parametrize("distance", DISTANCES)
def test_faiss_has_the_recall_that_it_says(tmp_path: Path, distance: str) -> None:
    pytest.importorskip("faiss", reason="Faiss is not installed")
    chance = np.random.default_rng(0)
    centers = chance.standard_normal((40, 16), dtype=np.float32)
    vectors = centers[chance.integers(0, 40, 3000)] + 0.3 * chance.standard_normal((3000, 16), dtype=np.float32)
    index = save_index(tmp_path / "index", vectors)
    graph = build_graph(index, CPU, GraphBuildOptions(distance=distance, degree=10, builder="faiss", min_recall=0.9))
    graph.verify()
    exact = build_graph(index, CPU, GraphBuildOptions(distance=distance, degree=10))
    facts = graph.manifest
    assert graph.name == f"graph_{distance}_k10_faiss"
    assert (facts.builder, facts.recall_sample) == ("faiss", 256)
    assert facts.settings["probes"] >= 8
    assert facts.recall is not None
    assert facts.recall >= 0.9
    assert abs(recall(graph.neighbours, exact.neighbours) - facts.recall) < 0.05


def test_faiss_on_one_document(tmp_path: Path) -> None:
    pytest.importorskip("faiss", reason="Faiss is not installed")
    index = save_index(tmp_path / "index", random_vectors(1, 4))
    assert build_graph(index, CPU, GraphBuildOptions(builder="faiss", degree=2)).neighbours.tolist() == [[-1, -1]]


# cuVS


@pytest.mark.parametrize("distance", DISTANCES)
def test_what_cuvs_proposes_becomes_a_graph(tmp_path: Path, distance: str) -> None:
    """NN-descent is stood in for by lists that are the better the more is refined, and as untidy as they may be."""
    index = save_index(tmp_path / "index", random_vectors(300, 8))
    exact = ExactNeighbours(index, distance, 5, CPU)
    wanted = exact(np.arange(300))
    asked = []

    def descend(vectors: np.ndarray, metric: str, length: int, refined: int) -> np.ndarray:
        asked.append((metric, length, refined))
        if distance == "cosine":
            np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
        lists = np.full((len(vectors), length), 2**32 - 1, dtype=np.uint32)
        found = 5 if len(asked) > 1 else 2
        lists[:, :found] = wanted[:, :found]
        lists[:, found : 2 * found] = wanted[:, :found]
        lists[:, -1] = np.arange(len(vectors))
        return lists

    neighbours = CuvsNeighbours(index, exact, 0.9, descend)
    assert neighbours(np.arange(300)).tolist() == wanted.tolist()
    assert (neighbours.recall, neighbours.sample) == (1.0, 256)
    metric = "inner_product" if distance == "ip" else "sqeuclidean"
    assert asked == [(metric, 21, 31), (metric, 21, neighbours.refined)]


def test_cuvs_on_one_document(tmp_path: Path) -> None:
    index = save_index(tmp_path / "index", random_vectors(1, 4))
    exact = ExactNeighbours(index, "l2", 2, CPU)
    neighbours = CuvsNeighbours(index, exact, 0.9, lambda vectors, *_: np.zeros((1, 1), dtype=np.uint32))
    assert neighbours(np.arange(1)).tolist() == [[-1, -1]]


def test_cuvs_needs_a_gpu(tmp_path: Path) -> None:
    index = save_index(tmp_path / "index", random_vectors(5, 4))
    with pytest.raises(HypensearchError, match="--builder cuvs needs a CUDA GPU, --device is cpu: take"):
        build_graph(index, CPU, GraphBuildOptions(builder="cuvs", degree=2))


def test_recall() -> None:
    assert recall(np.array([[1, 2, -1], [3, 4, 5]]), np.array([[2, 1, -1], [3, 6, 7]])) == 3 / 5
    assert recall(np.array([[-1]]), np.array([[-1]])) == 0


# The authors' form


def write_jsonl(path: Path, lists: dict[str, list[str]]) -> Path:
    path.write_text("".join(json.dumps({"item_id": one, "neighbors": near}) + "\n" for one, near in lists.items()))
    return path


def test_import_keeps_order_drops_self_and_repetition(tmp_path: Path) -> None:
    index = save_index(tmp_path / "index", random_vectors(4, 3))
    lists = {"d2": ["d2", "d0", "d3", "d0"], "d0": ["d3"], "d1": [], "d3": ["d1", "d0", "d2"]}
    graph = import_graph(index, write_jsonl(tmp_path / "graph.jsonl", lists), CPU)
    assert graph.name == "graph_l2_k4"
    assert graph.neighbours.tolist() == [[3, -1, -1, -1], [-1] * 4, [0, 3, -1, -1], [1, 0, 2, -1]]
    assert graph.manifest.recall == round(6 / 12, 6)
    cut = import_graph(index, tmp_path / "graph.jsonl", CPU, GraphBuildOptions(degree=1, name="cut"))
    assert cut.neighbours.tolist() == [[3], [-1], [0], [1]]


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ({"d0": ["d1"], "d9": []}, r"graph.jsonl:2: document 'd9' is not in .*index; is it the graph of this corpus"),
        ({"d0": ["d8"]}, "graph.jsonl:1: document 'd8' is not in"),
        ({"d1": ["d0"]}, "has no line for 1 of the documents in .*, 'd0' for one"),
    ],
)
def test_graph_of_another_corpus_is_refused(tmp_path: Path, lists: dict[str, list[str]], message: str) -> None:
    index = save_index(tmp_path / "index", random_vectors(2, 3))
    with pytest.raises(HypensearchError, match=message):
        import_graph(index, write_jsonl(tmp_path / "graph.jsonl", lists), CPU)
    assert not (tmp_path / "index" / "graphs").exists()


def test_repeated_line_is_refused(tmp_path: Path) -> None:
    index = save_index(tmp_path / "index", random_vectors(2, 3))
    path = write_jsonl(tmp_path / "graph.jsonl", {"d0": ["d1"]})
    path.write_text(path.read_text() * 2)
    with pytest.raises(HypensearchError, match="graph.jsonl:2: document 'd0' has a line already"):
        import_graph(index, path, CPU)


# Stopped and gone on with


def test_killed_at_every_fsync_and_gone_on_with(tmp_path: Path) -> None:
    index = save_index(tmp_path / "index", whole_numbers(25, 4, 0))
    wanted = reference.nearest(index.shards[0].vectors, "l2", 3)
    torch.set_num_threads(1)
    for number in range(1, 100):
        name = f"graph{number}"
        died = dies_at_fsync(
            number, lambda name=name: build_graph(index, CPU, GraphBuildOptions(degree=3, name=name, block_rows=6))
        )
        if died and not (tmp_path / "index" / "graphs" / name).exists():
            with pytest.raises(HypensearchError, match="no such graph"):
                GraphIndex.open(index, name)
        graph = build_graph(index, CPU, GraphBuildOptions(degree=3, name=name, block_rows=5, overwrite=True))
        np.testing.assert_array_equal(graph.neighbours, wanted)
        graph.verify()
        if not died:
            break
    else:
        pytest.fail("never done")
    assert not list((tmp_path / "index" / "graphs").glob(".*"))


def stop_after_two_blocks(monkeypatch: pytest.MonkeyPatch, index: FlatIndex) -> list[np.ndarray]:
    """Stop a build after its second block; gives the rows that are looked at from then on."""
    looked_at: list[np.ndarray] = []
    find = ExactNeighbours.__call__

    def stopping(self: ExactNeighbours, rows: np.ndarray) -> np.ndarray:
        looked_at.append(rows)
        if len(looked_at) == 3:
            raise KeyboardInterrupt
        return find(self, rows)

    monkeypatch.setattr(ExactNeighbours, "__call__", stopping)
    with pytest.raises(KeyboardInterrupt):
        build_graph(index, CPU, GraphBuildOptions(degree=3, block_rows=4))
    looked_at[:] = [np.empty(0)] * 4
    return looked_at


def test_goes_on_behind_the_last_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = save_index(tmp_path / "index", whole_numbers(20, 4, 0))
    looked_at = stop_after_two_blocks(monkeypatch, index)
    graph = build_graph(index, CPU, GraphBuildOptions(degree=3, block_rows=100))
    assert looked_at[4].tolist() == list(range(8, 20))
    np.testing.assert_array_equal(graph.neighbours, reference.nearest(index.shards[0].vectors, "l2", 3))


def test_begun_otherwise_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = save_index(tmp_path / "index", whole_numbers(20, 4, 0))
    stop_after_two_blocks(monkeypatch, index)
    with pytest.raises(
        HypensearchError, match=r"unfinished graph \(8 documents\) begun with distance l2, now it is ip"
    ):
        build_graph(index, CPU, GraphBuildOptions(degree=3, distance="ip", name="graph_l2_k3"))
    graph = build_graph(index, CPU, GraphBuildOptions(degree=3, distance="ip", name="graph_l2_k3", overwrite=True))
    np.testing.assert_array_equal(graph.neighbours, reference.nearest(index.shards[0].vectors, "ip", 3))


def test_complete_graph_is_replaced_when_asked_only(tmp_path: Path) -> None:
    index = save_index(tmp_path / "index", whole_numbers(20, 4, 0))
    old = build_graph(index, CPU, GraphBuildOptions(degree=3, name="g"))
    with pytest.raises(HypensearchError, match="is a complete graph; give --overwrite to replace it, or --name"):
        build_graph(index, CPU, GraphBuildOptions(degree=3, name="g"))
    before = np.array(old.neighbours)
    new = build_graph(index, CPU, GraphBuildOptions(degree=2, distance="ip", name="g", overwrite=True))
    assert (new.degree, new.distance) == (2, "ip")
    np.testing.assert_array_equal(old.neighbours, before)


def test_rewriting_the_index_leaves_a_graph_that_is_refused(tmp_path: Path) -> None:
    index = save_index(tmp_path / "index", whole_numbers(20, 4, 0))
    build_graph(index, CPU, GraphBuildOptions(degree=3))
    from hypensearch.flat import FlatIndexWriter

    with FlatIndexWriter(tmp_path / "index", overwrite=True, dim=4) as writer:
        writer.append([f"d{row}" for row in range(20)], whole_numbers(20, 4, 1))
        writer.finish()
    with pytest.raises(HypensearchError, match="was made of other vectors"):
        GraphIndex.open(FlatIndex.open(tmp_path / "index"))


# The command


def test_command(tmp_path: Path) -> None:
    folder = tmp_path / "index"
    save_index(folder, whole_numbers(20, 4, 0)).close()
    done = run_index("--index", folder, "--degree", 4, "--device", "cpu", "--block-rows", 6)
    assert done.code == 0
    assert "4 l2 neighbours (exact) of 20 documents are in" in done.out
    assert "neighbours: 100%" in done.err
    done = run_index("--index", folder, "--degree", 4, "--device", "cpu")
    assert (done.code, done.err.count("\n")) == (2, 1)
    lists = {f"d{row}": [f"d{(row + 1) % 20}"] for row in range(20)}
    path = write_jsonl(tmp_path / "graph.jsonl", lists)
    done = run_index("--index", folder, "--import-graph", path, "--distance", "cosine", "--device", "cpu")
    assert done.code == 0
    assert "1 cosine neighbours (imported, recall" in done.out
    with FlatIndex.open(folder) as index:
        assert GraphIndex.open(index, "graph_cosine_k1").neighbours_of(19).tolist() == [0]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--name", "../x"], "--name ../x: wanted letters"),
        (["--import-graph", "g.jsonl", "--builder", "faiss"], "exclude each other"),
        (["--import-graph", "nowhere.jsonl"], "nowhere.jsonl: no such file"),
    ],
)
def test_command_refuses(tmp_path: Path, argv: list[str], message: str) -> None:
    save_index(tmp_path / "index", whole_numbers(5, 4, 0)).close()
    done = run_index("--index", tmp_path / "index", "--device", "cpu", *argv)
    assert done.code == 2
    assert message in done.err
