# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hypensearch.errors import HypensearchError
from hypensearch.flat import FlatIndex
from hypensearch.flat.join import join_indexes
from hypensearch.formats.sealed import FileRecord
from hypensearch.graph.builder import GraphWriter, build_graph, import_graph
from hypensearch.graph.options import VARIANTS, GraphBuildOptions, GraphOptions
from hypensearch.graph.search import GraphSearch
from hypensearch.graph.store import GraphIndex, GraphManifest
from hypensearch.hits import Hit
from hypensearch.models import QNetConfig, QNets
from tests import reference
from tests.search.strategies import exact_hits, hits_of, random_q_nets, random_vectors, save_index

CPU = torch.device("cpu")
CONFIG = QNetConfig(dims=(16, 16, 16, 1))
SETTINGS = [
    "ip_default_like",
    "l2_default_like",
    "l2_few_entry_points",
    "l2_max_iter_1",
    "l2_ncandidates_above_top_k",
    "l2_no_early_stop",
]


def save_graph(index: FlatIndex, neighbours: np.ndarray, name: str = "graph") -> GraphIndex:
    """Write any neighbours as a graph."""
    facts = GraphManifest(
        index.num_docs, neighbours.shape[1], "l2", "imported", index.vectors_digest, FileRecord(0, "")
    )
    with GraphWriter(index, name, facts) as writer:
        writer.append(neighbours)
        return writer.finish()


def q_nets_with_scores(scores: np.ndarray) -> QNets:
    """Q-nets without blocks that give any scores to unit vectors, *Shape:* ``(num_queries, num_docs)``."""
    return QNets.from_vectors(torch.from_numpy(scores))


@contextmanager
def table(scores: np.ndarray, neighbours: np.ndarray, docids: list[str] | None = None) -> Iterator[Any]:
    """An index, a graph and q-nets that give these scores."""
    vectors = np.eye(scores.shape[1], dtype=np.float32)
    with tempfile.TemporaryDirectory() as folder, save_index(Path(folder) / "index", vectors, docids) as index:
        yield index, save_graph(index, neighbours), q_nets_with_scores(scores)


# The authors' results


@dataclass(frozen=True)
class Expected:
    parameters: dict[str, Any]
    entry_points: list[str]
    queries: list[dict[str, Any]]


def read_expected(path: Path) -> Expected:
    facts = json.loads(path.read_text(encoding="utf-8"))
    queries = [query for query in facts["queries"] if query["items"] is not None]
    return Expected(facts["parameters"], facts["entry_point_ids"], queries)


def check_equals(index: FlatIndex, variant: Path, q_nets: QNets, expected: Expected, atol: float) -> None:
    """Compare hits, and what each iteration scored: a walk of fewer iterations is the start of a longer one."""
    parameters = dict(expected.parameters)
    distance, k, max_iter = parameters.pop("graph"), parameters.pop("top_k"), parameters.pop("max_iter")
    graph = import_graph(index, variant / f"neighbors_{distance}.jsonl", CPU, GraphBuildOptions(distance=distance))
    for iterations in range(1, max_iter + 1):
        found = GraphSearch(index, graph, CPU, GraphOptions(max_iter=iterations, **parameters)).search(q_nets, k)
        for of_query, query in zip(found, expected.queries, strict=True):
            assert of_query.scored == sum(query["scored_per_iteration"][:iterations]), query["id"]
    for of_query, query in zip(found, expected.queries, strict=True):
        assert of_query.rounds == len(query["scored_per_iteration"])
        hits = of_query.hits(index.docid)
        by_id = {item["id"]: item["score"] for item in query["items"]}
        np.testing.assert_allclose([hit.score for hit in hits], list(by_id.values()), atol=atol)
        untied = [hit for hit in hits if sum(abs(hit.score - other) <= 2 * atol for other in by_id.values()) == 1]
        assert all(abs(by_id[hit.docid] - hit.score) <= atol for hit in untied)


