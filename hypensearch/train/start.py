# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The models that a run starts with: what is trained (a checkpoint as it is, or a new model over a pretrained
transformer), and the bi-encoder that guides it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hypensearch.errors import HypensearchError
from hypensearch.models.config import QNetConfig
from hypensearch.models.dual_encoder import DualEncoder, QueryEncoder, hidden_size
from hypensearch.models.loading import load_model
from hypensearch.models.new_model import load_backbone, new_biencoder, new_hypencoder
from hypensearch.models.recipe import Recipe, read_recipe
from hypensearch.models.tokenizer import tokenize
from hypensearch.models.warm_start import scale_products, warm_dims, warm_start
from hypensearch.train.config import AUTO, OWN_BACKBONE, TrainingConfig, backbone_name
from hypensearch.train.data import RecordFile

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

_SAMPLE_TEXTS, _SAMPLE_TOKENS = 128, 48


def starting_model(config: TrainingConfig, files: Sequence[RecordFile]) -> tuple[DualEncoder, TrainingConfig]:
    """Make the model that is to be trained.

    :param files: The training records; a warm start takes ranges from some of their texts.
    :return: The model, and the settings, with those of a given checkpoint filled in.
    """
    if config.start_from:
        model = load_model(config.start_from)
        config = _settings_of(model, config)
    else:
        model = _new_biencoder(config, files) if config.architecture == "biencoder" else _new_hypencoder(config, files)
    if config.gradient_checkpointing:
        for encoder in (model.query_encoder, model.passage_encoder):
            encoder.transformer.gradient_checkpointing_enable()  # type: ignore[operator, union-attr]
    return model, config


def guiding_model(config: TrainingConfig) -> DualEncoder:
    """Load the bi-encoder of ``--distil-from``.

    :raises HypensearchError: When it is no bi-encoder.
    """
    if config.distil_from == OWN_BACKBONE:
        transformer, tokenizer = load_backbone(config.backbone)
        recipe = _recipe(config, tokenizer)
        return new_biencoder(transformer, tokenizer, pooling=recipe.pooling, prompts=recipe.prompts)
    model = load_model(config.distil_from)
    if model.kind != "biencoder":
        raise HypensearchError(
            f"--distil-from {config.distil_from}: a {model.kind}: wanted a bi-encoder's checkpoint, or {OWN_BACKBONE}"
        )
    return model


def _settings_of(model: DualEncoder, config: TrainingConfig) -> TrainingConfig:
    q_net = model.config.q_net
    if isinstance(model.query_encoder, QueryEncoder):
        head = model.query_encoder.hyper_head
        head.q_net = replace(head.q_net, dropout=config.dropout)
    return replace(
        config,
        architecture=model.kind,
        num_blocks=config.num_blocks if q_net is None else q_net.num_blocks,
        pooling=model.passage_encoder.pooling,
        shared_encoder=model.config.shared_encoder,
        widths=list(model.config.widths),
    )


def _new_biencoder(config: TrainingConfig, files: Sequence[RecordFile]) -> DualEncoder:
    transformer, tokenizer = load_backbone(config.backbone)
    recipe = _recipe(config, tokenizer)
    model = new_biencoder(
        transformer,
        tokenizer,
        pooling=recipe.pooling,
        shared_encoder=config.shared_encoder,
        backbone_name=backbone_name(config),
        prompts=recipe.prompts,
    )
    if config.start == "warm":
        scale_products(model, logit_scale=config.logit_scale, sample=_sample(files, tokenizer))
    return model


def _new_hypencoder(config: TrainingConfig, files: Sequence[RecordFile]) -> DualEncoder:
    transformer, tokenizer = load_backbone(config.backbone)
    recipe, is_warm, dim = _recipe(config, tokenizer), config.start == "warm", hidden_size(transformer)
    if is_warm:
        recipe.check_supported(config.backbone)
    q_net = QNetConfig(
        dims=warm_dims(dim, config.num_blocks) if is_warm else (dim,) * (config.num_blocks + 1) + (1,),
        dropout=config.dropout,
        residual=config.residual and not config.widths,  # a residual cannot be cut narrower than its input
    )
    model = new_hypencoder(
        transformer,
        tokenizer,
        q_net=q_net,
        pooling=recipe.pooling,
        shared_encoder=config.shared_encoder,
        backbone_name=backbone_name(config),
        widths=tuple(config.widths),
        final_token=recipe.pooling if is_warm and recipe.pooling != "mean" else None,
        prompts=recipe.prompts,
        generator=torch.Generator().manual_seed(config.seed),
    )
    if is_warm:
        warm_start(
            model,
            similarity=recipe.similarity,
            logit_scale=config.logit_scale,
            sample=_sample(files, tokenizer),
            generator=torch.Generator().manual_seed(config.seed),
        )
    return model


def _recipe(config: TrainingConfig, tokenizer: PreTrainedTokenizerBase) -> Recipe:
    """Return how the backbone makes vectors, as its files say or as the settings do."""
    found = read_recipe(config.backbone, tokenizer) or Recipe()
    recipe = replace(
        found,
        pooling=found.pooling or "cls" if config.pooling == AUTO else config.pooling,
        similarity=found.similarity if config.similarity == AUTO else config.similarity,
        query_prompt=config.query_prompt or found.query_prompt,
        document_prompt=config.document_prompt or found.document_prompt,
    )
    logger.info("%s pooling, prompts %r and %r", recipe.pooling, *recipe.prompts)
    return recipe


def _sample(files: Sequence[RecordFile], tokenizer: PreTrainedTokenizerBase) -> tuple[Tensor, Tensor]:
    """Return token ids and mask of some queries and their positives."""
    texts = []
    for file in files:
        for row in range(0, len(file), max(1, len(file) // _SAMPLE_TEXTS)):
            texts += [file[row].query, file[row].positives[0].text]
    batch = tokenize(tokenizer, texts[: 4 * _SAMPLE_TEXTS], _SAMPLE_TOKENS)
    return batch["input_ids"], batch["attention_mask"]
