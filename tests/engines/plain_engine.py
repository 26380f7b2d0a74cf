# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""An engine in memory: the slow, plain way, which the real ones are held against."""

from __future__ import annotations

from typing import Any

import numpy as np

from hypensearch.engines.engine import Documents


class PlainEngine:
    """Scans all codes.

    :param loses: Rows that its index never finds, as approximate ones do.
    """

    def __init__(self, loses: tuple[int, ...] = ()) -> None:
        self._facts: dict[str, Any] | None = None
        self._parts: list[Documents] = []
        self._loses = loses
        self.calls = 0
        self.built = False

    def facts(self) -> dict[str, Any] | None:
        return self._facts

    def create(self, facts: dict[str, Any]) -> None:
        self._facts, self._parts = facts, []

    def num_docs(self) -> int:
        return sum(len(part.rows) for part in self._parts)

    def add(self, documents: Documents) -> None:
        self._parts.append(documents)

    def build(self) -> None:
        self.built = True

    def best(self, weights: np.ndarray, count: int, with_vectors: int, exclude: np.ndarray) -> Documents:
        self.calls += 1
        codes = np.concatenate([part.codes for part in self._parts])
        vectors = np.concatenate([part.vectors for part in self._parts])
        products = codes @ weights
        products[[*exclude, *self._loses]] = -np.inf
        rows = np.argsort(-products, kind="stable")[: min(count, int(np.isfinite(products).sum()))]
        return Documents(rows, codes[rows], vectors[rows[:with_vectors]])

    def close(self) -> None:
        pass
