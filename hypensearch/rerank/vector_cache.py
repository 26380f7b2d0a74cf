# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Vectors by docid in a folder that only grows: what was encoded once is there for all later calls.

``facts.json`` says what the vectors depend on, ``vectors`` holds them row by row (float32), ``sums`` a checksum of each
(CRC-32 of docid and vector), ``docids`` a docid a line. A docid is written last, so a call that was killed loses what
it had not finished and nothing else.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hypensearch.errors import HypensearchError
from hypensearch.formats.door import is_plain, open_to_write
from hypensearch.formats.files import FileLock, replace_when_whole
from hypensearch.formats.json_files import read_json

FACTS = "facts.json"
FORMAT = "hypensearch vector cache"
FORMAT_VERSION = 2
_VECTORS, _SUMS, _DOCIDS, _LOCK = "vectors", "sums", "docids", ".lock"
_SUM_BYTES = 4


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
        self._facts = json.loads(json.dumps({"format": FORMAT, "version": FORMAT_VERSION, "dim": dim, **facts}))
        self._lock: FileLock | None = None
        self._mapped: np.ndarray | None = None
        self._sums = np.zeros(0, np.uint32)
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

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Give some rows' vectors; those not given before are compared with their checksums.

        :return: float32, *Shape:* ``(len(rows), dim)``.
        :raises HypensearchError: When a vector is not what was written.
        """
        found = self.vectors[rows]
        for row, vector in zip(rows.tolist(), found, strict=True):
            if row not in self._sound and _sum(self._docids[row], vector) != self._sums[row]:
                raise self._damaged(f"the vector of document {self._docids[row]!r} has changed")
            self._sound.add(row)
        return found

    def __enter__(self) -> VectorCache:
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / _LOCK)
        lock.acquire()
        self._lock = lock
        self._check()
        if not (self.folder / FACTS).exists():
            with replace_when_whole(self.folder / FACTS, "w", follow_link=False) as file:
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
        vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        sums = np.array([_sum(docid, vector) for docid, vector in zip(docids, vectors, strict=True)], dtype=np.uint32)
        self._write(_VECTORS, vectors.tobytes())
        self._write(_SUMS, sums.tobytes())
        self._write(_DOCIDS, "".join(f"{docid}\n" for docid in docids).encode())
        self._rows.update(zip(docids, range(len(self), len(self) + len(docids)), strict=True))
        self._docids += docids
        self._sums = np.concatenate([self._sums, sums])

    def close(self) -> None:
        """Let go of the files."""
        self._mapped = None

    def _check(self) -> None:
        path = self.folder / FACTS
        if not os.path.lexists(path):
            others = [name for name in os.listdir(self.folder) if name != _LOCK] if self.folder.is_dir() else []
            if others or self.folder.is_file():
                raise HypensearchError(f"{self.folder}: no cache of vectors (no {FACTS} in it): name a new folder")
            return
        try:
            found = read_json(path, within=self.folder)
            if found["format"] != FORMAT:
                raise ValueError(f"format {found['format']!r}")
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise HypensearchError(f"{path}: damaged ({reason}); delete the folder and encode anew") from None
        for name in (_VECTORS, _SUMS, _DOCIDS):
            if os.path.lexists(self.folder / name) and not is_plain(self.folder / name, self.folder):
                raise self._damaged(f"{name} is no plain file")
        for name, value in self._facts.items():
            if found.get(name) != value:
                raise HypensearchError(
                    f"{self.folder}: its vectors were made with another {name} ({_short(found.get(name))}, now it is "
                    f"{_short(value)}): name a new folder, or delete this one"
                )

    def _read(self) -> None:
        self._mapped = None
        self._sound: set[int] = set()
        content = self._content(_DOCIDS)
        try:
            self._docids: list[str] = content[: content.rfind(b"\n") + 1].decode("utf-8").split("\n")[:-1]
        except UnicodeDecodeError as error:
            raise self._damaged(str(error)) from None
        self._rows = {docid: row for row, docid in enumerate(self._docids)}
        sums = self._content(_SUMS)[: len(self) * _SUM_BYTES]
        stored = (self.folder / _VECTORS).stat().st_size if (self.folder / _VECTORS).exists() else 0
        if min(len(self._rows), len(sums) // _SUM_BYTES, stored // (self.dim * 4)) < len(self):
            raise self._damaged("docids and vectors do not fit")
        self._sums = np.frombuffer(sums, dtype=np.uint32)

    def _content(self, name: str) -> bytes:
        path = self.folder / name
        return path.read_bytes() if path.exists() else b""

    def _damaged(self, what: str) -> HypensearchError:
        return HypensearchError(f"{self.folder}: damaged ({what}): delete it and encode anew")

    def _drop_unfinished(self) -> None:
        """Cut off what a killed call left behind the last whole row."""
        sizes = {
            _VECTORS: len(self) * self.dim * 4,
            _SUMS: len(self) * _SUM_BYTES,
            _DOCIDS: sum(len(docid.encode()) + 1 for docid in self._docids),
        }
        for name, size in sizes.items():
            path = self.folder / name
            if path.exists() and path.stat().st_size != size:
                os.truncate(path, size)

    def _write(self, name: str, content: bytes) -> None:
        try:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
            with os.fdopen(open_to_write(self.folder / name, flags), "ab") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise HypensearchError(f"{self.folder / name}: cannot be written: {error.strerror or error}") from None


def _sum(docid: str, vector: np.ndarray) -> int:
    return zlib.crc32(vector.tobytes(), zlib.crc32(docid.encode()))


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
