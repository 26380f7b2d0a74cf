# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Command: compares ``mutmut results`` (on standard input) with the table of docs/mutants.md.

Ends with 1 when a mutant survived that is not judged there, or one is judged there that did not survive.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from hypensearch import cli

TABLE = Path(__file__).parent.parent / "docs" / "mutants.md"
_PACKAGE = "hypensearch."
_RESULT = re.compile(r"\s*hypensearch\.(\S+__mutmut_\d+): (.+)")
_ROW = re.compile(r"\| `(\S+__mutmut_\d+)` \|")
#: Noticed, or told by the run's own limit of time: the change made something go on for ever.
_NOTICED = ("killed", "timeout", "caught by type check")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    cli.CommandParser(
        prog="python -m integrations.mutants", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    ).parse_args(argv)
    survived, judged = _survivors(sys.stdin), set(_ROW.findall(TABLE.read_text(encoding="utf-8")))
    for name in sorted(survived - judged):
        print(f"not in {TABLE.name}: {name}; see it with: mutmut show {_PACKAGE}{name}")
    for name in sorted(judged - survived):
        print(f"in {TABLE.name}, but it did not survive: {name}")
    print(f"{len(survived)} mutants survived, {len(judged)} are judged in {TABLE.name}")
    return 1 if survived != judged else 0


def _survivors(lines: Iterable[str]) -> set[str]:
    results = [match for line in lines if (match := _RESULT.fullmatch(line.rstrip("\n")))]
    return {match[1] for match in results if match[2] not in _NOTICED}


if __name__ == "__main__":
    raise SystemExit(main())
