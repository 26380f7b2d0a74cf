# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Small random checkpoints in the released layout."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hypensearch.models.config import parse_config
from hypensearch.models.loading import build_model
from hypensearch.models.weights import released_weights

DIM = 16


def bert_config(hidden_size: int = DIM, heads: int = 2) -> dict[str, Any]:
    """The configuration of a one-layer BERT with the tiny checkpoint's vocabulary."""
    return {
        "model_type": "bert",
        "hidden_size": hidden_size,
        "num_attention_heads": heads,
        "num_hidden_layers": 1,
        "intermediate_size": 2 * hidden_size,
        "vocab_size": 2000,
        "max_position_embeddings": 512,
    }


def hypencoder_config(**converter_kwargs: Any) -> dict[str, Any]:
    """A Hypencoder's ``config.json``: two blocks, separate encoders, cls pooling."""
    return {
        "architectures": ["HypencoderDualEncoder"],
        "loss_type": ["margin_mse"],
        "loss_kwargs": [{}],
        "query_encoder_kwargs": {
            "model_name_or_path": "base_encoder",
            "base_encoder_output_dim": DIM,
            "converter_kwargs": {"vector_dimensions": [DIM, DIM, DIM, 1], **converter_kwargs},
        },
        "passage_encoder_kwargs": {"model_name_or_path": "base_encoder", "pooling_type": "cls"},
        "shared_encoder": False,
    }


def biencoder_config(*, shared: bool = False) -> dict[str, Any]:
    """A BE-Base style ``config.json``."""
    side = {"model_name_or_path": "base_encoder", "pooling_type": "cls"}
    return {
        "architectures": ["TextDualEncoder"],
        "query_encoder_kwargs": dict(side),
        "passage_encoder_kwargs": dict(side),
        "shared_encoder": shared,
    }


def save_checkpoint(
    root: Path,
    raw: Mapping[str, Any],
    tokenizer_from: Path,
    *,
    backbones: Mapping[str, Mapping[str, Any]] | None = None,
) -> Path:
    """Write ``root/checkpoint`` with random weights, and the backbones' folders beside it."""
    for name, config in (backbones or {"base_encoder": bert_config()}).items():
        (root / name).mkdir(parents=True, exist_ok=True)
        (root / name / "config.json").write_text(json.dumps(config))
    folder = root / "checkpoint"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(raw))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tokenizer_from / name, folder)
    torch.save(random_weights(raw, folder), folder / "pytorch_model.bin")
    return folder


def random_weights(raw: Mapping[str, Any], folder: Path) -> dict[str, Tensor]:
    """Draw weights under the released names, those of a shared encoder under both names."""
    model = build_model(parse_config(raw, "test"), folder)
    rng = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.data.normal_(std=0.3, generator=rng)
    weights = released_weights(model, shared=raw["shared_encoder"])
    if raw["shared_encoder"]:
        shared = {name: tensor for name, tensor in weights.items() if ".transformer." in name}
        weights |= {name.replace("query_encoder", "passage_encoder"): tensor for name, tensor in shared.items()}
    return weights
