# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Real collections by the three commands, with a small trained model; ten minutes on two cores."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from hypensearch.models import load_model
from hypensearch.pyserini import bridge as pyserini_bridge
from tests.commands import encode, search, succeed

#: Our measure, trec_eval's flags, trec_eval's name.
MEASURES = {
    "nDCG@10": (["-m", "ndcg_cut.10"], "ndcg_cut_10"),
    "AP(rel=1)": (["-m", "map"], "map"),
    "RR(rel=1)": (["-m", "recip_rank"], "recip_rank"),
    "R(rel=1)@100": (["-m", "recall.100"], "recall_100"),
}
#: Measured with float32 vectors, texts cut at 256 tokens, on CPU.
FIGURES = {
    "scifact": {"nDCG@10": 0.6119, "R(rel=1)@100": 0.9100},
    "commacm": {"nDCG@10": 0.3590, "R(rel=1)@100": 0.6501},
}
NUM_DOCS = {"scifact": 5183, "commacm": 3204}


@dataclass(frozen=True)
class Searched:
    """A collection that was encoded and searched."""

    name: str
    data: Path
    index: Path
    run: Path


@pytest.fixture(scope="module")
def checkpoint(shared: Path) -> Path:
    folder = shared / "models/minilm-2block/checkpoint"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    return folder


@pytest.fixture(scope="module", params=list(FIGURES))
def searched(
    request: pytest.FixtureRequest, shared: Path, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> Searched:
    data, work = shared / "data" / request.param, tmp_path_factory.mktemp(request.param)
    succeed("encode", *encode(data / "corpus.jsonl", work / "index", checkpoint, "--device", "cpu"))
    flags = ["--hits", 1000, "--batch-size", 16, "--device", "cpu"]
    succeed("search", *search(work / "index", data / "topics.tsv", work / "run.txt", *flags))
    return Searched(request.param, data, work / "index", work / "run.txt")


def measured(searched: Searched) -> dict[str, float]:
    argv = ["--qrels", searched.data / "qrels.txt", "--run", searched.run, "--output-format", "json"]
    printed = json.loads(succeed("eval", *argv, "--metrics", *MEASURES))
    values: dict[str, float] = printed["runs"][0]["values"]
    return values


@torch.inference_mode()
def test_golden_scores(checkpoint: Path) -> None:
    """The authors' implementation gives these, every text alone."""
    model = load_model(str(checkpoint))
    queries = ["how many states are there in india", "when do concussion symptoms appear"]
    documents = [
        "India has 28 states and 8 union territories.",
        "Concussion symptoms can appear immediately or up to 72 hours after the injury.",
    ]
    vectors = np.concatenate([model.encode_documents([text]) for text in documents])
    scores = model.encode_queries(queries)(torch.from_numpy(vectors))
    np.testing.assert_allclose(scores, [[51.0523, -2.9691], [-2.7926, 58.8535]], rtol=0, atol=5e-4)
    together = model.encode_queries(queries)(torch.from_numpy(model.encode_documents(documents)))
    np.testing.assert_allclose(together, scores, rtol=0, atol=1e-3)


def test_figures(searched: Searched) -> None:
    values = measured(searched)
    for measure, figure in FIGURES[searched.name].items():
        assert round(values[measure], 4) == figure, values


def test_run_is_complete(searched: Searched) -> None:
    topics = (searched.data / "topics.tsv").read_text(encoding="utf-8").splitlines()
    lines = searched.run.read_text(encoding="utf-8").splitlines()
    assert len(lines) == 1000 * len(topics)


@pytest.mark.usefixtures("anserini")
def test_trec_eval_gives_the_same_figures(searched: Searched) -> None:
    values = measured(searched)
    for measure, (flags, name) in MEASURES.items():
        theirs = pyserini_bridge.trec_eval(["-c", *flags, str(searched.data / "qrels.txt"), str(searched.run)])
        assert values[measure] == pytest.approx(theirs["all"][name], abs=0.5001e-4), measure


@pytest.mark.usefixtures("anserini")
def test_pyserinis_own_commands_take_the_run(searched: Searched, tmp_path: Path) -> None:
    """``pyserini.eval.trec_eval``, and ``pyserini.fusion`` of the run with itself, which changes no rank."""
    python = [sys.executable, "-m", "hypensearch.pyserini"]
    fused = tmp_path / "fused.txt"
    fusion = ["fusion", "--method", "rrf", "--runs", searched.run, searched.run, "--output", fused]
    _check(subprocess.run([*python, *map(str, fusion)], capture_output=True, text=True))
    for run in (searched.run, fused):
        line = ["eval.trec_eval", "-c", "-m", "ndcg_cut.10", searched.data / "qrels.txt", run]
        said = _check(subprocess.run([*python, *map(str, line)], capture_output=True, text=True))
        value = next(line.split()[-1] for line in said.splitlines() if line.startswith("ndcg_cut_10"))
        assert float(value) == FIGURES[searched.name]["nDCG@10"]


def test_half_precision_finds_the_same(searched: Searched, tmp_path: Path) -> None:
    """Scans in bfloat16 and float16 give the run of float32, byte by byte, down to a depth that counts."""
    flags = ["--hits", 100, "--batch-size", 16, "--device", "cpu"]
    for name, more in {"fp32": [], "bf16": ["--bf16"]}.items():
        output = tmp_path / name
        succeed("search", *search(searched.index, searched.data / "topics.tsv", output, *flags, *more))
    assert (tmp_path / "bf16").read_bytes() == (tmp_path / "fp32").read_bytes()


def _check(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout
