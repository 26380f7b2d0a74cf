# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Write a flat index block by block: a kill at any time loses the block in hand and nothing else."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from types import TracebackType
from typing import Any

import numpy as np

from hypensearch.errors import HypensearchError
from hypensearch.flat.docids import Docids, SeenDocids, rank_docids
from hypensearch.flat.faiss_copy import FAISS_FILES, write_faiss_copy
from hypensearch.flat.manifest import (
    DOCID,
    DOCID_OFFSETS,
    DOCID_RANK,
    DOCUMENT_POSITIONS,
    DOCUMENTS,
    DTYPES,
    MANIFEST,
    POSITION_DTYPE,
    PROGRESS,
    VECTORS,
    Manifest,
    ShardRecord,
    read_manifest,
    readable_manifest,
)
from hypensearch.flat.progress import Progress, first_difference, read_progress
from hypensearch.formats.door import make_folder
from hypensearch.formats.files import file_lock, fsync_folder, sha256_of
from hypensearch.formats.ids import MAX_ID_BYTES, flaw_of_id
from hypensearch.formats.npy import HEADER_BYTES, GrowingArray, GrowingFile, write_npy
from hypensearch.formats.sealed import BLOCK_ROWS, LOCK, FileRecord, ForeignManifest

_SHARD_NAME = re.compile(r"shard-\d{3,}-gen-(\d{4,})")
_OVERWRITE = "give --overwrite to replace it or name another folder"


class BadRow(HypensearchError):
    """A document that cannot go into the index.

    :param row: Its position in the block.
    """

    def __init__(self, row: int, message: str) -> None:
        super().__init__(message)
        self.row = row


