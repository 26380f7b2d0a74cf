# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Exported graphs in onnxruntime against our own scores: random weights at the released size, of every depth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hypensearch.models import DualEncoder, load_model
from integrations.conftest import TEXTS, TOPICS
from tests.commands import refuse, succeed
from tests.models.checkpoints import bert_config, biencoder_config, hypencoder_config, save_checkpoint

QUERIES, DOCUMENTS = [*TOPICS.values(), "x"], list(TEXTS.values())


@pytest.fixture(autouse=True)
def libraries() -> None:
    for name in ("onnxscript", "onnxruntime"):
        pytest.importorskip(name, reason=f"{name} is not installed")


def run(folder: Path, graph: str, inputs: dict[str, Any]) -> dict[str, np.ndarray]:
    import onnxruntime

    session = onnxruntime.InferenceSession(folder / f"{graph}.onnx")
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


def onnx_scores(folder: Path) -> np.ndarray:
    """Scores of all documents for all queries, padded in one batch."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)

    def tokens(texts: list[str]) -> dict[str, np.ndarray]:
        batch = tokenizer(texts, padding=True, return_tensors="np")
        return {name: batch[name] for name in ("input_ids", "attention_mask")}

    tensors = run(folder, "query_encoder", tokens(QUERIES))
    vectors = run(folder, "document_encoder", tokens(DOCUMENTS))["vectors"]
    return run(folder, "q_net", {"vectors": vectors, **tensors})["scores"]


def check(model: DualEncoder, folder: Path) -> None:
    wanted = model.encode_queries(QUERIES)(torch.from_numpy(model.encode_documents(DOCUMENTS))).numpy()
    found = onnx_scores(folder)
    assert found.shape == (len(QUERIES), len(DOCUMENTS))
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4 * np.abs(wanted).max())


@pytest.mark.parametrize("blocks", [2, 4, 6, 8])
def test_released_sizes(blocks: int, tiny_checkpoint: Path, tmp_path: Path) -> None:
    raw = hypencoder_config(vector_dimensions=[768] * (blocks + 1) + [1])
    raw["query_encoder_kwargs"]["base_encoder_output_dim"] = 768
    folder = save_checkpoint(tmp_path, raw, tiny_checkpoint, backbones={"base_encoder": bert_config(768, heads=12)})
    succeed("convert.onnx", "--encoder", folder, "--output", tmp_path / "onnx")
    check(load_model(str(folder)), tmp_path / "onnx")


def test_a_bi_encoder_and_mean_pooling(tiny_checkpoint: Path, tmp_path: Path) -> None:
    raw = biencoder_config()
    raw["passage_encoder_kwargs"]["pooling_type"] = raw["query_encoder_kwargs"]["pooling_type"] = "mean"
    folder = save_checkpoint(tmp_path, raw, tiny_checkpoint)
    succeed("convert.onnx", "--encoder", folder, "--output", tmp_path / "onnx")
    check(load_model(str(folder)), tmp_path / "onnx")


_SMALL = {"num_attention_heads": 2, "num_hidden_layers": 2, "intermediate_size": 32, "hidden_size": 16}
_TOKENS = {"pad_token_id": 0, "cls_token_id": 1, "sep_token_id": 2, "bos_token_id": 1, "eos_token_id": 2}


@pytest.mark.parametrize(
    "backbone",
    [
        {"model_type": "distilbert", "dim": 16, "n_heads": 2, "n_layers": 1, "hidden_dim": 32},
        {"model_type": "mpnet", **_SMALL},
        {"model_type": "modernbert", **_SMALL, **_TOKENS},
    ],
    ids=lambda backbone: backbone["model_type"],
)
def test_other_backbones(backbone: dict[str, Any], tiny_checkpoint: Path, tmp_path: Path) -> None:
    config = {"vocab_size": 2000, "max_position_embeddings": 512, **backbone}
    folder = save_checkpoint(tmp_path, hypencoder_config(), tiny_checkpoint, backbones={"base_encoder": config})
    succeed("convert.onnx", "--encoder", folder, "--output", tmp_path / "onnx")
    check(load_model(str(folder)), tmp_path / "onnx")


def test_the_bundled_model(tmp_path: Path) -> None:
    succeed("convert.onnx", "--encoder", "bundled", "--output", tmp_path)
    check(load_model("bundled"), tmp_path)


def test_missing_libraries_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    said = refuse("convert.onnx", "--encoder", "bundled", "--output", tmp_path)
    assert "onnx and onnxscript not installed: pip install 'hypensearch[onnx]'" in said
