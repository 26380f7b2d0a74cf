# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hypensearch.errors import HypensearchError
from hypensearch.scoring.top_k import NOTHING, TopK, pack, unpack
from tests import reference

FINITE = st.floats(-(2.0**127), 2.0**127, width=32)


def in_batches_of_keys(best: TopK, first_row: int, scores: torch.Tensor) -> None:
    """Offer documents as a GPU does, which looks for nothing that reaches a bar."""
    best.merge(pack(scores, best.docid_rank[first_row : first_row + scores.shape[1]]))


@pytest.mark.parametrize("add", [TopK.add, in_batches_of_keys])
@given(
    scores=st.lists(st.sampled_from([-1.0, 0.0, 0.5, 2.0, 3.0]), min_size=1, max_size=60),
    k=st.integers(1, 70),
    block=st.integers(1, 20),
    rng=st.randoms(use_true_random=False),
)
def test_equals_sorting_everything_with_many_ties(
    add: object, scores: list[float], k: int, block: int, rng: random.Random
) -> None:
    docids = [f"d{number:03d}" for number in range(len(scores))]
    rng.shuffle(docids)
    rows_by_rank = np.argsort(docids)
    best = TopK(2, k, torch.from_numpy(np.argsort(rows_by_rank)))
    both = torch.tensor([scores, [-score for score in scores]])
    for start in range(0, len(scores), block):
        add(best, start, both[:, start : start + block])  # type: ignore[operator]
    for query, (rows, kept) in enumerate(best.best(rows_by_rank)):
        found = [(docids[row], score) for row, score in zip(rows, kept, strict=True)]
        assert found == reference.best(both[query].numpy(), docids, k)
        assert best.bars[query] == (kept[-1] if len(kept) == k else -np.inf)


@pytest.mark.parametrize("broken", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("add", [TopK.add, in_batches_of_keys])
def test_scores_that_are_not_finite_are_errors(add: object, broken: float) -> None:
    rows = np.arange(20)
    best = TopK(1, 2, torch.from_numpy(rows))

    def search() -> None:
        add(best, 10, torch.tensor([[1.0, 2.0, broken]]))  # type: ignore[operator]
        best.best(rows)

    with pytest.raises(HypensearchError, match="row 12 under q-net 0"):
        search()


@given(st.lists(st.tuples(FINITE, st.integers(0, 2**31 - 1)), min_size=1, max_size=30))
def test_keys_sort_as_hits_do(pairs: list[tuple[float, int]]) -> None:
    scores, ranks = torch.tensor([score for score, _ in pairs]), torch.tensor([rank for _, rank in pairs])
    keys = pack(scores, ranks)
    by_key = sorted(range(len(pairs)), key=lambda i: -int(keys[i]))
    assert by_key == sorted(range(len(pairs)), key=lambda i: (-pairs[i][0], pairs[i][1]))
    for found, wanted in zip(unpack(keys), (scores, ranks), strict=True):
        assert torch.equal(found, wanted)


def test_what_is_not_finite_is_above_all_and_nothing_below() -> None:
    keys = pack(torch.tensor([torch.inf, 3e38, -3e38, -torch.inf, torch.nan]), torch.zeros(5))
    assert keys[[0, 3, 4]].min() > keys[1] > keys[2] > NOTHING
    assert [value.item() for value in unpack(torch.tensor(NOTHING))] == [-np.inf, -1]


def test_zeros_are_equal() -> None:
    assert torch.equal(pack(torch.tensor([-0.0]), torch.zeros(1)), pack(torch.zeros(1), torch.zeros(1)))
