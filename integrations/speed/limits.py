# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""What a machine can do at most: its matrix rate at the q-nets' shape, and how fast it copies memory."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor

from hypensearch import onednn
from hypensearch.scoring.scorer import DTYPES

ROWS = 2048
PACKED = "fp32 packed"  # oneDNN's, beside the one that torch takes
_REPEATS = 10
_COPY_BYTES = 1 << 28


def matrix_product(dim: int, precision: str, device: torch.device) -> tuple[Callable[[], object], float]:
    """Return torch's own matrix product at the q-nets' shape as a thing to time, and its operations.

    :param precision: "fp32", "bf16", "fp16", :data:`PACKED` or "int8" (both oneDNN's product with packed weights; int8
        on CUDA ``torch._int_mm``).
    """
    if precision == "int8" and device.type == "cpu":
        multiply, a, b = _onednn_int8(dim)
    elif precision == PACKED:
        multiply, a, b = _onednn_fp32(dim)
    elif precision == "int8":
        a, b = (torch.ones(rows, dim, dtype=torch.int8, device=device) for rows in (ROWS, dim))
        multiply = torch._int_mm
    else:
        a, b = (torch.ones(rows, dim, dtype=DTYPES[precision], device=device) for rows in (ROWS, dim))
        multiply = torch.mm

    @torch.inference_mode()
    def run() -> None:
        for _ in range(_REPEATS):
            multiply(a, b)

    return run, 2.0 * ROWS * dim * dim * _REPEATS


def _onednn_fp32(dim: int) -> tuple[Callable[[Tensor, Tensor], object], Tensor, Tensor]:
    return onednn.linear, torch.ones(ROWS, dim), onednn.packed(torch.ones(dim, dim), ROWS)


def _onednn_int8(dim: int) -> tuple[Callable[[Tensor, Tensor], object], Tensor, Tensor]:
    scale, bias = torch.ones(dim), torch.zeros(dim)
    weight = onednn.int8_packed(torch.ones(dim, dim, dtype=torch.int8), ROWS)
    inputs = torch.ones(ROWS, dim, dtype=torch.uint8)
    return lambda a, b: onednn.int8_linear(a, 1.0, b, scale, bias), inputs, weight


def memory_copy(device: torch.device) -> tuple[Callable[[], object], float]:
    """Return a copy of memory as a thing to time, and the bytes that it reads and writes."""
    source = torch.ones(_COPY_BYTES, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return lambda: target.copy_(source), 2.0 * _COPY_BYTES


def interleaved(runs: dict[str, Callable[[], object]], repeats: int, device: torch.device) -> dict[str, list[float]]:
    """Time everything in turn, after a warm-up, so that a drifting machine hits all alike.

    :return: Seconds by name, *Length:* ``repeats`` each.
    """
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(repeats + 1):
        for name, run in runs.items():
            _wait(device)
            started = time.perf_counter()
            run()
            _wait(device)
            if turn:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
