# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Progress bars on stderr: redrawn often on a terminal, every ten seconds in a log file."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from tqdm import tqdm


def progress_bar(
    total: int | None, *, unit: str = "it", description: str = "", show: bool = True, **options: Any
) -> tqdm[NoReturn]:
    """Return a progress bar, a context manager to be updated.

    :param total: How many units there are; None when it is unknown.
    :param show: Whether to draw it at all.
    :param options: Other arguments of ``tqdm``.
    """
    from tqdm import tqdm

    interval = 0.2 if sys.stderr.isatty() else 10
    return tqdm(
        total=total,
        unit=unit,
        desc=description,
        dynamic_ncols=True,
        mininterval=interval,
        disable=not show,
        **options,
    )


class CorpusBar:
    """Counts documents of a corpus, whose number is unknown, and shows the share of its bytes that is done.

    :param num_bytes: Bytes to come; None when that is unknown.
    :param show: Whether to draw it at all.
    """

    def __init__(self, num_bytes: int | None, *, show: bool) -> None:
        form = "{percentage:3.0f}%|{bar}| {desc} [{elapsed}<{remaining}]" if num_bytes else "{desc} [{elapsed}]"
        self._bar = progress_bar(num_bytes, description="0 documents", show=show, bar_format=form)
        self._num_docs = 0
        self._begun = time.monotonic()

    def add(self, num_docs: int, num_bytes: int) -> None:
        """Count documents that are done."""
        self._num_docs += num_docs
        rate = self._num_docs / max(time.monotonic() - self._begun, 1e-9)
        self._bar.set_description_str(f"{self._num_docs:,} documents, {rate:,.0f}/s", refresh=False)
        self._bar.update(num_bytes)

    def __enter__(self) -> CorpusBar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()


def close_bars() -> None:
    """End the lines of all progress bars, so that what is printed next has a line of its own."""
    if "tqdm" in sys.modules:
        from tqdm import tqdm

        for bar in list(getattr(tqdm, "_instances", ())):
            bar.close()
