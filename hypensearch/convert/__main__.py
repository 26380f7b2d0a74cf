# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints from one layout to another, and to the hub: ``python -m hypensearch.convert --encoder ..``."""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Sequence

from hypensearch import cli
from hypensearch.errors import HypensearchError

logger = logging.getLogger(__name__)

LAYOUTS = ("hypensearch", "released")


def build_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = cli.CommandParser(
        prog="python -m hypensearch.convert",
        description="Write a checkpoint in our own format, which needs no hub and no other file, or in the released "
        "layout, which the authors' code loads; with --push-to-hub, publish it.",
    )
    add, suppress = parser.add_argument, argparse.SUPPRESS
    add("--encoder", required=True, default=suppress, help="checkpoint folder, hub name or bundled")
    add("--output", required=True, default=suppress, help="folder of the new checkpoint")
    add("--to", choices=LAYOUTS, default="hypensearch", help="layout to write")
    add("--compact", action="store_true", help="store weights in 8 bits and less; only hypensearch reads it")
    add("--backbone", help="transformer that the released layout names; a copy in --output by default")
    add("--backbone-config", metavar="PATH", help="configuration of the checkpoint's transformer, where none is found")
    add("--revision", help="branch, tag or commit of --encoder on the hub")
    add("--push-to-hub", metavar="USER/NAME", help="repository on the hub to upload --output to")
    add("--private", action="store_true", help="make a new repository a private one")
    cli.add_offline_argument(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    :param argv: Arguments; those of the process by default.
    :return: The exit code.
    """
    args = build_parser().parse_args(argv)
    return cli.run(lambda: _convert(args))


def _convert(args: argparse.Namespace) -> None:
    _check(args)
    from hypensearch.models import load_model
    from hypensearch.models.publish import check_may_upload, upload, write_missing_card
    from hypensearch.models.released_layout import save_released

    if args.push_to_hub:
        check_may_upload(args.push_to_hub)
    model = load_model(args.encoder, backbone_config=args.backbone_config, revision=args.revision)
    if args.to == "released":
        save_released(model, args.output, backbone=args.backbone)
    else:
        model.save_pretrained(args.output, compact=args.compact)
    write_missing_card(args.output, model, args.push_to_hub or args.output)
    logger.info("wrote %s", args.output)
    if args.push_to_hub:
        logger.info("uploaded: %s", upload(args.output, args.push_to_hub, private=args.private))


def _check(args: argparse.Namespace) -> None:
    if args.compact and args.to == "released":
        raise HypensearchError("--compact: the released code cannot read it: leave it out, or --to hypensearch")
    if args.backbone and args.to != "released":
        raise HypensearchError(f"--backbone {args.backbone}: our own format embeds it: leave it out, or --to released")
    if args.to == "released" and args.push_to_hub and not args.backbone:
        raise HypensearchError(
            "--push-to-hub of the released layout: others need --backbone, the hub name of the transformer"
        )
    if os.path.isdir(args.encoder) and os.path.isdir(args.output) and os.path.samefile(args.encoder, args.output):
        raise HypensearchError(f"--output {args.output}: is --encoder itself: name another folder")


if __name__ == "__main__":
    raise SystemExit(main())
