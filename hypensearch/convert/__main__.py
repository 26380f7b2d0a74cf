# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints from one layout to another, and to the hub: ``python -m hypensearch.convert --encoder ..``."""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass

from hypensearch import cli
from hypensearch.errors import HypensearchError
from hypensearch.options import Options, add_flags, from_args, option

logger = logging.getLogger(__name__)

LAYOUTS = ("hypensearch", "released")


@dataclass(frozen=True)
class ConvertOptions(Options):
    """What is converted, to what, and where it is published."""

    encoder: str = option("checkpoint folder, hub name or bundled")
    output: str = option("folder of the new checkpoint")
    to: str = option("layout to write", "hypensearch", choices=LAYOUTS)
    compact: bool = option("store weights in 8 bits and less; only hypensearch reads it", False)
    backbone: str | None = option("transformer that the released layout names; a copy in --output by default", None)
    backbone_config: str | None = option(
        "configuration of the checkpoint's transformer, where none is found", None, metavar="PATH"
    )
    revision: str | None = option("branch, tag or commit of --encoder on the hub", None)
    push_to_hub: str | None = option("repository on the hub to upload --output to", None, metavar="USER/NAME")
    private: bool = option("make a new repository a private one", False)


def build_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = cli.CommandParser(
        prog="python -m hypensearch.convert",
        description="Write a checkpoint in our own format, which needs no hub and no other file, or in the released "
        "layout, which the authors' code loads; with --push-to-hub, publish it.",
    )
    add_flags(parser, ConvertOptions)
    cli.add_offline_argument(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    :param argv: Arguments; those of the process by default.
    :return: The exit code.
    """
    args = build_parser().parse_args(argv)
    return cli.run(lambda: _convert(from_args(ConvertOptions, args)))


def _convert(options: ConvertOptions) -> None:
    _check(options)
    from hypensearch.models import load_model
    from hypensearch.models.publish import check_may_upload, upload, write_missing_card
    from hypensearch.models.released_layout import save_released

    if options.push_to_hub:
        check_may_upload(options.push_to_hub)
    model = load_model(options.encoder, backbone_config=options.backbone_config, revision=options.revision)
    if options.to == "released":
        save_released(model, options.output, backbone=options.backbone)
    else:
        model.save_pretrained(options.output, compact=options.compact)
    write_missing_card(options.output, model, options.push_to_hub or options.output)
    logger.info("wrote %s", options.output)
    if options.push_to_hub:
        logger.info("uploaded: %s", upload(options.output, options.push_to_hub, private=options.private))


def _check(options: ConvertOptions) -> None:
    if options.compact and options.to == "released":
        raise HypensearchError("--compact: the released code cannot read it: leave it out, or --to hypensearch")
    if options.backbone and options.to != "released":
        raise HypensearchError(
            f"--backbone {options.backbone}: our own format embeds it: leave it out, or --to released"
        )
    if options.to == "released" and options.push_to_hub and not options.backbone:
        raise HypensearchError(
            "--push-to-hub of the released layout: others need --backbone, the hub name of the transformer"
        )
    if (
        os.path.isdir(options.encoder)
        and os.path.isdir(options.output)
        and os.path.samefile(options.encoder, options.output)
    ):
        raise HypensearchError(f"--output {options.output}: is --encoder itself: name another folder")


if __name__ == "__main__":
    raise SystemExit(main())
