# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""What follows the matrix product in a block on a CPU: activation, then layer norm and residual a row at a time.

A row of some hundred numbers stays in the first cache while it is processed: memory is read and written once. Numba
compiles the loops when they are first used, and keeps them for later processes.

Every operation is done in the order that is written here: a row's result depends on the row alone, to the last bit,
whether the loops were just compiled or loaded from Numba's cache.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numba import njit, types
from numba.extending import overload
from torch import Tensor

from hypensearch.models.config import QNetConfig
from hypensearch.models.q_net import activation

_EPS = np.float32(1e-5)
_ZERO = np.float32(128)  # what 0 is among unsigned bytes
_HALF = np.float32(0.5)
_NOTHING, _ONE = np.float32(0), np.float32(1)
_FEW = 16  # numbers that are added up one by one


def _loops(function: Callable[..., Any]) -> Callable[..., Any]:
    """Have a function compiled when it is first called."""
    # No "fastmath": a compiler that may change the order of operations uses that differently in each process.
    try:
        return njit(cache=True, nogil=True)(function)
    except RuntimeError:  # no folder to keep it in
        return njit(nogil=True)(function)


class Epilogue:
    """Finishes the outputs of a block's linear map, in place where it can.

    :param config: The q-nets' architecture.
    :param block: Number of the block.
    """

    def __init__(self, config: QNetConfig, block: int) -> None:
        self._activation = config.activation
        norm, before = config.layer_norm, config.layer_norm_before_residual
        self._relu = config.activation == "relu"  # done in the loop
        self._steps = (self._relu, norm and before, config.has_residual(block), norm and not before)

    def finish(self, outputs: Tensor, inputs: Tensor) -> Tensor:
        """Return the block's states, which lie where the outputs were if they can.

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
        """Whether :meth:`back` supports an architecture: only ReLU, and states that outputs alone determine."""
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
        return (outputs if self._relu else activation(self._activation)(outputs)).contiguous()


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


def _number(kept):  # type: ignore[no-untyped-def]
    """Return the float32 that is kept as one, or as bfloat16: the upper half of its bits."""


@overload(_number)
def _compiled_number(kept):  # type: ignore[no-untyped-def]
    if kept == types.float32:
        return lambda kept: kept
    return lambda kept: np.uint32(np.uint32(kept) << 16).view(np.float32)


def _store(number, into, place):  # type: ignore[no-untyped-def]
    """Keep a float32 as one, or as the nearest bfloat16, the even one of two.

    A float32 that is not a number and was computed from bfloat16 has no more bits than these, and so stays what it is.
    """


@overload(_store)
def _compiled_store(number, into, place):  # type: ignore[no-untyped-def]
    def as_it_is(number, into, place):  # type: ignore[no-untyped-def]
        into[place] = number

    def as_bfloat16(number, into, place):  # type: ignore[no-untyped-def]
        bits = np.float32(number).view(np.uint32)
        into[place] = np.uint16((bits + np.uint32(0x7FFF) + ((bits >> 16) & 1)) >> 16)

    return as_it_is if into.dtype == types.float32 else as_bfloat16


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
            _store(value, outputs, place)


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
