# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Where a search's time goes: workers label their stage, the caller's clock sums time per stage.

A stage inside of another one interrupts it, so that the seconds of all stages add up to the time that passed. On a GPU
a stage's work may still be under way when it ends; the stage that waits for it is charged.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

#: Text to token states, states to q-nets, choosing what to score and ranking, scoring, writing the run.
STAGES = ("encode", "generate", "search", "score", "output")


class StageClock:
    """Seconds by stage, of one thread."""

    def __init__(self, stages: Sequence[str] = STAGES) -> None:
        self.seconds = dict.fromkeys(stages, 0.0)
        self._open: list[str] = []
        self._since = 0.0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Charge what happens inside to a stage."""
        self.charge()
        self._open.append(name)
        try:
            yield
        finally:
            self.charge()
            self._open.pop()

    def charge(self) -> None:
        """Charge the time since the last call to the stage that is under way."""
        now = time.perf_counter()
        if self._open:
            self.seconds[self._open[-1]] += now - self._since
        self._since = now

    def add(self, inner: StageClock) -> None:
        """Resume counting after a clock that ran inside, whose seconds count here as well."""
        self._since = time.perf_counter()
        for name, seconds in inner.seconds.items():
            self.seconds[name] += seconds


_clock: ContextVar[StageClock | None] = ContextVar("clock", default=None)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Charge what happens inside to a stage; costs next to nothing without a clock.

    :param name: One of :data:`STAGES`.
    """
    clock = _clock.get()
    if clock is None:
        yield
        return
    with clock.stage(name):
        yield


@contextmanager
def clocked() -> Iterator[StageClock]:
    """Collect the stages of what happens inside, in this thread, for the clock around it as well."""
    outer, clock = _clock.get(), StageClock()
    if outer is not None:
        outer.charge()
    token = _clock.set(clock)
    try:
        yield clock
    finally:
        _clock.reset(token)
        if outer is not None:
            outer.add(clock)
