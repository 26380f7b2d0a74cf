# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The plain way to score: one operation of the formula after the other; what all scorers are held against."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from hypensearch.models.q_net import QNets
from hypensearch.scoring.scorer import DTYPES, ROWS_MULTIPLE, as_tensor

BLOCK_ROWS = 2048


class EagerScorer:
    """Scores documents with the q-nets' own plain method.

    :param q_nets: The q-nets.
    :param device: Where to compute.
    :param precision: A key of :data:`hypensearch.scoring.scorer.DTYPES`.
    """

    def __init__(self, q_nets: QNets, device: torch.device, precision: str = "fp32") -> None:
        self.device = device
        self._dtype = DTYPES[precision]
        self._q_nets = [q_net.to(device, self._dtype) for q_net in q_nets]

    @torch.inference_mode()
    def score(self, vectors: Tensor | np.ndarray) -> Tensor:
        """Score documents; see :class:`hypensearch.scoring.choice.BlockScorer`."""
        vectors = as_tensor(vectors)
        scores = torch.empty(len(self._q_nets), len(vectors), device=self.device)
        for start in range(0, len(vectors), BLOCK_ROWS):
            block = vectors[start : start + BLOCK_ROWS].to(self.device, self._dtype)
            # Rows of zeros fill it up, so that its last bits do not depend on the number of its rows.
            padded = functional.pad(block, (0, 0, 0, -len(block) % ROWS_MULTIPLE))
            for query, q_net in enumerate(self._q_nets):
                scores[query, start : start + len(block)] = q_net(padded)[0, : len(block)]
        return scores
