# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from hypensearch.scoring.gpu.candidates import Candidates
from hypensearch.scoring.top_k import TopK, pack


def offer(found: Candidates, first_row: int, scores: torch.Tensor) -> None:
    """Append as the kernel does, in plain steps."""
    found.make_room(scores.shape[1])
    keys = pack(scores, found.best.docid_rank[first_row : first_row + scores.shape[1]])
    for query in range(len(scores)):
        chosen = keys[query][(scores[query] >= found.bars[query]) | ~torch.isfinite(scores[query])]
        place = int(found.counts[query])
        room = max(0, found.room - place)
        found.keys[query, place : place + len(chosen[:room])] = chosen[:room]
        found.counts[query] += len(chosen)


def search(scores: torch.Tensor, docid_rank: np.ndarray, k: int, block: int, often: bool) -> Candidates:
    found = Candidates(TopK(len(scores), k, torch.from_numpy(docid_rank)), block, often=often)
    for start in range(0, scores.shape[1], block):
        offer(found, start, scores[:, start : start + block])
    found.merge()
    return found


@given(
    st.integers(1, 400), st.integers(1, 50), st.integers(1, 60), st.sampled_from(["any", "falling", "rising", "equal"])
)
def test_keeps_the_best(num_docs: int, k: int, block: int, way: str) -> None:
    rng = np.random.default_rng(num_docs + k)
    scores = rng.integers(-9, 9, (2, num_docs)).astype(np.float32)
    scores = {
        "any": scores,
        "falling": -np.sort(-scores),
        "rising": np.sort(scores),
        "equal": np.zeros_like(scores),
    }[way]
    docid_rank = rng.permutation(num_docs)
    for often in (False, True):
        found = search(torch.from_numpy(scores), docid_rank, k, block, often)
        if found.overflowed:
            assert not often
            continue
        for query, (rows, kept) in enumerate(found.best.best(np.argsort(docid_rank))):
            assert rows.tolist() == np.lexsort((docid_rank, -scores[query]))[:k].tolist()
            assert kept.tolist() == scores[query][rows].tolist()


def test_documents_sorted_by_score_overflow_unless_merged_often() -> None:
    scores, rows = torch.arange(320.0).unsqueeze(0), np.arange(320)
    once, often = (search(scores, rows, 4, 16, often) for often in (False, True))
    assert (once.overflowed, often.overflowed) == (True, False)
    ((_, kept),) = often.best.best(rows)
    assert kept.tolist() == [319, 318, 317, 316]
