# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The best documents so far, kept on the GPU while scores come in: no step waits for the GPU until the end.

A candidate is one integer, greater for what ranks higher: its score's bits in the upper half, and below them its place
among the docids, so that equal scores are cut exactly as everywhere else.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

NOTHING = -(2**63)
_TIES = 0xFFFFFFFF


class Candidates:
    """Keeps what may belong to the best k of each query.

    Kernels append to it what reaches a query's bar, the k-th best score of the last :meth:`merge`. Merging costs a
    selection over the whole list, so it is done each time the number of documents seen has doubled: by then about k
    candidates have come on top of the k. Should there be more than there is room for, as from documents sorted by
    score, :attr:`overflowed` says so, and the search has to be done again with ``often=True``.

    :param num_queries: Number of queries.
    :param k: How many to keep of each.
    :param room: Candidates there is room for beyond k, in each query; blocks must not have more documents.
    :param device: Where to keep them.
    :param often: Whether to merge after every block, which never overflows.
    """

    def __init__(self, num_queries: int, k: int, room: int, device: torch.device, *, often: bool = False) -> None:
        self.k = k
        self.capacity = k + room
        #: Packed candidates, int64, shape ``(num_queries, capacity)``; the first ``counts`` of each query are valid.
        self.keys = torch.full((num_queries, self.capacity), NOTHING, dtype=torch.int64, device=device)
        #: Candidates offered since the last merge, and the k kept by it, int32, shape ``(num_queries,)``.
        self.counts = torch.zeros(num_queries, dtype=torch.int32, device=device)
        #: Scores to reach, float32, shape ``(num_queries,)``.
        self.bars = torch.full((num_queries,), -torch.inf, device=device)
        self._often = often
        self._overflow = torch.zeros((), dtype=torch.bool, device=device)
        self._seen = 0
        self._since = 0

    def make_room(self, num_docs: int) -> None:
        """Merge before the scores of more documents come, if it is time to."""
        full = self._since + num_docs > self.capacity - self.k
        if self._since and full and (self._often or self._since >= self._seen - self._since):
            self.merge()
        self._seen += num_docs
        self._since += num_docs

    def merge(self) -> None:
        """Cut each list down to its best k and raise the bars."""
        self._overflow |= (self.counts > self.capacity).any()
        valid = torch.arange(self.capacity, device=self.keys.device) < self.counts.unsqueeze(1)
        best = torch.topk(self.keys.masked_fill(~valid, NOTHING), self.k, dim=1).values
        self.keys[:, : self.k] = best
        self.counts.fill_(self.k)
        self.bars.copy_(scores_of(best[:, -1]).nan_to_num(torch.inf))
        self._since = 0

    @property
    def overflowed(self) -> bool:
        """Whether candidates were lost; waits for the GPU."""
        return bool(self._overflow.item())

    def best(self) -> tuple[np.ndarray, np.ndarray]:
        """Return scores and places among the docids, best first.

        :return: float32 and int64, *Shape:* ``(num_queries, k)``; a place is -1 where there are fewer than k.
        """
        self.merge()
        keys = self.keys[:, : self.k].cpu()
        places = torch.where(keys == NOTHING, -1, _TIES - (keys & _TIES))
        return scores_of(keys).numpy(), places.numpy()


def pack(scores: Tensor, tie_order: Tensor) -> Tensor:
    """Pack scores and what orders equal ones; the plain way, which the kernel's is held against.

    :param scores: float32, *Shape:* ``(num_queries, num_docs)``; a score that is not finite is above all others.
    :param tie_order: *Shape:* ``(num_docs,)``, smaller first.
    :return: int64, *Shape:* ``(num_queries, num_docs)``.
    """
    scores = torch.where(torch.isfinite(scores), scores + 0.0, torch.nan)
    bits = scores.view(torch.int32)
    bits = torch.where(torch.isnan(scores), 0x7FC00000, torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits))
    return (bits.long() << 32) + (_TIES - tie_order.long())


def scores_of(keys: Tensor) -> Tensor:
    """Unpack the scores, float32; those of :data:`NOTHING` are -inf."""
    bits = keys >> 32
    scores = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits).int().view(torch.float32)
    return torch.where(keys == NOTHING, -torch.inf, scores)
