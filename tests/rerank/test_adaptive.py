# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hypensearch.rerank.adaptive import adaptive_rerank
from tests.rerank import reference


@st.composite
def walks(draw: st.DrawFn) -> tuple[list[int], list[list[int]], list[float]]:
    """A first stage's ranking, a graph, and scores of all documents, some of them equal."""
    num_docs = draw(st.integers(1, 24))
    rows = st.integers(0, num_docs - 1)
    initial = draw(st.lists(rows, unique=True))
    neighbours = [
        draw(st.lists(rows.filter(lambda row, own=own: row != own), unique=True, max_size=4)) if num_docs > 1 else []
        for own in range(num_docs)
    ]
    return initial, neighbours, draw(st.lists(st.integers(0, 6).map(float), min_size=num_docs, max_size=num_docs))


@given(walks(), st.integers(1, 30), st.integers(1, 5))
def test_like_the_reference(walk: tuple[list[int], list[list[int]], list[float]], budget: int, batch: int) -> None:
    initial, neighbours, scores = walk
    asked: list[int] = []

    def score(rows: np.ndarray) -> np.ndarray:
        assert 0 < len(rows) <= batch
        asked.extend(rows.tolist())
        return np.array(scores, dtype=np.float32)[rows]

    rows, found = adaptive_rerank(
        initial, lambda row: np.array(neighbours[row], dtype=np.int32), score, budget=budget, batch=batch
    )
    assert rows.tolist() == asked == reference.adaptive(initial, neighbours, scores, budget=budget, batch=batch)
    assert len(set(asked)) == len(asked) <= budget
    assert found.tolist() == [scores[row] for row in asked]


def test_neighbours_of_the_best_come_second() -> None:
    """Documents 0 to 3 are the first stage's; 8 and 9 are found beside 1, which is the best of the first batch."""
    neighbours = [[7], [8, 9], [6], [5], [], [], [], [], [4], []]
    scores = np.array([1, 3, 0, 0, 9, 0, 0, 0, 2, 2], dtype=np.float32)
    rows, _ = adaptive_rerank(
        [0, 1, 2, 3],
        lambda row: np.array(neighbours[row], dtype=np.int32),
        lambda rows: scores[rows],
        budget=7,
        batch=2,
    )
    assert rows.tolist() == [0, 1, 8, 9, 2, 3, 4]
