# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Command: topics to q-nets on disk, the counterpart of ``pyserini.encode.query``."""

from __future__ import annotations

import argparse
import logging
import math
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hypensearch import cli
from hypensearch.formats.topics import TOPICS_FORMATS

if TYPE_CHECKING:
    import numpy as np

    from hypensearch.models import DualEncoder

logger = logging.getLogger(__name__)

_CHECKPOINT_KNOWS = "the checkpoint knows, and q-nets made otherwise would not fit the document vectors"
_NO_PREFIX = "the checkpoint's own prompt is put before every query; put another one into the topics"
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
    parser.add_argument("--topics", required=True, help="topics file, irds:NAME or the name of one of Pyserini's sets")
    parser.add_argument("--topics-format", default="default", choices=TOPICS_FORMATS, help="form of the topics")
    parser.add_argument("--encoder", required=True, help="checkpoint folder or hub name")
    parser.add_argument("--output", required=True, help="folder to write the q-nets to")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    cli.add_threads_flag(parser)
    parser.add_argument("--max-length", type=cli.positive_int, default=256, help="tokens kept of a query")
    parser.add_argument(
        "--compact",
        action="store_true",
        help="store the queries' token states instead, of which a search makes the q-nets, the same to the bit: much "
        "smaller, but the search needs the model",
    )
    cli.add_model_arguments(parser)
    cli.add_refused_flags(parser, _REFUSED)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    :return: The exit code.
    """
    args = build_parser().parse_args(argv)
    return cli.run(lambda: _encode_queries(args), threads=cli.threads_of(args))


def _encode_queries(args: argparse.Namespace) -> None:
    from hypensearch.device import resolve_device
    from hypensearch.formats.q_nets import COMPACT, WHOLE, check_may_write, write_q_nets
    from hypensearch.models import load_model
    from hypensearch.models.stored import architecture_facts
    from hypensearch.topics import load_topics

    check_may_write(args.output)
    topics = load_topics(args.topics, args.topics_format)
    device = resolve_device(args.device)
    model = load_model(args.encoder, backbone_config=args.backbone_config, width=args.width, device=device)
    form = COMPACT if args.compact and model.kind == "hypencoder" else WHOLE
    _log_size(args, model, list(topics.values()), form)
    facts: dict[str, Any] = {"name": model.name, "fingerprint": model.fingerprint, "max_length": args.max_length}
    if form == COMPACT:
        facts |= _needed_to_finish(args, model)
    blocks = _blocks(model, list(topics.values()), args.max_length, form)
    write_q_nets(args.output, architecture_facts(model.q_net_config), facts, topics, blocks, form=form)
    what = "q-nets" if form == WHOLE else "queries' token states"
    folder = shlex.quote(args.output)
    print(f"{len(topics):,} {what} are in {args.output}: search them with --encoded-queries {folder}")


def _blocks(model: DualEncoder, texts: list[str], max_length: int, form: str) -> Iterator[dict[str, np.ndarray]]:
    from hypensearch.formats.q_nets import BLOCK_QUERIES, WHOLE
    from hypensearch.models.stored import states_to_arrays, to_arrays

    for start in range(0, len(texts), BLOCK_QUERIES):
        block = texts[start : start + BLOCK_QUERIES]
        if form == WHOLE:
            yield to_arrays(model.encode_queries(block, max_length=max_length))
        else:
            yield states_to_arrays(model.encode_query_states(block, max_length=max_length))


def _needed_to_finish(args: argparse.Namespace, model: DualEncoder) -> dict[str, Any]:
    """Return what finds the model again, from any folder, and identifies it."""
    config = args.backbone_config
    return {
        "name": os.path.abspath(model.name) if os.path.isdir(model.name) else model.name,
        "query_fingerprint": model.query_fingerprint,
        "revision": model.revision,
        "width": model.width,
        "backbone_config": os.path.abspath(config) if config and os.path.exists(config) else config,
    }


def _log_size(args: argparse.Namespace, model: DualEncoder, texts: list[str], form: str) -> None:
    """Log how much will be written, and how much less the compact form would be."""
    from hypensearch.formats.q_nets import BLOCK_QUERIES, COMPACT

    q_net = model.q_net_config
    whole = 4 * len(texts) * (sum(math.prod(shape) for shape in q_net.weight_shapes) + sum(q_net.dims[1:-1]))
    if model.kind != "hypencoder":
        note = "; a bi-encoder's queries are vectors, which have no smaller form" if args.compact else ""
        logger.info("%s of query vectors will be written (%s a topic)%s", *_sizes(whole, len(texts)), note)
        return
    blocks = (texts[start : start + BLOCK_QUERIES] for start in range(0, len(texts), BLOCK_QUERIES))
    tokens = sum(model.count_query_tokens(block, max_length=args.max_length) for block in blocks)
    compact = 4 * tokens * model.config.hidden_size
    if form == COMPACT:
        logger.info("%s of token states will be written (%s a topic)", *_sizes(compact, len(texts)))
    else:
        sizes = (*_sizes(whole, len(texts)), *_sizes(compact, len(texts)))
        logger.info("%s of q-nets will be written (%s a topic); with --compact %s (%s a topic)", *sizes)


def _sizes(num_bytes: int, num_topics: int) -> tuple[str, str]:
    return readable_size(num_bytes), readable_size(num_bytes / num_topics)


def readable_size(num_bytes: float) -> str:
    """Return a size in the unit that people would use, with three digits."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6)):
        if num_bytes >= factor:
            return f"{float(f'{num_bytes / factor:.3g}'):,g} {unit}"
    return f"{num_bytes / 1e3:,.1f} kB"


if __name__ == "__main__":
    raise SystemExit(main())
