# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Published conditions: command lines and expected scores, read from YAML in Pyserini's form."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

import yaml

from hypensearch.errors import HypensearchError

COLLECTIONS = ("msmarco-v1-passage", "beir", "dl-hard", "tot")


@dataclass(frozen=True)
class Measurement:
    """One topic set of a condition, and what it is expected to score.

    :param key: Its name in reports.
    :param topics: Topic sets, by Pyserini's names or files below the data folder; their runs are measured together.
    :param qrels: The judgements of each.
    :param scores: Expected scores by measure.
    :param corpus: What is searched, below the data folder.
    """

    key: str
    topics: tuple[str, ...]
    qrels: tuple[str, ...]
    scores: dict[str, float]
    corpus: str


@dataclass(frozen=True)
class Condition:
    """A row of the matrix: a model and a way to search."""

    name: str
    display: str
    index: str
    command: str
    measurements: tuple[Measurement, ...]


@dataclass(frozen=True)
class Places:
    """Folders that commands read and write."""

    runs: str = "runs"
    indexes: str = "indexes"
    data: str = "collections"


def read_conditions(collection: str) -> list[Condition]:
    """Read the conditions of a collection."""
    path = resources.files("hypensearch.resources").joinpath(f"reproductions/{collection}.yaml")
    raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    return [_condition(entry, raw) for entry in raw["conditions"]]


def find(conditions: list[Condition], name: str) -> Condition:
    """Return the condition of a name.

    :raises HypensearchError: When there is none; names those that are known.
    """
    known = {condition.name: condition for condition in conditions}
    if name not in known:
        raise HypensearchError(f"--condition {name}: not among {', '.join(known)}")
    return known[name]


def run_path(places: Places, collection: str, condition: Condition, topics: str) -> str:
    """Name the run of a topic set, as Pyserini names it."""
    return f"{places.runs}/run.{collection}.{condition.name}.{topics.replace('/', '-').removesuffix('.tsv')}.txt"


def commands(
    places: Places, collection: str, condition: Condition, measurement: Measurement
) -> list[tuple[str, list[str]]]:
    """Give the command lines of a measurement, each with the path that it makes."""
    index = f"{places.indexes}/{condition.name}.{measurement.corpus.replace('/', '-').removesuffix('.jsonl')}"
    lines = [(index, _filled(condition.index, corpus=f"{places.data}/{measurement.corpus}", index=index))]
    for topics in measurement.topics:
        output = run_path(places, collection, condition, topics)
        named = located(places, topics)
        lines.append((output, _filled(condition.command, index=index, topics=named, output=output)))
    return lines


def located(places: Places, name: str) -> str:
    """Give a name of Pyserini's as it is, a file below the data folder."""
    return str(Path(places.data, name)) if "/" in name else name


def _filled(template: str, **values: str) -> list[str]:
    return [Template(word).substitute(values) for word in shlex.split(template)]


def _condition(entry: dict[str, Any], raw: dict[str, Any]) -> Condition:
    measurements = tuple(_measurement(topics, raw) for topics in entry["topics"])
    return Condition(entry["name"], entry["display"], entry["index"], entry["command"], measurements)


def _measurement(entry: dict[str, Any], raw: dict[str, Any]) -> Measurement:
    scores = {name: float(value) for group in entry["scores"] for name, value in group.items()}
    topics, qrels = (_as_tuple(entry[name]) for name in ("topic_key", "eval_key"))
    return Measurement("+".join(topics), topics, qrels, scores, entry["corpus"] if "corpus" in entry else raw["corpus"])


def _as_tuple(value: str | list[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)
