# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""From a checkpoint on disk to a model that has proved that it encodes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from hypensearch.errors import HypensearchError
from hypensearch.models.backbone import build_transformer, find_backbone_config, local_folder
from hypensearch.models.checkpoint import CONFIG, check_files, find_checkpoint, is_local, read_config
from hypensearch.models.config import ModelConfig, parse_config
from hypensearch.models.dual_encoder import DualEncoder, QueryEncoder, TextEncoder, hidden_size
from hypensearch.models.encoder_check import check_encoder
from hypensearch.models.hyper_head import HyperHead
from hypensearch.models.tokenizer import TOKENIZER_FILES, has_tokenizer, load_tokenizer, prepared_tokenizer
from hypensearch.models.weights import check_fit, load_weights, read_weights

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

_TRIED_TOKENS = 8


def load_model(
    name_or_path: str,
    *,
    backbone_config: str | None = None,
    revision: str | None = None,
    width: int | None = None,
    count_padding: bool = False,
    device: str | torch.device = "cpu",
    network: bool = True,
) -> DualEncoder:
    """Load a checkpoint in the released layout, a bi-encoder's, a Matryoshka one or one in our own format.

    :param name_or_path: The checkpoint's folder or hub name.
    :param backbone_config: Folder, ``config.json`` or hub name of the transformer, where it cannot be found.
    :param revision: Branch, tag or commit on the hub.
    :param width: Hidden width to cut q-nets to (Matryoshka checkpoints).
    :param count_padding: Mean pooling as in the released code; see :class:`TextEncoder`.
    :param device: Where to put the weights.
    :param network: Whether the hub may be asked; False for a name that comes out of a file. For a folder it never is,
        whatever other names are in it.
    :return: The model, float32, in evaluation mode.
    :raises HypensearchError: When files, configuration or weights do not fit together; says what to do.
    """
    folder = find_checkpoint(name_or_path, revision, network=network)
    try:
        raw, weights, weight_file = _read(folder)
    except HypensearchError:
        folder = find_checkpoint(name_or_path, revision, network=network)
        raw, weights, weight_file = _read(folder)  # another process may have replaced it meanwhile
    config = parse_config(raw, str(folder / CONFIG))
    network = network and not is_local(name_or_path)
    transformers = _find_transformers(config, folder, backbone_config, network=network)
    _check_layers(transformers, len(weights), weight_file)
    with torch.device("meta"):  # takes no memory for what weights must have first
        sketch = _assemble(config, folder, transformers, count_padding=count_padding)
    check_fit(sketch, weights, shared=config.shared_encoder, where=weight_file)
    model = _assemble(config, folder, transformers, count_padding=count_padding)
    load_weights(model, weights, shared=config.shared_encoder, where=weight_file)
    model.tokenizer = prepared_tokenizer(_load_tokenizer(folder, config, network=network), str(folder))
    model.name, model.revision = name_or_path, revision
    model.width = _checked_width(width, config)
    _try(model.eval(), folder)
    return model.to(device)


def build_model(config: ModelConfig, folder: Path, *, backbone_config: str | None = None) -> DualEncoder:
    """Build a model whose weights are still to be loaded; the hub is not asked.

    :param folder: The checkpoint's folder, for the transformers' configurations.
    :raises HypensearchError: When the transformers' sizes do not fit the q-net's.
    """
    transformers = _find_transformers(config, folder, backbone_config, network=False)
    return _assemble(config, folder, transformers, count_padding=False)


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor], Path]:
    raw = read_config(folder)
    check_files(raw, folder)
    return raw, *read_weights(folder)


def _find_transformers(
    config: ModelConfig, folder: Path, given: str | None, *, network: bool
) -> list[PretrainedConfig]:
    """Find the transformers' configurations: the query side's, and the document side's where it has its own."""
    sides = {"query": config.query_backbone, "document": config.document_backbone}
    if config.shared_encoder:
        del sides["document"]
    return [
        find_backbone_config(
            name, checkpoint=folder, embedded=config.backbone_configs.get(side), given=given, network=network
        )
        for side, name in sides.items()
    ]


