# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""``python -m hypensearch.2cr``: run conditions by their commands and compare with the expected scores."""

from __future__ import annotations

import argparse
import html
import math
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hypensearch import cli
from hypensearch.errors import HypensearchError
from hypensearch.formats.files import replace_when_whole
from hypensearch.formats.qrels import read_qrels
from hypensearch.formats.run import read_run
from hypensearch.options import Options, add_flags, from_args, option
from hypensearch.reproductions.conditions import (
    COLLECTIONS,
    MEASURED,
    PUBLISHED,
    Condition,
    Measurement,
    Plan,
    find,
    read_conditions,
)
from hypensearch.reproductions.instructions import fallen_documents, p_mrr

P_MRR = "p-MRR"

#: Names of published tables -> our measures. Deep Learning counts grade 2 and above as relevant in binary measures.
MEASURES = {
    "MRR@10": "RR(rel=1)@10",
    "MRR": "RR(rel=1)",
    "R@1K": "R(rel=1)@1000",
    "MRR (rel 2)": "RR(rel=2)",
    "R@1K (rel 2)": "R(rel=2)@1000",
    "nDCG@5": "nDCG@5",
    "nDCG@10": "nDCG@10",
    "nDCG@1000": "nDCG@1000",
    "R@100": "R(rel=1)@100",
    "AP": "AP(rel=1)@1000",
}

#: As in Pyserini: what differs by less than this is nearly the same.
OKISH = 0.0005


