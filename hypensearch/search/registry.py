# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The searches by name, and how one is opened. To add a search, add its folder and a line to :data:`SEARCHES`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hypensearch.engines.options import EngineOptions
from hypensearch.errors import HypensearchError
from hypensearch.exhaustive.options import ExhaustiveOptions
from hypensearch.graph.options import GraphOptions
from hypensearch.options import default_of
from hypensearch.scoring.found import Search, SearchOptions
from hypensearch.surrogate.options import SurrogateOptions

if TYPE_CHECKING:
    import torch

    from hypensearch.flat.index import FlatIndex

SEARCHES: Mapping[str, type[SearchOptions]] = {
    "exhaustive": ExhaustiveOptions,
    "graph": GraphOptions,
    "surrogate": SurrogateOptions,
    "engine": EngineOptions,
}
SEARCHERS = ("auto", "simple", *SEARCHES)  # simple: Pyserini's word for exhaustive


def option_defaults() -> dict[str, Any]:
    """Return the options of all searches by name, with their defaults; one name means the same in every search."""
    return {one.name: default_of(kind, one.name) for kind in SEARCHES.values() for one in dataclasses.fields(kind)}


def open_search(
    index: FlatIndex,
    device: torch.device,
    searcher: str = "auto",
    options: Mapping[str, Any] | None = None,
    *,
    check: bool = True,
    shared: bool = False,
) -> tuple[str, Search]:
    """Open a search.

    :param index: What is searched.
    :param device: Where to compute.
    :param searcher: One of :data:`SEARCHERS`; "auto" is the faster of exhaustive and surrogate search where the index
        has codes for the latter, and exhaustive search otherwise.
    :param options: Values of :func:`option_defaults`; those that the search does not have are ignored.
    :param check: Whether to compare what was built beside the index with its checksums.
    :param shared: Whether the processes that ``torchrun`` has started share each search.
    :return: What it is called, and the search.
    :raises HypensearchError: When the name is unknown, or the index lacks what the search needs.
    """
    if searcher not in SEARCHERS:
        raise HypensearchError(f"--searcher {searcher}: wanted {', '.join(SEARCHERS[:-1])} or {SEARCHERS[-1]}")
    name, given = "exhaustive" if searcher == "simple" else searcher, options or {}
    if name == "auto" and given.get("engine_url"):
        name = "engine"
    if shared and (search := _shared(index, device, name, given)) is not None:
        return "exhaustive", search
    if name == "auto":
        return _open_auto(index, device, given, check)
    if name == "exhaustive":
        return name, _open_exhaustive(index, device, given)
    return name, _options(SEARCHES[name], given).open(index, device, check=check)


def _open_auto(index: FlatIndex, device: torch.device, given: Mapping[str, Any], check: bool) -> tuple[str, Search]:
    from hypensearch.search.choice import FasterSearch
    from hypensearch.surrogate.store import open_surrogate

    options = _options(SurrogateOptions, given)
    is_asked_for = options != SurrogateOptions()
    # On a GPU the scan of codes is limited by the host, while exhaustive search is what GPUs are good at.
    if open_surrogate(index) is None or (device.type == "cuda" and not is_asked_for):
        return "exhaustive", _open_exhaustive(index, device, given)
    surrogate = options.open(index, device, check=check)
    if is_asked_for:
        return "surrogate", surrogate
    return "exhaustive or surrogate", FasterSearch(_open_exhaustive(index, device, given), surrogate)


def _open_exhaustive(index: FlatIndex, device: torch.device, given: Mapping[str, Any]) -> Search:
    if (given.get("max_scored") or index.num_docs) < index.num_docs:
        raise HypensearchError("--max-scored bounds graph and surrogate search; exhaustive search scores all")
    return _options(ExhaustiveOptions, given).open(index, device)


def _shared(index: FlatIndex, device: torch.device, name: str, given: Mapping[str, Any]) -> Search | None:
    """Open exhaustive search by several processes; None where this process is the only one."""
    from hypensearch.exhaustive.ranks import ranks_of
    from hypensearch.exhaustive.search import ExhaustiveSearch

    ranks = ranks_of()
    if ranks.size == 1:
        return None
    if name not in ("auto", "exhaustive"):
        raise HypensearchError(
            f"--searcher {name} with {ranks.size} processes: they share exhaustive search only, each scoring a part of "
            "the documents; use --searcher exhaustive, or start one process"
        )
    return ExhaustiveSearch(index, device, _options(ExhaustiveOptions, given), ranks)


def _options(kind: type[Any], given: Mapping[str, Any]) -> Any:
    names = {one.name for one in dataclasses.fields(kind)}
    return kind(**{name: value for name, value in given.items() if name in names})
