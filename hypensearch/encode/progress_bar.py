# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""A progress bar over a corpus: the share that is done, documents per second, time left."""

from __future__ import annotations

import sys
import time
from types import TracebackType


class ProgressBar:
    """Counts documents and, when the corpus' size is known, the bytes that tell how much is left.

    :param num_bytes: Bytes to come; None when they are not known beforehand.
    :param show: Whether to draw it at all.
    """

    def __init__(self, num_bytes: int | None, *, show: bool) -> None:
        from tqdm import tqdm

        known = "{percentage:3.0f}%|{bar}| {desc} [{elapsed}<{remaining}]"
        self._bar = tqdm(
            total=num_bytes,
            disable=not show,
            bar_format=known if num_bytes else "{desc} [{elapsed}]",
            desc="0 documents",
            mininterval=0.2 if sys.stderr.isatty() else 10,
        )
        self._num_docs = 0
        self._begun = time.monotonic()

    def add(self, num_docs: int, num_bytes: int) -> None:
        """Count documents that are encoded."""
        self._num_docs += num_docs
        rate = self._num_docs / max(time.monotonic() - self._begun, 1e-9)
        self._bar.set_description_str(f"{self._num_docs:,} documents, {rate:,.0f}/s", refresh=False)
        self._bar.update(num_bytes)

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