class FlatIndexWriter:
    """Writes an index: :meth:`append` blocks of documents, then :meth:`finish`.

    As a context manager it lets go of the files. An index that was not finished is resumed by a writer with the same
    arguments: it then has :attr:`num_docs` documents, and :attr:`resume_at` says where the source continues.

    :param folder: The index folder; made when it is not there.
    :param dim: Size of a document vector.
    :param dtype: Stored type, "float32" or "float16".
    :param model: What makes the vectors, as JSON.
    :param documents: Where the text is (``files``, ``fields``), as JSON; None when it is unknown.
    :param store_documents: Keep the documents inside the index; blocks then come with them.
    :param settings: What else the vectors depend on, as JSON; a resumed run must have the same.
    :param overwrite: Replace the index in the folder, which stays readable until :meth:`finish`.
    :raises HypensearchError: When the folder holds a complete index, something else, or an unfinished index of another
        model or other settings, or another process writes there.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        dim: int,
        dtype: str = "float32",
        model: Mapping[str, Any] | None = None,
        documents: Mapping[str, Any] | None = None,
        store_documents: bool = False,
        settings: Mapping[str, Any] | None = None,
        overwrite: bool = False,
    ) -> None:
        if dtype not in DTYPES:
            raise ValueError(f"dtype {dtype!r}: wanted one of {', '.join(DTYPES)}")
        if store_documents:
            documents = {**(documents or {}), "files": [{"path": DOCUMENTS}]}
        self.folder = os.path.abspath(folder)
        self._seen = SeenDocids()
        unfinished(self.folder, settings, overwrite=overwrite)  # refused before anything is made
        self._held = ExitStack()
        with self._errors():
            os.makedirs(self.folder, exist_ok=True)
            self._held.callback(_remove_if_empty, self.folder)
            self._held.enter_context(file_lock(os.path.join(self.folder, LOCK)))
            begun = unfinished(self.folder, settings, overwrite=overwrite)
            generation = begun.generation if begun else next_generation(self.folder)
            facts = {"settings": settings or {}, "dim": dim, "dtype": dtype, "model": model, "documents": documents}
            new = Progress(f"shard-000-gen-{generation:04d}", generation, **json.loads(json.dumps(facts)))
            if begun is None:
                _remove_unnamed_shards(self.folder, readable_manifest(self.folder))
                new.write(self.folder)
            else:
                _check_same(self.folder, begun, new)
            self._progress = begun or new
            self._held.callback(self._forget_if_empty)
            self._open()

    @property
    def num_docs(self) -> int:
        """Documents that are on disk for good."""
        return self._progress.num_docs

    @property
    def resume_at(self) -> dict[str, Any] | None:
        """What was given with the last block, None at the beginning."""
        return self._progress.resume_at

    def first_repeated(self, docids: Sequence[str]) -> tuple[int, int] | None:
        """Find a docid that was given before.

        :param docids: The docids of a block that is not yet written.
        :return: Its position in the block and the row of the earlier document (of this block's, counted on), or None.
        """
        if (within := repeated_within(docids)) is not None:
            return within[0], self.num_docs + within[1]
        suspects = {docids[position]: position for position in self._seen.suspects(docids)}
        if suspects:
            for row, docid in enumerate(self._shard.docids()):
                if docid in suspects:
                    return suspects[docid], row
        return None

    def append(
        self,
        docids: Sequence[str],
        vectors: np.ndarray,
        *,
        positions: np.ndarray | None = None,
        raw: Sequence[bytes] | None = None,
        resume_at: Mapping[str, Any] | None = None,
    ) -> None:
        """Write a block of documents; when this returns it is on disk for good.

        :param docids: Docids, in the order of the corpus.
        :param vectors: Their vectors, shape ``(num_docs, dim)``.
        :param positions: Where their text is, shape ``(num_docs,)`` of :data:`POSITION_DTYPE`.
        :param raw: The documents themselves, one line of JSON each, when they are to be stored.
        :param resume_at: Where the source continues after this block, as JSON.
        :raises BadRow: For a docid that is repeated or cannot be in a run, and a vector with NaN or infinity or too
            large for float16.
        :raises HypensearchError: When the vectors have another size, or the disk is full.
        """
        stored = self._checked(docids, vectors)
        if not len(docids):
            return
        with self._errors():
            self._progress = self._shard.append(self._progress, docids, stored, positions, raw, resume_at)
            self._progress.write(self.folder)
        self._seen.add(docids)

    def finish(self, *, to_faiss: bool = False) -> Manifest:
        """Make the index out of what was written; readers see it from here on.

        :param to_faiss: Write Pyserini's ``index`` and ``docid`` beside it.
        :return: The manifest.
        :raises HypensearchError: When nothing was written or the disk is full.
        """
        progress = self._progress
        if not progress.num_docs:
            raise HypensearchError(f"{self.folder}: no documents were given, and an index wants at least one")
        with self._errors():
            old = readable_manifest(self.folder)
            files = self._shard.finish()
            if to_faiss:
                write_faiss_copy(self.folder, self._shard.folder, progress.num_docs, progress.dim)
            manifest = Manifest(
                dim=progress.dim,
                dtype=progress.dtype,
                num_docs=progress.num_docs,
                model=progress.model,
                shards=[ShardRecord(progress.shard, progress.num_docs, files, progress.documents)],
                generation=progress.generation,
                extra_files=list(FAISS_FILES) if to_faiss else [],
            )
            manifest.write(self.folder)
            clean_up(self.folder, manifest, old)
        self.close()
        return manifest

    def close(self) -> None:
        """Let go of the files. An index that holds no document yet is removed."""
        self._held.close()

    def __enter__(self) -> FlatIndexWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self) -> None:
        progress = self._progress
        folder = os.path.join(self.folder, progress.shard)
        make_folder(folder)
        fsync_folder(self.folder)
        self._shard = _ShardFiles(folder, progress, self._held)
        docids = self._shard.docids()
        for start in range(0, len(docids), BLOCK_ROWS):
            self._seen.add(docids[start : start + BLOCK_ROWS])

    def _forget_if_empty(self) -> None:
        if not self.num_docs:
            shutil.rmtree(os.path.join(self.folder, self._progress.shard), ignore_errors=True)
            with suppress(FileNotFoundError):
                os.unlink(os.path.join(self.folder, PROGRESS))

    def _checked(self, docids: Sequence[str], vectors: np.ndarray) -> np.ndarray:
        """Check a block before anything is written; give its vectors in the stored type."""
        dim, dtype = self._progress.dim, self._progress.dtype
        if vectors.ndim != 2 or len(vectors) != len(docids):
            raise ValueError(f"{len(docids)} docids, vectors of shape {vectors.shape}")
        if vectors.shape[1] != dim:
            raise HypensearchError(f"document vectors have {vectors.shape[1]} dimensions, the index {dim}")
        _check_docids(docids)
        if (repeated := self.first_repeated(docids)) is not None:
            raise BadRow(repeated[0], f"docid {docids[repeated[0]]!r} was already given (document {repeated[1] + 1})")
        if (row := _first_not_finite(vectors)) is not None:
            raise BadRow(row, f"the vector of document {docids[row]!r} holds NaN or infinity")
        with np.errstate(over="ignore"):
            stored = vectors.astype(dtype, order="C", copy=False)
        if (row := _first_not_finite(stored)) is not None:
            largest = float(np.abs(vectors[row]).max())
            raise BadRow(
                row,
                f"the vector of document {docids[row]!r} holds {largest:g}, too large for {dtype}; "
                "store float32 (--dtype float32)",
            )
        return stored

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Let go of the files when something fails, and say what is kept."""
        try:
            yield
        except OSError as error:
            done = self._progress.num_docs if hasattr(self, "_progress") else 0
            kept = f"; {done:,} documents are kept, run the same command again to resume" * bool(done)
            self.close()
            raise HypensearchError(
                f"{error.filename or self.folder}: cannot be written: {error.strerror or error}{kept}"
            ) from error
        except _ChangedFile as error:
            self.close()
            raise HypensearchError(f"{error}; delete {PROGRESS} in {self.folder} to start again") from None
        except BaseException:
            self.close()
            raise


def repeated_within(docids: Sequence[str]) -> tuple[int, int] | None:
    """Find a docid that comes twice: its second position and its first, or None."""
    positions: dict[str, int] = {}
    for position, docid in enumerate(docids):
        if positions.setdefault(docid, position) != position:
            return position, positions[docid]
    return None


def unfinished(folder: str, settings: Mapping[str, Any] | None = None, *, overwrite: bool = False) -> Progress | None:
    """Look what a writer with these settings would resume in a folder, None when it would start from nothing.

    :raises HypensearchError: When it would be refused.
    """
    check_may_write(folder, overwrite=overwrite)
    try:
        progress = read_progress(folder)
    except HypensearchError:
        if not overwrite:
            raise
        return None
    manifest = readable_manifest(folder)
    if progress is None or (manifest and progress.generation <= manifest.generation):
        return None
    difference = first_difference(progress.settings, json.loads(json.dumps(settings or {})))
    if difference is None:
        return progress
    if overwrite:
        return None
    raise _begun_otherwise(folder, progress, *difference)


def check_may_write(folder: str, *, overwrite: bool) -> None:
    """Refuse a folder that holds a complete index (unless it may be replaced) or something that is no index.

    :raises HypensearchError: Naming what is there.
    """
    if not os.path.exists(folder):
        _check_can_be_made(os.path.abspath(folder))
        return
    if not os.path.isdir(folder):
        raise HypensearchError(f"{folder}: is a file; an index wants a folder")
    _check_can_be_made(os.path.join(os.path.abspath(folder), MANIFEST))
    try:
        manifest = read_manifest(folder)
    except FileNotFoundError:
        _refuse_foreign(folder)
        return
    except HypensearchError as error:
        if not overwrite or isinstance(error, ForeignManifest):
            raise
        return
    if not overwrite:
        raise HypensearchError(f"{folder}: holds a complete index of {manifest.num_docs:,} documents; {_OVERWRITE}")


def clean_up(folder: str, manifest: Manifest, old: Manifest | None) -> None:
    """Remove what a new manifest no longer names: older generations, progress, leftovers of killed writers.

    Only what lies in the folder itself is removed: shards of other folders that were joined belong to those.
    """
    _remove_unnamed_shards(folder, manifest)
    leftovers = [os.path.join(folder, PROGRESS)]
    leftovers += glob.glob(os.path.join(glob.escape(folder), ".*.partial"))
    leftovers += [os.path.join(folder, name) for name in FAISS_FILES if old and name in old.extra_files]
    for path in leftovers:
        if os.path.basename(path) not in manifest.extra_files:
            with suppress(FileNotFoundError):
                os.unlink(path)


def next_generation(folder: str) -> int:
    """Give the number of the generation that would replace what is in a folder."""
    manifest = readable_manifest(folder)
    if manifest is not None:
        return manifest.generation + 1
    if not os.path.exists(os.path.join(folder, MANIFEST)):
        return 1
    # The manifest is damaged: keep clear of whatever it named.
    numbers = [int(match[1]) for name in os.listdir(folder) if (match := _SHARD_NAME.fullmatch(name))]
    return max(numbers, default=0) + 1


def _check_can_be_made(path: str) -> None:
    """Find out early, before hours of encoding, what the system would refuse."""
    parent = os.path.dirname(path)
    while not os.path.lexists(parent):
        parent = os.path.dirname(parent)
    if not os.path.isdir(parent):
        raise HypensearchError(f"{parent}: is a file, so no folder can be made in it")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise HypensearchError(f"{parent}: may not be written to; name another folder")


def _refuse_foreign(folder: str) -> None:
    ours = (PROGRESS, *FAISS_FILES) if os.path.exists(os.path.join(folder, PROGRESS)) else ()
    for name in sorted(os.listdir(folder)):
        if not name.startswith(".") and name not in ours and not _SHARD_NAME.fullmatch(name):
            raise HypensearchError(f"{folder}: holds {name!r}, which is no part of an index; name a new folder")


def _check_same(folder: str, begun: Progress, new: Progress) -> None:
    facts, now = ({"dim": of.dim, "dtype": of.dtype, "documents": of.documents} for of in (begun, new))
    difference = first_difference(begun.model or {}, new.model or {}, "model ") or first_difference(facts, now)
    if difference:
        raise _begun_otherwise(folder, begun, *difference)


def _begun_otherwise(folder: str, progress: Progress, name: str, old: object, new: object) -> HypensearchError:
    return HypensearchError(
        f"{folder}: unfinished index ({progress.num_docs:,} documents) begun with {name} {_short(old)}, now it is "
        f"{_short(new)}; run it as before to resume, or delete {PROGRESS} there to start again"
    )


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:77] + "..."


