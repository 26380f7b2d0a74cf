# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hypensearch.errors import HypensearchError
from hypensearch.models import load_model
from hypensearch.models.config import QNetConfig
from hypensearch.models.new_model import load_backbone, new_hypencoder
from hypensearch.train.model import TrainingModel
from hypensearch.train.run import train

KINDS: dict[str, dict[str, Any]] = {
    "cold": {},
    "cls": {"pooling": "cls"},
    "warm": {"start": "warm"},
    "separate": {"start": "warm", "shared_encoder": False},
    "biencoder": {"architecture": "biencoder"},
    "matryoshka": {"widths": [8, 32]},
    "no residual": {"residual": False},
    "checkpointing": {"gradient_checkpointing": True, "gradient_accumulation": 2},
    "chunks": {"chunk_size": 5, "start": "warm"},
    "bf16": {"bf16": True, "start": "warm"},
    "dropout": {"dropout": 0.1, "projection_rate": 0.1},
    "distilled": {"train_file": "scored", "losses": {"kl": 1.0, "margin_mse": 0.1, "cross_entropy_positives": 1.0}},
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_trains_and_loads(settings: Any, kind: str) -> None:
    config = settings(**{**KINDS[kind], "max_steps": 4, "eval_steps": 2, "validation": []})
    trained = train(config)
    loaded = load_model(config.output)
    vectors = torch.from_numpy(trained.encode_documents(["w1 f1", "w2 f2 f3"]))
    assert torch.equal(vectors, torch.from_numpy(loaded.encode_documents(["w1 f1", "w2 f2 f3"])))
    assert torch.equal(trained.encode_queries(["w1"])(vectors), loaded.encode_queries(["w1"])(vectors))


@pytest.mark.parametrize("architecture", ["hypencoder", "biencoder"])
@pytest.mark.parametrize("start", ["cold", "warm"])
def test_learns_a_signal_and_not_noise(settings: Any, tmp_path: Path, architecture: str, start: str) -> None:
    """A cold start on shuffled labels stays at chance; a warm one starts above it, and forgets."""
    if (architecture, start) == ("biencoder", "cold"):
        pytest.skip("a bi-encoder has no head to start cold")
    reached = {}
    for name in ("train", "shuffled"):
        longer = {"num_blocks": 1, "learning_rate": 3e-3, "max_steps": 150, "eval_steps": 50}
        options = longer if start == "cold" else {"max_steps": 60}
        train(settings(architecture=architecture, start=start, train_file=name, output=str(tmp_path / name), **options))
        reached[name] = json.loads((tmp_path / name / "training" / "report.json").read_text())["end"]["eval_mean"]
    chance = sum(1 / rank for rank in range(1, 11)) / 40  # MRR@10 of a random order of the 40 documents
    assert reached["train"] > 0.9
    assert reached["shuffled"] < (chance + 0.12 if start == "cold" else reached["train"] - 0.2)


def test_chunks_give_the_exact_gradient(backbone: Path) -> None:
    """In float64, and measured by the largest gradient: rounding is all that attention's key biases get.

    Softmax does not see them, so their gradient is zero. What is left of it depends on the order of additions, which
    the number of threads and the size of the batch may change.
    """
    transformer, tokenizer = load_backbone(str(backbone))
    q_net = QNetConfig(dims=(32, 32, 32, 1))
    rng = torch.Generator().manual_seed(1)
    model = new_hypencoder(transformer, tokenizer, q_net=q_net, pooling="mean", generator=rng).double()
    queries, documents = (
        {key: batch[key] for key in ("input_ids", "attention_mask")}
        for texts in (["w1 f1", "w2", "w3 f3 f4"], ["w1", "w2 f2", "w3", "f4 f5 f6 w7", "w5"])
        for batch in [tokenizer(texts, padding=True, return_tensors="pt")]
    )

    def gradient(chunk_size: int) -> dict[str, torch.Tensor]:
        # without dropout, which chunks draw in another order
        training = TrainingModel(model, {"cross_entropy": 1.0}, chunk_size=chunk_size).eval()
        model.zero_grad()
        vectors = training.document_vectors(documents)
        training.q_nets(queries).score_each(vectors.expand(3, -1, -1)).square().mean().backward()
        return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

    whole = gradient(0)
    largest = max(float(expected.abs().max()) for expected in whole.values())
    for chunk_size in (1, 2, 64):
        chunked = gradient(chunk_size)
        assert chunked.keys() == whole.keys()
        for name, expected in whole.items():
            assert float((chunked[name] - expected).abs().max()) < 1e-12 * largest, name


def test_a_folder_whose_name_is_not_utf_8(settings: Any, tmp_path: Path) -> None:
    names = {"output": str(tmp_path / os.fsdecode(b"mod\xe8le")), "architecture": "biencoder"}
    trained = train(settings(max_steps=2, eval_steps=1, **names))
    resumed = train(settings(max_steps=2, eval_steps=1, resume=True, **names))
    loaded = load_model(names["output"])
    assert trained.fingerprint == resumed.fingerprint == loaded.fingerprint


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ({}, {}),
        ({"pooling": "cls", "shared_encoder": False}, {"num_blocks": 2}),
        ({"architecture": "biencoder", "shared_encoder": False}, {"gradient_checkpointing": True}),
        ({"widths": [8, 32]}, {"dropout": 0.1}),
    ],
)
def test_a_checkpoint_is_trained_on(settings: Any, tmp_path: Path, first: dict[str, Any], then: dict[str, Any]) -> None:
    """What it is comes from the checkpoint, and it starts where that ended."""
    model = train(settings(**first, max_steps=3, output=str(tmp_path / "first"), validation=[]))
    options = {**then, "backbone": "", "start_from": str(tmp_path / "first"), "validation": []}
    still = train(settings(**options, max_steps=1, learning_rate=1e-30, output=str(tmp_path / "still")))
    vectors = torch.from_numpy(model.encode_documents(["w1 f1", "w2"]))
    assert torch.allclose(torch.from_numpy(still.encode_documents(["w1 f1", "w2"])), vectors, atol=1e-6)
    assert torch.allclose(still.encode_queries(["w1"])(vectors), model.encode_queries(["w1"])(vectors), atol=1e-5)
    moved = train(settings(**options, max_steps=2, output=str(tmp_path / "moved")))
    assert moved.config.widths == model.config.widths
    assert not torch.equal(moved.encode_queries(["w1"])(vectors), model.encode_queries(["w1"])(vectors))
    described = json.loads((tmp_path / "moved" / "training" / "config.json").read_text())
    assert described["pooling"] == first.get("pooling", "mean")


