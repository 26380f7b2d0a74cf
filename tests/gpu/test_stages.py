# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Every stage of the first contact with a GPU is run dry, so that minutes on one are not lost to a typo."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from hypensearch.scoring.gpu import triton_scorer
from hypensearch.surrogate import builder as surrogate_builder
from tests.gpu.test_searches import gradients_of_numbers
from tests.pretended_cuda import pretended_cuda

if importlib.util.find_spec("integrations") is None:
    pytest.skip("integrations/ lies in the repository alone", allow_module_level=True)
pytest.importorskip("triton", reason="triton is not installed")

from integrations.speed import gpu

SMALL = ["--docs", "300", "--dim", "32", "--layers", "2", "--repeats", "1"]


def run(stage: str, folder: Path, *words: str) -> list[dict[str, Any]]:
    output = folder / "figures.jsonl"
    assert gpu.main([stage, "--output", str(output), *SMALL, *words]) == 0
    return [json.loads(line) for line in output.read_text().splitlines()]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "BLOCK_ROWS", 256)
    monkeypatch.setattr(triton_scorer, "_tuned", {})
    monkeypatch.setattr(surrogate_builder, "gradients", gradients_of_numbers)
    for name in ("reset_peak_memory_stats", "synchronize"):
        monkeypatch.setattr(torch.cuda, name, lambda device=None: None)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device=None: 0)


def test_check(small: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pretended_cuda(monkeypatch):
        figures = run("check", tmp_path)
    assert len(figures) == 5 * 2 * 2 + 4
    assert all(figure["right"] for figure in figures)
    assert {figure["gpu"] for figure in figures} == {"Pretended (9, 0)"}


def test_wrong_scores_are_found(small: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plain = gpu.Scorer.score
    monkeypatch.setattr(gpu.Scorer, "score", lambda self, vectors: plain(self, vectors) * 1.1)
    with pretended_cuda(monkeypatch):
        assert gpu.main(["check", *SMALL]) == 1


def test_headline(small: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pretended_cuda(monkeypatch):
        rate, *figures = run("headline", tmp_path, "--batches", "1", "2")
    assert rate["matrix rate"] > 0
    assert [(figure["batch"], figure["way"]) for figure in figures] == [
        *[(1, "triton"), (1, "fused"), (1, "authors")],
        *[(2, "triton"), (2, "fused")],
    ]


def test_searchers(small: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pretended_cuda(monkeypatch):
        figures = run("searchers", tmp_path)
    overlaps = {figure["search"]: figure["overlap@10"] for figure in figures if "search" in figure}
    assert list(overlaps) == ["exhaustive fp32", "exhaustive bf16", "graph", "surrogate"]
    assert overlaps["exhaustive fp32"] == overlaps["exhaustive bf16"] == 1
    assert [figure["built"] for figure in figures if "built" in figure] == ["codes", "graph"]


def test_encode(small: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pretended_cuda(monkeypatch):
        figures = run("encode", tmp_path, "--docs", "4")
    assert [figure["precision"] for figure in figures] == ["fp32", "bf16", "fp16"]
