# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Settings of a training run. Defaults are the paper's recipe; a YAML file and flags override them, flags last."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypensearch
from hypensearch.errors import HypensearchError
from hypensearch.formats.door import read_plain
from hypensearch.options import Options, flag_of, from_mapping, option

RECIPES = Path(hypensearch.__file__).parent / "resources" / "recipes"
LOSS_NAMES = ("margin_mse", "cross_entropy", "cross_entropy_positives", "cross_entropy_own", "kl", "distil")
OWN_BACKBONE = "backbone"
AUTO = "auto"

_MAX_YAML_BYTES = 2**20
_MAY_CHANGE = frozenset(
    {"output", "resume", "max_steps", "patience", "keep_checkpoints", "compact", "push_to_hub", "mix_with_start"}
)  # when a run is resumed
#: Settings of earlier versions, with the values that had no effect: files with these can still be read.
_REMOVED = {
    "start_maps": "",
    "head_from": "",
    "freeze_encoder": False,
    "fixed_blocks": False,
    "static_bias": False,
    "attention_only": False,
    "cache": "",
    "mined_negatives": 0,
    "mining_margin": 0.95,
    "start_decay": 0.0,
    "blend": False,
    "blend_steps": 8,
    "blend_tolerance": 1.0,
    "profile_steps": 0,
}


@dataclass(frozen=True)
class TrainingConfig(Options):
    """All settings; each is a key of the YAML file and, with dashes, a flag."""

    train: list[str] = option("files of training records", group="data and output")
    output: str = option("folder for the finished checkpoint; the run's own files go to its subfolder training")
    backbone: str = option(
        "folder or hub name of the transformer to start from, or of a checkpoint to take the document encoder of", ""
    )
    start_from: str = option("checkpoint to continue training, instead of a new model over a backbone", "")
    validation: list[str] = option(
        "folders of held-out topics: corpus.jsonl, topics.tsv and qrels.txt, or BEIR's layout; or irds:NAME", []
    )
    measures: list[str] = option(
        "measures of validation; the mean of the first over all collections decides (paper: Rprec)",
        ["RR@10", "nDCG@10", "R@100"],
    )

    architecture: str = option(
        "hypencoder or biencoder", "hypencoder", choices=("hypencoder", "biencoder"), group="the model"
    )
    num_blocks: int = option("hidden blocks of the q-net", 6, at_least=1)
    residual: bool = option("add each hidden block's input to its output; not with widths", True)
    pooling: str = option(
        f"cls, mean or last; {AUTO}: what the backbone's files say, else cls",
        AUTO,
        choices=(AUTO, "cls", "mean", "last"),
    )
    query_prompt: str = option("put before every query; the backbone's by default", "")
    document_prompt: str = option("put before every document; the backbone's by default", "")
    shared_encoder: bool = option("one transformer for both sides", True)
    dropout: float = option("dropout inside the q-net while training", 0.0, at_least=0)
    widths: list[int] = option("hidden widths to train jointly, widest last (Matryoshka)", [])

    start: str = option(
        "cold: the released code's initial values; warm: score like the backbone's bi-encoder from the first step",
        "cold",
        choices=("cold", "warm"),
        group="where it starts",
    )
    similarity: str = option(
        f"the bi-encoder's, for a warm start: cosine or dot; {AUTO}: what the backbone's files say, else cosine",
        AUTO,
        choices=(AUTO, "cosine", "dot"),
    )
    logit_scale: float = option(
        "after a warm start, the score of a cosine of 1; for a bi-encoder, of a text with itself", 20.0
    )

    losses: dict[str, float] = option(
        "weights of the losses: " + ", ".join(LOSS_NAMES),
        {"margin_mse": 1.0, "cross_entropy_positives": 1.0},
        group="losses and texts",
    )
    label_key: str = option("key of the teacher's scores in training records", "score")
    teacher_temperature: float = option("the teacher's scores in training records are divided by this", 1.0, above=0)
    distil_from: str = option(
        f"frozen bi-encoder for the loss distil, which matches its cosines: a checkpoint, or {OWN_BACKBONE}", ""
    )
    distil_temperature: float = option("the frozen bi-encoder's cosines are divided by this", 0.05, above=0)
    num_negatives: int = option("negatives of each query in a step", 7, at_least=0)
    query_length: int = option("tokens of a query", 32, at_least=1)
    document_length: int = option("tokens of a document", 196, at_least=1)

    max_steps: int = option("optimizer steps", 1_000_000, at_least=1, group="steps")
    batch_size: int = option("queries of a step on each device", 64, at_least=1)
    gradient_accumulation: int = option("batches of a step", 1, at_least=1)
    learning_rate: float = option("highest learning rate", 2e-5, above=0)
    projection_rate: float = option(
        "learning rate of the hyper head's attention and weight projections, relative to the rest", 1.0
    )
    scheduler: str = option("learning rate schedule, as transformers names it", "constant_with_warmup")
    warmup_steps: int = option("steps until the highest learning rate", 6000, at_least=0)
    weight_decay: float = option("weight decay of AdamW", 0.0)
    max_grad_norm: float = option("gradients are clipped to this norm", 1.0)
    seed: int = option("seed of initial values, order, negatives and dropout", 42)

    bf16: bool = option("bfloat16 autocast", False, group="speed and memory")
    chunk_size: int = option(
        "texts encoded at once, to save memory; their activations are recomputed for gradients; 0: the whole batch",
        0,
        at_least=0,
    )
    gradient_checkpointing: bool = option("recompute activations layer by layer, to save memory", False)

    eval_steps: int = option("steps between validations and checkpoints", 2500, at_least=1, group="validation")
    patience: int = option("validations without a better first measure before stopping early; 0: never", 0, at_least=0)
    keep_checkpoints: int = option("checkpoints kept to resume from", 2, at_least=1, group="the end of the run")
    mix_with_start: float = option(
        "average the trained weights with those at the start, which get this share", 0.0, at_least=0, at_most=1
    )
    compact: bool = option("store the finished checkpoint in 8 bits or less; only hypensearch reads that", False)
    push_to_hub: str = option("repository on the hub, user/name, to upload the finished checkpoint to", "")
    resume: bool = option("resume from the last checkpoint of the output folder", False)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, problem in self._contradictions():
            raise HypensearchError(f"{flag_of(name)}: {problem}")

    def _contradictions(self) -> Iterator[tuple[str, str]]:
        for name in ("train", "output"):
            if not getattr(self, name):
                yield name, "missing"
        if not self.backbone and not self.start_from:
            yield "backbone", "missing: wanted a transformer to start from, or --start-from a checkpoint"
        if self.backbone and self.start_from:
            yield "backbone", "the checkpoint of --start-from has its own: leave one of them out"
        if self.start_from and self.start == "warm":
            yield "start", "a warm start is for new models: leave out --start warm or --start-from"
        if self.dropout >= 1:
            yield "dropout", f"{self.dropout} is not a probability below 1"
        if not self.losses or not set(self.losses) <= set(LOSS_NAMES):
            unknown = ", ".join(sorted(set(self.losses) - set(LOSS_NAMES)))
            yield "losses", f"unknown {unknown or 'none'}, known are {', '.join(LOSS_NAMES)}"
        if bool(self.distil_from) != ("distil" in self.losses):
            yield "distil_from", "goes with the loss distil, such as --losses cross_entropy distil: set both or neither"
        if self.distil_from == OWN_BACKBONE and not self.backbone:
            yield "distil_from", f"{OWN_BACKBONE} is that of --backbone: with --start-from name a checkpoint"
        if not self.measures:
            yield "measures", "none: the first one decides which weights are kept"
        if self.patience and not self.validation:
            yield "patience", "stopping early needs --validation"


