# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Command: lies with fitting checksums about every format; ends with 1 when one is not refused as it should be."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from hypensearch import cli

_FOLDER = "/dev/shm" if os.path.isdir("/dev/shm") else tempfile.gettempdir()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    from tests.liars import FORMATS
    from tests.lies import tell_lies

    parser = cli.CommandParser(prog="python -m integrations.lies", description=__doc__)
    parser.add_argument("--lies", type=cli.positive_int, default=10_000, help="lies about each format")
    parser.add_argument("--format", nargs="+", choices=list(FORMATS), default=list(FORMATS), help="which ones")
    parser.add_argument("--seed", type=int, default=0, help="of the lies")
    args = parser.parse_args(argv)
    os.environ["HF_HUB_OFFLINE"] = "1"
    print("| format | lies | used | refused | findings | seconds |\n|---|---|---|---|---|---|", flush=True)
    findings = 0
    for name in args.format:
        began = time.perf_counter()
        with tempfile.TemporaryDirectory(dir=_FOLDER) as folder:
            os.environ["HYPENSEARCH_CACHE"] = f"{folder}/cache"
            (Path(folder) / "lies").mkdir()
            found = tell_lies(FORMATS[name], Path(folder) / "lies", args.lies, args.seed)
        counts = (found.count, found.used, found.refused, len(found.findings), round(time.perf_counter() - began))
        print(f"| {name} | {' | '.join(f'{count:,}' for count in counts)} |", flush=True)
        for where, lie in found.findings.items():
            print(f"    {where} ({lie!r})", flush=True)
        findings += len(found.findings)
    return 1 if findings else 0


if __name__ == "__main__":
    raise SystemExit(main())
