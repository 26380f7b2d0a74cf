# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""BM25, a bi-encoder in Faiss and the Hypencoder side by side on SciFact and CACM: conditions of ``hypensearch.2cr``.

Each condition is a process of the real commands, Pyserini's among them, and its figures are those that the condition
expects, to four decimals. A quarter of an hour on two idle cores; ``HYPENSEARCH_KEEP`` names a folder whose
indexes and runs are taken as they are, and kept.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hypensearch.reproductions.conditions import MEASURED, read_conditions
from tests.commands import write_corpus, write_topics

KEEP_VARIABLE = "HYPENSEARCH_KEEP"
#: Pyserini's own, for its integration tests.
TOLERANCE = 0.000101


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    kept = os.environ.get(KEEP_VARIABLE)
    return Path(kept) if kept else tmp_path_factory.mktemp("reproductions")


def reproduce(work: Path, data: Path, collection: str, condition: str) -> dict[str, float]:
    flags = ["--data", data, "--indexes", work / "indexes", "--directory", work / "runs"]
    words = ["hypensearch.2cr", "--collection", collection, "--condition", condition, *flags]
    done = subprocess.run([sys.executable, "-m", *map(str, words)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines() if line.startswith("    ") and "[" in line]
    return {words[0]: float(words[words.index(":") + 1]) for words in lines}


@pytest.mark.usefixtures("pyserini")
@pytest.mark.parametrize(
    ("collection", "condition"), [(name, one.name) for name in MEASURED for one in read_conditions(name)]
)
def test_figures(work: Path, shared: Path, collection: str, condition: str) -> None:
    (measurement,) = next(one for one in read_conditions(collection) if one.name == condition).measurements
    assert reproduce(work, shared / "data", collection, condition) == pytest.approx(measurement.scores, abs=TOLERANCE)


@pytest.mark.usefixtures("pyserini")
def test_side_by_side_on_a_few_documents(tmp_path: Path) -> None:
    """All conditions from their first command on, in a minute."""
    data = tmp_path / "scifact"
    data.mkdir()
    texts = {"1": "Aspirin lowers fever.", "2": "Zinc shortens colds.", "3": "Coffee keeps people awake."}
    write_corpus(data / "corpus.jsonl", texts)
    write_topics(data / "topics.tsv", {"7": "aspirin against fever", "8": "coffee and being awake"})
    (data / "qrels.txt").write_text("7 0 1 1\n8 0 3 1\n")
    for condition in read_conditions("scifact"):
        found = reproduce(tmp_path, tmp_path, "scifact", condition.name)
        assert found == {"nDCG@10": 1.0, "MRR@10": 1.0, "R@100": 1.0}, condition.name


def test_what_is_there_is_measured_as_it_is(tmp_path: Path) -> None:
    """Needs neither Pyserini nor Java."""
    data = tmp_path / "scifact"
    data.mkdir()
    write_corpus(data / "corpus.jsonl", {"d1": "parse a date", "d2": "shuffle a list", "d3": "open a file"})
    write_topics(data / "topics.tsv", {"1": "read dates", "2": "random order of a list"})
    (data / "qrels.txt").write_text("1 0 d1 1\n2 0 d2 1\n")
    assert reproduce(tmp_path, tmp_path, "scifact", "hypencoder")["MRR@10"] == 1.0
    (run,) = (tmp_path / "runs").iterdir()
    run.write_text("1 Q0 d1 1 1.0 x\n2 Q0 d3 1 2.0 x\n2 Q0 d2 2 1.0 x\n")
    assert reproduce(tmp_path, tmp_path, "scifact", "hypencoder")["MRR@10"] == 0.75
