# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hypensearch.models.config import QNetConfig
from hypensearch.models.dual_encoder import token_states
from hypensearch.models.new_model import load_backbone, new_hypencoder
from hypensearch.models.warm_start import LinearMaps, warm_start
from hypensearch.train.scorers import FixedBlocksScorer, HeadScorer, TwinScorer


@pytest.mark.parametrize("num_blocks", [1, 2, 3])
@torch.no_grad()
def test_all_ways_to_score_a_warm_start_agree(backbone: Path, num_blocks: int) -> None:
    transformer, tokenizer = load_backbone(str(backbone))
    texts = tokenizer(["w1 f1 f2", "w3 f9", "w8 w9 f4 f5"], padding=True, return_tensors="pt")
    states = token_states(transformer, texts["input_ids"], texts["attention_mask"])
    queries = {"states": states, "attention_mask": texts["attention_mask"]}
    documents = {"vectors": states.mean(dim=1)}
    twin = TwinScorer(LinearMaps.identity(transformer), "mean", 20.0)
    q_net = QNetConfig(dims=(32,) * (num_blocks + 1) + (1,))
    model = new_hypencoder(transformer, tokenizer, q_net=q_net, pooling="mean")
    scale = warm_start(model)
    head = model.query_encoder.hyper_head  # type: ignore[union-attr]
    scorers = [
        HeadScorer(head, scale, scale),  # type: ignore[arg-type]
        FixedBlocksScorer(head, scale, scale),  # type: ignore[arg-type]
        FixedBlocksScorer(head, scale, scale, attention_only=True),  # type: ignore[arg-type]
    ]
    full, fixed, static = (scorer.q_nets(queries)(scorer.document_vectors(documents)) for scorer in scorers)
    assert torch.allclose(full, fixed, atol=1e-3)
    assert torch.allclose(full, static, atol=1e-3)
    expected = twin.q_nets(queries)(twin.document_vectors(documents))
    assert torch.allclose(full, expected, atol=0.05 if num_blocks == 1 else 1.0)
