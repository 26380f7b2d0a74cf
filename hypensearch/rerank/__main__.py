# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Command: a first stage's run to a reranked one."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from hypensearch import cli
from hypensearch.encode.flags import add_text_flags, text_rule
from hypensearch.encode.options import EncodingOptions
from hypensearch.errors import HypensearchError
from hypensearch.flat.prebuilt import index_folder
from hypensearch.formats.ids import with_ids_of
from hypensearch.formats.topics import TOPICS_FORMAT_HELP
from hypensearch.hits import Hit
from hypensearch.options import add_flags, from_args
from hypensearch.progress import progress_bar
from hypensearch.rerank.options import RerankOptions
from hypensearch.search.flags import add_encoder_flags, add_run_flags, check_shared
from hypensearch.search.topics_to_run import StoredQueries, check_output, write_run

if TYPE_CHECKING:
    from hypensearch.rerank.reranker import Reranker

logger = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    :return: The exit code: 0, or 2 for bad input.
    """
    args = build_parser().parse_args(argv)
    return cli.run(lambda: _rerank(args), threads=cli.threads_of(args))


def build_parser() -> argparse.ArgumentParser:
    """Return the command's parser; the flags of topics, run and encoder are those of the search."""
    parser = cli.CommandParser(
        prog="python -m hypensearch.rerank",
        description="Rerank the candidates of a run with q-nets: by the vectors of an index, or without one by "
        "encoding the candidates' texts.",
    )
    add = parser.add_argument_group("what to rerank").add_argument
    add("--run", required=True, help="first stage's run in TREC's or MS MARCO's form, .gz too")
    add("--topics", required=True, help="topics file, irds:NAME, or the name of a topic set of Pyserini")
    add("--topics-format", default="default", help=TOPICS_FORMAT_HELP)
    add("--output", required=True, help="run file to write")
    add("--index", help="index folder, or the name of a prebuilt index, with the candidates' vectors")
    add("--corpus", help="without --index: JSONL file, folder, irds:NAME or hf:NAME with the candidates' texts")
    add(
        "--sparse-index",
        help="without --index: Lucene index with the candidates' texts, a folder or the name of a prebuilt one "
        "(needs Pyserini)",
    )
    add_flags(parser.add_argument_group("how to rerank"), RerankOptions)
    add_run_flags(parser.add_argument_group("the run"))
    add_encoder_flags(parser.add_argument_group("the query encoder"))
    scoring = parser.add_argument_group("scoring")
    scoring.add_argument("--device", default="auto", help="auto (CUDA if there is one), cpu, cuda or cuda:N")
    scoring.add_argument("--batch-size", type=cli.positive_int, default=1, help="topics encoded together")
    cli.add_threads_flag(scoring)
    texts = parser.add_argument_group("encoding of candidates, without --index")
    texts.add_argument("--cache", metavar="FOLDER", help="keep the vectors there, so that no document is encoded again")
    add_text_flags(texts)
    texts.add_argument("--doc-max-length", type=cli.positive_int, default=256, help="tokens kept of a document")
    texts.add_argument("--doc-batch-size", type=cli.positive_int, default=64, help="documents encoded at a time")
    texts.add_argument("--bf16", action="store_true", help="encode documents in bfloat16")
    return parser


def _check(args: argparse.Namespace) -> None:
    """Check the flags against each other."""
    check_shared(args)
    given = [flag for flag in ("index", "corpus", "sparse_index") if getattr(args, flag)]
    if len(given) != 1:
        found = " and ".join(f"--{flag.replace('_', '-')}" for flag in given) or "none of them"
        raise HypensearchError(
            f"vectors or texts of the candidates come from one of --index, --corpus and --sparse-index: found {found}"
        )
    if args.index and args.cache:
        raise HypensearchError("--cache keeps the vectors of candidates that are encoded: leave it out with --index")
    if not args.index and not args.encoder:
        raise HypensearchError("--encoder is missing: it encodes the candidates, and the topics")


def _rerank(args: argparse.Namespace) -> None:
    from hypensearch.formats.run import read_run
    from hypensearch.topics import load_topics

    _check(args)
    check_output(args.output)
    run = read_run(args.run)
    topics = _topics_of_run(args, load_topics(args.topics, args.topics_format), run)
    if args.remove_query:
        run = {topic: [hit for hit in hits if hit.docid != topic] for topic, hits in run.items()}
    with _reranker(args) as reranker:
        if not args.encoded_queries:
            reranker.query_encoder  # noqa: B018 -- loaded here, before anything is timed
        stored = StoredQueries(args.encoded_queries, topics, reranker) if args.encoded_queries else None
        reranker.prepare({topic: run[topic] for topic in topics})
        print(f"Reranking {args.run}, saving to {args.output}...")
        write_run(args, _rerank_batches(args, topics, run, reranker, stored))
        print(_summary(args, reranker))


def _topics_of_run(
    args: argparse.Namespace, topics: Mapping[str, str], run: Mapping[str, Sequence[Hit]]
) -> dict[str, str]:
    """Return the topics that the run has candidates for, in the topics' order, by the run's ids."""
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


def _reranker(args: argparse.Namespace) -> Reranker:
    from hypensearch.rerank.reranker import Reranker
    from hypensearch.rerank.texts import CorpusTexts, LuceneTexts

    shared = {name: getattr(args, name) for name in ("device", "max_length", "width", "backbone_config")}
    options = from_args(RerankOptions, args)
    if args.index:
        reranker = Reranker.from_index(index_folder(args.index), args.encoder, options=options, **shared)
    else:
        rule = text_rule(args)
        reranker = Reranker.from_texts(
            CorpusTexts(args.corpus, rule) if args.corpus else LuceneTexts(args.sparse_index, rule),
            args.encoder,
            options=options,
            cache=args.cache,
            encoding=EncodingOptions(batch_size=args.doc_batch_size, max_length=args.doc_max_length),
            bf16=args.bf16,
            show_progress=True,
            **shared,
        )
    if args.encoder_class in ("hypencoder", "biencoder") and reranker.query_encoder.kind != args.encoder_class:
        raise HypensearchError(
            f"--encoder-class {args.encoder_class}: {reranker.query_encoder.name} is a {reranker.query_encoder.kind}"
        )
    return reranker


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
