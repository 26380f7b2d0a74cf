# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Conditions: command lines and expected scores, read from YAML in Pyserini's form."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

import yaml

from hypensearch.errors import HypensearchError

#: Tables of the paper.
PUBLISHED = ("msmarco-v1-passage", "beir", "dl-hard", "tot", "followir")
#: Our own measurements with the bundled model, small enough for a laptop.
MEASURED = ("scifact", "commacm")
COLLECTIONS = (*PUBLISHED, *MEASURED)


@dataclass(frozen=True)
class Measurement:
    """One topic set of a condition, and what it is expected to score.

    Topics and judgements are Pyserini's names or files below the data folder, as is the corpus.

    :param key: Its name in reports.
    :param topics: Topic sets; their runs are measured together.
    :param qrels: The judgements of each.
    :param scores: Expected scores by measure.
    :param corpus: What is searched.
    :param candidates: A run whose documents alone are ranked, where the condition reranks; empty for none.
    :param without: Judgements that do not count, each a topic and a document; empty for none.
    :param changed: Topics and judgements under changed instructions, which p-MRR compares with.
    """

    key: str
    topics: tuple[str, ...]
    qrels: tuple[str, ...]
    scores: dict[str, float]
    corpus: str
    candidates: str = ""
    without: str = ""
    changed: tuple[str, str] | None = None

    @property
    def topic_sets(self) -> tuple[str, ...]:
        """All topic sets that are searched."""
        return self.topics + ((self.changed[0],) if self.changed else ())


@dataclass(frozen=True)
class Condition:
    """A row of the matrix: a model and a way to search.

    :param name: Its name.
    :param display: The same in words.
    :param index: Command lines that make its index; none where it uses those of others.
    :param command: The command line that makes a run. ``$run_x`` and ``$index_x`` are run and index of condition ``x``.
    :param measurements: What is measured.
    """

    name: str
    display: str
    index: tuple[str, ...]
    command: str
    measurements: tuple[Measurement, ...]


def read_conditions(collection: str) -> list[Condition]:
    """Read the conditions of a collection."""
    path = resources.files("hypensearch.resources").joinpath(f"reproductions/{collection}.yaml")
    raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    return [_condition(entry, raw) for entry in raw["conditions"]]


def find(conditions: Sequence[Condition], name: str) -> Condition:
    """Return the condition of a name.

    :raises HypensearchError: When there is none; names those that are known.
    """
    known = {condition.name: condition for condition in conditions}
    if name not in known:
        raise HypensearchError(f"--condition {name}: not among {', '.join(known)}")
    return known[name]


@dataclass(frozen=True)
class Plan:
    """The command lines of a collection's conditions, and the files that they read and write.

    :param collection: Its name.
    :param conditions: All of its conditions.
    :param runs: Folder of the runs.
    :param indexes: Folder of the indexes.
    :param data: Folder of corpora, and of topics and judgements that are files.
    """

    collection: str
    conditions: Sequence[Condition]
    runs: str = "runs"
    indexes: str = "indexes"
    data: str = "collections"

    def run(self, condition: Condition, topics: str) -> str:
        """Name the run of a topic set, as Pyserini names it."""
        return f"{self.runs}/run.{self.collection}.{condition.name}.{topics.replace('/', '-').removesuffix('.tsv')}.txt"

    def index(self, condition: Condition, measurement: Measurement) -> str:
        """Name the index of a corpus."""
        return f"{self.indexes}/{condition.name}.{measurement.corpus.replace('/', '-').removesuffix('.jsonl')}"

    def located(self, name: str) -> str:
        """Return one of Pyserini's names as it is, a file below the data folder."""
        return str(Path(self.data, name)) if "/" in name else name

    def commands(self, condition: Condition, measurement: Measurement) -> dict[tuple[str, ...], str]:
        """Return the command lines of a measurement, and of the conditions it builds on, in running order.

        :return: Words of each command to the path that it helps to make; where that exists, the command is not needed.
        """
        lines: dict[tuple[str, ...], str] = {}
        for topics in measurement.topic_sets:
            lines.update(self._of_run(condition, measurement, topics))
        return lines

    def _of_run(
        self, condition: Condition, measurement: Measurement, topics: str
    ) -> Iterator[tuple[tuple[str, ...], str]]:
        yield from self._of_index(condition, measurement)
        by_name = {known.name.replace("-", "_"): known for known in self.conditions}
        values = {**self._values(condition, measurement), "topics": self.located(topics)}
        for found in Template.pattern.finditer(condition.command):
            variable = found["named"] or found["braced"] or ""
            kind, _, name = variable.partition("_")
            if kind == "index" and name:
                yield from self._of_index(by_name[name], measurement)
                values[variable] = self.index(by_name[name], measurement)
            elif kind == "run" and name:
                yield from self._of_run(by_name[name], measurement, topics)
                values[variable] = self.run(by_name[name], topics)
        output = self.run(condition, topics)
        yield _filled(condition.command, {**values, "output": output}), output

    def _of_index(self, condition: Condition, measurement: Measurement) -> Iterator[tuple[tuple[str, ...], str]]:
        values = self._values(condition, measurement)
        for line in condition.index:
            yield _filled(line, values), values["index"]

    def _values(self, condition: Condition, measurement: Measurement) -> dict[str, str]:
        return {
            "corpus": f"{self.data}/{measurement.corpus}",
            "candidates": f"{self.data}/{measurement.candidates}",
            "index": self.index(condition, measurement),
        }


def _filled(template: str, values: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(Template(word).substitute(values) for word in shlex.split(template))


def _condition(entry: dict[str, Any], raw: dict[str, Any]) -> Condition:
    measurements = tuple(_measurement(topics, raw) for topics in entry["topics"])
    index = _as_tuple(entry.get("index", ()))
    return Condition(entry["name"], entry["display"], index, entry["command"], measurements)


def _measurement(entry: dict[str, Any], raw: dict[str, Any]) -> Measurement:
    topics, qrels = (_as_tuple(entry[name]) for name in ("topic_key", "eval_key"))
    changed = (entry["changed_topic_key"], entry["changed_eval_key"]) if "changed_topic_key" in entry else None
    return Measurement(
        key="+".join(topics),
        topics=topics,
        qrels=qrels,
        scores={name: float(value) for group in entry["scores"] for name, value in group.items()},
        corpus=entry["corpus"] if "corpus" in entry else raw["corpus"],
        candidates=entry.get("candidates", ""),
        without=entry.get("without", ""),
        changed=changed,
    )


def _as_tuple(value: str | Sequence[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)
