# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hypensearch.errors import HypensearchError
from hypensearch.scoring.top_k import TopK
from tests import reference


@given(
    st.lists(st.sampled_from([-1.0, 0.0, 0.5, 2.0, 3.0]), min_size=1, max_size=60),
    st.integers(1, 12),
    st.integers(1, 20),
    st.randoms(use_true_random=False),
)
def test_equals_sorting_everything_with_many_ties(scores: list, k: int, block: int, chance) -> None:
    docids = [f"d{number:03d}" for number in range(len(scores))]
    chance.shuffle(docids)
    ranks = np.argsort(np.argsort(docids)).astype(np.uint32)
    best = TopK(2, min(k, len(scores)), ranks)
    both = torch.tensor([scores, [-score for score in scores]])
    for start in range(0, len(scores), block):
        best.add(start, both[:, start : start + block])
    for query in range(2):
        found = [(docids[row], score) for row, score in zip(best.rows(query), best.scores(query), strict=True)]
        assert found == reference.best(both[query].numpy(), docids, k)


@pytest.mark.parametrize("broken", [float("nan"), float("inf"), -float("inf")])
def test_scores_that_are_no_numbers_are_errors(broken: float) -> None:
    best = TopK(1, 2, np.arange(3))
    with pytest.raises(HypensearchError, match="row 12 under q-net 0"):
        best.add(10, torch.tensor([[1.0, 2.0, broken]]))
