# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Ten thousand queries by 16 threads and by 4 processes: the hits of one by one, in memory that does not grow."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hypensearch.formats.run import read_run
from tests.commands import encode, succeed, write_corpus, write_topics
from tests.search import load

MEGABYTE = 2**20
QUERIES = 10_000
SLACK = 64 * MEGABYTE


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return load.make_index(tmp_path_factory.mktemp("load") / "index", 2_000)


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


@pytest.mark.parametrize("name", load.SEARCHERS)
def test_threads(name: str, folder: Path) -> None:
    with load.open_searcher(folder, name) as searcher:
        wanted = load.one_by_one(searcher)
        load.check(load.by_threads(searcher, 16, QUERIES // 160), wanted)  # buffers are made now
        before = resident_bytes()
        for _ in range(10):
            load.check(load.by_threads(searcher, 16, QUERIES // 160), wanted)
        assert resident_bytes() < before + SLACK


@pytest.mark.parametrize("name", load.SEARCHERS)
def test_processes(name: str, folder: Path) -> None:
    with load.open_searcher(folder, name) as searcher:
        wanted = load.one_by_one(searcher)
    load.check(load.by_processes(folder, name, 4, QUERIES // 4), wanted)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupt_ends_within_a_second(number: int, code: int, tmp_path: Path) -> None:
    words = [f"word{number}" for number in range(50)]
    corpus = write_corpus(tmp_path / "corpus.jsonl", {f"d{n}": " ".join(words[n % 40 :]) for n in range(200)})
    succeed("encode", *encode(corpus, tmp_path / "index", "bundled"))
    topics = write_topics(tmp_path / "topics.tsv", {str(n): f"{words[n % 50]} {n}" for n in range(50_000)})
    output = tmp_path / "out" / "run.txt"
    argv = ["--index", tmp_path / "index", "--topics", topics, "--output", output, "--batch-size", 1, "--hits", 100]
    command = [sys.executable, "-m", "hypensearch.search", *map(str, argv)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 120
        while not any(path.stat().st_size for path in tmp_path.glob("out/.run.txt.*.partial")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            os.sched_yield()
        began = time.monotonic()
        process.send_signal(number)
        errors = process.communicate(timeout=30)[1]
        seconds = time.monotonic() - began
    print(f"{signal.Signals(number).name} was answered within {seconds:.2f} s")  # pytest -s shows it
    assert process.returncode == code, errors
    assert seconds < 1, errors
    assert [path.name for path in output.parent.iterdir()] == ["run.txt.partial"]
    assert f"are in {output}.partial" in errors
    run = read_run(f"{output}.partial")
    assert 0 < len(run) < 50_000
    assert {len(hits) for hits in run.values()} == {100}
