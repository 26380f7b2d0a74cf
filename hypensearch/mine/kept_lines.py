# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Work that outlives a stopped command: JSON lines, each with a digest, behind a header that identifies the work."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

_DIGEST_BYTES = 16

logger = logging.getLogger(__name__)


class KeptLines:
    """A file of finished pieces of work. Lines that are not as they were written are dropped, with all that follow.

    :param path: The file; made where it is missing, with its folder.
    :param work: Identifies the work, as JSON: lines of other work are dropped.
    """

    def __init__(self, path: str | Path, work: object) -> None:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._file = open(path, "r+b" if path.exists() else "w+b")  # noqa: SIM115
        header = _line(json.dumps(hashlib.sha256(_json(work)).hexdigest()).encode())
        self._count = self._drop_what_is_unsound(header)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[bytes]:
        """Yield the lines in order, without their digests."""
        with open(self.path, "rb") as file:
            for line in islice(file, 1, None):
                yield line[_DIGEST_BYTES:]

    def __enter__(self) -> KeptLines:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def append(self, value: Any) -> None:
        """Write a line behind the last one."""
        self._file.write(_line(_json(value)))
        self._file.flush()
        self._count += 1

    def _drop_what_is_unsound(self, header: bytes) -> int:
        """Leave the file at its end, behind the header and the lines that are sound; return how many these are."""
        count = size = 0
        for number, line in enumerate(self._file):
            if line != (_line(line[_DIGEST_BYTES:-1]) if number else header):
                break
            count, size = number, size + len(line)
        self._file.seek(size)
        self._file.truncate()
        if not size:
            self._file.write(header)
            self._file.flush()
        if count:
            logger.info("%s: resuming after %d", self.path, count)
        return count


def _line(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest()[:_DIGEST_BYTES].encode() + content + b"\n"


def _json(value: Any) -> bytes:
    """Return JSON in UTF-8; bytes of names that are not UTF-8 are lone surrogates, which JSON has as \\udcXX."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace")
