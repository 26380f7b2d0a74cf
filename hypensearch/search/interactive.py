# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Interactive search: queries typed or piped in, hits with their texts shown."""

from __future__ import annotations

import contextlib
import logging
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from hypensearch.errors import HypensearchError
from hypensearch.search.readable_hits import readable_hits

if TYPE_CHECKING:
    from hypensearch.search.searcher import HypencoderSearcher

logger = logging.getLogger(__name__)

PROMPT = "query> "
WIDEST = 120


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
    for query in _queries():
        started = time.perf_counter()
        found = searcher.search(query, hits)
        seconds = time.perf_counter() - started
        width = min(shutil.get_terminal_size().columns, WIDEST)
        counts = f"{len(found)} of {searcher.num_docs:,} documents in {1000 * seconds:.0f} ms"
        yield f"{readable_hits(found, text_of, width)}\n\n{counts}\n"


def _queries() -> Iterator[str]:
    for line in iter(_typed, "") if sys.stdin.isatty() else sys.stdin:
        if query := line.strip():
            yield query


def _typed() -> str:
    """Read a line from the terminal, empty at the end."""
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  # lets input() edit lines and remember them
    try:
        return input(PROMPT) + "\n"
    except EOFError:
        return ""


class _Texts:
    """Gives texts as long as they can be had; says once why they cannot."""

    def __init__(self, searcher: HypencoderSearcher) -> None:
        self._doc: Callable[[str], object] | None = searcher.doc

    def __call__(self, docid: str) -> str:
        if self._doc is None:
            return ""
        try:
            document = self._doc(docid)
        except HypensearchError as error:
            logger.info("Hits are shown without text: %s", error)
            self._doc = None
            return ""
        return document.contents() if document is not None else ""  # type: ignore[attr-defined, no-any-return]