def read_config(path: str | None, flags: Mapping[str, Any]) -> TrainingConfig:
    """Merge a YAML file and flags.

    :param path: The file, or the name of one of :func:`recipes`; None for flags alone.
    :param flags: Settings that were given as flags.
    :raises HypensearchError: For an unknown key (with the nearest known), a wrong type or a missing setting.
    """
    settings = _known(_read_yaml(_recipe_or_file(path))) if path else {}
    return from_mapping(TrainingConfig, {**settings, **flags}, path or "--config")


def recipes() -> dict[str, Path]:
    """Return the files of the recipes that come with the package, the paper's, by name."""
    return {path.stem: path for path in sorted(RECIPES.glob("*.yaml"))}


def differences(config: TrainingConfig, earlier: Mapping[str, Any]) -> list[str]:
    """Return the names of settings that a run cannot change halfway.

    :param earlier: The settings it was started with.
    """
    now = dataclasses.asdict(config)
    return [name for name, value in _known(earlier).items() if name not in _MAY_CHANGE and now.get(name) != value]


def backbone_name(config: TrainingConfig) -> str:
    """Return what to call the transformer: the last part of a folder, a hub name as it is."""
    name = config.backbone or config.start_from
    return Path(name).name if Path(name).exists() else name


def to_json(config: TrainingConfig) -> str:
    """Return the settings as they were used."""
    return json.dumps(dataclasses.asdict(config), indent=2)


def _known(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out settings of earlier versions that had no effect."""
    return {name: value for name, value in settings.items() if name not in _REMOVED or value != _REMOVED[name]}


def _recipe_or_file(path: str) -> str:
    return path if Path(path).exists() else str(recipes().get(path, path))


def _read_yaml(path: str) -> dict[str, Any]:
    import yaml

    try:
        raw = yaml.safe_load(read_plain(path, _MAX_YAML_BYTES).decode("utf-8"))
    except FileNotFoundError:
        raise HypensearchError(
            f"--config {path}: no such file, and not one of the recipes {', '.join(recipes())}"
        ) from None
    except (OSError, ValueError, TypeError, OverflowError, RecursionError, yaml.YAMLError) as error:
        raise HypensearchError(f"{path}: not readable as YAML ({' '.join(str(error).split())[:200]})") from None
    if not isinstance(raw, dict):
        raise HypensearchError(f"{path}: wanted settings as key: value, found {type(raw).__name__}")
    return {str(key).replace("-", "_"): value for key, value in raw.items()}


__all__ = ["TrainingConfig", "backbone_name", "differences", "read_config", "recipes", "to_json"]
