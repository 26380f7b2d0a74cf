# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The README's examples, run as a newcomer would: word for word, in an empty folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import hypensearch

README = Path(__file__).parents[1] / "README.md"


def test_your_own_corpus(tmp_path: Path) -> None:
    section = README.read_text(encoding="utf-8").split("## Your own corpus")[1].split("\n## ")[0]
    blocks = dict(re.findall(r"```(bash|python)\n(.*?)```", section, flags=re.DOTALL))
    measures = _run(["bash", "-euc", blocks["bash"]], tmp_path)
    assert re.search(r"nDCG@10\s+1.0000", measures)
    found = _run([sys.executable, "-c", blocks["python"]], tmp_path)
    assert found.startswith("strptime ")


def _run(command: list[str], folder: Path) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    package = Path(hypensearch.__file__).parents[1]  # the working tree or site-packages, whichever is tested
    env = {**os.environ, "PATH": path, "PYTHONPATH": str(package)}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout
