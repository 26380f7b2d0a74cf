# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""What a searcher did: how many documents it scored, in how many rounds, and where the time went."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Generic, TypeVar, overload

from hypensearch.stages import STAGES

T = TypeVar("T")


class OfThisThread(Generic[T]):
    """An attribute that every thread has for itself: what "the last search" did, where several threads search.

    :param default: Gives the value of a thread that has set none.
    """

    def __init__(self, default: Callable[[], T]) -> None:
        self._default = default

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = f"_{name}_of_threads"

    @overload
    def __get__(self, instance: None, owner: type) -> OfThisThread[T]: ...
    @overload
    def __get__(self, instance: object, owner: type) -> T: ...
    def __get__(self, instance: object | None, owner: type) -> T | OfThisThread[T]:
        if instance is None:
            return self
        value: T = getattr(self._values(instance), "value", None) or self._default()
        return value

    def __set__(self, instance: object, value: T) -> None:
        self._values(instance).value = value

    def _values(self, instance: object) -> threading.local:
        found: threading.local = instance.__dict__.setdefault(self._name, threading.local())
        return found


@dataclass(frozen=True, slots=True)
class QueryReport:
    """What a search did for one query.

    :param documents_scored: Exact scores computed.
    :param rounds: Passes over documents, iterations of graph search, or fits of surrogate search.
    :param estimated_recall: Surrogate search's own estimate; None for the others.
    :param searcher: Which one "auto" took; empty for the others.
    """

    documents_scored: int
    rounds: int = 1
    estimated_recall: float | None = None
    searcher: str = ""

    def facts(self) -> dict[str, Any]:
        """Return it as JSON can hold it, without what it does not say."""
        return {name: value for name, value in asdict(self).items() if value != ""}


@dataclass
class SearchStats:
    """What a searcher did since it was made.

    :param searcher: Which one: "exhaustive", "graph" or "surrogate"; all that "auto" took.
    :param num_docs: Documents in the index.
    :param queries: Queries searched.
    :param documents_scored: Documents scored, summed over queries.
    :param rounds: Rounds, summed over queries.
    :param seconds: Wall-clock seconds by stage (:data:`hypensearch.stages.STAGES`), summed over calls.
    """

    searcher: str = ""
    num_docs: int = 0
    queries: int = 0
    documents_scored: int = 0
    rounds: int = 0
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    _taken: set[str] = field(default_factory=set, repr=False)

    @property
    def encode_seconds(self) -> float:
        """Seconds spent turning query text into q-nets."""
        return self.seconds["encode"] + self.seconds["generate"]

    @property
    def search_seconds(self) -> float:
        """Seconds spent scoring and ranking."""
        return self.seconds["search"] + self.seconds["score"]

    def add(self, report: Sequence[QueryReport]) -> None:
        """Add up what a call did."""
        self.queries += len(report)
        self.documents_scored += sum(of_query.documents_scored for of_query in report)
        self.rounds += sum(of_query.rounds for of_query in report)
        self._taken |= {of_query.searcher for of_query in report if of_query.searcher}
        if self._taken:
            self.searcher = " and ".join(sorted(self._taken))

    def add_seconds(self, seconds: Mapping[str, float]) -> None:
        """Add up the seconds of a call."""
        for name, value in seconds.items():
            self.seconds[name] += value

    def facts(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return {name: value for name, value in asdict(self).items() if not name.startswith("_")}

    def __str__(self) -> str:
        each = 1 / max(1, self.queries)
        times = ", ".join(f"{name} {1000 * each * value:.1f}" for name, value in self.seconds.items())
        return (
            f"{self.queries:,} topics by {self.searcher} search, {self.documents_scored * each:,.0f} of "
            f"{self.num_docs:,} documents scored for each in {self.rounds * each:,.1f} rounds; milliseconds a topic: "
            f"{times}"
        )
