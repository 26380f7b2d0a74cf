# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hypensearch.models.compact import pack, quantise, save_compact, unpack
from hypensearch.models.weights import COMPACT, read_weights


@given(st.lists(st.integers(-31, 31), min_size=1, max_size=40), st.sampled_from([6, 8]))
def test_packing_loses_nothing(numbers: list[int], bits: int) -> None:
    tensor = torch.tensor(numbers, dtype=torch.int8)
    assert torch.equal(unpack(pack(tensor, bits), bits, [len(numbers)]), tensor)


@pytest.mark.parametrize(("bits", "error"), [(8, 1 / 254), (6, 1 / 62)])
def test_rows_keep_their_largest_weight(bits: int, error: float) -> None:
    tensor = torch.randn(50, 64, generator=torch.Generator().manual_seed(0))
    numbers, scale = quantise(tensor, bits)
    largest = tensor.abs().amax(dim=1, keepdim=True)
    assert ((numbers * scale.unsqueeze(1) - tensor).abs() <= largest * error * 1.001).all()


def test_a_compact_file_reads_as_float32(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    weights = {
        "query_encoder.transformer.embeddings.word_embeddings.weight": torch.randn(101, 64, generator=generator),
        "dense.weight": torch.randn(2, 64, 64, generator=generator),
        "dense.bias": torch.randn(64, generator=generator),
        "zeros": torch.zeros(80, 64),
    }
    save_compact(weights, tmp_path / COMPACT)
    read, path = read_weights(tmp_path)
    assert path.name == COMPACT
    assert {name: tensor.shape for name, tensor in read.items()} == {n: t.shape for n, t in weights.items()}
    assert torch.equal(read["dense.bias"], weights["dense.bias"])
    assert torch.equal(read["zeros"], weights["zeros"])
    assert torch.allclose(read["dense.weight"], weights["dense.weight"], atol=0.02)
    assert path.stat().st_size < 0.4 * 4 * sum(tensor.numel() for tensor in weights.values())
