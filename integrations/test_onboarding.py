# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Pyserini's dense-retrieval onboarding beside ours, in docs/pyserini.md: each line of ours is run, word for word.

The data have NFCorpus' places and forms, and a few documents.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from integrations.conftest import ROOT

DOCUMENTS = {
    "MED-1": ("Statins and breast cancer", "Statin use may prevent the recurrence of breast cancer."),
    "MED-2": ("Aortic aneurysms", "Smoking is the main risk of abdominal aortic aneurysms; exercise may prevent them."),
    "MED-3": ("Blueberries", "Blueberries improved memory in older adults."),
    "MED-4": ("Vitamin D", "Vitamin D from sunlight keeps bones healthy."),
    "MED-5": ("Coffee", "Coffee drinkers live as long as others."),
    "MED-6": ("Turmeric", "Curcumin reduced inflammation of joints."),
    "MED-7": ("Nuts", "A handful of nuts a day lowers cholesterol."),
    "MED-8": ("Sleep", "Short sleep goes with obesity in children."),
    "MED-9": ("Ginger", "Ginger helps against nausea."),
    "MED-10": ("Tea", "Green tea contains catechins."),
    "MED-11": ("Salt", "Less salt lowers blood pressure."),
    "MED-12": ("Eggs", "Eggs contain choline."),
}
QUERY = "How to Help Prevent Abdominal Aortic Aneurysms"
QUERIES = {"PLAIN-3074": QUERY, "PLAIN-2": "Do Cholesterol Statin Drugs Cause Breast Cancer?"}
STEPS = ("encode and index", "search", "evaluate")


def section() -> str:
    return (ROOT / "docs/pyserini.md").read_text(encoding="utf-8").split("## Onboarding")[1].split("\n## ")[0]


def lines() -> dict[str, tuple[str, str]]:
    """Pyserini's line and ours by step, as the table has them."""
    rows = re.findall(r"^\| ([^|]+?) \| `([^`]+)` \| `([^`]+)` \|$", section(), flags=re.MULTILINE)
    return {step: (theirs, ours) for step, theirs, ours in rows}


def snippets() -> list[str]:
    return re.findall(r"```python\n(.*?)```", section(), flags=re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("onboarding")
    data = folder / "collections/nfcorpus"
    (data / "qrels").mkdir(parents=True)
    with (data / "corpus.jsonl").open("w") as corpus:
        for docid, (title, text) in DOCUMENTS.items():
            corpus.write(json.dumps({"_id": docid, "title": title, "text": text, "metadata": {"url": "x"}}) + "\n")
    (data / "queries.tsv").write_text("".join(f"{topic}\t{text}\n" for topic, text in QUERIES.items()))
    (data / "qrels/test.qrels").write_text("PLAIN-3074\tQ0\tMED-2\t2\nPLAIN-2\tQ0\tMED-1\t1\n")
    return folder


def run(folder: Path, *words: str) -> str:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    done = subprocess.run([sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{shlex.join(words)}\n{done.stderr}"
    return done.stdout


def without_module_encoder_and_index(line: str) -> list[str]:
    """What has to be the same on both sides: all but module, index and encoder, with the flag that BGE needs."""
    words = [word for word in shlex.split(line) if word != "--l2-norm"]
    assert words[:2] == ["python", "-m"]
    rest = words[3:] if words[2] != "hypensearch.pyserini" else words[4:]
    named = ("bge-base-en-v1.5", "hypencoder", "bundled")
    return ["*" if any(name in word for name in named) else word for word in rest]


@pytest.mark.parametrize("step", STEPS)
def test_lines_differ_in_module_encoder_and_index_only(step: str) -> None:
    theirs, ours = lines()[step]
    assert theirs.startswith("python -m pyserini.")
    assert ours.startswith("python -m hypensearch.")
    assert without_module_encoder_and_index(theirs) == without_module_encoder_and_index(ours)


def test_each_line_in_turn(folder: Path, anserini: None) -> None:
    assert tuple(lines()) == STEPS
    said = {step: run(folder, *shlex.split(ours)[1:]) for step, (_, ours) in lines().items()}

    assert re.search(r"^ndcg_cut_10 +\tall\t1.0000$", said["evaluate"], flags=re.MULTILINE)
    index = folder / "indexes/nfcorpus.hypencoder"
    assert {"index", "docid", "manifest.json"} <= {path.name for path in index.iterdir()}
    assert (index / "docid").read_text().split() == list(DOCUMENTS)

    theirs, ours = snippets()
    assert ours.splitlines()[5:] == theirs.splitlines()[5:]  # all behind imports, encoder and searcher
    printed = [line.split() for line in run(folder, "-c", ours).splitlines()]
    assert [rank for rank, _, _ in printed] == [str(rank) for rank in range(1, 11)]
    ranked = [line.split() for line in (folder / "runs/run.beir.hypencoder.nfcorpus.txt").read_text().splitlines()]
    batch = [(docid, float(score)) for topic, _, docid, _, score, _ in ranked if topic == "PLAIN-3074"][:10]
    assert [(docid, pytest.approx(float(score), abs=2e-4)) for _, docid, score in printed] == batch
    assert printed[0][1] == "MED-2"
