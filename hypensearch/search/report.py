# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""What a searcher did: how many documents it scored, in how many rounds, and where the time went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from hypensearch.scoring.found import Found
from hypensearch.stages import STAGES


def query_facts(found: Found) -> dict[str, Any]:
    """Return what a search did for one query, for JSON."""
    facts = {"documents_scored": found.scored, "rounds": found.rounds, "estimated_recall": found.recall}
    return facts | ({"searcher": found.searcher} if found.searcher else {})


@dataclass
class SearchStats:
    """What a searcher did since it was made.

    :param searcher: Which one: "exhaustive", "graph" or "surrogate"; with "auto" all that were chosen.
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
    _chosen: set[str] = field(default_factory=set, repr=False)

    @property
    def search_seconds(self) -> float:
        """Seconds spent scoring and ranking."""
        return self.seconds["search"] + self.seconds["score"]

    def add(self, found: Sequence[Found]) -> None:
        """Add up what a call found."""
        self.queries += len(found)
        self.documents_scored += sum(of_query.scored for of_query in found)
        self.rounds += sum(of_query.rounds for of_query in found)
        self._chosen |= {of_query.searcher for of_query in found if of_query.searcher}
        if self._chosen:
            self.searcher = " and ".join(sorted(self._chosen))

    def add_seconds(self, seconds: Mapping[str, float]) -> None:
        """Add up the seconds of a call."""
        for name, value in seconds.items():
            self.seconds[name] += value

    def facts(self) -> dict[str, Any]:
        """Return the fields, for JSON."""
        return {name: value for name, value in asdict(self).items() if not name.startswith("_")}

    def __str__(self) -> str:
        each = 1 / max(1, self.queries)
        times = ", ".join(f"{name} {1000 * each * value:.1f}" for name, value in self.seconds.items())
        return (
            f"{self.queries:,} topics by {self.searcher} search, {self.documents_scored * each:,.0f} of "
            f"{self.num_docs:,} documents scored for each in {self.rounds * each:,.1f} rounds; milliseconds a topic: "
            f"{times}"
        )
