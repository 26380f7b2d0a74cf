# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The flags of ``python -m hypensearch.rerank``; those of topics, run and encoder are those of the search."""

from __future__ import annotations

import argparse

from hypensearch.cli import CommandParser, add_threads_flag, positive_int
from hypensearch.errors import HypensearchError
from hypensearch.formats.topics import TOPICS_FORMAT_HELP
from hypensearch.search.flags import add_encoder_flags, add_run_flags, check_shared


def build_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = CommandParser(
        prog="python -m hypensearch.rerank",
        description="Rerank the candidates of a run with q-nets: by the vectors of an index, or without one by "
        "encoding the candidates' texts.",
    )
    required = parser.add_argument_group("what to rerank")
    required.add_argument("--run", required=True, help="first stage's run in TREC's or MS MARCO's form, .gz too")
    required.add_argument("--topics", required=True, help="topics file, or the name of a topic set known to Pyserini")
    required.add_argument("--topics-format", default="default", help=TOPICS_FORMAT_HELP)
    required.add_argument("--output", required=True, help="run file to write")
    required.add_argument("--index", help="index folder, or the name of a prebuilt index, with the candidates' vectors")
    required.add_argument("--corpus", help="without --index: JSONL file or folder with the candidates' texts")
    required.add_argument(
        "--sparse-index",
        help="without --index: Lucene index with the candidates' texts, a folder or the name of a prebuilt one "
        "(needs Pyserini)",
    )
    _add_rerank_flags(parser.add_argument_group("how to rerank"))
    add_run_flags(parser.add_argument_group("the run"))
    add_encoder_flags(parser.add_argument_group("the query encoder"))
    _add_scoring_flags(parser.add_argument_group("scoring"))
    _add_text_flags(parser.add_argument_group("encoding of candidates, without --index"))
    return parser


def check(args: argparse.Namespace) -> None:
    """Check the flags against each other.

    :raises HypensearchError: Names the flag, and why.
    """
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


def _add_rerank_flags(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--depth", type=positive_int, default=1000, help="documents scored for a topic, at most")
    group.add_argument(
        "--alpha", type=float, default=0.0, help="weight of the first stage's score, 0 (the q-net alone) to 1"
    )
    group.add_argument(
        "--normalization",
        default="min-max",
        help="what scores are normalised by, per topic, with --alpha: min-max, z or none",
    )
    group.add_argument(
        "--gar",
        action="store_true",
        help="graph-based adaptive reranking: spend part of --depth on neighbours of the best documents",
    )
    group.add_argument("--gar-batch", type=positive_int, default=16, help="documents scored before the next are chosen")
    group.add_argument("--gar-neighbours", type=positive_int, default=16, help="neighbours of a document looked at")
    group.add_argument("--graph", help="name of the graph, where the index has several")
    group.add_argument(
        "--missing",
        default="error",
        help="candidates without vector or text: error; drop leaves them out; keep puts them below all others",
    )
    group.add_argument(
        "--backfill", action="store_true", help="keep candidates beyond --depth, below those that were scored"
    )


def _add_scoring_flags(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--device", default="auto", help="auto (CUDA if there is one), cpu, cuda or cuda:N")
    group.add_argument("--batch-size", type=positive_int, default=1, help="topics encoded together")
    add_threads_flag(group)


def _add_text_flags(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--cache", metavar="FOLDER", help="keep the vectors there, so that no document is encoded again")
    group.add_argument("--fields", nargs="+", default=["text"], help="fields to encode, as in hypensearch.encode")
    group.add_argument("--docid-field", help="field of the corpus that holds the id, if it is not id, _id or docid")
    group.add_argument("--delimiter", default="\\n", help="what separates the fields within 'contents'")
    group.add_argument("--no-title", action="store_true", help="do not put a document's title before its text")
    group.add_argument("--doc-max-length", type=positive_int, default=256, help="tokens kept of a document")
    group.add_argument("--doc-batch-size", type=positive_int, default=64, help="documents encoded at a time")
    group.add_argument("--bf16", action="store_true", help="encode documents in bfloat16")
