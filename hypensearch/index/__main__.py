# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Command: build what approximate search needs beside a flat index, a graph or codes."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from hypensearch import cli
from hypensearch.errors import as_typed
from hypensearch.flat.index import FlatIndex
from hypensearch.formats.topics import TOPICS_FORMATS
from hypensearch.graph.options import GraphBuildOptions
from hypensearch.graph.store import GraphIndex
from hypensearch.options import add_flags, from_args


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    :return: The exit code: 0, or 2 for bad input.
    """
    args = build_parser().parse_args(argv)
    make = _make_surrogate if args.surrogate else _make_graph
    return cli.run(lambda: make(args), threads=cli.threads_of(args))


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command's flags."""
    parser = cli.CommandParser(
        prog="python -m hypensearch.index",
        description="Build a graph of nearest documents beside an index, for graph search (the same command resumes "
        "where it was stopped), or, with --surrogate, the codes for surrogate search.",
    )
    suppress = argparse.SUPPRESS
    parser.add_argument("--index", required=True, default=suppress, help="index folder")
    parser.add_argument("--device", default="auto", help="auto (CUDA if there is one), cpu, cuda or cuda:N")
    cli.add_threads_flag(parser)
    graph = parser.add_argument_group("graph search")
    add_flags(graph, GraphBuildOptions)
    graph.add_argument("--import-graph", metavar="JSONL", help="import a graph in the authors' form")
    codes = parser.add_argument_group("surrogate search")
    codes.add_argument(
        "--surrogate", action="store_true", help="build the codes for surrogate search instead of a graph"
    )
    codes.add_argument("--topics", help="typical queries to build the codes with; first words of documents by default")
    codes.add_argument("--topics-format", default="default", choices=TOPICS_FORMATS, help="form of --topics")
    codes.add_argument("--encoder", help="checkpoint that makes q-nets; the index's own model by default")
    cli.add_model_arguments(codes)
    return parser


def _make_surrogate(args: argparse.Namespace) -> None:
    from hypensearch.device import resolve_device
    from hypensearch.flat.model import IndexModel
    from hypensearch.surrogate.builder import build_surrogate, how_many_queries, typical_queries
    from hypensearch.topics import load_topics

    device = resolve_device(args.device)
    with FlatIndex.open(args.index) as index:
        index.check_once()
        options = {"width": args.width, "backbone_config": args.backbone_config}
        maker = IndexModel(index, args.encoder, device=device, **options)
        count = how_many_queries(maker.model.q_net_config)
        if args.topics:
            queries = list(load_topics(args.topics, args.topics_format).values())[:count]
        else:
            queries = typical_queries(index, count)
        build_surrogate(index, maker.encode(queries), device, show_progress=True)
    search = _search("surrogate", args.index)
    print(f"codes of {index.num_docs:,} documents are in {args.index}; search: {search}")


def _make_graph(args: argparse.Namespace) -> None:
    from hypensearch.device import resolve_device
    from hypensearch.graph.builder import build_graph, import_graph

    options = from_args(GraphBuildOptions, args)
    with FlatIndex.open(args.index) as index:
        index.check_once()
        device = resolve_device(args.device)
        if args.import_graph:
            print(_summary(index, import_graph(index, args.import_graph, device, options)))
        else:
            print(_summary(index, build_graph(index, device, options)))


def _summary(index: FlatIndex, graph: GraphIndex) -> str:
    facts = graph.manifest
    measured = (
        "" if facts.recall is None else f", recall {facts.recall:.4f} (measured on {facts.recall_sample:,} documents)"
    )
    return (
        f"{facts.degree} {facts.distance} neighbours ({facts.builder}{measured}) of {facts.num_docs:,} documents "
        f"are in {graph.folder}; search: {_search('graph', index.folder)}"
    )


def _search(searcher: str, index: str) -> str:
    """Give the command that searches with what was made."""
    where = ["--index", index, "--topics", "TOPICS", "--output", "RUN"]
    return as_typed("hypensearch.search", "--searcher", searcher, *where)


if __name__ == "__main__":
    raise SystemExit(main())
