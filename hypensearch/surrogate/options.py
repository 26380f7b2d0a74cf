# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The options of surrogate search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hypensearch.errors import HypensearchError, as_typed
from hypensearch.options import option
from hypensearch.scoring.found import SearchOptions

if TYPE_CHECKING:
    import torch

    from hypensearch.flat.index import FlatIndex
    from hypensearch.surrogate.search import SurrogateSearch


@dataclass(frozen=True)
class SurrogateOptions(SearchOptions):
    """When surrogate search stops.

    :param target_recall: Estimated recall to stop at; None for .998 of up to 10 hits, .994 of 100, .98 of 1,000.
    :param max_scored: Documents scored for a query, at most.
    """

    target_recall: float | None = option(
        "estimated recall that surrogate search stops at (0.998 for up to 10 hits, 0.994 for 100, 0.98 for 1,000)",
        None,
        above=0,
        at_most=1,
    )
    max_scored: int | None = option("documents scored for a topic, at most", None, at_least=1)

    def open(self, index: FlatIndex, device: torch.device, *, check: bool = True) -> SurrogateSearch:
        """Open surrogate search, which needs codes."""
        from hypensearch.surrogate.search import SurrogateSearch
        from hypensearch.surrogate.store import open_surrogate

        surrogate = open_surrogate(index)
        if surrogate is None:
            raise HypensearchError(
                f"{index.folder} has no codes for surrogate search; make them with: "
                + as_typed("hypensearch.index", "--index", index.folder, "--surrogate")
            )
        if check:
            surrogate.check_once()
        return SurrogateSearch(index, surrogate, device, self)
