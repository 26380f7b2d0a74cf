# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Command: a first stage's run to a reranked one."""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from hypensearch import cli
from hypensearch.errors import HypensearchError
from hypensearch.formats.corpus import TextRule
from hypensearch.formats.ids import with_ids_of
from hypensearch.hits import Hit
from hypensearch.progress import progress_bar
from hypensearch.rerank.flags import build_parser, check
from hypensearch.search.topics_to_run import StoredQueries, check_output, write_run

if TYPE_CHECKING:
    from hypensearch.rerank.reranker import Reranker, RerankOptions
    from hypensearch.rerank.texts import Texts

logger = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    :return: The exit code: 0, or 2 for bad input.
    """
    args = build_parser().parse_args(argv)
    return cli.run(lambda: _rerank(args), threads=cli.threads_of(args))


def _rerank(args: argparse.Namespace) -> None:
    from hypensearch.formats.run import read_run
    from hypensearch.topics import load_topics

    check(args)
    check_output(args.output)
    options = _options(args)
    options.check()
    run = read_run(args.run)
    topics = _topics_of_run(args, load_topics(args.topics, args.topics_format), run)
    if args.remove_query:
        run = {topic: [hit for hit in hits if hit.docid != topic] for topic, hits in run.items()}
    with _reranker(args, options) as reranker:
        if not args.encoded_queries:
            reranker.query_encoder  # noqa: B018 -- loaded here, before anything is timed
        stored = StoredQueries(args.encoded_queries, topics, reranker) if args.encoded_queries else None
        reranker.prepare({topic: run[topic] for topic in topics})
        print(f"Reranking {args.run}, saving to {args.output}...")
        write_run(args, _rerank_batches(args, topics, run, reranker, stored))
        print(_summary(args, reranker))


def _options(args: argparse.Namespace) -> RerankOptions:
    from hypensearch.rerank.reranker import RerankOptions

    return RerankOptions(
        depth=args.depth,
        alpha=args.alpha,
        normalization=args.normalization,
        gar=args.gar,
        gar_batch=args.gar_batch,
        gar_neighbours=args.gar_neighbours,
        graph=args.graph,
        missing=args.missing,
        backfill=args.backfill,
    )


def _topics_of_run(
    args: argparse.Namespace, topics: Mapping[str, str], run: Mapping[str, Sequence[Hit]]
) -> dict[str, str]:
    """Give the topics that the run has candidates for, in the topics' order, by the run's ids."""
    topics = with_ids_of(run, topics, args.topics)
    common = {topic: text for topic, text in topics.items() if topic in run}
    if not common:
        raise HypensearchError(
            f"{args.run} has none of the {len(topics):,} topics of {args.topics}: its first is {next(iter(run))!r}, "
            f"theirs {next(iter(topics))!r}"
        )
    without, unknown = len(topics) - len(common), len(run) - len(common)
    if without:
        logger.info("%s has no candidates for %d topics, so the new run has none either", args.run, without)
    if unknown:
        logger.info("%d topics of %s are not in %s: left out", unknown, args.run, args.topics)
    return common


def _reranker(args: argparse.Namespace, options: RerankOptions) -> Reranker:
    from hypensearch.rerank.reranker import Reranker
    from hypensearch.rerank.vectors import DocumentEncoding

    if args.index:
        reranker = Reranker.from_index(
            _index_folder(args.index),
            args.encoder,
            device=args.device,
            max_length=args.max_length,
            width=args.width,
            backbone_config=args.backbone_config,
            options=options,
        )
    else:
        reranker = Reranker.from_texts(
            _texts(args),
            args.encoder,
            device=args.device,
            max_length=args.max_length,
            width=args.width,
            backbone_config=args.backbone_config,
            options=options,
            cache=args.cache,
            encoding=DocumentEncoding(args.doc_max_length, args.doc_batch_size, args.bf16),
            show_progress=True,
        )
    if args.encoder_class in ("hypencoder", "biencoder") and reranker.query_encoder.kind != args.encoder_class:
        raise HypensearchError(
            f"--encoder-class {args.encoder_class}: {reranker.query_encoder.name} is a {reranker.query_encoder.kind}"
        )
    return reranker


def _index_folder(index: str) -> str:
    if os.path.exists(index) or os.sep in index:
        return index
    from hypensearch.flat.prebuilt import find_prebuilt_index

    return os.fspath(find_prebuilt_index(index))


def _texts(args: argparse.Namespace) -> Texts:
    from hypensearch.rerank.texts import CorpusTexts, LuceneTexts

    rule = TextRule(
        fields=tuple(args.fields),
        docid_field=args.docid_field,
        delimiter=args.delimiter.replace("\\n", "\n"),  # a shell passes \n as two letters
        title_field=None if args.no_title else "title",
    )
    return CorpusTexts(args.corpus, rule) if args.corpus else LuceneTexts(args.sparse_index, rule)


def _rerank_batches(
    args: argparse.Namespace,
    topics: Mapping[str, str],
    run: Mapping[str, Sequence[Hit]],
    reranker: Reranker,
    stored: StoredQueries | None,
) -> Iterator[tuple[str, list[Hit]]]:
    ids = list(topics)
    with progress_bar(len(ids), unit="topic", description="reranking") as bar:
        for start in range(0, len(ids), args.batch_size):
            batch = ids[start : start + args.batch_size]
            queries = [topics[topic] for topic in batch] if stored is None else stored(batch)
            found = reranker.batch_rerank(queries, batch, run)
            bar.update(len(batch))
            yield from found.items()


def _summary(args: argparse.Namespace, reranker: Reranker) -> str:
    stats = reranker.stats
    of_each = max(1, stats.queries)
    ms = {phase: 1000 * seconds / of_each for phase, seconds in stats.seconds.items()}
    parts = [
        f"{stats.queries:,} topics, {stats.documents_scored / of_each:,.0f} documents scored for each: "
        f"{ms['encode']:.1f} ms to encode, {ms['fetch']:.1f} ms to read, {ms['score']:.1f} ms to score and "
        f"{ms['rank']:.1f} ms to rank a topic on {reranker.device} ({stats.share_scoring:.0%} scoring)"
    ]
    if stats.documents_encoded:
        parts.append(f"{stats.documents_encoded:,} documents encoded before that in {stats.seconds['prepare']:.1f} s")
    if stats.documents_missing:
        parts.append(f"{stats.documents_missing:,} candidates are missing (--missing {args.missing})")
    return "; ".join([*parts, f"the run is {args.output}"])


if __name__ == "__main__":
    raise SystemExit(main())
