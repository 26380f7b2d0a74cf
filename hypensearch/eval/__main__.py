# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""``python -m hypensearch.eval``: measure runs against relevance judgements."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from hypensearch import cli
from hypensearch.errors import HypensearchError
from hypensearch.eval.measures import DEFAULT_MEASURES, Evaluation, evaluate, resolve_measures
from hypensearch.eval.report import EvaluatedRun, as_json, as_table, as_tsv, name_runs
from hypensearch.eval.significance import compare
from hypensearch.formats.ids import IdLookup
from hypensearch.formats.named import relevance_level
from hypensearch.formats.run import read_run
from hypensearch.options import Options, add_flags, from_args, option
from hypensearch.printing import visible
from hypensearch.qrels import load_qrels

DEEP_LEARNING_LEVEL = 2

#: Flags of trec_eval that are refused: whether they have a value, and what to do instead.
_REFUSED = {
    "-J": (False, "give -remove-unjudged, which leaves out the hits that the judgements do not name"),
    "-n": (False, "the values over all topics are always printed; leave it out"),
    "-N": (True, "no measure that is computed here asks for the number of documents; leave it out"),
    "-D": (True, "there is no debugging output; leave it out"),
    "-R": (True, "judgements are read in TREC's form and BEIR's, whichever the file has; leave it out"),
    "-T": (True, "runs are read in TREC's form and MS MARCO's, whichever the file has; leave it out"),
    "-Z": (True, "there are no Z-scores; compare runs by giving several"),
}

RENDERERS = {"table": as_table, "json": as_json, "tsv": as_tsv}


