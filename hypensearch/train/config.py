# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Settings of a training run: defaults are the paper's recipe; a YAML file and flags change them, flags last."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import json
import reprlib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hypensearch
from hypensearch.errors import HypensearchError
from hypensearch.formats.json_files import read_bounded

ARCHITECTURES = ("hypencoder", "biencoder", "twin")
STARTS = ("cold", "warm")
_AT_LEAST_ONE = (
    "num_blocks",
    "max_steps",
    "batch_size",
    "gradient_accumulation",
    "eval_steps",
    "blend_steps",
    "keep_checkpoints",
)
RECIPES = Path(hypensearch.__file__).parent / "resources" / "recipes"
#: Titles in the help, by the first setting below each.
_GROUPS = {
    "train": "data and output",
    "architecture": "the model",
    "start": "where it starts",
    "freeze_encoder": "frozen encoders",
    "losses": "losses and texts",
    "max_steps": "steps",
    "bf16": "speed and memory",
    "eval_steps": "validation",
    "blend": "the end of the run",
}
_MAX_YAML_BYTES = 2**20
_MAY_CHANGE = frozenset(
    {
        "output",
        "cache",
        "resume",
        "max_steps",
        "patience",
        "keep_checkpoints",
        "compact",
        "push_to_hub",
        "profile_steps",
    }
    | {"blend", "blend_steps", "blend_tolerance"}
)
LOSS_NAMES = ("margin_mse", "cross_entropy", "cross_entropy_positives", "cross_entropy_own", "kl")


def _setting(help_text: str, default: Any = dataclasses.MISSING, **options: Any) -> Any:
    if isinstance(default, (list, dict)):
        options["default_factory"] = lambda: type(default)(default)
    elif default is not dataclasses.MISSING:
        options["default"] = default
    return field(metadata={"help": help_text}, **options)