@pytest.mark.parametrize("name", SETTINGS)
def test_released_variant_equals_the_authors_results(variant: Path, tmp_path: Path, name: str) -> None:
    """All queries, from the authors' own scores."""
    expected = read_expected(variant / "approx" / f"{name}.json")
    documents = np.load(variant / "documents.npz")
    index = save_index(tmp_path / "index", np.eye(200, dtype=np.float32), documents["ids"].tolist())
    number = expected.parameters["num_entry_points"]
    assert [index.docid(row) for row in random.Random(43).sample(range(200), number)] == expected.entry_points
    q_nets = q_nets_with_scores(np.load(variant / "scores.npz")["scores"])
    assert len(q_nets) == 20
    check_equals(index, variant, q_nets, expected, atol=3e-5)


@pytest.mark.parametrize("name", SETTINGS)
def test_with_the_authors_q_nets(variant: Path, tmp_path: Path, name: str) -> None:
    """The queries whose q-nets are at hand, from vectors and weights."""
    expected = read_expected(variant / "approx" / f"{name}.json")
    documents, weights = np.load(variant / "documents.npz"), np.load(variant / "queries.npz")
    index = save_index(tmp_path / "index", documents["embeddings"], documents["ids"].tolist())
    blocks = sum(key.startswith("bias_") for key in weights)
    tensors = {key: torch.from_numpy(weights[key]) for key in weights if key.startswith(("weight_", "bias_"))}
    dims = (index.dim, *(tensors[f"bias_{block}"].shape[1] for block in range(blocks)), 1)
    q_nets = QNets(
        QNetConfig(dims=dims),
        [tensors[f"weight_{block}"] for block in range(blocks + 1)],
        [tensors[f"bias_{block}"] for block in range(blocks)],
    )
    few = Expected(expected.parameters, expected.entry_points, expected.queries[: len(q_nets)])
    check_equals(index, variant, q_nets, few, atol=3e-5)


# The plain way


