# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Make training records of a run: ``python -m hypensearch.mine --topics .. --qrels .. --run .. --corpus ..``.

The run may come from any first stage: BM25 through Pyserini, a bi-encoder, a Hypencoder.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence

from hypensearch import cli
from hypensearch.errors import HypensearchError

logger = logging.getLogger(__name__)


def build_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = cli.CommandParser(
        prog="python -m hypensearch.mine",
        description="Make training records: judged documents as positives, others of a run as hard negatives.",
    )
    add = parser.add_argument
    add("--topics", required=True, help="training queries")
    add("--qrels", required=True, help="their judgements")
    add("--run", required=True, help="what a first stage found for them, a TREC run")
    add("--corpus", required=True, help="the documents, JSON lines or a folder of them")
    add("--fields", nargs="+", default=["contents"], help="fields of a document's text")
    add("--output", required=True, help="file of training records; a stopped command goes on where it was")
    add("--negatives", type=cli.positive_int, default=8, help="negatives drawn for each query")
    add("--depth", type=cli.positive_int, default=100, help="last rank to draw from")
    add("--skip", type=int, default=0, help="first ranks not to draw from: they may be answers nobody judged")
    add("--relevance-level", type=int, default=1, help="least grade of a positive")
    add("--seed", type=int, default=42, help="of the draw")
    add("--teacher", help="cross-encoder that scores all texts: folder or hub name of a sequence classifier")
    add("--max-length", type=cli.positive_int, default=256, help="tokens of query and text for the teacher")
    add("--batch-size", type=cli.positive_int, default=32, help="texts the teacher scores at once")
    add("--device", default="cpu", help="where the teacher runs")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    :param argv: Arguments; those of the process by default.
    :return: The exit code.
    """
    args = build_parser().parse_args(argv)
    return cli.run(lambda: _mine(args))


def _mine(args: argparse.Namespace) -> None:
    from hypensearch.formats.qrels import read_qrels
    from hypensearch.formats.run import read_run
    from hypensearch.formats.topics import read_topics
    from hypensearch.mine.mine import all_docids, choose, read_texts, teacher, write_records

    if not 0 <= args.skip < args.depth:
        raise HypensearchError(f"--skip {args.skip} leaves nothing of --depth {args.depth}")
    topics = read_topics(args.topics)
    chosen = choose(
        topics,
        read_qrels(args.qrels),
        read_run(args.run),
        depth=range(args.skip, args.depth),
        count=args.negatives,
        relevance_level=args.relevance_level,
        seed=args.seed,
    )
    texts = read_texts(args.corpus, all_docids(chosen.values()), args.fields)
    score = args.teacher and teacher(
        args.teacher, max_length=args.max_length, batch_size=args.batch_size, device=args.device
    )
    written = write_records(args.output, topics, chosen, texts, score or None)
    logger.info("%d records written to %s (%d topics have none)", written, args.output, len(topics) - len(chosen))


if __name__ == "__main__":
    raise SystemExit(main())
