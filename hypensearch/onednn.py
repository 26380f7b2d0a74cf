# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Products that torch has as private operators on a CPU, most of them oneDNN's. No other module names such operators.

Each kind of product is compared with torch's public one when a process first asks for it: a small product and one of a
layer's size. A kind that is missing, fails or gives other results is left out with a warning, and its callers use the
public product.
"""

from __future__ import annotations

import functools
import logging

import torch
from torch import Tensor

logger = logging.getLogger(__name__)

_SHAPES = ((3, 5, 7), (64, 768, 768))  # of the products that are compared: rows, inputs, outputs
_BLOCK_ROWS = 65536
_ZERO = 128  # what 0 is among unsigned bytes


def linear(inputs: Tensor, weight: Tensor, bias: Tensor | None = None, added: Tensor | None = None) -> Tensor:
    """Multiply rows with a weight.

    :param inputs: float32 or bfloat16, *Shape:* ``(rows, in)``.
    :param weight: *Shape:* ``(out, in)``, or what :func:`packed` makes of it.
    :param bias: *Shape:* ``(out,)``.
    :param added: Without a bias: what to add the products to, *Shape:* ``(rows, out)``.
    """
    operator = torch.ops.mkldnn._linear_pointwise
    if added is None:
        return operator(inputs, weight, bias, "none", [], "")  # type: ignore[no-any-return]
    return operator.binary(inputs, added, weight, bias, "add")  # type: ignore[no-any-return]


def packed(weight: Tensor, rows: int) -> Tensor:
    """Lay a weight, *Shape:* ``(out, in)``, out for :func:`linear` with inputs of about so many rows."""
    return torch.ops.mkldnn._reorder_linear_weight(weight, rows)  # type: ignore[no-any-return]


def int8_linear(inputs: Tensor, scale: float, weight: Tensor, weight_scale: Tensor, bias: Tensor) -> Tensor:
    """Multiply rows of bytes with a weight of bytes; the products are float32.

    :param inputs: uint8, 128 for 0, *Shape:* ``(rows, in)``.
    :param scale: What 1 of the inputs stands for.
    :param weight: What :func:`int8_packed` makes of a weight.
    :param weight_scale: What 1 of the weights stands for, float32, *Shape:* ``(out,)``.
    :param bias: float32, *Shape:* ``(out,)``.
    """
    zero = torch.zeros(len(weight_scale), dtype=torch.int32)
    options: tuple[object, ...] = (1.0, 0, torch.float32, "none", [], "")
    return torch.ops.onednn.qlinear_pointwise(  # type: ignore[no-any-return]
        inputs, scale, _ZERO, weight, weight_scale, zero, bias, *options
    )


def int8_packed(weight: Tensor, rows: int) -> Tensor:
    """Lay an int8 weight, *Shape:* ``(out, in)``, out for inputs of so many rows."""
    return torch.ops.onednn.qlinear_prepack(weight, [rows, weight.shape[1]])  # type: ignore[no-any-return]


@functools.cache
def has_instructions(dtype: torch.dtype) -> bool:
    """Whether the processor has instructions for products in bfloat16 or float16."""
    name = "_is_mkldnn_bf16_supported" if dtype == torch.bfloat16 else "_is_mkldnn_fp16_supported"
    if not torch.backends.mkldnn.is_available():
        return False
    try:
        return bool(getattr(torch.ops.mkldnn, name)())
    except (AttributeError, RuntimeError, TypeError) as error:
        _warn(f"it does not say whether the processor has {dtype} instructions", error)
        return False


@functools.cache
def usable(dtype: torch.dtype) -> bool:
    """Whether oneDNN's products of a type may be used here.

    :param dtype: torch.float32, torch.bfloat16 or torch.int8.
    """
    if not torch.backends.mkldnn.is_available() or (dtype == torch.bfloat16 and not has_instructions(dtype)):
        return False
    try:
        if all(_is_right(dtype, *shape) for shape in _SHAPES):
            return True
        _warn(f"its products in {dtype} are not torch's")
    except (AttributeError, RuntimeError, TypeError) as error:
        _warn(f"it has no products in {dtype}", error)
    return False


def integer_products(integers: Tensor, column: Tensor) -> Tensor:
    """Multiply rows of bytes with a column; only where :func:`adds_integers_exactly`.

    :param integers: int8, *Shape:* ``(rows, size)``.
    :param column: int8, *Shape:* ``(size, 1)``.
    :return: int32, *Shape:* ``(rows,)``.
    """
    return torch._int_mm(integers, column).squeeze(1)


@functools.cache
def adds_integers_exactly(size: int) -> bool:
    """Whether the processor adds up so many products of bytes exactly; others saturate sums at 16 bits.

    Callers' choice never depends on timing: integers and bfloat16 round differently, which changes results.
    """
    is_supported = getattr(torch.cpu, "_is_vnni_supported", None)
    if is_supported is None or not is_supported():
        return False
    integers, column = (torch.full((rows, size), 127, dtype=torch.int8) for rows in (64, 1))
    integers[::2] = -127
    try:
        return torch.equal(integer_products(integers, column.T), integers[:, 0].int() * (127 * size))
    except (RuntimeError, AttributeError):  # a build of torch without it
        return False


def rounded_products(weights: Tensor, integers: Tensor, scales: Tensor) -> Tensor:
    """Multiply weights, rounded to bfloat16, with rows of bytes.

    :param weights: *Shape:* ``(num_fits, size)``.
    :param integers: int8, *Shape:* ``(rows, size)``.
    :param scales: What 1 of each row stands for, bfloat16, *Shape:* ``(rows,)``.
    :return: float32, *Shape:* ``(num_fits, rows)``.
    """
    if _has_rounded_products():
        return torch.ops.aten._weight_int8pack_mm(weights.bfloat16(), integers, scales).float()  # type: ignore[no-any-return]
    rounded, products = weights.bfloat16().float(), torch.empty(len(weights), len(integers))
    for start in range(0, len(integers), _BLOCK_ROWS):  # as float32 all of them may be too many for the memory
        block = slice(start, start + _BLOCK_ROWS)
        products[:, block] = rounded @ integers[block].float().T * scales[block].float()
    return products


@functools.cache
def _has_rounded_products() -> bool:
    rng = torch.Generator().manual_seed(0)
    weights, scales = torch.randn(3, 64, generator=rng).bfloat16(), torch.rand(96, generator=rng).bfloat16()
    integers = torch.randint(-127, 128, (96, 64), generator=rng, dtype=torch.int8)
    wanted = weights.float() @ integers.float().T * scales.float()
    try:
        found = torch.ops.aten._weight_int8pack_mm(weights, integers, scales).float()
    except (AttributeError, RuntimeError, TypeError) as error:
        _warn("it has no products of bfloat16 with bytes", error)
        return False
    is_right = torch.allclose(found, wanted, rtol=0.02, atol=0.02 * float(wanted.abs().max()))
    if not is_right:
        _warn("its products of bfloat16 with bytes are not torch's")
    return is_right


def _is_right(dtype: torch.dtype, rows: int, into: int, out: int) -> bool:
    """Compare a product with torch's own, and for float32 the sum of two of them."""
    rng = torch.Generator().manual_seed(0)
    inputs, weight, bias = (torch.randn(shape, generator=rng) for shape in ((rows, into), (out, into), (out,)))
    if dtype == torch.int8:
        inputs, weight = ((20 * numbers).round().clamp(-60, 60) for numbers in (inputs, weight))
        scale = torch.rand(out, generator=rng)
        pack = int8_packed(weight.to(torch.int8), rows)
        found = int8_linear((inputs + _ZERO).to(torch.uint8), 0.5, pack, scale, bias)
        wanted, tolerance = bias + inputs @ weight.T * (scale * 0.5), 1e-4
    elif dtype == torch.bfloat16:
        inputs, weight, bias = inputs.bfloat16(), weight.bfloat16(), bias.bfloat16()
        found = linear(inputs, packed(weight, rows), bias).float()
        wanted, tolerance = torch.addmm(bias.float(), inputs.float(), weight.T.float()), 0.02
    else:
        found = linear(inputs, weight, added=linear(inputs, weight, bias))
        wanted, tolerance = torch.addmm(bias, inputs, weight.T, alpha=2), 1e-4
    return torch.allclose(found, wanted, rtol=tolerance, atol=tolerance * float(wanted.abs().max()))


def _warn(what: str, error: Exception | None = None) -> None:
    reason = f" ({str(error).splitlines()[0]})" if error and str(error) else ""
    logger.warning("oneDNN of torch %s is left out: %s%s; search may be slower", torch.__version__, what, reason)
