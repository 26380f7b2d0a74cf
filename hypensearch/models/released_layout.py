# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints in the released layout, so that a model trained here loads in the authors' code.

Their loader builds the transformer from a folder or hub name before it reads the weights, and knows other losses and
poolings: what it cannot express is refused, what it does differently is logged.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hypensearch.errors import HypensearchError
from hypensearch.formats.files import name_for_libraries, replace_when_whole
from hypensearch.models.checkpoint import CHECKED_FILES, own_config, write_config
from hypensearch.models.checkpoint_folder import write_whole
from hypensearch.models.dual_encoder import DualEncoder
from hypensearch.models.weights import released_name

logger = logging.getLogger(__name__)

WEIGHTS = "pytorch_model.bin"
_LOSSES = ("margin_mse", "cross_entropy")
_LOSS = {"loss_type": ["cross_entropy"], "loss_kwargs": [{"use_in_batch_negatives": True}]}


def save_released(model: DualEncoder, folder: str | Path, *, backbone: str | None = None) -> None:
    """Write ``config.json``, ``pytorch_model.bin``, the tokenizer and, beside them, the encoders by themselves.

    The configuration names the encoders' folders with their full paths, as the released code looks for others in its
    working directory: a checkpoint that will be moved needs ``backbone``, or its ``model_name_or_path`` changed.

    :param backbone: Hub name or folder of the transformer to name instead; then no encoder is written apart.
    :raises HypensearchError: When the released code cannot express the model; says why.
    """
    _check(model)
    final = Path(folder)

    def write(folder: Path) -> None:
        names = (backbone, backbone) if backbone else _save_encoders(model, folder, final)
        if model.tokenizer is not None:
            _save_pretrained(model.tokenizer, folder)
        with replace_when_whole(folder / WEIGHTS, follow_link=False) as file:
            torch.save(_weights(model), file)  # an open file: torch takes names in UTF-8 alone
        write_config(_config(model, *names), folder)

    write_whole(final, write, CHECKED_FILES)


def _check(model: DualEncoder) -> None:
    if model.kind != "hypencoder":
        raise HypensearchError(
            f"{model.name}: a bi-encoder, which the released code has a class for but cannot build (TextDualEncoder "
            "lacks its losses): use it here, or save it in our own format"
        )
    if model.width is not None:
        raise HypensearchError(
            f"{model.name}: cut to width {model.width}, which the released code cannot do: convert it without --width"
        )
    if model.config.final_token is not None or model.passage_encoder.pooling == "last":
        raise HypensearchError(
            f"{model.name}: the released code knows no last-token pooling, and its final weight always attends to all "
            "tokens: use it here, or save it in our own format"
        )
    if model.config.query_prompt or model.config.document_prompt:
        prompts = (model.config.query_prompt, model.config.document_prompt)
        logger.warning("the released code knows no prompts: put %r before queries, %r before documents there", *prompts)
    if model.passage_encoder.pooling == "mean":
        logger.warning(
            "the released code's mean pooling adds up the states of padding: its vectors of documents are these only "
            "where documents of a batch are of equal length, so encode there with --batch_size=1"
        )
    if model.config.widths:
        logger.warning("the released code knows no Matryoshka widths: it gets the q-nets at full width")


def _save_encoders(model: DualEncoder, folder: Path, final: Path) -> tuple[str, str]:
    query: nn.Module = model.query_encoder.transformer  # type: ignore[assignment]
    sides = {"encoder": query}
    if not model.config.shared_encoder:
        sides = {"query_encoder": query, "passage_encoder": model.passage_encoder.transformer}
    for name, transformer in sides.items():
        _save_pretrained(transformer, folder / name)
        if model.tokenizer is not None:  # so that transformers, and Pyserini's bi-encoders, load the folder by itself
            _save_pretrained(model.tokenizer, folder / name)
    paths = [str((final / name).resolve()) for name in sides]
    return paths[0], paths[-1]


def _save_pretrained(part: Any, folder: Path) -> None:
    with name_for_libraries(folder) as name:
        part.save_pretrained(name)


def _weights(model: DualEncoder) -> dict[str, Tensor]:
    """Return the weights under the released names; a shared transformer under both sides' names, stored once."""
    return {released_name(name): tensor.detach().cpu() for name, tensor in model.state_dict().items()}


def _config(model: DualEncoder, query_backbone: str, document_backbone: str) -> dict[str, Any]:
    raw = own_config(model)
    assert model.config.q_net is not None
    query = {
        **raw["query_encoder_kwargs"],
        "model_name_or_path": query_backbone,
        "converter_kwargs": {
            **raw["query_encoder_kwargs"]["converter_kwargs"],
            "do_residual": model.config.q_net.residual,
            "do_residual_on_last": model.config.q_net.residual_on_last,
        },
    }
    document = {**raw["passage_encoder_kwargs"], "model_name_or_path": document_backbone}
    losses = {} if set(raw.get("loss_type") or ["none"]) <= set(_LOSSES) else _LOSS
    return {
        **raw,
        **losses,
        "architectures": ["HypencoderDualEncoder"],
        "query_encoder_kwargs": query,
        "passage_encoder_kwargs": document,
    }
