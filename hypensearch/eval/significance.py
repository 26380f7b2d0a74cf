# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Is one run better than another, or was it luck: paired t-tests, corrected for how many were made."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np

from hypensearch.errors import HypensearchError
from hypensearch.eval.measures import Evaluation


def compare(baseline: Evaluation, others: Sequence[Evaluation]) -> list[dict[str, float | None]]:
    """Compare runs with a baseline, topic by topic.

    For each measure: a two-sided paired t-test for each run, and Holm-Bonferroni correction over those runs.

    :param baseline: The run that all others are compared with.
    :param others: Runs measured on the same topics with the same measures.
    :return: One dict per run of ``others``: measure to corrected p-value in [0, 1], ``None`` where fewer than two
        topics leave nothing to test.
    :raises HypensearchError: When the runs were not measured on the same topics.
    """
    if any(set(other.topics) != set(baseline.topics) for other in others):
        raise HypensearchError(
            "the runs do not have the same topics, so they cannot be paired: "
            "count missing topics as 0 (--complete) or evaluate the runs one by one"
        )
    compared: list[dict[str, float | None]] = [{} for _ in others]
    for measure in baseline.values:
        raw = [_paired_t_test(baseline, other, measure) for other in others]
        corrected = raw if None in raw else holm_bonferroni([p for p in raw if p is not None])
        for p_values, p in zip(compared, corrected, strict=True):
            p_values[measure] = p
    return compared


def holm_bonferroni(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for the number of comparisons, by Holm's step-down rule.

    :return: Corrected p-values in the given order, at most 1, and never smaller than a smaller p-value's.
    """
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for step, position in enumerate(sorted(range(len(p_values)), key=lambda position: p_values[position])):
        largest = max(largest, min(1.0, p_values[position] * (len(p_values) - step)))
        corrected[position] = largest
    return corrected


def _paired_t_test(baseline: Evaluation, other: Evaluation, measure: str) -> float | None:
    from scipy.stats import ttest_rel

    if len(baseline.topics) < 2:
        return None
    before = np.array([baseline.per_topic[measure][topic] for topic in baseline.topics])
    after = np.array([other.per_topic[measure][topic] for topic in baseline.topics])
    if np.array_equal(before, after):
        return 1.0
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)
        return float(ttest_rel(after, before).pvalue)
