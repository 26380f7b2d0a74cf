# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Train a Hypencoder, or its bi-encoder baseline: ``python -m hypensearch.train --config config.yaml``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from hypensearch import cli
from hypensearch.options import add_flags
from hypensearch.train.config import TrainingConfig, read_config, recipes


def build_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = cli.CommandParser(
        prog="python -m hypensearch.train",
        description="Train a Hypencoder, or its bi-encoder baseline. Defaults are the paper's recipe.",
        formatter_class=argparse.HelpFormatter,
    )
    names = ", ".join(recipes())
    parser.add_argument("--config", help=f"YAML file of settings, or a recipe: {names}; flags come last", default=None)
    cli.add_threads_flag(parser)
    add_flags(parser, TrainingConfig, given_only=True)
    cli.add_offline_argument(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    :param argv: Arguments; those of the process by default.
    :return: The exit code.
    """
    flags = vars(build_parser().parse_args(argv))
    path, threads = flags.pop("config"), flags.pop("threads", None)
    flags.pop("offline", None)

    def body() -> None:
        config = read_config(path, flags)
        from hypensearch.train.run import train

        train(config)

    return cli.run(body, threads=threads)


if __name__ == "__main__":
    raise SystemExit(main())
