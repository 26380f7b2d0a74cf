# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Command: serve an index over HTTP."""

from __future__ import annotations

import argparse
import socket
from collections.abc import Sequence

from hypensearch import cli
from hypensearch.errors import HypensearchError
from hypensearch.options import add_flags, from_args
from hypensearch.serve.limits import Limits


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of ``python -m hypensearch.serve``."""
    parser = cli.CommandParser(
        prog="python -m hypensearch.serve",
        description="Serve an index over HTTP: search by text, documents, health and Prometheus metrics; the page at / "
        "searches from a browser.",
    )
    what = parser.add_argument_group("what to serve")
    what.add_argument("--index", required=True, help="index folder, or the name of a prebuilt index")
    what.add_argument("--encoder", help="checkpoint folder or hub name; the index's own model by default")
    what.add_argument("--searcher", default="auto", help="auto, exhaustive, graph or surrogate; see the search command")
    what.add_argument("--target-recall", type=float, help="estimated recall that surrogate search stops at")
    what.add_argument("--max-length", type=cli.positive_int, default=256, help="tokens kept of a query")
    what.add_argument("--device", default="auto", help="auto (CUDA if there is one), cpu, cuda or cuda:N")
    cli.add_threads_flag(what)
    cli.add_model_arguments(parser)
    where = parser.add_argument_group("where")
    where.add_argument("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 for all of the machine's")
    where.add_argument("--port", type=int, default=8000, help="port to listen on; 0 for any that is free")
    add_flags(parser.add_argument_group("limits"), Limits)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    :return: The exit code: 0, or 2 for bad input.
    """
    args = build_parser().parse_args(argv)
    return cli.run(lambda: _serve(args), threads=cli.threads_of(args))


def _serve(args: argparse.Namespace) -> None:
    limits = from_args(Limits, args)
    if not 0 <= args.port < 65536:
        raise HypensearchError(f"--port {args.port}: wanted a number from 0 to 65535")
    try:
        import uvicorn

        from hypensearch.serve.app import build_app
    except ImportError as error:
        raise HypensearchError(f"the service needs {error.name}: pip install 'hypensearch[serve]'") from None
    from hypensearch.flat.prebuilt import index_folder
    from hypensearch.search import HypencoderSearcher

    options = {
        "device": args.device,
        "max_length": args.max_length,
        "width": args.width,
        "backbone_config": args.backbone_config,
        "searcher": args.searcher,
        "target_recall": args.target_recall,
    }
    searcher = HypencoderSearcher(index_folder(args.index), args.encoder, **options)
    with _listening(args.host, args.port) as listener:
        app = build_app(searcher, limits, cli.threads_of(args))
        host, port = listener.getsockname()[:2]
        print(f"{searcher.num_docs:,} documents at http://{host}:{port}/ (Ctrl-C ends)", flush=True)
        uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).run([listener])


def _listening(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise HypensearchError(
            f"cannot listen on {host}:{port}: {error.strerror or error}; try another --port"
        ) from None


if __name__ == "__main__":
    raise SystemExit(main())
