# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The scripts in docs/, run word for word on the README's own corpus, in a process of their own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hypensearch.formats.run import read_run
from integrations.conftest import ROOT


def blocks(path: str, heading: str = "") -> dict[str, list[str]]:
    """The code blocks of a page, or of one of its sections, by language."""
    text = (ROOT / path).read_text(encoding="utf-8")
    section = text.split(f"## {heading}\n")[1].split("\n## ")[0] if heading else text
    found: dict[str, list[str]] = {}
    for language, code in re.findall(r"```(bash|python)\n(.*?)```", section, flags=re.DOTALL):
        found.setdefault(language, []).append(code)
    return found


def run(command: list[str], folder: Path, **changed: str) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    python_path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    env = {**os.environ, "PATH": path, "PYTHONPATH": python_path, **changed}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder where the README's commands were run."""
    folder = tmp_path_factory.mktemp("docs")
    (commands,) = blocks("README.md", "Your own corpus")["bash"]
    run(["bash", "-euc", commands], folder)
    return folder


@pytest.fixture(scope="module")
def notebook(toy: Path, pyserini: None) -> list[str]:
    """What the notebook's script printed."""
    return run([sys.executable, "-c", blocks("docs/python.md")["python"][0]], toy).splitlines()


def test_the_notebook_searches_evaluates_and_fuses(toy: Path, notebook: list[str]) -> None:
    assert notebook[0].startswith("strptime ")
    assert "datetime.strptime(date_string, format) returns" in notebook[0]
    evaluations = [line for line in notebook if line.startswith("<Evaluation")]
    assert evaluations == ["<Evaluation of 2 topics: nDCG@10 1.0000, RR(rel=1)@10 1.0000>"] * 2
    runs = {name: read_run(toy / f"toy/run.{name}.txt") for name in ("hypencoder", "fused")}
    assert list(runs["hypencoder"]) == list(runs["fused"]) == ["1", "2"]


def test_the_notebook_is_short_and_shallow() -> None:
    lines = [line for line in blocks("docs/python.md")["python"][0].splitlines() if line.strip()]
    assert len(lines) <= 20
    for module in re.findall(r"^(?:from|import) (\S+)", "\n".join(lines), flags=re.MULTILINE):
        assert re.fullmatch(r"hypensearch\.\w+", module)


def test_the_run_is_that_of_the_command(toy: Path, notebook: list[str], command) -> None:
    files = ["--index", toy / "toy/index", "--topics", toy / "toy/topics.tsv", "--output", toy / "toy/again.txt"]
    command("hypensearch.search", *files)
    assert (toy / "toy/run.hypencoder.txt").read_bytes() == (toy / "toy/again.txt").read_bytes()


def test_frames_and_ir_measures(toy: Path, notebook: list[str]) -> None:
    printed = run([sys.executable, "-c", blocks("docs/python.md")["python"][1]], toy).splitlines()
    assert printed[-1] == "{nDCG@10: 1.0}"


@pytest.mark.parametrize("java_home", ["", "/nowhere"])
def test_lucene_and_hybrid_search_beside_ours(toy: Path, notebook: list[str], java_home: str) -> None:
    """Whatever JAVA_HOME says: the JDK is found."""
    (script,) = blocks("docs/pyserini.md", "LuceneSearcher and HybridSearcher beside ours")["python"]
    printed = run([sys.executable, "-c", script], toy, JAVA_HOME=java_home).splitlines()
    for searcher in ("LuceneSearcher", "HypencoderSearcher", "HybridSearcher"):
        assert any(line.startswith(f"{searcher} glob ") for line in printed)
    assert printed[-1] == "datetime.strptime(date_string, format) returns a datetime that corresponds to date_string."
