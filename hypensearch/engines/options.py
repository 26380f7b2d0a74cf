# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The options of surrogate search in a database."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hypensearch.errors import HypensearchError
from hypensearch.options import option
from hypensearch.scoring.found import SearchOptions

if TYPE_CHECKING:
    import torch

    from hypensearch.engines.search import EngineSearch
    from hypensearch.flat.index import FlatIndex

TABLE = "hypensearch"


@dataclass(frozen=True)
class EngineOptions(SearchOptions):
    """Where the codes are, and when a search stops.

    :param engine_url: The database, see :func:`hypensearch.engines.engine.open_engine`.
    :param engine_table: Its table or collection.
    :param target_recall: As in surrogate search.
    :param max_scored: Documents scored for a query, at most.
    """

    engine_url: str = option("database that holds the codes: postgresql://... (pgvector) or milvus://...", "")
    engine_table: str = option("its table, or collection", TABLE)
    target_recall: float | None = option("estimated recall to stop at", None, above=0, at_most=1)
    max_scored: int | None = option("documents scored for a topic, at most", None, at_least=1)

    def open(self, index: FlatIndex, device: torch.device, *, check: bool = True) -> EngineSearch:
        """Open the search; the engine must hold this index."""
        from hypensearch.engines.engine import open_engine
        from hypensearch.engines.search import EngineSearch

        if not self.engine_url:
            raise HypensearchError("--searcher engine needs --engine-url, the database that holds the codes")
        return EngineSearch(index, open_engine(self.engine_url, self.engine_table), device, self)
