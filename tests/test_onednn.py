# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""What a torch does to us whose private operators are gone, or compute something else."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from hypensearch import onednn
from hypensearch.device import computes_in
from hypensearch.errors import HypensearchError
from hypensearch.models import QNetConfig
from hypensearch.scoring import linear
from hypensearch.scoring.choice import Case, make_scorer
from tests.search.strategies import random_q_nets, random_vectors

CPU = torch.device("cpu")
CONFIG = QNetConfig(dims=(384, 384, 384, 1))
pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch has no oneDNN")


@pytest.fixture(autouse=True)
def new_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing has been compared yet, and oneDNN is faster wherever it is right."""
    caches: list[Any] = [onednn.usable, onednn.has_instructions]
    for cache in caches:
        cache.cache_clear()
    monkeypatch.setattr(linear, "_tried", {})
    monkeypatch.setattr(linear, "_is_faster", lambda *shape: True)
    yield
    for cache in caches:
        cache.cache_clear()


class Operator:
    """Stands in the place of a private operator.

    :param change: What it makes of the true results.
    """

    def __init__(self, true: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self._true, self._change = true, change

    def __call__(self, *arguments: Any) -> torch.Tensor:
        return self._change(self._true(*arguments))

    def binary(self, *arguments: Any) -> torch.Tensor:
        return self._change(self._true.binary(*arguments))


def missing(result: torch.Tensor) -> torch.Tensor:
    raise AttributeError("'_OpNamespace' 'mkldnn' object has no attribute '_linear_pointwise'")


def refused(result: torch.Tensor) -> torch.Tensor:
    raise TypeError("expected at most 5 arguments, found 6")


LIES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "missing": missing,
    "other arguments": refused,
    "other numbers": lambda result: result * 1.5,
    "zeros": torch.zeros_like,
    "wrong in one place": lambda result: result.index_fill(1, torch.tensor([1]), 1000.0),
}


def change(monkeypatch: pytest.MonkeyPatch, how: Callable[[torch.Tensor], torch.Tensor]) -> None:
    for namespace, name in (("mkldnn", "_linear_pointwise"), ("onednn", "qlinear_pointwise")):
        true = getattr(getattr(torch.ops, namespace), name)
        monkeypatch.setattr(getattr(torch.ops, namespace), name, Operator(true, how))


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_wrong_operator_is_left_out_with_one_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, precision: str, lie: str
) -> None:
    if precision == "bf16" and not computes_in(CPU, torch.bfloat16):
        pytest.skip("this processor has no bfloat16")
    q_nets, vectors = random_q_nets(CONFIG, 2), random_vectors(9000, 384)  # so many that weights are laid out
    change(monkeypatch, LIES[lie])
    for _ in range(2):
        scores = make_scorer(q_nets, Case(CPU, precision, CONFIG), "fused").score(vectors)
    plain = q_nets(torch.from_numpy(vectors))
    tolerance = 1e-4 if precision == "fp32" else 0.05
    torch.testing.assert_close(scores, plain, rtol=0, atol=tolerance * float(plain.abs().max()))
    warnings = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert warnings[0].startswith(f"oneDNN of torch {torch.__version__} is left out: it")


@pytest.mark.parametrize("lie", LIES)
def test_there_is_no_int8_without_its_operator(monkeypatch: pytest.MonkeyPatch, lie: str) -> None:
    change(monkeypatch, LIES[lie])
    with pytest.raises(HypensearchError, match="its int8 needs a torch with oneDNN"):
        make_scorer(random_q_nets(CONFIG, 1), Case(CPU, "int8", CONFIG))


def test_gradients_go_back_without_the_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    change(monkeypatch, missing)
    rows, weight = torch.randn(2, 50, 50, generator=torch.Generator().manual_seed(0))
    assert torch.equal(linear.product_with_transposed(rows, weight), rows @ weight.T)


@pytest.mark.parametrize("rows", [48, 384])
def test_last_bits_that_differ_are_never_taken(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    """A torch that adds up in another order: right up to rounding, so that only a comparison of all bits shows it."""
    weight, bias = torch.randn(768, 64, generator=torch.Generator().manual_seed(0)), torch.randn(64)
    inputs = torch.randn(rows, 768, generator=torch.Generator().manual_seed(1))
    change(monkeypatch, lambda result: torch.nextafter(result, torch.tensor(torch.inf)))
    assert onednn.usable(torch.float32)
    found = linear.linear_map(weight, bias)(inputs, torch.empty(rows, 64))
    assert torch.equal(found, torch.addmm(bias, inputs, weight))


def test_a_processor_that_torch_does_not_describe_computes_in_float32(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: missing(torch.empty(0)))
    assert not computes_in(CPU, torch.bfloat16)
    assert "it does not say whether the processor has torch.bfloat16 instructions" in caplog.text


@pytest.mark.parametrize("change", [missing, lambda result: -result])
def test_products_with_bytes_that_are_missing_or_wrong_are_computed_without_them(
    change: Callable[[torch.Tensor], torch.Tensor],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    rng = torch.Generator().manual_seed(1)
    weights, scales = torch.randn(2, 96, generator=rng), torch.rand(70000, generator=rng).bfloat16()
    integers = torch.randint(-127, 128, (70000, 96), generator=rng, dtype=torch.int8)
    wanted = weights.bfloat16().float() @ integers.float().T * scales.float()
    onednn._has_rounded_products.cache_clear()
    monkeypatch.setattr(torch.ops.aten, "_weight_int8pack_mm", Operator(torch.ops.aten._weight_int8pack_mm, change))
    with caplog.at_level(logging.WARNING):
        found = onednn.rounded_products(weights, integers, scales)
    onednn._has_rounded_products.cache_clear()
    torch.testing.assert_close(found, wanted)
    assert "products of bfloat16 with bytes" in caplog.text
