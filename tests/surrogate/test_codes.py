# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hypensearch import onednn
from hypensearch.surrogate import codes as module
from hypensearch.surrogate.codes import Codes, Subsample
from hypensearch.surrogate.store import Surrogate

CPU = torch.device("cpu")


def random_codes(num_docs: int, chance: np.random.Generator) -> Codes:
    """Codes of 64 components."""
    integers = chance.integers(-127, 128, (num_docs, 64), dtype=np.int8)
    scales = torch.from_numpy(chance.random(num_docs, dtype=np.float32)).bfloat16()
    leverages, none = np.ones(num_docs, np.float16), np.empty(0, np.int64)
    facts = {"error_growth": {"leverage": [1.0], "error": [1.0]}}
    bits = scales.view(torch.int16).numpy().view(np.uint16)
    return Codes(Surrogate(Path(), integers, bits, leverages, *[none] * 7, facts=facts), CPU)


@settings(max_examples=30)
@given(st.integers(1, 9000), st.integers(1, 3), st.sampled_from([0.0, 1e-30, 1.0, 1e30]), st.integers(0, 1000))
@pytest.mark.parametrize("integers", [True, False])
def test_scan_is_the_product_of_codes_and_weights(
    integers: bool, num_docs: int, num_fits: int, size: float, seed: int
) -> None:
    chance = np.random.default_rng(seed)
    codes = random_codes(num_docs, chance)
    weights = size * torch.from_numpy(chance.standard_normal((num_fits, 64), dtype=np.float32))
    of_all = codes.gather(torch.arange(num_docs))
    norms = [float(tensor.double().norm(dim=1).max()) for tensor in (weights, of_all)]
    wanted, rounding = weights @ of_all.T, 0.01 * norms[0] * norms[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onednn, "adds_integers_exactly", lambda size: integers)
        found = codes.scan(weights)
    torch.testing.assert_close(torch.from_numpy(found), wanted, rtol=0.01, atol=rounding)


def cut_at_16_bits(codes: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    return (codes.int() @ weights.int()).clamp(-(2**15), 2**15 - 1)


def missing(*arguments: object) -> torch.Tensor:
    raise RuntimeError("no such operation")


@pytest.mark.parametrize("product", [cut_at_16_bits, missing])
def test_products_of_integers_that_are_not_exact_are_never_taken(
    monkeypatch: pytest.MonkeyPatch, product: Callable[..., torch.Tensor]
) -> None:
    monkeypatch.setattr(torch, "_int_mm", product)
    assert not onednn.adds_integers_exactly.__wrapped__(64)


def test_products_of_integers_are_never_taken_from_a_processor_that_may_cut_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: False, raising=False)
    assert not onednn.adds_integers_exactly.__wrapped__(64)


@settings(max_examples=30)
@given(st.integers(1, 3000), st.integers(1, 3), st.integers(1, 40), st.integers(0, 1000))
def test_the_best_of_a_subsample(num_docs: int, num_fits: int, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    codes = random_codes(num_docs, rng)
    weights = torch.from_numpy(rng.standard_normal((num_fits, 64), dtype=np.float32))
    scored = rng.permutation(num_docs)[: rng.integers(0, min(num_docs, 70) + 1)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_SUBSAMPLE_ROWS", 256)
        subsample = Subsample(codes)
        assert Subsample.is_worthwhile(num_docs) == (num_docs >= 512)
    seen = subsample.rows
    assert len(seen) >= min(num_docs, 128)
    assert np.array_equal(np.unique(seen), seen)
    assert num_docs < 512 or np.diff(seen, prepend=0, append=num_docs).max() < 2 * num_docs * 16 / 256
    wanted = codes.scan(weights)[:, seen]
    wanted[:, np.isin(seen, scored)] = -np.inf
    for (rows, products), of_fit in zip(subsample.best(weights, count, scored), wanted, strict=True):
        assert not np.isin(rows, scored).any()
        number = min(count, int(np.isfinite(of_fit).sum()))
        np.testing.assert_array_equal(np.sort(products), np.sort(of_fit)[len(of_fit) - number :])
        np.testing.assert_array_equal(products, of_fit[np.searchsorted(seen, rows)])
