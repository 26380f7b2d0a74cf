# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Evaluations as people and programs read them: a table, tab-separated values, JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from hypensearch.eval.measures import Evaluation

ALL_TOPICS = "all"

#: The longest line of runs side by side.
WIDTH = 100

_RUN_SUFFIXES = {".gz", ".txt", ".trec", ".tsv", ".run"}


@dataclass(frozen=True)
class EvaluatedRun:
    """One run of a report.

    :param name: What columns call it; no two runs of a report share it.
    :param path: The run file.
    :param evaluation: Its values.
    :param p_values: Measure to corrected p-value against the baseline; ``None`` for the baseline itself.
    """

    name: str
    path: str
    evaluation: Evaluation
    p_values: Mapping[str, float | None] | None = None


def name_runs(paths: Sequence[str]) -> list[str]:
    """Name runs by their files' stems, with as many folders before them as it takes to tell them apart."""
    stems = [_without_suffixes(Path(path)) for path in paths]
    for depth in range(1, max((len(stem.parts) for stem in stems), default=0) + 1):
        names = ["/".join(stem.parts[-depth:]) for stem in stems]
        if len(set(names)) == len(names):
            return names
    numbers = {stem.name: count(1) for stem in stems}
    return [f"{stem.name}#{number}".removesuffix("#1") for stem in stems for number in [next(numbers[stem.name])]]


def as_table(runs: Sequence[EvaluatedRun], per_topic: bool = False) -> str:
    """Lay out runs side by side in aligned columns, four decimals; one below the other where lines exceed 100 letters.

    P-values stand behind the values.
    """
    left = 2 if per_topic else 1
    rows = _rows(runs, per_topic, value=lambda value: f"{value:.4f}", p_value=_rounded_p)
    lines = _aligned([row[2 - left :] for row in rows], left)
    if max(map(len, lines)) > WIDTH and len(runs) > 1:
        lines = _aligned([row[2 - left :] for row in _below_each_other(rows, runs)], left + 1)
    return "\n".join([*lines, "", _summary(runs)])


def _below_each_other(rows: Sequence[Sequence[str]], runs: Sequence[EvaluatedRun]) -> Iterator[list[str]]:
    """Turn rows of all runs into a row for each run."""
    yield ["topic", "measure", "run", "value", "p"]
    for topic, measure, *cells in rows[1:]:
        p_values = ["", *cells[len(runs) :]]
        for run, value, p in zip(runs, cells, p_values, strict=False):
            yield [topic, measure, run.name, value, p]


def as_tsv(runs: Sequence[EvaluatedRun], per_topic: bool = False) -> str:
    """Write a header and one line for each topic and measure: ``topic``, ``measure``, one value per run, p-values.

    The topic ``all`` is the value over all topics; only its lines have p-values.
    """
    exact_p: Callable[[float | None], str] = lambda p: "" if p is None else f"{p:.6g}"  # noqa: E731
    rows = _rows(runs, per_topic, value=lambda value: f"{value:.6f}", p_value=exact_p)
    return "\n".join("\t".join(row) for row in rows)


def as_json(runs: Sequence[EvaluatedRun], per_topic: bool = False) -> str:
    """Write everything at full precision."""
    return json.dumps({"baseline": runs[0].name, "runs": [_as_dict(run, per_topic) for run in runs]}, indent=2)


def _without_suffixes(path: Path) -> Path:
    while path.suffix in _RUN_SUFFIXES and path.stem:
        path = path.with_suffix("")
    return path


def _rows(
    runs: Sequence[EvaluatedRun],
    per_topic: bool,
    value: Callable[[float], str],
    p_value: Callable[[float | None], str],
) -> list[list[str]]:
    """Make the cells: a header, the topics' rows when asked for, the rows over all topics."""
    compared = runs[1:]
    rows = [["topic", "measure", *(run.name for run in runs), *(f"p({run.name})" for run in compared)]]
    measures = list(runs[0].evaluation.values)
    topics = dict.fromkeys(topic for run in runs for topic in run.evaluation.topics) if per_topic else ()
    for topic in topics:
        for measure in measures:
            cells = [run.evaluation.per_topic[measure].get(topic) for run in runs]
            shown = ["" if cell is None else value(cell) for cell in cells]
            rows.append([topic, measure, *shown, *("" for _ in compared)])
    for measure in measures:
        p_values = [p_value((run.p_values or {}).get(measure)) for run in compared]
        rows.append([ALL_TOPICS, measure, *(value(run.evaluation.values[measure]) for run in runs), *p_values])
    return rows


def _rounded_p(p: float | None) -> str:
    if p is None:
        return "-"
    return "<0.0001" if p < 0.0001 else f"{p:.4f}"


def _aligned(rows: Sequence[Sequence[str]], left_columns: int) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        padded = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        padded[:left_columns] = [cell.ljust(width) for cell, width in zip(row, widths[:left_columns], strict=False)]
        lines.append("  ".join(padded).rstrip())
    return lines


def _summary(runs: Sequence[EvaluatedRun]) -> str:
    numbers = sorted({len(run.evaluation.topics) for run in runs})
    topics = f"{' to '.join(str(number) for number in (numbers[0], numbers[-1])[: len(numbers)])} topics"
    if len(runs) == 1:
        return topics
    correction = f", Holm-Bonferroni over {len(runs) - 1} runs" if len(runs) > 2 else ""
    return f"{topics}; p: two-sided paired t-test against {runs[0].name}{correction}"


def _as_dict(run: EvaluatedRun, per_topic: bool) -> dict[str, object]:
    evaluation = run.evaluation
    described: dict[str, object] = {
        "name": run.name,
        "path": run.path,
        "topics": len(evaluation.topics),
        "topics_missing": list(evaluation.missing),
        "topics_unjudged": list(evaluation.unjudged),
        "values": dict(evaluation.values),
    }
    if run.p_values is not None:
        described["p_values"] = dict(run.p_values)
    if per_topic:
        described["per_topic"] = {measure: dict(values) for measure, values in evaluation.per_topic.items()}
    return described
