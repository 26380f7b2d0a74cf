# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hypensearch.scoring.gpu.candidates import NOTHING, Candidates, pack, scores_of

CPU = torch.device("cpu")
FINITE = st.floats(-(2.0**127), 2.0**127, width=32)


def offer(found: Candidates, scores: torch.Tensor, order: torch.Tensor) -> None:
    """Append as the kernel does, in plain steps."""
    found.make_room(scores.shape[1])
    keys = pack(scores, order)
    for query in range(len(scores)):
        chosen = keys[query][(scores[query] >= found.bars[query]) | ~torch.isfinite(scores[query])]
        place = int(found.counts[query])
        room = max(0, found.capacity - place)
        found.keys[query, place : place + len(chosen[:room])] = chosen[:room]
        found.counts[query] += len(chosen)


@given(st.lists(st.tuples(FINITE, st.integers(0, 2**31 - 1)), min_size=1, max_size=30))
def test_packed_candidates_sort_as_hits_do(pairs: list[tuple[float, int]]) -> None:
    scores = torch.tensor([[score for score, _ in pairs]])
    order = torch.tensor([place for _, place in pairs])
    keys = pack(scores, order)[0]
    assert sorted(range(len(pairs)), key=lambda i: -int(keys[i])) == sorted(
        range(len(pairs)), key=lambda i: (-float(scores[0, i]), pairs[i][1])
    )
    assert torch.equal(scores_of(keys), scores[0])


def test_what_is_not_finite_is_above_all_and_nothing_below() -> None:
    keys = pack(torch.tensor([[torch.inf, 3e38, -torch.inf, torch.nan]]), torch.zeros(4))[0]
    assert keys[[0, 2, 3]].min() > keys[1] > NOTHING
    assert torch.equal(scores_of(torch.tensor([NOTHING])), torch.tensor([-torch.inf]))


@given(
    st.integers(1, 400), st.integers(1, 50), st.integers(1, 60), st.sampled_from(["any", "falling", "rising", "equal"])
)
def test_keeps_the_best(num_docs: int, k: int, block: int, way: str) -> None:
    chance = np.random.default_rng(num_docs + k)
    scores = chance.integers(-9, 9, (2, num_docs)).astype(np.float32)
    scores = {
        "any": scores,
        "falling": -np.sort(-scores),
        "rising": np.sort(scores),
        "equal": np.zeros_like(scores),
    }[way]
    order = chance.permutation(num_docs)
    k = min(k, num_docs)
    for often in (False, True):
        found = Candidates(2, k, block, CPU, often=often)
        for start in range(0, num_docs, block):
            part = slice(start, start + block)
            offer(found, torch.from_numpy(scores[:, part]), torch.from_numpy(order[part]))
        best, places = found.best()
        if found.overflowed:
            assert not often
            continue
        for query in range(2):
            wanted = np.lexsort((order, -scores[query]))[:k]
            assert places[query].tolist() == order[wanted].tolist()
            assert best[query].tolist() == scores[query][wanted].tolist()


def test_documents_sorted_by_score_overflow_unless_merged_often() -> None:
    scores, order = torch.arange(320.0).unsqueeze(0), torch.arange(320)
    overflowed = []
    for often in (False, True):
        found = Candidates(1, 4, 16, CPU, often=often)
        for start in range(0, 320, 16):
            offer(found, scores[:, start : start + 16], order[start : start + 16])
        best, _ = found.best()
        overflowed.append(found.overflowed)
    assert overflowed == [True, False]
    assert best.tolist() == [[319, 318, 317, 316]]


def test_fewer_documents_than_wanted() -> None:
    found = Candidates(1, 3, 8, CPU)
    offer(found, torch.tensor([[1.0, 2.0]]), torch.tensor([0, 1]))
    scores, places = found.best()
    assert places.tolist() == [[1, 0, -1]]
    assert scores.tolist() == [[2.0, 1.0, -np.inf]]


@pytest.mark.parametrize("value", [-0.0, 0.0])
def test_zeros_are_equal(value: float) -> None:
    assert torch.equal(pack(torch.tensor([[value]]), torch.zeros(1)), pack(torch.zeros(1, 1), torch.zeros(1)))
