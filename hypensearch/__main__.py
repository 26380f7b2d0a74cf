# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The console script: ``hypensearch search ...`` is ``python -m hypensearch.search ...``."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from hypensearch import cli

COMMANDS = {
    "encode": ("hypensearch.encode.__main__", "corpus -> index of document vectors"),
    "encode.query": ("hypensearch.encode.query", "topics -> q-nets on disk"),
    "index": ("hypensearch.index.__main__", "index -> graph or codes for approximate search"),
    "index.join": ("hypensearch.index.join", "indexes of shards -> one index"),
    "verify": ("hypensearch.verify.__main__", "is an index, are q-nets or a checkpoint what was written"),
    "search": ("hypensearch.search.__main__", "index and topics -> run"),
    "rerank": ("hypensearch.rerank.__main__", "run -> run, its candidates scored with q-nets"),
    "eval": ("hypensearch.eval.__main__", "qrels and runs -> measures"),
    "export": ("hypensearch.export.__main__", "index -> codes and vectors in a database, to search there"),
    "serve": ("hypensearch.serve.__main__", "index -> search over HTTP"),
    "bench": ("hypensearch.bench.__main__", "searches of an index measured against each other"),
    "mine": ("hypensearch.mine.__main__", "run -> training data with hard negatives"),
    "train": ("hypensearch.train.__main__", "training data -> checkpoint"),
    "convert": ("hypensearch.convert.__main__", "checkpoint -> another layout, or the hub"),
    "convert.onnx": ("hypensearch.convert.onnx", "checkpoint -> ONNX graphs, for scorers without torch"),
    "convert.run": ("hypensearch.convert.run", "run of the authors' code -> TREC run"),
    "demo": ("hypensearch.demo.__main__", "the whole pipeline on documentation strings, offline"),
    "2cr": ("hypensearch.2cr.__main__", "published figures, run again and compared"),
    "pyserini": ("hypensearch.pyserini.__main__", "any Pyserini command, under a JDK that fits"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that the first argument names.

    :return: The command's exit code.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    name = arguments.pop(0) if arguments else "--help"
    if name in ("-h", "--help"):
        return cli.run(lambda: print(_usage()))
    if name == "--version":
        from hypensearch import __version__

        print(f"hypensearch {__version__}")
        return 0
    if name not in COMMANDS:
        print(f"error: no command {name!r}: known are {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    result: int = importlib.import_module(COMMANDS[name][0]).main(arguments)
    return result


def _usage() -> str:
    lines = [f"  {name:<13} {what}" for name, (_, what) in COMMANDS.items()]
    return "\n".join(
        ["usage: hypensearch COMMAND ...   (COMMAND --help says more)", "", *lines, "  --version     the version"]
    )


if __name__ == "__main__":
    raise SystemExit(main())
