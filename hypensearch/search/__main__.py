# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Command: an index and topics to a run."""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hypensearch import cli
from hypensearch.errors import HypensearchError
from hypensearch.hits import Hit
from hypensearch.search.flags import build_parser, check, precision

logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    from hypensearch.models.q_net import QNets
    from hypensearch.search.searcher import HypencoderSearcher


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    :return: The exit code: 0, or 2 for bad input.
    """
    args = build_parser().parse_args(argv)
    return cli.run(lambda: _search(args))


def _search(args: argparse.Namespace) -> None:
    check(args)
    _check_output(args.output)
    topics = _topics(args)
    with _searcher(args) as searcher:
        print(f"Running {args.topics} topics, saving to {args.output}...")
        _write_run(args, topics, _search_batches(args, topics, searcher))
        print(_summary(args, searcher))


def _check_output(path: str) -> None:
    """Find out before the search whether its result can be written."""
    if os.path.isdir(path):
        raise HypensearchError(f"--output {path} is a folder: wanted the run file to write")


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
    stored = _StoredQueries(args.encoded_queries, topics, searcher) if args.encoded_queries else None
    k = args.hits + 1 if args.remove_query else args.hits
    with cli.progress_bar(len(ids), unit="topic", description="searching") as bar:
        for start in range(0, len(ids), args.batch_size):
            batch = ids[start : start + args.batch_size]
            queries = [topics[topic_id] for topic_id in batch] if stored is None else stored(batch)
            found = searcher.batch_search(queries, batch, k, args.threads)
            bar.update(len(batch))
            yield from found.items()


class _StoredQueries:
    """Q-nets read from disk by topic id."""

    def __init__(self, folder: str, topics: Mapping[str, str], searcher: HypencoderSearcher) -> None:
        from hypensearch.formats.q_nets import open_q_nets

        self._stored = open_q_nets(folder)
        changed = [topic for topic, text in topics.items() if self._stored.topics.get(topic) != text]
        if changed:
            raise HypensearchError(
                f"--encoded-queries {folder}: {len(changed)} topics are not those that were encoded, {changed[0]!r} "
                "for one; encode the topics again"
            )
        searcher.check_made_by(self._stored.model, f"--encoded-queries {folder}")
        logger.info("The q-nets are those in %s, made by %s", folder, self._stored.model.get("name"))

    def __call__(self, topic_ids: Sequence[str]) -> QNets:
        from hypensearch.models.stored import from_arrays

        arrays = self._stored.read(topic_ids)
        return from_arrays(self._stored.architecture, [arrays[topic_id] for topic_id in topic_ids])


def _write_run(args: argparse.Namespace, topics: Mapping[str, str], found: Iterator[tuple[str, list[Hit]]]) -> None:
    from hypensearch.formats.run import open_run_writer, separate_ties
    from hypensearch.formats.topics import read_kilt_topics

    datapoints = read_kilt_topics(args.topics) if args.output_format == "kilt" else None
    with open_run_writer(
        args.output,
        args.output_format,
        tag=args.run_tag,
        max_hits=args.hits,
        use_max_passage=args.max_passage,
        max_passage_delimiter=args.max_passage_delimiter,
        max_passage_hits=args.max_passage_hits,
        topics=datapoints,
    ) as writer:
        for topic_id, hits in found:
            if args.remove_query:
                hits = [hit for hit in hits if hit.docid != topic_id]
            writer.write(topic_id, separate_ties(hits[: args.hits]))


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
