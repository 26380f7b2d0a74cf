# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""What a checkpoint's ``config.json`` says, checked once and typed.

The keys are those of the released code; options at their default may be absent. Our own checkpoints add
``backbone_configs`` (the transformers' configs), so that loading needs no other file, and, where the backbone wants
them, ``prompts`` and ``final_token``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from hypensearch.errors import HypensearchError
from hypensearch.formats.schema import Short, checked

ACTIVATIONS = ("relu", "tanh", "sigmoid", "gelu", "leaky_relu")
POOLINGS = ("cls", "mean", "last")
MAX_WIDTH = 2**16
MAX_WIDTHS = 256

_Kind = TypeVar("_Kind")
_Width = Annotated[int, Meta(ge=1, le=MAX_WIDTH)]


class _Converter(msgspec.Struct, forbid_unknown_fields=True):
    """``converter_kwargs``: the q-net, with the released code's defaults."""

    vector_dimensions: list[int]
    activation_type: str = "relu"
    do_dropout: bool | None = False
    dropout_prob: Annotated[float, Meta(ge=0, lt=1)] = 0.1
    do_layer_norm: bool = True
    do_residual: bool = True
    do_residual_on_last: bool | None = False
    layer_norm_before_residual: bool = True


class _Side(msgspec.Struct):
    """``query_encoder_kwargs`` and ``passage_encoder_kwargs``."""

    model_name_or_path: Short | None = None
    pooling_type: str | None = None
    base_encoder_output_dim: _Width = 768
    final_token: Literal["cls", "last"] | None = None
    converter_kwargs: dict[str, Any] | None = None


class _Loss(msgspec.Struct):
    matryoshka_dims: list[_Width] = []


class _Prompts(msgspec.Struct, forbid_unknown_fields=True):
    query: Short = ""
    document: Short = ""


class _Config(msgspec.Struct):
    """What is read of a ``config.json``; it may have more."""

    architectures: list[str] | None = None
    shared_encoder: bool = False
    loss_type: list[str] | str | None = None
    loss_kwargs: list[dict[str, Any] | None] | dict[str, Any] | None = None
    backbone_configs: dict[str, dict[str, Any]] | None = None
    prompts: _Prompts = msgspec.field(default_factory=_Prompts)


@dataclass(frozen=True)
class QNetConfig:
    """The architecture of a q-net: hidden blocks, then a linear map to one score without bias.

    :param dims: Widths from the document vector to the score, ``(dim, hidden_1, .., hidden_L, 1)``.
    :param activation: One of :data:`ACTIVATIONS`.
    :param layer_norm: Whether a block normalises its output (no learned parameters, eps 1e-5).
    :param layer_norm_before_residual: Whether it does so before the block's input is added.
    :param residual: Whether blocks add their input; for the last block see ``residual_on_last``.
    :param residual_on_last: Whether the last block adds its input as well.
    :param dropout: Probability of dropping an input of a block while training; 0 without dropout.
    :raises HypensearchError: When the options contradict each other.
    """

    dims: tuple[int, ...]
    activation: str = "relu"
    layer_norm: bool = True
    layer_norm_before_residual: bool = True
    residual: bool = True
    residual_on_last: bool = False
    dropout: float = 0.0

    def __post_init__(self) -> None:
        of_sizes = 2 <= len(self.dims) <= MAX_WIDTHS and min(self.dims) >= 1 and max(self.dims) <= MAX_WIDTH
        if not of_sizes or self.dims[-1] != 1:
            raise HypensearchError(
                f"vector_dimensions {list(self.dims)} do not describe a q-net: "
                f"wanted at least two widths of 1 to {MAX_WIDTH:,}, the last one 1"
            )
        if self.activation not in ACTIVATIONS:
            raise HypensearchError(f"unknown activation {self.activation!r}: known are {', '.join(ACTIVATIONS)}")
        if self.residual_on_last and not self.residual:
            raise HypensearchError("do_residual_on_last is true but do_residual is false: set both or neither")
        for block in range(self.num_blocks):
            if self.has_residual(block) and self.dims[block] != self.dims[block + 1]:
                raise HypensearchError(
                    f"block {block} of the q-net has a residual connection but maps {self.dims[block]} to "
                    f"{self.dims[block + 1]} dimensions: a residual needs equal widths (set do_residual to false)"
                )

    @property
    def num_blocks(self) -> int:
        """Number of hidden blocks; an "N-layer" model of the paper has N."""
        return len(self.dims) - 2

    @property
    def weight_shapes(self) -> list[tuple[int, int]]:
        """``(in, out)`` of every weight matrix, the output layer's last."""
        return list(zip(self.dims[:-1], self.dims[1:], strict=True))

    def has_residual(self, block: int) -> bool:
        """Whether hidden block number ``block`` adds its input."""
        return self.residual and (self.residual_on_last or block < self.num_blocks - 1)

    def truncated(self, width: int) -> QNetConfig:
        """Return the nested q-net of a Matryoshka checkpoint, hidden layers cut to ``width``.

        :raises HypensearchError: When ``width`` is not between 1 and the narrowest hidden layer.
        """
        hidden = self.dims[1:-1]
        if not hidden or not 1 <= width <= min(hidden):
            raise HypensearchError(f"width {width} does not fit a q-net of widths {list(self.dims)}: see --width")
        return replace(self, dims=(self.dims[0], *[width] * len(hidden), 1))


@dataclass(frozen=True)
class ModelConfig:
    """A dual encoder's configuration.

    :param q_net: The q-nets it generates; None for a bi-encoder, whose queries are vectors.
    :param query_backbone: Hub name or folder of the query side's transformer, as the checkpoint gives it.
    :param document_backbone: The same for the document side.
    :param shared_encoder: Whether both sides are one transformer.
    :param query_pooling: One of :data:`POOLINGS` for a bi-encoder's queries; without effect for a Hypencoder.
    :param document_pooling: Pooling of the document side.
    :param hidden_size: Size of the query side's token states (``base_encoder_output_dim``).
    :param final_token: See :class:`hypensearch.models.hyper_head.HyperHead`.
    :param query_prompt: Put before every query.
    :param document_prompt: Put before every document.
    :param widths: Hidden widths a Matryoshka checkpoint was trained for; empty for others.
    :param backbone_configs: The transformers' own configs by side ("query", "document"), where embedded.
    :param raw: The ``config.json`` as read.
    """

    q_net: QNetConfig | None
    query_backbone: str
    document_backbone: str
    shared_encoder: bool
    query_pooling: str
    document_pooling: str
    hidden_size: int
    final_token: str | None = None
    query_prompt: str = ""
    document_prompt: str = ""
    widths: tuple[int, ...] = ()
    backbone_configs: Mapping[str, Any] = field(default_factory=dict)
    raw: Mapping[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """``"hypencoder"`` or ``"biencoder"``."""
        return "biencoder" if self.q_net is None else "hypencoder"


def parse_config(raw: Mapping[str, Any], where: str) -> ModelConfig:
    """Read the content of a ``config.json``.

    :param raw: The parsed JSON.
    :param where: The file, for messages.
    :raises HypensearchError: When it is not a dual encoder's, or an option is unknown; names file and key.
    """
    try:
        query, document = _side(raw, "query_encoder_kwargs"), _side(raw, "passage_encoder_kwargs")
        config = _checked(raw, _Config)
        widths = _matryoshka_widths(config)
        is_hypencoder = query.converter_kwargs is not None or "HypencoderDualEncoder" in (config.architectures or ())
        q_net = _q_net(query.converter_kwargs or {}, matryoshka=bool(widths)) if is_hypencoder else None
        query_pooling = _pooling(query)
        # A released bi-encoder that shares its encoder shares the pooling as well.
        shares_pooling = config.shared_encoder and q_net is None
        return ModelConfig(
            q_net=q_net,
            query_backbone=query.model_name_or_path or "",
            document_backbone=document.model_name_or_path or "",
            shared_encoder=config.shared_encoder,
            query_pooling=query_pooling,
            document_pooling=query_pooling if shares_pooling else _pooling(document),
            hidden_size=query.base_encoder_output_dim,
            final_token=query.final_token,
            query_prompt=config.prompts.query,
            document_prompt=config.prompts.document,
            widths=widths,
            backbone_configs=config.backbone_configs or {},
            raw=raw,
        )
    except HypensearchError as error:
        raise HypensearchError(f"{where}: {error}") from None


def _side(raw: Mapping[str, Any], key: str) -> _Side:
    section = raw.get(key)
    if not isinstance(section, Mapping):
        raise HypensearchError(
            f"no {key!r} object, so this is not the config of a Hypencoder or bi-encoder checkpoint "
            f"(found the keys {', '.join(sorted(raw)[:8]) or 'none'})"
        )
    return _checked(section, _Side, key)


def _checked(facts: Mapping[str, Any], kind: type[_Kind], where: str = "") -> _Kind:
    try:
        return checked(facts, kind)
    except ValueError as error:
        raise HypensearchError(f"{where and where + ': '}unusable value ({error})") from None


def _q_net(kwargs: Mapping[str, Any], *, matryoshka: bool) -> QNetConfig:
    options = _checked(kwargs, _Converter, "converter_kwargs")
    # The code that trains Matryoshka checkpoints computes a residual and drops it: the weights expect none.
    residual = options.do_residual and not matryoshka
    on_last = options.do_residual_on_last
    return QNetConfig(
        dims=tuple(options.vector_dimensions),
        activation=options.activation_type,
        layer_norm=options.do_layer_norm,
        layer_norm_before_residual=options.layer_norm_before_residual,
        residual=residual,
        residual_on_last=residual if on_last is None else on_last and not matryoshka,
        dropout=options.dropout_prob if options.do_dropout else 0.0,
    )


def _matryoshka_widths(config: _Config) -> tuple[int, ...]:
    types = [config.loss_type] if isinstance(config.loss_type, str) else config.loss_type or []
    kwargs = [config.loss_kwargs] if isinstance(config.loss_kwargs, dict) else config.loss_kwargs or []
    for loss_type, options in zip(types, kwargs, strict=False):
        if "matryoshka" in loss_type and options is not None:
            return tuple(sorted(_checked(options, _Loss, "loss_kwargs").matryoshka_dims))
    return ()


def _pooling(side: _Side) -> str:
    pooling = side.pooling_type or "cls"
    if pooling not in POOLINGS:
        raise HypensearchError(f"unknown pooling_type {pooling!r}: known are {', '.join(POOLINGS)}")
    return pooling
