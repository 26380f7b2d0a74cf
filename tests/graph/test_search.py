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
from hypensearch.exhaustive.search import ExhaustiveSearch
from hypensearch.flat import FlatIndex
from hypensearch.flat.join import join_indexes
from hypensearch.formats.sealed import FileRecord
from hypensearch.graph.builder import GraphWriter, build_graph, import_graph
from hypensearch.graph.search import VARIANTS, GraphSearch, seeds_of_run
from hypensearch.graph.store import GraphIndex, GraphManifest
from hypensearch.hits import Hit
from hypensearch.models import QNetConfig, QNets
from tests import reference
from tests.search.strategies import random_q_nets, random_vectors, save_index

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


def searcher_for(index: FlatIndex, variant: Path, expected: Expected) -> GraphSearch:
    parameters = dict(expected.parameters)
    distance = parameters.pop("graph")
    parameters.pop("top_k")
    graph = import_graph(index, variant / f"neighbors_{distance}.jsonl", CPU, distance=distance)
    return GraphSearch(index, graph, CPU, variant="released", **parameters)


def check_equals(search: GraphSearch, found: list[list[Hit]], expected: Expected, atol: float) -> None:
    for hits, stats, query in zip(found, search.stats, expected.queries, strict=True):
        assert list(stats.scored_per_iteration) == query["scored_per_iteration"], query["id"]
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
    search = searcher_for(index, variant, expected)
    entries = [index.docid(row) for row in search._entry_rows]
    assert entries == expected.entry_points
    q_nets = q_nets_with_scores(np.load(variant / "scores.npz")["scores"])
    found = search.search(q_nets, expected.parameters["top_k"])
    assert len(found) == 20
    check_equals(search, found, expected, atol=3e-5)


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
    search = searcher_for(index, variant, expected)
    found = search.search(q_nets, expected.parameters["top_k"])
    few = Expected(expected.parameters, expected.entry_points, expected.queries[: len(q_nets)])
    check_equals(search, found, few, atol=3e-5)


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
        search = GraphSearch(index, graph, CPU, num_entry_points=num_entry_points, variant=variant, **parameters)
        found = search.search(q_nets, k)
        entries = random.Random(43).sample(range(len(docids)), min(num_entry_points, len(docids)))
        lists = [[row for row in rows if row >= 0] for rows in neighbours.tolist()]
        for query, hits in enumerate(found):
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
            assert list(search.stats[query].scored_per_iteration) == scored
        assert [search.search(q_net, k)[0] for q_net in q_nets] == found