@dataclass(frozen=True)
class MeasuringOptions(Options):
    """How runs are measured; see :func:`hypensearch.eval.evaluate`."""

    relevance_level: int | None = option(
        "least grade that binary measures (P, RR, R, AP, ...) count as relevant; TREC Deep Learning and the paper's "
        "figures on it need 2, not 1 (default: 1; with irds:NAME, that of the data set's official measures)",
        None,
        at_least=1,
        metavar="GRADE",
        aliases=["-l"],
    )
    complete: bool = option(
        "count judged topics without hits as 0, as trec_eval -c; else average over the topics that have hits",
        True,
        aliases=["-c"],
    )
    max_hits: int | None = option(
        "look at so many hits of each topic, as trec_eval -M", None, at_least=1, metavar="HITS", aliases=["-M"]
    )
    remove_unjudged: bool = option(
        "leave out hits that are not judged, as Pyserini's command does", False, aliases=["-remove-unjudged"]
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    :param argv: Arguments without the program's name; those of the process when left out.
    :return: The exit code.
    """
    args = build_parser().parse_intermixed_args(argv)
    return cli.run(lambda: evaluate_runs(args))


def build_parser() -> argparse.ArgumentParser:
    """Make the parser of the command's flags."""
    parser = cli.CommandParser(
        prog="python -m hypensearch.eval",
        usage="%(prog)s [-h] [flags] QRELS RUN [RUN ...]",
        description="Measure runs against relevance judgements; the numbers are trec_eval's. "
        "Several runs are compared with the first one, topic by topic.",
    )
    suppress = argparse.SUPPRESS
    parser.add_argument(
        "files",
        nargs="*",
        metavar="FILE",
        help="judgements, then runs, as trec_eval takes them; or give --qrels, --run",
    )
    parser.add_argument(
        "--qrels",
        default=suppress,
        metavar="FILE",
        help="relevance judgements: a file in TREC's form or BEIR's, irds:NAME, or one of Pyserini's names",
    )
    parser.add_argument("--run", nargs="+", action="extend", default=suppress, metavar="FILE", help="TREC run files")
    cli.add_offline_argument(parser)
    measured = parser.add_argument_group("what is measured")
    measured.add_argument(
        "-m",
        "--metrics",
        nargs="+",
        action="extend",
        default=suppress,
        metavar="MEASURE",
        help="ir_measures' or trec_eval's names, such as nDCG@10 \"R(rel=2)@1000\" recall.1000 set_P official "
        f"judged.10 (default: {' '.join(DEFAULT_MEASURES)})",
    )
    add_flags(measured, MeasuringOptions)
    measured.add_argument(
        "--dl",
        dest="relevance_level",
        action="store_const",
        const=DEEP_LEARNING_LEVEL,
        default=suppress,
        help="the same as --relevance-level 2, for TREC Deep Learning",
    )
    shown = parser.add_argument_group("what is shown")
    shown.add_argument("-q", "--per-query", action="store_true", help="print each topic's values as well")
    shown.add_argument("--output-format", choices=list(RENDERERS), default="table", help="how results are printed")
    shown.add_argument(
        "--baseline", metavar="FILE", help="the run that the others are compared with (default: the first)"
    )
    for flag, (takes_value, _) in _REFUSED.items():
        kind = {} if takes_value else {"action": "store_true"}
        parser.add_argument(flag, dest=f"refused{flag}", default=suppress, help=suppress, **kind)  # type: ignore[arg-type]
    return parser


def evaluate_runs(args: argparse.Namespace) -> None:
    """Evaluate, compare and print what the flags ask for."""
    _check_refused(args)
    measures, files = _measures_and_files(args)
    qrels_name, run_paths = _qrels_and_runs(args, files)
    resolve_measures(measures)
    qrels = load_qrels(qrels_name)
    if args.baseline is not None:
        run_paths = [args.baseline, *(path for path in run_paths if path != args.baseline)]
    options = dataclasses.asdict(from_args(MeasuringOptions, args))
    options["relevance_level"] = options["relevance_level"] or relevance_level(qrels_name)
    evaluations = [evaluate(qrels, read_run(path), measures, **options) for path in run_paths]
    p_values = [None, *compare(evaluations[0], evaluations[1:])]
    runs = [EvaluatedRun(*parts) for parts in zip(name_runs(run_paths), run_paths, evaluations, p_values, strict=True)]
    print(visible(RENDERERS[args.output_format](runs, per_topic=args.per_query)))
    for run in runs:
        _note_topics(run, args.complete)
    _note_grades(qrels, runs[0].evaluation)


def _check_refused(args: argparse.Namespace) -> None:
    for flag, (_, reason) in _REFUSED.items():
        if hasattr(args, f"refused{flag}"):
            raise HypensearchError(f"{flag} of trec_eval is not taken: {reason}")


def _measures_and_files(args: argparse.Namespace) -> tuple[Sequence[str], list[str]]:
    """Separate the words behind -m, which takes several, from the files that follow where these come by position.

    Files begin with the first word that is no measure's name; the first word behind -m always is one.
    """
    measures, files = getattr(args, "metrics", DEFAULT_MEASURES), list(args.files)
    if "metrics" not in args or {"qrels", "run"} <= vars(args).keys() or len(files) > 1:
        return measures, files
    for place, word in enumerate(measures[1:], start=1):
        if not _is_measure(word):
            if "@" in word and not os.path.exists(word):
                resolve_measures([word])  # no judgements known by name have such a name: it is a measure misspelt
            return measures[:place], [*files, *measures[place:]]
    return measures, files


def _is_measure(name: str) -> bool:
    try:
        resolve_measures([name])
    except HypensearchError:
        return False
    return True


def _qrels_and_runs(args: argparse.Namespace, files: list[str]) -> tuple[str, list[str]]:
    runs: list[str] = list(getattr(args, "run", []))
    if "qrels" in args:
        qrels, more_runs = args.qrels, files
    else:
        if not files:
            raise HypensearchError("no judgements were named: give QRELS RUN [RUN ...], or --qrels and --run")
        qrels, more_runs = files[0], files[1:]
    if not (runs := runs + more_runs):
        raise HypensearchError(f"no run was named beside the judgements {qrels}: give QRELS RUN [RUN ...], or --run")
    return qrels, runs


def _note_topics(run: EvaluatedRun, complete: bool) -> None:
    missing, unjudged = run.evaluation.missing, run.evaluation.unjudged
    if missing:
        fate = "counted as 0" if complete else "left out"
        _note(f"{run.name}: {len(missing)} of the judged topics without hits, {fate} ({_some(missing)})")
    if unjudged:
        _note(f"{run.name}: {len(unjudged)} of its topics without judgements, ignored ({_some(unjudged)})")
    judged = IdLookup(missing)
    alike = next(((topic, found) for topic in unjudged if (found := judged.find(topic))), None)
    if alike:
        _note(
            f"{run.name}: its topic {alike[0]} may be {alike[1]} of the judgements: ids count as they are written, as "
            "in trec_eval"
        )


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
    print(visible(text), file=sys.stderr)


if __name__ == "__main__":
    raise SystemExit(main())
