# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Precisions of a scan by name, and which of them a device is fit for."""

from __future__ import annotations

import torch

from hypensearch.device import usable_dtype, usual_precision

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def usable_precision(device: torch.device, precision: str | None) -> str:
    """Return the precision to scan in: fp32 in place of one that the device has no instructions for.

    :param precision: One of :data:`hypensearch.search.flags.PRECISIONS`; others are returned as they are. None for
        :func:`hypensearch.device.usual_precision`.
    """
    if precision is None:
        return usual_precision(device)
    dtype = DTYPES.get(precision)
    return precision if dtype is None or usable_dtype(device, dtype) == dtype else "fp32"
