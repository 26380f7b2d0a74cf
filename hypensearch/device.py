# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Devices by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypensearch.errors import HypensearchError

if TYPE_CHECKING:
    import torch


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
