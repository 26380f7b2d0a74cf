# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""What follows the matrix product in a block on a CPU: activation, then layer norm and residual a row at a time.

A row of some hundred numbers stays in the first cache while it is gone through: memory is read and written once. Numba
compiles the loops when they are first used, and keeps them for later processes.

Sums are taken in several parts at once (``reassoc``), always in the same way for rows of the same width: a row's result
depends on the row alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor
from torch.nn import functional

from hypensearch.models.config import QNetConfig
from hypensearch.models.q_net import activation

_EPS = np.float32(1e-5)
_ZERO = np.float32(128)  # what 0 is among unsigned bytes
_HALF = np.float32(0.5)
_IN_PLACE = {"relu": torch.relu_, "tanh": torch.tanh_, "sigmoid": torch.sigmoid_, "leaky_relu": functional.leaky_relu_}


def _loops(function: Callable[..., Any]) -> Callable[..., Any]:
    """Have a function compiled when it is first called."""
    # No "nnan" or "ninf": what is not finite has to be seen.
    options: dict[str, Any] = {"nogil": True, "fastmath": {"reassoc", "contract", "nsz"}}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # no folder to keep it in
        return njit(**options)(function)


class Epilogue:
    """Finishes the outputs of a block's linear map, in place.

    :param config: The q-nets' architecture.
    :param block: Number of the block.
    """

    def __init__(self, config: QNetConfig, block: int) -> None:
        self._activation = config.activation
        norm, before = config.layer_norm, config.layer_norm_before_residual
        self._steps = (norm and before, config.has_residual(block), norm and not before)

    def finish(self, outputs: Tensor, inputs: Tensor) -> Tensor:
        """Return the block's states, which lie where the outputs were.

        :param outputs: Of the linear map, float32 or bfloat16 on a CPU, *Shape:* ``(rows, out)``.
        :param inputs: Of the block, of the same type, *Shape:* ``(rows, in)``.
        """
        outputs = activate(self._activation, outputs).contiguous()
        if outputs.dtype == torch.bfloat16:
            _finish_bfloat16(_bits(outputs), _bits(inputs), *self._steps)
        else:
            _finish(outputs.numpy(), inputs.numpy(), *self._steps)
        return outputs

    def finish_to_bytes(self, outputs: Tensor, inputs: Tensor, scale: float, into: Tensor) -> Tensor:
        """As :meth:`finish` in float32, and round the states as :func:`to_bytes` does.

        :param into: uint8, *Shape:* ``(rows, out)``.
        """
        outputs = activate(self._activation, outputs).contiguous()
        _finish_to_bytes(outputs.numpy(), inputs.numpy(), *self._steps, np.float32(1 / scale), into.numpy())
        return outputs


def activate(name: str, states: Tensor) -> Tensor:
    """Apply an activation function in place.

    :param name: One of :data:`hypensearch.models.config.ACTIVATIONS`.
    """
    in_place = _IN_PLACE.get(name)
    return in_place(states) if in_place else states.copy_(activation(name)(states))


def to_bytes(states: Tensor, scale: float, into: Tensor) -> None:
    """Round states to multiples of a scale, 128 for 0, cut to what a byte holds.

    :param states: float32, *Shape:* ``(rows, width)``.
    :param into: uint8, of the same shape.
    """
    _to_bytes(states.numpy(), np.float32(1 / scale), into.numpy())


def _bits(states: Tensor) -> np.ndarray:
    bits: np.ndarray = states.view(torch.uint16).numpy()
    return bits


@_loops
def _finish(outputs, inputs, norm_before, residual, norm_after):  # type: ignore[no-untyped-def]
    for row in range(outputs.shape[0]):
        _finish_row(outputs[row], inputs[row], norm_before, residual, norm_after)


@_loops
def _finish_to_bytes(outputs, inputs, norm_before, residual, norm_after, inverse, into):  # type: ignore[no-untyped-def]
    for row in range(outputs.shape[0]):
        _finish_row(outputs[row], inputs[row], norm_before, residual, norm_after)
        _row_to_bytes(outputs[row], inverse, into[row])


@_loops
def _to_bytes(states, inverse, into):  # type: ignore[no-untyped-def]
    for row in range(states.shape[0]):
        _row_to_bytes(states[row], inverse, into[row])


@_loops
def _finish_bfloat16(outputs, inputs, norm_before, residual, norm_after):  # type: ignore[no-untyped-def]
    """As :func:`_finish` on the bits of bfloat16, which are the upper half of float32's."""
    bits, more_bits = np.empty(outputs.shape[1], np.uint32), np.empty(inputs.shape[1], np.uint32)
    states, before = bits.view(np.float32), more_bits.view(np.float32)
    for row in range(outputs.shape[0]):
        _widen(outputs[row], bits)
        if residual:
            _widen(inputs[row], more_bits)
        _finish_row(states, before, norm_before, residual, norm_after)
        _narrow(bits, outputs[row])


@_loops
def _widen(halves, bits):  # type: ignore[no-untyped-def]
    for place in range(halves.shape[0]):
        bits[place] = np.uint32(halves[place]) << np.uint32(16)


@_loops
def _narrow(bits, halves):  # type: ignore[no-untyped-def]
    """Round to the nearest bfloat16, to the even one of two; what is not a number stays so."""
    for place in range(halves.shape[0]):
        value = bits[place]
        rounded = (value + np.uint32(0x7FFF) + ((value >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
        broken = (value & np.uint32(0x7FFFFFFF)) > np.uint32(0x7F800000)
        halves[place] = np.uint16(0x7FC0) if broken else np.uint16(rounded)


@_loops
def _finish_row(row, inputs, norm_before, residual, norm_after):  # type: ignore[no-untyped-def]
    if residual and not norm_before:
        for place in range(row.shape[0]):
            row[place] += inputs[place]
    if not (norm_before or norm_after):
        return
    mean, inverse = _moments(row)
    if residual and norm_before:
        for place in range(row.shape[0]):
            row[place] = (row[place] - mean) * inverse + inputs[place]
    else:
        for place in range(row.shape[0]):
            row[place] = (row[place] - mean) * inverse


@_loops
def _moments(row):  # type: ignore[no-untyped-def]
    """Return the mean, and what makes the variance 1; deviations are squared, which keeps small ones exact."""
    width = np.float32(row.shape[0])
    total = np.float32(0)
    for place in range(row.shape[0]):
        total += row[place]
    mean = total / width
    squares = np.float32(0)
    for place in range(row.shape[0]):
        squares += (row[place] - mean) * (row[place] - mean)
    return mean, np.float32(1) / np.sqrt(squares / width + _EPS)


@_loops
def _row_to_bytes(row, inverse, into):  # type: ignore[no-untyped-def]
    for place in range(row.shape[0]):
        value = np.int32(row[place] * inverse + (_ZERO + _HALF))
        into[place] = np.uint8(min(max(value, np.int32(0)), np.int32(255)))
