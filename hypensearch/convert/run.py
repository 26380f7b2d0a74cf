# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The authors' runs to TREC's form: ``python -m hypensearch.convert.run --input .. --output ..``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from hypensearch import cli
from hypensearch.errors import HypensearchError


def build_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = cli.CommandParser(
        prog="python -m hypensearch.convert.run",
        description="Write a run of the authors' code (retrieved_items.jsonl) as a run that trec_eval, Pyserini and "
        "hypensearch read. Hits keep their order; tied scores are separated as in our own runs.",
    )
    add, suppress = parser.add_argument, argparse.SUPPRESS
    add("--input", required=True, default=suppress, help="the authors' run, .gz too")
    add("--output", required=True, default=suppress, help="run file to write")
    add("--output-format", default="trec", choices=["trec", "msmarco"], help="form of the run")
    add("--hits", type=cli.positive_int, default=1000, help="hits of each topic, at most")
    add("--run-tag", default="hypencoder", help="last column of a TREC run")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    :param argv: Arguments; those of the process by default.
    :return: The exit code.
    """
    args = build_parser().parse_args(argv)
    return cli.run(lambda: _convert(args))


def _convert(args: argparse.Namespace) -> None:
    from hypensearch.formats.retrieved_items import read_retrieved_items
    from hypensearch.formats.run import open_run_writer, separate_ties

    topics = hits = 0
    with open_run_writer(args.output, args.output_format, tag=args.run_tag, max_hits=args.hits) as writer:
        for topic, found in read_retrieved_items(args.input):
            kept = separate_ties(found[: args.hits])
            writer.write(topic, kept)
            topics, hits = topics + 1, hits + len(kept)
        if not hits:
            raise HypensearchError(f"{args.input}: holds no items")
    print(f"{topics:,} topics, {hits:,} hits; the run is {args.output}")


if __name__ == "__main__":
    raise SystemExit(main())