def _check_layers(transformers: Sequence[PretrainedConfig], num_tensors: int, where: Path) -> None:
    """Refuse more layers than there are weights of, before time is taken to build them."""
    for config in transformers:
        layers = getattr(config, "num_hidden_layers", 0)
        if isinstance(layers, int) and layers > num_tensors:
            raise HypensearchError(
                f"{where}: {num_tensors:,} tensors cannot be those of {layers:,} layers, as the configuration has them"
            )


def _assemble(
    config: ModelConfig, folder: Path, transformers: Sequence[PretrainedConfig], *, count_padding: bool
) -> DualEncoder:
    """Build a model whose weights are still to be loaded.

    :raises HypensearchError: When the transformers' sizes do not fit the q-net's.
    """
    query_transformer = build_transformer(transformers[0])
    document_transformer = build_transformer(transformers[1]) if len(transformers) > 1 else query_transformer
    query_encoder: nn.Module
    if config.q_net is None:
        query_encoder = TextEncoder(query_transformer, config.query_pooling, count_padding=count_padding)
    else:
        _check_sizes(config, query_transformer, document_transformer, folder)
        generator = torch.Generator().manual_seed(0)  # overwritten by the checkpoint; keeps torch's own state untouched
        head = HyperHead(config.q_net, config.hidden_size, generator, final_token=config.final_token)
        query_encoder = QueryEncoder(query_transformer, head)
    passage_encoder = TextEncoder(document_transformer, config.document_pooling, count_padding=count_padding)
    return DualEncoder(config, query_encoder, passage_encoder)


def _check_sizes(config: ModelConfig, query: nn.Module, document: nn.Module, folder: Path) -> None:
    assert config.q_net is not None
    if hidden_size(query) != config.hidden_size:
        raise HypensearchError(
            f"{folder}: the query backbone's states have {hidden_size(query)} dimensions, config.json's "
            f"base_encoder_output_dim says {config.hidden_size}: is the backbone's configuration the right one?"
        )
    if hidden_size(document) != config.q_net.dims[0]:
        raise HypensearchError(
            f"{folder}: document vectors have {hidden_size(document)} dimensions, but the q-nets take "
            f"{config.q_net.dims[0]} (vector_dimensions): is the backbone's configuration the right one?"
        )


def _checked_width(width: int | None, config: ModelConfig) -> int | None:
    if width is not None and config.q_net is None:
        raise HypensearchError(f"--width {width}: a bi-encoder's queries are vectors, there is nothing to cut")
    if width is not None and config.q_net is not None:
        config.q_net.truncated(width)
    return width


def _load_tokenizer(folder: Path, config: ModelConfig, *, network: bool) -> PreTrainedTokenizerBase:
    """Load the tokenizer of the checkpoint, else that of its backbone.

    :param network: Whether the hub may be asked for the backbone's.
    """
    if has_tokenizer(folder):
        try:
            return load_tokenizer(folder)
        except HypensearchError as error:
            raise HypensearchError(f"{folder}: its tokenizer cannot be loaded ({error})") from None
    local, reason = local_folder(config.query_backbone, folder), ""
    if local is not None and not has_tokenizer(local):
        reason = f" ({local} has none either)"
    elif source := local or config.query_backbone:
        try:
            return load_tokenizer(source, network=network)
        except HypensearchError as error:
            reason = f" ({error})"
    raise HypensearchError(
        f"{folder}: no tokenizer ({' or '.join(TOKENIZER_FILES)}) here, and none could be had for "
        f"{config.query_backbone!r}{reason}: copy the backbone's tokenizer files there"
    )


def _try(model: DualEncoder, folder: Path) -> None:
    """Encode a word on both sides: what does not work is reported here, once.

    :raises HypensearchError: When it fails, whatever transformers says.
    """
    assert model.tokenizer is not None
    document, query, where = model.passage_encoder, model.query_encoder, str(folder)
    try:
        check_encoder(document.transformer, model.tokenizer, document.pooling, where)
        if query.transformer is not document.transformer:
            pooling = query.pooling if isinstance(query, TextEncoder) else None
            check_encoder(query.transformer, model.tokenizer, pooling, where)  # type: ignore[arg-type]
        model.encode_documents(["a"], max_length=_TRIED_TOKENS)
        model.encode_queries(["a"], max_length=_TRIED_TOKENS)
    except HypensearchError:
        raise
    except Exception as error:  # transformers and torch raise many kinds
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise HypensearchError(f"{folder}: cannot encode a word with this checkpoint ({reason})") from None
