# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Sealed folders: how all that hypensearch keeps on disk is written, opened and verified.

A sealed folder is some files, mostly arrays, and a JSON manifest that names them with their sizes and digests, carries
a digest of itself, and gets its name last, by one rename: until then readers see what was there before. A format states
only what is its own, in a :class:`SealedFormat`; what can be wrong with a folder, and how that is reported, is here.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from hypensearch.errors import HypensearchError
from hypensearch.formats.door import MAX_BYTES, PathLike, open_plain, read_plain, stat_plain
from hypensearch.formats.files import cache_folder, file_lock, replace_when_whole
from hypensearch.formats.json_files import (
    check_compact_signed,
    check_signed,
    compact_signed_json,
    parse_json,
    read_json,
    signed_json,
)
from hypensearch.formats.npy import HEADER_BYTES, map_npy, npy_header
from hypensearch.formats.schema import Count, Digest, checked

LOCK = ".lock"
#: Rows of an array that have a digest of their own, where the whole of it is too long to be encoded again.
BLOCK_ROWS = 8192
_PIECE_BYTES = 2**20
_MOST_THREADS = 8
# Times of files are no finer than a tick of the system's clock: what was written just now may be written again unseen.
_SETTLED_NS = 2 * 10**9

Done = Callable[[int], object]
Facts = TypeVar("Facts")
Opened = TypeVar("Opened")


class ForeignManifest(HypensearchError):
    """A manifest of something else, which nothing of ours may replace."""


@dataclass(frozen=True)
class FileRecord:
    """A file as a manifest has it.

    :param bytes: Its size.
    :param sha256: Digest of the whole file, or of each :data:`BLOCK_ROWS` rows of an array (without its header).
    """

    bytes: Count
    sha256: Digest | list[Digest]


@dataclass(frozen=True)
class Array:
    """What the array in a file must be.

    :param dtype: Its type.
    :param shape: Its shape; None for a length that only the file knows.
    """

    dtype: np.dtype | str
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        return f"{np.dtype(self.dtype)} ({', '.join('any' if size is None else str(size) for size in self.shape)})"


@dataclass(frozen=True)
class Damage:
    """Something that is not as it was written.

    :param path: The file.
    :param what: What was found.
    :param rows: The rows that are concerned; None where the file has no blocks.
    """

    path: str
    what: str
    rows: range | None = None

    def __str__(self) -> str:
        return f"{self.path}: {self.what}"


