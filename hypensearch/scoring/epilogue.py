# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""What follows the matrix product in a block on a CPU: activation, then layer norm and residual a row at a time.

A row of some hundred numbers stays in the first cache while it is gone through: memory is read and written once. Numba
compiles the loops when they are first used, and keeps them for later processes.

Every operation is done in the order that is written here: a row's result depends on the row alone, to the last bit,
whether the loops were just compiled, loaded from Numba's cache, or are run without compiling.
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
_FEW = 16  # numbers that are added up one by one
_WORD = ir.IntType(32)
_HALF_WORD = _WORD(16)
_IN_PLACE = {"relu": torch.relu_, "tanh": torch.tanh_, "sigmoid": torch.sigmoid_, "leaky_relu": functional.leaky_relu_}


def _loops(function: Callable[..., Any]) -> Callable[..., Any]:
    """Have a function compiled when it is first called."""
    # No "fastmath": a compiler that may change the order of operations uses that differently in each process.
    try:
        return njit(cache=True, nogil=True)(function)
    except RuntimeError:  # no folder to keep it in
        return njit(nogil=True)(function)


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
    row, work = np.empty(outputs.shape[1], np.float32), np.empty(outputs.shape[1], np.float32)
    for place in range(outputs.shape[0]):
        _finish_row(outputs[place], inputs[place], row, work, relu, norm_before, residual, norm_after, True)


@_loops
def _finish_to_scores(  # type: ignore[no-untyped-def]
    outputs, inputs, relu, norm_before, residual, norm_after, weights, scores
):
    row, work = np.empty(outputs.shape[1], np.float32), np.empty(outputs.shape[1], np.float32)
    for place in range(outputs.shape[0]):
        _finish_row(outputs[place], inputs[place], row, work, relu, norm_before, residual, norm_after, False)
        for unit in range(row.shape[0]):
            work[unit] = row[unit] * weights[unit]
        scores[place] = _sum(work)


@_loops
def _finish_to_bytes(  # type: ignore[no-untyped-def]
    outputs, inputs, relu, norm_before, residual, norm_after, inverse, into
):
    row, work = np.empty(outputs.shape[1], np.float32), np.empty(outputs.shape[1], np.float32)
    for place in range(outputs.shape[0]):
        _finish_row(outputs[place], inputs[place], row, work, relu, norm_before, residual, norm_after, True)
        _row_to_bytes(row, inverse, into[place])


@_loops
def _to_bytes(states, inverse, into):  # type: ignore[no-untyped-def]
    for row in range(states.shape[0]):
        _row_to_bytes(states[row], inverse, into[row])


@_loops
def _finish_row(  # type: ignore[no-untyped-def]
    outputs, inputs, row, work, relu, norm_before, residual, norm_after, keep
):
    """Finish one row of outputs into ``row``, in float32, and in place as well if they are to be kept there.

    ``work`` is memory for as many numbers.
    """
    for place in range(row.shape[0]):
        value = _number(outputs[place])
        if relu and value < _NOTHING:  # what is not a number stays so
            value = _NOTHING
        if residual and not norm_before:
            value += _number(inputs[place])
        row[place] = work[place] = value
    mean, inverse = _NOTHING, _ONE
    if norm_before or norm_after:
        mean, inverse = _moments(row, work)
    for place in range(row.shape[0]):
        value = (row[place] - mean) * inverse
        if residual and norm_before:
            value += _number(inputs[place])
        row[place] = value
        if keep:
            outputs[place] = _kept(value, outputs[place])


@_loops
def _moments(row, work):  # type: ignore[no-untyped-def]
    """Return the mean of a row, and what makes its variance 1; deviations are squared, which keeps small ones exact.

    ``work`` is a copy of the row; it is written over.
    """
    width = np.float32(row.shape[0])
    mean = _sum(work) / width
    for place in range(row.shape[0]):
        work[place] = (row[place] - mean) * (row[place] - mean)
    return mean, _ONE / np.sqrt(_sum(work) / width + _EPS)


@_loops
def _sum(numbers):  # type: ignore[no-untyped-def]
    """Add numbers up: the second half onto the first, while there are many, then one by one. They are written over.

    Most of it is elementwise, so that a compiler can use vectors without changing the order of additions.
    """
    count = numbers.shape[0]
    while count > _FEW:
        half = (count + 1) // 2
        for place in range(count - half):
            numbers[place] += numbers[half + place]
        count = half
    total = _NOTHING
    for place in range(count):
        total += numbers[place]
    return total


@_loops
def _back(outputs, places, slopes, into, norm):  # type: ignore[no-untyped-def]
    """Go back through layer norm, if there is one, and ReLU.

    Of y = (x - mean) / deviation, the gradient is (g - mean of g - y * mean of g * y) / deviation.
    """
    row, work = np.empty(outputs.shape[1], np.float32), np.empty(outputs.shape[1], np.float32)
    width = np.float32(row.shape[0])
    for place in range(places.shape[0]):
        output, slope, back = outputs[places[place]], slopes[min(place, slopes.shape[0] - 1)], into[place]
        for unit in range(row.shape[0]):
            row[unit] = work[unit] = max(output[unit], _NOTHING)
        mean, inverse, level, tilt = _NOTHING, _ONE, _NOTHING, _NOTHING
        if norm:
            mean, inverse = _moments(row, work)
            for unit in range(row.shape[0]):
                work[unit] = slope[unit]
            level = _sum(work) / width
            for unit in range(row.shape[0]):
                work[unit] = slope[unit] * (row[unit] - mean)
            tilt = _sum(work) * inverse * inverse / width
        for unit in range(row.shape[0]):
            value = (slope[unit] - level - (row[unit] - mean) * tilt) * inverse
            back[unit] = value if output[unit] > _NOTHING else _NOTHING


@_loops
def _row_to_bytes(row, inverse, into):  # type: ignore[no-untyped-def]
    for place in range(row.shape[0]):
        value = np.int32(row[place] * inverse + (_ZERO + _HALF))
        into[place] = np.uint8(min(max(value, np.int32(0)), np.int32(255)))
