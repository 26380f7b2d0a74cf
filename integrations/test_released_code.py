# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""A checkpoint converted to the released layout scores in the authors' code as it does here.

``RELEASED_CODE`` names a checkout of github.com/jfkback/hypencoder-paper, ``RELEASED_CODE_PYTHON`` a Python with
torch, transformers 4.57, which is what that code runs with, and docarray.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from hypensearch.models import DualEncoder, load_model
from hypensearch.models.config import QNetConfig
from hypensearch.models.new_model import load_backbone, new_hypencoder
from hypensearch.models.warm_start import warm_dims, warm_start
from tests.commands import succeed

QUERIES = ["w1 f1", "w2 w3 f4 f5 f6", "w7"]
DOCUMENTS = ["w1 f2 f3 f4", "w9", "w2 f1 f1 f1 f1 f1 f1 f1", "w3 w4", "f9 f8 w7"]
ENGLISH = ["how do I parse a date", "find files by a pattern"]
ENGLISH_DOCUMENTS = ["datetime.strptime(date_string, format) returns a datetime.", "glob.glob(pathname)", "Shuffle."]

KINDS: dict[str, dict[str, Any]] = {
    "cls": {"pooling": "cls"},
    "6 blocks": {"pooling": "cls", "num_blocks": 6},
    "mean": {"pooling": "mean"},
    "separate encoders": {"pooling": "mean", "shared_encoder": False},
    "Matryoshka": {"pooling": "cls", "widths": (8, 32)},
}


@pytest.fixture(scope="session")
def released_code() -> tuple[str, str]:
    code, python = os.environ.get("RELEASED_CODE"), os.environ.get("RELEASED_CODE_PYTHON")
    if not code or not python:
        pytest.skip("RELEASED_CODE and RELEASED_CODE_PYTHON do not name the authors' code and a Python for it")
    return code, python


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_the_same(released_code: tuple[str, str], backbone: Path, tmp_path: Path, kind: str) -> None:
    model = make(backbone, **KINDS[kind])
    model.save_pretrained(tmp_path / "ours")
    succeed("convert", "--encoder", tmp_path / "ours", "--output", tmp_path / "theirs", "--to", "released")
    compare(released_code, tmp_path / "theirs", model, QUERIES, DOCUMENTS, atol=2e-5)


def test_the_bundled_model_too(released_code: tuple[str, str], tmp_path: Path) -> None:
    succeed("convert", "--encoder", "bundled", "--output", tmp_path / "theirs", "--to", "released")
    compare(released_code, tmp_path / "theirs", load_model("bundled"), ENGLISH, ENGLISH_DOCUMENTS, atol=1e-3)


def make(backbone: Path, *, num_blocks: int = 2, widths: tuple[int, ...] = (), **options: Any) -> DualEncoder:
    transformer, tokenizer = load_backbone(str(backbone))
    is_warm = options["pooling"] == "mean"
    dims = warm_dims(32, num_blocks) if is_warm else (32,) * (num_blocks + 1) + (1,)
    rng = torch.Generator().manual_seed(7)
    q_net = QNetConfig(dims=dims, residual=not widths)
    model = new_hypencoder(transformer, tokenizer, q_net=q_net, widths=widths, generator=rng, **options)
    if is_warm:
        warm_start(model)
    else:
        for parameter in model.parameters():
            parameter.data.add_(0.05 * torch.randn(parameter.shape, generator=rng))
    return model.eval()


def compare(
    released_code: tuple[str, str], folder: Path, model: DualEncoder, queries: list[str], docs: list[str], atol: float
) -> None:
    """Score in both codes; the authors' mean pooling counts padding, so there it gets one document at a time."""
    vectors = torch.from_numpy(model.encode_documents(docs))
    scores = model.encode_queries(queries)(vectors)
    texts = {"queries": queries, "documents": docs, "batch_size": 1 if model.passage_encoder.pooling == "mean" else 8}
    code, python = released_code
    done = subprocess.run(
        [python, str(Path(__file__).with_name("released_code_scores.py")), str(folder)],
        input=json.dumps(texts),
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": code, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    theirs = json.loads(done.stdout)
    assert (torch.tensor(theirs["vectors"]) - vectors).abs().max() < 1e-4
    difference = (torch.tensor(theirs["scores"]) - scores).abs().max()
    print(f"{folder}: largest difference {difference:.2e}, scores' std {scores.std():.2e}")
    assert difference < atol
