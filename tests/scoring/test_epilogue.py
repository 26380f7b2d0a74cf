# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from hypensearch.models import QNetConfig
from hypensearch.models.config import ACTIVATIONS
from hypensearch.models.q_net import activation
from hypensearch.scoring import epilogue
from hypensearch.scoring.epilogue import Epilogue, to_bytes


def plain(config: QNetConfig, outputs: Tensor, inputs: Tensor) -> Tensor:
    """What follows the matrix product, one operation after the other, in float64."""
    states, width = activation(config.activation)(outputs.double()), outputs.shape[1:]
    if config.layer_norm and config.layer_norm_before_residual:
        states = functional.layer_norm(states, width)
    if config.has_residual(0):
        states = states + inputs.double()
    if config.layer_norm and not config.layer_norm_before_residual:
        states = functional.layer_norm(states, width)
    return states


@st.composite
def cases(draw: st.DrawFn) -> tuple[QNetConfig, Tensor, Tensor]:
    width, rows = draw(st.integers(1, 70)), draw(st.integers(1, 5))
    config = QNetConfig(
        (width, width, width, 1),
        draw(st.sampled_from(ACTIVATIONS)),
        layer_norm=draw(st.booleans()),
        layer_norm_before_residual=draw(st.booleans()),
        residual=draw(st.booleans()),
    )
    chance = torch.Generator().manual_seed(draw(st.integers(0, 2**16)))
    shift = draw(st.sampled_from([0.0, 30.0]))  # a mean that is far from 0 beside the deviations
    return config, torch.randn(rows, width, generator=chance) + shift, torch.randn(rows, width, generator=chance)


@given(cases())
def test_equals_the_plain_way(case: tuple[QNetConfig, Tensor, Tensor]) -> None:
    config, outputs, inputs = case
    wanted = plain(config, outputs, inputs)
    found = Epilogue(config, 0).finish(outputs.clone(), inputs)
    torch.testing.assert_close(found.double(), wanted, rtol=1e-3, atol=1e-3)


@given(cases(), st.integers(1, 8), st.booleans())
def test_gradients_go_back_as_by_autograd(case: tuple[QNetConfig, Tensor, Tensor], count: int, alike: bool) -> None:
    config, outputs, inputs = case
    config = dataclasses.replace(config, activation="relu", layer_norm_before_residual=True)
    assert Epilogue.goes_back(config)
    places = torch.randint(len(outputs), (count,), generator=torch.Generator().manual_seed(count))
    slopes = torch.randn(1 if alike else count, outputs.shape[1], generator=torch.Generator().manual_seed(1))
    points = outputs[places].double().requires_grad_()
    (wanted,) = torch.autograd.grad((plain(config, points, inputs[places]) * slopes).sum(), points)
    found = Epilogue(config, 0).back(outputs, places, slopes)
    steepness = float(outputs.relu().var(dim=1, correction=0).clamp(min=1e-5).rsqrt().max())  # rounding grows with it
    torch.testing.assert_close(found.double(), wanted, rtol=1e-3, atol=1e-3 * max(1, steepness))


@given(cases(), st.booleans())
def test_scores_are_products_of_the_states(case: tuple[QNetConfig, Tensor, Tensor], low: bool) -> None:
    config, outputs, inputs = case
    if low:
        outputs, inputs = outputs.bfloat16(), inputs.bfloat16()
    weights = torch.randn(outputs.shape[1], generator=torch.Generator().manual_seed(0))
    states = Epilogue(config, 0).finish(outputs.float().clone(), inputs.float())
    found = Epilogue(config, 0).finish_to_scores(outputs.clone(), inputs, weights)
    if not low or config.activation == "relu":  # others are rounded by torch before
        torch.testing.assert_close(found, states @ weights, rtol=1e-4, atol=1e-3)


@given(cases())
def test_bfloat16_is_rounded_once(case: tuple[QNetConfig, Tensor, Tensor]) -> None:
    config, outputs, inputs = case
    low, low_inputs = outputs.bfloat16(), inputs.bfloat16()
    wanted = Epilogue(config, 0).finish(low.float(), low_inputs.float())
    found = Epilogue(config, 0).finish(low.clone(), low_inputs)
    if config.activation == "relu":  # others are rounded by torch before
        assert torch.equal(found, wanted.bfloat16())
    torch.testing.assert_close(found.float(), wanted, rtol=0.05, atol=0.1)


@given(cases(), st.floats(0.001, 1))
def test_bytes_are_multiples_of_the_scale(case: tuple[QNetConfig, Tensor, Tensor], scale: float) -> None:
    config, outputs, inputs = case
    into = torch.empty(outputs.shape, dtype=torch.uint8)
    states = Epilogue(config, 0).finish_to_bytes(outputs.clone(), inputs, scale, into)
    again = torch.empty_like(into)
    to_bytes(states, scale, again)
    assert torch.equal(into, again)
    exact = np.clip(states.numpy().astype(np.float64) / scale + 128, 0, 255)
    assert np.abs(into.numpy() - exact).max() <= 0.51


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_not_finite_is_seen(value: float, dtype: torch.dtype) -> None:
    config = QNetConfig((8, 8, 8, 1))
    outputs = torch.ones(2, 8, dtype=dtype)
    outputs[1, 3] = value
    found = Epilogue(config, 0).finish(outputs, torch.zeros(2, 8, dtype=dtype))
    assert bool(torch.isfinite(found[0]).all())
    assert bool(torch.isfinite(found[1]).all()) == (value == float("-inf"))  # which ReLU makes 0


def test_a_row_depends_on_itself_alone() -> None:
    config = QNetConfig((96, 96, 96, 1))
    outputs, inputs = torch.randn(2, 300, 96, generator=torch.Generator().manual_seed(0))
    together = Epilogue(config, 0).finish(outputs.clone(), inputs)
    for start, end in ((0, 1), (7, 40), (299, 300)):
        alone = Epilogue(config, 0).finish(outputs[start:end].clone(), inputs[start:end].clone())
        assert torch.equal(alone, together[start:end])


def test_loops_without_a_file_to_keep_them_beside() -> None:
    names: dict[str, Any] = {}
    exec("def twice(x):\n    return 2 * x", names)  # Numba finds no folder for it
    assert epilogue._loops(names["twice"])(3) == 6


PROCESS = """
import hashlib, sys
import numba
if sys.argv[1] == "without":
    usual = numba.njit
    def njit(*given, cache=False, **options):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return usual(*given, **options)
    numba.njit = njit
import torch
from hypensearch.models import QNetConfig
from hypensearch.scoring.epilogue import Epilogue
rng = torch.Generator().manual_seed(0)
outputs, inputs, weights = (torch.randn(*shape, generator=rng) for shape in ((64, 200), (64, 200), (200,)))
epilogue = Epilogue(QNetConfig(dims=(200, 200, 200, 1)), 0)
scores = epilogue.finish_to_scores(outputs.clone(), inputs, weights)
print(hashlib.sha256(scores.numpy().tobytes() + epilogue.finish(outputs, inputs).numpy().tobytes()).hexdigest())
"""


def test_loops_compute_the_same_bits_while_they_are_compiled_and_from_the_cache(tmp_path: Path) -> None:
    def digest(how: str) -> str:
        environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
        arguments = [sys.executable, "-c", PROCESS, how]
        return subprocess.run(arguments, env=environment, capture_output=True, text=True, check=True).stdout

    compiled = digest("with")
    assert list(tmp_path.rglob("*.nbc"))
    assert digest("with") == compiled
    assert digest("without") == compiled
