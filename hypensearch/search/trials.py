# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Short measurements by which the faster of two ways to the same result is chosen on the machine at hand."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

_REPEATS = 8


def least_seconds(ways: Sequence[Callable[[], object]]) -> list[float]:
    """Time some ways in turn, so that all find the machine in the same state; returns the least time of each."""
    times: list[list[float]] = [[] for _ in ways]
    for _ in range(_REPEATS):
        for way, of_way in zip(ways, times, strict=True):
            start = time.perf_counter()
            way()
            of_way.append(time.perf_counter() - start)
    return [min(of_way) for of_way in times]
