# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Our encoders within Pyserini's own commands, and their vectors in ours."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hypensearch.formats.run import read_run
from integrations.conftest import TEXTS, TOPICS
from tests.commands import encode, search, succeed, write_corpus, write_topics
from tests.models.checkpoints import biencoder_config, save_checkpoint

pytestmark = pytest.mark.usefixtures("pyserini")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("encode") / "corpus.jsonl", TEXTS)


def groups(corpus: Path, output: Path, checkpoint: Path, *more: object) -> list[object]:
    """The arguments of Pyserini's encode command, for a checkpoint whose path tells nothing."""
    model = ["encoder", "--encoder", checkpoint, "--encoder-class", "hypencoder", "--device", "cpu", *more]
    return ["input", "--corpus", corpus, "output", "--embeddings", output, *model]


def test_pyserinis_encode_command_makes_our_vectors(
    corpus: Path, tiny_checkpoint: Path, tmp_path: Path, command: Callable[..., object]
) -> None:
    command("hypensearch.pyserini", "encode", *groups(corpus, tmp_path / "theirs", tiny_checkpoint))
    succeed("encode", *encode(corpus, tmp_path / "ours", tiny_checkpoint, "--device", "cpu"))

    records = [json.loads(line) for line in (tmp_path / "theirs/embeddings.jsonl").read_text().splitlines()]
    assert [record["id"] for record in records] == list(TEXTS)
    ours = np.load(next((tmp_path / "ours").rglob("vectors.npy")))
    np.testing.assert_allclose([record["vector"] for record in records], ours, atol=2e-5)


def test_its_faiss_index_becomes_ours(
    corpus: Path, tiny_checkpoint: Path, tmp_path: Path, command: Callable[..., object]
) -> None:
    """Pyserini encodes to Faiss, we search its folder with q-nets."""
    line = groups(corpus, tmp_path / "faiss", tiny_checkpoint, "--dimension", 32)
    line.insert(line.index("encoder"), "--to-faiss")
    command("hypensearch.pyserini", "encode", *line)
    imported = ["input", "--vectors", tmp_path / "faiss", "output", "--embeddings", tmp_path / "imported"]
    succeed("encode", *imported, "encoder", "--encoder", tiny_checkpoint)
    succeed("encode", *encode(corpus, tmp_path / "ours", tiny_checkpoint, "--device", "cpu"))
    topics = write_topics(tmp_path / "topics.tsv", TOPICS)

    runs = {}
    for name in ("imported", "ours"):
        flags = ["--device", "cpu", "--encoder", tiny_checkpoint]
        succeed("search", *search(tmp_path / name, topics, tmp_path / f"run.{name}", *flags))
        runs[name] = read_run(tmp_path / f"run.{name}")

    for topic in TOPICS:
        scores = [{hit.docid: hit.score for hit in run[topic]} for run in runs.values()]
        assert scores[0] == pytest.approx(scores[1], abs=1e-3)


def test_a_bi_encoder_in_pyserinis_search(
    corpus: Path, tiny_checkpoint: Path, tmp_path: Path, command: Callable[..., object]
) -> None:
    """The same bi-encoder, in Pyserini's commands all the way and in ours, finds the same."""
    checkpoint = save_checkpoint(tmp_path / "b", biencoder_config(), tiny_checkpoint)
    line = groups(corpus, tmp_path / "faiss", checkpoint, "--dimension", _dim(checkpoint))
    line.insert(line.index("encoder"), "--to-faiss")
    command("hypensearch.pyserini", "encode", *line)
    topics = write_topics(tmp_path / "topics.tsv", TOPICS)
    flags = ["--encoder", checkpoint, "--hits", 5]
    theirs = search(tmp_path / "faiss", topics, tmp_path / "run.theirs", *flags, "--encoder-class", "biencoder")
    command("hypensearch.pyserini", "search.faiss", *theirs)
    succeed("encode", *encode(corpus, tmp_path / "index", checkpoint, "--device", "cpu"))
    succeed("search", *search(tmp_path / "index", topics, tmp_path / "run.ours", *flags))

    runs = [read_run(tmp_path / f"run.{name}") for name in ("theirs", "ours")]

    for topic in TOPICS:
        scores = [{hit.docid: hit.score for hit in run[topic]} for run in runs]
        assert scores[0] == pytest.approx(scores[1], abs=1e-3)


def test_a_hypencoder_in_pyserinis_search_is_told_where_to_go(
    corpus: Path, tiny_checkpoint: Path, tmp_path: Path, failing: Callable[..., str]
) -> None:
    succeed("encode", *_with_faiss(corpus, tmp_path / "index", tiny_checkpoint))
    topics = write_topics(tmp_path / "topics.tsv", TOPICS)
    line = search(tmp_path / "index", topics, tmp_path / "run", "--encoder", tiny_checkpoint)

    said = failing("hypensearch.pyserini", "search.faiss", *line, "--encoder-class", "hypencoder")

    assert "it makes q-nets of queries, which Faiss and Lucene cannot search with" in said


def test_our_encoders_are_pyserinis(tiny_checkpoint: Path) -> None:
    from pyserini.encode import DocumentEncoder, QueryEncoder

    from hypensearch.pyserini import HypencoderDocumentEncoder, HypencoderQueryEncoder

    assert isinstance(HypencoderDocumentEncoder(str(tiny_checkpoint), device="cpu"), DocumentEncoder)
    assert isinstance(HypencoderQueryEncoder(str(tiny_checkpoint), device="cpu"), QueryEncoder)


def _with_faiss(corpus: Path, index: Path, checkpoint: Path) -> list[object]:
    line = encode(corpus, index, checkpoint, "--device", "cpu")
    line.insert(line.index("encoder"), "--to-faiss")
    return line


def _dim(checkpoint: Path) -> int:
    from hypensearch.models import load_model

    return load_model(str(checkpoint)).dim
