# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Devices by name, and which types of numbers they compute with."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hypensearch.errors import HypensearchError

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

_logged: set[torch.dtype] = set()


def resolve_device(name: str) -> torch.device:
    """Return a device; a GPU that is asked for by name is never silently replaced by the CPU.

    :param name: "auto" (CUDA if there is one, else the CPU), "cpu", "cuda" or "cuda:N".
    :raises HypensearchError: When the name is not one of these or there is no such device.
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise HypensearchError(f"--device {name}: wanted auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        found = f"{torch.cuda.device_count()} CUDA devices" if torch.cuda.is_available() else "no CUDA device"
        raise HypensearchError(f"--device {name}: this machine has {found}; use --device cpu or auto")
    return device


def computes_in(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether a device has instructions for matrix products in a type.

    A CPU without them multiplies one number after the other: on an AVX2 processor in 1/70 of the speed of float32.
    """
    import torch

    from hypensearch.onednn import has_instructions

    return device.type != "cpu" or dtype not in (torch.bfloat16, torch.float16) or has_instructions(dtype)


def usable_dtype(device: torch.device, dtype: torch.dtype) -> torch.dtype:
    """Return the type to compute in: the wanted one, or float32 where the device has no instructions for it.

    That is logged once, as a warning: float32 is more exact and, there, many times faster.
    """
    import torch

    if computes_in(device, dtype):
        return dtype
    if dtype not in _logged:
        _logged.add(dtype)
        name = str(dtype).removeprefix("torch.")
        logger.warning(
            "This processor has no %s instructions: computing in float32, which is faster here and more exact", name
        )
    return torch.float32


def usual_precision(device: torch.device) -> str:
    """Return the default precision: "bf16" on a GPU with such tensor cores, else "fp32"."""
    import torch

    has_tensor_cores = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
    return "bf16" if has_tensor_cores else "fp32"


def autocast(device: torch.device, dtype: torch.dtype, *, enabled: bool) -> torch.autocast:
    """Return a context that computes in a type, where that is wanted and the device has instructions for it."""
    import torch

    return torch.autocast(device.type, dtype, enabled=enabled and usable_dtype(device, dtype) == dtype)


@contextmanager
def float32_products(device: torch.device, dtype: torch.dtype) -> Iterator[None]:
    """Compute float32 products on a GPU in float32, whatever the process has allowed (TF32 has 10 bits of them)."""
    import torch

    if device.type != "cuda" or dtype != torch.float32:
        yield
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
