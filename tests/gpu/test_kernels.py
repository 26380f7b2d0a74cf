# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The scoring kernel compiles for GPUs that are not there; ``make kernels`` compiles all that a search may launch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("gpu", ["8.0", "9.0"])
def test_the_first_tiling_compiles_and_takes_what_is_predicted(gpu: str, tmp_path: Path) -> None:
    pytest.importorskip("triton", reason="triton is not installed: pip install -c constraints.txt triton")
    if not (ROOT / "integrations").is_dir():
        pytest.skip("integrations/ lies in the repository alone")
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [
        sys.executable,
        "-m",
        "integrations.speed.kernels",
        "--dims",
        "384",
        "--blocks",
        "2",
        "--precision",
        "bf16",
    ]
    done = subprocess.run(
        [*command, "--tilings", "1", "--gpus", gpu],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment | {"TRITON_CACHE_DIR": str(tmp_path)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"| 384 | 2 | bf16 | {gpu} | 128, 128, 64, 8, 3 |" in done.stdout