@given(st.integers(1, 60), st.integers(1, 70), st.sampled_from(VARIANTS), st.integers(0, 100))
def test_all_documents_as_entry_points_give_the_hits_of_exhaustive_search(
    num_docs: int, k: int, variant: str, seed: int
) -> None:
    q_nets, vectors = random_q_nets(CONFIG, 2, seed), random_vectors(num_docs, 16, seed)
    vectors[num_docs // 2 :] = vectors[: num_docs - num_docs // 2]  # duplicates
    with tempfile.TemporaryDirectory() as folder, save_index(Path(folder) / "index", vectors) as index:
        graph = build_graph(index, CPU, degree=3)
        search = GraphSearch(
            index, graph, CPU, num_entry_points=num_docs, ncandidates=k if variant == "paper" else 2, variant=variant
        )
        assert search.search(q_nets, k) == ExhaustiveSearch(index, CPU).search(q_nets, k)


@given(st.integers(2, 200), st.integers(1, 30), st.sampled_from(VARIANTS), st.integers(1, 3), st.integers(0, 100))
@settings(max_examples=30)
def test_hits_have_the_scores_of_exhaustive_search(num_docs: int, k: int, variant: str, shards: int, seed: int) -> None:
    q_nets, vectors = random_q_nets(CONFIG, 3, seed), random_vectors(num_docs, 16, seed)
    with tempfile.TemporaryDirectory() as folder:
        index = save_in_shards(Path(folder), vectors, shards)
        graph = build_graph(index, CPU, degree=8)
        search = GraphSearch(index, graph, CPU, num_entry_points=5, ncandidates=4, variant=variant)
        found = search.search(q_nets, k)
        for hits, every in zip(found, ExhaustiveSearch(index, CPU).search(q_nets, num_docs), strict=True):
            exact = {hit.docid: hit.score for hit in every}
            assert [hit.score for hit in hits] == [exact[hit.docid] for hit in hits]
            assert sorted(hits, key=lambda hit: (-hit.score, hit.docid)) == hits
        assert [search.search(q_net, k)[0] for q_net in q_nets] == found


def save_in_shards(folder: Path, vectors: np.ndarray, shards: int) -> FlatIndex:
    parts = [part for part in np.array_split(np.arange(len(vectors)), shards) if len(part)]
    for number, rows in enumerate(parts):
        save_index(folder / str(number), vectors[rows], [f"d{row}" for row in rows]).close()
    join_indexes([folder / str(number) for number in range(len(parts))], folder / "all")
    return FlatIndex.open(folder / "all")


def test_ties_over_shards_go_by_docid(tmp_path: Path) -> None:
    index = save_in_shards(tmp_path, np.tile(random_vectors(1, 16), (30, 1)), 3)
    graph = build_graph(index, CPU, degree=2)
    q_nets = random_q_nets(CONFIG, 1)
    search = GraphSearch(index, graph, CPU, num_entry_points=30)
    assert search.search(q_nets, 12) == ExhaustiveSearch(index, CPU).search(q_nets, 12)


# Bounds and seeds


def chain(num_docs: int) -> np.ndarray:
    """A graph in which each document has the next one as its neighbour."""
    return np.append(np.arange(1, num_docs), -1).astype(np.int32)[:, None]


def test_walk_by_eye() -> None:
    """A chain whose scores rise: each iteration scores one more document."""
    with table(np.arange(6, dtype=np.float32)[None], chain(6)) as (index, graph, q_net):
        search = GraphSearch(index, graph, CPU, num_entry_points=0, max_iter=4)
        (hits,) = search.search(q_net, 2, seed_rows=[[1]])
        assert hits == [Hit("d4", 4.0), Hit("d3", 3.0)]
        assert search.stats[0].scored_per_iteration == (1, 1, 1, 1)
        assert (search.stats[0].iterations, search.stats[0].documents_scored) == (4, 4)


def test_part_of_the_graph_that_no_edge_leads_to_is_not_found() -> None:
    neighbours = np.array([[1], [0], [3], [2]], dtype=np.int32)
    with table(np.array([[1, 2, 3, 4]], dtype=np.float32), neighbours) as (index, graph, q_net):
        search = GraphSearch(index, graph, CPU, num_entry_points=0)
        assert [hit.docid for hit in search.search(q_net, 4, seed_rows=[[0]])[0]] == ["d1", "d0"]
        assert [hit.docid for hit in search.search(q_net, 4, seed_rows=[[0, 2]])[0]] == ["d3", "d2", "d1", "d0"]


@pytest.mark.parametrize("max_scored", [1, 3, 5, 100])
def test_no_more_than_max_scored_are_scored(max_scored: int) -> None:
    index_scores = np.random.default_rng(0).random((2, 50), dtype=np.float32)
    near = np.array([np.delete(np.arange(50), row)[:7] for row in range(50)], dtype=np.int32)
    with table(index_scores, near) as (index, graph, q_nets):
        search = GraphSearch(index, graph, CPU, num_entry_points=4, max_scored=max_scored, early_stop=False)
        search.search(q_nets, 10)
        assert all(stats.documents_scored <= max_scored for stats in search.stats)
        search.search(q_nets, 10, seed_rows=[[1, 2, 3, 4, 5, 6], []])
        assert all(stats.documents_scored <= max_scored for stats in search.stats)


def test_better_documents_spend_the_last_of_the_bound() -> None:
    """Row 1 is better than row 0, so its neighbours come first, its nearest before others."""
    neighbours = np.array([[2, 3], [5, 4], *[[-1, -1]] * 4], dtype=np.int32)
    with table(np.array([[1, 2, 0, 0, 0, 0]], dtype=np.float32), neighbours) as (index, graph, q_net):
        search = GraphSearch(index, graph, CPU, num_entry_points=0, max_scored=3, early_stop=False)
        (hits,) = search.search(q_net, 6, seed_rows=[[0, 1]])
        assert [hit.docid for hit in hits] == ["d1", "d0", "d5"]


def test_seeds_of_a_run(tmp_path: Path) -> None:
    run = tmp_path / "bm25.txt"
    run.write_text("q1 Q0 d4 1 9.0 bm25\nq1 Q0 d1 2 8.0 bm25\nq2 Q0 d2 1 7.0 bm25\n")
    assert seeds_of_run(run, 1) == {"q1": ["d4"], "q2": ["d2"]}
    with table(np.tile(np.arange(6, dtype=np.float32), (2, 1)), chain(6)) as (index, graph, q_nets):
        search = GraphSearch(index, graph, CPU, num_entry_points=0, seeds=seeds_of_run(run))
        first, second = search.search(q_nets, 6, ["q1", "q2"])
        assert [hit.docid for hit in first] == ["d5", "d4", "d3", "d2", "d1"]
        assert [hit.docid for hit in second] == ["d5", "d4", "d3", "d2"]
        with pytest.raises(HypensearchError, match=r"topic 'q3' has no seeds, and there are no random entry points"):
            search.search(q_nets, 6, ["q1", "q3"])


def test_random_entry_points_come_besides_seeds() -> None:
    with table(np.arange(6, dtype=np.float32)[None], np.full((6, 1), -1, dtype=np.int32)) as (index, graph, q_net):
        search = GraphSearch(index, graph, CPU, num_entry_points=2)
        entries = random.Random(43).sample(range(6), 2)
        seed = min(set(range(6)) - set(entries))
        (hits,) = search.search(q_net, 6, seed_rows=[[seed, entries[0], seed]])
        assert sorted(hit.docid for hit in hits) == sorted(f"d{row}" for row in {seed, *entries})


def test_seeds_that_are_no_documents_are_refused() -> None:
    with table(np.zeros((1, 3), dtype=np.float32), chain(3)) as (index, graph, q_net):
        search = GraphSearch(index, graph, CPU, seeds={"q": ["nowhere"]})
        with pytest.raises(HypensearchError, match="seed 'nowhere' of topic 'q' is not in"):
            search.search(q_net, 1, ["q"])
        with pytest.raises(HypensearchError, match="seed 3 is no row"):
            search.search(q_net, 1, seed_rows=[[3]])


def test_world_is_not_seeded() -> None:
    with table(np.zeros((1, 3), dtype=np.float32), chain(3)) as (index, graph, _):
        before, tensors = random.getstate(), torch.get_rng_state()
        GraphSearch(index, graph, CPU)
        assert random.getstate() == before
        assert torch.equal(torch.get_rng_state(), tensors)


# What is refused


def test_one_document_and_more_wanted_than_there_are() -> None:
    with table(np.ones((2, 1), dtype=np.float32), np.full((1, 4), -1, dtype=np.int32)) as (index, graph, q_nets):
        assert GraphSearch(index, graph, CPU).search(q_nets, 10) == [[Hit("d0", 1.0)]] * 2


def test_equal_scores_go_by_docid() -> None:
    with table(np.zeros((1, 5), dtype=np.float32), chain(5), ["e", "b", "a", "d", "c"]) as (index, graph, q_net):
        (hits,) = GraphSearch(index, graph, CPU, num_entry_points=5).search(q_net, 3)
        assert [hit.docid for hit in hits] == ["a", "b", "c"]


def test_graph_of_other_vectors_is_refused(tmp_path: Path) -> None:
    one = save_index(tmp_path / "one", random_vectors(5, 16))
    other = save_index(tmp_path / "other", random_vectors(5, 16, seed=1))
    graph = build_graph(one, CPU, degree=2)
    with pytest.raises(HypensearchError, match="was made of other vectors"):
        GraphSearch(other, graph, CPU)


def test_q_nets_of_another_size_are_refused(tmp_path: Path) -> None:
    index = save_index(tmp_path / "index", random_vectors(5, 8))
    search = GraphSearch(index, build_graph(index, CPU, degree=2), CPU)
    with pytest.raises(HypensearchError, match="have 8 dimensions, but the q-nets take 16"):
        search.search(random_q_nets(CONFIG, 1), 1)


def test_broken_q_nets_are_an_error(tmp_path: Path) -> None:
    index = save_index(tmp_path / "index", random_vectors(5, 16))
    search = GraphSearch(index, build_graph(index, CPU, degree=2), CPU)
    q_nets = random_q_nets(CONFIG, 2)
    q_nets.weights[-1][1, 0, 0] = float("nan")
    with pytest.raises(HypensearchError, match="under q-net 1 is not finite"):
        search.search(q_nets, 1)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"variant": "best"}, "unknown variant 'best'"),
        ({"ncandidates": 0}, "--ncandidates 0: wanted at least 1"),
        ({"max_iter": 0}, "--max-iter 0"),
        ({"max_scored": 0}, "--max-scored 0"),
        ({"num_entry_points": -1}, "--num-entry-points -1"),
    ],
)
def test_parameters_without_sense(parameters: dict[str, Any], message: str) -> None:
    with (
        table(np.zeros((1, 3), dtype=np.float32), chain(3)) as (index, graph, _),
        pytest.raises(HypensearchError, match=message),
    ):
        GraphSearch(index, graph, CPU, **parameters)


