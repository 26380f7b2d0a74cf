# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Corpora at the edge, searched in every way: one document, all alike, many copies, all scores equal, no way across."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from hypensearch.errors import HypensearchError
from hypensearch.flat import FlatIndex
from hypensearch.graph.builder import build_graph
from hypensearch.graph.options import GraphBuildOptions, GraphOptions
from hypensearch.graph.store import GraphIndex
from hypensearch.hits import Hit
from hypensearch.models import QNetConfig, QNets
from hypensearch.search import HypencoderSearcher
from hypensearch.surrogate.builder import build_surrogate
from hypensearch.surrogate.store import open_surrogate
from tests.search.strategies import exact_hits, hits_of, random_q_nets, random_vectors, save_index

CPU = torch.device("cpu")
CONFIG = QNetConfig(dims=(16, 16, 1))
WAYS = {
    "exhaustive": {"searcher": "exhaustive"},
    "graph": {"searcher": "graph"},
    "graph, paper": {"searcher": "graph", "variant": "paper", "ncandidates": 1000},
    "surrogate": {"searcher": "surrogate"},
}
Search = Callable[[QNets, int], list[list[Hit]]]


def searches(index: FlatIndex, way: str) -> Search:
    """Make what a way needs, and search with it."""
    if open_surrogate(index) is None:
        build_surrogate(index, random_q_nets(CONFIG, 8, seed=5), CPU)
        build_graph(index, CPU, GraphBuildOptions(degree=5))
    searcher = HypencoderSearcher(index.folder, device="cpu", check=False, **WAYS[way])  # type: ignore[arg-type]
    return lambda q_nets, k: [searcher.search(q_net, k) for q_net in q_nets]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("num_docs", [1, 2, 3, 17])
def test_fewer_documents_than_entry_points_sample_neighbours_or_hits(tmp_path: Path, num_docs: int, way: str) -> None:
    index, q_nets = save_index(tmp_path / "index", random_vectors(num_docs, 16)), random_q_nets(CONFIG, 2)
    assert searches(index, way)(q_nets, 1000) == exact_hits(index, q_nets, num_docs)


@pytest.mark.parametrize("way", WAYS)
def test_all_documents_alike(tmp_path: Path, way: str) -> None:
    """More than the sample of surrogate search: the fit has nothing to go by."""
    vectors = np.tile(random_vectors(1, 16), (1500, 1))
    index, q_nets = save_index(tmp_path / "index", vectors), random_q_nets(CONFIG, 2)
    wanted = exact_hits(index, q_nets, 1)
    for hits, (best,) in zip(searches(index, way)(q_nets, 20), wanted, strict=True):
        assert [hit.score for hit in hits] == [best.score] * 20
        assert len({hit.docid for hit in hits}) == 20
        assert hits == sorted(hits, key=lambda hit: hit.docid)


@pytest.mark.parametrize("way", WAYS)
def test_every_score_equal(tmp_path: Path, way: str) -> None:
    """A q-net whose output layer is zero."""
    q_nets = random_q_nets(CONFIG, 1)
    q_nets.weights[-1].zero_()
    index = save_index(tmp_path / "index", random_vectors(1500, 16))
    (hits,) = searches(index, way)(q_nets, 10)
    assert [hit.score for hit in hits] == [0.0] * 10
    assert hits == sorted(hits, key=lambda hit: hit.docid)


@pytest.mark.parametrize("way", WAYS)
def test_copies_are_all_found(tmp_path: Path, way: str) -> None:
    """Each document stands in the corpus three times, far apart."""
    vectors = np.tile(random_vectors(500, 16), (3, 1))
    index, q_nets = save_index(tmp_path / "index", vectors), random_q_nets(CONFIG, 2)
    for hits, wanted in zip(searches(index, way)(q_nets, 9), exact_hits(index, q_nets, 9), strict=True):
        assert hits == wanted


@pytest.mark.parametrize("way", ["exhaustive", "graph", "surrogate"])
def test_broken_q_nets_are_an_error(tmp_path: Path, way: str) -> None:
    index, q_nets = save_index(tmp_path / "index", random_vectors(1500, 16)), random_q_nets(CONFIG, 1)
    search = searches(index, way)
    q_nets.weights[-1].fill_(float("nan"))
    with pytest.raises(HypensearchError, match="q-net"):
        search(q_nets, 5)


@pytest.mark.parametrize("way", ["exhaustive", "graph", "surrogate"])
def test_q_nets_for_other_vectors_are_refused(tmp_path: Path, way: str) -> None:
    index = save_index(tmp_path / "index", random_vectors(30, 16))
    search = searches(index, way)
    with pytest.raises(HypensearchError, match="have 16 dimensions, but the q-nets take 8"):
        search(random_q_nets(QNetConfig(dims=(8, 8, 1)), 1), 5)


def test_no_way_between_two_halves(tmp_path: Path) -> None:
    """Neighbours stay within their half; entry points in both make the walk see both, those in one do not."""
    vectors = random_vectors(200, 16)
    vectors[100:] += 1000
    index, q_nets = save_index(tmp_path / "index", vectors), random_q_nets(CONFIG, 2)
    build_graph(index, CPU, GraphBuildOptions(degree=5))
    neighbours = GraphIndex.open(index).neighbours
    assert (neighbours[:100] < 100).all() and (neighbours[100:] >= 100).all()  # noqa: PT018
    few = GraphOptions(num_entry_points=40, ncandidates=200).open(index, CPU, check=False)
    for hits, wanted in zip(hits_of(index, few.search(q_nets, 200)), exact_hits(index, q_nets, 200), strict=True):
        scores = {hit.docid: hit.score for hit in wanted}
        assert {int(hit.docid[1:]) >= 100 for hit in hits} == {True, False}
        assert all(scores[hit.docid] == hit.score for hit in hits)
