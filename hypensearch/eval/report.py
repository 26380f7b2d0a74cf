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

#: The most characters of a table's line, where names of measures and topics leave a choice.
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
    return _numbered([stem.name for stem in stems])


def as_table(runs: Sequence[EvaluatedRun], per_topic: bool = False) -> str:
    """Lay out runs side by side in aligned columns, four decimals.

    Where that takes more than :data:`WIDTH` characters a line, runs are numbered, p-values stand below the values, and
    what still is too wide goes on in further tables.
    """
    left = 2 if per_topic else 1
    rows = _rows(runs, per_topic, value=lambda value: f"{value:.4f}", p_value=_rounded_p)
    lines = _aligned([row[2 - left :] for row in rows], left)
    if max(map(len, lines)) > WIDTH and len(runs) > 1:
        lines = _narrow(rows, runs, left)
    return "\n".join([*lines, "", _summary(runs)])


def _narrow(rows: Sequence[Sequence[str]], runs: Sequence[EvaluatedRun], left: int) -> list[str]:
    """Make tables of numbered runs, with the numbers' meaning below them."""
    below = _p_values_below(rows, len(runs))
    tables = [[row[2 - left : 2], row[2:]] for row in below]
    width_of_left = max(len(line) for line in _aligned([names for names, _ in tables], left))
    width = 2 + max(len(cell) for _, values in tables for cell in values)
    at_once = max(1, (WIDTH - width_of_left) // width)
    lines: list[str] = []
    for start in range(0, len(runs), at_once):
        part = [[*names, *values[start : start + at_once]] for names, values in tables]
        lines += [*_aligned(part, left), ""]
    return [*lines, *(f"{number}: {run.name}" for number, run in enumerate(runs, start=1))]


def _p_values_below(rows: Sequence[Sequence[str]], num_runs: int) -> Iterator[list[str]]:
    """Turn rows of values and p-values into rows of values, each with one of p-values below it where there are any."""
    header, *others = rows
    yield [*header[:2], *(str(number) for number in range(1, num_runs + 1))]
    for row in others:
        values, p_values = row[2 : 2 + num_runs], row[2 + num_runs :]
        yield [*row[:2], *values]
        if any(p_values):
            yield ["", "  p", "", *p_values]


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


def _numbered(names: Sequence[str]) -> list[str]:
    numbers = {name: count(1) for name in names}
    return [name if (number := next(numbers[name])) == 1 else f"{name}#{number}" for name in names]


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
    for topic in _all_topics(runs) if per_topic else []:
        for measure in measures:
            cells = [run.evaluation.per_topic[measure].get(topic) for run in runs]
            shown = ["" if cell is None else value(cell) for cell in cells]
            rows.append([topic, measure, *shown, *("" for _ in compared)])
    for measure in measures:
        p_values = [p_value((run.p_values or {}).get(measure)) for run in compared]
        rows.append([ALL_TOPICS, measure, *(value(run.evaluation.values[measure]) for run in runs), *p_values])
    return rows


def _all_topics(runs: Sequence[EvaluatedRun]) -> list[str]:
    return list(dict.fromkeys(topic for run in runs for topic in run.evaluation.topics))


def _rounded_p(p: float | None) -> str:
    if p is None:
        return "-"
    return "<0.0001" if p < 0.0001 else f"{p:.4f}"


def _aligned(rows: Sequence[Sequence[str]], left_columns: int) -> list[str]:
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return ["  ".join(_padded(row, widths, left_columns)).rstrip() for row in rows]


def _padded(row: Sequence[str], widths: Sequence[int], left_columns: int) -> list[str]:
    cells = enumerate(zip(row, widths, strict=True))
    return [cell.ljust(width) if column < left_columns else cell.rjust(width) for column, (cell, width) in cells]


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