@dataclass(frozen=True)
class ReproductionOptions(Options):
    """What is reproduced: the flags of ``pyserini.2cr``."""

    collection: str = option("table of conditions", choices=COLLECTIONS)
    condition: str | None = option("run the condition of this name", None)
    all: bool = option("run all conditions", False)
    topic: str | None = option("only this topic set", None)
    list_conditions: bool = option("print the names of the conditions", False)
    generate_report: bool = option("write the matrix as HTML to --output", False)
    output: str | None = option("file of the matrix", None)
    directory: str = option("folder of the runs", "runs")
    indexes: str = option("folder of the indexes", "indexes")
    data: str = option("folder of corpora, and of topics and qrels in files", "collections")
    dry_run: bool = option("run nothing", False)
    skip_eval: bool = option("measure nothing", False)
    display_commands: bool = option("print the commands", False)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    :param argv: Arguments without the program's name; those of the process when left out.
    :return: The exit code.
    """
    args = build_parser().parse_args(argv)
    return cli.run(lambda: reproduce(from_args(ReproductionOptions, args)))


def build_parser() -> argparse.ArgumentParser:
    """Make the parser."""
    parser = cli.CommandParser(
        prog="python -m hypensearch.2cr",
        description="Run conditions by their commands, and compare with the expected scores: those of the paper's "
        f"tables ({', '.join(PUBLISHED)}), or those that the bundled model was measured to have "
        f"({', '.join(MEASURED)}). A run or index that exists is not made again.",
    )
    add_flags(parser, ReproductionOptions)
    cli.add_offline_argument(parser)
    return parser


def reproduce(options: ReproductionOptions) -> None:
    """Do what the flags ask for.

    :raises HypensearchError: When they ask for nothing, or for what is not there.
    """
    conditions = read_conditions(options.collection)
    plan = Plan(options.collection, conditions, options.directory, options.indexes, options.data)
    if options.list_conditions:
        print("\n".join(condition.name for condition in conditions))
    elif options.generate_report:
        _write_report(options.output, plan)
    else:
        _reproduce_all(options, plan)


def verdict(score: float, expected: float) -> str:
    """Judge a score as Pyserini does: equal, nearly so or better, or not."""
    if math.isclose(score, expected):
        return "[OK]"
    word = "[OKish]" if score >= expected - OKISH - 1e-12 else "[FAIL]"
    return f"{word} expected {expected:.4f}"


def measure(plan: Plan, condition: Condition, measurement: Measurement) -> dict[str, float]:
    """Measure the runs of one measurement together: the mean over the topics of all of them.

    :return: The score of each expected one's measure.
    :raises HypensearchError: When a run or judgements are missing.
    """
    from hypensearch.eval import evaluate

    names = [name for name in measurement.scores if name != P_MRR]
    values: dict[str, list[float]] = {name: [] for name in names}
    for topics, qrels in zip(measurement.topics, measurement.qrels, strict=True):
        run = read_run(plan.run(condition, topics))
        evaluation = evaluate(_qrels(plan, qrels, measurement), run, [MEASURES[name] for name in names])
        for name in names:
            values[name].extend(evaluation.per_topic[MEASURES[name]].values())
    scores = {name: sum(of_topics) / len(of_topics) for name, of_topics in values.items()}
    if P_MRR in measurement.scores:
        assert measurement.changed is not None
        changed_topics, changed_qrels = measurement.changed
        original, changed = (
            read_run(plan.run(condition, topics)) for topics in (measurement.topics[0], changed_topics)
        )
        qrels_of_both = [_qrels(plan, name, measurement) for name in (measurement.qrels[0], changed_qrels)]
        scores[P_MRR] = p_mrr(original, changed, fallen_documents(*qrels_of_both))
    return scores


def _reproduce_all(options: ReproductionOptions, plan: Plan) -> None:
    if not options.all and options.condition is None:
        raise HypensearchError("nothing to do: give --all, --condition NAME, --list-conditions or --generate-report")
    for condition in plan.conditions if options.all else [find(plan.conditions, options.condition or "")]:
        print(f"condition {condition.name}:", flush=True)
        for measurement in _measurements(options, condition):
            print(f"  - topic_key: {measurement.key}", flush=True)
            for words, path in plan.commands(condition, measurement).items():
                if options.display_commands:
                    print(f"\n```bash\n{shlex.join(words)}\n```\n", flush=True)
                if not options.dry_run and not Path(path).exists():
                    _run(words)
            if not options.dry_run and not options.skip_eval:
                for name, score in measure(plan, condition, measurement).items():
                    print(f"    {name:13}: {_judged(score, measurement.scores[name])}")


def _measurements(options: ReproductionOptions, condition: Condition) -> list[Measurement]:
    found = [one for one in condition.measurements if options.topic in (None, one.key)]
    if not found and not options.all:
        known = ", ".join(measurement.key for measurement in condition.measurements)
        raise HypensearchError(f"--topic {options.topic}: {condition.name} has {known}")
    return found


def _run(words: Sequence[str]) -> None:
    done = subprocess.run([sys.executable, *words[1:]])
    if done.returncode != 0:
        raise HypensearchError(f"exit code {done.returncode} of: {shlex.join(words)}")


def _qrels(plan: Plan, name: str, measurement: Measurement) -> dict[str, dict[str, int]]:
    qrels = _named_qrels(plan, name)
    if not measurement.without:
        return qrels
    left_out = _named_qrels(plan, measurement.without)
    kept = {
        topic: {docid: grade for docid, grade in grades.items() if docid not in left_out.get(topic, ())}
        for topic, grades in qrels.items()
    }
    return {topic: grades for topic, grades in kept.items() if grades}


def _named_qrels(plan: Plan, name: str) -> dict[str, dict[str, int]]:
    if "/" in name:
        return read_qrels(plan.located(name))
    from hypensearch.pyserini.bridge import named_qrels

    return named_qrels(name)


def _write_report(output: str | None, plan: Plan) -> None:
    if output is None:
        raise HypensearchError("--generate-report needs --output FILE")
    rows = [_row(plan, condition, one) for condition in plan.conditions for one in condition.measurements]
    head = "<tr><th>condition</th><th>topics</th><th>expected</th><th>measured</th><th>commands</th></tr>"
    title = f"hypensearch reproductions: {plan.collection}"
    page = f'<!DOCTYPE html>\n<html lang="en"><meta charset="utf-8"><title>{title}</title>\n<h1>{title}</h1>\n<table>\n'
    with replace_when_whole(output, "w") as file:
        file.write(page + "\n".join([head, *rows]) + "\n</table></html>\n")
    print(f"the matrix is {output}")


def _row(plan: Plan, condition: Condition, measurement: Measurement) -> str:
    lines = "\n".join(shlex.join(words) for words in plan.commands(condition, measurement))
    expected = ", ".join(f"{name} {score:.4f}" for name, score in measurement.scores.items())
    measured = "not run"
    if all(Path(plan.run(condition, topics)).is_file() for topics in measurement.topic_sets):
        scores = measure(plan, condition, measurement)
        measured = ", ".join(f"{name} {_judged(score, measurement.scores[name])}" for name, score in scores.items())
    cells = (condition.display, measurement.key, expected, measured)
    shown = "".join(f"<td>{html.escape(text)}</td>" for text in cells)
    return f"<tr>{shown}<td><pre>{html.escape(lines)}</pre></td></tr>"


def _judged(score: float, expected: float) -> str:
    return f"{score:.4f} {verdict(round(score, 4), expected)}"
