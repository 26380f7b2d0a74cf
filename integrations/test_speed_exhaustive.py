# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from integrations.speed.exhaustive import Case, authors_search, main, random_q_nets


def test_scorers_are_measured_against_the_limits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    size = ["--documents", "700", "--dim", "64", "--layers", "2", "--batch-size", "1", "3", "--hits", "20"]
    scored = ["--precision", "fp32", "bf16", "--device", "cpu", "--repeats", "1"]
    assert main([*size, *scored, "--output", str(tmp_path / "bench.json")]) == 0
    report = json.loads((tmp_path / "bench.json").read_text())
    assert [case["queries"] for case in report["cases"]] == [1, 3]
    for case in report["cases"]:
        found = {figure["name"]: figure for figure in case["figures"]}
        assert found["hypensearch fp32"]["equal"]
        assert found["hypensearch bf16"]["overlap"] == 1
        assert found["authors fp32, batches of 2,000"]["share"] > 0
        assert found["hypensearch fp32"]["times_faster"] > 0
        assert {"matrix rate fp32", "matrix rate bf16", "memory copy"} <= set(found)
        assert found["scan bf16"]["share"] > 0
    assert "of limit" in capsys.readouterr().out


def test_the_authors_path_gives_the_q_nets_scores() -> None:
    case = Case(documents=90, dim=16, layers=2, queries=2, hits=7)
    q_nets = random_q_nets(case)
    vectors = torch.from_numpy(np.random.default_rng(0).standard_normal((90, 16), dtype=np.float32))
    found = authors_search(q_nets, vectors, case.hits, 40)
    torch.testing.assert_close(found, q_nets(vectors).topk(7).values, rtol=1e-4, atol=1e-4)