# Nothing waits for the device


def test_loop_asks_nothing_of_a_device(tmp_path: Path) -> None:
    """On the meta device there are shapes but no values: whatever asked for one would fail."""
    index = save_index(tmp_path / "index", random_vectors(40, 16))
    search = GraphSearch(index, build_graph(index, CPU, degree=4), CPU, num_entry_points=10, max_scored=30)
    meta = search.device = torch.device("meta")
    for name in ("_neighbours", "_docid_rank", "_entries", "_entry_vectors"):
        setattr(search, name, getattr(search, name).to(meta))
    search._documents._shards = [(0, 40, torch.empty(40, 16, device=meta))]
    q_nets = random_q_nets(CONFIG, 3).to(meta)
    walked = search._walk(q_nets, 5, [np.empty(0, dtype=np.int64)] * 3)
    assert walked.counts.shape == (16, 3)  # no early end: it cannot know
    assert (walked.keys.shape, walked.rows.shape) == ((3, 5), (3, 5))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu(tmp_path: Path) -> None:
    index = save_index(tmp_path / "index", random_vectors(3000, 16))
    q_nets, cuda = random_q_nets(CONFIG, 3), torch.device("cuda")
    graph = build_graph(index, cuda, degree=10)
    np.testing.assert_array_equal(graph.neighbours, build_graph(index, CPU, degree=10, name="cpu").neighbours)
    search = GraphSearch(index, graph, cuda, num_entry_points=100, ncandidates=8)
    search.search(q_nets, 20)  # libraries load
    no_seeds = [np.empty(0, dtype=np.int64)] * 3
    on_gpu = q_nets.to(cuda)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        search._walk(on_gpu, 20, no_seeds)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    wanted = GraphSearch(index, graph, CPU, num_entry_points=100, ncandidates=8).search(q_nets, 20)
    for hits, others in zip(search.search(q_nets, 20), wanted, strict=True):
        np.testing.assert_allclose([hit.score for hit in hits], [hit.score for hit in others], atol=1e-4)