@dataclass(frozen=True)
class SealedFormat(Generic[Facts]):
    """What a kind of sealed folder has for its own.

    :param name: Its name, the manifest's ``format``.
    :param manifest: The manifest's file name.
    :param facts: Schema of the manifest: a dataclass or a ``TypedDict``.
    :param again: Says how a folder that is damaged or too old is made again.
    :param newest: The newest version that can be read.
    :param oldest: The oldest one.
    :param check: Raises ValueError for facts that fit the schema and make no sense.
    :param compact: Whether the manifest is one line of ASCII, as the first formats have it.
    """

    name: str
    manifest: str
    facts: type[Facts]
    again: Callable[[str], str]
    newest: int = 1
    oldest: int = 1
    check: Callable[[Facts], object] = lambda facts: None
    compact: bool = False

    def read(self, folder: PathLike, within: PathLike | None = None) -> Facts:
        """Read a folder's manifest.

        :param within: The folder that it must lie in, links followed; None for the folder itself.
        :raises FileNotFoundError: When there is none.
        :raises ForeignManifest: When it is one of something else.
        :raises HypensearchError: When it is damaged, or of a version that is not read.
        """
        path = os.path.join(folder, self.manifest)
        try:
            content = read_plain(path, MAX_BYTES, within or folder)
            raw = parse_json(content)
        except FileNotFoundError:
            raise
        except (OSError, ValueError) as error:
            raise self.damaged(folder, error, path) from None
        if not isinstance(raw, dict) or raw.get("format") != self.name:
            raise ForeignManifest(f"{path}: not a manifest of the format {self.name!r}")
        self._check_version(folder, path, raw)
        try:
            (check_compact_signed if self.compact else check_signed)(content, raw)
            facts = checked(raw, self.facts)
            self.check(facts)
        except ValueError as error:
            raise self.damaged(folder, error, path) from None
        return facts

    def open(self, folder: PathLike, make: Callable[[Facts], Opened], within: PathLike | None = None) -> Opened:
        """Read a folder's manifest and make something of it and its files.

        :param make: Opens the files; called again where another process has replaced them meanwhile.
        :param within: As for :meth:`read`.
        :raises FileNotFoundError: When there is no manifest.
        :raises HypensearchError: When manifest or files are not what they should be.
        """
        facts = self.read(folder, within)
        try:
            return self._make(folder, make, facts)
        except FileNotFoundError:
            facts = self.read(folder, within)
        try:
            return self._make(folder, make, facts)
        except FileNotFoundError as error:
            path = os.path.join(folder, self.manifest)
            raise HypensearchError(
                f"{error.filename}: named by {path}, but not there; {self.again(os.fspath(folder))}"
            ) from None

    def write(self, folder: PathLike, facts: Mapping[str, Any], *, version: int | None = None) -> None:
        """Put a manifest into a folder, at once and whole: from then on readers see what it names."""
        signed = compact_signed_json if self.compact else signed_json
        content = signed({"format": self.name, "version": version or self.newest, **facts})
        with replace_when_whole(os.path.join(folder, self.manifest), follow_link=False) as file:
            file.write(content)

    @contextmanager
    def replacing(self, folder: PathLike, ours: str) -> Iterator[None]:
        """Lock a folder while its files are replaced, and remove those of ours that no manifest names in the end.

        :param ours: A regular expression for the names of files that may be removed.
        :raises HypensearchError: When another process is writing there.
        """
        with file_lock(os.path.join(folder, LOCK)):
            try:
                yield
            finally:
                self._remove_unnamed(folder, re.compile(ours))

    def damaged(self, where: PathLike, error: Exception | str, path: PathLike | None = None) -> HypensearchError:
        """Give the error for a folder of which something is not what it should be.

        :param where: The folder.
        :param path: The file, where it is not the folder as a whole.
        """
        return HypensearchError(f"{path or where}: damaged ({reason_of(error)}); {self.again(os.fspath(where))}")

    def of_other_vectors(self, folder: PathLike, index: str) -> HypensearchError:
        """Give the error for what was made of other vectors than an index holds."""
        again = self.again(os.fspath(folder))
        return HypensearchError(f"{folder}: was made of other vectors than {index} holds; {again}")

    def verify(self, folder: PathLike, files: Mapping[str, FileRecord], done: Done = lambda count: None) -> None:
        """Compare every byte of some files with their records; takes as long as the disk does.

        :param done: Called with the number of bytes read, again and again.
        :raises HypensearchError: When a file has changed.
        """
        for name, record in files.items():
            for damage in damages_of(os.path.join(folder, name), record, done=done):
                raise HypensearchError(f"{damage}; {self.again(os.fspath(folder))}")

    def _check_version(self, folder: PathLike, path: str, raw: Mapping[str, Any]) -> None:
        version = raw.get("version")
        if type(version) is not int or version < 1:
            raise self.damaged(folder, "no version", path)
        if version > self.newest:
            maker = f" ({str(raw['created_by'])[:60]})" if "created_by" in raw else ""
            raise HypensearchError(
                f"{path}: format version {version}, made by a newer hypensearch{maker}; this one reads up to version "
                f"{self.newest}: pip install --upgrade hypensearch"
            )
        if version < self.oldest:
            again = self.again(os.fspath(folder))
            raise HypensearchError(f"{path}: format version {version}, wanted {self.oldest} or later; {again}")

    def _make(self, folder: PathLike, make: Callable[[Facts], Opened], facts: Facts) -> Opened:
        try:
            return make(facts)
        except FileNotFoundError:
            raise
        except (OSError, ValueError) as error:
            raise self.damaged(folder, error) from None

    def _remove_unnamed(self, folder: PathLike, ours: re.Pattern[str]) -> None:
        try:
            named = set(_strings(read_json(os.path.join(folder, self.manifest), within=folder)))
        except FileNotFoundError:
            named = set()
        except (OSError, ValueError):
            return
        for name in os.listdir(folder):
            if ours.fullmatch(name) and name not in named:
                with suppress(OSError):  # a folder that somebody has put there
                    os.unlink(os.path.join(folder, name))  # a reader that has it mapped keeps it


