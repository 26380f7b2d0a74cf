# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Command: an index and topics to a run."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hypensearch import cli
from hypensearch.errors import HypensearchError
from hypensearch.hits import Hit
from hypensearch.search.flags import build_parser, check, precision
from hypensearch.search.topics_to_run import StoredQueries, check_output, write_run

if TYPE_CHECKING:
    from hypensearch.search.searcher import HypencoderSearcher


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    :return: The exit code: 0, or 2 for bad input.
    """
    args = build_parser().parse_args(argv)
    return cli.run(lambda: _search(args))


def _search(args: argparse.Namespace) -> None:
    check(args)
    check_output(args.output)
    topics = _topics(args)
    with _searcher(args) as searcher:
        print(f"Running {args.topics} topics, saving to {args.output}...")
        write_run(args, _search_batches(args, topics, searcher))
        print(_summary(args, searcher))


def _topics(args: argparse.Namespace) -> dict[str, str]:
    from hypensearch.topics import load_topics

    return load_topics(args.topics, args.topics_format)


def _searcher(args: argparse.Namespace) -> HypencoderSearcher:
    from hypensearch.search.searcher import HypencoderSearcher

    options: dict[str, Any] = {
        "device": args.device,
        "max_length": args.max_length,
        "width": args.width,
        "backbone_config": args.backbone_config,
        "searcher": "auto" if args.searcher == "simple" else args.searcher,  # Pyserini's name of its default
        "precision": precision(args),
        "scorer": args.scorer,
        "block_rows": args.block_rows,
        "max_scored": args.max_scored,
        "target_recall": args.target_recall,
        "graph": args.graph,
        "num_entry_points": args.num_entry_points,
        "ncandidates": args.ncandidates,
        "max_iter": args.max_iter,
        "early_stop": not args.no_early_stop,
        "seeds": args.seeds,
        "check": not args.no_check,
    }
    if os.path.exists(args.index) or os.sep in args.index:
        searcher = HypencoderSearcher(args.index, args.encoder, **options)
    else:
        searcher = HypencoderSearcher.from_prebuilt_index(args.index, args.encoder, **options)
    if args.encoder_class in ("hypencoder", "biencoder") and searcher.query_encoder.kind != args.encoder_class:
        raise HypensearchError(
            f"--encoder-class {args.encoder_class}: {searcher.query_encoder.name} is a {searcher.query_encoder.kind}"
        )
    return searcher


def _search_batches(
    args: argparse.Namespace, topics: Mapping[str, str], searcher: HypencoderSearcher
) -> Iterator[tuple[str, list[Hit]]]:
    ids = list(topics)
    stored = StoredQueries(args.encoded_queries, topics, searcher) if args.encoded_queries else None
    k = args.hits + 1 if args.remove_query else args.hits
    with cli.progress_bar(len(ids), unit="topic", description="searching") as bar:
        for start in range(0, len(ids), args.batch_size):
            batch = ids[start : start + args.batch_size]
            queries = [topics[topic_id] for topic_id in batch] if stored is None else stored(batch)
            found = searcher.batch_search(queries, batch, k, args.threads)
            bar.update(len(batch))
            yield from found.items()


def _summary(args: argparse.Namespace, searcher: HypencoderSearcher) -> str:
    stats = searcher.stats
    each = 1000 / max(1, stats.queries)
    return (
        f"{stats.queries:,} topics, {stats.documents_scored / max(1, stats.queries):,.0f} of {searcher.num_docs:,} "
        f"documents scored for each: {stats.encode_seconds * each:.1f} ms to encode and "
        f"{stats.search_seconds * each:.1f} ms to search a topic on {searcher.device}; the run is {args.output}"
    )


if __name__ == "__main__":
    raise SystemExit(main())
