# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The losses, all of one signature: scores of a batch in, one number out.

Their sum is trained on. ``margin_mse`` + ``cross_entropy`` is the paper's recipe (section 3.5), ``cross_entropy`` alone
the one for hard tasks, ``kl`` distils a teacher's distribution over a query's items, ``distil`` that of a frozen
bi-encoder over all items of the batch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class BatchScores:
    """Scores of a batch of queries, each with as many items of its own, its positive first.

    :param own: Scores of each query's own items, *Shape:* ``(num_queries, num_items)``.
    :param all: Scores of all queries' items, *Shape:* ``(num_queries, all_items)``.
    :param positives: Column of each query's positive in ``all``, *Shape:* ``(num_queries,)``.
    :param valid: True where ``own`` is an item and not filling, *Shape:* ``(num_queries, num_items)``.
    :param candidates: True for columns of ``all`` that the query's positive is contrasted with, and for itself: neither
        filling nor the same text again, *Shape:* ``(num_queries, all_items)``.
    :param only_positives: Columns of ``all`` that are some query's positive, *Shape:* ``(all_items,)``.
    :param teacher: A teacher's scores of ``own``; NaN where there is none.
    :param guide: A frozen bi-encoder's scores of ``all``; None where none is distilled.
    """

    own: Tensor
    all: Tensor
    positives: Tensor
    valid: Tensor
    candidates: Tensor
    only_positives: Tensor
    teacher: Tensor
    guide: Tensor | None = None


def arrange(
    scores: Tensor, keys: Tensor, valid: Tensor, first: int, teacher: Tensor, guide: Tensor | None = None
) -> BatchScores:
    """Assign a batch's scores to its queries.

    :param scores: Of these queries and all items, *Shape:* ``(num_queries, all_queries * num_items)``.
    :param keys: One number for each text, *Shape:* ``(all_queries, num_items)``.
    :param valid: False for filling, *Shape:* ``(all_queries, num_items)``.
    :param first: Row of the first of these queries among all queries.
    :param teacher: *Shape:* ``(num_queries, num_items)``.
    :param guide: *Shape:* that of ``scores``.
    """
    num_queries, num_items = len(scores), keys.shape[1]
    rows = torch.arange(first, first + num_queries, device=scores.device)
    positives = rows * num_items
    own = scores.view(num_queries, -1, num_items)[torch.arange(num_queries, device=scores.device), rows]
    same = keys.reshape(1, -1) == keys[rows, :1]
    is_positive = torch.zeros_like(same).scatter_(1, positives.unsqueeze(1), True)
    candidates = (valid.reshape(1, -1) & ~same) | is_positive
    only_positives = (torch.arange(keys.numel(), device=scores.device) % num_items) == 0
    return BatchScores(own, scores, positives, valid[rows], candidates, only_positives, teacher, guide)


def margin_mse(scores: BatchScores) -> Tensor:
    """Mean squared error of the margins between positive and negatives, against the teacher's, over all triplets."""
    margins = scores.own[:, :1] - scores.own[:, 1:]
    wanted = scores.teacher[:, :1] - scores.teacher[:, 1:]
    valid = scores.valid[:, 1:]
    return functional.mse_loss(margins[valid], wanted[valid])


def cross_entropy(scores: BatchScores) -> Tensor:
    """Cross entropy of the positive among the items of all queries."""
    return _cross_entropy(scores, scores.candidates)


def cross_entropy_positives(scores: BatchScores) -> Tensor:
    """Cross entropy of the positive among all queries' positives, hard negatives left out, as the paper has it."""
    return _cross_entropy(scores, scores.candidates & scores.only_positives)


def cross_entropy_own(scores: BatchScores) -> Tensor:
    """Cross entropy of the positive among the query's own items."""
    logits = scores.own.masked_fill(~scores.valid, float("-inf"))
    return functional.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long, device=logits.device))


def kl(scores: BatchScores) -> Tensor:
    """Kullback-Leibler divergence from the teacher's distribution over the query's own items."""
    return _divergence(scores.teacher, scores.own, scores.valid)


def distil(scores: BatchScores) -> Tensor:
    """Kullback-Leibler divergence from a frozen bi-encoder's distribution over the items of all queries."""
    assert scores.guide is not None
    return _divergence(scores.guide, scores.all, scores.candidates)


def _cross_entropy(scores: BatchScores, candidates: Tensor) -> Tensor:
    return functional.cross_entropy(scores.all.masked_fill(~candidates, float("-inf")), scores.positives)


def _divergence(teacher: Tensor, scores: Tensor, valid: Tensor) -> Tensor:
    wanted, found = (logits.masked_fill(~valid, float("-inf")).log_softmax(dim=1) for logits in (teacher, scores))
    return torch.where(valid, wanted.exp() * (wanted - found), 0.0).sum(dim=1).mean()


LOSSES: dict[str, Callable[[BatchScores], Tensor]] = {
    "margin_mse": margin_mse,
    "cross_entropy": cross_entropy,
    "cross_entropy_positives": cross_entropy_positives,
    "cross_entropy_own": cross_entropy_own,
    "kl": kl,
    "distil": distil,
}
NEED_TEACHER = frozenset({"margin_mse", "kl"})
NEED_NEGATIVES = frozenset({"margin_mse", "kl", "cross_entropy_own"})
