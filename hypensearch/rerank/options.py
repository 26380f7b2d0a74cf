# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""How candidates are reranked."""

from __future__ import annotations

from dataclasses import dataclass

from hypensearch.options import Options, option
from hypensearch.rerank.interpolate import NORMALIZATIONS

MISSING = ("error", "drop", "keep")


@dataclass(frozen=True)
class RerankOptions(Options):
    """How candidates are reranked.

    :param depth: Documents scored for a query, at most: the first stage's best ones, or those that ``gar`` chooses.
    :param alpha: Weight of the first stage's score, 0 to 1; 0 leaves the q-net's scores as they are.
    :param normalization: What scores are normalised by, per query, when ``alpha`` is above 0; see
        :mod:`hypensearch.rerank.interpolate`.
    :param gar: Whether neighbours of good documents are scored as well (:mod:`hypensearch.rerank.adaptive`); needs an
        index with a graph.
    :param gar_batch: Documents scored before the next are chosen.
    :param gar_neighbours: Neighbours of a document that are looked at.
    :param graph: The graph's name; None for the only one.
    :param missing: What becomes of candidates without a vector: "error", "drop", or "keep" below those that were
        scored.
    :param backfill: Keep candidates beyond the depth below those that were scored, in the first stage's order.
    """

    depth: int = option("documents scored for a topic, at most", 1000, at_least=1)
    alpha: float = option("weight of the first stage's score, 0 (the q-net alone) to 1", 0.0, at_least=0, at_most=1)
    normalization: str = option(
        "what scores are normalised by, per topic, with --alpha", "min-max", choices=NORMALIZATIONS
    )
    gar: bool = option(
        "graph-based adaptive reranking: spend part of --depth on neighbours of the best documents", False
    )
    gar_batch: int = option("documents scored before the next are chosen", 16, at_least=1)
    gar_neighbours: int = option("neighbours of a document looked at", 16, at_least=1)
    graph: str | None = option("name of the graph, where the index has several", None)
    missing: str = option(
        "candidates without vector or text: error; drop leaves them out; keep puts them below all others",
        "error",
        choices=MISSING,
    )
    backfill: bool = option("keep candidates beyond --depth, below those that were scored", False)
