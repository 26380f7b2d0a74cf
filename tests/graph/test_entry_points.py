# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Where graph search starts: from the command's switch to the walk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from hypensearch.errors import HypensearchError
from hypensearch.flat import FlatIndex
from hypensearch.graph.builder import build_graph
from hypensearch.graph.centroids import build_centroids
from hypensearch.graph.entry_points import FromBiEncoder
from hypensearch.models import DualEncoder, load_model
from hypensearch.search import HypencoderSearcher
from hypensearch.surrogate.builder import build_surrogate
from tests.commands import encode, refuse, search, succeed, write_corpus, write_topics

CPU = torch.device("cpu")
WORDS = ["water", "stone", "river", "storm", "north", "early", "church", "satellite"]
TEXTS = {f"d{n}": f"{WORDS[n % 8]} and {WORDS[n * 3 % 7]} number {n}" for n in range(90)}
QUERIES = ["water", "storm over the north", "church 17"]


@pytest.fixture(scope="module")
def model(tiny_checkpoint: Path) -> DualEncoder:
    return load_model(str(tiny_checkpoint))


@pytest.fixture(scope="module")
def index_dir(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory, model: DualEncoder) -> Path:
    """An index with everything beside it that a search can use."""
    pytest.importorskip("faiss")
    folder = tmp_path_factory.mktemp("entries")
    corpus = write_corpus(folder / "corpus.jsonl", TEXTS)
    succeed("encode", *encode(corpus, folder / "index", tiny_checkpoint))
    with FlatIndex.open(folder / "index") as index:
        build_graph(index, CPU, degree=6)
        build_centroids(index, 9)
        build_surrogate(index, model.encode_queries(QUERIES), CPU)
    return folder / "index"


@pytest.mark.parametrize("entry", ["random", "centroids", "bi-encoder", "surrogate"])
def test_hits_have_exact_scores_from_wherever(index_dir: Path, entry: str) -> None:
    with HypencoderSearcher(index_dir, searcher="exhaustive") as exact:
        scores = [{hit.docid: hit.score for hit in exact.search(query, 90)} for query in QUERIES]
    with HypencoderSearcher(index_dir, searcher="graph", entry=entry, num_entry_points=8, max_iter=2) as searcher:
        found = searcher.batch_search(QUERIES, ["1", "2", "3"], 10)
        assert all(of_query.documents_scored < 200 for of_query in searcher.report)
    for hits, wanted in zip(found.values(), scores, strict=True):
        assert len(hits) == 10
        assert [hit.score for hit in hits] == [wanted[hit.docid] for hit in hits]


def test_walk_starts_at_the_bi_encoders_best(index_dir: Path, model: DualEncoder) -> None:
    with HypencoderSearcher(
        index_dir, searcher="graph", entry="bi-encoder", num_entry_points=5, max_iter=1
    ) as searcher:
        vectors = np.concatenate([np.asarray(shard.vectors) for shard in searcher.index.shards])
        for query in QUERIES:
            (vector,) = model.encode_documents([query])
            cosines = vectors @ vector / np.linalg.norm(vectors, axis=1)
            wanted = {searcher.index.docid(int(row)) for row in np.argsort(-cosines)[:5]}
            assert {hit.docid for hit in searcher.search(query, 50)} == wanted
            assert searcher.report[0].documents_scored == 5


def test_bi_encoder_looks_at_all_blocks(index_dir: Path, model: DualEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    with FlatIndex.open(index_dir) as index:
        find = FromBiEncoder(index, lambda texts: model.encode_documents(list(texts)), 7, CPU).find
        q_nets = model.encode_queries(QUERIES)
        whole = find(q_nets, QUERIES, 10)
        monkeypatch.setattr("hypensearch.graph.entry_points._BLOCK_ROWS", 4)
        np.testing.assert_array_equal(find(q_nets, QUERIES, 10), whole)


def test_q_nets_alone_have_no_place_for_the_bi_encoder(index_dir: Path, model: DualEncoder) -> None:
    q_net = model.encode_queries(QUERIES[:1])
    with (
        HypencoderSearcher(index_dir, searcher="graph", entry="bi-encoder") as searcher,
        pytest.raises(HypensearchError, match="--entry bi-encoder encodes the queries' text"),
    ):
        searcher.search(q_net)


def test_walk_starts_at_the_centroids_documents(index_dir: Path) -> None:
    with HypencoderSearcher(index_dir, searcher="graph", entry="centroids", max_iter=1) as searcher:
        assert len(searcher.search(QUERIES[0], 90)) == searcher.report[0].documents_scored <= 9


def test_expanding_the_surrogates_hits_loses_none_of_them(index_dir: Path) -> None:
    with (
        HypencoderSearcher(index_dir, searcher="surrogate", max_scored=40) as surrogate,
        HypencoderSearcher(index_dir, searcher="graph", entry="surrogate", max_scored=40) as both,
    ):
        for query in QUERIES:
            worst = surrogate.search(query, 10)[-1].score
            assert both.search(query, 10)[-1].score >= worst


def test_seed_and_variant_reach_the_walk(index_dir: Path, tmp_path: Path) -> None:
    topics = write_topics(tmp_path / "topics.tsv", {"1": "water"})

    def run(*flags: object) -> str:
        small = ("--searcher", "graph", "--num-entry-points", 5, "--max-iter", 1, "--hits", 50, "--ncandidates", 2)
        succeed("search", *search(index_dir, topics, tmp_path / "run.txt", *small, *flags))
        return (tmp_path / "run.txt").read_text()

    assert run("--entry-seed", 1) != run("--entry-seed", 2)
    assert len(run("--variant", "released").splitlines()) == 5
    assert len(run("--variant", "paper").splitlines()) == 2  # no more are offered


def test_what_is_missing_is_told(tiny_checkpoint: Path, tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus.jsonl", {"a": "water", "b": "stone"})
    succeed("encode", *encode(corpus, tmp_path / "index", tiny_checkpoint))
    topics = write_topics(tmp_path / "topics.tsv", {"1": "water"})
    with FlatIndex.open(tmp_path / "index") as index:
        build_graph(index, CPU, degree=1)
    graph = [*search(tmp_path / "index", topics, tmp_path / "run.txt"), "--searcher", "graph"]
    assert "has no centroids to start from" in refuse("search", *graph, "--entry", "centroids")
    assert "has no codes for surrogate search" in refuse("search", *graph, "--entry", "surrogate")
