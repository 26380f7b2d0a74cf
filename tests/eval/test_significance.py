# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import pytest

from hypensearch.errors import HypensearchError
from hypensearch.eval import Evaluation, compare
from hypensearch.eval.significance import holm_bonferroni


def evaluation(*values: float) -> Evaluation:
    per_topic = {str(topic): value for topic, value in enumerate(values)}
    return Evaluation({"RR": sum(values) / len(values)}, {"RR": per_topic}, tuple(per_topic), (), ())


def test_paired_t_test_by_hand():
    """Differences 1, 2, 3 have mean 2 and standard error 1/sqrt(3), so t is 2 sqrt(3) with 2 degrees of freedom."""
    t = 2 * math.sqrt(3)

    [p_values] = compare(evaluation(0, 0, 0), [evaluation(1, 2, 3)])

    assert p_values["RR"] == pytest.approx(1 - t / math.sqrt(2 + t * t))


def test_correction_counts_the_runs():
    base, better = evaluation(0, 0, 0), evaluation(1, 2, 3)
    [alone] = compare(base, [better])

    beside_another = compare(base, [better, evaluation(0.1, -0.1, 0)])

    assert beside_another[0]["RR"] == pytest.approx(2 * alone["RR"])
    assert beside_another[1]["RR"] == 1.0


def test_equal_runs_do_not_differ():
    assert compare(evaluation(0.5, 1), [evaluation(0.5, 1)]) == [{"RR": 1.0}]


def test_a_constant_gain_is_no_accident():
    assert compare(evaluation(0, 0, 0), [evaluation(1, 1, 1)]) == [{"RR": 0.0}]


def test_one_topic_proves_nothing():
    assert compare(evaluation(0), [evaluation(1)]) == [{"RR": None}]


def test_runs_need_the_same_topics():
    with pytest.raises(HypensearchError, match="same topics"):
        compare(evaluation(0, 1), [evaluation(0, 1, 1)])


def test_nothing_to_compare():
    assert compare(evaluation(0, 1), []) == []


@pytest.mark.parametrize(
    ("raw", "corrected"),
    [
        ([], []),
        ([0.04], [0.04]),
        ([0.01, 0.04, 0.03], [0.03, 0.06, 0.06]),
        ([0.5, 0.9], [1.0, 1.0]),
        ([0.02, 0.02], [0.04, 0.04]),
    ],
)
def test_holm_bonferroni(raw, corrected):
    assert holm_bonferroni(raw) == pytest.approx(corrected)
