# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""What commands decide where there is a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from hypensearch.encode.__main__ import parse_args, precision
from hypensearch.errors import HypensearchError
from hypensearch.train.config import TrainingConfig
from hypensearch.train.run import train
from tests.pretended_cuda import pretended_cuda


@pytest.mark.parametrize(
    ("capability", "words", "wanted"),
    [
        ((9, 0), [], "bfloat16"),
        ((8, 0), [], "bfloat16"),
        ((7, 5), [], "float32"),
        ((9, 0), ["--fp32"], "float32"),
        ((9, 0), ["--fp16"], "float16"),
        ((9, 0), ["--device", "cpu"], "float32"),
    ],
)
def test_encoding_computes_in_what_the_device_is_made_for(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], words: Sequence[str], wanted: str
) -> None:
    with pretended_cuda(monkeypatch, capability):
        commands = ["input", "--corpus", "c", "output", "--embeddings", "o", "encoder", "--encoder", "m", *words]
        assert precision(parse_args(commands)) == wanted


def test_one_process_trains_on_one_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    config = TrainingConfig(train=["t.jsonl"], output=str(tmp_path / "model"), backbone="b")
    with pytest.raises(HypensearchError, match="2 GPUs are visible to one process: start torchrun --nproc-per-node 2"):
        train(config)
    assert not (tmp_path / "model").exists()
