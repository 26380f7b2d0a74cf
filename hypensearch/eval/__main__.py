# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""``python -m hypensearch.eval``: measure runs against relevance judgements."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from hypensearch import cli
from hypensearch.eval.measures import DEFAULT_MEASURES, Evaluation, evaluate, resolve_measures
from hypensearch.eval.report import EvaluatedRun, as_json, as_table, as_tsv, name_runs
from hypensearch.eval.significance import compare
from hypensearch.formats.qrels import read_qrels
from hypensearch.formats.run import read_run

DEEP_LEARNING_LEVEL = 2

#: What names of qrels files end in; other names that are no files are Pyserini's names.
QRELS_SUFFIXES = (".txt", ".tsv", ".trec", ".qrels", ".qrel")

RENDERERS = {"table": as_table, "json": as_json, "tsv": as_tsv}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    :param argv: Arguments without the program's name; those of the process when left out.
    :return: The exit code.
    """
    args = build_parser().parse_args(argv)
    return cli.run(lambda: evaluate_runs(args))


def build_parser() -> argparse.ArgumentParser:
    """Make the parser of the command's flags."""
    parser = cli.CommandParser(
        prog="python -m hypensearch.eval",
        description="Measure runs against relevance judgements; the numbers are trec_eval's. "
        "Several runs are compared with the first one, topic by topic.",
    )
    suppress = argparse.SUPPRESS
    parser.add_argument(
        "--qrels",
        required=True,
        default=suppress,
        metavar="FILE",
        help="relevance judgements: a file in TREC's form or BEIR's, or one of Pyserini's names",
    )
    parser.add_argument(
        "--run", required=True, nargs="+", action="extend", default=suppress, metavar="FILE", help="TREC run files"
    )
    parser.add_argument(
        "-m",
        "--metrics",
        nargs="+",
        action="extend",
        default=suppress,
        metavar="MEASURE",
        help="ir_measures' or trec_eval's names, such as nDCG@10 \"R(rel=2)@1000\" recall.1000 "
        f"(default: {' '.join(DEFAULT_MEASURES)})",
    )
    parser.add_argument(
        "-l",
        "--relevance-level",
        type=cli.positive_int,
        default=1,
        metavar="GRADE",
        help="least grade that binary measures (P, RR, R, AP, ...) count as relevant; "
        "TREC Deep Learning and the paper's figures on it need 2, not 1",
    )
    parser.add_argument(
        "--dl",
        dest="relevance_level",
        action="store_const",
        const=DEEP_LEARNING_LEVEL,
        default=suppress,
        help="the same as --relevance-level 2, for TREC Deep Learning",
    )
    parser.add_argument(
        "-c",
        "--complete",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="count judged topics without hits as 0, as trec_eval -c; else average over the topics that have hits",
    )
    parser.add_argument(
        "-q", "--per-query", action="store_true", default=suppress, help="print each topic's values as well"
    )
    parser.add_argument("--output-format", choices=list(RENDERERS), default="table", help="how results are printed")
    parser.add_argument(
        "--baseline",
        default=suppress,
        metavar="FILE",
        help="the run that the others are compared with (default: the first)",
    )
    return parser


def evaluate_runs(args: argparse.Namespace) -> None:
    """Evaluate, compare and print what the flags ask for."""
    measures = getattr(args, "metrics", DEFAULT_MEASURES)
    resolve_measures(measures, args.relevance_level)
    qrels = _local_or_named(args.qrels)
    paths = _baseline_first(args.run, getattr(args, "baseline", None))
    evaluations = [
        evaluate(qrels, read_run(path), measures, relevance_level=args.relevance_level, complete=args.complete)
        for path in paths
    ]
    runs = _compared(paths, evaluations)
    print(RENDERERS[args.output_format](runs, per_topic=getattr(args, "per_query", False)))
    for run in runs:
        _note_topics(run, args.complete)
    _note_grades(qrels, runs[0].evaluation)


def _local_or_named(path_or_name: str) -> dict[str, dict[str, int]]:
    """Read judgements from a file, or have Pyserini fetch those of a name such as ``dl19-passage``."""
    plain = path_or_name.removesuffix(".gz")
    if os.path.exists(path_or_name) or os.sep in path_or_name or plain.endswith(QRELS_SUFFIXES):
        return read_qrels(path_or_name)
    from hypensearch.pyserini_bridge import named_qrels

    return named_qrels(path_or_name)


def _baseline_first(paths: Sequence[str], baseline: str | None) -> list[str]:
    if baseline is None:
        return list(paths)
    return [baseline, *(path for path in paths if path != baseline)]


def _compared(paths: Sequence[str], evaluations: Sequence[Evaluation]) -> list[EvaluatedRun]:
    p_values = [None, *compare(evaluations[0], evaluations[1:])]
    return [EvaluatedRun(*parts) for parts in zip(name_runs(paths), paths, evaluations, p_values, strict=True)]


def _note_topics(run: EvaluatedRun, complete: bool) -> None:
    missing, unjudged = run.evaluation.missing, run.evaluation.unjudged
    if missing:
        fate = "counted as 0" if complete else "left out"
        _note(f"{run.name}: {len(missing)} of the judged topics without hits, {fate} ({_some(missing)})")
    if unjudged:
        _note(f"{run.name}: {len(unjudged)} of its topics without judgements, ignored ({_some(unjudged)})")


def _some(topics: Sequence[str], shown: int = 3) -> str:
    return ", ".join(topics[:shown]) + (", ..." if len(topics) > shown else "")


def _note_grades(qrels: dict[str, dict[str, int]], evaluation: Evaluation) -> None:
    highest = max((grade for grades in qrels.values() for grade in grades.values()), default=0)
    if highest > 1 and any("rel=1" in measure for measure in evaluation.values):
        _note(
            f"the judgements have grades up to {highest}, and measures with rel=1 count grade 1 as relevant; "
            "for TREC Deep Learning give --dl"
        )


def _note(text: str) -> None:
    print(text, file=sys.stderr)


if __name__ == "__main__":
    raise SystemExit(main())
