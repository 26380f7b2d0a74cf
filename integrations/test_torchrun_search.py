# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Search by several processes of torchrun: the run of one process, byte for byte."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hypensearch.encode.__main__ import main as encode

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("collection")
    words = ["parse", "date", "glob", "file", "random", "shuffle", "json", "read", "write", "socket", "thread", "sort"]
    documents = [f"{a} {b} {c}" for a in words for b in words for c in words[:3]]
    lines = [f'{{"id": "d{row}", "contents": "{text}"}}\n' for row, text in enumerate(documents)]
    (folder / "corpus.jsonl").write_text("".join(lines))
    (folder / "topics.tsv").write_text("".join(f"{row}\t{text}\n" for row, text in enumerate(words)))
    arguments = ["input", "--corpus", f"{folder}/corpus.jsonl", "output", "--embeddings", f"{folder}/index"]
    assert encode([*arguments, "encoder", "--encoder", "bundled"]) == 0
    return folder


@pytest.mark.parametrize("processes", [2, 3])
def test_several_processes_write_the_run_of_one(collection: Path, processes: int) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), "-m"]
    one, many = collection / "one.txt", collection / f"{processes}.txt"
    for launcher, output in (([sys.executable, "-m"], one), (torchrun, many)):
        done = search(launcher, collection, output)
        assert done.returncode == 0, done.stderr[-2000:]
        assert done.stdout.count("Running ") == 1
    assert one.read_bytes() == many.read_bytes()
    assert len(one.read_text().splitlines()) == 12 * 50


def test_other_searchers_are_refused(collection: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    done = search(torchrun, collection, collection / "no.txt", "--searcher", "graph")
    assert done.returncode != 0
    assert "--searcher graph with 2 processes: they share exhaustive search only" in done.stderr
    assert not (collection / "no.txt").exists()


def search(launcher: list[str], collection: Path, output: Path, *more: str) -> subprocess.CompletedProcess[str]:
    flags = ["--index", f"{collection}/index", "--topics", f"{collection}/topics.tsv", "--output", str(output)]
    flags += ["--hits", "50", "--batch-size", "5", "--device", "cpu", *more]
    command = [*launcher, "hypensearch.search", *flags]
    return subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=300)
