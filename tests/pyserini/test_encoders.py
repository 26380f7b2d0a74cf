# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The encoders on their own, as they are where Pyserini cannot be imported."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from hypensearch.errors import HypensearchError
from hypensearch.models import load_model
from hypensearch.pyserini import bridge as pyserini_bridge
from hypensearch.search import HypencoderSearcher
from tests.commands import encode, succeed, write_corpus
from tests.models.checkpoints import biencoder_config, save_checkpoint

TEXTS = {"d1": "water", "d2": "stone and storm", "d3": "a church in the north"}


@pytest.fixture
def encoders(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Imported without Pyserini, and forgotten afterwards."""
    import importlib
    import sys

    def none() -> tuple[type, type]:
        raise HypensearchError("Pyserini is not installed")

    monkeypatch.setattr(pyserini_bridge, "encoder_bases", none)
    monkeypatch.delitem(sys.modules, "hypensearch.pyserini.encoders", raising=False)
    yield importlib.import_module("hypensearch.pyserini.encoders")
    sys.modules.pop("hypensearch.pyserini.encoders", None)


def test_documents(encoders: ModuleType, tiny_checkpoint: Path) -> None:
    encoder = encoders.HypencoderDocumentEncoder(str(tiny_checkpoint), device="cpu", prefix="north:")
    model = load_model(str(tiny_checkpoint))

    vectors = encoder.encode(texts=["water", "stone"], titles=["", "storm"], max_length=8)

    np.testing.assert_array_equal(vectors, model.encode_documents(["north: water", "north: storm stone"], max_length=8))
    half = encoder.encode(["north water"], fp16=True)
    np.testing.assert_allclose(half, model.encode_documents(["north: north water"]), atol=0.05)


def test_prompts_of_the_checkpoint(encoders: ModuleType, tmp_path: Path, tiny_checkpoint: Path) -> None:
    folder = save_checkpoint(tmp_path, biencoder_config(), tiny_checkpoint)
    plain = load_model(str(folder))
    raw = biencoder_config() | {"prompts": {"query": "the ", "document": "a "}}
    (folder / "config.json").write_text(json.dumps(raw))
    documents = encoders.HypencoderDocumentEncoder(str(folder), device="cpu").encode(["stone"])
    np.testing.assert_array_equal(documents, plain.encode_documents(["a stone"]))
    query = encoders.HypencoderQueryEncoder(str(folder), device="cpu").encode("stone")
    np.testing.assert_array_equal(query, plain.encode_queries(["the stone"]).weights[0][0, :, 0])


@pytest.mark.parametrize(
    ("options", "message"), [({"add_sep": True}, "--add-sep"), ({"abstracts": ["x"]}, "found abstract; join them")]
)
def test_text_that_would_be_lost(
    encoders: ModuleType, tiny_checkpoint: Path, options: dict[str, object], message: str
) -> None:
    encoder = encoders.HypencoderDocumentEncoder(str(tiny_checkpoint), device="cpu")
    with pytest.raises(HypensearchError, match=message):
        encoder.encode(["water"], **options)


def test_queries_of_a_hypencoder_are_q_nets(encoders: ModuleType, tiny_checkpoint: Path, tmp_path: Path) -> None:
    encoder = encoders.HypencoderQueryEncoder(str(tiny_checkpoint), device="cpu")
    succeed("encode", *encode(write_corpus(tmp_path / "c.jsonl", TEXTS), tmp_path / "index", tiny_checkpoint))

    with HypencoderSearcher(tmp_path / "index", encoder, device="cpu") as searcher:
        assert searcher.search(encoder.encode_q_nets(["storm"])) == searcher.search("storm")
        assert searcher.query_encoder is encoder.model
    for encode_query in (encoder.encode, encoder.encode_batch):
        with pytest.raises(HypensearchError, match="it makes q-nets of queries, which Faiss and Lucene cannot search"):
            encode_query("storm")


def test_queries_of_a_bi_encoder_are_vectors(encoders: ModuleType, tiny_checkpoint: Path, tmp_path: Path) -> None:
    checkpoint = save_checkpoint(tmp_path / "b", biencoder_config(), tiny_checkpoint)
    queries = encoders.HypencoderQueryEncoder(str(checkpoint), device="cpu")
    documents = encoders.HypencoderDocumentEncoder(str(checkpoint), device="cpu").encode(list(TEXTS.values()))

    batch = queries.encode_batch(["storm", "north"])

    assert batch.shape == (2, documents.shape[1])
    np.testing.assert_array_equal(queries.encode("north"), batch[1])
    succeed("encode", *encode(write_corpus(tmp_path / "c.jsonl", TEXTS), tmp_path / "index", checkpoint))
    with HypencoderSearcher(tmp_path / "index", str(checkpoint), device="cpu") as searcher:
        scores = {hit.docid: hit.score for hit in searcher.search("storm")}
    np.testing.assert_allclose(documents @ batch[0], [scores[docid] for docid in TEXTS], rtol=1e-4, atol=1e-4)


def test_what_pyserini_guesses_is_ignored_with_a_warning(
    encoders: ModuleType, tiny_checkpoint: Path, caplog: pytest.LogCaptureFixture
) -> None:
    encoders.HypencoderDocumentEncoder(str(tiny_checkpoint), device="cpu", pooling="mean", l2_norm=True)
    assert "ignored: pooling=mean, l2_norm=True" in caplog.text
