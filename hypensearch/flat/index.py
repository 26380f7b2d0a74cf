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
from functools import cached_property
from itertools import pairwise
from types import TracebackType
from typing import Any

import numpy as np

from hypensearch.errors import HypensearchError, as_typed
from hypensearch.flat.docids import Docids, flaw_of_docids, is_permutation
from hypensearch.flat.document import DocumentFiles, IndexedDocument
from hypensearch.flat.integrity import Damage, shard_damages
from hypensearch.flat.manifest import (
    DOCID,
    DOCID_OFFSETS,
    DOCID_RANK,
    DOCUMENT_POSITIONS,
    POSITION_DTYPE,
    VECTORS,
    FileRecord,
    Manifest,
    ShardRecord,
    read_manifest,
)
from hypensearch.flat.progress import read_progress
from hypensearch.formats.checked import check_once
from hypensearch.formats.door import NotPlain
from hypensearch.formats.files import size_of
from hypensearch.formats.npy import map_bytes, map_npy

VERIFY = "python -m hypensearch.verify"
_COPY = "copy the index anew"
_DOCIDS_AT_ONCE = 1024  # looked up together: bounds memory where docids are long


class FlatShard:
    """One folder of an index.

    :param folder: Where it is.
    :param record: What the manifest says of it.
    :param dim: Size of a document vector.
    :param dtype: Type of the stored vectors.
    :param start: The index-wide row of its first document.
    :raises FileNotFoundError: When a file is missing.
    :raises HypensearchError: When a file is not what the manifest says.
    """

    def __init__(self, folder: str, record: ShardRecord, dim: int, dtype: str, start: int) -> None:
        self.folder = folder
        self.record = record
        self.start = start
        self.num_docs = record.num_docs
        for name, file in record.files.items():
            _check_size(os.path.join(folder, name), file)
        #: Document vectors, shape ``(num_docs, dim)``, mapped.
        self.vectors = self._map(VECTORS, np.dtype(dtype), (self.num_docs, dim))
        #: Place of each docid of the shard in code-point order, shape ``(num_docs,)``, uint32, mapped.
        self.docid_rank = self._map(DOCID_RANK, np.dtype(np.uint32), (self.num_docs,))
        offsets = self._map(DOCID_OFFSETS, np.dtype(np.uint64), (self.num_docs + 1,))
        #: Docids by row, read when asked for.
        self.docids = Docids(map_bytes(os.path.join(folder, DOCID), folder), offsets, folder)
        self._documents = DocumentFiles(folder, record.documents, self._positions())

    def row_of(self, docid: str) -> int | None:
        """Find a docid's row within the shard, None when it is not here."""
        wanted = docid.encode("utf-8", "surrogatepass")
        low, high = 0, self.num_docs
        while low < high:
            middle = (low + high) // 2
            if self.docids.utf8(int(self.rows_by_rank[middle])) < wanted:
                low = middle + 1
            else:
                high = middle
        if low == self.num_docs:
            return None
        row = int(self.rows_by_rank[low])
        return row if self.docids.utf8(row) == wanted else None

    def rows_of(self, docids: Sequence[str]) -> np.ndarray:
        """Find many docids' rows within the shard by one binary search for all, -1 for those that are not here.

        :return: int64, shape ``(len(docids),)``.
        """
        rows = np.empty(len(docids), dtype=np.int64)
        for start in range(0, len(docids), _DOCIDS_AT_ONCE):
            part = slice(start, start + _DOCIDS_AT_ONCE)
            rows[part] = self._rows_of([docid.encode("utf-8", "surrogatepass") for docid in docids[part]])
        return rows

    def _rows_of(self, utf8: list[bytes]) -> np.ndarray:
        wanted, lengths = np.array(utf8, dtype=np.bytes_), np.array([len(docid) for docid in utf8])
        low, high = np.zeros(len(utf8), dtype=np.int64), np.full(len(utf8), self.num_docs, dtype=np.int64)
        while (looking := low < high).any():
            middle = (low + high) // 2
            found, _ = self.docids.utf8_of(self.rows_by_rank[np.minimum(middle, self.num_docs - 1)].astype(np.int64))
            before = found < wanted
            low = np.where(looking & before, middle + 1, low)
            high = np.where(looking & ~before, middle, high)
        rows = self.rows_by_rank[np.minimum(low, self.num_docs - 1)].astype(np.int64)
        found, found_lengths = self.docids.utf8_of(rows)
        return np.where((found == wanted) & (found_lengths == lengths), rows, -1)

    def document(self, row: int) -> IndexedDocument:
        """Read the document of a row of the shard."""
        return self._documents.read(row, self.docids[row])

    def documents(self, rows: np.ndarray) -> list[IndexedDocument]:
        """Read the documents of some rows of the shard, gzipped or not."""
        return self._documents.read_many(rows, [self.docids[int(row)] for row in rows])

    def damages(self) -> Iterator[Damage]:
        """Read every file, compare it with its digest, and look whether it makes sense; takes as long as the disk does.

        Digests are those of whoever wrote the index, so what fits them may still be made up.
        """
        found = False
        for damage in shard_damages(self.folder, self.record, self.dim, str(self.vectors.dtype)):
            found = True
            yield damage
        if not found:
            yield from self.nonsense()

    def nonsense(self) -> Iterator[Damage]:
        """Look whether docids, their ranks and the places of documents are what they can be."""
        if (flaw := flaw_of_docids(self.docids)) is not None:
            yield Damage(os.path.join(self.folder, DOCID), flaw)
        if not is_permutation(self.docid_rank):
            yield Damage(os.path.join(self.folder, DOCID_RANK), "its ranks are not those of its docids")
        if (flaw := self._documents.flaw()) is not None:
            yield Damage(os.path.join(self.folder, DOCUMENT_POSITIONS), flaw)

    @property
    def dim(self) -> int:
        """Size of a document vector."""
        return int(self.vectors.shape[1])

    @cached_property
    def rows_by_rank(self) -> np.ndarray:
        """Rows in the code-point order of their docids, shape ``(num_docs,)``, uint32."""
        if not is_permutation(self.docid_rank):
            raise HypensearchError(f"{self.folder}/{DOCID_RANK}: its ranks are not those of its docids; {_COPY}")
        rows = np.empty(self.num_docs, dtype=np.uint32)
        rows[self.docid_rank] = np.arange(self.num_docs, dtype=np.uint32)
        return rows

    def _positions(self) -> np.ndarray | None:
        if DOCUMENT_POSITIONS not in self.record.files:
            return None
        return self._map(DOCUMENT_POSITIONS, POSITION_DTYPE, (self.num_docs,))

    def _map(self, name: str, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
        path = os.path.join(self.folder, name)
        try:
            array = map_npy(path, self.folder)
        except FileNotFoundError:
            raise
        except (ValueError, EOFError, OSError) as error:
            raise HypensearchError(f"{path}: not a .npy file ({error}); copy the index anew") from None
        if array.dtype != dtype or array.shape != shape:
            raise HypensearchError(
                f"{path}: holds {array.dtype} {array.shape}, the manifest wants {dtype} {shape}; copy the index anew"
            )
        return array


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
        manifest = _read(folder)
        try:
            return cls(folder, manifest, _open_shards(folder, manifest))
        except FileNotFoundError as error:
            missing = error.filename
        newer = _read(folder)  # another process may have replaced the index meanwhile
        try:
            return cls(folder, newer, _open_shards(folder, newer))
        except FileNotFoundError as error:
            missing = error.filename or missing
        raise HypensearchError(
            f"{missing}: named by {folder}/manifest.json, but not there; copy or join the index anew"
        )

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
        shard = self._shard_of(row)
        return shard.docids[row - shard.start]

    def docids(self) -> Iterator[str]:
        """Go through all docids in the order of rows."""
        for shard in self.shards:
            yield from shard.docids

    def row_of(self, docid: str) -> int | None:
        """Find a docid's row, None when it is not in the index."""
        for shard in self.shards:
            if (row := shard.row_of(docid)) is not None:
                return shard.start + row
        return None

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
        shard = self._shard_of(row)
        return shard.document(row - shard.start)

    def documents(self, rows: Sequence[int] | np.ndarray) -> list[IndexedDocument]:
        """Read the documents of some rows, in one pass over each corpus file: gzipped ones can be read too.

        :raises HypensearchError: When their text cannot be had: no corpus named, or a changed one.
        """
        wanted = np.asarray(rows, dtype=np.int64)
        found: dict[int, IndexedDocument] = {}
        for shard in self.shards:
            here = wanted[(wanted >= shard.start) & (wanted < shard.start + shard.num_docs)]
            if len(here):
                found.update(zip(here.tolist(), shard.documents(here - shard.start), strict=True))
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

        :param stop: The row behind the last one; there are fewer where the index ends before.
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
                raise HypensearchError(f"{damage}; copy it anew, or mend it: {VERIFY} {self.folder} --repair")

    def check_once(self) -> None:
        """Do what :meth:`verify` does, unless it was done since the files were last touched.

        So the first search behind a copy reads the index once, about half a second a gigabyte, and no later one.

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

    def _shard_of(self, row: int) -> FlatShard:
        if not 0 <= row < self.num_docs:
            raise IndexError(f"row {row} of {self.num_docs}")
        return self.shards[bisect_right(self._starts, row) - 1]


def _read(folder: str) -> Manifest:
    try:
        return read_manifest(folder)
    except (FileNotFoundError, NotADirectoryError):
        raise HypensearchError(_why_no_index(folder)) from None


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


def _open_shards(folder: str, manifest: Manifest) -> list[FlatShard]:
    shards: list[FlatShard] = []
    start = 0
    for record in manifest.shards:
        check_folder(folder, record.folder)
        shards.append(FlatShard(os.path.join(folder, record.folder), record, manifest.dim, manifest.dtype, start))
        start += record.num_docs
    return shards


def check_folder(folder: str, shard: str) -> None:
    """Refuse a shard that a link inside the index leads out of it; one that was joined lies elsewhere by its name.

    :raises HypensearchError: Names the shard.
    """
    if os.pardir in shard.split(os.sep):
        return
    root, place = os.path.realpath(folder), os.path.realpath(os.path.join(folder, shard))
    if os.path.commonpath([root, place]) != root:
        raise HypensearchError(f"{folder}/{shard}: leads out of the index by a link; {_COPY}")


def _check_size(path: str, file: FileRecord) -> None:
    try:
        found = size_of(path, os.path.dirname(path))
    except NotPlain as error:
        raise HypensearchError(f"{path}: {error.strerror}; {_COPY}") from None
    if found != file.bytes:
        raise HypensearchError(f"{path}: {found:,} bytes long, the manifest says {file.bytes:,}; copy the index anew")
