# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Hits as people read them in a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence

from hypensearch.hits import Hit
from hypensearch.printing import visible

TEXT_LINES = 3


def readable_hits(hits: Sequence[Hit], text_of: Callable[[str], str], width: int = 80) -> str:
    """Lay out hits: rank, score, docid, and below them the first lines of the text.

    :param hits: Best first.
    :param text_of: Gives the text of a docid.
    :param width: Columns of the terminal.
    """
    scores = [f"{hit.score:.3f}" for hit in hits]
    score_width = max((len(score) for score in scores), default=0)
    rank_width = len(str(len(hits)))
    blocks = []
    for rank, (hit, score) in enumerate(zip(hits, scores, strict=True), 1):
        head = f"{rank:>{rank_width}}. {score:>{score_width}}  {hit.docid}"
        indent = " " * (rank_width + score_width + 4)
        blocks.append("\n".join([head, *_first_lines(text_of(hit.docid), indent, width)]))
    return visible("\n\n".join(blocks))


def _first_lines(text: str, indent: str, width: int) -> list[str]:
    return textwrap.wrap(
        " ".join(text.split()),
        max(width, len(indent) + 20),
        initial_indent=indent,
        subsequent_indent=indent,
        max_lines=TEXT_LINES,
        placeholder=" ...",
    )
