# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Draw the curves of several training runs in one picture.

python examples/compare_training_curves.py --runs warm=RUN/warm cold=RUN/cold --output curves.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

from hypensearch.train.history import read_history
from hypensearch.train.report import compare_curves


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", nargs="+", required=True, metavar="NAME=FOLDER", help="finished or running")
    parser.add_argument("--output", type=Path, required=True, help="a PNG file")
    args = parser.parse_args()
    folders = dict(run.split("=", 1) for run in args.runs)
    histories = {name: read_history(Path(folder) / "training") for name, folder in folders.items()}
    if not compare_curves(args.output, histories):
        parser.error("a picture needs matplotlib: pip install matplotlib")


if __name__ == "__main__":
    main()
