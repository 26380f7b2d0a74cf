# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from hypensearch.errors import HypensearchError
from hypensearch.hits import Hit
from hypensearch.reproductions.instructions import lost_documents, p_mrr


def ranked(*docids: str) -> list[Hit]:
    return [Hit(docid, -float(rank)) for rank, docid in enumerate(docids)]


@pytest.mark.parametrize(
    ("before", "after", "value"),
    [
        ("d", "xd", 1 - 1 / 2),  # fell from 1 to 2: 1 - MRR_new / MRR_og
        ("xyd", "dxy", 1 / 3 - 1),  # rose from 3 to 1: MRR_og / MRR_new - 1
        ("xd", "xd", 0),
        ("d", "xyz", 1 - 1 / 4),  # not found: behind the last hit
    ],
)
def test_one_document(before: str, after: str, value: float) -> None:
    assert p_mrr({"1": ranked(*before)}, {"1": ranked(*after)}, {"1": ["d"]}) == pytest.approx(value)


def test_documents_count_within_their_topic() -> None:
    original = {"1": ranked("a", "b"), "2": ranked("c", "x")}
    changed = {"1": ranked("b", "a"), "2": ranked("x", "c")}

    assert p_mrr(original, changed, {"1": ["a", "b"], "2": ["c"], "3": []}) == pytest.approx((0 + 0.5) / 2)
    assert p_mrr(original, changed, {"1": ["a"]}) == -p_mrr(changed, original, {"1": ["a"]})


def test_lost_documents() -> None:
    before = {"1": {"a": 1, "b": 2, "c": 0}, "2": {"a": 1}}
    lost = lost_documents(before, {"1": {"a": 0, "b": 1}})

    assert lost == {"1": ["a"]}
    with pytest.raises(HypensearchError, match="no longer relevant"):
        p_mrr({}, {}, {"1": []})
