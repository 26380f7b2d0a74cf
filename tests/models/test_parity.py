# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Our model against the outputs of the authors' implementation, within the tolerances their manifest gives."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hypensearch.models import QNets, load_model
from hypensearch.models.dual_encoder import token_states


class Authors:
    """One variant of the authors' outputs, and our model loaded from their checkpoint."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest = json.loads((folder / "manifest.json").read_text())
        self.atol = self.manifest["suggested_atol"]
        self.model = load_model(str(folder / "checkpoint"))

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        return dict(np.load(self.folder / f"{name}.npz"))

    def texts(self, name: str) -> list[str]:
        lines = (self.folder / f"{name}.jsonl").read_text(encoding="utf-8").split("\n")
        return [json.loads(line)["text"] for line in lines if line]

    @cached_property
    def embeddings(self) -> np.ndarray:
        size = self.manifest["document_encode_batch_size"]
        texts = self.texts("documents")
        batches = [texts[start : start + size] for start in range(0, len(texts), size)]
        return np.concatenate([self.model.encode_documents(batch, max_length=512) for batch in batches])

    @cached_property
    def q_nets(self) -> QNets:
        return self.model.encode_queries(self.texts("queries"), max_length=self.manifest["query_max_length"])

    def stored_q_nets(self, arrays: dict[str, np.ndarray]) -> QNets:
        return QNets(
            self.model.q_net_config,
            [torch.from_numpy(arrays[f"weight_{i}"]) for i in range(len(self.model.q_net_config.weight_shapes))],
            [torch.from_numpy(arrays[f"bias_{i}"]) for i in range(self.model.q_net_config.num_blocks)],
        )


@pytest.fixture(scope="module")
def authors(variant: Path) -> Authors:
    return Authors(variant)


def test_document_embeddings(authors: Authors) -> None:
    stored = authors.arrays("documents")["embeddings"]
    np.testing.assert_allclose(authors.embeddings, stored, rtol=0, atol=authors.atol["embeddings"])


def test_q_nets(authors: Authors) -> None:
    assert_same_q_nets(authors.q_nets, authors.stored_q_nets(authors.arrays("queries")), authors.atol)


def test_scores(authors: Authors) -> None:
    scores = authors.q_nets(torch.from_numpy(authors.embeddings))
    stored = authors.arrays("scores")["scores"]
    np.testing.assert_allclose(scores, stored, rtol=0, atol=authors.atol["scores_end_to_end"])


def test_scores_from_stored_vectors_and_q_nets(authors: Authors) -> None:
    q_nets = authors.stored_q_nets(authors.arrays("queries"))
    scores = q_nets(torch.from_numpy(authors.arrays("documents")["embeddings"]))
    stored = authors.arrays("scores")["scores"][: len(q_nets)]
    np.testing.assert_allclose(scores, stored, rtol=0, atol=authors.atol["scores_from_stored_embeddings_and_weights"])


def test_every_layer(authors: Authors) -> None:
    arrays = authors.arrays("intermediates")
    documents = torch.from_numpy(authors.embeddings[arrays["document_rows"]])
    for row in arrays["query_rows"].tolist():
        layers = authors.q_nets[row].layers(documents.unsqueeze(0))
        for number, layer in enumerate(layers):
            stored = arrays[f"layer_{number}_query_{row}"]
            np.testing.assert_allclose(layer[0], stored, rtol=0, atol=authors.atol["scores_end_to_end"])


def test_token_states(authors: Authors) -> None:
    arrays, queries = authors.arrays("intermediates"), authors.arrays("queries")
    for row in arrays["query_rows"].tolist():
        ids = torch.from_numpy(queries["input_ids"][row, : queries["lengths"][row]]).long().unsqueeze(0)
        with torch.inference_mode():
            states = token_states(authors.model.query_encoder.transformer, ids, torch.ones_like(ids))
        stored = arrays[f"hidden_query_{row}"]
        np.testing.assert_allclose(states[0], stored, rtol=0, atol=authors.atol["embeddings"])


def test_token_ids(authors: Authors) -> None:
    for name, max_length in (("documents", 512), ("queries", authors.manifest["query_max_length"])):
        arrays = authors.arrays(name)
        found = authors.model.tokenizer(authors.texts(name), truncation=True, max_length=max_length)["input_ids"]
        stored = [ids[:length].tolist() for ids, length in zip(arrays["input_ids"], arrays["lengths"], strict=True)]
        assert found == stored


@torch.inference_mode()
def test_padded_batch(authors: Authors) -> None:
    arrays = authors.arrays("padded_batch")
    q_nets = authors.model.query_encoder(*_batch(arrays, "query"))
    stored = authors.stored_q_nets(arrays)
    assert_same_q_nets(q_nets, stored, authors.atol)
    vectors = authors.model.passage_encoder(*_batch(arrays, "document"))
    np.testing.assert_allclose(vectors, arrays["document_embeddings"], rtol=0, atol=authors.atol["embeddings"])
    np.testing.assert_allclose(q_nets(vectors), arrays["pair_scores"], rtol=0, atol=authors.atol["scores_end_to_end"])


def assert_same_q_nets(found: QNets, stored: QNets, atol: dict[str, Any]) -> None:
    """Compare as many q-nets as are stored."""
    for ours, theirs in zip(found.weights, stored.weights, strict=True):
        torch.testing.assert_close(ours[: len(theirs)], theirs, rtol=0, atol=atol["qnet_weights"])
    for ours, theirs in zip(found.biases, stored.biases, strict=True):
        torch.testing.assert_close(ours[: len(theirs)], theirs, rtol=0, atol=atol["qnet_biases"])


def _batch(arrays: dict[str, np.ndarray], side: str) -> tuple[torch.Tensor, torch.Tensor]:
    ids, mask = arrays[f"{side}_input_ids"], arrays[f"{side}_attention_mask"]
    return torch.from_numpy(ids).long(), torch.from_numpy(mask).long()
