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
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from torch import Tensor
from torch.nn import functional

from hypensearch.models.config import QNetConfig
from hypensearch.models.q_net import activation

_EPS = np.float32(1e-5)
_ZERO = np.float32(128)  # what 0 is among unsigned bytes
_HALF = np.float32(0.5)
_NOTHING, _ONE = np.float32(0), np.float32(1)
_WORD = ir.IntType(32)
_HALF_WORD = _WORD(16)
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
        self._relu = config.activation == "relu"  # done in the loop
        self._steps = (self._relu, norm and before, config.has_residual(block), norm and not before)

    def finish(self, outputs: Tensor, inputs: Tensor) -> Tensor:
        """Return the block's states, which lie where the outputs were.

        :param outputs: Of the linear map, float32 or bfloat16 on a CPU, *Shape:* ``(rows, out)``.
        :param inputs: Of the block, of the same type, *Shape:* ``(rows, in)``.
        """
        outputs = self._activated(outputs)
        _finish(_as_array(outputs), _as_array(inputs), *self._steps)
        return outputs

    def finish_to_scores(self, outputs: Tensor, inputs: Tensor, weights: Tensor) -> Tensor:
        """As :meth:`finish`, and return the products of the states, in float32, with an output layer; keep no states.

        :param weights: float32, contiguous, *Shape:* ``(out,)``.
        :return: float32, *Shape:* ``(rows,)``.
        """
        outputs = self._activated(outputs)
        scores = torch.empty(len(outputs))
        _finish_to_scores(_as_array(outputs), _as_array(inputs), *self._steps, weights.numpy(), scores.numpy())
        return scores

    def finish_to_bytes(self, outputs: Tensor, inputs: Tensor, scale: float, into: Tensor) -> Tensor:
        """As :meth:`finish` in float32, and round the states as :func:`to_bytes` does.

        :param into: uint8, *Shape:* ``(rows, out)``.
        """
        outputs = self._activated(outputs)
        _finish_to_bytes(outputs.numpy(), inputs.numpy(), *self._steps, np.float32(1 / scale), into.numpy())
        return outputs

    @staticmethod
    def goes_back(config: QNetConfig) -> bool:
        """Tell whether :meth:`back` can be used: from outputs alone, and for the activation that loops know."""
        return config.activation == "relu" and (config.layer_norm_before_residual or not config.layer_norm)

    def back(self, outputs: Tensor, places: Tensor, slopes: Tensor) -> Tensor:
        """Return gradients with respect to outputs of the linear map.

        :param outputs: As they were before :meth:`finish`, float32, *Shape:* ``(rows, out)``.
        :param places: The rows wanted, *Shape:* ``(n,)``.
        :param slopes: Gradients with respect to the block's states there, *Shape:* ``(n, out)``, or ``(1, out)`` where
            all are the same.
        :return: *Shape:* ``(n, out)``.
        """
        into = torch.empty(len(places), outputs.shape[1])
        _back(outputs.numpy(), places.numpy(), slopes.contiguous().numpy(), into.numpy(), self._steps[1])
        return into

    def _activated(self, outputs: Tensor) -> Tensor:
        return (outputs if self._relu else activate(self._activation, outputs)).contiguous()


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


def _as_array(states: Tensor) -> np.ndarray:
    """View states as an array, bfloat16 as its bits."""
    array: np.ndarray = (states.view(torch.uint16) if states.dtype == torch.bfloat16 else states).numpy()
    return array


