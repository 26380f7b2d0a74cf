# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Linear maps of documents' states.

torch computes float32 products on a CPU with MKL, which does not use AVX-512 on processors of other makers than Intel:
oneDNN is twice as fast on an AMD EPYC. Both add up products one after the other, but MKL in pieces of 192 inputs; in
the same pieces, oneDNN gives the same bits. Whether it does is tried once for each shape, whether it is faster for some
of them; where not, MKL (or what else torch was built with) stays. So a float32 score never depends on which of them
computed it.
"""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

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
    :param rows: Lay the weight out anew, where that gains something, for inputs of about so many rows. It takes as long
        as a product with some hundred of them.
    """
    weight = weight.contiguous()  # how it is stored may change last bits
    plain = _blas(weight, bias)
    if weight.device.type != "cpu" or not _has_onednn():
        return plain
    if weight.dtype == torch.float32:
        in_pieces = _in_pieces(weight, bias)  # others take oneDNN a thousand times as long
        shape = weight.shape[0], weight.shape[1]
        return lambda inputs, out: (in_pieces if _is_taken(*shape, len(inputs)) else plain)(inputs, out)
    if weight.dtype == torch.bfloat16 and rows and torch.ops.mkldnn._is_mkldnn_bf16_supported():
        on_pack = torch.ops.mkldnn._reorder_linear_weight(weight.T, rows)
        return lambda inputs, out: _onednn(inputs, on_pack, bias)
    return plain


def product_with_transposed(rows: Tensor, weight: Tensor) -> Tensor:
    """Return products of rows with the transposed weight of a map, as gradients go back by.

    :param rows: *Shape:* ``(n, out)``.
    :param weight: *Shape:* ``(in, out)``.
    :return: *Shape:* ``(n, in)``.
    """
    if weight.device.type == "cpu" and weight.dtype == torch.float32 and _has_onednn():
        return _onednn(rows, weight.contiguous(), None)
    return rows @ weight.contiguous().T


def _blas(weight: Tensor, bias: Tensor) -> LinearMap:
    return lambda inputs, out: torch.addmm(bias, inputs, weight, out=out)


def _onednn(inputs: Tensor, weight: Tensor, bias: Tensor | None, added: Tensor | None = None) -> Tensor:
    """Multiply by a weight, *Shape:* ``(out, in)``, and add something to the products."""
    linear = torch.ops.mkldnn._linear_pointwise
    result: Tensor = (
        linear(inputs, weight, bias, "none", [], "")
        if added is None
        else linear.binary(inputs, added, weight, bias, "add")
    )
    return result


@functools.cache
def _has_onednn() -> bool:
    """Tell whether torch was built with it, and with its linear maps."""
    if not torch.backends.mkldnn.is_available():
        return False
    one = torch.ones(1, 1)
    try:
        return float(_onednn(one, one, None, added=_onednn(one, one, None))) == 2
    except (RuntimeError, AttributeError) as error:
        logger.debug("oneDNN is left out: %s", error)
        return False


def _in_pieces(weight: Tensor, bias: Tensor) -> LinearMap:
    """Add the products of one piece of the inputs to those before it."""
    (span, part), *others = [(slice(start, end), weight[start:end].T) for start, end in _pieces(len(weight))]

    def apply(inputs: Tensor, out: Tensor) -> Tensor:
        sums = _onednn(inputs[:, span], part, bias)
        for next_span, next_part in others:
            sums = _onednn(inputs[:, next_span], next_part, None, added=sums)
        return sums

    return apply


def _pieces(size: int) -> list[tuple[int, int]]:
    """Return start and end of the pieces that MKL adds up: of 192, or two halves where there are less than 384."""
    length = size if size <= _PIECE else size // 2 if size < 2 * _PIECE else _PIECE
    return [(start, min(start + length, size)) for start in range(0, size, length)]


def _is_taken(into: int, out: int, rows: int) -> bool:
    """Tell whether oneDNN computes such float32 products to the bits of BLAS, and faster."""
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
    """Time oneDNN against BLAS.

    :param threads: As many as torch uses.
    """
    onednn, blas = _least_seconds(_ways(into, out, rows))
    logger.debug("%d x %d x %d, %d threads: oneDNN takes %.2f of BLAS's time", rows, into, out, threads, onednn / blas)
    return onednn < blas


def _is_same(into: int, out: int, rows: int) -> bool:
    return torch.equal(*(way() for way in _ways(into, out, rows)))


def _ways(into: int, out: int, rows: int) -> list[Callable[[], Tensor]]:
    """Return products of random numbers by oneDNN and by BLAS."""
    chance = torch.Generator().manual_seed(0)
    inputs, weight = (torch.randn(shape, generator=chance) for shape in ((rows, into), (into, out)))
    bias, buffer = torch.randn(out, generator=chance), torch.empty(rows, out)
    return [functools.partial(way(weight, bias), inputs, buffer) for way in (_in_pieces, _blas)]


def _least_seconds(ways: Sequence[Callable[[], object]]) -> list[float]:
    """Time some ways in turn, so that all find the machine in the same state; returns the least time of each."""
    times: list[list[float]] = [[] for _ in ways]
    for _ in range(_REPEATS):
        for way, of_way in zip(ways, times, strict=True):
            start = time.perf_counter()
            way()
            of_way.append(time.perf_counter() - start)
    return [min(of_way) for of_way in times]
