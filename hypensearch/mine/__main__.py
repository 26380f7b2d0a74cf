# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Make training records with hard negatives: ``python -m hypensearch.mine --topics .. --qrels .. --index ..``.

What ranks the documents is an index and its model (a Hypencoder or a bi-encoder), BM25, or a run that is there already.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypensearch import cli
from hypensearch.errors import HypensearchError
from hypensearch.formats.ids import with_ids_of
from hypensearch.formats.topics import TOPICS_FORMATS

if TYPE_CHECKING:
    from hypensearch.hits import Hit
    from hypensearch.search.searcher import HypencoderSearcher

logger = logging.getLogger(__name__)


def build_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = cli.CommandParser(
        prog="python -m hypensearch.mine",
        description="Make training records: judged documents as positives, others that a first stage ranks high as "
        "hard negatives. The first stage is one of --index, --sparse-index and --run. A stopped command goes on.",
    )
    add = parser.add_argument_group("what is made of what").add_argument
    add("--topics", required=True, help="training queries, or the name of a topic set known to Pyserini")
    add("--topics-format", default="default", choices=TOPICS_FORMATS, help="form of --topics; by its name and content")
    add("--qrels", required=True, help="their judgements")
    add("--corpus", help="the documents, JSON lines or a folder of them; with --index those that it was made of")
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
    add = parser.add_argument_group("what is drawn").add_argument
    add("--negatives", type=cli.positive_int, default=8, help="negatives drawn for each query")
    add("--depth", type=cli.positive_int, default=100, help="last rank to draw from")
    add("--skip", type=int, default=0, help="first ranks not to draw from: they may be answers nobody judged")
    add("--relevance-level", type=int, default=1, help="least grade of a positive")
    add("--seed", type=int, default=42, help="of the draw")
    add = parser.add_argument_group("the teacher").add_argument
    add("--teacher", help="cross-encoder that scores all texts: folder or hub name of a sequence classifier")
    add("--max-length", type=cli.positive_int, default=256, help="tokens of query and text for the teacher")
    add("--batch-size", type=cli.positive_int, default=32, help="texts the teacher scores at once")
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
    from hypensearch.mine.mine import (
        all_docids,
        choose,
        indexed_texts,
        read_texts,
        teacher,
        with_positives,
        write_records,
    )
    from hypensearch.topics import load_topics

    _check(args)
    score = args.teacher and teacher(
        args.teacher, max_length=args.max_length, batch_size=args.batch_size, device=args.device
    )
    topics = load_topics(args.topics, args.topics_format)
    qrels = with_ids_of(topics, read_qrels(args.qrels), args.qrels)
    wanted = with_positives(topics, qrels, args.relevance_level)
    kept = Path(args.output + ".hits")
    with _index(args) as searcher:
        chosen = choose(
            wanted,
            qrels,
            _first_stage(args, wanted, kept, searcher),
            depth=range(args.skip, args.depth),
            count=args.negatives,
            relevance_level=args.relevance_level,
            seed=args.seed,
        )
        docids = all_docids(chosen.values())
        if args.corpus is None and searcher is not None:
            texts = indexed_texts(searcher, docids)
        else:
            texts = read_texts(args.corpus, docids, args.fields)
    scored_by = f"{args.teacher} {args.max_length}" if args.teacher else ""
    written = write_records(args.output, topics, chosen, texts, score or None, scored_by=scored_by)
    kept.unlink(missing_ok=True)
    logger.info("%d records written to %s (%d topics have none)", written, args.output, len(topics) - len(chosen))


def _check(args: argparse.Namespace) -> None:
    if not 0 <= args.skip < args.depth:
        raise HypensearchError(f"--skip {args.skip} leaves nothing of --depth {args.depth}")
    given = [flag for flag in ("index", "sparse_index", "run") if getattr(args, flag)]
    if len(given) != 1:
        found = ", ".join("--" + flag.replace("_", "-") for flag in given) or "none"
        raise HypensearchError(f"negatives come from one of --index, --sparse-index and --run: found {found}")
    if args.corpus is None and not args.index:
        raise HypensearchError("--corpus is missing: the documents' texts, which only an --index knows where to find")


@contextlib.contextmanager
def _index(args: argparse.Namespace) -> Iterator[HypencoderSearcher | None]:
    if not args.index:
        yield None
        return
    from hypensearch.search.searcher import HypencoderSearcher

    options: dict[str, Any] = {"searcher": args.searcher, "device": args.device, "max_length": args.query_length}
    with HypencoderSearcher(args.index, args.encoder, **options) as searcher:
        yield searcher


def _first_stage(
    args: argparse.Namespace, topics: Mapping[str, str], kept: Path, searcher: HypencoderSearcher | None
) -> Mapping[str, Sequence[Hit]]:
    from hypensearch.formats.run import read_run
    from hypensearch.mine.first_stage import bm25_search, index_search, search_topics

    if args.run:
        return with_ids_of(topics, read_run(args.run), args.run)
    if searcher is not None:
        search = index_search(searcher, hits=args.depth)
        model = searcher.query_encoder.query_fingerprint
    else:
        search = bm25_search(args.sparse_index, args.corpus, hits=args.depth, threads=cli.threads_of(args))
        model = "bm25"
    described = {
        "searched": args.index or args.sparse_index,
        "model": model,
        "searcher": args.searcher,
        "query_length": args.query_length,
        "depth": args.depth,
    }
    return search_topics(topics, search, kept, described=described, batch_size=args.search_batch_size)


if __name__ == "__main__":
    raise SystemExit(main())
