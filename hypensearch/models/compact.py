# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Weights in 6 or 8 bits, for checkpoints that ship with software: a quarter of their size or less.

A matrix is stored row by row as whole numbers, with one scale a row that maps the largest to the row's largest weight.
Vectors and small tensors stay float32. Reading gives float32 again, so nothing else knows of it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, TypedDict

import torch
from msgspec import Meta
from torch import Tensor

from hypensearch.formats.schema import Count, checked

BITS = (6, 8)
METADATA_KEY = "hypensearch_compact"
_SCALE = ".scale"
_LEAST_NUMEL = 4096


class _Fact(TypedDict):
    bits: Literal[6, 8]
    shape: Annotated[list[Count], Meta(min_length=2, max_length=4)]


def save_compact(weights: Mapping[str, Tensor], path: Path, *, bits: int = 8, embedding_bits: int = 6) -> None:
    """Write tensors compactly.

    :param bits: Of matrices.
    :param embedding_bits: Of tables of embeddings, whose errors add up less.
    """
    from safetensors.torch import save_file

    stored, facts = {}, {}
    for name, tensor in weights.items():
        if tensor.dim() < 2 or tensor.numel() < _LEAST_NUMEL:
            stored[name] = tensor.detach().float().contiguous()
            continue
        width = embedding_bits if "embeddings." in name and "query_embeddings" not in name else bits
        numbers, scale = quantise(tensor.detach().float(), width)
        stored[name], stored[name + _SCALE] = pack(numbers, width), scale
        facts[name] = {"bits": width, "shape": list(tensor.shape)}
    save_file(stored, path, metadata={"format": "pt", METADATA_KEY: json.dumps(facts)})


def expand(stored: Mapping[str, Tensor], facts: Mapping[str, Mapping[str, object]]) -> dict[str, Tensor]:
    """Give back the tensors of a compact file as float32.

    :param stored: The file's tensors.
    :param facts: What its metadata says of them.
    :raises ValueError: When a tensor is not what they say; as KeyError, when one lacks its scale.
    """
    tensors = {}
    given = checked(facts, dict[str, _Fact])
    for name, tensor in stored.items():
        if name in given:
            bits, shape = given[name]["bits"], given[name]["shape"]
            scale = stored[name + _SCALE]
            if list(scale.shape) != shape[:-1] or tensor.dtype != torch.uint8 or tensor.dim() != 1:
                raise ValueError(f"{name}: no compact tensor of the shape {shape}")
            if len(tensor) != (math.prod(shape) if bits == 8 else -(-math.prod(shape) // 4) * 3):
                raise ValueError(f"{name}: {len(tensor)} bytes are not {shape} numbers of {bits} bits")
            tensors[name] = unpack(tensor, bits, shape).float() * scale.float().unsqueeze(-1)
        elif not (name.endswith(_SCALE) and name.removesuffix(_SCALE) in given):
            tensors[name] = tensor
    return tensors


def quantise(tensor: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Return whole numbers of the tensor's shape, int8, and one scale a row, *Shape:* all but the last axis."""
    largest = 2 ** (bits - 1) - 1
    scale = tensor.abs().amax(dim=-1) / largest
    safe = torch.where(scale > 0, scale, torch.ones_like(scale))
    return (tensor / safe.unsqueeze(-1)).round().to(torch.int8), scale


def pack(numbers: Tensor, bits: int) -> Tensor:
    """Put numbers of 6 bits four to three bytes; those of 8 bits stay as they are.

    :param numbers: int8.
    :return: uint8, one axis.
    """
    flat = numbers.reshape(-1)
    if bits == 8:
        return flat.view(torch.uint8)
    shifted = torch.nn.functional.pad(flat.int() + 32, (0, -len(flat) % 4)).view(-1, 4)
    whole = (shifted[:, 0] << 18) | (shifted[:, 1] << 12) | (shifted[:, 2] << 6) | shifted[:, 3]
    return torch.stack([whole >> 16, (whole >> 8) & 255, whole & 255], dim=1).to(torch.uint8).reshape(-1)


def unpack(packed: Tensor, bits: int, shape: list[int]) -> Tensor:
    """Undo :func:`pack`; returns int8."""
    if bits == 8:
        return packed.view(torch.int8).view(shape)
    parts = packed.view(-1, 3).int()
    whole = (parts[:, 0] << 16) | (parts[:, 1] << 8) | parts[:, 2]
    numbers = torch.stack([whole >> 18, (whole >> 12) & 63, (whole >> 6) & 63, whole & 63], dim=1).reshape(-1)
    count = int(torch.tensor(shape).prod())
    return (numbers[:count] - 32).to(torch.int8).view(shape)
