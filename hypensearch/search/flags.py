# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The flags of ``pyserini.search.faiss``: the ones that we share, and the ones that have no meaning for a q-net."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from hypensearch.cli import (
    CommandParser,
    add_model_arguments,
    add_refused_flags,
    add_threads_flag,
    positive_int,
)
from hypensearch.errors import HypensearchError
from hypensearch.formats.ids import flaw_of_id
from hypensearch.formats.topics import TOPICS_FORMAT_HELP, TOPICS_FORMATS
from hypensearch.options import add_flags
from hypensearch.search.registry import SEARCHERS, SEARCHES, option_defaults

DEFAULT_TAG = "hypensearch"
ENCODER_CLASSES = ("auto", "hypencoder", "biencoder")
POOLINGS = ("cls", "mean", "last", "eos")  # Pyserini's

_NO_PRF = "vector feedback needs a query vector, and the query is a q-net here"
_CHECKPOINT_KNOWS = "the checkpoint knows, and vectors made otherwise would not fit its q-nets"
_NO_BPR = "it belongs to binary passage retrieval, whose vectors a q-net cannot score"

# flag -> (values that change nothing, why others are refused)
_REFUSED: Mapping[str, tuple[tuple[Any, ...], str]] = {
    "--tokenizer": ((None,), "the checkpoint has its own tokenizer"),
    "--query-prefix": (
        (None, ""),
        "the checkpoint's own prompt is put before every query",
    ),
    "--l2-norm": ((False,), _CHECKPOINT_KNOWS),
    "--faiss-device": ((None,), "nothing is searched by Faiss; use --device"),
    "--ef-search": ((None,), "this is not an HNSW index"),
    "--normalize-distances": ((False,), "a q-net's score is unbounded and is no inner product"),
    "--binary-hits": ((None,), _NO_BPR),
    "--rerank": ((False,), _NO_BPR),
    "--prf-depth": ((None, 0), _NO_PRF),
    "--prf-method": ((None,), _NO_PRF),
    "--rocchio-alpha": ((None,), _NO_PRF),
    "--rocchio-beta": ((None,), _NO_PRF),
    "--rocchio-gamma": ((None,), _NO_PRF),
    "--rocchio-topk": ((None,), _NO_PRF),
    "--rocchio-bottomk": ((None,), _NO_PRF),
    "--ance-prf-encoder": ((None,), _NO_PRF),
    "--multimodal": ((False,), "a Hypencoder encodes text"),
    "--instruction-config": ((None,), "a Hypencoder encodes text without instructions"),
    "--pca-model": ((None,), "vectors that PCA has changed do not fit the q-nets"),
}


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of ``python -m hypensearch.search``."""
    parser = CommandParser(
        prog="python -m hypensearch.search",
        description="Search an index with q-nets and write a run, with the flags of pyserini.search.faiss.",
    )
    required = parser.add_argument_group("what to search")
    required.add_argument("--index", required=True, help="index folder, or the name of a prebuilt index")
    required.add_argument("--topics", help="topics file, irds:NAME, or the name of a topic set of Pyserini")
    required.add_argument("--topics-format", default="default", help=TOPICS_FORMAT_HELP)
    required.add_argument("--output", help="run file to write")
    required.add_argument(
        "--report", metavar="JSON", help="file to write: documents scored and rounds of each topic, seconds by stage"
    )
    required.add_argument(
        "--interactive",
        nargs="?",
        type=positive_int,
        const=10,
        metavar="HITS",
        help="instead of --topics and --output: answer queries from stdin, show so many hits with their texts (10)",
    )
    required.add_argument(
        "--sparse-index",
        help="Lucene index to take the shown texts from, a folder or the name of a prebuilt one (needs Pyserini)",
    )
    add_run_flags(parser.add_argument_group("the run"))
    encoder = parser.add_argument_group("the query encoder")
    add_encoder_flags(encoder)
    encoder.add_argument("--pooling", choices=POOLINGS, help="checked against the documents' pooling")
    _add_search_flags(parser.add_argument_group("how to search"))
    _add_options(parser)
    add_refused_flags(parser, _REFUSED)
    return parser


def check(args: argparse.Namespace) -> None:
    """Refuse flags that have no meaning for a q-net.

    :raises HypensearchError: Names the flag, and why.
    """
    _check_interactive(args)
    check_shared(args)
    if args.searcher not in SEARCHERS:
        raise HypensearchError(f"--searcher {args.searcher}: wanted {', '.join(SEARCHERS[:-1])} or {SEARCHERS[-1]}")
    precision(args)


def _check_interactive(args: argparse.Namespace) -> None:
    given = [flag for flag in ("topics", "output", "encoded_queries", "report") if getattr(args, flag)]
    if args.interactive and given:
        raise HypensearchError(f"--{given[0].replace('_', '-')} and --interactive exclude each other: give one")
    if not args.interactive:
        for flag in ("topics", "output"):
            if not getattr(args, flag):
                raise HypensearchError(f"--{flag} is missing (or --interactive, to type queries)")
        if args.sparse_index:
            raise HypensearchError(
                "--sparse-index gives the texts that --interactive shows; a run holds no texts. To rerank by texts: "
                "python -m hypensearch.rerank"
            )


def check_shared(args: argparse.Namespace) -> None:
    """Check the flags of topics, run and query encoder against each other.

    :raises HypensearchError: Names the flag, and why.
    """
    if args.encoder_class not in (None, *ENCODER_CLASSES):
        raise HypensearchError(
            f"--encoder-class {args.encoder_class}: wanted one of {', '.join(ENCODER_CLASSES)}; other encoders make no "
            "q-nets, search with them in Pyserini"
        )
    if args.topics_format not in TOPICS_FORMATS:
        raise HypensearchError(
            f"--topics-format {args.topics_format}: wanted {', '.join(TOPICS_FORMATS[:-1])} or {TOPICS_FORMATS[-1]}; a "
            "Hypencoder encodes text"
        )
    if args.output_format == "kilt" and args.topics_format != "kilt":
        raise HypensearchError("--output-format kilt repeats the topics' data points: it needs --topics-format kilt")
    if flaw := flaw_of_id(args.run_tag):
        raise HypensearchError(f"--run-tag: the tag {flaw}")
    if args.encoded_queries and args.width is not None:
        raise HypensearchError(
            f"--width {args.width}: the q-nets in {args.encoded_queries} have the width they were encoded with; give "
            "--width to python -m hypensearch.encode.query"
        )


def precision(args: argparse.Namespace) -> str | None:
    """Return the precision of the scan: that of ``--precision``, or of its short forms; None for the usual one.

    :raises HypensearchError: When they contradict each other.
    """
    if args.fp16 and args.bf16:
        raise HypensearchError("--fp16 and --bf16 exclude each other: give one")
    short = "fp16" if args.fp16 else "bf16" if args.bf16 else None
    if args.precision and short not in (None, args.precision):
        raise HypensearchError(f"--precision {args.precision} and --{short} exclude each other: give one")
    return args.precision or short


def add_run_flags(group: argparse._ArgumentGroup) -> None:
    """Add the flags that say how a run is written."""
    group.add_argument("--output-format", default="trec", choices=["trec", "msmarco", "kilt"], help="form of the run")
    group.add_argument("--hits", type=positive_int, default=1000, help="hits of each topic")
    group.add_argument("--run-tag", default=DEFAULT_TAG, help="last column of a TREC run")
    group.add_argument("--max-passage", action="store_true", help="keep the best passage of each document only")
    group.add_argument("--max-passage-hits", type=positive_int, default=100, help="documents kept with --max-passage")
    group.add_argument("--max-passage-delimiter", default="#", help="what ends the document's part of a docid")
    group.add_argument("--remove-query", action="store_true", help="drop the hit whose docid is the topic's id")


def add_encoder_flags(group: argparse._ArgumentGroup) -> None:
    """Add the flags that say how topics become q-nets."""
    group.add_argument("--encoder", help="checkpoint folder or hub name; the index's own model by default")
    group.add_argument("--encoder-class", help="auto, hypencoder or biencoder; the checkpoint tells, so never needed")
    group.add_argument("--encoded-queries", help="folder of q-nets made by python -m hypensearch.encode.query")
    group.add_argument("--max-length", type=positive_int, default=256, help="tokens kept of a query")
    group.add_argument("--explicit-truncate", action="store_true", help="queries are always cut to --max-length")
    add_model_arguments(group)


def _add_search_flags(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--searcher",
        default="auto",
        help="exhaustive, or simple: score every document; graph: walk a graph; surrogate: score the highest-ranked "
        "predictions of a fit; auto: the faster of exhaustive and surrogate, where the index has codes for the latter",
    )
    group.add_argument("--device", default="auto", help="auto (CUDA if there is one), cpu, cuda or cuda:N")
    group.add_argument("--batch-size", type=positive_int, default=1, help="topics that share a pass over the index")
    add_threads_flag(group)
    group.add_argument(
        "--no-check",
        action="store_true",
        help="do not compare the index with its checksums, as the first search after a copy does",
    )


def _add_options(parser: argparse.ArgumentParser) -> None:
    """Add a group of flags for each search; a flag that several searches have is in the first one's group."""
    groups, left = {}, list(option_defaults())
    for name, options in SEARCHES.items():
        groups[name] = parser.add_argument_group(f"{name} search")
        add_flags(groups[name], options, only=left)
        left = [one for one in left if one not in {field.name for field in fields(options)}]
    groups["exhaustive"].add_argument("--fp16", action="store_true", help="the same as --precision fp16")
    groups["exhaustive"].add_argument("--bf16", action="store_true", help="the same as --precision bf16")
    groups["graph"].add_argument("--seeds", metavar="RUN", help="run whose documents graph search starts from as well")
