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
from hypensearch.train.run import train
from hypensearch.train.scorers import TextScorer

KINDS: dict[str, dict[str, Any]] = {
    "cold": {},
    "cls": {"pooling": "cls"},
    "warm": {"start": "warm"},
    "separate": {"start": "warm", "shared_encoder": False},
    "biencoder": {"architecture": "biencoder"},
    "matryoshka": {"widths": [8, 32]},
    "frozen": {"start": "warm", "freeze_encoder": True, "mined_negatives": 5, "blend": True, "start_decay": 0.1},
    "fixed blocks": {"start": "warm", "freeze_encoder": True, "fixed_blocks": True, "dropout": 0.1},
    "attention": {"start": "warm", "freeze_encoder": True, "fixed_blocks": True, "attention_only": True},
    "static bias": {"start": "warm", "freeze_encoder": True, "fixed_blocks": True, "static_bias": True},
    "no residual": {"residual": False},
    "twin": {"architecture": "twin"},
    "checkpointing": {"gradient_checkpointing": True, "gradient_accumulation": 2},
    "chunks": {"chunk_size": 5, "start": "warm"},
    "bf16": {"bf16": True, "start": "warm"},
    "distilled": {"train_file": "scored", "losses": {"kl": 1.0, "margin_mse": 0.1, "cross_entropy_positives": 1.0}},
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_trains_and_loads(settings: Any, kind: str) -> None:
    config = settings(**{**KINDS[kind], "max_steps": 4, "eval_steps": 2, "validation": []})
    trained = train(config) if not config.blend else train(settings(**{**KINDS[kind], "max_steps": 4, "eval_steps": 2}))
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
        scorer = TextScorer(model, chunk_size).eval()  # without dropout, which chunks draw in another order
        model.zero_grad()
        vectors = scorer.document_vectors(documents)
        scorer.q_nets(queries).score_each(vectors.expand(3, -1, -1)).square().mean().backward()
        return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

    whole = gradient(0)
    largest = max(float(expected.abs().max()) for expected in whole.values())
    for chunk_size in (1, 2, 64):
        chunked = gradient(chunk_size)
        assert chunked.keys() == whole.keys()
        for name, expected in whole.items():
            assert float((chunked[name] - expected).abs().max()) < 1e-12 * largest, name


def test_a_folder_whose_name_is_not_utf_8(settings: Any, tmp_path: Path) -> None:
    names = {"output": str(tmp_path / os.fsdecode(b"mod\xe8le")), "architecture": "twin"}
    trained = train(settings(max_steps=2, eval_steps=1, **names))
    resumed = train(settings(max_steps=2, eval_steps=1, resume=True, **names))
    loaded = load_model(names["output"])
    assert trained.fingerprint == resumed.fingerprint == loaded.fingerprint


def test_a_head_from_another_checkpoint(settings: Any, tmp_path: Path) -> None:
    donor = train(settings(max_steps=2, output=str(tmp_path / "donor"), validation=[]))
    still = {"max_steps": 1, "learning_rate": 1e-30, "validation": []}
    taken = train(settings(**still, head_from=str(tmp_path / "donor"), output=str(tmp_path / "o"), seed=9))
    heads = [model.query_encoder.hyper_head.state_dict() for model in (donor, taken)]  # type: ignore[union-attr]
    assert all(torch.equal(heads[1][name], tensor) for name, tensor in heads[0].items())
    encoders = [model.passage_encoder.state_dict() for model in (donor, taken)]
    assert not all(torch.equal(encoders[1][name], tensor) for name, tensor in encoders[0].items())


@pytest.mark.parametrize(
    ("donor", "taker", "message"),
    [
        ({"num_blocks": 1}, {}, r"its q-nets are \[32, 32, 1\], this model's \[32, 32, 32, 1\]"),
        ({"architecture": "biencoder"}, {}, "a bi-encoder has no hyper head"),
    ],
)
def test_a_head_that_does_not_fit(
    settings: Any, tmp_path: Path, donor: dict[str, Any], taker: dict[str, Any], message: str
) -> None:
    train(settings(max_steps=1, output=str(tmp_path / "donor"), validation=[], **donor))
    with pytest.raises(HypensearchError, match=message):
        train(settings(max_steps=1, head_from=str(tmp_path / "donor"), **taker))


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ({}, {}),
        ({"pooling": "cls", "shared_encoder": False}, {"freeze_encoder": True}),
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
    vectors = torch.from_numpy(twin.encode_documents(texts))
    cosines = twin.encode_queries(["w3", "w9"])(torch.nn.functional.normalize(vectors))
    scores = warm.encode_queries(["w3", "w9"])(torch.from_numpy(warm.encode_documents(texts)))
    for mine, expected in zip(scores.topk(10).indices.tolist(), cosines.topk(10).indices.tolist(), strict=True):
        assert len(set(mine) & set(expected)) >= 9


@pytest.mark.parametrize("changes", [{}, {"start": "warm", "freeze_encoder": True, "dropout": 0.2, "start_decay": 0.5}])
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


def test_attention_only_trains_one_attention_and_nothing_else(settings: Any) -> None:
    kind = {"start": "warm", "freeze_encoder": True, "fixed_blocks": True, "attention_only": True, "validation": []}
    few, many = (
        train(settings(**kind, max_steps=steps, output=str(Path(settings().output) / str(steps)))).state_dict()
        for steps in (1, 4)
    )
    changed = {name.rpartition("hyper_head.")[2] for name in few if not torch.equal(few[name], many[name])}
    rounding = {"key_projections.2.bias"}  # a softmax does not see it: its gradient is rounding noise
    assert changed - rounding == {"weight_query_embeddings.2", "key_projections.2.weight"}


def test_a_static_bias_stays_static(settings: Any) -> None:
    """Everything else of the head that is used learns."""
    kind = {"start": "warm", "freeze_encoder": True, "fixed_blocks": True, "static_bias": True, "validation": []}
    few, many = (
        train(settings(**kind, max_steps=steps, output=str(Path(settings().output) / str(steps)))).state_dict()
        for steps in (1, 4)
    )
    changed = {name.rpartition("hyper_head.")[2] for name in few if not torch.equal(few[name], many[name])}
    learned = {f"{part}.2.weight" for part in ("key_projections", "value_projections", "weight_hyper_projection")}
    learned |= {"weight_query_embeddings.2", *(f"hyper_base_matrices.{n}" for n in range(3))}
    assert learned <= changed
    assert not any(name.startswith("bias_") or ".4." in name or ".3." in name for name in changed)


def test_randomness_of_the_caller_is_left_alone(settings: Any) -> None:
    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    expected = (random.random(), np.random.rand(), torch.rand(1).item())
    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    train(settings(max_steps=1, eval_steps=1))
    assert (random.random(), np.random.rand(), torch.rand(1).item()) == expected
