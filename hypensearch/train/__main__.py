# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Train a Hypencoder, or its bi-encoder baseline: ``python -m hypensearch.train --config config.yaml``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from hypensearch import cli
from hypensearch.train.config import add_flags, read_config, recipes


def build_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = cli.CommandParser(
        prog="python -m hypensearch.train",
        description="Train a Hypencoder, or its bi-encoder baseline. Defaults are the paper's recipe.",
        formatter_class=argparse.HelpFormatter,
    )
    names = ", ".join(recipes())
    parser.add_argument("--config", help=f"YAML file of settings, or a recipe: {names}; flags come last", default=None)
    add_flags(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    :param argv: Arguments; those of the process by default.
    :return: The exit code.
    """
    flags = vars(build_parser().parse_args(argv))
    path = flags.pop("config")

    def body() -> None:
        config = read_config(path, flags)
        from hypensearch.train.run import train

        train(config)

    return cli.run(body)


if __name__ == "__main__":
    raise SystemExit(main())
