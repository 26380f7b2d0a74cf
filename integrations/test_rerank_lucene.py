# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""BM25, then q-nets, on texts that only a Lucene index holds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from hypensearch.errors import HypensearchError
from hypensearch.formats.run import open_run_writer, read_run, separate_ties
from hypensearch.pyserini import bridge as pyserini_bridge
from hypensearch.search import HypencoderSearcher
from integrations.conftest import TEXTS, TOPICS
from tests.commands import encode, refuse, succeed, write_corpus, write_topics


@pytest.fixture(scope="module")
def folder(pyserini: None, tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lucene")
    corpus = write_corpus(folder / "corpus.jsonl", TEXTS)
    write_topics(folder / "topics.tsv", TOPICS)
    pyserini_bridge.index_lucene(corpus, folder / "lucene")
    succeed("encode", *encode(corpus, folder / "index", tiny_checkpoint))
    with open_run_writer(folder / "bm25.txt") as writer:
        for topic, hits in pyserini_bridge.bm25_run(folder / "lucene", TOPICS).items():
            writer.write(topic, separate_ties(hits))
    return folder


def reranked(folder: Path, *source: object) -> dict[str, dict[str, float]]:
    argv = ["--run", folder / "bm25.txt", "--topics", folder / "topics.tsv", "--output", folder / "out.txt"]
    succeed("rerank", *argv, *source)
    return {topic: {hit.docid: hit.score for hit in hits} for topic, hits in read_run(folder / "out.txt").items()}


def test_texts_of_a_lucene_index(folder: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    wanted = reranked(folder, "--index", folder / "index")
    source = ["--sparse-index", folder / "lucene", "--encoder", tiny_checkpoint, "--cache", tmp_path / "cache"]
    for _ in range(2):
        found = reranked(folder, *source)
        assert {t: list(hits) for t, hits in found.items()} == {t: list(hits) for t, hits in wanted.items()}
        for topic, scores in wanted.items():
            assert found[topic] == pytest.approx(scores, abs=1e-3)


def test_doc_from_a_lucene_index(folder: Path) -> None:
    with HypencoderSearcher(folder / "index", sparse_index=folder / "lucene") as searcher:
        document = searcher.doc("d3")
        assert document is not None
        assert (document.docid(), document.contents()) == ("d3", TEXTS["d3"])
        assert json.loads(document.raw()) == {"id": "d3", "contents": TEXTS["d3"]}
        assert searcher.doc("nowhere") is None


def test_interactive_search_shows_texts_of_a_lucene_index(folder: Path, tiny_checkpoint: Path) -> None:
    argv = ["--index", folder / "index", "--interactive", 2, "--sparse-index", folder / "lucene"]
    done = subprocess.run(
        [sys.executable, "-m", "hypensearch.search", *map(str, argv)],
        input="symptoms\n",
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    with HypencoderSearcher(folder / "index") as searcher:
        for hit in searcher.search("symptoms", 2):
            assert TEXTS[hit.docid][:40] in done.stdout


@pytest.mark.usefixtures("pyserini")
def test_names_that_pyserini_does_not_know(folder: Path, tiny_checkpoint: Path) -> None:
    with pytest.raises(HypensearchError, match="no file is called no-such-index, and Pyserini"):
        pyserini_bridge.lucene_searcher("no-such-index")
    argv = ["--run", folder / "bm25.txt", "--topics", folder / "topics.tsv", "--output", folder / "out.txt"]
    said = refuse("rerank", *argv, "--sparse-index", folder / "index", "--encoder", tiny_checkpoint)
    assert "is not a Lucene index" in said
