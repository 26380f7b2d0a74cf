# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""``python -m hypensearch.index.join``: name the shards of several indexes in one manifest. Nothing is copied."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from hypensearch import cli
from hypensearch.errors import as_typed
from hypensearch.flat.join import join_indexes


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    :param argv: Arguments without the program's name; those of the process when left out.
    :return: The exit code.
    """
    args = build_parser().parse_args(argv)
    return cli.run(lambda: join(args))


def build_parser() -> argparse.ArgumentParser:
    """Make the parser of the command's flags."""
    parser = cli.CommandParser(
        prog="python -m hypensearch.index.join",
        description="Make one index of several: encoded shards of a corpus, say. Its manifest names their folders, "
        "which have to stay where they are.",
    )
    suppress = argparse.SUPPRESS
    parser.add_argument("--output", required=True, default=suppress, help="folder of the index that names the others")
    parser.add_argument("--overwrite", action="store_true", help="replace an index there")
    parser.add_argument("indexes", nargs="+", metavar="INDEX", help="index folders, in the order of their documents")
    return parser


def join(args: argparse.Namespace) -> None:
    """Join, and say where the index lies."""
    num_docs = join_indexes(args.indexes, args.output, overwrite=args.overwrite).num_docs
    search = as_typed("hypensearch.search", "--index", args.output, "--topics", "TOPICS", "--output", "RUN")
    sys.stdout.write(
        f"{num_docs:,} document vectors of {len(args.indexes)} indexes are in {args.output}; search them: {search}\n"
    )


if __name__ == "__main__":
    raise SystemExit(main())
