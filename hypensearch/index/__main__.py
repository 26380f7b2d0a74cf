# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Command: a flat index to what approximate search needs beside it, a graph or the codes of a surrogate."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hypensearch import cli
from hypensearch.errors import HypensearchError, as_typed
from hypensearch.flat.index import FlatIndex
from hypensearch.formats.topics import TOPICS_FORMATS
from hypensearch.graph.store import DISTANCES, GraphIndex

if TYPE_CHECKING:
    import torch


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
        description="Make a graph of nearest documents beside an index, for graph search (the same command goes on "
        "where it was stopped), or, with --surrogate, the codes for surrogate search.",
    )
    suppress = argparse.SUPPRESS
    parser.add_argument("--index", required=True, default=suppress, help="index folder")
    parser.add_argument("--device", default="auto", help="auto (CUDA if there is one), cpu, cuda or cuda:N")
    cli.add_threads_flag(parser)
    graph = parser.add_argument_group("graph search")
    graph.add_argument("--distance", choices=DISTANCES, default="l2", help="what near means; l2 in the paper")
    graph.add_argument("--degree", type=cli.positive_int, default=suppress, help="neighbours of a document (100)")
    graph.add_argument(
        "--builder",
        choices=["exact", "faiss", "cuvs"],
        default="exact",
        help="exact: look at every pair (on a GPU with --device cuda); faiss: an inverted file, cuvs: NN-descent on a "
        "GPU, their recall measured",
    )
    graph.add_argument(
        "--min-recall",
        type=_share,
        default=0.95,
        help="share of the exact neighbours that --builder faiss and cuvs are to find",
    )
    graph.add_argument("--import-graph", metavar="JSONL", help="take over a graph in the authors' form")
    graph.add_argument("--name", help="name of the graph; tells distance and degree by default")
    graph.add_argument("--overwrite", action="store_true", help="replace a graph of that name")
    graph.add_argument(
        "--block-rows", type=cli.positive_int, help="documents between two safe points; changes memory use only"
    )
    codes = parser.add_argument_group("surrogate search")
    codes.add_argument(
        "--surrogate", action="store_true", help="make the codes for surrogate search instead of a graph"
    )
    codes.add_argument("--topics", help="typical queries to make the codes with; first words of documents by default")
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

    with FlatIndex.open(args.index) as index:
        index.check_once()
        device = resolve_device(args.device)
        graph = _imported(index, device, args) if args.import_graph else _built(index, device, args)
        print(_summary(index, graph))


def _built(index: FlatIndex, device: torch.device, args: argparse.Namespace) -> GraphIndex:
    from hypensearch.graph.builder import DEFAULT_DEGREE, build_graph

    return build_graph(
        index,
        device,
        distance=args.distance,
        degree=getattr(args, "degree", DEFAULT_DEGREE),
        builder=args.builder,
        name=args.name,
        block_rows=args.block_rows,
        overwrite=args.overwrite,
        min_recall=args.min_recall,
    )


def _imported(index: FlatIndex, device: torch.device, args: argparse.Namespace) -> GraphIndex:
    from hypensearch.graph.builder import import_graph

    if args.builder != "exact":
        raise HypensearchError(f"--builder {args.builder} and --import-graph exclude each other: give one")
    return import_graph(
        index,
        args.import_graph,
        device,
        distance=args.distance,
        degree=getattr(args, "degree", None),
        name=args.name,
        overwrite=args.overwrite,
    )


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


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0 and up to 1")
    return value


if __name__ == "__main__":
    raise SystemExit(main())
