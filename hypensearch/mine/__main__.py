# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Make training records with hard negatives: ``python -m hypensearch.mine --topics .. --qrels .. --index ..``.

What ranks the documents is an index and its model (a Hypencoder or a bi-encoder), BM25, or a run that is there already.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hypensearch import cli
from hypensearch.errors import HypensearchError
from hypensearch.formats.ids import with_ids_of
from hypensearch.formats.topics import TOPICS_FORMATS
from hypensearch.mine.records import (
    Draw,
    choose,
    indexed_texts,
    make_records,
    read_texts,
    with_positives,
    write_records,
)
from hypensearch.mine.teacher import TeacherOptions, cross_encoder, run_scores
from hypensearch.options import add_flags, from_args

if TYPE_CHECKING:
    from hypensearch.hits import Hit
    from hypensearch.search.searcher import HypencoderSearcher

logger = logging.getLogger(__name__)


def build_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = cli.CommandParser(
        prog="python -m hypensearch.mine",
        description="Make training records: judged documents are positives, others that a first stage ranks high are "
        "hard negatives. The first stage is one of --index, --sparse-index and --run. A stopped command resumes.",
    )
    add = parser.add_argument_group("input and output").add_argument
    add("--topics", required=True, help="training queries, or the name of a topic set known to Pyserini")
    add("--topics-format", default="default", choices=TOPICS_FORMATS, help="form of --topics; by its name and content")
    add("--qrels", required=True, help="their judgements")
    add(
        "--corpus",
        help="documents: JSONL, a folder of it, irds:NAME or hf:NAME; with --index what it was made of",
    )
    add("--fields", nargs="+", default=["contents"], help="fields of a document's text in --corpus")
    add("--output", required=True, help="file of training records")
    add = parser.add_argument_group("the first stage, one of three").add_argument
    add("--index", help="first stage: an index, searched with its model, a Hypencoder or a bi-encoder")
    add("--sparse-index", help="first stage: BM25 in this Lucene index (needs Pyserini), made of --corpus if missing")
    add("--run", help="first stage: what something else has found, a TREC run")
    add = parser.add_argument_group("the search of the first stage").add_argument
    add("--encoder", help="checkpoint to search --index with; the one it was made with if left out")
    add(
        "--searcher", choices=("auto", "exhaustive", "graph", "surrogate"), default="auto", help="how to search --index"
    )
    add("--query-length", type=cli.positive_int, default=64, help="tokens of a query for --index")
    cli.add_threads_flag(parser)
    add("--search-batch-size", type=cli.positive_int, default=128, help="topics searched, and kept, at once")
    add("--device", default="cpu", help="where search and teacher run")
    add_flags(parser.add_argument_group("what is drawn"), Draw)
    add_flags(parser.add_argument_group("the teacher"), TeacherOptions)
    cli.add_offline_argument(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    :param argv: Arguments; those of the process by default.
    :return: The exit code.
    """
    args = build_parser().parse_args(argv)
    return cli.run(lambda: _mine(args), threads=cli.threads_of(args))


def _mine(args: argparse.Namespace) -> None:
    from hypensearch.formats.qrels import read_qrels
    from hypensearch.topics import load_topics

    _check(args)
    draw, teaching = from_args(Draw, args), from_args(TeacherOptions, args)
    teacher = cross_encoder(teaching, args.device) if teaching.teacher else None
    topics = load_topics(args.topics, args.topics_format)
    qrels = with_ids_of(topics, read_qrels(args.qrels), args.qrels)
    wanted = with_positives(topics, qrels, draw)
    scores = run_scores(teaching.teacher_run, topics) if teaching.teacher_run else None
    kept = Path(args.output + ".hits")
    with contextlib.ExitStack() as stack:
        searcher = stack.enter_context(_searcher(args)) if args.index else None
        chosen = choose(wanted, qrels, _first_stage(args, wanted, kept, searcher), draw, scores)
        docids = {docid for parts in chosen.values() for part in parts for docid in part}
        if args.corpus is None and searcher is not None:
            texts = indexed_texts(searcher, docids)
        else:
            texts = read_texts(args.corpus, docids, args.fields)
    scored_by = f"{teaching.teacher} {teaching.max_length}" if teacher else ""
    records = make_records(topics, chosen, texts, scores)
    written = write_records(args.output, records, teacher, scored_by=scored_by)
    kept.unlink(missing_ok=True)
    logger.info("%d records written to %s (%d topics have none)", written, args.output, len(topics) - len(chosen))


def _check(args: argparse.Namespace) -> None:
    given = [flag for flag in ("index", "sparse_index", "run") if getattr(args, flag)]
    if len(given) != 1:
        found = ", ".join("--" + flag.replace("_", "-") for flag in given) or "none"
        raise HypensearchError(f"negatives come from one of --index, --sparse-index and --run: found {found}")
    if args.corpus is None and not args.index:
        raise HypensearchError("--corpus is missing: the documents' texts, which only an --index knows where to find")


def _searcher(args: argparse.Namespace) -> HypencoderSearcher:
    from hypensearch.search.searcher import HypencoderSearcher

    return HypencoderSearcher(
        args.index, args.encoder, searcher=args.searcher, device=args.device, max_length=args.query_length
    )


def _first_stage(
    args: argparse.Namespace, topics: Mapping[str, str], kept: Path, searcher: HypencoderSearcher | None
) -> Mapping[str, Sequence[Hit]]:
    from hypensearch.formats.run import read_run
    from hypensearch.mine.first_stage import bm25_search, search_topics

    if args.run:
        return with_ids_of(topics, read_run(args.run), args.run)
    described = {name: getattr(args, name) for name in ("index", "sparse_index", "searcher", "query_length", "depth")}
    if searcher is None:
        search = bm25_search(args.sparse_index, args.corpus, hits=args.depth, threads=cli.threads_of(args) or 1)
    else:
        described["model"] = searcher.query_encoder.query_fingerprint

        def search(batch: Mapping[str, str]) -> Mapping[str, Sequence[Hit]]:
            assert searcher is not None
            return searcher.batch_search(list(batch.values()), list(batch), args.depth)

    return search_topics(topics, search, kept, described=described, batch_size=args.search_batch_size)


if __name__ == "__main__":
    raise SystemExit(main())
