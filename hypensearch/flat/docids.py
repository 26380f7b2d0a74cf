# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Docids by the million: read lazily from their file, ranked, found, checked for repetition."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import overload

import numpy as np

from hypensearch.errors import HypensearchError
from hypensearch.formats.ids import MAX_ID_BYTES, flaw_of_id

_CHUNK_ROWS = 2**16
_LONG = 512


class Docids(Sequence[str]):
    """The docids of a shard by row, read from the mapped file when asked for.

    :param data: The bytes of the ``docid`` file, one docid a line, shape ``(num_bytes,)``.
    :param offsets: Where each line starts, and the end of the last, shape ``(num_docs + 1,)``.
    :param where: What they belong to, for messages.
    """

    def __init__(self, data: np.ndarray, offsets: np.ndarray, where: str = "the index") -> None:
        self._data = np.asarray(data)  # views of a memory map are slow to make
        self._offsets = np.asarray(offsets)
        self._where = where

    def __len__(self) -> int:
        return len(self._offsets) - 1

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> list[str]: ...
    def __getitem__(self, row: int | slice) -> str | list[str]:
        if isinstance(row, slice):
            return self._slice(*row.indices(len(self)))
        if row < 0:
            row += len(self)
        if not 0 <= row < len(self):
            raise IndexError(f"row {row} of {len(self)}")
        return self._decoded(self.utf8(row))

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), _CHUNK_ROWS):
            yield from self[start : start + _CHUNK_ROWS]

    def utf8(self, row: int) -> bytes:
        """Give a docid as UTF-8; its bytes order as its code points do."""
        return self._data[int(self._offsets[row]) : int(self._offsets[row + 1]) - 1].tobytes()

    def utf8_of(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Give docids as UTF-8, all at once.

        :param rows: Shape ``(n,)``.
        :return: The docids as byte strings, and their lengths, shape ``(n,)`` each.
        """
        starts = self._offsets[rows].astype(np.int64)
        lengths = self._offsets[rows + 1].astype(np.int64) - starts - 1
        if len(rows) and (min(starts.min(), lengths.min()) < 0 or int((starts + lengths).max()) > len(self._data)):
            raise self._damaged("their places lie outside of the file")
        if int(lengths.max(initial=0)) > MAX_ID_BYTES:
            raise self._damaged(f"one is longer than {MAX_ID_BYTES:,} bytes")
        longest = max(int(lengths.max(initial=1)), 1)
        if longest > _LONG:
            return np.array([self.utf8(row) for row in rows.tolist()], dtype=f"S{longest}"), lengths
        places = np.arange(longest)
        inside = places < lengths[:, None]
        letters = np.where(inside, self._data[np.where(inside, starts[:, None] + places, 0)], np.uint8(0))
        return np.ascontiguousarray(letters).view(f"S{len(places)}")[:, 0], lengths

    def _slice(self, start: int, stop: int, step: int) -> list[str]:
        if step != 1 or start >= stop:
            return [self[row] for row in range(start, stop, step)]
        lines = self._data[int(self._offsets[start]) : int(self._offsets[stop]) - 1].tobytes()
        docids = self._decoded(lines).split("\n")
        if len(docids) != stop - start:
            raise self._damaged("their places lie outside of the file")
        return docids

    def _decoded(self, utf8: bytes) -> str:
        try:
            return utf8.decode("utf-8")
        except UnicodeDecodeError:
            raise self._damaged("they are not UTF-8") from None

    def _damaged(self, what: str) -> HypensearchError:
        return HypensearchError(f"{self._where}: its docids are damaged ({what}); copy the index again")


def flaw_of_docids(docids: Docids) -> str | None:
    """Say what is wrong with docids that somebody may have made up; None where they are lines of UTF-8."""
    data, offsets = docids._data, docids._offsets
    if int(offsets[0]) or int(offsets[-1]) != len(data):
        return "places of its docids do not fit its size"
    for start in range(0, len(docids), _CHUNK_ROWS):
        ends = offsets[start : start + _CHUNK_ROWS + 1]
        lengths = np.diff(ends.astype(np.int64))
        if int(lengths.min(initial=2)) < 2 or int(ends[-1]) > len(data):
            return "places of its docids do not fit its size"
        if (data[(ends[1:] - np.uint64(1)).astype(np.int64)] != ord("\n")).any():
            return "a docid does not end with its line"
        try:
            found = docids[start : start + _CHUNK_ROWS]
        except HypensearchError:
            return "a docid is not UTF-8, or holds a line end"
        if flaw_of_id("".join(found)) is not None or int(lengths.max()) > MAX_ID_BYTES + 1:
            return "a docid holds white space, or is too long"
    return None


def is_permutation(ranks: np.ndarray) -> bool:
    """Whether every number from 0 comes once, *Shape:* ``(n,)``."""
    seen = np.zeros(len(ranks), dtype=bool)
    for start in range(0, len(ranks), _CHUNK_ROWS):
        part = np.asarray(ranks[start : start + _CHUNK_ROWS])
        if len(part) and int(part.max()) >= len(ranks):
            return False
        seen[part] = True
    return bool(seen.all())


def rank_docids(data: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Give every docid its place in code-point order.

    A radix sort over 8 bytes at a time, last ones first, so that memory does not depend on the docids' length.

    :param data: The bytes of the ``docid`` file, shape ``(num_bytes,)``.
    :param offsets: Line starts, shape ``(num_docs + 1,)``.
    :return: Ranks from 0, shape ``(num_docs,)``, uint32.
    """
    starts = np.asarray(offsets[:-1], dtype=np.int64)
    lengths = np.asarray(offsets[1:], dtype=np.int64) - starts - 1
    order = np.arange(len(starts), dtype=np.uint32)
    for depth in reversed(range(0, int(lengths.max(initial=0)), 8)):
        # Shorter docids have nothing at this depth: they come first and keep their order.
        longer = lengths[order] > depth
        rows = order[longer]
        keys = _eight_bytes(data, starts[rows] + depth, lengths[rows] - depth)
        order = np.concatenate([order[~longer], rows[np.argsort(keys, kind="stable")]])
    rank = np.empty(len(order), dtype=np.uint32)
    rank[order] = np.arange(len(order), dtype=np.uint32)
    return rank


def _eight_bytes(data: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Read up to eight bytes from each start as one big-endian number, missing ones as 0."""
    keys = np.zeros(len(starts), dtype=np.uint64)
    for place in range(8):
        there = np.flatnonzero(lengths > place)
        keys[there] |= data[starts[there] + place].astype(np.uint64) << np.uint64(56 - 8 * place)
    return keys


class SeenDocids:
    """The docids met so far, eight bytes for each: sorted runs of hashes, merged as they grow.

    Two docids may share a hash, so a hit says "look", not "repeated".
    """

    def __init__(self) -> None:
        self._runs: list[np.ndarray] = []

    def add(self, docids: Iterable[str]) -> None:
        """Remember docids."""
        self._runs.append(np.sort(_hashes(docids)))
        while len(self._runs) > 1 and len(self._runs[-2]) <= 2 * len(self._runs[-1]):
            merged = np.concatenate([self._runs.pop(), self._runs.pop()])
            merged.sort(kind="stable")
            self._runs.append(merged)

    def suspects(self, docids: Sequence[str]) -> list[int]:
        """Give the positions of docids that may have been met before."""
        hashes = _hashes(docids)
        met = np.zeros(len(hashes), dtype=bool)
        for run in self._runs:
            places = np.minimum(np.searchsorted(run, hashes), max(len(run) - 1, 0))
            met |= run[places] == hashes if len(run) else False
        return np.flatnonzero(met).tolist()


def _hashes(docids: Iterable[str]) -> np.ndarray:
    digests = b"".join(hashlib.blake2b(docid.encode("utf-8"), digest_size=8).digest() for docid in docids)
    return np.frombuffer(digests, dtype=np.uint64)
