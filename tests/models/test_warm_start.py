# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""A warm start scores as the backbone's bi-encoder does, whatever the backbone."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from hypensearch.errors import HypensearchError
from hypensearch.models import DualEncoder, QNetConfig
from hypensearch.models.dual_encoder import pool, token_states
from hypensearch.models.new_model import new_biencoder, new_hypencoder
from hypensearch.models.warm_start import scale_products, warm_dims, warm_start
from tests.models.families import CONFIGS, DECODERS, DIM, VOCABULARY, make_backbone

SCALE = 20.0
POOLINGS = [
    (kind, pooling)
    for kind in CONFIGS
    for pooling in ("mean", "last", "cls")
    if not (kind in DECODERS and pooling == "cls")
]


def texts(count: int, length: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(5, VOCABULARY, (count, length), generator=generator)
    lengths = torch.randint(4, length + 1, (count,), generator=generator)
    mask = (torch.arange(length) < lengths.unsqueeze(1)).long()
    return ids * mask, mask


QUERIES, DOCUMENTS = texts(20, 10, 1), texts(300, 24, 2)


@torch.no_grad()
def biencoder_scores(transformer: nn.Module, pooling: str, similarity: str = "dot") -> Tensor:
    queries, documents = (pool(token_states(transformer, *batch), batch[1], pooling) for batch in (QUERIES, DOCUMENTS))
    if similarity == "cosine":
        queries, documents = functional.normalize(queries), functional.normalize(documents)
    return queries @ documents.T


@torch.no_grad()
def model_scores(model: DualEncoder) -> Tensor:
    return model.query_encoder(*QUERIES)(model.passage_encoder(*DOCUMENTS))


def make_model(
    transformer: nn.Module, pooling: str, num_blocks: int = 2, *, shared_encoder: bool = True, **options: Any
) -> DualEncoder:
    q_net = QNetConfig(**{"dims": warm_dims(DIM, num_blocks), **options})
    token = None if pooling == "mean" else pooling
    transformer = copy.deepcopy(transformer)
    return new_hypencoder(
        transformer, None, q_net=q_net, pooling=pooling, final_token=token, shared_encoder=shared_encoder
    )


@pytest.mark.parametrize(("kind", "pooling"), POOLINGS)
def test_scores_are_cosines_of_the_backbone(kind: str, pooling: str) -> None:
    transformer = make_backbone(kind)
    model = make_model(transformer, pooling)
    warm_start(model, logit_scale=SCALE)
    wanted = SCALE * biencoder_scores(transformer, pooling, "cosine")
    torch.testing.assert_close(model_scores(model), wanted, rtol=0, atol=1e-5 * SCALE)


@pytest.mark.parametrize(("kind", "pooling"), POOLINGS)
def test_scores_are_dot_products_of_the_backbone(kind: str, pooling: str) -> None:
    transformer = make_backbone(kind)
    model = make_model(transformer, pooling)
    warm_start(model, similarity="dot", logit_scale=SCALE)
    found, dots = model_scores(model), biencoder_scores(transformer, pooling)
    per_dot = float((found * dots).sum() / dots.pow(2).sum())
    torch.testing.assert_close(found, per_dot * dots, rtol=0, atol=2e-4 * float(found.abs().max()))
    assert 0.5 * SCALE < per_dot * float(biencoder_lengths(transformer, pooling)) < 2 * SCALE


@torch.no_grad()
def biencoder_lengths(transformer: nn.Module, pooling: str) -> Tensor:
    return pool(token_states(transformer, *DOCUMENTS), DOCUMENTS[1], pooling).norm(dim=1).mean() ** 2


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize("shared_encoder", [True, False])
@pytest.mark.parametrize("num_blocks", [1, 6])
def test_any_number_of_blocks_and_encoders(num_blocks: int, shared_encoder: bool, similarity: str) -> None:
    transformer = make_backbone("bert")
    model = make_model(transformer, "mean", num_blocks, shared_encoder=shared_encoder)
    warm_start(model, similarity=similarity, sample=texts(50, 24, 4))
    found, wanted = model_scores(model), biencoder_scores(transformer, "mean", similarity)
    ratio = float((found * wanted).sum() / wanted.pow(2).sum())
    torch.testing.assert_close(found / ratio, wanted, rtol=0, atol=2e-4 * float(wanted.abs().max()))


def test_a_backbone_that_ends_in_no_norm() -> None:
    transformer = make_backbone("bert")
    transformer.encoder.layer[-1].output.LayerNorm = nn.Linear(DIM, DIM)  # type: ignore[union-attr, index]
    model = make_model(transformer, "mean")
    warm_start(model)
    wanted = SCALE * biencoder_scores(transformer, "mean", "cosine")
    torch.testing.assert_close(model_scores(model), wanted, rtol=0, atol=1e-4 * SCALE)
    biencoder = new_biencoder(transformer, None, pooling="mean")
    with pytest.raises(HypensearchError, match="needs a transformer that ends in a layer norm"):
        scale_products(biencoder, logit_scale=SCALE, sample=texts(5, 24, 4))


def test_every_weight_of_the_head_that_makes_tensors_can_learn() -> None:
    model = make_model(make_backbone("bert"), "mean", 3)
    warm_start(model)
    scores = model.query_encoder(*QUERIES)(model.passage_encoder(*DOCUMENTS))
    functional.cross_entropy(scores, torch.arange(len(scores))).backward()
    head = model.query_encoder.hyper_head
    learning = [*head.weight_hyper_projection.parameters(), *head.bias_hyper_projection.parameters()]  # type: ignore
    learning += [*head.hyper_base_matrices, *head.hyper_base_vectors]  # type: ignore[misc]
    assert all(parameter.grad is not None and parameter.grad.abs().max() > 0 for parameter in learning)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dims": (DIM,) * 3 + (1,)}, r"needs q-nets of the widths \[48, 48, 64, 1\]"),
        ({"activation": "gelu"}, "needs relu"),
        ({"residual": False}, "of several blocks needs residuals"),
    ],
)
def test_architectures_that_cannot_be_exact_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(HypensearchError, match=message):
        warm_start(make_model(make_backbone("bert"), "mean", **options))


def test_scores_that_are_not_the_backbones_are_refused() -> None:
    transformer = make_backbone("bert")
    transformer.embeddings.word_embeddings.weight.data[7] = float("inf")  # type: ignore[union-attr, index, operator]
    with pytest.raises(HypensearchError, match="a warm start failed"):
        warm_start(make_model(transformer, "mean"), sample=(torch.full((4, 6), 7), torch.ones(4, 6).long()))


@torch.no_grad()
@pytest.mark.parametrize("kind", ["bert", "modernbert", "qwen3", "t5"])
@pytest.mark.parametrize("shared_encoder", [True, False])
def test_a_biencoder_starts_at_the_logit_scale(shared_encoder: bool, kind: str) -> None:
    transformer = make_backbone(kind)
    model = new_biencoder(copy.deepcopy(transformer), None, pooling="mean", shared_encoder=shared_encoder)
    factor = scale_products(model, logit_scale=7.0, sample=texts(50, 24, 4))
    vectors = model.passage_encoder(*texts(50, 24, 4))
    assert float(vectors.pow(2).sum(dim=1).mean()) == pytest.approx(7.0, rel=1e-4)
    scores = model.query_encoder(*QUERIES) @ model.passage_encoder(*DOCUMENTS).T
    torch.testing.assert_close(scores, biencoder_scores(transformer, "mean") * factor**2, rtol=1e-4, atol=1e-4)
