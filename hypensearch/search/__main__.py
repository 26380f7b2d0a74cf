# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Command: an index and topics to a run."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hypensearch import cli
from hypensearch.errors import HypensearchError
from hypensearch.flat.prebuilt import index_folder
from hypensearch.formats.files import replace_when_whole
from hypensearch.hits import Hit
from hypensearch.printing import visible
from hypensearch.progress import progress_bar
from hypensearch.search.flags import build_parser, check, precision
from hypensearch.search.registry import option_defaults
from hypensearch.search.topics_to_run import StoredQueries, check_output, write_run
from hypensearch.stages import clocked, stage

if TYPE_CHECKING:
    from hypensearch.scoring.found import Found
    from hypensearch.search.searcher import HypencoderSearcher


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    :return: The exit code: 0, or 2 for bad input.
    """
    args = build_parser().parse_args(argv)
    return cli.run(lambda: _search(args), threads=cli.threads_of(args))


def _search(args: argparse.Namespace) -> None:
    check(args)
    if args.interactive:
        _interact(args)
        return
    check_output(args.output)
    topics = _topics(args)
    with _searcher(args) as searcher:
        if not args.encoded_queries:
            searcher.query_encoder  # noqa: B018 -- loaded here, before anything is timed
        reports: dict[str, Found] = {}
        if os.environ.get("RANK", "0") != "0":  # torchrun's first process writes, the others share the work
            deque(_search_batches(args, topics, searcher, reports, show=False), maxlen=0)
            return
        print(f"Running {args.topics} topics, saving to {args.output}...")
        with clocked() as clock, stage("output"):
            write_run(args, _search_batches(args, topics, searcher, reports))
        searcher.stats.seconds["output"] = clock.seconds["output"]
        if args.report:
            _write_report(args.report, searcher, reports)
        print(f"{searcher.stats} on {searcher.device}; the run is {args.output}")


def _interact(args: argparse.Namespace) -> None:
    """Answer queries until stdin ends or Ctrl-C, which is how one leaves."""
    from hypensearch.search.interactive import answers

    with _searcher(args) as searcher, contextlib.suppress(KeyboardInterrupt):
        for answer in answers(searcher, args.interactive):
            print(visible(answer), flush=True)


def _topics(args: argparse.Namespace) -> dict[str, str]:
    from hypensearch.topics import load_topics

    return load_topics(args.topics, args.topics_format)


def _searcher(args: argparse.Namespace) -> HypencoderSearcher:
    from hypensearch.exhaustive.ranks import own_device
    from hypensearch.search.searcher import HypencoderSearcher

    options: dict[str, Any] = {
        "device": own_device(args.device),
        "shared": True,
        "max_length": args.max_length,
        "width": args.width,
        "backbone_config": args.backbone_config,
        "sparse_index": args.sparse_index,
        "searcher": args.searcher,
        "seeds": args.seeds,
        "check": not args.no_check,
        **{name: getattr(args, name) for name in option_defaults()},
        "precision": precision(args),
    }
    searcher = HypencoderSearcher(index_folder(args.index), args.encoder, **options)
    if args.encoder_class in ("hypencoder", "biencoder") and searcher.query_encoder.kind != args.encoder_class:
        raise HypensearchError(
            f"--encoder-class {args.encoder_class}: {searcher.query_encoder.name} is a {searcher.query_encoder.kind}"
        )
    if args.pooling and args.pooling != (pooling := searcher.query_encoder.config.document_pooling):
        raise HypensearchError(
            f"--pooling {args.pooling}: {searcher.query_encoder.name} was trained with {pooling!r}; leave the flag out"
        )
    return searcher


def _search_batches(
    args: argparse.Namespace,
    topics: Mapping[str, str],
    searcher: HypencoderSearcher,
    reports: dict[str, Found],
    *,
    show: bool = True,
) -> Iterator[tuple[str, list[Hit]]]:
    ids = list(topics)
    stored = StoredQueries(args.encoded_queries, topics, searcher) if args.encoded_queries else None
    k = args.hits + 1 if args.remove_query else args.hits
    with progress_bar(len(ids), unit="topic", description="searching", show=show) as bar:
        for start in range(0, len(ids), args.batch_size):
            batch = ids[start : start + args.batch_size]
            with stage("encode"):
                queries = [topics[topic_id] for topic_id in batch] if stored is None else stored(batch)
            found = searcher.find(queries, k, q_ids=batch)
            reports.update(zip(batch, found, strict=True))
            bar.update(len(batch))
            yield from (
                (topic, of_topic.hits(searcher.index.docid)) for topic, of_topic in zip(batch, found, strict=True)
            )


def _write_report(path: str, searcher: HypencoderSearcher, reports: Mapping[str, Found]) -> None:
    from hypensearch.search.report import query_facts

    topics = {topic: query_facts(found) for topic, found in reports.items()}
    with replace_when_whole(path, "w") as file:
        json.dump({**searcher.stats.facts(), "device": str(searcher.device), "topics": topics}, file, indent=1)


if __name__ == "__main__":
    raise SystemExit(main())