def _remove_unnamed_shards(folder: str, manifest: Manifest | None) -> None:
    named = {shard.folder for shard in manifest.shards} if manifest else set()
    for name in os.listdir(folder):
        if _SHARD_NAME.fullmatch(name) and name not in named:
            shutil.rmtree(os.path.join(folder, name), ignore_errors=True)


def _remove_if_empty(folder: str) -> None:
    with suppress(OSError):
        os.rmdir(folder)


def _check_docids(docids: Sequence[str]) -> None:
    longest = max(map(len, docids), default=0)
    if all(docids) and longest <= MAX_ID_BYTES // 4 and flaw_of_id("".join(docids) or "-") is None:
        return  # all of them at once, for speed
    for row, docid in enumerate(docids):
        if len(docid.encode("utf-8", "surrogatepass")) > MAX_ID_BYTES:
            raise BadRow(row, f"the docid {docid[:40]!r}... is longer than {MAX_ID_BYTES:,} bytes")
        if (flaw := flaw_of_id(docid)) is not None:
            raise BadRow(row, f"the docid {flaw}")


def _first_not_finite(vectors: np.ndarray) -> int | None:
    if np.isfinite(vectors).all():
        return None
    return int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])


class _ChangedFile(ValueError):
    """A file of an unfinished index is not what was written."""


