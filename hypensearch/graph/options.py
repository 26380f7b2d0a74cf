# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The options of graph search, and of building its graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hypensearch.options import Options, option
from hypensearch.scoring.found import SearchOptions

if TYPE_CHECKING:
    import torch

    from hypensearch.flat.index import FlatIndex
    from hypensearch.graph.search import GraphSearch

VARIANTS = ("paper", "released")
DISTANCES = ("l2", "ip", "cosine")
BUILDERS = ("exact", "faiss", "cuvs")


@dataclass(frozen=True)
class GraphOptions(SearchOptions):
    """How graph search walks.

    Each iteration scores the frontier, expands its best ``ncandidates`` and offers its best to the hits. The variants
    differ in how many are offered and in when early stopping stops:

    - "paper", Algorithm 1: ``ncandidates`` are offered; stops when the best of them is below the k-th hit so far. So
      there are at most ``ncandidates * max_iter`` hits.
    - "released", the authors' code: ``max(ncandidates, k)`` are offered; stops when none of them became a hit. With all
      documents as entry points its hits are those of exhaustive search, whatever k.

    :param graph: Name of the graph; None for the only one.
    :param variant: "paper" or "released".
    :param num_entry_points: Random documents that every walk starts from, besides its own starts.
    :param entry_seed: Chooses them: those of Python's ``random.Random(seed).sample(range(num_docs), num)``, as in the
        authors' code for 43.
    :param ncandidates: Documents whose neighbours are looked at, in each iteration.
    :param max_iter: Iterations, at most.
    :param early_stop: Whether to stop before that when an iteration finds no hit.
    :param max_scored: Documents scored for a query, at most. Starts come before random entry points, and neighbours of
        better documents before others.
    """

    graph: str | None = option("name of the graph, where the index has several", None)
    variant: str = option(
        "paper: Algorithm 1, offers --ncandidates in an iteration; released: the authors' code, at least --hits",
        "released",
        choices=VARIANTS,
    )
    num_entry_points: int = option("random documents to start from", 10_000, at_least=0)
    entry_seed: int = option("chooses the random documents", 43)
    ncandidates: int = option("documents expanded in an iteration", 64, at_least=1)
    max_iter: int = option("iterations, at most", 16, at_least=1)
    early_stop: bool = option("stop when an iteration finds no hit", True)
    max_scored: int | None = option(
        "documents scored for a topic, at most; by surrogate search as well", None, at_least=1
    )

    def open(self, index: FlatIndex, device: torch.device, *, check: bool = True) -> GraphSearch:
        """Open graph search, which needs a graph."""
        from hypensearch.graph.search import GraphSearch
        from hypensearch.graph.store import GraphIndex

        graph = GraphIndex.open(index, self.graph)
        if check:
            graph.check_once()
        return GraphSearch(index, graph, device, self)


@dataclass(frozen=True)
class GraphBuildOptions(Options):
    """How a graph is built.

    :param distance: "l2" as in the paper, "ip" or "cosine".
    :param degree: Neighbours of a document; None for 100, or for the longest list of an imported graph.
    :param builder: "exact" compares every pair; "faiss" searches an inverted file with as many probes as ``min_recall``
        takes; "cuvs" runs NN-descent on a GPU with as wide lists.
    :param min_recall: Fraction of the exact neighbours that "faiss" and "cuvs" are to find.
    :param name: The graph's name; None for one of distance and degree.
    :param overwrite: Whether to replace a graph of that name.
    :param block_rows: Documents between two safe points; changes memory use, never neighbours.
    """

    distance: str = option("what near means; l2 in the paper", "l2", choices=DISTANCES)
    degree: int | None = option("neighbours of a document (100)", None, at_least=1)
    builder: str = option(
        "exact: look at every pair (on a GPU with --device cuda); faiss: an inverted file, cuvs: NN-descent on a GPU, "
        "their recall measured",
        "exact",
        choices=BUILDERS,
    )
    min_recall: float = option(
        "share of the exact neighbours that --builder faiss and cuvs are to find", 0.95, above=0, at_most=1
    )
    name: str | None = option("name of the graph; distance and degree by default", None)
    overwrite: bool = option("replace a graph of that name", False)
    block_rows: int | None = option("documents between two safe points; changes memory use only", None, at_least=1)
