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


def test_an_evaluation_says_what_it_is():
    assert repr(evaluate(QRELS, {"1": hits("a")}, ["RR", "P@2"])) == (
        "<Evaluation of 2 topics: RR(rel=1) 0.5000, P(rel=1)@2 0.2500>"
    )


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
        resolve_measures(["nDCG@10", "nGCD@10", "R", "RR@0", "R(foo=1)@10", "prefs", "P@-1", "a b", "runid", "P.0"])

    message = str(raised.value)
    for name in ("nGCD@10", "R", "RR@0", "R(foo=1)@10", "prefs", "P@-1", "a b", "runid", "P.0"):
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


def test_grades_below_minus_one_are_not_judged():
    """To trec_eval they are; pytrec_eval ended the process where a topic has no others."""
    qrels = {"1": {"a": 1, "b": 0}, "2": {"c": -2, "d": -2}, "3": {"e": -3, "f": 2}}
    run = {"1": hits("a", "b"), "2": hits("c", "d"), "3": hits("e", "f")}

    evaluation = evaluate(qrels, run, ["nDCG@10", "AP", "RR@10", "num_rel", "num_rel_ret", "all_trec"])

    assert evaluation.per_topic["AP(rel=1)"] == {"1": 1.0, "2": 0.0, "3": 0.5}
    assert evaluation.per_topic["nDCG@10"]["2"] == 0
    assert (evaluation.values["NumRel(rel=1)"], evaluation.values["NumRet(rel=1)"]) == (2, 2)


@pytest.mark.parametrize(
    ("complete", "level", "counts"),
    [
        (True, 1, {"num_q": 3, "num_ret": 4, "num_rel": 4, "num_rel_ret": 2}),
        (False, 1, {"num_q": 2, "num_ret": 4, "num_rel": 3, "num_rel_ret": 2}),
        (True, 2, {"num_q": 3, "num_ret": 4, "num_rel": 4, "num_rel_ret": 1}),  # trec_eval -c -l 2 counts grade 1 too
        (False, 2, {"num_q": 2, "num_ret": 4, "num_rel": 1, "num_rel_ret": 1}),
    ],
)
def test_counts_are_trec_evals(complete, level, counts):
    """Topic 3 is judged and not searched, topic 9 searched and not judged."""
    qrels = {"1": {"a": 1, "b": 2}, "2": {"c": 1, "d": 0, "e": -1}, "3": {"f": 3}}
    run = {"1": hits("x", "b", "a"), "2": hits("d"), "9": hits("a", "b")}

    evaluation = evaluate(qrels, run, list(counts), relevance_level=level, complete=complete)

    assert list(evaluation.values.values()) == list(counts.values())


def test_relevant_documents_by_ir_measures_name_are_those_of_the_level():
    qrels = {"1": {"a": 1, "b": 2}, "2": {"c": 3}}
    evaluation = evaluate(qrels, {"1": hits("a")}, ["NumRel(rel=2)", "NumQ", "NumRelRet"], relevance_level=2)
    assert evaluation.values == {"NumRel(rel=2)": 2, "NumQ": 2, "NumRet(rel=2)": 0}


def test_sets_of_measures():
    evaluation = evaluate(QRELS, {"1": hits("b")}, ["official", "set"])
    for name in ("AP(rel=1)", "gm_map(rel=1)", "P(rel=1)@1000", "IPrec(rel=1)@0.5", "SetP(rel=1)", "utility(rel=1)"):
        assert name in evaluation.values
    assert evaluation.values["gm_map(rel=1)"] == pytest.approx(math.sqrt(0.5 * 0.00001))
    assert len(evaluate(QRELS, {"1": hits("b")}, ["all_trec"]).values) > 90


def test_hits_that_are_looked_at():
    run = {"1": [Hit("x", 1.0), Hit("a", 2.0), Hit("b", 3.0)], "2": hits("c")}
    evaluation = evaluate(QRELS, run, ["RR(rel=2)", "num_ret", "R@5"], max_hits=1)
    assert evaluation.values == {"RR(rel=2)": 0.5, "NumRet": 2, "R(rel=1)@5": 0.75}
    unjudged = {"1": hits("x", "y", "b"), "2": hits("z")}
    evaluation = evaluate(QRELS, unjudged, ["RR", "num_ret"], max_hits=1, remove_unjudged=True)
    assert (evaluation.values["RR(rel=1)"], evaluation.missing) == (0.5, ("2",))
    with pytest.raises(HypensearchError, match="no hit of the run is judged"):
        evaluate(QRELS, {"1": hits("x")}, ["RR"], remove_unjudged=True)
