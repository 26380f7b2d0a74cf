# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The options of exhaustive search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hypensearch.options import option
from hypensearch.scoring.found import SearchOptions
from hypensearch.scoring.options import PRECISIONS, SCORERS

if TYPE_CHECKING:
    import torch

    from hypensearch.exhaustive.search import ExhaustiveSearch
    from hypensearch.flat.index import FlatIndex


@dataclass(frozen=True)
class ExhaustiveOptions(SearchOptions):
    """How exhaustive search scores every document. Hits have exact scores whatever the options.

    :param precision: Of the scan over all documents; None for bf16 on a GPU and fp32 on a CPU.
    :param scorer: What scores the documents; "auto" takes the first that supports device, precision and q-nets.
    :param block_rows: Vectors read at a time; changes memory use only.
    """

    precision: str | None = option(
        "of the scan over all documents; bf16 on a GPU, else fp32, by default; hits have exact scores in each",
        None,
        choices=PRECISIONS,
    )
    scorer: str = option("what scores the documents; auto: the first that fits", "auto", choices=SCORERS)
    block_rows: int | None = option("vectors read at a time; changes memory use only", None, at_least=1)

    def open(self, index: FlatIndex, device: torch.device, *, check: bool = True) -> ExhaustiveSearch:
        """Open exhaustive search, which needs nothing but the vectors."""
        from hypensearch.exhaustive.search import ExhaustiveSearch

        return ExhaustiveSearch(index, device, self)
