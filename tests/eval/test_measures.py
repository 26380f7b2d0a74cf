# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypensearch.errors import HypensearchError
from hypensearch.eval import DEFAULT_MEASURES, evaluate, resolve_measures
from hypensearch.hits import Hit

QRELS = {"1": {"a": 1, "b": 2}, "2": {"c": 1}}


def hits(*docids: str) -> list[Hit]:
    return [Hit(docid, float(len(docids) - rank)) for rank, docid in enumerate(docids)]


def test_values_by_hand():
    evaluation = evaluate(QRELS, {"1": hits("x", "b", "a"), "2": hits("c")}, ["RR@10", "P@2", "R@2", "AP"])

    assert evaluation.values == {
        "RR(rel=1)@10": pytest.approx(0.75),
        "P(rel=1)@2": pytest.approx(0.5),
        "R(rel=1)@2": pytest.approx(0.75),
        "AP(rel=1)": pytest.approx((7 / 12 + 1) / 2),
    }
    assert evaluation.per_topic["RR(rel=1)@10"] == {"1": 0.5, "2": 1.0}
    assert evaluation.topics == ("1", "2")


def test_default_measures_are_the_papers():
    evaluation = evaluate(QRELS, {"1": hits("a")})

    assert list(evaluation.values) == [
        "nDCG@10", "nDCG@5", "P(rel=1)@10", "RR(rel=1)@10", "R(rel=1)@100", "R(rel=1)@1000", "AP(rel=1)",
    ]  # fmt: skip
    assert len(DEFAULT_MEASURES) == len(evaluation.values)


def test_relevance_level_raises_all_binary_measures():
    run = {"1": hits("a", "b"), "2": hits("c")}

    evaluation = evaluate(QRELS, run, ["RR@10", "R@1", "nDCG@10", "AP(rel=1)"], relevance_level=2)

    assert list(evaluation.values) == ["RR(rel=2)@10", "R(rel=2)@1", "nDCG@10", "AP(rel=1)"]
    assert evaluation.per_topic["RR(rel=2)@10"] == {"1": 0.5, "2": 0.0}
    assert evaluation.per_topic["R(rel=2)@1"] == {"1": 0.0, "2": 0.0}


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("MRR@10", "RR(rel=1)@10"),
        ("ndcg_cut.10", "nDCG@10"),
        ("recip_rank", "RR(rel=1)"),
        ("map", "AP(rel=1)"),
        ("recall_1000", "R(rel=1)@1000"),
        ("P.5", "P(rel=1)@5"),
        ("NumRet", "NumRet"),
        ("R(rel=3)@7", "R(rel=3)@7"),
        ("P(judged_only=True)@5", "P(judged_only=True, rel=1)@5"),
    ],
)
def test_full_names(name, full):
    assert list(resolve_measures([name])) == [full]


def test_repeated_measures_count_once():
    assert list(resolve_measures(["nDCG@10", "RR", "ndcg_cut_10", "RR(rel=1)"])) == ["nDCG@10", "RR(rel=1)"]


def test_all_unknown_measures_are_named_together():
    with pytest.raises(HypensearchError) as raised:
        resolve_measures(["nDCG@10", "nGCD@10", "R", "RR@0", "R(foo=1)@10", "official", "P@-1", "a b", "NumRel(rel=2)"])

    message = str(raised.value)
    for name in ("nGCD@10", "R", "RR@0", "R(foo=1)@10", "official", "P@-1", "a b", "NumRel(rel=2)"):
        assert repr(name) in message
    assert "'nDCG@10'" not in message
    assert "\n" not in message


def test_missing_topics_count_as_zero():
    evaluation = evaluate(QRELS, {"1": hits("a"), "2": []}, ["RR"])

    assert evaluation.values == {"RR(rel=1)": 0.5}
    assert (evaluation.missing, evaluation.topics) == (("2",), ("1", "2"))


def test_missing_topics_left_out():
    evaluation = evaluate(QRELS, {"1": hits("a")}, ["RR"], complete=False)

    assert evaluation.values == {"RR(rel=1)": 1.0}
    assert (evaluation.missing, evaluation.topics) == (("2",), ("1",))


def test_unjudged_topics_are_ignored():
    evaluation = evaluate(QRELS, {"1": hits("a"), "9": hits("a")}, ["RR", "Judged@10", "NumRet"], complete=False)

    assert evaluation.unjudged == ("9",)
    assert evaluation.values == {"RR(rel=1)": 1.0, "Judged@10": 1.0, "NumRet": 1.0}


def test_topics_without_relevant_documents_count():
    evaluation = evaluate({"1": {"a": 1}, "2": {"a": 0}}, {"1": hits("a"), "2": hits("a")}, ["AP", "RR@10", "nDCG@10"])

    assert set(evaluation.values.values()) == {0.5}


def test_equal_scores_rank_by_docid_descending_as_in_trec_eval():
    run = {"1": [Hit("a", 1.0), Hit("b", 1.0), Hit("c", 1.0)]}

    evaluation = evaluate({"1": {"a": 1}}, run, ["RR", "RR@10", "Success@2"])

    assert evaluation.values["RR(rel=1)"] == pytest.approx(1 / 3)
    assert evaluation.values["RR(rel=1)@10"] == pytest.approx(1 / 3)
    assert evaluation.values["Success(rel=1)@2"] == 0


def test_scores_that_differ_in_double_precision_only_are_ties():
    run = {"1": [Hit("a", 100000.000001), Hit("b", 100000.0)]}

    assert evaluate({"1": {"a": 1}}, run, ["RR"]).values == {"RR(rel=1)": 0.5}


TIED = [Hit("a", 3.0), Hit("b", 3.0), Hit("c", 2.0), Hit("d", 2.0), Hit("e", 2.0), Hit("f", -1.0)]


@settings(max_examples=50, deadline=None)
@given(st.permutations(TIED))
def test_the_order_of_the_lines_does_not_matter(shuffled):
    """The ranking is b, a, e, d, c, f."""
    qrels = {"1": {"a": 1, "c": 2, "f": 1}}
    gain = 1 / math.log2(3) + 2 / math.log2(6) + 1 / math.log2(7)
    best = 2 / math.log2(2) + 1 / math.log2(3) + 1 / math.log2(4)

    assert evaluate(qrels, {"1": shuffled}, ["nDCG@10", "AP", "RR@10"]).values == {
        "nDCG@10": pytest.approx(gain / best),
        "AP(rel=1)": pytest.approx((1 / 2 + 2 / 5 + 3 / 6) / 3),
        "RR(rel=1)@10": 0.5,
    }


@pytest.mark.parametrize(
    ("qrels", "run", "message"),
    [
        (QRELS, {}, "empty run"),
        (QRELS, {"1": []}, "empty run"),
        ({}, {"1": hits("a")}, "no judgements"),
        ({"10": {"a": 1}}, {"010": hits("a")}, "'010'.*'10'"),
        (QRELS, {"1": [Hit("a", 2.0), Hit("b", 1.5), Hit("a", 1.0)]}, "topic 1 has document a twice"),
    ],
)
def test_errors(qrels, run, message):
    with pytest.raises(HypensearchError, match=message):
        evaluate(qrels, run, ["RR"])
