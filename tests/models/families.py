# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Small random backbones of every family that a warm start knows."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import AutoConfig

from hypensearch.models.backbone import auto_class, without_pooler

DIM, VOCABULARY = 48, 300

_BERT = {
    "hidden_size": DIM,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "initializer_range": 0.1,
}
_T5 = {"d_model": DIM, "d_kv": 12, "d_ff": 64, "num_layers": 2, "num_heads": 4}
_DISTILBERT = {"dim": DIM, "n_layers": 2, "n_heads": 4, "hidden_dim": 64, "initializer_range": 0.1}
_QWEN = {**_BERT, "num_key_value_heads": 2, "head_dim": 12}

CONFIGS: dict[str, dict[str, Any]] = {
    "bert": _BERT,
    "roberta": _BERT,
    "xlm-roberta": _BERT,
    "distilbert": _DISTILBERT,
    "mpnet": _BERT,
    "modernbert": {**_BERT, "local_attention": 8, "global_attn_every_n_layers": 2},
    "qwen2": _QWEN,
    "qwen3": _QWEN,
    "t5": _T5,
}
DECODERS = ("qwen2", "qwen3")


def make_backbone(kind: str, seed: int = 0) -> nn.Module:
    """A transformer whose norms are anything but neutral."""
    special = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2}
    config = AutoConfig.for_model(kind, vocab_size=VOCABULARY, **CONFIGS[kind], **special)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        transformer = auto_class(config).from_config(config).eval()
        without_pooler(transformer)
        for name, parameter in transformer.named_parameters():
            if parameter.dim() == 1 and name.endswith("weight"):
                parameter.uniform_(0.3, 1.5)
            elif parameter.dim() == 1:
                parameter.normal_(std=0.1)
    return transformer
