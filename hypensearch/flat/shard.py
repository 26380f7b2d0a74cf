# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""One folder of a flat index, opened for reading."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np

from hypensearch.errors import HypensearchError
from hypensearch.flat.docids import Docids, flaw_of_docids, is_permutation
from hypensearch.flat.document import DocumentFiles
from hypensearch.flat.manifest import (
    DOCID,
    DOCID_OFFSETS,
    DOCID_RANK,
    DOCUMENT_POSITIONS,
    VECTORS,
    ShardRecord,
    arrays_of,
)
from hypensearch.formats.door import stat_plain
from hypensearch.formats.npy import map_bytes
from hypensearch.formats.sealed import Damage, Done, damages_of, map_array

_DOCIDS_AT_ONCE = 1024  # looked up together: bounds memory where docids are long


class FlatShard:
    """One folder of an index.

    :param folder: Where it is.
    :param record: What the manifest says of it.
    :param dim: Size of a document vector.
    :param dtype: Type of the stored vectors.
    :param start: The index-wide row of its first document.
    :raises FileNotFoundError: When a file is missing.
    :raises ValueError: As OSError, when a file is not what the manifest says.
    """

    def __init__(self, folder: str, record: ShardRecord, dim: int, dtype: str, start: int) -> None:
        self.folder = folder
        self.record = record
        self.start = start
        self.num_docs = record.num_docs
        self.dim = dim
        arrays = arrays_of(dim, dtype, record.num_docs)
        mapped = {
            name: map_array(folder, name, record.files[name], array)
            for name, array in arrays.items()
            if name in record.files
        }
        for name in record.files.keys() - arrays.keys():
            found = stat_plain(path := os.path.join(folder, name), folder).st_size
            if found != record.files[name].bytes:
                raise ValueError(f"{path}: {found:,} bytes long, the manifest says {record.files[name].bytes:,}")
        #: Document vectors, shape ``(num_docs, dim)``, mapped.
        self.vectors = mapped[VECTORS]
        #: Place of each docid of the shard in code-point order, shape ``(num_docs,)``, uint32, mapped.
        self.docid_rank = mapped[DOCID_RANK]
        #: Docids by row, read when asked for.
        self.docids = Docids(map_bytes(os.path.join(folder, DOCID), folder), mapped[DOCID_OFFSETS], folder)
        #: Where the documents are.
        self.documents = DocumentFiles(folder, record.documents, mapped.get(DOCUMENT_POSITIONS))

    @cached_property
    def rows_by_rank(self) -> np.ndarray:
        """Rows in the code-point order of their docids, shape ``(num_docs,)``, uint32."""
        if not is_permutation(self.docid_rank):
            raise HypensearchError(f"{self.folder}/{DOCID_RANK}: damaged (not the ranks of docids); copy it again")
        rows = np.empty(self.num_docs, dtype=np.uint32)
        rows[self.docid_rank] = np.arange(self.num_docs, dtype=np.uint32)
        return rows

    def rows_of(self, docids: Sequence[str]) -> np.ndarray:
        """Find docids' rows within the shard by one binary search for all, -1 for those that are not here.

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

    def damages(self) -> Iterator[Damage]:
        """Read every file and compare it with its digest; takes as long as the disk does.

        Digests may be made up with the files; so where they fit, it is checked that the content makes sense.
        """
        damages = list(shard_damages(self.folder, self.record, self.dim, str(self.vectors.dtype)))
        yield from damages or self.nonsense()

    def nonsense(self) -> Iterator[Damage]:
        """Check that docids, their ranks and the places of documents can be right."""
        flaws = {
            DOCID: flaw_of_docids(self.docids),
            DOCID_RANK: None if is_permutation(self.docid_rank) else "its ranks are not those of its docids",
            DOCUMENT_POSITIONS: self.documents.flaw(),
        }
        yield from (Damage(os.path.join(self.folder, name), flaw) for name, flaw in flaws.items() if flaw is not None)


def shard_damages(
    folder: str, record: ShardRecord, dim: int, dtype: str, *, full: bool = True, done: Done = lambda count: None
) -> Iterator[Damage]:
    """Compare the files of a shard with what the manifest says of it, whether it can be opened or not.

    :param folder: Where it lies.
    :param record: What the manifest says of it.
    :param dim: Size of a document vector.
    :param dtype: Type of the stored vectors.
    :param full: Whether to read every byte, or to look at sizes alone.
    :param done: Called with the number of bytes read, again and again, from several threads.
    """
    vectors = arrays_of(dim, dtype, record.num_docs)[VECTORS]
    for name, file in record.files.items():
        array = vectors if name == VECTORS else None
        yield from damages_of(os.path.join(folder, name), file, array, full=full, done=done)


def check_folder(folder: str, shard: str) -> None:
    """Refuse a shard that a link inside the index leads out of it; one that was joined lies elsewhere by its name.

    :raises HypensearchError: Names the shard.
    """
    if os.pardir in shard.split(os.sep):
        return
    root, place = os.path.realpath(folder), os.path.realpath(os.path.join(folder, shard))
    if os.path.commonpath([root, place]) != root:
        raise HypensearchError(f"{folder}/{shard}: leads out of the index by a link; copy the index again")
