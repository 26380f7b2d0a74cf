# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from hypensearch.errors import HypensearchError
from hypensearch.flat import FlatIndex
from hypensearch.graph.builder import build_graph
from hypensearch.graph.options import GraphBuildOptions
from hypensearch.graph.store import GraphIndex, graph_names, rows_with_flaws
from tests.search.strategies import random_vectors, save_index

CPU = torch.device("cpu")


@pytest.fixture
def index(tmp_path: Path) -> FlatIndex:
    return save_index(tmp_path / "index", random_vectors(12, 4))


def test_is_mapped_and_known_by_name(index: FlatIndex) -> None:
    made = build_graph(index, CPU, GraphBuildOptions(degree=3))
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
    build_graph(index, CPU, GraphBuildOptions(degree=2))
    build_graph(index, CPU, GraphBuildOptions(degree=2, distance="ip"))
    build_graph(index, CPU, GraphBuildOptions(degree=2, name="mine"))
    assert graph_names(index) == ["graph_ip_k2", "graph_l2_k2", "mine"]
    assert GraphIndex.open(index, "graph_ip_k2").distance == "ip"
    with pytest.raises(HypensearchError, match=r"has several graphs \(graph_ip_k2, graph_l2_k2, mine\): name the one"):
        GraphIndex.open(index)
    with pytest.raises(HypensearchError, match=r"no such graph \(there: graph_ip_k2, graph_l2_k2, mine\)"):
        GraphIndex.open(index, "other")


def test_neighbours_of_a_document_are_only_those_there_are(tmp_path: Path) -> None:
    index = save_index(tmp_path / "index", np.array([[0.0], [1.0], [3.0]], dtype=np.float32))
    graph = build_graph(index, CPU, GraphBuildOptions(degree=5))
    assert graph.neighbours.tolist() == [[1, 2, -1, -1, -1], [0, 2, -1, -1, -1], [1, 0, -1, -1, -1]]
    assert graph.neighbours_of(1).tolist() == [0, 2]


@pytest.mark.parametrize("neighbours", [[0, 1], [1, 1], [1, 5], [1, -2]])
def test_flaws(neighbours: list[int]) -> None:
    given = np.array([[1, 2], neighbours, [2, -1]], dtype=np.int32)
    assert rows_with_flaws(given, np.array([3, 0, 1]), 5).tolist() == [0]
    assert rows_with_flaws(np.array([[-1, -1], [0, 4]]), np.array([0, 1]), 5).tolist() == []
