# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""``python -m hypensearch.bench --exhaustive``: prints what is measured, writes it as JSON."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from typing import Any

import torch

from hypensearch.bench.exhaustive import Case, Figure, measure
from hypensearch.device import resolve_device
from hypensearch.formats.files import replace_when_whole


def run(args: argparse.Namespace, say: Callable[[str], None]) -> None:
    """Measure each combination of layers and batch size.

    :param args: The command's flags.
    :param say: Gets the lines of the table.
    """
    device, reports = resolve_device(args.device), []
    for layers in args.layers:
        for queries in args.batch_size:
            case = Case(args.documents, args.dim, layers, queries, max(args.hits))
            say(f"{case.documents:,} documents x {case.dim}, {layers} layers, {queries} queries, k = {case.hits}")
            say(_line("", "seconds", "10^9/s", "of limit", "x authors", "overlap", "equal"))
            figures = []
            for figure in measure(case, args.precision, device, args.repeats, args.scorers):
                say(_row(figure))
                figures.append(figure.facts())
            reports.append({"layers": layers, "queries": queries, "hits": case.hits, "figures": figures})
    if args.output:
        facts = {"device": str(device), "cores": os.cpu_count(), "torch": torch.__version__}
        with replace_when_whole(args.output, "w") as file:
            json.dump({**facts, "documents": args.documents, "dim": args.dim, "cases": reports}, file, indent=1)
        say(f"the figures are in {args.output}")


def _row(figure: Figure) -> str:
    share = None if figure.share is None else f"{100 * figure.share:.0f} %"
    faster = None if figure.times_faster is None else f"{figure.times_faster:.2f}"
    overlap = None if figure.overlap is None else f"{figure.overlap:.4f}"
    return _line(figure.name, f"{figure.seconds:.3f}", f"{figure.rate:.1f}", share, faster, overlap, figure.equal)


def _line(name: str, *cells: Any) -> str:
    return f"{name:<34}" + "".join(f"{'-' if cell is None else cell!s:>11}" for cell in cells)
