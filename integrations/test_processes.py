# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""A searcher in processes that get a copy of it, and behind gunicorn, which forks after loading."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.request import urlopen

import pytest

from hypensearch.search import HypencoderSearcher
from integrations.conftest import ROOT, TEXTS
from tests.commands import encode, succeed, write_corpus

SECONDS = 300
COPIES = """
import multiprocessing, sys
from torch.utils.data import DataLoader, Dataset
from hypensearch.search import HypencoderSearcher

class Hits(Dataset):
    def __init__(self, searcher): self.searcher = searcher
    def __len__(self): return 4
    def __getitem__(self, place): return self.searcher.search("states", k=3)

def take(given):
    global searcher
    searcher = given

def search(_=0):
    return searcher.search("states", k=3)

if __name__ == "__main__":
    _, index, way, method = sys.argv
    take(HypencoderSearcher(index))
    expected = search()
    context = multiprocessing.get_context(method)
    if way == "pool":
        with context.Pool(2, take, (searcher,)) as pool:
            found = pool.map_async(search, range(4)).get(timeout=250)
    else:
        options = {"batch_size": None, "collate_fn": list, "num_workers": 2, "timeout": 250}
        found = list(DataLoader(Hits(searcher), multiprocessing_context=context, **options))
    assert found == [expected] * 4
"""
APP = """
import json, os
from urllib.parse import parse_qs
from hypensearch.search import HypencoderSearcher

searcher = HypencoderSearcher(os.environ["INDEX"])
searcher.search("states", k=3)

def app(environ, start_response):
    hits = searcher.search(parse_qs(environ["QUERY_STRING"])["q"][0], k=3)
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps([(hit.docid, hit.score) for hit in hits]).encode()]
"""


@pytest.fixture(scope="module")
def index(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("processes")
    succeed("encode", *encode(write_corpus(folder / "corpus.jsonl", TEXTS), folder / "index", tiny_checkpoint))
    return folder / "index"


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
@pytest.mark.parametrize("way", ["pool", "loader"])
def test_copies_search_in_new_processes(index: Path, tmp_path: Path, way: str, method: str) -> None:
    script = tmp_path / "copies.py"
    script.write_text(COPIES)
    subprocess.run([sys.executable, script, index, way, method], env=environment(), check=True, timeout=SECONDS)


@pytest.mark.parametrize("workers", [["--workers", "2"], ["--workers", "2", "--threads", "2"]], ids=["sync", "gthread"])
def test_gunicorn_with_preload(index: Path, tmp_path: Path, workers: list[str]) -> None:
    if importlib.util.find_spec("gunicorn") is None:
        pytest.skip("gunicorn is not installed: pip install gunicorn")
    with HypencoderSearcher(index) as searcher:
        expected = [[hit.docid, hit.score] for hit in searcher.search("states", k=3)]
    (tmp_path / "app.py").write_text(APP)
    with ThreadPoolExecutor(8) as askers:
        for address in served(tmp_path, index, workers):
            assert list(askers.map(ask, [f"{address}?q=states"] * 32)) == [expected] * 32


def served(folder: Path, index: Path, workers: list[str]) -> Iterator[str]:
    """Give the address of the application while gunicorn serves it."""
    flags = ["--preload", "--bind", "127.0.0.1:0", "--timeout", str(SECONDS), "--log-file", "-"]
    server = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", *flags, *workers, "app:app"],
        cwd=folder,
        env={**environment(), "INDEX": str(index), "HOME": str(folder)},
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stderr is not None
        lines = iter(server.stderr.readline, "")
        listening = next(line for line in lines if "Listening at: " in line)
        yield listening.split("Listening at: ")[1].split()[0] + "/"
    finally:
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=60)


def ask(address: str) -> object:
    with urlopen(address, timeout=SECONDS) as answer:
        return json.loads(answer.read())


def environment() -> dict[str, str]:
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "OMP_NUM_THREADS": "2", "PYTHONPATH": path}
