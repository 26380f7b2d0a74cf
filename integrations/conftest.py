# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""What integration tests need of the machine; a test whose needs are not met is skipped with the reason."""

from __future__ import annotations

import importlib.util
import os
import runpy
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from hypensearch.errors import HypensearchError
from hypensearch.formats.qrels import read_qrels
from hypensearch.formats.run import open_run_writer, separate_ties
from hypensearch.formats.topics import read_topics
from hypensearch.hits import Hit
from hypensearch.pyserini import bridge as pyserini_bridge
from hypensearch.pyserini import java
from tests.train.toy import backbone, data, settings

__all__ = ["backbone", "data", "settings"]  # fixtures

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where a shell put the tests into the background

ROOT = Path(__file__).parent.parent

#: A corpus and topics that most tests get by with.
TEXTS = {
    "d1": "Concussion symptoms can appear immediately or up to 72 hours after the injury.",
    "d2": "India has 28 states and 8 union territories.",
    "d3": "A q-net is a small network that scores document vectors.",
    "d4": "The symptoms of a cold last about a week.",
    "d5": "States of matter: solid, liquid, gas and plasma.",
}
TOPICS = {"1": "concussion symptoms", "2": "how many states are there in india"}


OFFLINE = Path(__file__).parent / "offline"

#: The most that a test may take.
HOURS = 2

#: Set this to anything where Pyserini can reach the network.
ONLINE_VARIABLE = "HYPENSEARCH_ONLINE"


def pytest_configure() -> None:
    """Let a Pyserini that reads lists from the network when it is imported do without, here and in subprocesses."""
    if _stands_in():
        os.environ["PYTHONPATH"] = os.pathsep.join([str(OFFLINE), *filter(None, [os.environ.get("PYTHONPATH")])])
        runpy.run_path(str(OFFLINE / "sitecustomize.py"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give slow tests time."""
    for item in items:
        item.add_marker(pytest.mark.timeout(HOURS * 3600))


def pytest_report_header() -> list[str]:
    """Say which Pyserini is tested, and what cannot be tested without network."""
    lines = [f"Python {sys.version.split()[0]}, Pyserini {_version() or 'not installed'}"]
    if _stands_in():
        lines.append(
            f"Pyserini {_version()} reads its lists of prebuilt indexes from the network at every import: "
            f"{OFFLINE.name}/ answers them, empty; set {ONLINE_VARIABLE}=1 for the real ones"
        )
    if not os.environ.get(ONLINE_VARIABLE):
        lines.append("without network, named topics and qrels and published models are skipped; -rs gives each reason")
    return lines


def _stands_in() -> bool:
    return _version() >= "2.4" and not os.environ.get(ONLINE_VARIABLE)


def _version() -> str:
    try:
        return pyserini_bridge.version()
    except HypensearchError:
        return ""


@dataclass(frozen=True)
class BM25:
    """A collection searched with BM25: where its files are, and what was found."""

    corpus: Path
    topics: dict[str, str]
    qrels_path: Path
    qrels: dict[str, dict[str, int]]
    index: Path
    run_path: Path
    run: dict[str, list[Hit]]


@pytest.fixture(scope="session")
def anserini() -> None:
    """A JDK and Anserini's jar: enough for trec_eval, Lucene indexing and BM25, with or without network."""
    try:
        java.find_jdk()
        pyserini_bridge.anserini_jar()
    except HypensearchError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def pyserini(anserini: None) -> None:
    """A Pyserini that can be imported."""
    if importlib.util.find_spec("faiss") is None:
        pytest.skip("Pyserini's searchers need faiss: pip install faiss-cpu")
    try:
        pyserini_bridge.hybrid_searcher(None, None)
    except HypensearchError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of collections and models: HYPENSEARCH_SHARED, or ``shared`` beside the repository."""
    folder = Path(os.environ.get("HYPENSEARCH_SHARED", ROOT.parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip(f"no collections in {folder}: set HYPENSEARCH_SHARED to a folder that has data/scifact")
    return folder


@pytest.fixture(scope="session")
def scifact(shared: Path, anserini: None, tmp_path_factory: pytest.TempPathFactory) -> BM25:
    """SciFact, its Lucene index and a BM25 run of 100 hits per topic."""
    data, work = shared / "data/scifact", tmp_path_factory.mktemp("scifact")
    pyserini_bridge.index_lucene(data / "corpus.jsonl", work / "index", threads=2)
    topics = read_topics(data / "topics.tsv")
    run = pyserini_bridge.bm25_run(work / "index", topics, k=100, threads=2)
    write_run(work / "run.bm25.txt", run)
    qrels = data / "qrels.txt"
    return BM25(data / "corpus.jsonl", topics, qrels, read_qrels(qrels), work / "index", work / "run.bm25.txt", run)


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small untrained Hypencoder in the released layout: 2 blocks, 32 wide."""
    packed = ROOT / "tests/resources/parity/a_2layer_h32.tar.xz"
    if not packed.exists():
        pytest.skip(f"no {packed}")
    folder = tmp_path_factory.mktemp("parity")
    with tarfile.open(packed) as tar:
        tar.extractall(folder, filter="data")
    return folder / "checkpoint"


@pytest.fixture
def command() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run ``python -m <module> <arguments>`` and expect it to succeed."""

    def run(module: str, *args: object) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", module, *(str(arg) for arg in args)]
        done = subprocess.run(line, capture_output=True, text=True, cwd=ROOT)
        assert done.returncode == 0, f"{' '.join(line)}\n{done.stderr}"
        return done

    return run


@pytest.fixture
def failing() -> Callable[..., str]:
    """Run ``python -m <module> <arguments>`` and expect it to be refused; gives the line that says why."""

    def run(module: str, *args: object) -> str:
        line = [sys.executable, "-m", module, *(str(arg) for arg in args)]
        done = subprocess.run(line, capture_output=True, text=True, cwd=ROOT)
        assert done.returncode == 2, f"{' '.join(line)}\n{done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr
        return done.stderr.splitlines()[-1]

    return run


def write_run(path: Path, run: dict[str, list[Hit]], tag: str = "hypensearch") -> Path:
    """Write a TREC run as ``hypensearch.search`` does."""
    with open_run_writer(path, "trec", tag=tag) as writer:
        for topic, hits in run.items():
            writer.write(topic, separate_ties(hits))
    return path
