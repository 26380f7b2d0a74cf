# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The codes of the documents as tensors, and which of them have the highest inner products with given weights."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from hypensearch import onednn
from hypensearch.scoring.scorer import as_tensor
from hypensearch.surrogate.store import Surrogate

_SUBSAMPLE_ROWS, _RUN = 32768, 16  # documents of a subsample, and consecutive ones among them
_BLOCK_ROWS = 65536  # codes multiplied at a time: products of integers stay in cache


class Codes:
    """The codes and how large the errors of predictions from them are; on a CPU codes stay mapped.

    :param surrogate: The codes as they are stored.
    :param device: Where to compute.
    """

    def __init__(self, surrogate: Surrogate, device: torch.device) -> None:
        self.integers = as_tensor(surrogate.codes).to(device)
        self.scales = as_tensor(surrogate.scales.view(np.int16)).view(torch.bfloat16).to(device)
        #: Of each document, 1 for the median document, float32, *Shape:* ``(num_docs,)``; in memory, not on a device.
        self.errors = torch.from_numpy(surrogate.errors())
        #: Whether all are equally large.
        self.has_even_errors = not len(self.errors) or bool((self.errors == self.errors[0]).all())

    def __len__(self) -> int:
        return len(self.integers)

    @property
    def dim(self) -> int:
        """Components of a code."""
        return self.integers.shape[1]

    def gather(self, rows: Tensor) -> Tensor:
        """Return codes of documents, float32, *Shape:* ``(*rows.shape, code_size)``."""
        flat = rows.to(self.integers.device).flatten()
        codes = self.integers.index_select(0, flat).float().mul_(self.scales[flat].float().unsqueeze(1))
        return codes.view(*rows.shape, self.dim)

    def scan(self, weights: Tensor) -> np.ndarray:
        """Multiply all codes with weights, approximately: as 8-bit integers on a CPU.

        :param weights: *Shape:* ``(num_fits, code_size)``.
        :return: float32, *Shape:* ``(num_fits, num_docs)``.
        """
        return _products(weights, self.integers, self.scales).cpu().numpy()


class Subsample:
    """The codes of some documents, in short runs evenly spread over the index: enough for a first, rough fit.

    :param codes: All codes.
    """

    def __init__(self, codes: Codes) -> None:
        starts = np.linspace(0, max(len(codes) - _RUN, 0), _SUBSAMPLE_ROWS // _RUN).astype(np.int64)
        self.rows = np.unique(np.minimum(starts[:, None] + np.arange(_RUN), len(codes) - 1))
        places = torch.from_numpy(self.rows).to(codes.integers.device)
        self._integers, self._scales = codes.integers[places], codes.scales[places]

    @staticmethod
    def is_worthwhile(num_docs: int) -> bool:
        """Whether a scan of all codes takes clearly longer."""
        return num_docs >= 2 * _SUBSAMPLE_ROWS

    def best(self, weights: Tensor, count: int, scored: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """Find the documents of the highest inner products.

        :param weights: *Shape:* ``(num_fits, code_size)``.
        :param count: Documents wanted of each fit.
        :param scored: Rows to leave out, *Shape:* ``(n,)``.
        :return: Rows, ascending, and inner products of each fit, *Shape:* ``(at most count,)`` each.
        """
        places = np.searchsorted(self.rows, scored).clip(max=len(self.rows) - 1)
        scored_places = places[self.rows[places] == scored]
        products = _products(weights, self._integers, self._scales)
        products[:, torch.from_numpy(scored_places).to(products.device)] = -torch.inf
        best = products.topk(min(count, len(self.rows) - len(scored_places))).indices.sort(dim=1).values
        pairs = zip(best.cpu().numpy(), products.gather(1, best).cpu().numpy(), strict=True)
        return [(self.rows[some], of_fit) for some, of_fit in pairs]


def _products(weights: Tensor, integers: Tensor, scales: Tensor) -> Tensor:
    """Multiply codes with weights approximately, float32, *Shape:* ``(num_fits, num_codes)``.

    :param weights: *Shape:* ``(num_fits, code_size)``.
    :param integers: *Shape:* ``(num_codes, code_size)``.
    :param scales: Of the codes, *Shape:* ``(num_codes,)``.
    """
    if integers.device.type != "cpu":
        return (weights.bfloat16() @ integers.T.bfloat16()).float() * scales.float()
    if not onednn.adds_integers_exactly(integers.shape[1]):
        return onednn.rounded_products(weights, integers, scales)
    weight_scales = weights.abs().amax(dim=1, keepdim=True).clamp(min=1e-30) / 127
    rounded = (weights / weight_scales).round().to(torch.int8)
    products = torch.empty(len(weights), len(integers))
    for start in range(0, len(integers), _BLOCK_ROWS):
        block = slice(start, start + _BLOCK_ROWS)
        of_block, code_scales = integers[block], scales[block].float()
        for of_fit, column in zip(products[:, block], rounded.unsqueeze(2), strict=True):
            torch.mul(onednn.integer_products(of_block, column), code_scales, out=of_fit)
    return products.mul_(weight_scales)
