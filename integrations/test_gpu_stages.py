# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from integrations.speed import gpu


def test_the_stage_of_training(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """On the CPU, where torch computes gradients; tests/gpu/test_stages.py has the others on a pretended GPU."""
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: "none")
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device=None: None)
    assert gpu.main(["train", "--batches", "2", "--steps", "2"]) == 0
    assert [line.startswith('{"stage": "train"') for line in capsys.readouterr().out.splitlines()] == [True, True]
