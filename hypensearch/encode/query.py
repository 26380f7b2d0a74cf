# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Command: topics to q-nets on disk, the counterpart of ``pyserini.encode.query``."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from hypensearch import cli

_CHECKPOINT_KNOWS = "the checkpoint knows, and q-nets made otherwise would not fit the document vectors"
_NO_PREFIX = "Hypencoders are trained without prefixes; put one into the topics if yours is not"
_SPARSE = "it belongs to sparse encoders, whose output are weights of terms"

# Flags of pyserini.encode.query -> (values that change nothing, why others are refused)
_REFUSED: Mapping[str, tuple[tuple[Any, ...], str]] = {
    "--pooling": ((None,), _CHECKPOINT_KNOWS),
    "--l2-norm": ((False,), _CHECKPOINT_KNOWS),
    "--prefix": ((None, ""), _NO_PREFIX),
    "--prefx": ((None, ""), _NO_PREFIX),  # what Pyserini 1.6 calls it
    "--weight-range": ((None,), _SPARSE),
    "--quant-range": ((None,), _SPARSE),
    "--bpr": ((False,), "binary codes cannot be scored by a q-net"),
}


def build_parser() -> argparse.ArgumentParser:
    """Return the command's parser; flags as in ``pyserini.encode.query``."""
    parser = cli.CommandParser(
        prog="python -m hypensearch.encode.query",
        description="Encode topics to q-nets and store them, to be searched with --encoded-queries.",
    )
    parser.add_argument("--topics", required=True, help="topics file, or the name of a topic set known to Pyserini")
    parser.add_argument(
        "--topics-format", default="default", choices=["default", "kilt", "raw_jsonl"], help="form of the topics"
    )
    parser.add_argument("--encoder", required=True, help="checkpoint folder or hub name")
    parser.add_argument("--output", required=True, help="folder to write the q-nets to")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--max-length", type=cli.positive_int, default=256, help="tokens kept of a query")
    cli.add_model_arguments(parser)
    cli.add_refused_flags(parser, _REFUSED)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    :return: The exit code.
    """
    args = build_parser().parse_args(argv)
    return cli.run(lambda: _encode_queries(args))


def _encode_queries(args: argparse.Namespace) -> None:
    from hypensearch.device import resolve_device
    from hypensearch.formats.q_nets import BLOCK_QUERIES, check_may_write, write_q_nets
    from hypensearch.models import load_model
    from hypensearch.models.stored import architecture_facts, to_arrays
    from hypensearch.topics import load_topics

    cli.check_refused_flags(args, _REFUSED)
    check_may_write(args.output)
    topics = load_topics(args.topics, args.topics_format)
    device = resolve_device(args.device)
    model = load_model(args.encoder, backbone_config=args.backbone_config, width=args.width, device=device)
    texts = list(topics.values())
    blocks = (
        to_arrays(model.encode_queries(texts[start : start + BLOCK_QUERIES], max_length=args.max_length))
        for start in range(0, len(texts), BLOCK_QUERIES)
    )
    facts = {"name": model.name, "fingerprint": model.fingerprint, "max_length": args.max_length}
    write_q_nets(args.output, architecture_facts(model.q_net_config), facts, topics, blocks)
    print(f"{len(topics):,} q-nets are in {args.output}: search them with --encoded-queries {args.output}")


if __name__ == "__main__":
    raise SystemExit(main())