@dataclass
class TrainingConfig:
    """All settings; each is a key of the YAML file and, with dashes, a flag."""

    train: list[str] = _setting("files of training records")
    output: str = _setting("folder of the finished checkpoint; the run's own files go to its folder training")
    backbone: str = _setting("folder or hub name of the transformer to start from; a checkpoint's encoder as well", "")
    start_from: str = _setting("checkpoint to train on, as it is, instead of a new model over a backbone", "")
    validation: list[str] = _setting(
        "folders with corpus.jsonl, topics.tsv, qrels.txt of held-out topics, or in BEIR's layout", []
    )
    measures: list[str] = _setting(
        "what validation measures; the mean of the first over the collections decides (paper: Rprec)",
        ["RR@10", "nDCG@10", "R@100"],
    )

    architecture: str = _setting("hypencoder, biencoder, or twin: two linear maps over frozen encoders", "hypencoder")
    num_blocks: int = _setting("hidden blocks of the q-net", 6)
    residual: bool = _setting("add each hidden block's input to its output; widths do without", True)
    pooling: str = _setting("cls or mean", "cls")
    shared_encoder: bool = _setting("one transformer for both sides", True)
    dropout: float = _setting("dropout inside the q-net while training", 0.0)
    widths: list[int] = _setting("hidden widths to train as well, widest last (Matryoshka)", [])

    start: str = _setting("cold: the released code's start values; warm: rank as the backbone's bi-encoder", "cold")
    start_maps: str = _setting("folder of a finished twin whose maps a warm start folds in", "")
    head_from: str = _setting("checkpoint whose hyper head to start with", "")
    similarity: str = _setting("the bi-encoder's, for a warm start: cosine or dot", "cosine")
    logit_scale: float = _setting(
        "score of a cosine of 1, for a warm start and for twins; a warm bi-encoder's texts score that with themselves",
        20.0,
    )
    freeze_encoder: bool = _setting("train the hyper head alone, over encodings made once", False)
    fixed_blocks: bool = _setting(
        "let queries change the last block's bias and the final weight alone: fast; for frozen encoders", False
    )
    static_bias: bool = _setting(
        "keep the last block's bias the same for all queries, too: fast, and hard to overfit; needs fixed blocks",
        False,
    )
    attention_only: bool = _setting(
        "train only where the final weight looks, its learned query and keys: hard to overfit; needs fixed blocks",
        False,
    )
    cache: str = _setting("folder for the encodings of frozen encoders; kept between runs", "")

    losses: dict[str, float] = _setting(
        "weights of the losses: " + ", ".join(LOSS_NAMES), {"margin_mse": 1.0, "cross_entropy_positives": 1.0}
    )
    label_key: str = _setting("key of the teacher's scores in training records", "score")
    num_negatives: int = _setting("negatives of each query in a step", 7)
    mined_negatives: int = _setting("texts mined for each record by a frozen first model; 0: none", 0)
    mining_margin: float = _setting("highest score of a mined negative, as a share of the positive's", 0.95)
    query_length: int = _setting("tokens of a query", 32)
    document_length: int = _setting("tokens of a document", 196)

    max_steps: int = _setting("optimizer steps", 1_000_000)
    batch_size: int = _setting("queries of a step on each device", 64)
    gradient_accumulation: int = _setting("batches of a step", 1)
    learning_rate: float = _setting("at its highest", 2e-5)
    projection_rate: float = _setting("learning rate of attention and weight projections, as a share", 1.0)
    scheduler: str = _setting("transformers' name of a schedule", "constant_with_warmup")
    warmup_steps: int = _setting("steps until the learning rate is reached", 6000)
    weight_decay: float = _setting("AdamW's, towards zero", 0.0)
    start_decay: float = _setting("decay towards the start values, as weight_decay is towards zero", 0.0)
    max_grad_norm: float = _setting("longest gradient, longer ones are cut", 1.0)
    seed: int = _setting("of start values, order, draws and dropout", 42)
    bf16: bool = _setting("bfloat16 autocast of the encoders, and of the rest where they are trained", False)
    chunk_size: int = _setting("texts encoded at once, activations made again for gradients; 0: the whole batch", 0)
    gradient_checkpointing: bool = _setting("recompute activations to save memory", False)

    eval_steps: int = _setting("steps between validations and checkpoints", 2500)
    patience: int = _setting("validations without a better first measure before stopping early; 0: never", 0)
    blend: bool = _setting("after training, choose the best mixture of start and trained weights by validation", False)
    blend_steps: int = _setting("mixtures tried between start and trained weights, less one", 8)
    blend_tolerance: float = _setting("first measure that a mixture may cost any of the validation collections", 1.0)
    keep_checkpoints: int = _setting("checkpoints kept to resume from", 2)
    compact: bool = _setting("store the finished checkpoint in 8 bits and less; only hypensearch reads it", False)
    push_to_hub: str = _setting("repository on the hub, user/name, to upload the finished checkpoint to", "")
    profile_steps: int = _setting("steps to time part by part before training, on a copy; 0: none", 0)
    resume: bool = _setting("go on from the last checkpoint of the output folder", False)

    @property
    def is_frozen(self) -> bool:
        """Whether training runs over encodings made once."""
        return self.freeze_encoder or self.architecture == "twin"

    @property
    def autocast(self) -> bool:
        """Whether steps run under bfloat16: not over ready encodings, whose scores it would only round, into ties."""
        return self.bf16 and not self.is_frozen

    def __post_init__(self) -> None:
        for name, problem in _problems(self):
            raise HypensearchError(f"{name.replace('_', '-')}: {problem}")


def read_config(path: str | None, flags: Mapping[str, Any]) -> TrainingConfig:
    """Merge a YAML file and flags.

    :param path: The file, or the name of one of :func:`recipes`; None for flags alone.
    :param flags: Settings that were given as flags.
    :raises HypensearchError: For an unknown key (with the nearest known), a wrong type or a missing setting.
    """
    settings = {**(_read_yaml(_recipe_or_file(path)) if path else {}), **flags}
    fields = {field.name: field for field in dataclasses.fields(TrainingConfig)}
    for key in settings:
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1)
            raise HypensearchError(f"{path}: unknown key {key!r}{f', did you mean {near[0]!r}?' if near else ''}")
    missing = [name for name, field in fields.items() if _is_required(field) and not settings.get(name)]
    if not (settings.get("backbone") or settings.get("start_from")):
        missing.append("backbone or start_from")
    if missing:
        raise HypensearchError(f"missing settings: {', '.join(missing)} (in --config or as flags)")
    hints = typing.get_type_hints(TrainingConfig)
    return TrainingConfig(**{key: _checked(value, hints[key], key) for key, value in settings.items()})


