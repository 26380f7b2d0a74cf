# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Products to the bit; what becomes of them where torch's operators change is in tests/test_onednn.py."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hypensearch import onednn
from hypensearch.scoring import linear

needs_onednn = pytest.mark.skipif(not onednn.usable(torch.float32), reason="torch has no oneDNN")


def random_map(into: int, out: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(into, out, generator=rng), torch.randn(out, generator=rng)


@pytest.mark.parametrize("faster", [False, True])
@given(st.integers(1, 420), st.integers(1, 400), st.integers(1, 8), st.integers(0, 2**16))
def test_what_is_taken_has_the_bits_of_the_plain_product(
    faster: bool, into: int, out: int, rows16: int, seed: int
) -> None:
    weight, bias = random_map(into, out, seed)
    inputs = torch.randn(16 * rows16, into, generator=torch.Generator().manual_seed(seed))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linear, "_tried", {})
        patch.setattr(linear, "_is_faster", lambda *shape: faster)
        found = linear.linear_map(weight, bias)(inputs, torch.empty(len(inputs), out))
    assert torch.equal(found, torch.addmm(bias, inputs, weight))


def as_stored(weight: torch.Tensor, storage: str) -> torch.Tensor:
    """Return the same weight, lying in memory in another way."""
    return weight.T.contiguous().T if storage == "transposed" else weight.repeat_interleave(2, dim=1)[:, ::2]


@pytest.mark.parametrize("storage", ["transposed", "strided"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_does_not_matter_how_a_weight_is_stored(dtype: torch.dtype, storage: str) -> None:
    weight, bias = (tensor.to(dtype) for tensor in random_map(384, 384))
    inputs = torch.randn(384, 384, generator=torch.Generator().manual_seed(1)).to(dtype)
    stored = as_stored(weight, storage)
    found = [linear.linear_map(each, bias, rows=384)(inputs, torch.empty_like(inputs)) for each in (weight, stored)]
    assert torch.equal(*found)
    back = [linear.product_with_transposed(inputs, each) for each in (weight, stored)]
    assert torch.equal(*back)


@needs_onednn
@pytest.mark.parametrize("into", [5, 192, 300, 384, 768, 1000])
def test_pieces_make_the_same_product(into: int) -> None:
    weight, bias = random_map(into, 24)
    inputs = torch.randn(32, into, generator=torch.Generator().manual_seed(1))
    found = linear.map_in_pieces(weight, bias)(inputs, torch.empty(32, 24))
    exact = (inputs.double() @ weight.double() + bias).float()
    torch.testing.assert_close(found, exact, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("rows", [16, 384, 400])
def test_weights_laid_out_for_many_documents_make_the_same_product(rows: int) -> None:
    weight, bias = (tensor.bfloat16() for tensor in random_map(96, 24))
    inputs = torch.randn(rows, 96, generator=torch.Generator().manual_seed(1)).bfloat16()
    found = linear.linear_map(weight, bias, rows=384)(inputs, torch.empty(rows, 24, dtype=torch.bfloat16))
    torch.testing.assert_close(found, torch.addmm(bias, inputs, weight))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_products_with_a_transposed_weight(dtype: torch.dtype) -> None:
    weight, rows = random_map(96, 24)[0].to(dtype), random_map(7, 24, seed=1)[0].to(dtype)
    torch.testing.assert_close(linear.product_with_transposed(rows, weight), rows @ weight.T, rtol=1e-5, atol=1e-4)


@given(st.integers(1, 5000))
def test_pieces_are_the_whole(size: int) -> None:
    pieces = linear.pieces(size)
    assert [start for start, _ in pieces] == [0, *(end for _, end in pieces[:-1])]
    assert pieces[-1][1] == size
    assert max(end - start for start, end in pieces) <= 192
