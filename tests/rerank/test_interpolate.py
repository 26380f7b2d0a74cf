# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypensearch.rerank.interpolate import NORMALIZATIONS, interpolate, normalise
from tests.rerank import reference

scores = st.integers(-200, 200).map(lambda n: n / 8)
stages = st.dictionaries(st.sampled_from("abcdefgh"), st.tuples(st.none() | scores, scores), min_size=1)


@given(stages, st.integers(0, 8).map(lambda n: n / 8), st.sampled_from(NORMALIZATIONS))
def test_like_the_reference(stages: dict[str, tuple[float | None, float]], alpha: float, normalization: str) -> None:
    first = {docid: score for docid, (score, _) in stages.items() if score is not None}
    second = {docid: score for docid, (_, score) in stages.items()}
    wanted = reference.interpolate(first, second, alpha, normalization)
    of_first = np.array([first.get(docid, np.nan) for docid in second])
    found = interpolate(of_first, np.array(list(second.values()), dtype=np.float32), alpha, normalization)
    assert dict(zip(second, found.tolist(), strict=True)) == pytest.approx(wanted, abs=1e-9)


@given(st.lists(scores, min_size=2, max_size=9).filter(lambda values: max(values) > min(values)))
def test_what_normalisation_means(values: list[float]) -> None:
    unit, standard = normalise(np.array(values), "min-max"), normalise(np.array(values), "z")
    assert (unit.min(), unit.max()) == (0, 1)
    assert standard.mean() == pytest.approx(0, abs=1e-9)
    assert standard.std() == pytest.approx(1)
    for found in (unit, standard):
        assert (np.argsort(found, kind="stable") == np.argsort(values, kind="stable")).all()


def test_equal_scores_say_nothing() -> None:
    for normalization in ("min-max", "z"):
        assert normalise(np.full(3, 7.25), normalization).tolist() == [0, 0, 0]
