# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Where the Triton kernel puts documents that may be among the best, until they are merged."""

from __future__ import annotations

import torch

from hypensearch.scoring.top_k import NOTHING, TopK


class Candidates:
    """A list on the GPU for each query, to which kernels append the keys of what reaches the query's bar.

    Merging selects from the whole list, so it is done each time the number of documents seen has doubled: until then
    about k candidates have come. Should more come than there is room for, as from documents sorted by score,
    :attr:`overflowed` says so, and the search has to be repeated with ``often=True``. Nothing but that waits for the
    GPU.

    :param best: What the candidates are merged into.
    :param room: How many candidates of each query there is room for; blocks must not have more documents.
    :param often: Whether to merge after every block, which never overflows.
    """

    def __init__(self, best: TopK, room: int, *, often: bool = False) -> None:
        num_queries, device = len(best.keys), best.keys.device
        self.best = best
        self.room = room
        #: Keys, int64, *Shape:* ``(num_queries, room)``; the first ``counts`` of each query are valid.
        self.keys = torch.empty(num_queries, room, dtype=torch.int64, device=device)
        #: Candidates offered since the last merge, int32, *Shape:* ``(num_queries,)``.
        self.counts = torch.zeros(num_queries, dtype=torch.int32, device=device)
        #: Scores to reach, float32, *Shape:* ``(num_queries,)``.
        self.bars = best.bars
        self._often = often
        self._overflow = torch.zeros((), dtype=torch.bool, device=device)
        self._seen = self._since = 0

    def make_room(self, num_docs: int) -> None:
        """Merge before the scores of more documents come, if it is time to."""
        full = self._since + num_docs > self.room
        if self._since and full and (self._often or self._since >= self._seen - self._since):
            self.merge()
        self._seen += num_docs
        self._since += num_docs

    def merge(self) -> None:
        """Move the candidates to the best documents, and raise the bars."""
        self._overflow |= (self.counts > self.room).any()
        valid = torch.arange(self.room, device=self.keys.device) < self.counts.unsqueeze(1)
        self.best.merge(self.keys.masked_fill(~valid, NOTHING))
        self.counts.zero_()
        self.bars.copy_(self.best.bars)
        self._since = 0

    @property
    def overflowed(self) -> bool:
        """Whether candidates were lost; waits for the GPU."""
        return bool(self._overflow)
