# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import count

import pytest

from hypensearch.stages import STAGES, clocked, stage


@pytest.fixture(autouse=True)
def ticking(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that goes on by one whenever it is looked at."""
    ticks = count()
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(ticks)))


def test_a_stage_inside_of_another_interrupts_it() -> None:
    with clocked() as clock, stage("search"):
        with stage("score"):
            pass
        with stage("score"), stage("score"):
            pass
    assert clock.seconds == {**dict.fromkeys(STAGES, 0.0), "search": 3.0, "score": 4.0}


def test_nobody_asks() -> None:
    with stage("search"):
        pass


def test_an_outer_clock_sees_what_an_inner_one_counts() -> None:
    with clocked() as outer, stage("output"), clocked() as inner, stage("search"):
        pass
    assert inner.seconds["search"] == outer.seconds["search"] == 1.0
    assert outer.seconds["output"] == 2.0


def test_a_stage_that_fails_ends() -> None:
    with clocked() as clock:
        with pytest.raises(ValueError), stage("score"):  # noqa: PT011
            raise ValueError
        time.perf_counter()
    assert clock.seconds["score"] == 1.0


def test_a_generator_is_charged_where_it_runs() -> None:
    def numbers() -> Iterator[int]:
        for number in range(2):
            with clocked(), stage("search"):
                pass
            yield number

    with clocked() as clock, stage("output"):
        list(numbers())
    assert clock.seconds["search"] == 2.0
    assert clock.seconds["output"] == 3.0
