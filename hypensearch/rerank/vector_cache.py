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
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from hypensearch.errors import HypensearchError
from hypensearch.formats.door import read_plain
from hypensearch.formats.files import file_lock, replace_when_whole
from hypensearch.formats.json_files import read_json
from hypensearch.formats.npy import GrowingFile, map_bytes
from hypensearch.formats.sealed import LOCK, reason_of

FACTS = "facts.json"
FORMAT = "hypensearch vector cache"
FORMAT_VERSION = 2
_VECTORS, _SUMS, _DOCIDS = "vectors", "sums", "docids"
_SUM_BYTES = 4
_MOST_BYTES = 2**40


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
        self._held = ExitStack()
        self._files: dict[str, GrowingFile] = {}
        self._mapped = np.empty((0, dim), np.float32)
        self._sums = np.zeros(0, np.uint32)
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
        if len(self._mapped) != len(self):
            self._mapped = self._map()
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
        with ExitStack() as stack:
            stack.enter_context(file_lock(self.folder / LOCK))
            self._read()
            if not (self.folder / FACTS).exists():
                with replace_when_whole(self.folder / FACTS, "w", follow_link=False) as file:
                    json.dump(self._facts, file, indent=1)
            sizes = {
                _VECTORS: len(self) * self.dim * 4,
                _SUMS: len(self) * _SUM_BYTES,
                _DOCIDS: sum(len(docid.encode()) + 1 for docid in self._docids),
            }
            for name, size in sizes.items():  # what a killed call left after the last whole row is cut off
                try:
                    self._files[name] = GrowingFile(os.fspath(self.folder / name), size)
                except (OSError, ValueError) as error:
                    raise self._damaged(reason_of(error)) from None
                stack.callback(self._files[name].close)
            self._held = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._held.close()

    def append(self, docids: Sequence[str], vectors: np.ndarray) -> None:
        """Add documents that are not there yet; when this returns they are on disk for good.

        :param vectors: *Shape:* ``(len(docids), dim)``.
        :raises HypensearchError: When a vector is not finite, or the disk is full.
        """
        if not np.isfinite(vectors).all():
            flawed = docids[int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])]
            raise HypensearchError(f"the vector of document {flawed!r} is not finite: the encoder has broken weights")
        vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        sums = np.array([_sum(docid, vector) for docid, vector in zip(docids, vectors, strict=True)], dtype=np.uint32)
        lines = "".join(f"{docid}\n" for docid in docids).encode()
        for name, content in ((_VECTORS, vectors.tobytes()), (_SUMS, sums.tobytes()), (_DOCIDS, lines)):
            try:
                self._files[name].append(content)
                self._files[name].sync()
            except OSError as error:
                raise HypensearchError(f"{self.folder / name}: cannot be written: {error.strerror or error}") from None
        self._rows.update(zip(docids, range(len(self), len(self) + len(docids)), strict=True))
        self._docids += docids
        self._sums = np.concatenate([self._sums, sums])

    def close(self) -> None:
        """Let go of the files."""
        self._mapped = np.empty((0, self.dim), np.float32)

    def _read(self) -> None:
        """Read all but the vectors, and compare the facts."""
        if not os.path.lexists(self.folder / FACTS):
            others = [name for name in os.listdir(self.folder) if name != LOCK] if self.folder.is_dir() else []
            if others or self.folder.is_file():
                raise HypensearchError(f"{self.folder}: no cache of vectors (no {FACTS} in it): name a new folder")
        else:
            self._check_facts()
        self._sound: set[int] = set()
        content = self._content(_DOCIDS)
        try:
            self._docids: list[str] = content[: content.rfind(b"\n") + 1].decode("utf-8").split("\n")[:-1]
        except UnicodeDecodeError as error:
            raise self._damaged(str(error)) from None
        self._rows = {docid: row for row, docid in enumerate(self._docids)}
        sums = self._content(_SUMS)[: len(self) * _SUM_BYTES]
        if min(len(self._rows), len(sums) // _SUM_BYTES) < len(self):
            raise self._damaged("docids and checksums do not fit")
        self._sums = np.frombuffer(sums, dtype=np.uint32)
        self._mapped = self._map()

    def _check_facts(self) -> None:
        path = self.folder / FACTS
        try:
            found = read_json(path, within=self.folder)
            if found["format"] != FORMAT:
                raise ValueError(f"format {found['format']!r}")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise self._damaged(f"{FACTS}: {reason_of(error)}") from None
        for name, value in self._facts.items():
            if found.get(name) != value:
                raise HypensearchError(
                    f"{self.folder}: its vectors were made with another {name} ({_short(found.get(name))}, now it is "
                    f"{_short(value)}): name a new folder, or delete this one"
                )

    def _map(self) -> np.ndarray:
        row_bytes = self.dim * 4
        if not len(self):
            return np.empty((0, self.dim), np.float32)
        try:
            content = map_bytes(self.folder / _VECTORS, self.folder)
        except OSError as error:
            raise self._damaged(reason_of(error)) from None
        if len(content) < len(self) * row_bytes:
            raise self._damaged("docids and vectors do not fit")
        return content[: len(self) * row_bytes].view(np.float32).reshape(-1, self.dim)

    def _content(self, name: str) -> bytes:
        try:
            return read_plain(self.folder / name, _MOST_BYTES, self.folder)
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise self._damaged(reason_of(error)) from None

    def _damaged(self, what: str) -> HypensearchError:
        return HypensearchError(f"{self.folder}: damaged ({what}): delete it and encode again")


def _sum(docid: str, vector: np.ndarray) -> int:
    return zlib.crc32(vector.tobytes(), zlib.crc32(docid.encode()))


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
