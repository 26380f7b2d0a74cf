# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Command: every reader fed damaged and random files; ends with 1 when one of them fails in another way than it may."""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from hypensearch import cli
from tests.fuzzing import Outcome, fuzz
from tests.readers import READERS


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    parser = cli.CommandParser(prog="python -m integrations.fuzz", description=__doc__)
    parser.add_argument("--bytes", type=cli.positive_int, default=10_000_000, help="fed to each reader, at least")
    parser.add_argument(
        "--guided",
        type=cli.positive_int,
        metavar="SECONDS",
        help="let atheris choose the damages for so long by the code they reach, in place of a number of bytes",
    )
    parser.add_argument("--reader", nargs="+", choices=list(READERS), default=list(READERS), help="which ones")
    parser.add_argument("--seed", type=int, default=0, help="of the damages")
    parser.add_argument("--keep", metavar="FOLDER", help="where to put the files that were not read as they should be")
    args = parser.parse_args(argv)
    if args.guided and importlib.util.find_spec("atheris") is None:
        parser.error("--guided needs atheris: pip install atheris==3.0.0 (Linux, Python 3.11)")
    print(_line("reader", "bytes", "files", "read", "refused", "findings", "seconds"), flush=True)
    return 1 if sum(_fuzz(args, name) for name in args.reader) else 0


def _fuzz(args: argparse.Namespace, name: str) -> int:
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        found = _guided(args, name, folder) if args.guided else fuzz(READERS[name], Path(folder), args.bytes, args.seed)
    counts = (found.num_bytes, found.num_files, found.read, found.refused, len(found.findings))
    print(_line(name, *(f"{count:,}" for count in counts), f"{time.perf_counter() - began:.0f}"), flush=True)
    for number, (where, data) in enumerate(found.findings.items()):
        print(f"    {where}", flush=True)
        if args.keep:
            Path(args.keep).mkdir(parents=True, exist_ok=True)
            (Path(args.keep) / f"{name.replace(' ', '-')}-{number}").write_bytes(data)
    return len(found.findings)


def _guided(args: argparse.Namespace, name: str, folder: str) -> Outcome:
    """Fuzz in a process of its own: atheris never returns, and a crash of a library would take this one along."""
    outcome = Path(folder) / "outcome.json"
    command = [sys.executable, "-m", "integrations.guided", name, str(args.guided), str(args.seed), folder]
    ended = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if ended.returncode == 0:
        facts = json.loads(outcome.read_text())
        return Outcome(
            **{**facts, "findings": {where: bytes.fromhex(data) for where, data in facts["findings"].items()}}
        )
    crashed = sorted(Path(folder).glob("crash-*")) + sorted(Path(folder).glob("timeout-*"))
    why = " ".join(ended.stderr.split())[-300:]
    content = crashed[0].read_bytes() if crashed else b""
    return Outcome(findings={f"its process ended with {ended.returncode}: {why}": content})


def _line(name: str, *columns: str) -> str:
    return f"{name:30}" + "".join(f"{column:>12}" for column in columns)


if __name__ == "__main__":
    raise SystemExit(main())
