# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The plain way to score: one operation of the formula after the other; what all scorers are held against."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from hypensearch.models.q_net import QNets
from hypensearch.scoring.precision import DTYPES
from hypensearch.scoring.scorer import ROWS_MULTIPLE, as_tensor

BLOCK_ROWS = 2048


class EagerScorer:
    """Scores documents with the q-nets' own plain method.

    :param q_nets: The q-nets.
    :param device: Where to compute.
    :param precision: A key of :data:`hypensearch.scoring.precision.DTYPES`.
    :param block_rows: Documents scored at a time.
    """

    def __init__(
        self, q_nets: QNets, device: torch.device, precision: str = "fp32", *, block_rows: int = BLOCK_ROWS
    ) -> None:
        self.device = device
        self._dtype = DTYPES[precision]
        self._q_nets = [q_net.to(device, self._dtype) for q_net in q_nets]
        self._block_rows = block_rows

    @torch.inference_mode()
    def score(self, vectors: Tensor | np.ndarray) -> Tensor:
        """Score documents; see :class:`hypensearch.scoring.choice.BlockScorer`."""
        if isinstance(vectors, np.ndarray):
            vectors = as_tensor(vectors)
        scores = torch.empty(len(self._q_nets), len(vectors), device=self.device)
        for start in range(0, len(vectors), self._block_rows):
            block = vectors[start : start + self._block_rows].to(self.device, self._dtype)
            for query, q_net in enumerate(self._q_nets):
                scores[query, start : start + len(block)] = q_net(_padded(block))[0, : len(block)]
        return scores


def _padded(block: Tensor) -> Tensor:
    """Fill a block up with rows of zeros, so that its last bits do not depend on the number of its rows."""
    return functional.pad(block, (0, 0, 0, -len(block) % ROWS_MULTIPLE))