def test_a_biencoders_checkpoint_is_a_backbone(settings: Any, tmp_path: Path) -> None:
    twin = train(settings(architecture="biencoder", max_steps=30, output=str(tmp_path / "bi"), validation=[]))
    warm = train(settings(start="warm", backbone=str(tmp_path / "bi"), max_steps=1, learning_rate=1e-30))
    texts = [f"w{i} f1" for i in range(40)]
    products, scores = (
        model.encode_queries(["w3", "w9"])(torch.from_numpy(model.encode_documents(texts))) for model in (twin, warm)
    )
    np.testing.assert_allclose(scores / scores.max(), products / products.max(), atol=1e-3)


@pytest.mark.parametrize("changes", [{}, {"start": "warm", "shared_encoder": False, "dropout": 0.2}])
def test_a_resumed_run_ends_with_the_same_weights(settings: Any, tmp_path: Path, changes: dict[str, Any]) -> None:
    changes = {"max_steps": 12, "eval_steps": 4, "dropout": 0.1, **changes, "batch_size": 64}
    whole = train(settings(**changes, output=str(tmp_path / "whole")))
    train(settings(**changes, output=str(tmp_path / "cut")))
    for step in (12, 8):
        shutil.rmtree(tmp_path / "cut" / "training" / f"checkpoint-{step}", ignore_errors=step == 12)
    shutil.copytree(tmp_path / "whole" / "training" / "checkpoint-8", tmp_path / "cut" / "training" / "checkpoint-8")
    resumed = train(settings(**changes, output=str(tmp_path / "cut"), resume=True))
    for (name, a), b in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def test_randomness_of_the_caller_is_left_alone(settings: Any) -> None:
    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    expected = (random.random(), np.random.rand(), torch.rand(1).item())
    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    train(settings(max_steps=1, eval_steps=1))
    assert (random.random(), np.random.rand(), torch.rand(1).item()) == expected


def as_sentence_transformers(backbone: Path, folder: Path, *, pooling: str = "cls", steps: int = 2) -> Path:
    """A copy of a backbone with the files of sentence-transformers."""
    shutil.copytree(backbone, folder)
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Dense", "Dense")][:steps]
    modules = [{"path": path, "type": f"sentence_transformers.models.{kind}"} for path, kind in kinds]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode": pooling}))
    prompts = {"query": "w1 ", "document": "w2 "}
    (folder / "config_sentence_transformers.json").write_text(json.dumps({"prompts": prompts}))
    return folder


@pytest.mark.parametrize("architecture", ["hypencoder", "biencoder"])
def test_pooling_and_prompts_are_the_backbones(
    settings: Any, backbone: Path, tmp_path: Path, architecture: str
) -> None:
    folder = as_sentence_transformers(backbone, tmp_path / "st", pooling="lasttoken")
    options = {"backbone": str(folder), "pooling": "auto", "architecture": architecture, "start": "warm"}
    config = settings(max_steps=1, eval_steps=1, learning_rate=1e-9, validation=[], **options)
    train(config)
    model = load_model(config.output)
    assert model.passage_encoder.pooling == "last"
    assert (model.config.query_prompt, model.config.document_prompt) == ("w1 ", "w2 ")
    transformer, tokenizer = load_backbone(str(backbone))
    with torch.inference_mode():
        vectors = [
            transformer(
                **{key: tokenizer(text, return_tensors="pt")[key] for key in ("input_ids", "attention_mask")}
            ).last_hidden_state[0, -1]
            for text in ("w1 w5 f1", "w2 w5", "w2 f3 f4 f5")
        ]
    cosines = [float(torch.cosine_similarity(vectors[0], vector, dim=0)) for vector in vectors[1:]]
    scores = model.encode_queries(["w5 f1"])(torch.from_numpy(model.encode_documents(["w5", "f3 f4 f5"])))[0]
    if architecture == "hypencoder":
        np.testing.assert_allclose(scores / 20, cosines, atol=1e-4)


def test_a_backbone_that_cannot_start_warm_says_why_and_starts_cold(
    settings: Any, backbone: Path, tmp_path: Path
) -> None:
    folder = as_sentence_transformers(backbone, tmp_path / "st", steps=3)
    options = {"backbone": str(folder), "pooling": "auto", "max_steps": 1, "eval_steps": 1, "validation": []}
    with pytest.raises(HypensearchError, match=r"vectors go through Transformer, Pooling, Dense; .*: start cold"):
        train(settings(start="warm", **options))
    assert train(settings(**options)).config.query_prompt == "w1 "
