# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""An index's files compared with what its manifest says of them, block by block, in memory that does not grow."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from hypensearch.flat.manifest import BLOCK_ROWS, FileRecord, ShardRecord
from hypensearch.formats.door import is_plain, open_plain
from hypensearch.formats.files import size_of
from hypensearch.formats.npy import HEADER_BYTES, npy_header

_PIECE_BYTES = 2**20
_MOST_THREADS = 8

Done = Callable[[int], object]


@dataclass(frozen=True)
class Damage:
    """Something that is not as it was written.

    :param path: The file.
    :param what: What was found.
    :param rows: The rows of the shard that are concerned; None where the file has no blocks.
    """

    path: str
    what: str
    rows: range | None = None

    def __str__(self) -> str:
        return f"{self.path}: {self.what}"


def shard_damages(
    folder: str, record: ShardRecord, dim: int, dtype: str, *, full: bool = True, done: Done = lambda count: None
) -> Iterator[Damage]:
    """Find what is damaged in a shard.

    :param folder: Where it lies.
    :param record: What the manifest says of it.
    :param dim: Size of a document vector.
    :param dtype: Type of the stored vectors.
    :param full: Whether to read every byte, or to look at sizes alone.
    :param done: Told the number of bytes read, again and again, from several threads.
    """
    header = npy_header(np.dtype(dtype), (record.num_docs, dim))
    for name, file in record.files.items():
        path = os.path.join(folder, name)
        if isinstance(file.sha256, str):
            yield from file_damages(path, file, full=full, done=done)
        else:
            row_bytes = np.dtype(dtype).itemsize * dim
            yield from block_damages(path, file, header, row_bytes, record.num_docs, full=full, done=done)


def file_damages(path: str, record: FileRecord, *, full: bool = True, done: Done = lambda count: None) -> list[Damage]:
    """Compare a file with its size and its digest; it must lie in the folder that its path names."""
    wrong_size = _wrong_size(path, record)
    if wrong_size is not None or not full:
        return [] if wrong_size is None else [wrong_size]
    try:
        with _opened(path) as descriptor:
            found = _digest(descriptor, 0, record.bytes, done)
    except OSError as error:
        return [Damage(path, f"cannot be read: {error.strerror}")]
    return [] if found == record.sha256 else [Damage(path, "its content has changed since it was written")]


def block_damages(
    path: str, record: FileRecord, header: bytes, row_bytes: int, num_rows: int, *, full: bool, done: Done
) -> Iterator[Damage]:
    """Compare a file of rows with its size and with the digest of each :data:`BLOCK_ROWS` of them."""
    wrong_size = _wrong_size(path, record)
    if wrong_size is not None:
        yield wrong_size
    if not full or not is_plain(path, os.path.dirname(path)):
        return
    with _opened(path) as descriptor, ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1)) as threads:
        if os.pread(descriptor, HEADER_BYTES, 0) != header:
            yield Damage(path, "its header has changed since it was written")

        def damage(block: int) -> Damage | None:
            rows = range(block * BLOCK_ROWS, min((block + 1) * BLOCK_ROWS, num_rows))
            try:
                found = _digest(descriptor, HEADER_BYTES + rows.start * row_bytes, len(rows) * row_bytes, done)
            except OSError as error:
                return Damage(path, f"rows {rows.start} to {rows[-1]} cannot be read: {error.strerror}", rows)
            if found == record.sha256[block]:
                return None
            what = f"the vectors of rows {rows.start} to {rows[-1]} have changed since they were written"
            return Damage(path, what, rows)

        yield from filter(None, threads.map(damage, range(len(record.sha256))))


def _wrong_size(path: str, record: FileRecord) -> Damage | None:
    try:
        found = size_of(path, os.path.dirname(path))
    except FileNotFoundError:
        return Damage(path, "is not there")
    except OSError as error:
        return Damage(path, str(error.strerror))
    if found == record.bytes:
        return None
    return Damage(path, f"{found:,} bytes long, the manifest says {record.bytes:,}")


@contextmanager
def _opened(path: str) -> Iterator[int]:
    descriptor = open_plain(path, os.path.dirname(path))
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _digest(descriptor: int, start: int, length: int, done: Done) -> str:
    digest = hashlib.sha256()
    at, end = start, start + length
    while at < end and (piece := os.pread(descriptor, min(_PIECE_BYTES, end - at), at)):
        digest.update(piece)
        at += len(piece)
        done(len(piece))
    return digest.hexdigest()