@st.composite
def tables(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Scores with many ties, any graph (disconnected ones too), docids in no order."""
    num_docs, degree = draw(st.integers(1, 25)), draw(st.integers(1, 6))
    chance = np.random.default_rng(draw(st.integers(0, 2**32)))
    spread = draw(st.sampled_from([1, 4, 1000]))
    scores = chance.integers(-spread, spread, (3, num_docs)).astype(np.float32) / 4
    neighbours = np.full((num_docs, degree), -1, dtype=np.int32)
    for row in range(num_docs):
        others = chance.permutation(np.delete(np.arange(num_docs), row))[: chance.integers(0, degree + 1)]
        neighbours[row, : len(others)] = others
    return scores, neighbours, [f"d{place}" for place in chance.permutation(num_docs)]


@given(
    tables(),
    st.sampled_from(VARIANTS),
    st.integers(1, 30),
    st.integers(1, 30),
    st.integers(1, 8),
    st.integers(1, 6),
    st.booleans(),
)
def test_equals_the_plain_walk(
    given_table: tuple[np.ndarray, np.ndarray, list[str]],
    variant: str,
    k: int,
    num_entry_points: int,
    ncandidates: int,
    max_iter: int,
    early_stop: bool,
) -> None:
    scores, neighbours, docids = given_table
    with table(scores, neighbours, docids) as (index, graph, q_nets):
        parameters: dict[str, Any] = {"ncandidates": ncandidates, "max_iter": max_iter, "early_stop": early_stop}
        options = GraphOptions(num_entry_points=num_entry_points, variant=variant, **parameters)
        search = GraphSearch(index, graph, CPU, options)
        found = search.search(q_nets, k)
        entries = random.Random(43).sample(range(len(docids)), min(num_entry_points, len(docids)))
        lists = [[row for row in rows if row >= 0] for rows in neighbours.tolist()]
        for query, (of_query, hits) in enumerate(zip(found, hits_of(index, found), strict=True)):
            rows, scored = reference.graph_search(
                scores[query].tolist(),
                lists,
                entries,
                min(k, len(docids)),
                variant=variant,
                docids=docids,
                **parameters,
            )
            assert [hit.docid for hit in hits] == [docids[row] for row in rows]
            assert [hit.score for hit in hits] == scores[query][rows].tolist()
            assert (of_query.scored, of_query.rounds) == (sum(scored), len(scored))
        assert [hits_of(index, search.search(q_net, k))[0] for q_net in q_nets] == hits_of(index, found)


@given(st.integers(1, 60), st.integers(1, 70), st.sampled_from(VARIANTS), st.integers(0, 100))
def test_all_documents_as_entry_points_give_the_hits_of_exhaustive_search(
    num_docs: int, k: int, variant: str, seed: int
) -> None:
    q_nets, vectors = random_q_nets(CONFIG, 2, seed), random_vectors(num_docs, 16, seed)
    vectors[num_docs // 2 :] = vectors[: num_docs - num_docs // 2]  # duplicates
    with tempfile.TemporaryDirectory() as folder, save_index(Path(folder) / "index", vectors) as index:
        graph = build_graph(index, CPU, GraphBuildOptions(degree=3))
        ncandidates = k if variant == "paper" else 2
        options = GraphOptions(num_entry_points=num_docs, ncandidates=ncandidates, variant=variant)
        found = GraphSearch(index, graph, CPU, options).search(q_nets, k)
        assert hits_of(index, found) == exact_hits(index, q_nets, k)


@given(st.integers(2, 200), st.integers(1, 30), st.sampled_from(VARIANTS), st.integers(1, 3), st.integers(0, 100))
@settings(max_examples=30)
def test_hits_have_the_scores_of_exhaustive_search(num_docs: int, k: int, variant: str, shards: int, seed: int) -> None:
    q_nets, vectors = random_q_nets(CONFIG, 3, seed), random_vectors(num_docs, 16, seed)
    with tempfile.TemporaryDirectory() as folder:
        index = save_in_shards(Path(folder), vectors, shards)
        graph = build_graph(index, CPU, GraphBuildOptions(degree=8))
        options = GraphOptions(num_entry_points=5, ncandidates=4, variant=variant)
        search = GraphSearch(index, graph, CPU, options)
        found = hits_of(index, search.search(q_nets, k))
        for hits, every in zip(found, exact_hits(index, q_nets, num_docs), strict=True):
            exact = {hit.docid: hit.score for hit in every}
            assert [hit.score for hit in hits] == [exact[hit.docid] for hit in hits]
            assert sorted(hits, key=lambda hit: (-hit.score, hit.docid)) == hits
        assert [hits_of(index, search.search(q_net, k))[0] for q_net in q_nets] == found


def save_in_shards(folder: Path, vectors: np.ndarray, shards: int) -> FlatIndex:
    parts = [part for part in np.array_split(np.arange(len(vectors)), shards) if len(part)]
    for number, rows in enumerate(parts):
        save_index(folder / str(number), vectors[rows], [f"d{row}" for row in rows]).close()
    join_indexes([folder / str(number) for number in range(len(parts))], folder / "all")
    return FlatIndex.open(folder / "all")


def test_ties_over_shards_go_by_docid(tmp_path: Path) -> None:
    index = save_in_shards(tmp_path, np.tile(random_vectors(1, 16), (30, 1)), 3)
    graph = build_graph(index, CPU, GraphBuildOptions(degree=2))
    q_nets = random_q_nets(CONFIG, 1)
    found = GraphSearch(index, graph, CPU, GraphOptions(num_entry_points=30)).search(q_nets, 12)
    assert hits_of(index, found) == exact_hits(index, q_nets, 12)


# Bounds and seeds


def chain(num_docs: int) -> np.ndarray:
    """A graph in which each document has the next one as its neighbour."""
    return np.append(np.arange(1, num_docs), -1).astype(np.int32)[:, None]


def rows(*of_queries: list[int]) -> list[np.ndarray]:
    return [np.array(of_query, dtype=np.int64) for of_query in of_queries]


def test_walk_by_eye() -> None:
    """A chain whose scores rise: each iteration scores one more document."""
    with table(np.arange(6, dtype=np.float32)[None], chain(6)) as (index, graph, q_net):
        search = GraphSearch(index, graph, CPU, GraphOptions(num_entry_points=0, max_iter=4))
        (found,) = search.search(q_net, 2, starts=rows([1]))
        assert found.hits(index.docid) == [Hit("d4", 4.0), Hit("d3", 3.0)]
        assert (found.rounds, found.scored, found.recall) == (4, 4, None)


def test_part_of_the_graph_that_no_edge_leads_to_is_not_found() -> None:
    neighbours = np.array([[1], [0], [3], [2]], dtype=np.int32)
    with table(np.array([[1, 2, 3, 4]], dtype=np.float32), neighbours) as (index, graph, q_net):
        search = GraphSearch(index, graph, CPU, GraphOptions(num_entry_points=0))
        assert search.search(q_net, 4, starts=rows([0]))[0].rows.tolist() == [1, 0]
        assert search.search(q_net, 4, starts=rows([0, 2]))[0].rows.tolist() == [3, 2, 1, 0]


@pytest.mark.parametrize("max_scored", [1, 3, 5, 100])
def test_no_more_than_max_scored_are_scored(max_scored: int) -> None:
    index_scores = np.random.default_rng(0).random((2, 50), dtype=np.float32)
    near = np.array([np.delete(np.arange(50), row)[:7] for row in range(50)], dtype=np.int32)
    with table(index_scores, near) as (index, graph, q_nets):
        options = GraphOptions(num_entry_points=4, max_scored=max_scored, early_stop=False)
        search = GraphSearch(index, graph, CPU, options)
        for starts in (None, rows([1, 2, 3, 4, 5, 6], [])):
            assert all(found.scored <= max_scored for found in search.search(q_nets, 10, starts))


def test_better_documents_spend_the_last_of_the_bound() -> None:
    """Row 1 is better than row 0, so its neighbours come first, its nearest before others."""
    neighbours = np.array([[2, 3], [5, 4], *[[-1, -1]] * 4], dtype=np.int32)
    with table(np.array([[1, 2, 0, 0, 0, 0]], dtype=np.float32), neighbours) as (index, graph, q_net):
        search = GraphSearch(index, graph, CPU, GraphOptions(num_entry_points=0, max_scored=3, early_stop=False))
        (found,) = search.search(q_net, 6, starts=rows([0, 1]))
        assert found.rows.tolist() == [1, 0, 5]


def test_random_entry_points_come_besides_starts() -> None:
    with table(np.arange(6, dtype=np.float32)[None], np.full((6, 1), -1, dtype=np.int32)) as (index, graph, q_net):
        search = GraphSearch(index, graph, CPU, GraphOptions(num_entry_points=2))
        entries = random.Random(43).sample(range(6), 2)
        start = min(set(range(6)) - set(entries))
        (found,) = search.search(q_net, 6, starts=rows([start, entries[0]]))
        assert set(found.rows.tolist()) == {start, *entries}


def test_starts_that_are_not_rows_are_refused() -> None:
    with table(np.zeros((2, 3), dtype=np.float32), chain(3)) as (index, graph, q_nets):
        search = GraphSearch(index, graph, CPU, GraphOptions(num_entry_points=0))
        for wrong in (-1, 3):
            with pytest.raises(HypensearchError, match=f"query 1 starts at rows {wrong} to {wrong}; .* rows 0 to 2"):
                search.search(q_nets, 1, starts=rows([0], [wrong]))
        with pytest.raises(HypensearchError, match="query 1 has no documents to start from: set --num-entry-points"):
            search.search(q_nets, 1, starts=rows([0], []))


def test_world_is_not_seeded() -> None:
    with table(np.zeros((1, 3), dtype=np.float32), chain(3)) as (index, graph, _):
        before, tensors = random.getstate(), torch.get_rng_state()
        GraphSearch(index, graph, CPU)
        assert random.getstate() == before
        assert torch.equal(torch.get_rng_state(), tensors)


# What is refused


def test_one_document_and_more_wanted_than_there_are() -> None:
    with table(np.ones((2, 1), dtype=np.float32), np.full((1, 4), -1, dtype=np.int32)) as (index, graph, q_nets):
        assert hits_of(index, GraphSearch(index, graph, CPU).search(q_nets, 10)) == [[Hit("d0", 1.0)]] * 2


def test_equal_scores_go_by_docid() -> None:
    with table(np.zeros((1, 5), dtype=np.float32), chain(5), ["e", "b", "a", "d", "c"]) as (index, graph, q_net):
        (found,) = GraphSearch(index, graph, CPU, GraphOptions(num_entry_points=5)).search(q_net, 3)
        hits = found.hits(index.docid)
        assert [hit.docid for hit in hits] == ["a", "b", "c"]


def test_graph_of_other_vectors_is_refused(tmp_path: Path) -> None:
    one = save_index(tmp_path / "one", random_vectors(5, 16))
    other = save_index(tmp_path / "other", random_vectors(5, 16, seed=1))
    graph = build_graph(one, CPU, GraphBuildOptions(degree=2))
    with pytest.raises(HypensearchError, match="was made of other vectors"):
        GraphSearch(other, graph, CPU)


@pytest.mark.parametrize("score", [float("nan"), -float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("variant", VARIANTS)
def test_scores_that_are_not_finite_come_first(variant: str, score: float) -> None:
    """However many documents are better."""
    scores = np.arange(20, dtype=np.float32)[None].repeat(2, axis=0)
    scores[1, 3] = score
    with table(scores, chain(20)) as (index, graph, _):
        weights = torch.from_numpy(scores)
        q_nets = QNets.from_vectors(weights.nan_to_num(0, 0, 0))
        broken = QNets(q_nets.config, [q_nets.weights[0].clone()], q_nets.biases)
        broken.weights[0][1] = score
        options = GraphOptions(variant=variant, num_entry_points=20, ncandidates=2)
        first, second = GraphSearch(index, graph, CPU, options).search(broken, 2)
        assert np.isfinite(first.scores).all()
        assert np.isnan(second.scores[0])


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"variant": "best"}, "--variant best: wanted paper or released"),
        ({"ncandidates": 0}, "--ncandidates 0: wanted at least 1"),
        ({"max_iter": 0}, "--max-iter 0"),
        ({"max_scored": 0}, "--max-scored 0"),
        ({"num_entry_points": -1}, "--num-entry-points -1"),
    ],
)
def test_parameters_without_sense(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(HypensearchError, match=message):
        GraphOptions(**parameters)


# Nothing waits for the device


def test_loop_asks_nothing_of_a_device(tmp_path: Path) -> None:
    """On the meta device there are shapes but no values: whatever asked for one would fail."""
    index = save_index(tmp_path / "index", random_vectors(40, 16))
    options = GraphOptions(num_entry_points=10, max_scored=30)
    search = GraphSearch(index, build_graph(index, CPU, GraphBuildOptions(degree=4)), CPU, options)
    meta = search.device = torch.device("meta")
    for name in ("_neighbours", "_docid_rank", "_entries", "_entry_vectors"):
        setattr(search, name, getattr(search, name).to(meta))
    search._vectors._shards = [(0, 40, torch.empty(40, 16, device=meta))]
    q_nets = random_q_nets(CONFIG, 3).to(meta)
    hits, counts = search._walk(q_nets, 5, [np.empty(0, dtype=np.int64)] * 3)
    assert counts.shape == (16, 3)  # no early end: it cannot know
    assert hits.keys.shape == (3, 5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu(tmp_path: Path) -> None:
    index = save_index(tmp_path / "index", random_vectors(3000, 16))
    q_nets, cuda = random_q_nets(CONFIG, 3), torch.device("cuda")
    graph = build_graph(index, cuda, GraphBuildOptions(degree=10))
    np.testing.assert_array_equal(
        graph.neighbours, build_graph(index, CPU, GraphBuildOptions(degree=10, name="cpu")).neighbours
    )
    options = GraphOptions(num_entry_points=100, ncandidates=8)
    search = GraphSearch(index, graph, cuda, options)
    search.search(q_nets, 20)  # libraries load
    no_seeds = [np.empty(0, dtype=np.int64)] * 3
    on_gpu = q_nets.to(cuda)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        search._walk(on_gpu, 20, no_seeds)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    wanted = GraphSearch(index, graph, CPU, options).search(q_nets, 20)
    for found, others in zip(search.search(q_nets, 20), wanted, strict=True):
        np.testing.assert_allclose(found.scores, others.scores, atol=1e-4)
