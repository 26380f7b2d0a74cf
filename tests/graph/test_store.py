# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from hypensearch.errors import HypensearchError
from hypensearch.flat import FlatIndex
from hypensearch.graph.builder import build_graph
from hypensearch.graph.store import GraphIndex, graph_names, rows_with_flaws
from tests.search.strategies import random_vectors, save_index

CPU = torch.device("cpu")


@pytest.fixture
def index(tmp_path: Path) -> FlatIndex:
    return save_index(tmp_path / "index", random_vectors(12, 4))


def test_is_mapped_and_known_by_name(index: FlatIndex) -> None:
    made = build_graph(index, CPU, degree=3)
    graph = GraphIndex.open(index)
    assert isinstance(graph.neighbours, np.memmap)
    assert not graph.neighbours.flags.writeable
    assert graph.neighbours.dtype == np.int32
    assert (graph.name, graph.num_docs, graph.degree, graph.distance) == ("graph_l2_k3", 12, 3, "l2")
    assert graph.manifest == made.manifest
    assert (graph.manifest.builder, graph.manifest.recall) == ("exact", None)
    graph.verify()


def test_several_graphs_lie_beside_one_index(index: FlatIndex) -> None:
    with pytest.raises(HypensearchError, match=r"has no graph; make one with: python -m hypensearch\.index"):
        GraphIndex.open(index)
    build_graph(index, CPU, degree=2)
    build_graph(index, CPU, degree=2, distance="ip")
    build_graph(index, CPU, degree=2, name="mine")
    assert graph_names(index) == ["graph_ip_k2", "graph_l2_k2", "mine"]
    assert GraphIndex.open(index, "graph_ip_k2").distance == "ip"
    with pytest.raises(HypensearchError, match=r"has several graphs \(graph_ip_k2, graph_l2_k2, mine\): name the one"):
        GraphIndex.open(index)
    with pytest.raises(HypensearchError, match=r"no such graph \(there: graph_ip_k2, graph_l2_k2, mine\)"):
        GraphIndex.open(index, "other")


def test_neighbours_of_a_document_are_only_those_there_are(tmp_path: Path) -> None:
    index = save_index(tmp_path / "index", np.array([[0.0], [1.0], [3.0]], dtype=np.float32))
    graph = build_graph(index, CPU, degree=5)
    assert graph.neighbours.tolist() == [[1, 2, -1, -1, -1], [0, 2, -1, -1, -1], [1, 0, -1, -1, -1]]
    assert graph.neighbours_of(1).tolist() == [0, 2]


def test_graph_of_vectors_that_were_replaced_is_refused(index: FlatIndex, tmp_path: Path) -> None:
    build_graph(index, CPU, degree=2)
    other = save_index(tmp_path / "other", random_vectors(12, 4, seed=1))
    (Path(index.folder) / "graphs").rename(Path(other.folder) / "graphs")
    with pytest.raises(HypensearchError, match=r"was made of other vectors .* --name graph_l2_k2 --overwrite"):
        GraphIndex.open(other)


def test_damage_is_found(index: FlatIndex) -> None:
    graph = build_graph(index, CPU, degree=2)
    manifest, neighbours = Path(graph.folder) / "graph.json", Path(graph.folder) / "neighbours.npy"
    whole, content = manifest.read_bytes(), neighbours.read_bytes()
    for damaged in (b"", b"{}", b"[]", whole[:-20], whole.replace(b'"l2"', b'"ip"')):
        manifest.write_bytes(damaged)
        with pytest.raises(HypensearchError, match=r"graph.json: damaged .* --overwrite"):
            GraphIndex.open(index)
    manifest.write_bytes(whole)
    for cut in (0, 50, len(content) - 4):
        neighbours.write_bytes(content[:cut])
        with pytest.raises(HypensearchError, match=r"neighbours\.npy: "):
            GraphIndex.open(index)
    neighbours.write_bytes(content[:-4] + b"\0\0\0\0")
    with pytest.raises(HypensearchError, match="has changed since it was written"):
        GraphIndex.open(index).verify()


def test_newer_format_is_named(index: FlatIndex) -> None:
    graph = build_graph(index, CPU, degree=2)
    path = Path(graph.folder) / "graph.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": 3}))
    with pytest.raises(HypensearchError, match="format version 3, this hypensearch reads up to version 2"):
        GraphIndex.open(index)


@pytest.mark.parametrize("neighbours", [[0, 1], [1, 1], [1, 5], [1, -2]])
def test_flaws(neighbours: list[int]) -> None:
    given = np.array([[1, 2], neighbours, [2, -1]], dtype=np.int32)
    assert rows_with_flaws(given, np.array([3, 0, 1]), 5).tolist() == [0]
    assert rows_with_flaws(np.array([[-1, -1], [0, 4]]), np.array([0, 1]), 5).tolist() == []
