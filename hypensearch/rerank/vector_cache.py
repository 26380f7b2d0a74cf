# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Vectors by docid in a folder that only grows: what was encoded once is there for all later calls.

``facts.json`` says what the vectors depend on, ``vectors`` holds them row by row (float32), ``docids`` a docid a
line. A docid is written after its vector, so a call that was killed loses what it had not finished and nothing else.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hypensearch.errors import HypensearchError
from hypensearch.formats.files import FileLock, replace_when_whole

FACTS = "facts.json"
FORMAT = "hypensearch vector cache"
_VECTORS, _DOCIDS, _LOCK = "vectors", "docids", ".lock"


class VectorCache:
    """Vectors by docid. As a context manager it locks the folder, and may be appended to.

    :param folder: The folder; made with the first vectors.
    :param dim: Size of a vector.
    :param facts: What the vectors depend on, as JSON.
    :raises HypensearchError: When the folder holds something else, or vectors that depend on other facts.
    """

    def __init__(self, folder: Path, *, dim: int, facts: Mapping[str, Any]) -> None:
        self.folder = folder
        self.dim = dim
        self._facts = json.loads(json.dumps({"format": FORMAT, "dim": dim, **facts}))
        self._lock: FileLock | None = None
        self._mapped: np.ndarray | None = None
        self._check()
        self._read()

    def __contains__(self, docid: str) -> bool:
        return docid in self._rows

    def __len__(self) -> int:
        return len(self._docids)

    def row_of(self, docid: str) -> int:
        """Give the row of a docid, -1 when it has none."""
        return self._rows.get(docid, -1)

    def docid(self, row: int) -> str:
        """Give the docid of a row."""
        return self._docids[row]

    @property
    def vectors(self) -> np.ndarray:
        """All vectors, mapped, float32, *Shape:* ``(num_docs, dim)``."""
        if self._mapped is None or len(self._mapped) != len(self):
            path, shape = self.folder / _VECTORS, (len(self), self.dim)
            self._mapped = np.memmap(path, np.float32, "r", shape=shape) if len(self) else np.empty(shape, np.float32)
        return self._mapped

    def __enter__(self) -> VectorCache:
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / _LOCK)
        lock.acquire()
        self._lock = lock
        self._check()
        if not (self.folder / FACTS).exists():
            with replace_when_whole(self.folder / FACTS, "w") as file:
                json.dump(self._facts, file, indent=1)
        self._read()
        self._drop_unfinished()
        return self

    def __exit__(self, *error: object) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def append(self, docids: Sequence[str], vectors: np.ndarray) -> None:
        """Add documents that are not there yet; when this returns they are on disk for good.

        :param vectors: *Shape:* ``(len(docids), dim)``.
        :raises HypensearchError: When a vector is not finite, or the disk is full.
        """
        assert self._lock is not None
        if not np.isfinite(vectors).all():
            flawed = docids[int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])]
            raise HypensearchError(f"the vector of document {flawed!r} is not finite: the encoder has broken weights")
        self._write(_VECTORS, np.ascontiguousarray(vectors, dtype=np.float32).tobytes())
        self._write(_DOCIDS, "".join(f"{docid}\n" for docid in docids).encode())
        self._rows.update(zip(docids, range(len(self), len(self) + len(docids)), strict=True))
        self._docids += docids

    def close(self) -> None:
        """Let go of the files."""
        self._mapped = None

    def _check(self) -> None:
        path = self.folder / FACTS
        if not path.exists():
            others = [name for name in os.listdir(self.folder) if name != _LOCK] if self.folder.is_dir() else []
            if others or self.folder.is_file():
                raise HypensearchError(f"{self.folder}: no cache of vectors (no {FACTS} in it): name a new folder")
            return
        try:
            found = json.loads(path.read_bytes())
            if found["format"] != FORMAT:
                raise ValueError(f"format {found['format']!r}")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise HypensearchError(f"{path}: damaged ({error}); delete the folder and encode anew") from None
        for name, value in self._facts.items():
            if found.get(name) != value:
                raise HypensearchError(
                    f"{self.folder}: its vectors were made with another {name} ({_short(found.get(name))}, now it is "
                    f"{_short(value)}): name a new folder, or delete this one"
                )

    def _read(self) -> None:
        self._mapped = None
        path = self.folder / _DOCIDS
        content = path.read_bytes() if path.exists() else b""
        whole = content[: content.rfind(b"\n") + 1]
        self._docids: list[str] = whole.decode("utf-8").split("\n")[:-1]
        self._rows = {docid: row for row, docid in enumerate(self._docids)}
        stored = (self.folder / _VECTORS).stat().st_size if path.exists() else 0
        if len(self._rows) != len(self._docids) or stored < len(self._docids) * self.dim * 4:
            raise HypensearchError(f"{self.folder}: damaged (docids and vectors do not fit): delete it and encode anew")

    def _drop_unfinished(self) -> None:
        """Cut off what a killed call left behind the last whole row."""
        sizes = {
            _VECTORS: len(self) * self.dim * 4,
            _DOCIDS: sum(len(docid.encode()) + 1 for docid in self._docids),
        }
        for name, size in sizes.items():
            path = self.folder / name
            if path.exists() and path.stat().st_size != size:
                os.truncate(path, size)

    def _write(self, name: str, content: bytes) -> None:
        try:
            with open(self.folder / name, "ab") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise HypensearchError(f"{self.folder / name}: cannot be written: {error.strerror or error}") from None


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
