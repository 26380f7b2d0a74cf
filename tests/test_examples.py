# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""What the scripts in examples/ compute; that they run at all is a matter of minutes, in integrations/."""

from __future__ import annotations

import importlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hypensearch.train.validation import read_collection

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return importlib.import_module


def test_a_paired_comparison_is_the_textbooks(example: Any) -> None:
    rng = np.random.default_rng(0)
    baseline = rng.random(400)
    ranks = baseline + rng.normal(0.01, 0.1, 400)
    differences = ranks - baseline
    error = differences.std(ddof=1) / math.sqrt(400)
    found = example("compare_with_biencoder").paired(ranks, baseline)
    half = 1.96593 * error  # Student's t, 399 degrees of freedom
    assert found["gain"] == pytest.approx(differences.mean(), abs=5e-5)
    assert found["95 %"] == pytest.approx([differences.mean() - half, differences.mean() + half], abs=1e-4)
    assert (found["p"] < 0.05) == (abs(differences.mean()) > half)
    assert found["found with power .8"] == pytest.approx((1.95996 + 0.84162) * error, abs=5e-5)


def test_the_first_model_is_the_baseline(example: Any, tmp_path: Path) -> None:
    values = {"biencoder": np.array([[1.0, 0.0, 0.5], [0.5, 0.5, 0.5]]), "hypencoder": np.array([[1.0, 0.5, 0.5]] * 2)}
    example("compare_with_biencoder").report(values, tmp_path / "report.json")
    written = json.loads((tmp_path / "report.json").read_text())
    assert written["biencoder"] == {"MRR@10": [0.5, 0.5]}
    assert written["hypencoder"]["gain"] == pytest.approx(0.5 / 3, abs=1e-4)


def test_a_smaller_collection_keeps_what_answers(example: Any, tmp_path: Path) -> None:
    pairs = [(f"query {i}", f"text {i}") for i in range(5)]
    example("compare_with_biencoder").write_validation(tmp_path, pairs, [f"other {i}" for i in range(20)])
    whole = read_collection(tmp_path)
    smaller = example("compare_with_biencoder").of_size(whole, 8)
    assert len(smaller.documents) == len(smaller.docids) == 8
    assert {f"text {i}" for i in range(5)} < set(smaller.documents)
    texts = dict(zip(whole.docids, whole.documents, strict=True))
    assert all(texts[docid] == text for docid, text in zip(smaller.docids, smaller.documents, strict=True))
    assert set(example("compare_with_biencoder").of_size(whole, 100).docids) == set(whole.docids)
