# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Surrogate search over an engine: exhaustive search's hits, in few calls, and errors that say what to do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hypensearch.engines.engine import open_engine
from hypensearch.engines.options import EngineOptions
from hypensearch.engines.search import EngineSearch
from hypensearch.errors import HypensearchError
from hypensearch.export.__main__ import load_engine
from hypensearch.flat import FlatIndex
from hypensearch.search import HypencoderSearcher
from hypensearch.surrogate.builder import build_surrogate
from hypensearch.surrogate.store import open_surrogate
from tests.commands import refuse
from tests.engines.plain_engine import PlainEngine
from tests.search.strategies import exact_hits, hits_of, random_vectors, save_index
from tests.surrogate.test_search import CPU, overlap, related_q_nets


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> FlatIndex:
    index = save_index(tmp_path_factory.mktemp("engine") / "index", random_vectors(6000, 32))
    build_surrogate(index, related_q_nets(16, seed=5), CPU)
    return index


def loaded(index: FlatIndex, engine: PlainEngine | None = None) -> PlainEngine:
    engine, surrogate = engine or PlainEngine(), open_surrogate(index)
    assert surrogate is not None
    load_engine(index, surrogate, engine)
    return engine


def search_in(index: FlatIndex, engine: PlainEngine, **options: object) -> EngineSearch:
    return EngineSearch(index, engine, CPU, EngineOptions(**options))


@pytest.mark.parametrize("k", [1, 20, 300])
def test_finds_what_exhaustive_search_finds_in_few_calls(index: FlatIndex, k: int) -> None:
    q_nets, engine = related_q_nets(8), loaded(index)
    found = search_in(index, engine).search(q_nets, k)
    assert overlap(index, found, q_nets, k) >= 0.95
    assert engine.calls <= 8 * 10
    for of_query in found:
        assert of_query.scored < 2000
        assert of_query.rounds >= 1
        assert of_query.recall is not None
        assert 0.9 < of_query.recall <= 1


def test_scores_are_exact_and_in_order(index: FlatIndex) -> None:
    q_nets = related_q_nets(3)
    exact = [{hit.docid: hit.score for hit in hits} for hits in exact_hits(index, q_nets, 6000)]
    for hits, scores in zip(hits_of(index, search_in(index, loaded(index)).search(q_nets, 50)), exact, strict=True):
        assert {hit.docid: hit.score for hit in hits} == {hit.docid: scores[hit.docid] for hit in hits}
        assert hits == sorted(hits, key=lambda hit: (-hit.score, hit.docid))


@pytest.mark.parametrize("max_scored", [5, 100, 300])
def test_work_can_be_bounded(index: FlatIndex, max_scored: int) -> None:
    for found in search_in(index, loaded(index), max_scored=max_scored).search(related_q_nets(2), 10):
        assert found.scored <= max_scored


def test_all_documents_are_found_where_all_are_wanted(tmp_path: Path) -> None:
    index = save_index(tmp_path / "index", random_vectors(90, 32))
    build_surrogate(index, related_q_nets(16, seed=5), CPU)
    q_nets = related_q_nets(2)
    found = search_in(index, loaded(index)).search(q_nets, 200)
    assert hits_of(index, found) == exact_hits(index, q_nets, 90)
    assert [of_query.recall for of_query in found] == [1.0, 1.0]


def test_codes_of_vectors_are_searched_by_gradients(tmp_path: Path) -> None:
    from tests.search.strategies import random_q_nets

    index = save_index(tmp_path / "index", random_vectors(3000, 32))
    config = related_q_nets(1).config
    build_surrogate(index, random_q_nets(config, 16, 5), CPU)
    q_nets = random_q_nets(config, 4, 6)
    assert overlap(index, search_in(index, loaded(index)).search(q_nets, 10), q_nets, 10) >= 0.9


def test_the_recall_of_the_engines_own_index_is_measured(index: FlatIndex) -> None:
    q_nets = related_q_nets(4)
    assert search_in(index, loaded(index)).recall_of_engine(q_nets) == 1.0
    best = search_in(index, loaded(index)).search(q_nets, 1)
    lossy = loaded(index, PlainEngine(loses=tuple(int(found.rows[0]) for found in best)))
    assert search_in(index, lossy).recall_of_engine(q_nets) < 1.0


def test_loading_resumes_behind_what_is_there(index: FlatIndex) -> None:
    surrogate = open_surrogate(index)
    assert surrogate is not None

    class Stops(PlainEngine):
        def add(self, documents: object) -> None:
            if self.num_docs() >= 4096:
                raise KeyboardInterrupt
            super().add(documents)  # type: ignore[arg-type]

    engine = Stops()
    with pytest.raises(KeyboardInterrupt):
        load_engine(index, surrogate, engine)
    with pytest.raises(HypensearchError, match="holds 4,096 of 6,000 documents; continue with: .*hypensearch.export"):
        search_in(index, engine)
    resumed = PlainEngine()
    resumed.__dict__ |= {name: engine.__dict__[name] for name in ("_facts", "_parts")}
    load_engine(index, surrogate, resumed)
    assert resumed.built
    assert resumed.num_docs() == 6000
    (whole, again) = (np.concatenate([part.codes for part in of._parts]) for of in (loaded(index), resumed))
    assert np.array_equal(whole, again)


def test_another_index_is_refused_and_replaced_only_when_asked(index: FlatIndex, tmp_path: Path) -> None:
    other = save_index(tmp_path / "other", random_vectors(500, 32, 7))
    build_surrogate(other, related_q_nets(16, seed=5), CPU)
    engine = loaded(index)
    with pytest.raises(HypensearchError, match="holds another index"):
        loaded(other, engine)
    with pytest.raises(HypensearchError, match="holds other codes"):
        search_in(other, engine)
    surrogate = open_surrogate(other)
    assert surrogate is not None
    load_engine(other, surrogate, engine, overwrite=True)
    assert search_in(other, engine).search(related_q_nets(1), 5)[0].scored <= 500


def test_an_empty_engine_is_refused(index: FlatIndex) -> None:
    with pytest.raises(HypensearchError, match=r"does not hold .*; load it with: .*hypensearch.export"):
        search_in(index, PlainEngine())


@pytest.mark.parametrize(
    ("url", "table", "message"),
    [
        ("mysql://x", "t", "--engine-url mysql://x: wanted postgresql://"),
        ("postgresql://x", "a-b", "--engine-table 'a-b'"),
        ("postgresql://x", "x" * 49, "--engine-table"),
    ],
)
def test_unknown_engines_and_bad_names(url: str, table: str, message: str) -> None:
    with pytest.raises(HypensearchError, match=message):
        open_engine(url, table)


def test_export_says_what_is_missing(index: FlatIndex, tmp_path: Path) -> None:
    assert "--engine-url is missing" in refuse("export", "--index", index.folder)
    bare = save_index(tmp_path / "bare", random_vectors(10, 32))
    assert "has no codes to export; make them with" in refuse(
        "export", "--index", bare.folder, "--engine-url", "postgresql://x"
    )


def test_search_in_an_engine_needs_its_url(index: FlatIndex) -> None:
    with pytest.raises(HypensearchError, match="--searcher engine needs --engine-url"):
        HypencoderSearcher(index.folder, searcher="engine")
