# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Training from a file of a few hundred megabytes takes no more memory than from a small one, but for its places."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

MEGABYTE = 2**20
SMALL, LARGE = 1_000, 100_000
WORDS_A_TEXT = 150
PER_RECORD = 200  # bytes: its place in the file, and in the order of the epoch
SLACK = 100 * MEGABYTE

RUN = """
import resource, sys
from hypensearch.train.__main__ import main
code = main(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
raise SystemExit(code)
"""


def write_records(path: Path, count: int) -> Path:
    texts = [" ".join(f"w{(row * 7 + i) % 40}" for i in range(WORDS_A_TEXT)) for row in range(40)]
    with open(path, "w", encoding="utf-8") as file:
        for row in range(count):
            record = {"query": f"w{row % 40} number {row}", "positive": texts[row % 40], "negatives": texts[1:5]}
            file.write(json.dumps(record) + "\n")
    return path


def peak_of(backbone: Path, records: Path, output: Path) -> int:
    """Train two steps in a process of its own and give the most memory it held, in bytes."""
    sizes = ["--batch-size", "8", "--num-negatives", "1", "--max-steps", "2", "--eval-steps", "2", "--num-blocks", "1"]
    losses = ["--losses", "cross_entropy", "--document-length", "32"]
    where = ["--backbone", str(backbone), "--train", str(records), "--output", str(output)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", RUN, *where, *sizes, *losses]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    return int(done.stdout.split()[-1])


def test_memory_does_not_grow_with_the_file(backbone: Path, tmp_path: Path) -> None:
    peaks = {}
    for count in (SMALL, LARGE):
        records = write_records(tmp_path / f"{count}.jsonl", count)
        peaks[count] = peak_of(backbone, records, tmp_path / f"o{count}")
        size = records.stat().st_size / MEGABYTE
        print(f"{count:,} records of {size:,.0f} MB: {peaks[count] / MEGABYTE:.0f} MB")
    assert peaks[LARGE] - peaks[SMALL] < SLACK + PER_RECORD * LARGE
