# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Interactive search: queries typed or piped in, hits with their texts shown."""

from __future__ import annotations

import contextlib
import logging
import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from hypensearch.errors import HypensearchError
from hypensearch.hits import Hit
from hypensearch.printing import visible

if TYPE_CHECKING:
    from hypensearch.search.searcher import HypencoderSearcher

logger = logging.getLogger(__name__)

PROMPT = "query> "
WIDEST = 120
TEXT_LINES = 3


def answers(searcher: HypencoderSearcher, hits: int) -> Iterator[str]:
    """Answer queries from stdin, one a line, until it ends.

    A prompt is shown, and lines can be edited, where stdin is a terminal.

    :param searcher: What is searched.
    :param hits: Hits shown of each query.
    :return: What to show: a greeting at a terminal, then the answer to each query.
    """
    if sys.stdin.isatty():
        yield f"{searcher.num_docs:,} documents in {searcher.index.folder}; Ctrl-D ends"
    text_of = _Texts(searcher)
    for line in iter(_typed, "") if sys.stdin.isatty() else sys.stdin:
        if query := line.strip():
            started = time.perf_counter()
            found = searcher.search(query, hits)
            seconds = time.perf_counter() - started
            width = min(shutil.get_terminal_size().columns, WIDEST)
            counts = f"{len(found)} of {searcher.num_docs:,} documents in {1000 * seconds:.0f} ms"
            yield f"{readable_hits(found, text_of, width)}\n\n{counts}\n"


def _typed() -> str:
    """Read a line from the terminal, empty at the end."""
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  # lets input() edit lines and remember them
    try:
        return input(PROMPT) + "\n"
    except EOFError:
        return ""


class _Texts:
    """Reads texts as long as that is possible, and logs the reason once when it is not."""

    def __init__(self, searcher: HypencoderSearcher) -> None:
        self._searcher: HypencoderSearcher | None = searcher

    def __call__(self, docid: str) -> str:
        try:
            document = self._searcher.doc(docid) if self._searcher is not None else None
        except HypensearchError as error:
            logger.info("Hits are shown without text: %s", error)
            self._searcher = document = None
        return document.contents() if document is not None else ""


def readable_hits(hits: Sequence[Hit], text_of: Callable[[str], str], width: int = 80) -> str:
    """Lay out hits: rank, score, docid, and below them the first lines of the text.

    :param hits: Best first.
    :param text_of: Gives the text of a docid.
    :param width: Columns of the terminal.
    """
    scores = [f"{hit.score:.3f}" for hit in hits]
    score_width = max((len(score) for score in scores), default=0)
    rank_width = len(str(len(hits)))
    indent = " " * (rank_width + score_width + 4)
    blocks = []
    for rank, (hit, score) in enumerate(zip(hits, scores, strict=True), 1):
        text = textwrap.wrap(
            " ".join(text_of(hit.docid).split()),
            max(width, len(indent) + 20),
            initial_indent=indent,
            subsequent_indent=indent,
            max_lines=TEXT_LINES,
            placeholder=" ...",
        )
        blocks.append("\n".join([f"{rank:>{rank_width}}. {score:>{score_width}}  {hit.docid}", *text]))
    return visible("\n\n".join(blocks))