@intrinsic
def _number(context, kept):  # type: ignore[no-untyped-def]
    """Return the float32 that is kept as one, or as bfloat16: the upper half of its bits."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        value = arguments[0]
        if signature.args[0] == types.float32:
            return value
        bits = builder.shl(builder.zext(value, _WORD), _HALF_WORD)
        return builder.bitcast(bits, ir.FloatType())

    return types.float32(kept), generate


@intrinsic
def _kept(context, number, like):  # type: ignore[no-untyped-def]
    """Return a float32 as it is kept in place of another: as one, or as the nearest bfloat16, the even one of two.

    A float32 that is not a number and was computed from bfloat16 has no more bits than these, and so stays what it is.
    """

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        value = arguments[0]
        if signature.return_type == types.float32:
            return value
        bits = builder.bitcast(value, _WORD)
        is_odd = builder.and_(builder.lshr(bits, _HALF_WORD), _WORD(1))
        rounded = builder.add(builder.add(bits, _WORD(0x7FFF)), is_odd)
        return builder.trunc(builder.lshr(rounded, _HALF_WORD), ir.IntType(16))

    return like(number, like), generate


@_loops
def _finish(outputs, inputs, relu, norm_before, residual, norm_after):  # type: ignore[no-untyped-def]
    row = np.empty(outputs.shape[1], np.float32)
    for place in range(outputs.shape[0]):
        _finish_row(outputs[place], inputs[place], row, relu, norm_before, residual, norm_after, True)


@_loops
def _finish_to_scores(  # type: ignore[no-untyped-def]
    outputs, inputs, relu, norm_before, residual, norm_after, weights, scores
):
    row = np.empty(outputs.shape[1], np.float32)
    for place in range(outputs.shape[0]):
        _finish_row(outputs[place], inputs[place], row, relu, norm_before, residual, norm_after, False)
        total = _NOTHING
        for unit in range(row.shape[0]):
            total += row[unit] * weights[unit]
        scores[place] = total


@_loops
def _finish_to_bytes(  # type: ignore[no-untyped-def]
    outputs, inputs, relu, norm_before, residual, norm_after, inverse, into
):
    row = np.empty(outputs.shape[1], np.float32)
    for place in range(outputs.shape[0]):
        _finish_row(outputs[place], inputs[place], row, relu, norm_before, residual, norm_after, True)
        _row_to_bytes(row, inverse, into[place])


@_loops
def _to_bytes(states, inverse, into):  # type: ignore[no-untyped-def]
    for row in range(states.shape[0]):
        _row_to_bytes(states[row], inverse, into[row])


@_loops
def _finish_row(  # type: ignore[no-untyped-def]
    outputs, inputs, row, relu, norm_before, residual, norm_after, keep
):
    """Finish one row of outputs into ``row``, in float32, and in place as well if they are to be kept there."""
    total = _NOTHING
    for place in range(row.shape[0]):
        value = _number(outputs[place])
        if relu and value < _NOTHING:  # what is not a number stays so
            value = _NOTHING
        if residual and not norm_before:
            value += _number(inputs[place])
        row[place] = value
        total += value
    mean, inverse = _NOTHING, _ONE
    if norm_before or norm_after:
        mean, inverse = _moments(row, total)
    for place in range(row.shape[0]):
        value = (row[place] - mean) * inverse
        if residual and norm_before:
            value += _number(inputs[place])
        row[place] = value
        if keep:
            outputs[place] = _kept(value, outputs[place])


@_loops
def _moments(row, total):  # type: ignore[no-untyped-def]
    """Return the mean, and what makes the variance 1; deviations are squared, which keeps small ones exact."""
    width = np.float32(row.shape[0])
    mean = total / width
    squares = _NOTHING
    for place in range(row.shape[0]):
        squares += (row[place] - mean) * (row[place] - mean)
    return mean, _ONE / np.sqrt(squares / width + _EPS)


@_loops
def _back(outputs, places, slopes, into, norm):  # type: ignore[no-untyped-def]
    """Go back through layer norm, if there is one, and ReLU.

    Of y = (x - mean) / deviation, the gradient is (g - mean of g - y * mean of g * y) / deviation.
    """
    row = np.empty(outputs.shape[1], np.float32)
    width = np.float32(row.shape[0])
    for place in range(places.shape[0]):
        output, slope, back = outputs[places[place]], slopes[min(place, slopes.shape[0] - 1)], into[place]
        total = _NOTHING
        for unit in range(row.shape[0]):
            row[unit] = max(output[unit], _NOTHING)
            total += row[unit]
        mean, inverse, level, tilt = _NOTHING, _ONE, _NOTHING, _NOTHING
        if norm:
            mean, inverse = _moments(row, total)
            for unit in range(row.shape[0]):
                level += slope[unit]
                tilt += slope[unit] * (row[unit] - mean)
            level, tilt = level / width, tilt * inverse * inverse / width
        for unit in range(row.shape[0]):
            value = (slope[unit] - level - (row[unit] - mean) * tilt) * inverse
            back[unit] = value if output[unit] > _NOTHING else _NOTHING


@_loops
def _row_to_bytes(row, inverse, into):  # type: ignore[no-untyped-def]
    for place in range(row.shape[0]):
        value = np.int32(row[place] * inverse + (_ZERO + _HALF))
        into[place] = np.uint8(min(max(value, np.int32(0)), np.int32(255)))
