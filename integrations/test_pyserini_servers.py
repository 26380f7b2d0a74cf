# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Pyserini's REST and MCP servers with an index of ours: real servers, on this machine's loopback, and real hits."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hypensearch.errors import HypensearchError
from hypensearch.pyserini import bridge as pyserini_bridge
from hypensearch.search import HypencoderSearcher
from integrations.conftest import ROOT, TEXTS
from tests.commands import encode, succeed, write_corpus

QUERY = "concussion symptoms"
READY = "Uvicorn running on"


@pytest.fixture(scope="module")
def config(pyserini: None, tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Lucene index, one of ours, and the servers' configuration with both."""
    try:
        pyserini_bridge._imported("server.utils", "SEARCHER_FACTORIES")
    except (ImportError, AttributeError, HypensearchError) as error:
        pytest.skip(f"Pyserini {pyserini_bridge.version()} has no servers that take index types of others ({error})")
    folder = tmp_path_factory.mktemp("servers")
    corpus = write_corpus(folder / "corpus.jsonl", TEXTS)
    pyserini_bridge.index_lucene(corpus, folder / "lucene")
    succeed("encode", *encode(corpus, folder / "index", tiny_checkpoint))
    indexes = {
        "texts": {"path": str(folder / "lucene"), "index_type": "tf"},
        "mine": {"path": str(folder / "index"), "index_type": "hypencoder", "base_index": "texts"},
    }
    path = folder / "config.yaml"
    path.write_text(json.dumps({"indexes": indexes}))  # JSON is YAML
    return path


@pytest.fixture(scope="module")
def expected(config: Path) -> list[tuple[str, float]]:
    with HypencoderSearcher(config.parent / "index") as searcher:
        return [(hit.docid, hit.score) for hit in searcher.search(QUERY, 3)]


@pytest.fixture(scope="module")
def rest(config: Path) -> Iterator[str]:
    """The address of a REST server that answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    line = ["hypensearch.pyserini", "server.rest", "--host", "127.0.0.1", "--port", str(port), "--config", str(config)]
    log = config.parent / "rest.log"
    server = subprocess.Popen(
        [sys.executable, "-m", *line, "--no-prebuilt-indexes", "--log-file", str(log)],
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    try:
        assert server.stderr is not None
        said = []
        for text in server.stderr:  # ends with the server
            said.append(text)
            if READY in text:
                break
        assert said, "the server said nothing"
        assert READY in said[-1], "".join(said)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.communicate()


def get(address: str, path: str, **query: object) -> Any:
    with urllib.request.urlopen(f"{address}{path}?{urllib.parse.urlencode(query)}") as answer:
        return json.load(answer)


def test_rest_search(rest: str, expected: list[tuple[str, float]]) -> None:
    answer = get(rest, "/v1/mine/search", query=QUERY, hits=3)

    found = [(hit["docid"], hit["score"]) for hit in answer["candidates"]]
    assert found == [(docid, pytest.approx(score, abs=2e-6)) for docid, score in expected]
    assert [hit["rank"] for hit in answer["candidates"]] == [1, 2, 3]
    for hit in answer["candidates"]:
        assert TEXTS[hit["docid"]] in json.dumps(hit["doc"])


def test_rest_document(rest: str) -> None:
    assert TEXTS["d2"] in json.dumps(get(rest, "/v1/mine/doc/d2"))


def test_bm25_beside_it(rest: str) -> None:
    assert get(rest, "/v1/texts/search", query=QUERY, hits=1)["candidates"][0]["docid"] == "d1"


def test_mcp_search(config: Path, expected: list[tuple[str, float]]) -> None:
    transports = pytest.importorskip("fastmcp.client.transports", reason="the MCP server needs fastmcp")
    from fastmcp import Client

    arguments = ["-m", "hypensearch.pyserini", "server.mcp", "--config", str(config)]
    transport = transports.StdioTransport(sys.executable, arguments, env=dict(os.environ), cwd=str(ROOT))

    async def ask() -> str:
        async with Client(transport, timeout=600, init_timeout=600) as client:
            answer = await client.call_tool("search", {"query": QUERY, "index": "mine", "hits": 3})
            return "\n".join(part.text for part in answer.content if hasattr(part, "text"))

    said = asyncio.run(ask())
    places = [said.index(f"DocID: {docid} | Score:") for docid, _ in expected]
    assert places == sorted(places)
    for docid, score in expected:
        shown = said.split(f"DocID: {docid} | Score: ")[1].split('"')[0].split("\n")[0]
        assert float(shown.rstrip("\\n,]")) == pytest.approx(score, abs=2e-6)
