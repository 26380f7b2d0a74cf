# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""A hit: one document of a ranked list."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Hit", "in_rank_order"]


@dataclass(frozen=True, slots=True)
class Hit:
    """A document and its score, as Pyserini's writers and searchers know it.

    :param docid: The document's identifier in the corpus.
    :param score: The q-net's score, higher is better; unbounded.
    """

    docid: str
    score: float


def in_rank_order(hits: Iterable[Hit]) -> list[Hit]:
    """Sort hits by the order that holds everywhere in hypensearch.

    Higher scores come first, equal scores in ascending order of docid (by code point).
    """
    return sorted(hits, key=lambda hit: (-hit.score, hit.docid))


def __dir__() -> list[str]:
    return __all__
