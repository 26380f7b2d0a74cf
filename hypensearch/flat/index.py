# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""A flat index opened for reading: document vectors and docids, mapped and never copied."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import pairwise
from types import TracebackType
from typing import Any

import numpy as np

from hypensearch.errors import HypensearchError, as_typed
from hypensearch.flat.document import IndexedDocument
from hypensearch.flat.manifest import INDEX, VECTORS, Manifest
from hypensearch.flat.progress import read_progress
from hypensearch.flat.shard import FlatShard, check_folder
from hypensearch.formats.sealed import check_once


class FlatIndex:
    """Document vectors on disk, block by block on whatever device wants them; nothing to build.

    Open one with :meth:`open`. Rows count through all shards. An index that is replaced while it is open stays
    readable.

    :param folder: The index folder.
    :param manifest: Its manifest.
    :param shards: Its shards.
    """

    def __init__(self, folder: str, manifest: Manifest, shards: list[FlatShard]) -> None:
        self.folder = folder
        self.manifest = manifest
        self.shards = shards
        self._starts = [shard.start for shard in shards]

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> FlatIndex:
        """Open an index folder.

        Maps files and checks their sizes, so that it takes no time and no memory whatever the size.

        :raises HypensearchError: When there is no complete index that this version can read; says what to do.
        """
        folder = os.fspath(folder)
        try:
            return INDEX.open(folder, lambda manifest: cls(folder, manifest, _open_shards(folder, manifest)))
        except FileNotFoundError:
            raise HypensearchError(_why_no_index(folder)) from None

    @property
    def num_docs(self) -> int:
        """Number of documents."""
        return self.manifest.num_docs

    @property
    def dim(self) -> int:
        """Size of a document vector."""
        return self.manifest.dim

    @property
    def dtype(self) -> str:
        """Type of the stored vectors, "float32" or "float16"."""
        return self.manifest.dtype

    @property
    def model(self) -> dict[str, Any] | None:
        """What made the vectors: name, revision, fingerprint, kind, dim, max_length and more; None if unknown."""
        return self.manifest.model

    def __len__(self) -> int:
        return self.num_docs

    def __repr__(self) -> str:
        made_by = (self.model or {}).get("name") or "an unknown model"
        return f"<FlatIndex {self.folder}: {self.num_docs:,} documents of {self.dim} {self.dtype} by {made_by}>"

    def docid(self, row: int) -> str:
        """Give the docid of a row.

        :raises IndexError: When there is no such row.
        """
        if not 0 <= row < self.num_docs:
            raise IndexError(f"row {row} of {self.num_docs}")
        shard = self.shards[bisect_right(self._starts, row) - 1]
        return shard.docids[row - shard.start]

    def docid_order(self, rows: np.ndarray) -> np.ndarray:
        """Return numbers that are ordered as the docids of some rows are, by code point.

        :return: Integers, shape ``(len(rows),)``.
        """
        if len(self.shards) == 1:
            return np.asarray(self.shards[0].docid_rank[rows])
        docids = [self.docid(row) for row in rows.tolist()]
        order = np.empty(len(rows), dtype=np.int64)
        order[sorted(range(len(docids)), key=docids.__getitem__)] = np.arange(len(docids))
        return order

    def docids(self) -> Iterator[str]:
        """Go through all docids in the order of rows."""
        for shard in self.shards:
            yield from shard.docids

    def row_of(self, docid: str) -> int | None:
        """Find a docid's row, None when it is not in the index."""
        row = int(self.rows_of([docid])[0])
        return None if row < 0 else row

    def rows_of(self, docids: Sequence[str]) -> np.ndarray:
        """Find many docids' rows, -1 for those that the index does not hold; faster than one by one.

        :return: int64, shape ``(len(docids),)``.
        """
        rows = np.full(len(docids), -1, dtype=np.int64)
        for shard in self.shards:
            left = np.flatnonzero(rows < 0)
            found = shard.rows_of([docids[place] for place in left.tolist()])
            rows[left] = np.where(found < 0, -1, found + shard.start)
        return rows

    def document(self, docid: str) -> IndexedDocument | None:
        """Read a document, None when the index does not hold it.

        :raises HypensearchError: When its text cannot be had: no corpus named, a gzipped or a changed one.
        """
        row = self.row_of(docid)
        if row is None:
            return None
        shard = self.shards[bisect_right(self._starts, row) - 1]
        return shard.documents.read(row - shard.start, docid)

    def documents(self, rows: Sequence[int] | np.ndarray) -> list[IndexedDocument]:
        """Read the documents of some rows, in one pass over each corpus file: gzipped ones can be read too.

        :raises HypensearchError: When their text cannot be had: no corpus named, or a changed one.
        """
        wanted = np.asarray(rows, dtype=np.int64)
        found: dict[int, IndexedDocument] = {}
        for shard in self.shards:
            here = wanted[(wanted >= shard.start) & (wanted < shard.start + shard.num_docs)]
            if len(here):
                docids = [shard.docids[row] for row in (here - shard.start).tolist()]
                documents = shard.documents.read_many(here - shard.start, docids)
                found.update(zip(here.tolist(), documents, strict=True))
        return [found[row] for row in wanted.tolist()]

    def vectors(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """Read the vectors of some rows.

        :return: float32, *Shape:* ``(len(rows), dim)``.
        :raises IndexError: When there is no such row.
        """
        rows = np.asarray(rows, dtype=np.int64)
        if len(rows) and not 0 <= rows.min() <= rows.max() < self.num_docs:
            raise IndexError(f"rows {rows.min()} to {rows.max()} of {self.num_docs}")
        if len(self.shards) == 1:
            return np.asarray(self.shards[0].vectors).take(rows, axis=0).astype(np.float32, copy=False)
        vectors = np.empty((len(rows), self.dim), dtype=np.float32)
        order = np.argsort(rows)
        bounds = np.searchsorted(rows[order], [*self._starts, self.num_docs]).tolist()
        for shard, (first, last) in zip(self.shards, pairwise(bounds), strict=True):
            if first < last:
                places = order[first:last]
                vectors[places] = np.asarray(shard.vectors)[rows[places] - shard.start]  # a memmap would make a memmap
        return vectors

    def vector_block(self, start: int, stop: int) -> np.ndarray:
        """Give the vectors of consecutive rows as they are stored; a view where one shard holds them.

        :param stop: The row after the last one; there are fewer where the index ends before.
        :return: float32 or float16, *Shape:* ``(stop - start, dim)``.
        """
        parts = [
            shard.vectors[max(start - shard.start, 0) : stop - shard.start]
            for shard in self.shards
            if shard.start < stop and shard.start + shard.num_docs > start
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    @property
    def vectors_digest(self) -> str:
        """What identifies the vectors, for what is made of them: a SHA-256 of the digests in the manifest."""
        digests = [shard.files[VECTORS].sha256 for shard in self.manifest.shards]
        return hashlib.sha256(json.dumps(digests).encode()).hexdigest()

    def verify(self) -> None:
        """Compare every byte with the manifest's digests; takes as long as the disk does.

        :raises HypensearchError: When one differs, naming the file and, for vectors, the rows.
        """
        for shard in self.shards:
            for damage in shard.damages():
                repair = as_typed("hypensearch.verify", self.folder, "--repair")
                raise HypensearchError(f"{damage}; copy it again, or repair it: {repair}")

    def check_once(self) -> None:
        """Do what :meth:`verify` does, unless it was done since the files were last touched.

        So the first search after a copy reads the index once, about half a second a gigabyte, and no later one.

        :raises HypensearchError: As :meth:`verify`.
        """
        digests = {
            os.path.join(shard.folder, name): file.sha256
            for shard in self.shards
            for name, file in shard.record.files.items()
        }
        check_once(self.folder, digests, self.verify)

    def close(self) -> None:
        """Let go of the files."""
        self.shards = []
        self._starts = []

    def __enter__(self) -> FlatIndex:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _open_shards(folder: str, manifest: Manifest) -> list[FlatShard]:
    shards: list[FlatShard] = []
    start = 0
    for record in manifest.shards:
        check_folder(folder, record.folder)
        shards.append(FlatShard(os.path.join(folder, record.folder), record, manifest.dim, manifest.dtype, start))
        start += record.num_docs
    return shards


def _why_no_index(folder: str) -> str:
    encode = "python -m hypensearch.encode"
    if not os.path.exists(folder):
        return f"{folder}: no such index folder; {encode} makes one (output --embeddings {shlex.quote(folder)})"
    if not os.path.isdir(folder):
        return f"{folder}: is a file, an index is a folder that {encode} makes"
    if (progress := read_progress(folder)) is not None:
        return (
            f"{folder}: unfinished index, {progress.num_docs:,} documents are done; "
            f"run the same {encode} command again to finish it"
        )
    names = os.listdir(folder)
    for wanted, kind in ((["index", "docid"], "Faiss index"), (["embeddings.jsonl"], "folder of vectors")):
        if set(wanted) <= set(names):
            load = as_typed("hypensearch.encode", "input", "--vectors", folder, "output", "--embeddings", "NEW_FOLDER")
            return f"{folder}: is Pyserini's {kind}, not an index of hypensearch; import it with: {load}"
    return f"{folder}: not an index (no manifest.json in it); {encode} makes one"
