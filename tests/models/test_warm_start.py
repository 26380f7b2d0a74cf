# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel

from hypensearch.errors import HypensearchError
from hypensearch.models.config import QNetConfig
from hypensearch.models.dual_encoder import DualEncoder, pool, token_states
from hypensearch.models.new_model import new_biencoder, new_hypencoder
from hypensearch.models.warm_start import scale_products, warm_start

DIM, VOCABULARY, TOP = 96, 300, 100


def make_backbone(seed: int) -> nn.Module:
    """A transformer whose last layer norm is anything but neutral."""
    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=DIM,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=96,
        initializer_range=0.1,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        transformer = BertModel(config, add_pooling_layer=False).eval()
        norm = transformer.encoder.layer[-1].output.LayerNorm
        norm.weight.data.uniform_(0.3, 1.5)
        norm.bias.data.normal_(std=0.1)
    return transformer


def texts(count: int, length: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(5, VOCABULARY, (count, length), generator=generator)
    lengths = torch.randint(4, length + 1, (count,), generator=generator)
    mask = (torch.arange(length) < lengths.unsqueeze(1)).long()
    ids[:, 0], ids[torch.arange(count), lengths - 1] = 101, 102
    return ids * mask, mask


def biencoder_scores(transformer: nn.Module, pooling: str, similarity: str) -> Tensor:
    queries, documents = (
        pool(token_states(transformer, *batch), batch[1], pooling) for batch in (texts(20, 10, 1), texts(1000, 24, 2))
    )
    if similarity == "cosine":
        documents = documents / documents.norm(dim=1, keepdim=True)
    return queries @ documents.T


def hypencoder_scores(model: DualEncoder) -> Tensor:
    return model.query_encoder(*texts(20, 10, 1))(model.passage_encoder(*texts(1000, 24, 2)))


def overlap(a: Tensor, b: Tensor) -> float:
    pairs = zip(a.topk(TOP).indices.tolist(), b.topk(TOP).indices.tolist(), strict=True)
    return sum(len(set(x) & set(y)) for x, y in pairs) / (TOP * len(a))


def make_model(transformer: nn.Module, pooling: str, num_blocks: int, **options: bool) -> DualEncoder:
    q_net = QNetConfig(dims=(DIM,) * (num_blocks + 1) + (1,), **options)  # type: ignore[arg-type]
    return new_hypencoder(copy.deepcopy(transformer), None, q_net=q_net, pooling=pooling).eval()


@torch.no_grad()
@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize("pooling", ["cls", "mean"])
@pytest.mark.parametrize("num_blocks", [1, 2, 6])
def test_ranks_as_the_biencoder(pooling: str, num_blocks: int, similarity: str) -> None:
    transformer = make_backbone(seed=num_blocks)
    model = make_model(transformer, pooling, num_blocks)
    warm_start(model, similarity=similarity)
    assert overlap(hypencoder_scores(model), biencoder_scores(transformer, pooling, similarity)) >= 0.99


@torch.no_grad()
@pytest.mark.parametrize("shared_encoder", [True, False])
def test_a_biencoder_starts_at_the_logit_scale(shared_encoder: bool) -> None:
    transformer = make_backbone(seed=3)
    model = new_biencoder(copy.deepcopy(transformer), None, pooling="mean", shared_encoder=shared_encoder).eval()
    factor = scale_products(model, logit_scale=7.0, sample=texts(50, 24, 4))
    vectors = model.passage_encoder(*texts(50, 24, 4))
    assert float(vectors.pow(2).sum(dim=1).mean()) == pytest.approx(7.0, rel=1e-4)
    scores = model.query_encoder(*texts(20, 10, 1)) @ model.passage_encoder(*texts(1000, 24, 2)).T
    assert torch.allclose(scores, biencoder_scores(transformer, "mean", "dot") * factor**2, atol=1e-4)


def test_a_biencoder_without_a_last_layer_norm() -> None:
    transformer = make_backbone(seed=3)
    transformer.encoder.layer[-1].output.LayerNorm = nn.Identity()  # type: ignore[union-attr, index]
    model = new_biencoder(transformer, None, pooling="mean").eval()
    with pytest.raises(HypensearchError, match="needs a transformer that ends in a layer norm"):
        scale_products(model, logit_scale=20.0, sample=texts(5, 24, 4))
