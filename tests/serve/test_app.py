# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The HTTP service: the searcher's own hits, its limits, metrics, and what it does when it is busy or broken."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from hypensearch.hits import Hit
from hypensearch.scoring.found import Found
from hypensearch.search import HypencoderSearcher
from hypensearch.serve.app import build_app
from hypensearch.serve.batches import Batches, ClosedError, QueueFullError
from hypensearch.serve.limits import Limits
from tests.commands import encode, succeed, write_corpus

TEXTS = {
    "a": "water of the river",
    "b/1": "stones of the church",
    "c": "a storm over the north",
    "d": "the satellite",
}


@pytest.fixture(scope="module")
def index(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("serve")
    succeed("encode", *encode(write_corpus(folder / "corpus.jsonl", TEXTS), folder / "index", tiny_checkpoint))
    return folder / "index"


@pytest.fixture(scope="module")
def client(index: Path) -> Iterator[TestClient]:
    limits = Limits(max_hits=3, max_query_length=40, max_queries=4)
    with TestClient(build_app(HypencoderSearcher(index), limits), raise_server_exceptions=False) as client:
        yield client


def hits_of(answer: dict[str, Any]) -> list[Hit]:
    return [Hit(hit["docid"], hit["score"]) for hit in answer["hits"]]


def test_hits_are_those_of_the_searcher(client: TestClient, index: Path) -> None:
    with HypencoderSearcher(index) as searcher:
        wanted = {query: searcher.search(query, 3) for query in ("river", "church", "storm")}
    for query, hits in wanted.items():
        found = client.get("/search", params={"query": query, "hits": 3}).json()
        assert hits_of(found) == hits
        assert found["documents_scored"] == 4
        assert found["hits"][0]["text"] is None
    found = client.post("/search", json={"queries": list(wanted), "hits": 3}).json()
    assert [hits_of(answer) for answer in found["answers"]] == list(wanted.values())
    assert [answer["query"] for answer in found["answers"]] == list(wanted)


def test_concurrent_queries_get_their_own_hits(client: TestClient, index: Path) -> None:
    queries = [f"{word} {n}" for n, word in enumerate(["river", "church", "storm", "satellite"] * 5)]
    with HypencoderSearcher(index) as searcher:
        wanted = [searcher.search(query, 1 + n % 3) for n, query in enumerate(queries)]

    def ask(n: int) -> list[Hit]:
        return hits_of(client.get("/search", params={"query": queries[n], "hits": 1 + n % 3}).json())

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(len(queries)))) == wanted


def test_texts_are_returned_where_they_are_asked_for(client: TestClient) -> None:
    found = client.get("/search", params={"query": "river", "hits": 2, "texts": True}).json()
    assert [hit["text"] for hit in found["hits"]] == [TEXTS[hit["docid"]] for hit in found["hits"]]


@pytest.mark.parametrize("docid", TEXTS)
def test_documents_by_docid(client: TestClient, docid: str) -> None:
    found = client.get(f"/documents/{docid}").json()
    assert (found["docid"], found["text"]) == (docid, TEXTS[docid])
    assert TEXTS[docid] in found["raw"]


def test_an_unknown_document_is_404(client: TestClient) -> None:
    found = client.get("/documents/x")
    assert found.status_code == 404
    assert "no document 'x'" in found.json()["detail"]


@pytest.mark.parametrize(
    "params",
    [
        {"query": ""},
        {},
        {"query": "x" * 41},
        {"query": "x", "hits": 0},
        {"query": "x", "hits": 4},
        {"query": "x", "hits": "many"},
    ],
)
def test_what_is_beyond_the_limits_is_refused(client: TestClient, params: dict[str, Any]) -> None:
    assert client.get("/search", params=params).status_code == 422
    queries = [params["query"]] if "query" in params else []
    assert client.post("/search", json={"queries": queries, "hits": params.get("hits", 1)}).status_code == 422


def test_too_many_queries_are_refused(client: TestClient) -> None:
    assert client.post("/search", json={"queries": ["x"] * 4}).status_code == 200
    assert client.post("/search", json={"queries": ["x"] * 5}).status_code == 422


def test_health_names_index_and_model(client: TestClient, index: Path, tiny_checkpoint: Path) -> None:
    health = client.get("/health").json()
    assert (health["status"], health["documents"], health["index"]) == ("ok", 4, str(index))
    assert health["model"]


