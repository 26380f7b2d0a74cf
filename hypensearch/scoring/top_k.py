# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The best k documents of each query, kept while scores come in block by block.

A document and its score are one integer, its key: the bits of the score in the upper half, and in the lower half the
place of its docid among all docids, counted from the end. The order of keys is the order of hits: higher scores first,
equal scores by docid. The keys of scores that are NaN or infinite are above all others, so that they are never lost.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from hypensearch.errors import HypensearchError

NOTHING = -(2**63)  # below the key of every document
_LAST_RANK = 2**32 - 1
_NOT_FINITE = 0x7FC00000  # the bits of NaN


def pack(scores: Tensor, docid_rank: Tensor) -> Tensor:
    """Pack scores and docids into keys.

    :param scores: float32, *Shape:* ``(..., num_docs)``.
    :param docid_rank: Place of each docid among all docids, of any integer type, *Shape:* ``(..., num_docs)``.
    :return: int64, *Shape:* ``(..., num_docs)``.
    """
    bits = torch.where(torch.isfinite(scores), _ordered((scores + 0.0).view(torch.int32)), _NOT_FINITE)  # -0 equals 0
    return (bits.long() << 32) + (_LAST_RANK - docid_rank.long())


def unpack(keys: Tensor) -> tuple[Tensor, Tensor]:
    """Unpack keys.

    :return: Scores, float32, NaN where they were not finite, and places among the docids, int64; -inf and -1 for
        :data:`NOTHING`.
    """
    scores, ranks = _ordered((keys >> 32).int()).view(torch.float32), _LAST_RANK - (keys & _LAST_RANK)
    there = keys != NOTHING
    return scores.where(there, -torch.inf), ranks.where(there, -1)


def _ordered(bits: Tensor) -> Tensor:
    """Turn the bits of floats into integers that are ordered as the floats are; its own inverse."""
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


class TopK:
    """Keeps the k best documents of each query, on the device of the scores.

    Waits for a GPU in :meth:`best` alone, and copies nothing but the kept keys from it.

    :param num_queries: Number of queries.
    :param k: How many documents to keep of each.
    :param docid_rank: Place of each row's docid among all docids, on the scores' device, *Shape:* ``(num_docs,)``.
    """

    def __init__(self, num_queries: int, k: int, docid_rank: Tensor) -> None:
        self.k = k
        self.docid_rank = docid_rank
        #: Keys, best first, *Shape:* ``(num_queries, k)``; :data:`NOTHING` where there are fewer documents.
        self.keys = torch.full((num_queries, k), NOTHING, device=docid_rank.device)

    @property
    def bars(self) -> Tensor:
        """The score that a document must reach to be kept, *Shape:* ``(num_queries,)``."""
        scores, _ = unpack(self.keys[:, -1])
        return scores.nan_to_num(torch.inf, neginf=-torch.inf)

    def add(self, first_row: int, scores: Tensor) -> None:
        """Offer the scores of consecutive rows; nothing is kept of them when memory runs out.

        :param first_row: Row of the first score.
        :param scores: float32, *Shape:* ``(num_queries, num_rows)``.
        :raises HypensearchError: On a CPU, when a score is NaN or infinite; names the row.
        """
        ranks = self.docid_rank[first_row : first_row + scores.shape[1]]
        if scores.device.type != "cpu":  # looking for those that reach the bar would wait for the GPU
            self.merge(pack(scores, ranks))
            return
        if not bool(torch.isfinite(scores).all()):
            query, position = (~torch.isfinite(scores)).nonzero()[0].tolist()
            raise _not_finite(first_row + position, query, float(scores[query, position]))
        merged = []
        for kept, bar, of_query in zip(self.keys, self.bars, scores, strict=True):
            reaching = of_query >= bar
            if int(reaching.sum()) > self.k:
                reaching = of_query >= torch.topk(of_query, self.k).values[-1]
            merged.append(torch.cat([kept, pack(of_query[reaching], ranks[reaching])]).topk(self.k).values)
        self.keys = torch.stack(merged)

    def merge(self, keys: Tensor) -> None:
        """Offer keys of documents that were not offered before, *Shape:* ``(num_queries, n)``."""
        best = keys.topk(min(self.k, keys.shape[1]), dim=1, sorted=False).values
        self.keys = torch.cat([self.keys, best], dim=1).topk(self.k, dim=1).values

    def best(self, rows_by_rank: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return the rows and the scores of each query's documents, best first.

        :param rows_by_rank: Rows in the order of their docids, *Shape:* ``(num_docs,)``.
        :return: int64 and float32, *Shape:* ``(at most k,)`` each.
        :raises HypensearchError: When a score is NaN or infinite; names the row.
        """
        found = []
        for query, keys in enumerate(self.keys.cpu()):
            scores, ranks = (unpacked.numpy() for unpacked in unpack(keys[keys != NOTHING]))
            rows = rows_by_rank[ranks].astype(np.int64)
            if len(scores) and not np.isfinite(scores[0]):
                raise _not_finite(int(rows[0]), query, float(scores[0]))
            found.append((rows, scores))
        return found


def _not_finite(row: int, query: int, score: float) -> HypensearchError:
    return HypensearchError(
        f"the score of row {row} under q-net {query} is {score}: the q-net overflows or has broken weights; search in "
        "fp32, and check the checkpoint"
    )
