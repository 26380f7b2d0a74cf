# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""``python -m hypensearch.serve`` in a process of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import hypensearch
from hypensearch.search import HypencoderSearcher
from tests.commands import encode, refuse, succeed, write_corpus

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(hypensearch.__file__).parents[1])}


@pytest.fixture(scope="module")
def index(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("serve")
    corpus = write_corpus(folder / "corpus.jsonl", {"a": "water of the river", "b": "stones of the church"})
    succeed("encode", *encode(corpus, folder / "index", tiny_checkpoint))
    return folder / "index"


@contextmanager
def served(index: Path, *more: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A running service and its address."""
    argv = [sys.executable, "-m", "hypensearch.serve", "--index", str(index), "--port", "0", *more]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://[^ ]+/", line)
        assert found, line
        yield process, found[0]
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_answers_over_the_network_and_ends_when_asked(index: Path, number: signal.Signals) -> None:
    with served(index, "--max-hits", "2") as (process, address):
        with urllib.request.urlopen(f"{address}search?query=river&hits=2", timeout=60) as answer:
            hits = json.load(answer)["hits"]
        with HypencoderSearcher(index) as searcher:
            assert [(hit["docid"], hit["score"]) for hit in hits] == [
                (hit.docid, hit.score) for hit in searcher.search("river", 2)
            ]
        process.send_signal(number)
        assert process.wait(timeout=60) == 128 + number


def test_a_port_that_is_taken_is_one_line(index: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"cannot listen on 127.0.0.1:{port}" in refuse("serve", "--index", index, "--port", port)


@pytest.mark.parametrize(("flag", "value"), [("--port", "70000"), ("--max-hits", "0"), ("--max-queue", "x")])
def test_bad_flags_are_refused(index: Path, flag: str, value: str) -> None:
    assert flag in refuse("serve", "--index", index, flag, value)
