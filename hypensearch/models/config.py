# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""What a checkpoint's ``config.json`` says, checked once and typed.

The keys are those of the released code; options at their default may be absent. Our own checkpoints add
``backbone_configs`` (the transformers' configs), so that loading needs no other file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, TypedDict, TypeVar

from msgspec import Meta

from hypensearch.errors import HypensearchError
from hypensearch.formats.schema import Short, checked

ACTIVATIONS = ("relu", "tanh", "sigmoid", "gelu", "leaky_relu")
POOLINGS = ("cls", "mean")
MAX_WIDTH = 2**16
MAX_WIDTHS = 256


_Kind = TypeVar("_Kind")
_Width = Annotated[int, Meta(ge=1, le=MAX_WIDTH)]


class _Converter(TypedDict, total=False):
    """``converter_kwargs``: the q-net."""

    vector_dimensions: list[int]
    activation_type: str
    do_dropout: bool | None
    dropout_prob: Annotated[float, Meta(ge=0, lt=1)]
    do_layer_norm: bool
    do_residual: bool
    do_residual_on_last: bool | None
    layer_norm_before_residual: bool


class _Side(TypedDict, total=False):
    """``query_encoder_kwargs`` and ``passage_encoder_kwargs``."""

    model_name_or_path: Short | None
    pooling_type: str | None
    base_encoder_output_dim: _Width
    embedding_representation: str | None
    converter_kwargs: dict[str, Any] | None


class _Loss(TypedDict, total=False):
    matryoshka_dims: list[_Width]


class _Config(TypedDict, total=False):
    """What is read of a ``config.json``; it may have more."""

    architectures: list[str] | None
    shared_encoder: bool
    loss_type: list[str] | str | None
    loss_kwargs: list[dict[str, Any] | None] | dict[str, Any] | None
    backbone_configs: dict[str, dict[str, Any]] | None


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
        if (
            not 2 <= len(self.dims) <= MAX_WIDTHS
            or min(self.dims) < 1
            or max(self.dims) > MAX_WIDTH
            or self.dims[-1] != 1
        ):
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
    :param query_pooling: Pooling of a bi-encoder's queries; None for a Hypencoder.
    :param document_pooling: Pooling of the document side, "cls" or "mean".
    :param hidden_size: Size of the query side's token states (``base_encoder_output_dim``).
    :param embedding_representation: Extra query embedding of the released code: None, "cls" or "mean".
    :param widths: Hidden widths a Matryoshka checkpoint was trained for; empty for others.
    :param backbone_configs: The transformers' own configs by side ("query", "document"), where embedded.
    :param raw: The ``config.json`` as read.
    """

    q_net: QNetConfig | None
    query_backbone: str
    document_backbone: str
    shared_encoder: bool
    query_pooling: str | None
    document_pooling: str
    hidden_size: int
    embedding_representation: str | None = None
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
        query = _section(raw, "query_encoder_kwargs")
        document = _section(raw, "passage_encoder_kwargs")
        config = _checked(raw, _Config)
        widths = _matryoshka_widths(config)
        is_hypencoder = "converter_kwargs" in query or "HypencoderDualEncoder" in (config.get("architectures") or ())
        converter = query.get("converter_kwargs") or {}
        q_net = _parse_q_net(converter, matryoshka=bool(widths)) if is_hypencoder else None
        shared = config.get("shared_encoder", False)
        query_pooling = _choice(query, "pooling_type", POOLINGS) if q_net is None else None
        # A released bi-encoder that shares its encoder shares the pooling as well.
        pooled = query if shared and q_net is None else document
        return ModelConfig(
            q_net=q_net,
            query_backbone=query.get("model_name_or_path") or "",
            document_backbone=document.get("model_name_or_path") or "",
            shared_encoder=shared,
            query_pooling=query_pooling,
            document_pooling=_choice(pooled, "pooling_type", POOLINGS) or "cls",
            hidden_size=query.get("base_encoder_output_dim", 768),
            embedding_representation=_choice(query, "embedding_representation", POOLINGS, default=None),
            widths=widths,
            backbone_configs=config.get("backbone_configs") or {},
            raw=raw,
        )
    except HypensearchError as error:
        raise HypensearchError(f"{where}: {error}") from None


def _section(raw: Mapping[str, Any], key: str) -> _Side:
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


def _parse_q_net(converter: Mapping[str, Any], *, matryoshka: bool) -> QNetConfig:
    known = {
        "vector_dimensions",
        "activation_type",
        "do_dropout",
        "dropout_prob",
        "do_layer_norm",
        "do_residual",
        "do_residual_on_last",
        "layer_norm_before_residual",
    }
    unknown = sorted(set(converter) - known)
    if unknown:
        raise HypensearchError(f"unknown converter_kwargs {', '.join(unknown)}: known are {', '.join(sorted(known))}")
    if "vector_dimensions" not in converter:
        raise HypensearchError("converter_kwargs lack vector_dimensions, the widths of the q-net")
    options = _checked(converter, _Converter, "converter_kwargs")
    # The code that trains Matryoshka checkpoints computes a residual and drops it: the weights expect none.
    residual = options.get("do_residual", True) and not matryoshka
    on_last = options.get("do_residual_on_last", False)
    return QNetConfig(
        dims=tuple(options["vector_dimensions"]),
        activation=options.get("activation_type", "relu"),
        layer_norm=options.get("do_layer_norm", True),
        layer_norm_before_residual=options.get("layer_norm_before_residual", True),
        residual=residual,
        residual_on_last=residual if on_last is None else on_last and not matryoshka,
        dropout=options.get("dropout_prob", 0.1) if options.get("do_dropout") else 0.0,
    )


def _matryoshka_widths(config: _Config) -> tuple[int, ...]:
    types, kwargs = config.get("loss_type") or [], config.get("loss_kwargs") or []
    types = [types] if isinstance(types, str) else types
    kwargs = [kwargs] if isinstance(kwargs, Mapping) else kwargs
    for loss_type, options in zip(types, kwargs, strict=False):
        if "matryoshka" in loss_type and options is not None:
            return tuple(sorted(_checked(options, _Loss, "loss_kwargs").get("matryoshka_dims", ())))
    return ()


def _choice(section: _Side, key: str, choices: tuple[str, ...], default: str | None = "cls") -> str | None:
    value: str | None = section.get(key, default)  # type: ignore[assignment]
    if value is not None and value not in choices:
        raise HypensearchError(f"unknown {key} {value!r}: known are {', '.join(choices)}")
    return value
