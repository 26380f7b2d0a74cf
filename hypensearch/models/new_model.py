# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""New models over a pretrained transformer, to be trained: their configuration is one the released code reads."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from hypensearch.errors import HypensearchError
from hypensearch.models.backbone import auto_class, without_pooler
from hypensearch.models.checkpoint import BUNDLED
from hypensearch.models.config import QNetConfig, parse_config
from hypensearch.models.dual_encoder import DualEncoder, QueryEncoder, TextEncoder, hidden_size
from hypensearch.models.encoder_check import check_encoder, check_takes_text
from hypensearch.models.hyper_head import HyperHead
from hypensearch.models.loading import load_model
from hypensearch.models.recipe import is_dual_encoder, transformer_folder
from hypensearch.models.tokenizer import load_tokenizer, prepared_tokenizer, pretrained

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def load_backbone(name_or_path: str) -> tuple[nn.Module, PreTrainedTokenizerBase]:
    """Load a pretrained transformer and its tokenizer.

    :param name_or_path: A folder or a hub name; of a Hypencoder or bi-encoder, its document encoder is taken.
    :raises HypensearchError: When there is none; says why.
    """
    from transformers import AutoConfig

    if name_or_path == BUNDLED or is_dual_encoder(Path(name_or_path)):
        model = load_model(name_or_path)
        assert model.tokenizer is not None
        return model.passage_encoder.transformer, model.tokenizer
    where, folder = f"--backbone {name_or_path}", transformer_folder(name_or_path)
    try:
        with torch.random.fork_rng(devices=[]), pretrained(folder) as (name, options):
            config = AutoConfig.from_pretrained(name, **options)
            transformer = auto_class(config).from_pretrained(name, dtype=torch.float32, **options).eval()
        tokenizer = load_tokenizer(folder)
    except Exception as error:  # transformers and the hub raise many kinds
        reason = " ".join(str(error).split())[:200]
        raise HypensearchError(f"{where}: cannot be loaded as a transformer with its tokenizer ({reason})") from None
    without_pooler(transformer)
    check_takes_text(transformer)
    tokenizer = prepared_tokenizer(tokenizer, where)
    check_encoder(transformer, tokenizer, None, where)
    return transformer, tokenizer


def new_hypencoder(
    transformer: nn.Module,
    tokenizer: PreTrainedTokenizerBase | None,
    *,
    q_net: QNetConfig,
    pooling: str,
    shared_encoder: bool = True,
    backbone_name: str = "",
    widths: tuple[int, ...] = (),
    final_token: str | None = None,
    prompts: tuple[str, str] = ("", ""),
    generator: torch.Generator | None = None,
) -> DualEncoder:
    """Put a fresh hyper head, with the released code's start values, on a transformer.

    :param transformer: Becomes the model's own; its copy is the document side when not shared.
    :param q_net: The q-nets' architecture.
    :param pooling: Of the document side, one of :data:`hypensearch.models.config.POOLINGS`.
    :param backbone_name: The transformer's name, for the configuration.
    :param widths: Hidden widths that it is trained for (Matryoshka).
    :param final_token: See :class:`hypensearch.models.hyper_head.HyperHead`.
    :param prompts: Put before every query and every document.
    :param generator: Random generator of the start values.
    """
    size = hidden_size(transformer)
    raw = _config(backbone_name, pooling, shared_encoder, prompts)
    raw["query_encoder_kwargs"] |= {"base_encoder_output_dim": size, "converter_kwargs": _converter_kwargs(q_net)}
    if final_token is not None:
        raw["query_encoder_kwargs"]["final_token"] = final_token
    if widths:
        raw["loss_type"], raw["loss_kwargs"] = ["matryoshka"], [{"matryoshka_dims": list(widths)}]
    config = parse_config(raw, "new model")
    query_encoder = QueryEncoder(transformer, HyperHead(q_net, size, generator, final_token=final_token))
    return DualEncoder(config, query_encoder, _document_encoder(transformer, pooling, shared_encoder), tokenizer)


def new_biencoder(
    transformer: nn.Module,
    tokenizer: PreTrainedTokenizerBase | None,
    *,
    pooling: str,
    shared_encoder: bool = True,
    backbone_name: str = "",
    prompts: tuple[str, str] = ("", ""),
) -> DualEncoder:
    """Make a bi-encoder, the baseline of a Hypencoder, of a transformer; parameters as :func:`new_hypencoder`'s."""
    raw = _config(backbone_name, pooling, shared_encoder, prompts)
    raw["query_encoder_kwargs"]["pooling_type"] = pooling
    raw["architectures"] = ["TextDualEncoder"]
    config = parse_config(raw, "new model")
    query_encoder = TextEncoder(transformer, pooling)
    return DualEncoder(config, query_encoder, _document_encoder(transformer, pooling, shared_encoder), tokenizer)


def _document_encoder(transformer: nn.Module, pooling: str, shared_encoder: bool) -> TextEncoder:
    return TextEncoder(transformer if shared_encoder else copy.deepcopy(transformer), pooling)


def _config(backbone_name: str, pooling: str, shared_encoder: bool, prompts: tuple[str, str]) -> dict[str, Any]:
    return {
        **({"prompts": {"query": prompts[0], "document": prompts[1]}} if any(prompts) else {}),
        "architectures": ["HypencoderDualEncoder"],
        "loss_type": ["cross_entropy"],
        "loss_kwargs": [{"use_in_batch_negatives": True, "only_use_first_item": False}],
        "passage_encoder_kwargs": {
            "freeze_transformer": False,
            "model_name_or_path": backbone_name,
            "pooling_type": pooling,
        },
        "passage_encoder_type": "",
        "query_encoder_kwargs": {"freeze_transformer": False, "model_name_or_path": backbone_name},
        "query_encoder_type": "",
        "shared_encoder": shared_encoder,
    }


def _converter_kwargs(q_net: QNetConfig) -> dict[str, Any]:
    return {
        "vector_dimensions": list(q_net.dims),
        "activation_type": q_net.activation,
        "do_dropout": q_net.dropout > 0,
        "dropout_prob": q_net.dropout,
        "do_layer_norm": q_net.layer_norm,
        "do_residual": q_net.residual,
        "do_residual_on_last": q_net.residual_on_last,
        "layer_norm_before_residual": q_net.layer_norm_before_residual,
    }
