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
from pathlib import Path

from hypensearch import cli
from hypensearch.errors import HypensearchError
from hypensearch.formats.files import replace_when_whole
from hypensearch.formats.qrels import read_qrels
from hypensearch.formats.run import read_run
from hypensearch.reproductions.conditions import (
    COLLECTIONS,
    MEASURED,
    PUBLISHED,
    Condition,
    Measurement,
    Places,
    Plan,
    find,
    located,
    read_conditions,
    run_path,
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


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    :param argv: Arguments without the program's name; those of the process when left out.
    :return: The exit code.
    """
    args = build_parser().parse_args(argv)
    return cli.run(lambda: reproduce(args))


def build_parser() -> argparse.ArgumentParser:
    """Make the parser, with the flags of ``pyserini.2cr``."""
    parser = cli.CommandParser(
        prog="python -m hypensearch.2cr",
        description="Run conditions by their commands, and compare with the expected scores: those of the paper's "
        f"tables ({', '.join(PUBLISHED)}), or those that the bundled model was measured to have "
        f"({', '.join(MEASURED)}). A run or index that exists is not made again.",
    )
    suppress = argparse.SUPPRESS
    parser.add_argument(
        "--collection", required=True, default=suppress, choices=COLLECTIONS, help="table of conditions"
    )
    parser.add_argument("--condition", default=suppress, help="run the condition of this name")
    parser.add_argument("--all", action="store_true", help="run all conditions")
    parser.add_argument("--topic", default=suppress, help="only this topic set")
    parser.add_argument("--list-conditions", action="store_true", help="print the names of the conditions")
    parser.add_argument("--generate-report", action="store_true", help="write the matrix as HTML to --output")
    parser.add_argument("--output", default=suppress, help="file of the matrix")
    parser.add_argument("--directory", default="runs", help="folder of the runs")
    parser.add_argument("--indexes", default="indexes", help="folder of the indexes")
    parser.add_argument("--data", default="collections", help="folder of corpora, and of topics and qrels in files")
    parser.add_argument("--dry-run", action="store_true", help="run nothing")
    cli.add_offline_argument(parser)
    parser.add_argument("--skip-eval", action="store_true", help="measure nothing")
    parser.add_argument("--display-commands", action="store_true", help="print the commands")
    return parser


def reproduce(args: argparse.Namespace) -> None:
    """Do what the flags ask for.

    :raises HypensearchError: When they ask for nothing, or for what is not there.
    """
    conditions = read_conditions(args.collection)
    places = Places(args.directory, args.indexes, args.data)
    if args.list_conditions:
        print("\n".join(condition.name for condition in conditions))
    elif args.generate_report:
        _write_report(args, conditions, places)
    else:
        _reproduce_all(args, conditions, places)


def verdict(score: float, expected: float) -> str:
    """Judge a score as Pyserini does: equal, nearly so or better, or not."""
    if math.isclose(score, expected):
        return "[OK]"
    word = "[OKish]" if score >= expected - OKISH - 1e-12 else "[FAIL]"
    return f"{word} expected {expected:.4f}"


def measure(collection: str, places: Places, condition: Condition, measurement: Measurement) -> dict[str, float]:
    """Measure the runs of one measurement together: the mean over the topics of all of them.

    :return: The score of each expected one's measure.
    :raises HypensearchError: When a run or judgements are missing.
    """
    from hypensearch.eval import evaluate

    names = [name for name in measurement.scores if name != P_MRR]
    values: dict[str, list[float]] = {name: [] for name in names}
    for topics, qrels in zip(measurement.topics, measurement.qrels, strict=True):
        run = read_run(run_path(places, collection, condition, topics))
        evaluation = evaluate(_qrels(places, qrels, measurement), run, [MEASURES[name] for name in names])
        for name in names:
            values[name].extend(evaluation.per_topic[MEASURES[name]].values())
    scores = {name: sum(of_topics) / len(of_topics) for name, of_topics in values.items()}
    if P_MRR in measurement.scores:
        scores[P_MRR] = _p_mrr(collection, places, condition, measurement)
    return scores


def _p_mrr(collection: str, places: Places, condition: Condition, measurement: Measurement) -> float:
    assert measurement.changed is not None
    before, after = (
        read_run(run_path(places, collection, condition, topics))
        for topics in (measurement.topics[0], measurement.changed[0])
    )
    qrels = [_qrels(places, name, measurement) for name in (measurement.qrels[0], measurement.changed[1])]
    return p_mrr(before, after, fallen_documents(*qrels))


def _reproduce_all(args: argparse.Namespace, conditions: list[Condition], places: Places) -> None:
    plan = Plan(places, args.collection, conditions)
    for condition in _chosen(args, conditions):
        print(f"condition {condition.name}:", flush=True)
        for measurement in _measurements(args, condition):
            print(f"  - topic_key: {measurement.key}", flush=True)
            for words, path in plan.commands(condition, measurement).items():
                if args.display_commands:
                    print(f"\n```bash\n{shlex.join(words)}\n```\n", flush=True)
                if not args.dry_run and not Path(path).exists():
                    _run(words)
            if not args.dry_run and not args.skip_eval:
                for name, score in measure(args.collection, places, condition, measurement).items():
                    print(f"    {name:13}: {_judged(score, measurement.scores[name])}")


def _chosen(args: argparse.Namespace, conditions: list[Condition]) -> list[Condition]:
    if args.all:
        return conditions
    if "condition" not in args:
        raise HypensearchError("nothing to do: give --all, --condition NAME, --list-conditions or --generate-report")
    return [find(conditions, args.condition)]


def _measurements(args: argparse.Namespace, condition: Condition) -> list[Measurement]:
    wanted = getattr(args, "topic", None)
    found = [measurement for measurement in condition.measurements if wanted in (None, measurement.key)]
    if not found and not args.all:
        known = ", ".join(measurement.key for measurement in condition.measurements)
        raise HypensearchError(f"--topic {wanted}: {condition.name} has {known}")
    return found


def _run(words: Sequence[str]) -> None:
    done = subprocess.run([sys.executable, *words[1:]])
    if done.returncode != 0:
        raise HypensearchError(f"exit code {done.returncode} of: {shlex.join(words)}")


def _qrels(places: Places, name: str, measurement: Measurement) -> dict[str, dict[str, int]]:
    qrels = _named_qrels(places, name)
    if not measurement.without:
        return qrels
    left_out = _named_qrels(places, measurement.without)
    kept = {
        topic: {docid: grade for docid, grade in grades.items() if docid not in left_out.get(topic, ())}
        for topic, grades in qrels.items()
    }
    return {topic: grades for topic, grades in kept.items() if grades}


def _named_qrels(places: Places, name: str) -> dict[str, dict[str, int]]:
    if "/" in name:
        return read_qrels(located(places, name))
    from hypensearch.pyserini.bridge import named_qrels

    return named_qrels(name)


def _write_report(args: argparse.Namespace, conditions: list[Condition], places: Places) -> None:
    if "output" not in args:
        raise HypensearchError("--generate-report needs --output FILE")
    plan = Plan(places, args.collection, conditions)
    rows = [
        _row(plan, condition, one, _measured(args.collection, places, condition, one))
        for condition in conditions
        for one in condition.measurements
    ]
    head = "<tr><th>condition</th><th>topics</th><th>expected</th><th>measured</th><th>commands</th></tr>"
    title = f"hypensearch reproductions: {args.collection}"
    page = f'<!DOCTYPE html>\n<html lang="en"><meta charset="utf-8"><title>{title}</title>\n<h1>{title}</h1>\n<table>\n'
    with replace_when_whole(args.output, "w") as file:
        file.write(page + "\n".join([head, *rows]) + "\n</table></html>\n")
    print(f"the matrix is {args.output}")


def _measured(collection: str, places: Places, condition: Condition, measurement: Measurement) -> str:
    """Give scores and verdicts, where all runs are there."""
    runs = [run_path(places, collection, condition, topics) for topics in measurement.topic_sets]
    if not all(Path(run).is_file() for run in runs):
        return "not run"
    scores = measure(collection, places, condition, measurement)
    return ", ".join(f"{name} {_judged(score, measurement.scores[name])}" for name, score in scores.items())


def _judged(score: float, expected: float) -> str:
    return f"{score:.4f} {verdict(round(score, 4), expected)}"


def _row(plan: Plan, condition: Condition, measurement: Measurement, measured: str) -> str:
    lines = "\n".join(shlex.join(words) for words in plan.commands(condition, measurement))
    scores = ", ".join(f"{name} {score:.4f}" for name, score in measurement.scores.items())
    cells = "".join(f"<td>{html.escape(text)}</td>" for text in (condition.display, measurement.key, scores, measured))
    return f"<tr>{cells}<td><pre>{html.escape(lines)}</pre></td></tr>"
