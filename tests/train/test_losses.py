# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from hypensearch.train.losses import LOSSES, BatchScores, arrange

NAN = math.nan


def batch(teacher: list[list[float]], keys: list[list[int]] | None = None, valid: bool = True) -> BatchScores:
    """Two queries with a positive and a negative each; the second query's scores are twice the first's."""
    scores = torch.tensor([[3.0, 1.0, 2.0, 0.0], [6.0, 2.0, 4.0, 0.0]])
    all_valid = torch.tensor([[True, valid], [True, valid]])
    return arrange(scores, torch.tensor(keys or [[1, 2], [3, 4]]), all_valid, 0, torch.tensor(teacher))


def softmax_loss(scores: list[float], target: int) -> float:
    return -scores[target] + math.log(sum(math.exp(score) for score in scores))


def test_margin_mse_is_the_mean_over_triplets() -> None:
    loss = LOSSES["margin_mse"](batch([[1.0, 0.0], [5.0, 0.0]]))
    assert loss.item() == pytest.approx(((2 - 1) ** 2 + (4 - 5) ** 2) / 2)


def test_cross_entropy_sees_all_items_or_positives_only() -> None:
    scores = batch([[NAN, NAN], [NAN, NAN]])
    everything = (softmax_loss([3, 1, 2, 0], 0) + softmax_loss([6, 2, 4, 0], 2)) / 2
    positives = (softmax_loss([3, 2], 0) + softmax_loss([6, 4], 1)) / 2
    own = (softmax_loss([3, 1], 0) + softmax_loss([4, 0], 0)) / 2
    assert LOSSES["cross_entropy"](scores).item() == pytest.approx(everything)
    assert LOSSES["cross_entropy_positives"](scores).item() == pytest.approx(positives)
    assert LOSSES["cross_entropy_own"](scores).item() == pytest.approx(own)


def test_the_positives_text_elsewhere_in_the_batch_is_no_negative() -> None:
    scores = batch([[NAN, NAN], [NAN, NAN]], keys=[[1, 2], [1, 4]])
    expected = (softmax_loss([3, 1, 0], 0) + softmax_loss([4, 2, 0], 0)) / 2
    assert LOSSES["cross_entropy"](scores).item() == pytest.approx(expected)


def test_filling_is_no_item() -> None:
    scores = batch([[NAN, NAN], [NAN, NAN]], valid=False)
    assert LOSSES["cross_entropy"](scores).item() == pytest.approx(
        (softmax_loss([3, 2], 0) + softmax_loss([6, 4], 1)) / 2
    )


def test_kl_is_nothing_for_the_teachers_own_distribution() -> None:
    assert LOSSES["kl"](batch([[12.0, 10.0], [4.0, 0.0]])).item() == pytest.approx(0, abs=1e-6)
    assert LOSSES["kl"](batch([[0.0, 0.0], [0.0, 0.0]])).item() > 0.1


def test_distil_is_nothing_for_the_guides_own_distribution() -> None:
    """Over all candidates of the batch; a constant for each query does not matter."""
    scores = batch([[NAN, NAN], [NAN, NAN]], keys=[[1, 2], [3, 1]])  # the last text is the first query's positive
    alike = scores.all + torch.tensor([[5.0], [-7.0]])
    alike[0, 3] = 99.0
    assert LOSSES["distil"](replace(scores, guide=alike)).item() == pytest.approx(0, abs=1e-6)
    alike[0, 1] += 3
    assert LOSSES["distil"](replace(scores, guide=alike)).item() > 0.1


def test_rows_of_another_process_come_after_its_own() -> None:
    scores = torch.tensor([[6.0, 2.0, 4.0, 0.0]])
    second = arrange(scores, torch.tensor([[1, 2], [3, 4]]), torch.ones(2, 2).bool(), 1, torch.tensor([[NAN, NAN]]))
    assert second.own.tolist() == [[4.0, 0.0]]
    assert LOSSES["cross_entropy"](second).item() == pytest.approx(softmax_loss([6, 2, 4, 0], 2))
