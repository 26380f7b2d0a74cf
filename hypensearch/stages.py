# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Where a search's time goes: whoever does the work names its stage, whoever asks adds the seconds up.

A stage inside of another one interrupts it, so that the seconds of all stages add up to the time that passed. On a GPU
a stage's work may still be under way when it ends; the stage that waits for it is charged.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

#: Text to token states, states to q-nets, choosing what to score and ranking, scoring, writing the run.
STAGES = ("encode", "generate", "search", "score", "output")


class StageClock:
    """Seconds by stage, of one thread."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(STAGES, 0.0)
        self._open: list[str] = []
        self._since = 0.0

    def enter(self, name: str) -> None:
        """Begin a stage; the one that is under way is interrupted."""
        self._charge()
        self._open.append(name)

    def leave(self) -> None:
        """End the stage that began last."""
        self._charge()
        self._open.pop()

    def pause(self) -> None:
        """Stop counting: another clock goes on."""
        self._charge()

    def resume(self, seconds: Mapping[str, float]) -> None:
        """Count again, what the other clock counted included."""
        self._since = time.perf_counter()
        for name, value in seconds.items():
            self.seconds[name] += value

    def _charge(self) -> None:
        now = time.perf_counter()
        if self._open:
            self.seconds[self._open[-1]] += now - self._since
        self._since = now


_clock: ContextVar[StageClock | None] = ContextVar("clock", default=None)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Charge what happens inside to a stage; costs next to nothing when nobody asks.

    :param name: One of :data:`STAGES`.
    """
    clock = _clock.get()
    if clock is None:
        yield
        return
    clock.enter(name)
    try:
        yield
    finally:
        clock.leave()


@contextmanager
def clocked() -> Iterator[StageClock]:
    """Collect the stages of what happens inside, in this thread, for the clock around it as well."""
    outer, clock = _clock.get(), StageClock()
    if outer is not None:
        outer.pause()
    token = _clock.set(clock)
    try:
        yield clock
    finally:
        _clock.reset(token)
        if outer is not None:
            outer.resume(clock.seconds)