def test_metrics_count_requests_and_documents_scored(index: Path) -> None:
    with TestClient(build_app(HypencoderSearcher(index), Limits(max_hits=3))) as client:
        for _ in range(3):
            client.get("/search", params={"query": "river", "hits": 1})
        client.get("/search", params={"query": "river", "hits": 9})
        client.get("/nothing")
        shown = client.get("/metrics").text
    assert 'hypensearch_requests_total{path="/search",status="200"} 3.0' in shown
    assert 'hypensearch_requests_total{path="/search",status="422"} 1.0' in shown
    assert 'hypensearch_requests_total{path="other",status="404"} 1.0' in shown
    assert "hypensearch_documents_scored_sum 12.0" in shown
    assert 'hypensearch_request_seconds_count{path="/search"} 4.0' in shown
    assert "hypensearch_queue_length 0.0" in shown


def test_the_description_and_the_page(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    assert set(paths) == {"/search", "/documents/{docid}", "/health"}
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert not re.search(r"https?://", page.text)  # nothing is loaded from elsewhere


def test_without_texts_hits_come_all_the_same(tiny_checkpoint: Path, tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus.jsonl", TEXTS)
    succeed("encode", *encode(corpus, tmp_path / "index", tiny_checkpoint))
    corpus.unlink()
    with TestClient(build_app(HypencoderSearcher(tmp_path / "index")), raise_server_exceptions=False) as client:
        found = client.get("/search", params={"query": "river", "texts": True})
        assert found.status_code == 200
        assert {hit["text"] for hit in found.json()["hits"]} == {None}
        gone = client.get("/documents/a")
        assert gone.status_code == 500
        assert "corpus.jsonl" in gone.json()["detail"]


class Held:
    """A searcher that answers when it is let."""

    def __init__(self, searcher: HypencoderSearcher) -> None:
        self._searcher = searcher
        self.batches: list[list[str]] = []
        self.entered = threading.Semaphore(0)
        self.go = threading.Semaphore(0)

    def find(self, queries: list[str], *rest: Any) -> list[Found]:
        self.batches.append(queries)
        self.entered.release()
        assert self.go.acquire(timeout=60)
        return self._searcher.find(queries, *rest)


@pytest.fixture
def held(index: Path) -> Iterator[Held]:
    with HypencoderSearcher(index) as searcher:
        yield Held(searcher)


def test_what_waits_is_searched_together_if_it_wants_as_many_hits(held: Held) -> None:
    batches = Batches(held, max_batch=3, max_queue=10)  # type: ignore[arg-type]

    async def ask() -> list[Found]:
        first = asyncio.create_task(batches.search("river", 1))
        await asyncio.to_thread(held.entered.acquire)
        wanted = [("a", 2), ("b", 1), ("c", 2), ("d", 2), ("e", 2)]
        others = [asyncio.create_task(batches.search(*one)) for one in wanted]
        await asyncio.sleep(0)
        assert len(batches) == 5
        for _ in range(10):
            held.go.release()
        return await asyncio.gather(first, *others)

    found = asyncio.run(ask())
    assert held.batches == [["river"], ["a", "c", "d"], ["b"], ["e"]]
    assert [len(of_query.rows) for of_query in found] == [1, 2, 1, 2, 2, 2]
    batches.close()


def test_a_full_queue_and_a_closed_one_refuse_at_once(held: Held) -> None:
    batches = Batches(held, max_batch=1, max_queue=1)  # type: ignore[arg-type]

    async def ask() -> None:
        first = asyncio.create_task(batches.search("river", 1))
        await asyncio.to_thread(held.entered.acquire)
        second = asyncio.create_task(batches.search("church", 1))
        await asyncio.sleep(0)
        with pytest.raises(QueueFullError):
            await batches.search("storm", 1)
        held.go.release()
        await asyncio.to_thread(batches.close)
        assert len((await first).rows) == 1
        with pytest.raises(ClosedError):
            await second
        with pytest.raises(ClosedError):
            await batches.search("storm", 1)

    asyncio.run(ask())
    assert not batches.is_alive


def test_a_client_that_has_gone_is_not_searched_for(held: Held) -> None:
    batches = Batches(held, max_batch=1, max_queue=9)  # type: ignore[arg-type]

    async def ask() -> None:
        first = asyncio.create_task(batches.search("river", 1))
        await asyncio.to_thread(held.entered.acquire)
        gone = asyncio.create_task(batches.search("church", 1))
        last = asyncio.create_task(batches.search("storm", 1))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0)
        held.go.release()
        held.go.release()
        await asyncio.gather(first, last)

    asyncio.run(ask())
    assert held.batches == [["river"], ["storm"]]
    batches.close()


def test_a_failing_search_fails_its_own_requests_only(index: Path) -> None:
    with HypencoderSearcher(index) as searcher:
        batches = Batches(searcher, max_batch=4, max_queue=4)
        with pytest.raises(Exception, match="k is 0"):
            asyncio.run(batches.search("river", 0))
        assert len(asyncio.run(batches.search("river", 1)).rows) == 1
        batches.close()
