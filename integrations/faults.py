# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Command: faults injected into everything that writes; ends with 1 when one leaves something wrong or lost."""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from hypensearch import cli
from tests.faults.campaign import AGAIN, ERROR, FAULTS, NEW, OLD, REFUSED, REMADE, Campaign, Outcome
from tests.faults.jobs import JOBS

_FOLDER = "/dev/shm" if os.path.isdir("/dev/shm") else tempfile.gettempdir()  # in memory, where an fsync costs nothing
_COLUMNS = (OLD, NEW, ERROR, AGAIN, REMADE, REFUSED)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    parser = cli.CommandParser(prog="python -m integrations.faults", description=__doc__)
    parser.add_argument("--most", type=cli.positive_int, default=12, help="faults of a kind for each job, at most")
    parser.add_argument("--job", nargs="+", choices=list(JOBS), default=list(JOBS), help="which ones")
    parser.add_argument("--fault", nargs="+", choices=FAULTS, default=FAULTS, help="which ones")
    parser.add_argument("--seed", type=int, default=0, help="of the places that are drawn")
    parser.add_argument("--folder", default=_FOLDER, help="where to write")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        os.chmod(folder, 0o755)  # a process that may write nowhere must reach its folder
        os.environ["HYPENSEARCH_CACHE"] = f"{folder}/cache"
        os.environ["HF_HUB_OFFLINE"] = "1"
        return _run(args, Path(folder).resolve())


def _run(args: argparse.Namespace, folder: Path) -> int:
    by_fault: dict[str, Outcome] = defaultdict(Outcome)
    by_job: dict[str, Outcome] = defaultdict(Outcome)
    chosen = (job for kind in args.job for job in JOBS[kind](folder / "inputs"))
    for number, (name, job) in enumerate(chosen):
        began = time.perf_counter()
        campaign = Campaign(job, folder / f"job{number}", args.most, args.seed)
        for fault in args.fault:
            found = campaign.inject(fault)
            for outcome in (by_fault[fault], by_job[name]):
                outcome.counts += found.counts
                outcome.wrong += found.wrong
            for words in found.wrong:
                print(f"    {name}: {words}", flush=True)
        print(_row(f"{name} ({time.perf_counter() - began:.0f} s)", by_job[name]), flush=True)
    print(_head("job"), *(_row(name, outcome) for name, outcome in by_job.items()), sep="\n")
    print(_head("fault"), *(_row(name, outcome) for name, outcome in by_fault.items()), sep="\n")
    whole = Outcome()
    for outcome in by_job.values():
        whole.counts += outcome.counts
        whole.wrong += outcome.wrong
    print(_row("all", whole))
    return 1 if whole.wrong else 0


def _head(first: str) -> str:
    names = [first, "injected", *_COLUMNS, "wrong or lost"]
    return f"| {' | '.join(names)} |\n{'|---' * len(names)}|"


def _row(name: str, outcome: Outcome) -> str:
    numbers = (outcome.injected, *(outcome.counts[column] for column in _COLUMNS), len(outcome.wrong))
    return f"| {name} | {' | '.join(f'{number:,}' for number in numbers)} |"


if __name__ == "__main__":
    raise SystemExit(main())
