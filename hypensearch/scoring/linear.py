# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Linear maps of documents' states.

torch computes float32 products on a CPU with MKL, which does not use AVX-512 on processors of other makers than Intel:
there oneDNN may be twice as fast. Both add up products one after the other, but MKL in pieces of 192 inputs; in the
same pieces, oneDNN gives the same bits. The order of additions depends on the shape, the number of threads and the
alignment, which is always the same here. So each process compares the two for every shape and number of threads, and
takes oneDNN where all bits are the same and it is faster: a float32 score never depends on which of them computed it.
"""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Callable

import torch
from torch import Tensor

from hypensearch import onednn

logger = logging.getLogger(__name__)

LinearMap = Callable[[Tensor, Tensor], Tensor]
"""Inputs, *Shape:* ``(rows, in)``, and a buffer that may be used for the outputs, *Shape:* ``(rows, out)``."""

_PIECE = 192  # inputs that MKL adds up before it starts on the next piece
_FEW_ROWS = 32  # for fewer it is not tried
_REPEATS = 8

_tried: dict[tuple[int, int, int, int], bool] = {}
_trying = threading.Lock()


def linear_map(weight: Tensor, bias: Tensor, *, rows: int | None = None) -> LinearMap:
    """Return the map as torch's own matrix product computes it (in float32 to the bit), by the fastest way there is.

    :param weight: *Shape:* ``(in, out)``, on any device, in any dtype.
    :param bias: *Shape:* ``(out,)``.
    :param rows: Lay a bfloat16 weight out for inputs of about so many rows. It takes as long as a product with some
        hundred of them.
    """
    plain = public_map(weight, bias)
    if weight.device.type != "cpu" or not (weight.dtype == torch.float32 or (weight.dtype == torch.bfloat16 and rows)):
        return plain
    if not onednn.usable(weight.dtype):
        return plain
    if weight.dtype == torch.float32:
        in_pieces, (into, out) = map_in_pieces(weight, bias), weight.shape
        return lambda inputs, buffer: (in_pieces if _is_taken(into, out, len(inputs)) else plain)(inputs, buffer)
    packed = onednn.packed(weight.T, rows or 0)
    return lambda inputs, buffer: onednn.linear(inputs, packed, bias)


def product_with_transposed(rows: Tensor, weight: Tensor) -> Tensor:
    """Return products of rows with the transposed weight of a map, as gradients go back by.

    :param rows: *Shape:* ``(n, out)``.
    :param weight: *Shape:* ``(in, out)``.
    :return: *Shape:* ``(n, in)``.
    """
    weight = weight.contiguous()
    if weight.device.type == "cpu" and weight.dtype == torch.float32 and onednn.usable(torch.float32):
        return onednn.linear(rows, weight)
    return rows @ weight.T


def public_map(weight: Tensor, bias: Tensor) -> LinearMap:
    """Return the map by torch's public product."""
    weight = weight.contiguous()  # how it is stored may change last bits
    return lambda inputs, buffer: torch.addmm(bias, inputs, weight, out=buffer)


def map_in_pieces(weight: Tensor, bias: Tensor) -> LinearMap:
    """Return the map by oneDNN, which adds the products of one piece of the inputs to those before it."""
    weight = weight.contiguous()  # of other layouts oneDNN takes a thousand times as long
    (span, part), *others = [(slice(start, end), weight[start:end].T) for start, end in pieces(len(weight))]

    def apply(inputs: Tensor, buffer: Tensor) -> Tensor:
        sums = onednn.linear(inputs[:, span], part, bias)
        for next_span, next_part in others:
            sums = onednn.linear(inputs[:, next_span], next_part, added=sums)
        return sums

    return apply


def pieces(size: int) -> list[tuple[int, int]]:
    """Return start and end of the pieces that MKL adds up: of 192, or two halves where there are less than 384."""
    length = size if size <= _PIECE else size // 2 if size < 2 * _PIECE else _PIECE
    return [(start, min(start + length, size)) for start in range(0, size, length)]


def _is_taken(into: int, out: int, rows: int) -> bool:
    """Whether oneDNN computes such float32 products to the bits of torch's, and faster."""
    if rows < _FEW_ROWS:
        return False
    key = into, out, rows, torch.get_num_threads()
    if key not in _tried:
        with _trying:
            if key not in _tried:
                power_of_two = 1 << (rows.bit_length() - 1)
                _tried[key] = _is_faster(into, out, power_of_two, key[3]) and _is_same(into, out, rows)
    return _tried[key]


@functools.cache
def _is_faster(into: int, out: int, rows: int, threads: int) -> bool:
    """Time oneDNN against torch's product, in turn, so that both find the machine in the same state.

    :param threads: As many as torch uses.
    """
    times: dict[str, list[float]] = {"oneDNN": [], "torch": []}
    ways = _products(into, out, rows, scale=1)
    for _ in range(_REPEATS):
        for name, way in zip(times, ways, strict=True):
            start = time.perf_counter()
            way()
            times[name].append(time.perf_counter() - start)
    share = min(times["oneDNN"]) / min(times["torch"])
    logger.debug("%d x %d x %d, %d threads: oneDNN takes %.2f of the time", rows, into, out, threads, share)
    return share < 1


def _is_same(into: int, out: int, rows: int) -> bool:
    """Compare all bits of a product of numbers of one size, and of one of numbers from 10^-9 to 10^9."""
    return all(torch.equal(*(way() for way in _products(into, out, rows, scale))) for scale in (1, 9))


def _products(into: int, out: int, rows: int, scale: float) -> list[Callable[[], Tensor]]:
    """Return the same product of random numbers by oneDNN and by torch.

    :param scale: The largest power of ten of the inputs' sizes, which are as different as that where it is not 1.
    """
    rng = torch.Generator().manual_seed(0)
    inputs, weight, bias = (torch.randn(shape, generator=rng) for shape in ((rows, into), (into, out), (out,)))
    if scale != 1:
        inputs *= 10 ** torch.empty(rows, into).uniform_(-scale, scale, generator=rng)
    buffer = torch.empty(rows, out)
    return [functools.partial(way(weight, bias), inputs, buffer) for way in (map_in_pieces, public_map)]
