# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Command: an index to a database, for surrogate search there."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hypensearch import cli
from hypensearch.engines.options import EngineOptions
from hypensearch.errors import HypensearchError, as_typed
from hypensearch.formats.topics import TOPICS_FORMATS
from hypensearch.options import add_flags, from_args

if TYPE_CHECKING:
    from hypensearch.engines.engine import Engine
    from hypensearch.flat.index import FlatIndex
    from hypensearch.surrogate.store import Surrogate

_BLOCK_ROWS = 2048


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of ``python -m hypensearch.export``."""
    parser = cli.CommandParser(
        prog="python -m hypensearch.export",
        description="Load the codes and vectors of an index into a database, for surrogate search there. The same "
        "command resumes where it was stopped.",
    )
    parser.add_argument("--index", required=True, help="index folder, with codes for surrogate search")
    add_flags(parser, EngineOptions, only=["engine_url", "engine_table"])
    parser.add_argument("--overwrite", action="store_true", help="replace what the table holds")
    recall = parser.add_argument_group("the recall of the database's own index")
    recall.add_argument("--topics", help="queries to measure it with; without them it is not measured")
    recall.add_argument("--topics-format", default="default", choices=TOPICS_FORMATS, help="form of --topics")
    recall.add_argument("--encoder", help="checkpoint that makes q-nets; the index's own model by default")
    cli.add_model_arguments(recall)
    cli.add_threads_flag(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    :return: The exit code: 0, or 2 for bad input.
    """
    args = build_parser().parse_args(argv)
    return cli.run(lambda: _export(args), threads=cli.threads_of(args))


def _export(args: argparse.Namespace) -> None:
    from hypensearch.engines.engine import open_engine
    from hypensearch.flat.index import FlatIndex
    from hypensearch.surrogate.store import open_surrogate

    options = from_args(EngineOptions, args)
    if not options.engine_url:
        raise HypensearchError("--engine-url is missing: the database to load the index into")
    with FlatIndex.open(args.index) as index:
        surrogate = open_surrogate(index)
        if surrogate is None:
            make = as_typed("hypensearch.index", "--index", args.index, "--surrogate")
            raise HypensearchError(f"{args.index} has no codes to export; make them with: {make}")
        index.check_once()
        surrogate.check_once()
        engine = open_engine(options.engine_url, options.engine_table)
        load_engine(index, surrogate, engine, overwrite=args.overwrite)
        print(f"{index.num_docs:,} documents are in {options.engine_table} at {options.engine_url}")
        if args.topics:
            _measure(args, index, engine, options)
        engine.close()


def load_engine(index: FlatIndex, surrogate: Surrogate, engine: Engine, *, overwrite: bool = False) -> None:
    """Load an index into an engine, behind what is there already.

    :raises HypensearchError: When the engine holds another index, unless ``overwrite`` replaces it.
    """
    import numpy as np
    import torch

    from hypensearch.engines.engine import Documents, blocks
    from hypensearch.progress import progress_bar
    from hypensearch.surrogate.codes import Codes

    codes = Codes(surrogate, torch.device("cpu"))
    facts = {"codes": surrogate.digest, "code_size": codes.dim, "dim": index.dim, "dtype": index.dtype}
    found = engine.facts()
    if found is None or overwrite:
        engine.create(facts)
    elif found != facts:
        raise HypensearchError("the table holds another index: choose another --engine-table, or --overwrite")
    start = engine.num_docs()
    with progress_bar(index.num_docs, unit="document", description="exporting") as bar:
        bar.update(start)
        for rows in blocks(index.num_docs, start, _BLOCK_ROWS):
            of_rows = codes.gather(torch.arange(rows.start, rows.stop)).numpy()
            vectors = np.ascontiguousarray(index.vector_block(rows.start, rows.stop))
            engine.add(Documents(np.arange(rows.start, rows.stop), of_rows, vectors))
            bar.update(len(rows))
    engine.build()


def _measure(args: argparse.Namespace, index: FlatIndex, engine: Engine, options: EngineOptions) -> None:
    import torch

    from hypensearch.engines.search import EngineSearch
    from hypensearch.flat.model import IndexModel
    from hypensearch.topics import load_topics

    device = torch.device("cpu")
    queries = list(load_topics(args.topics, args.topics_format).values())
    model = IndexModel(index, args.encoder, device=device, width=args.width, backbone_config=args.backbone_config)
    recall = EngineSearch(index, engine, device, options).recall_of_engine(model.encode(queries))
    print(f"its index finds {recall:.4f} of the best 64 codes, over {len(queries):,} topics")


if __name__ == "__main__":
    raise SystemExit(main())
