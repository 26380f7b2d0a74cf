# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The best k documents of each query, kept while scores come in block by block."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from hypensearch.errors import HypensearchError


class TopK:
    """Keeps the k best rows of each query; equal scores are ordered, and cut, by docid.

    :param num_queries: Number of queries.
    :param k: How many rows to keep of each.
    :param docid_rank: Place of each row's docid among all docids, *Shape:* ``(num_docs,)``; ties go by it.
    """

    def __init__(self, num_queries: int, k: int, docid_rank: np.ndarray) -> None:
        self.k = k
        self._docid_rank = docid_rank
        self._rows = [np.empty(0, dtype=np.int64) for _ in range(num_queries)]
        self._scores = [np.empty(0, dtype=np.float32) for _ in range(num_queries)]

    def add(self, first_row: int, scores: Tensor) -> None:
        """Offer the scores of consecutive rows.

        :param first_row: Row of the first score.
        :param scores: float32, *Shape:* ``(num_queries, num_rows)``.
        :raises HypensearchError: When a score is NaN or infinite; names the row.
        """
        _check_finite(scores, first_row)
        found = []
        for query, of_query in enumerate(scores):
            positions = self._candidates(query, of_query)
            found.append((positions.cpu().numpy() + first_row, of_query[positions].cpu().numpy()))
        for query, (rows, found_scores) in enumerate(found):  # nothing is kept unless there was memory for all
            self._merge(query, rows, found_scores)

    def rows(self, query: int) -> np.ndarray:
        """Return a query's best rows, best first, *Shape:* ``(at most k,)``."""
        return self._rows[query]

    def scores(self, query: int) -> np.ndarray:
        """Return the scores of :meth:`rows`, float32."""
        return self._scores[query]

    def _candidates(self, query: int, scores: Tensor) -> Tensor:
        """Return positions that may belong to the best k: all that reach a bar, ties with it included."""
        kept = self._scores[query]
        bar = float(kept[-1]) if len(kept) == self.k else -float("inf")
        reaching = scores >= bar
        if len(scores) > self.k and int(reaching.sum()) > self.k:
            reaching = scores >= torch.topk(scores, self.k, sorted=True).values[-1]
        return reaching.nonzero().squeeze(1)

    def _merge(self, query: int, rows: np.ndarray, scores: np.ndarray) -> None:
        if not len(rows):
            return
        rows = np.concatenate([self._rows[query], rows])
        scores = np.concatenate([self._scores[query], scores])
        best = in_rank_order(scores, self._docid_rank[rows])[: self.k]
        self._rows[query], self._scores[query] = rows[best], scores[best]


def in_rank_order(scores: np.ndarray, docid_rank: np.ndarray) -> np.ndarray:
    """Return positions in the order of hits: higher scores first, equal ones by docid.

    :param scores: *Shape:* ``(n,)``.
    :param docid_rank: Place of each docid in code-point order, *Shape:* ``(n,)``.
    """
    return np.lexsort((docid_rank, -scores))


def _check_finite(scores: Tensor, first_row: int) -> None:
    if bool(torch.isfinite(scores).all()):
        return
    query, position = (~torch.isfinite(scores)).nonzero()[0].tolist()
    raise not_finite(first_row + position, query, float(scores[query, position]))


def not_finite(row: int, query: int, score: float) -> HypensearchError:
    """Return the error of a score that is NaN or infinite."""
    return HypensearchError(
        f"the score of row {row} under q-net {query} is {score}: the q-net overflows or has broken weights; search in "
        "fp32, and check the checkpoint"
    )