def recipes() -> dict[str, Path]:
    """Return the files of the recipes that come with the package, the paper's, by name."""
    return {path.stem: path for path in sorted(RECIPES.glob("*.yaml"))}


def differences(config: TrainingConfig, earlier: Mapping[str, Any]) -> list[str]:
    """Return the names of settings that a run cannot change halfway.

    :param earlier: The settings it was started with.
    """
    now = dataclasses.asdict(config)
    return [name for name, value in earlier.items() if name not in _MAY_CHANGE and now.get(name) != value]


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Give a parser one flag for each setting; those not given stay out of the namespace."""
    hints = typing.get_type_hints(TrainingConfig)
    group: argparse._ArgumentGroup | None = None
    for setting in dataclasses.fields(TrainingConfig):
        if setting.name in _GROUPS:
            group = parser.add_argument_group(_GROUPS[setting.name])
        assert group is not None
        flag, kind = "--" + setting.name.replace("_", "-"), hints[setting.name]
        default = "" if _is_required(setting) else _shown_default(_default(setting))
        options: dict[str, Any] = {"help": setting.metadata["help"] + default, "default": argparse.SUPPRESS}
        if kind is bool:
            options["action"] = argparse.BooleanOptionalAction
        elif typing.get_origin(kind) is list:
            options |= {"nargs": "*", "type": typing.get_args(kind)[0], "metavar": "VALUE"}
        elif typing.get_origin(kind) is dict:
            options |= {"nargs": "+", "type": _weighted, "metavar": "NAME[=WEIGHT]"}
        else:
            options |= {"type": kind, "metavar": kind.__name__.upper()}
        group.add_argument(flag, **options)


def backbone_name(config: TrainingConfig) -> str:
    """Return what to call the transformer: the last part of a folder, a hub name as it is."""
    name = config.backbone or config.start_from
    return Path(name).name if Path(name).exists() else name


def to_json(config: TrainingConfig) -> str:
    """Return the settings as they were used."""
    return json.dumps(dataclasses.asdict(config), indent=2)


def _problems(config: TrainingConfig) -> list[tuple[str, str]]:
    found = []
    for name, choices in (
        ("architecture", ARCHITECTURES),
        ("start", STARTS),
        ("pooling", ("cls", "mean")),
        ("similarity", ("cosine", "dot")),
    ):
        if getattr(config, name) not in choices:
            found.append((name, f"unknown {getattr(config, name)!r}, known are {', '.join(choices)}"))
    for name in _AT_LEAST_ONE:
        if getattr(config, name) < 1:
            found.append((name, f"{getattr(config, name)} is less than 1"))
    if config.profile_steps < 0:
        found.append(("profile_steps", f"{config.profile_steps} is less than 0"))
    if not config.learning_rate > 0:
        found.append(("learning_rate", f"{config.learning_rate} is not above 0"))
    if not 0 <= config.dropout < 1:
        found.append(("dropout", f"{config.dropout} is not a probability below 1"))
    unknown = sorted(set(config.losses) - set(LOSS_NAMES))
    if unknown or not config.losses:
        found.append(("losses", f"unknown {', '.join(unknown) or 'none'}, known are {', '.join(LOSS_NAMES)}"))
    if config.is_frozen and not config.cache:
        found.append(("cache", "frozen encoders need a folder for their encodings"))
    if config.fixed_blocks and not (config.freeze_encoder and config.start == "warm"):
        found.append(("fixed_blocks", "needs a frozen encoder and a warm start"))
    for name in ("static_bias", "attention_only"):
        if getattr(config, name) and not config.fixed_blocks:
            found.append((name, "needs --fixed-blocks"))
    if config.fixed_blocks and config.widths:
        found.append(("fixed_blocks", "cannot train several widths"))
    if config.freeze_encoder and config.architecture == "biencoder":
        found.append(("freeze_encoder", "a bi-encoder has nothing else to train: use the architecture twin"))
    if config.mined_negatives and config.architecture != "twin" and not config.freeze_encoder:
        found.append(("mined_negatives", "only frozen encoders mine while training: use python -m hypensearch.mine"))
    if config.start_from:
        for name in ("backbone", "head_from", "start_maps"):
            if getattr(config, name):
                found.append((name, "the checkpoint of --start-from has its own: leave one of them out"))
        if config.start == "warm" or config.architecture == "twin":
            found.append(("start_from", "a checkpoint starts as it is: no warm start, no twin"))
    if config.chunk_size < 0:
        found.append(("chunk_size", f"{config.chunk_size} is less than 0"))
    if not config.measures:
        found.append(("measures", "none: the first one decides which weights are kept"))
    if config.patience and not config.validation:
        found.append(("patience", "stopping early needs --validation"))
    return found


def _recipe_or_file(path: str) -> str:
    if Path(path).exists() or path not in recipes():
        return path
    return str(recipes()[path])


def _read_yaml(path: str) -> dict[str, Any]:
    import yaml

    try:
        raw = yaml.safe_load(read_bounded(path, _MAX_YAML_BYTES).decode("utf-8"))
    except FileNotFoundError:
        raise HypensearchError(
            f"--config {path}: no such file, and not one of the recipes {', '.join(recipes())}"
        ) from None
    except (OSError, ValueError, TypeError, OverflowError, RecursionError, yaml.YAMLError) as error:
        raise HypensearchError(f"{path}: not readable as YAML ({' '.join(str(error).split())[:200]})") from None
    if not isinstance(raw, dict):
        raise HypensearchError(f"{path}: wanted settings as key: value, found {type(raw).__name__}")
    return {str(key).replace("-", "_"): value for key, value in raw.items()}


def _checked(value: Any, kind: Any, key: str) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is list:
        values = [value] if isinstance(value, str) else value
        if isinstance(values, list):
            return [_checked(one, arguments[0], key) for one in values]
    elif origin is dict:
        if isinstance(value, list):
            value = dict(one if isinstance(one, tuple) else _weighted(str(one)) for one in value)
        if isinstance(value, Mapping):
            return {str(name): _checked(weight, arguments[1], key) for name, weight in value.items()}
    elif kind is float:
        try:  # YAML reads 5e-5 as text
            if not isinstance(value, bool):
                return float(value)
        except (TypeError, ValueError):
            pass
    elif isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
        return value
    name = kind.__name__ if isinstance(kind, type) and not isinstance(kind, types.GenericAlias) else str(kind)
    raise HypensearchError(f"{key}: wanted {name}, found {reprlib.repr(value)}")  # aliases may make it endless


def _weighted(text: str) -> tuple[str, float]:
    name, _, weight = text.partition("=")
    return name, float(weight or 1)


def _is_required(setting: dataclasses.Field[Any]) -> bool:
    return setting.default is dataclasses.MISSING and setting.default_factory is dataclasses.MISSING


def _default(setting: dataclasses.Field[Any]) -> Any:
    if setting.default is not dataclasses.MISSING:
        return setting.default
    assert setting.default_factory is not dataclasses.MISSING
    return setting.default_factory()


def _shown_default(value: Any) -> str:
    if value is False or value in ("", []):
        return ""
    return f" (default: {'yes' if value is True else _shown(value)})"


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{name}={weight:g}" for name, weight in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return " ".join(map(str, value)) or "none"
    return str(value) if value != "" else "none"


__all__ = ["TrainingConfig", "add_flags", "backbone_name", "differences", "read_config", "recipes", "to_json"]