class _ShardFiles:
    """The files of a shard while they grow, cut back to what the progress says is there.

    :param held: Closes the files.
    """

    def __init__(self, folder: str, progress: Progress, held: ExitStack) -> None:
        self.folder = folder
        self._all: list[GrowingFile] = []
        held.callback(self._close)
        rows, documents = progress.num_docs, progress.documents
        with _changes_reported():
            self._vectors = self._array(VECTORS, progress.dtype, rows, width=progress.dim, digested=False)
            self._docid = self._file(DOCID, progress.docid_bytes)
            self._offsets = self._array(DOCID_OFFSETS, np.uint64, rows + 1 if rows else 0)
            self._positions = self._array(DOCUMENT_POSITIONS, POSITION_DTYPE, rows) if documents is not None else None
            stored = documents is not None and documents["files"] == [{"path": DOCUMENTS}]
            self._documents = self._file(DOCUMENTS, progress.documents_bytes) if stored else None
        if not rows:
            self._offsets.append_rows(np.zeros(1, np.uint64))
        self._blocks = list(progress.blocks)
        self._open_block = hashlib.sha256(self._vectors.read_rows(len(self._blocks) * BLOCK_ROWS, rows))
        found = self._digests()
        for name, digest in progress.digests.items():
            if found.get(name) != digest:
                raise _ChangedFile(f"{self._path(name)}: its content has changed since it was written")

    def docids(self) -> Docids:
        """Give the docids written so far."""
        num_docs = self._offsets.num_rows - 1
        if not num_docs:
            return Docids(np.zeros(0, np.uint8), np.zeros(1, np.uint64))
        offsets = np.memmap(self._path(DOCID_OFFSETS), np.uint64, "r", HEADER_BYTES, (num_docs + 1,))
        return Docids(np.memmap(self._path(DOCID), np.uint8, "r"), offsets)

    def append(
        self,
        progress: Progress,
        docids: Sequence[str],
        vectors: np.ndarray,
        positions: np.ndarray | None,
        raw: Sequence[bytes] | None,
        resume_at: Mapping[str, Any] | None,
    ) -> Progress:
        """Write a block and bring it to disk; give the progress that says so."""
        self._digest(vectors)
        self._vectors.append_rows(vectors)
        lines = [docid.encode("utf-8") + b"\n" for docid in docids]
        ends = self._docid.size + np.cumsum([len(line) for line in lines], dtype=np.uint64)
        self._docid.append(b"".join(lines))
        self._offsets.append_rows(ends)
        if self._documents is not None:
            if raw is None:
                raise ValueError("documents are to be stored, so raw is wanted")
            positions = _store(self._documents, raw)
        if self._positions is not None:
            if positions is None:
                raise ValueError("the index knows its corpus, so positions are wanted")
            self._positions.append_rows(positions)
        for file in self._all:
            file.sync()
        return replace(
            progress,
            num_docs=progress.num_docs + len(docids),
            docid_bytes=self._docid.size,
            documents_bytes=self._documents.size if self._documents else 0,
            blocks=list(self._blocks),
            digests=self._digests(),
            resume_at=None if resume_at is None else dict(resume_at),
        )

    def finish(self) -> dict[str, FileRecord]:
        """Write headers and ranks; give the record of every file."""
        for array in (self._vectors, self._offsets, self._positions):
            if array is not None:
                array.write_shape()
        offsets = np.load(self._path(DOCID_OFFSETS), mmap_mode="r")
        rank = self._path(DOCID_RANK)
        write_npy(rank, rank_docids(np.memmap(self._path(DOCID), np.uint8, "r"), offsets))
        blocks = list(self._blocks)
        if self._vectors.num_rows % BLOCK_ROWS:
            blocks.append(self._open_block.hexdigest())
        records = {VECTORS: FileRecord(self._vectors.size, blocks)}
        with _changes_reported():
            for file in self._all:
                if file is not self._vectors:
                    records[os.path.basename(file.path)] = FileRecord(file.size, file.whole_digest())
        records[DOCID_RANK] = FileRecord(os.path.getsize(rank), sha256_of(rank))
        fsync_folder(self.folder)
        return records

    def _digests(self) -> dict[str, str]:
        """Give digests of all that is written, complete blocks of vectors left out."""
        digests = {os.path.basename(file.path): file.digest for file in self._all if file.digest}
        return {**digests, VECTORS: self._open_block.hexdigest()}

    def _digest(self, vectors: np.ndarray) -> None:
        """Digest vectors by blocks of BLOCK_ROWS rows, however they come in."""
        start = 0
        filled = self._vectors.num_rows % BLOCK_ROWS
        while start < len(vectors):
            rows = vectors[start : start + BLOCK_ROWS - filled]
            self._open_block.update(np.ascontiguousarray(rows).view(np.uint8).data)
            start += len(rows)
            filled += len(rows)
            if filled == BLOCK_ROWS:
                self._blocks.append(self._open_block.hexdigest())
                self._open_block, filled = hashlib.sha256(), 0

    def _file(self, name: str, size: int) -> GrowingFile:
        self._all.append(file := GrowingFile(self._path(name), size, digested=True))
        return file

    def _array(self, name: str, dtype: Any, num_rows: int, *, digested: bool = True, **shape: int) -> GrowingArray:
        self._all.append(array := GrowingArray(self._path(name), dtype, num_rows=num_rows, digested=digested, **shape))
        return array

    def _close(self) -> None:
        for file in self._all:
            file.close()

    def _path(self, name: str) -> str:
        return os.path.join(self.folder, name)


def _store(documents: GrowingFile, raw: Sequence[bytes]) -> np.ndarray:
    """Append documents; give their positions."""
    lengths = np.array([len(line) + 1 for line in raw], dtype=np.uint64)
    positions = np.zeros(len(raw), dtype=POSITION_DTYPE)
    positions["offset"] = documents.size + np.cumsum(lengths) - lengths
    positions["length"] = lengths
    documents.append(b"".join(line + b"\n" for line in raw))
    return positions


@contextmanager
def _changes_reported() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise _ChangedFile(str(error)) from None
