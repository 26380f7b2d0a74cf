# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import random

import pytest

from hypensearch.errors import HypensearchError
from hypensearch.hits import Hit
from hypensearch.reproductions.instructions import fallen_documents, p_mrr


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


def test_fallen_documents() -> None:
    before = {"1": {"a": 1, "b": 2, "c": 0}, "2": {"a": 1}}
    fallen = fallen_documents(before, {"1": {"a": 0, "b": 1, "d": 1}})

    assert fallen == {"1": ["a", "b"]}  # from 2 to 1 as well: its grade has changed
    assert fallen_documents({"1": {"a": 1}}, {"1": {"a": -1}}) == {"1": ["a"]}
    with pytest.raises(HypensearchError, match="no longer relevant"):
        p_mrr({}, {}, {"1": []})


def test_topics_that_a_run_lacks_do_not_count(caplog: pytest.LogCaptureFixture) -> None:
    original = {"1": ranked("a", "b"), "2": ranked("c")}

    assert p_mrr(original, {"1": ranked("b", "a")}, {"1": ["a"], "2": ["c"]}) == 0.5
    assert "1 of 2 topics are not in both runs" in caplog.text


def test_the_published_formula_on_random_ranks() -> None:
    """Section 3 of the paper: MRR_og / MRR_new - 1 where the document rose, else 1 - MRR_new / MRR_og."""
    chance = random.Random(7)
    docids = [f"d{number}" for number in range(50)]
    for _ in range(200):
        before, after = chance.sample(docids, 40), chance.sample(docids, 30)
        lost = chance.sample(docids, 5)
        expected = []
        for docid in lost:
            r_og = before.index(docid) + 1 if docid in before else 41
            r_new = after.index(docid) + 1 if docid in after else 31
            mrr_og, mrr_new = 1 / r_og, 1 / r_new
            expected.append(mrr_og / mrr_new - 1 if r_og > r_new else 1 - mrr_new / mrr_og)
        found = p_mrr({"1": ranked(*before)}, {"1": ranked(*after)}, {"1": lost})
        assert found == pytest.approx(sum(expected) / 5)
        assert -1 < found < 1
