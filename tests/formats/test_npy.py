# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypensearch.flat.manifest import POSITION_DTYPE
from hypensearch.formats.npy import HEADER_BYTES, GrowingArray, GrowingFile, map_npy, npy_header, write_npy


@given(st.sampled_from(["<f4", "<f2", "<u8", POSITION_DTYPE]), st.lists(st.integers(0, 2**40), min_size=1, max_size=2))
def test_header_has_one_length(dtype, shape):
    assert len(npy_header(np.dtype(dtype), shape)) == HEADER_BYTES


def test_a_header_is_what_numpy_writes_but_longer() -> None:
    facts = b"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)}"
    assert npy_header(np.dtype(np.float32), (2, 3)) == b"\x93NUMPY\x01\x00\xb6\x00" + facts.ljust(181) + b"\n"


def test_an_array_is_empty_until_its_shape_is_written(tmp_path: Path) -> None:
    file = GrowingArray(str(tmp_path / "a.npy"), "<f4", width=3)
    file.append_rows(np.ones((2, 3), np.float64))  # becomes the file's type
    assert np.load(tmp_path / "a.npy").shape == (0, 3)
    file.write_shape()
    assert (file.digest, np.load(tmp_path / "a.npy").tolist()) == ("", [[1, 1, 1], [1, 1, 1]])
    file.close()


class HalfWriter(io.FileIO):
    """Takes two bytes at a time, as a file may that a signal comes between."""

    def write(self, data: Any) -> int:
        return super().write(bytes(data)[:2])


def test_what_the_system_takes_in_parts_is_written_whole(tmp_path: Path) -> None:
    file = GrowingFile(str(tmp_path / "a"))
    file._file.close()
    file._file = HalfWriter(tmp_path / "a", "r+")
    file.append(b"five!")
    file.close()
    assert ((tmp_path / "a").read_bytes(), file.size) == (b"five!", 5)


@pytest.mark.parametrize("width", [None, 4])
def test_numpy_opens_what_was_appended(tmp_path, width):
    path = str(tmp_path / "a.npy")
    rows = np.arange(24, dtype=np.float32).reshape((6, 4) if width else 24)
    file = GrowingArray(path, "<f4", width=width)
    file.append_rows(rows[:1])
    file.append_rows(rows[1:1])
    file.append_rows(rows[1:])
    file.write_shape()
    file.close()
    np.testing.assert_array_equal(np.load(path, mmap_mode="r"), rows)


def test_goes_on_behind_the_rows_that_count(tmp_path):
    path = str(tmp_path / "a.npy")
    file = GrowingArray(path, "<u8")
    file.append_rows(np.array([1, 2, 3]))
    file.append(b"half a row")
    file.close()
    file = GrowingArray(path, "<u8", num_rows=2)
    file.append_rows(np.array([9]))
    file.write_shape()
    file.close()
    assert np.load(path).tolist() == [1, 2, 9]


def test_refuses_a_file_that_lost_rows(tmp_path):
    path = str(tmp_path / "a.npy")
    GrowingArray(path, "<u8").close()
    with pytest.raises(ValueError, match="bytes long"):
        GrowingArray(path, "<u8", num_rows=5)


@pytest.mark.parametrize(
    "content",
    [
        npy_header(np.dtype(np.float32), (2, 3)).replace(b"(2, 3)", b"((2, 3") + bytes(24),
        npy_header(np.dtype(np.float32), (2, 3)).replace(b"(2, 3)", b"(2**60") + bytes(24),
        npy_header(np.dtype(np.float32), (2**60, 3)) + bytes(24),
        npy_header(np.dtype(np.float32), (2, 3)).replace(b"False", b"True ") + bytes(24),
        b"PK\x03\x04" + bytes(200),
        b"\x80\x04\x95" + bytes(200),
        b"",
    ],
)
def test_what_is_no_array_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"."):
        map_npy(path)


def test_a_header_that_is_not_python_is_reported(tmp_path: Path) -> None:
    header = npy_header(np.dtype(np.float32), (2, 3))
    (tmp_path / "a.npy").write_bytes(header.replace(b"(2, 3)", b"((2, 3"))
    with pytest.raises(ValueError, match=r"^a damaged header: \('.*EOF in multi-line statement', \(\d+, \d+\)\)$"):
        map_npy(tmp_path / "a.npy")


@pytest.mark.parametrize("array", [np.arange(6, dtype=np.int64), np.arange(6, dtype=np.float16).reshape(2, 3)])
def test_an_array_written_whole_is_mapped_as_it_was(array: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    write_npy(str(path), array)
    found = map_npy(path)
    assert (found.dtype, found.shape, found.flags.writeable) == (array.dtype, array.shape, False)
    np.testing.assert_array_equal(found, array)
    assert path.stat().st_size == HEADER_BYTES + array.nbytes
    with pytest.raises(FileNotFoundError):
        map_npy(tmp_path / "none.npy")


def test_a_file_is_cut_to_what_counts_and_digests_what_is_kept(tmp_path: Path) -> None:
    path = str(tmp_path / "a")
    file = GrowingFile(path)
    assert (file.size, file.digest) == (0, "")
    file.append(b"kept, and more")
    assert file.size == 14
    file.close()
    file = GrowingFile(path, 4, digested=True)
    assert file.digest == hashlib.sha256(b"kept").hexdigest()
    file.append(memoryview(b" on"))
    assert (file.size, file.digest) == (7, hashlib.sha256(b"kept on").hexdigest())
    assert file.whole_digest() == file.digest
    assert Path(path).read_bytes() == b"kept on"
    Path(path).write_bytes(b"kept OF")
    with pytest.raises(ValueError, match="a: its content has changed since it was written$"):
        file.whole_digest()
    file.close()
    with pytest.raises(ValueError, match="a: 7 bytes long, 8 were written$"):
        GrowingFile(path, 8)


def test_a_header_is_no_part_of_the_digest_of_rows(tmp_path: Path) -> None:
    file = GrowingArray(str(tmp_path / "a.npy"), "<u2", width=2, digested=True)
    rows = np.array([[1, 2], [3, 4], [5, 6]], np.uint16)
    file.append_rows(rows)
    assert (file.num_rows, file.row_bytes) == (3, 4)
    assert file.digest == hashlib.sha256(rows.tobytes()).hexdigest()
    assert file.read_rows(1, 3) == rows[1:].tobytes()
    assert file.read_rows(1, 2) == rows[1:2].tobytes()
    file.write_shape()
    assert file.whole_digest() == hashlib.sha256((tmp_path / "a.npy").read_bytes()).hexdigest()
    file.close()
