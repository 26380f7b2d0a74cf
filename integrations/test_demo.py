# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The demo with its BM25 baseline: the commands it prints are Pyserini's, and give the run that it made."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from hypensearch.demo.__main__ import main
from hypensearch.formats.run import read_run


def test_bm25_stands_beside_and_pyserinis_commands_give_the_same_run(
    pyserini: None,
    tiny_checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["--encoder", str(tiny_checkpoint), "--max-docs", "200"]
    assert main(arguments) == 0
    output = capfd.readouterr().out
    assert "p(run.hypencoder)" in output

    typed = [
        shlex.split(line)[1:] for line in output.splitlines() if line.startswith("$ python -m hypensearch.pyserini")
    ]
    assert len(typed) == 2
    ours = read_run("demo/run.bm25.txt")
    for command in typed:
        moved = [argument.replace("demo/lucene", "lucene").replace("demo/run.bm25", "run.bm25") for argument in command]
        subprocess.run([sys.executable, *moved[1:]], check=True, env={**os.environ, "PYTHONPATH": _import_path()})
    assert read_run("run.bm25.txt") == {topic: hits for topic, hits in ours.items() if hits}

    assert main(arguments) == 0
    assert "index.lucene" not in capfd.readouterr().out


def _import_path() -> str:
    return os.pathsep.join(os.path.abspath(path) for path in sys.path if path)
