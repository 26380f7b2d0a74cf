# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Arrays on disk that grow row by row and that ``numpy.load`` opens all the same."""

from __future__ import annotations

import hashlib
import io
import math
import os
from collections.abc import Sequence
from contextlib import suppress
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from hypensearch.formats.door import open_plain_file, open_to_write

HEADER_BYTES = 192
_PIECE_BYTES = 2**20


def npy_header(dtype: np.dtype, shape: Sequence[int]) -> bytes:
    """Give the header of a ``.npy`` file (format 1.0), always :data:`HEADER_BYTES` long.

    The constant length lets a file's shape be written when its last row is known, whatever numpy's version.
    """
    facts = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": tuple(map(int, shape))}
    text = repr(facts).encode("latin1")
    magic = b"\x93NUMPY\x01\x00" + (HEADER_BYTES - 10).to_bytes(2, "little")
    return magic + text.ljust(HEADER_BYTES - len(magic) - 1) + b"\n"


class GrowingFile:
    """A file that is appended to, cut back to a known length, and brought to disk.

    :param path: The file; made when it is not there.
    :param size: Keep this many bytes of it, and append after them.
    :param digested: Whether to keep a digest of all that is appended. What is kept of the file is read for it.
    :raises ValueError: When the file is shorter than that.
    """

    header_bytes = 0

    def __init__(self, path: str, size: int = 0, *, digested: bool = False) -> None:
        self.path = path
        if not size:
            with suppress(FileNotFoundError):
                os.unlink(path)  # whatever it is: a link of a stranger's would lead the writing elsewhere
        self._file = io.FileIO(open_to_write(path, os.O_RDWR | os.O_CREAT), "r+")
        found = self._file.seek(0, os.SEEK_END)
        if found < size:
            self._file.close()
            raise ValueError(f"{path}: {found} bytes long, {size} were written")
        self._file.truncate(size)
        self._file.seek(size)
        self.size = size
        self._digest = self._digest_on_disk()[1] if digested else None

    @property
    def digest(self) -> str:
        """SHA-256 of what was appended so far, a header left out; "" where none is kept."""
        return "" if self._digest is None else self._digest.hexdigest()

    def append(self, data: bytes | memoryview) -> None:
        """Write at the end."""
        view = memoryview(data).cast("B")
        if self._digest is not None:
            self._digest.update(view)
        self._write(view)

    def whole_digest(self) -> str:
        """Read the file back, and give the SHA-256 of all of it.

        :raises ValueError: When what was appended is not what is there.
        """
        whole, data = self._digest_on_disk()
        if self._digest is not None and data.digest() != self._digest.digest():
            raise ValueError(f"{self.path}: its content has changed since it was written")
        return whole.hexdigest()

    def _digest_on_disk(self) -> tuple[hashlib._Hash, hashlib._Hash]:
        header = os.pread(self._file.fileno(), min(self.header_bytes, self.size), 0)
        whole, data, at = hashlib.sha256(header), hashlib.sha256(), len(header)
        while piece := os.pread(self._file.fileno(), _PIECE_BYTES, at):
            whole.update(piece)
            data.update(piece)
            at += len(piece)
        return whole, data

    def _write(self, view: memoryview) -> None:
        while view:
            written = self._file.write(view)
            self.size += written
            view = view[written:]

    def sync(self) -> None:
        """Bring what was appended to disk."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class GrowingArray(GrowingFile):
    """A ``.npy`` file whose first axis grows.

    :param path: The file.
    :param dtype: Type of an element; may be a structure.
    :param width: Length of the second axis, None for a 1-D array.
    :param num_rows: Keep this many rows of it.
    :param digested: Whether to keep a digest of all rows.
    """

    header_bytes = HEADER_BYTES

    def __init__(
        self,
        path: str,
        dtype: npt.DTypeLike,
        *,
        width: int | None = None,
        num_rows: int = 0,
        digested: bool = False,
    ) -> None:
        self.dtype = np.dtype(dtype)
        self.width = width
        self.row_bytes = self.dtype.itemsize * (1 if width is None else width)
        super().__init__(path, HEADER_BYTES + num_rows * self.row_bytes if num_rows else 0, digested=digested)
        if not num_rows:
            self._write(memoryview(npy_header(self.dtype, self._shape(0))))

    @property
    def num_rows(self) -> int:
        """Rows written so far."""
        return (self.size - HEADER_BYTES) // self.row_bytes

    def append_rows(self, rows: np.ndarray) -> None:
        """Write rows, shape ``(n,)`` or ``(n, width)``, after the last."""
        if len(rows):
            self.append(np.ascontiguousarray(rows, dtype=self.dtype).view(np.uint8).data)

    def read_rows(self, start: int, stop: int) -> bytes:
        """Read rows back as bytes."""
        return os.pread(self._file.fileno(), (stop - start) * self.row_bytes, HEADER_BYTES + start * self.row_bytes)

    def write_shape(self) -> None:
        """Write the header with the number of rows, and bring the file to disk."""
        os.pwrite(self._file.fileno(), npy_header(self.dtype, self._shape(self.num_rows)), 0)
        self.sync()

    def _shape(self, num_rows: int) -> tuple[int, ...]:
        return (num_rows,) if self.width is None else (num_rows, self.width)


def write_npy(path: str, array: np.ndarray) -> None:
    """Write an array whole, with the header of :func:`npy_header`, and bring it to disk."""
    file = GrowingArray(path, array.dtype, width=array.shape[1] if array.ndim == 2 else None)
    file.append_rows(array)
    file.write_shape()
    file.close()


def map_npy(path: str | os.PathLike[str], within: str | os.PathLike[str] | None = None) -> np.ndarray:
    """Map a ``.npy`` file of anybody: no pickle, no archive, no memory taken for what its header says.

    :param within: The folder that it must lie in, links followed.
    :raises OSError: When there is no such file, it is no plain file or cannot be read.
    :raises ValueError: When it is no ``.npy`` file, or shorter than its header says.
    """
    with open_plain_file(path, within) as file:
        try:
            shape, fortran_order, dtype = _read_header(file)
        except (OSError, ValueError):
            raise
        except Exception as error:  # numpy takes a damaged header apart as Python's source, which fails in many ways
            raise ValueError(f"a damaged header: {' '.join(str(error).split())[:100]}") from None
        if dtype.hasobject:
            raise ValueError("an array of Python objects")
        if fortran_order and len(shape) > 1:
            raise ValueError("an array in Fortran's order, which we never write")
        offset, found = file.tell(), os.fstat(file.fileno()).st_size
        if min(shape, default=0) < 0 or offset + math.prod(shape) * dtype.itemsize > found:
            raise ValueError(f"{found:,} bytes are less than its header says, {dtype} {shape}")
        if not math.prod(shape) * dtype.itemsize:
            return np.empty(shape, dtype)
        return np.memmap(file, dtype, "r", offset, shape)


def map_bytes(path: str | os.PathLike[str], within: str | os.PathLike[str] | None = None) -> np.ndarray:
    """Map a plain file's bytes, uint8, *Shape:* ``(num_bytes,)``; errors as :func:`map_npy`'s."""
    with open_plain_file(path, within) as file:
        if not os.fstat(file.fileno()).st_size:
            return np.zeros(0, np.uint8)
        return np.memmap(file, np.uint8, "r")


def _read_header(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"format version {version}")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran_order, dtype = read(file)
    return shape, fortran_order, dtype
