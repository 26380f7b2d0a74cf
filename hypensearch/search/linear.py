# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Linear maps of documents' states on a CPU, with weights that are packed once for many tiles.

torch computes float32 products on a CPU with MKL, which does not use AVX-512 on processors of other makers than Intel:
oneDNN is 2.3 times as fast on an AMD EPYC. Both add up products one after the other, but MKL in pieces of 192 inputs;
in the same pieces, oneDNN gives the same bits. Whether it does, and is faster, is tried once for each shape; where not,
MKL (or what else torch was built with) stays. So a float32 score never depends on which of them computed it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

logger = logging.getLogger(__name__)

LinearMap = Callable[[Tensor, Tensor], Tensor]
"""Inputs, *Shape:* ``(rows, in)``, and a buffer that may be used for the outputs, *Shape:* ``(rows, out)``."""

_PIECE = 192  # inputs that MKL adds up before it starts on the next piece
_MUST_GAIN = 0.9  # of BLAS's time

_tried: dict[tuple[int, int, int], bool] = {}
_trying = threading.Lock()


def blas(weight: Tensor, bias: Tensor) -> LinearMap:
    """Return the map as torch's own matrix product computes it, on any device, in any dtype.

    :param weight: *Shape:* ``(in, out)``.
    :param bias: *Shape:* ``(out,)``.
    """

    def apply(inputs: Tensor, out: Tensor) -> Tensor:
        return torch.addmm(bias, inputs, weight, out=out)

    return apply


def packed(weight: Tensor, bias: Tensor, rows: int) -> LinearMap | None:
    """Return the map with its weight packed for oneDNN, where that is faster; None where it is not.

    To be called in a thread that computes on one core. Inputs of another number of rows are left to :func:`blas`.

    :param weight: *Shape:* ``(in, out)``; float32 gives the bits of :func:`blas`, bfloat16 about its values.
    :param bias: *Shape:* ``(out,)``.
    :param rows: Rows of the inputs: weights are packed for them.
    """
    if weight.device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return None
    if weight.dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported():
        ours = _bfloat16(weight, bias, rows)
    elif weight.dtype == torch.float32 and _is_faster(weight.shape[0], weight.shape[1], rows):
        ours = _float32(weight, bias, rows)
    else:
        return None
    plain = blas(weight, bias)
    return lambda inputs, out: (ours if len(inputs) == rows else plain)(inputs, out)


def _bfloat16(weight: Tensor, bias: Tensor, rows: int) -> LinearMap:
    on_pack = torch.ops.mkldnn._reorder_linear_weight(weight.t(), rows)

    def apply(inputs: Tensor, out: Tensor) -> Tensor:
        outputs: Tensor = torch.ops.mkldnn._linear_pointwise(inputs, on_pack, bias, "none", [], "")
        return outputs

    return apply


def _float32(weight: Tensor, bias: Tensor, rows: int) -> LinearMap:
    """Add the products of one piece of the inputs to those before it, as 1 x 1 convolutions: they can add in place."""
    spans = _pieces(len(weight))
    kernels = [_kernel(weight[start:end], rows) for start, end in spans]
    shape = ([0, 0], [1, 1], [1, 1], 1)  # padding, stride, dilation, groups

    def apply(inputs: Tensor, out: Tensor) -> Tensor:
        pieces = [_as_image(inputs[:, start:end]) for start, end in spans]
        sums = torch.ops.mkldnn._convolution_pointwise(pieces[0], kernels[0], bias, *shape, "none", [], "")
        for piece, kernel in zip(pieces[1:], kernels[1:], strict=True):
            torch.ops.mkldnn._convolution_pointwise_.binary(
                sums, piece, kernel, None, *shape, "add", None, None, [], None
            )
        outputs: Tensor = sums.permute(0, 2, 3, 1).reshape(len(inputs), len(bias))
        return outputs

    return apply


def _pieces(size: int) -> list[tuple[int, int]]:
    """Return start and end of the pieces that MKL adds up: of 192, or two halves where there are less than 384."""
    length = size if size <= _PIECE else size // 2 if size < 2 * _PIECE else _PIECE
    return [(start, min(start + length, size)) for start in range(0, size, length)]


def _kernel(weight: Tensor, rows: int) -> Tensor:
    kernel = weight.t().contiguous()[:, :, None, None]
    kernel = torch.ops.mkldnn._reorder_convolution_weight(
        kernel, [0, 0], [1, 1], [1, 1], 1, [1, weight.shape[0], rows, 1]
    )
    result: Tensor = kernel
    return result


def _as_image(states: Tensor) -> Tensor:
    """View states, *Shape:* ``(rows, in)``, as an image of ``in`` channels and a point for each row."""
    rows, into = states.shape
    return states.contiguous().view(1, rows, 1, into).permute(0, 3, 1, 2)


def _is_faster(into: int, out: int, rows: int) -> bool:
    """Try oneDNN in float32 against BLAS, once for each shape: the same bits, in less time?"""
    with _trying:
        if (into, out, rows) not in _tried:
            _tried[into, out, rows] = _try(into, out, rows)
        return _tried[into, out, rows]


def _try(into: int, out: int, rows: int) -> bool:
    chance = torch.Generator().manual_seed(0)
    inputs, weight = (torch.randn(shape, generator=chance) for shape in ((rows, into), (into, out)))
    bias, buffer = torch.randn(out, generator=chance), torch.empty(rows, out)
    plain = blas(weight, bias)
    try:
        ours = _float32(weight, bias, rows)
        if not torch.equal(ours(inputs, buffer), plain(inputs, buffer)):
            return False
        seconds = [_seconds(apply, inputs, buffer) for apply in (ours, plain)]
    except (RuntimeError, AttributeError) as error:  # a build of torch without these operations
        logger.debug("oneDNN does not do %d x %d: %s", into, out, error)
        return False
    logger.debug("%d x %d: oneDNN takes %.2f of BLAS's time, to the same bits", into, out, seconds[0] / seconds[1])
    return seconds[0] < _MUST_GAIN * seconds[1]


def _seconds(apply: LinearMap, inputs: Tensor, buffer: Tensor) -> float:
    """Return the least of three times."""
    times = [time.perf_counter()]
    for _ in range(3):
        apply(inputs, buffer)
        times.append(time.perf_counter())
    return min(after - before for before, after in pairwise(times))