def reason_of(error: Exception | str) -> str:
    """Say in few words what was wrong with a file; system errors name theirs."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def map_array(folder: PathLike, name: str, record: FileRecord, wanted: Array) -> np.ndarray:
    """Map an array of a folder, without reading it.

    :raises OSError: When it is no plain file of the folder; FileNotFoundError when it is not there.
    :raises ValueError: When size, type or shape are others than they should be.
    """
    path = os.path.join(folder, name)
    found = stat_plain(path, folder).st_size
    if found != record.bytes:
        raise ValueError(f"{path}: {found:,} bytes long, the manifest says {record.bytes:,}")
    try:
        array = map_npy(path, folder)
    except ValueError as error:
        raise ValueError(f"{path}: not a .npy file: {error}") from None
    fits = len(array.shape) == len(wanted.shape) and all(
        size in (None, length) for size, length in zip(wanted.shape, array.shape, strict=True)
    )
    if array.dtype != wanted.dtype or not fits:
        raise ValueError(f"{path}: holds {array.dtype} {array.shape}, wanted {wanted}")
    return array


def damages_of(
    path: str,
    record: FileRecord,
    array: Array | None = None,
    *,
    full: bool = True,
    done: Done = lambda count: None,
) -> Iterator[Damage]:
    """Compare a file with its record, in memory that does not grow; it must lie in the folder that its path names.

    :param array: What it holds, where its record has a digest for each block of rows.
    :param full: Whether to read every byte, or to look at its size alone.
    :param done: Called with the number of bytes read, again and again, from several threads.
    """
    try:
        found = stat_plain(path, os.path.dirname(path)).st_size
        if found != record.bytes:
            yield Damage(path, f"{found:,} bytes long, the manifest says {record.bytes:,}")
        if not full or (found != record.bytes and array is None):
            return
        descriptor = open_plain(path, os.path.dirname(path))
    except FileNotFoundError:
        yield Damage(path, "is not there")
        return
    except OSError as error:
        yield Damage(path, str(error.strerror))
        return
    try:
        if array is not None:
            yield from _damaged_blocks(path, descriptor, record, array, done)
        elif _digest(descriptor, 0, record.bytes, done) != record.sha256:
            yield Damage(path, "its content has changed since it was written")
    except OSError as error:
        yield Damage(path, f"cannot be read: {error.strerror}")
    finally:
        os.close(descriptor)


def _damaged_blocks(path: str, descriptor: int, record: FileRecord, array: Array, done: Done) -> Iterator[Damage]:
    num_rows, width = (size or 0 for size in array.shape)
    row_bytes = width * np.dtype(array.dtype).itemsize
    if os.pread(descriptor, HEADER_BYTES, 0) != npy_header(np.dtype(array.dtype), (num_rows, width)):
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

    with ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1)) as threads:
        yield from filter(None, threads.map(damage, range(len(record.sha256))))


def _digest(descriptor: int, start: int, length: int, done: Done) -> str:
    digest = hashlib.sha256()
    at, end = start, start + length
    while at < end and (piece := os.pread(descriptor, min(_PIECE_BYTES, end - at), at)):
        digest.update(piece)
        at += len(piece)
        done(len(piece))
    return digest.hexdigest()


def _strings(value: object) -> Iterator[str]:
    """Go through all strings in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _strings(part)


# Verifying once.


def check_once(folder: PathLike, digests: Mapping[str, object], check: Callable[[], object]) -> bool:
    """Run a check unless it has passed before and no file was touched since.

    Reading takes half a second a gigabyte, too long for each search and nothing for the first one after a copy. So what
    was found sound leaves a mark in the user's cache, named by size, times and inode of each file: whatever changes a
    file through the file system changes these, and it is read again. What a disk does to it by itself does not, and is
    found by ``python -m hypensearch.verify --full`` alone.

    :param folder: What the files belong to; a mark is kept for each folder and set of files.
    :param digests: The files by path, each with what it is compared with, as JSON.
    :param check: Compares the files; raises when one is not what it should be.
    :return: Whether the check was run.
    """
    mark = _mark(folder, digests)
    if mark is not None and mark.exists():
        return False
    latest = time.time_ns() - _SETTLED_NS
    check()
    if mark is not None and mark == _mark(folder, digests, latest):
        with suppress(OSError):  # the mark only saves time
            mark.parent.mkdir(parents=True, exist_ok=True)
            for older in mark.parent.glob(f"{mark.stem}.*"):
                older.unlink()
            mark.touch()
    return True


def _mark(folder: PathLike, digests: Mapping[str, object], latest: int | None = None) -> Path | None:
    """Give the file that says that a state of files was found sound.

    :param latest: None is given for files that changed after this time.
    :return: None too where a file is missing, or no cache can be trusted.
    """
    try:
        found = {path: os.stat(path) for path in digests}
        cache = cache_folder() / "checked"
    except (OSError, HypensearchError):
        return None
    if latest is not None and any(max(of.st_mtime_ns, of.st_ctime_ns) >= latest for of in found.values()):
        return None
    where = [os.path.realpath(folder), sorted(os.path.relpath(path, folder) for path in digests)]
    stamps = {path: [of.st_size, of.st_mtime_ns, of.st_ctime_ns, of.st_ino, of.st_dev] for path, of in found.items()}
    state = [[os.path.realpath(path), digests[path], stamps[path]] for path in digests]
    return cache / f"{_name_of(where)}.{_name_of(state)}"


def _name_of(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode("utf-8", "surrogateescape")).hexdigest()[:32]
