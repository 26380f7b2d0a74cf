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
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any

import numpy as np

from hypensearch.errors import HypensearchError
from hypensearch.flat.docids import Docids, SeenDocids, rank_docids
from hypensearch.flat.faiss_copy import FAISS_FILES, write_faiss_copy
from hypensearch.flat.manifest import (
    BLOCK_ROWS,
    DOCID,
    DOCID_OFFSETS,
    DOCID_RANK,
    DOCUMENT_POSITIONS,
    DOCUMENTS,
    DTYPES,
    LOCK,
    MANIFEST,
    POSITION_DTYPE,
    PROGRESS,
    VECTORS,
    FileRecord,
    Manifest,
    ShardRecord,
    read_manifest,
)
from hypensearch.flat.progress import Progress, first_difference, read_progress
from hypensearch.formats.door import make_folder
from hypensearch.formats.files import FileLock, fsync_folder, sha256_of
from hypensearch.formats.ids import MAX_ID_BYTES, flaw_of_id
from hypensearch.formats.npy import HEADER_BYTES, GrowingArray, GrowingFile, write_npy

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
    """Writes one shard of vectors and the manifest that makes it an index.

    Construct it (nothing is touched, an index that may not be replaced is refused), read :attr:`resume_at`, then
    :meth:`begin`, :meth:`append` as often as needed, and :meth:`finish`. As a context manager it lets go of the files;
    an index that was not finished can be gone on with by the same settings.

    :param folder: The index folder; made when it is not there.
    :param settings: What the vectors depend on besides the model, as JSON; a resumed run must have the same.
    :param overwrite: Replace the index in the folder, which stays readable until :meth:`finish`.
    :raises HypensearchError: When the folder holds a complete index, something else, or an unfinished index that was
        begun with other settings.
    """

    def __init__(
        self, folder: str | os.PathLike[str], *, settings: Mapping[str, Any] | None = None, overwrite: bool = False
    ) -> None:
        self.folder = os.path.abspath(folder)
        self._settings: dict[str, Any] = json.loads(json.dumps(settings or {}))
        self._overwrite = overwrite
        self._progress = self._look()
        self._files: _ShardFiles | None = None
        self._lock: FileLock | None = None
        self._seen = SeenDocids()
        self._may_forget = False

    @property
    def num_docs(self) -> int:
        """Documents that are on disk for good."""
        return self._progress.num_docs if self._progress else 0

    @property
    def resume_at(self) -> dict[str, Any] | None:
        """What was given with the last block, None at the beginning."""
        return self._progress.resume_at if self._progress else None

    @property
    def dim(self) -> int | None:
        """Size of the vectors that were begun with, None at the beginning."""
        return self._progress.dim if self._progress else None

    def begin(
        self,
        *,
        dim: int,
        dtype: str = "float32",
        model: Mapping[str, Any] | None = None,
        documents: Mapping[str, Any] | None = None,
        store_documents: bool = False,
    ) -> None:
        """Lock the folder and start a shard, or go on with the one that was begun.

        :param dim: Size of a document vector.
        :param dtype: Stored type, "float32" or "float16".
        :param model: What makes the vectors, as JSON.
        :param documents: Where the text is (``files``, ``fields``), as JSON; None when it is unknown.
        :param store_documents: Keep the documents inside the shard; blocks then come with them.
        :raises HypensearchError: When another process writes there, or the model is not the one it was begun with.
        """
        if dtype not in DTYPES:
            raise ValueError(f"dtype {dtype!r}: wanted one of {', '.join(DTYPES)}")
        if store_documents:
            documents = {**(documents or {}), "files": [{"path": DOCUMENTS}]}
        with self._io():
            self._take_lock()
            known = self._progress
            generation = known.generation if known else next_generation(self.folder)
            new = Progress(
                shard=f"shard-000-gen-{generation:04d}",
                generation=generation,
                settings=self._settings,
                dim=dim,
                dtype=dtype,
                model=None if model is None else json.loads(json.dumps(model)),
                documents=None if documents is None else json.loads(json.dumps(documents)),
            )
            if known is None:
                self._start(new)
            else:
                self._check_same(known, new)
            self._open()

    def first_repeated(self, docids: Sequence[str]) -> tuple[int, int] | None:
        """Find a docid that was given before.

        :param docids: The docids of a block that is not yet written.
        :return: Its position in the block and the row of the earlier document (of this block's, counted on), or None.
        """
        positions: dict[str, int] = {}
        for position, docid in enumerate(docids):
            if docid in positions:
                return position, self.num_docs + positions[docid]
            positions[docid] = position
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
        :param resume_at: Where the source goes on behind this block, as JSON.
        :raises BadRow: For a repeated or unfit docid, a vector with NaN or infinity, or one too large for float16.
        :raises HypensearchError: When the vectors have another size, or the disk is full.
        """
        progress = self._begun
        stored = self._checked(docids, vectors)
        if not len(docids):
            return
        with self._io():
            self._shard.append(docids, stored, positions, raw)
            self._progress = progress.after(
                num_docs=progress.num_docs + len(docids),
                docid_bytes=self._shard.docid.size,
                documents_bytes=self._shard.documents.size if self._shard.documents else 0,
                blocks=list(self._shard.blocks),
                digests=self._shard.digests(),
                resume_at=None if resume_at is None else dict(resume_at),
            )
            self._progress.write(self.folder)
        self._seen.add(docids)

    def finish(self, *, to_faiss: bool = False) -> Manifest:
        """Make the index out of what was written; readers see it from here on.

        :param to_faiss: Write Pyserini's ``index`` and ``docid`` beside it.
        :return: The manifest.
        :raises HypensearchError: When nothing was written or the disk is full.
        """
        progress = self._begun
        if not progress.num_docs:
            raise HypensearchError(f"{self.folder}: no documents were given, and an index wants at least one")
        with self._io():
            old = readable_manifest(self.folder)
            with self._told_of_damage():
                files = self._shard.finish()
            if to_faiss:
                write_faiss_copy(self.folder, self._shard.folder, progress.num_docs, progress.dim)
            shard = ShardRecord(progress.shard, progress.num_docs, files, progress.documents)
            manifest = Manifest(
                dim=progress.dim,
                dtype=progress.dtype,
                num_docs=progress.num_docs,
                model=progress.model,
                shards=[shard],
                generation=progress.generation,
                extra_files=list(FAISS_FILES) if to_faiss else [],
            )
            manifest.write(self.folder)
            clean_up(self.folder, manifest, old)
        self._progress = None
        self.close()
        return manifest

    def close(self) -> None:
        """Let go of the files. What was begun but holds no document yet is removed."""
        if self._files is not None:
            self._files.close()
            self._files = None
        if self._lock is not None:
            if self._may_forget and self._progress is not None and not self._progress.num_docs:
                self._forget(self._progress)
            self._lock.release()
            self._lock = None
            with suppress(OSError):
                os.rmdir(self.folder)  # only when there is nothing in it

    def __enter__(self) -> FlatIndexWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _shard(self) -> _ShardFiles:
        if self._files is None:
            raise ValueError("begin() comes first")
        return self._files

    @property
    def _begun(self) -> Progress:
        if self._files is None or self._progress is None:
            raise ValueError("begin() comes first")
        return self._progress

    def _look(self) -> Progress | None:
        """Read what is in the folder; refuse what may not be replaced."""
        check_may_write(self.folder, overwrite=self._overwrite)
        try:
            progress = read_progress(self.folder)
        except HypensearchError:
            if not self._overwrite:
                raise
            return None
        manifest = readable_manifest(self.folder)
        if progress is None or (manifest and progress.generation <= manifest.generation):
            return None
        difference = first_difference(progress.settings, self._settings)
        if difference is None:
            return progress
        if self._overwrite:
            return None
        raise self._begun_otherwise(progress, *difference)

    def _begun_otherwise(self, progress: Progress, name: str, old: object, new: object) -> HypensearchError:
        done = f"{progress.num_docs:,} documents"
        return HypensearchError(
            f"{self.folder}: unfinished index ({done}) begun with {name} {_short(old)}, now it is {_short(new)}; "
            f"run it as before to go on, or delete {PROGRESS} there to begin anew"
        )

    def _take_lock(self) -> None:
        os.makedirs(self.folder, exist_ok=True)
        lock = FileLock(os.path.join(self.folder, LOCK))
        lock.acquire()
        self._lock = lock
        if self._look() != self._progress:
            raise HypensearchError(f"{self.folder}: another process has written there meanwhile; run this again")
        self._may_forget = True

    def _start(self, new: Progress) -> None:
        _remove_unnamed_shards(self.folder, readable_manifest(self.folder))
        new.write(self.folder)
        self._progress = new

    def _check_same(self, known: Progress, new: Progress) -> None:
        facts = {"dim": known.dim, "dtype": known.dtype, "documents": known.documents}
        now = {"dim": new.dim, "dtype": new.dtype, "documents": new.documents}
        difference = first_difference(known.model or {}, new.model or {}, "model ") or first_difference(facts, now)
        if difference:
            raise self._begun_otherwise(known, *difference)

    def _open(self) -> None:
        progress = self._progress
        assert progress is not None
        folder = os.path.join(self.folder, progress.shard)
        make_folder(folder)
        fsync_folder(self.folder)
        with self._told_of_damage():
            self._files = _ShardFiles(folder, progress)
            self._files.check(progress.digests)
        if progress.num_docs:
            docids = self._files.docids()
            for start in range(0, len(docids), BLOCK_ROWS):
                self._seen.add(docids[start : start + BLOCK_ROWS])

    def _forget(self, progress: Progress) -> None:
        shutil.rmtree(os.path.join(self.folder, progress.shard), ignore_errors=True)
        with suppress(FileNotFoundError):
            os.unlink(os.path.join(self.folder, PROGRESS))

    def _checked(self, docids: Sequence[str], vectors: np.ndarray) -> np.ndarray:
        """Check a block before anything is written; give its vectors in the stored type."""
        progress = self._begun
        if vectors.ndim != 2 or len(vectors) != len(docids):
            raise ValueError(f"{len(docids)} docids, vectors of shape {vectors.shape}")
        if vectors.shape[1] != progress.dim:
            raise HypensearchError(f"document vectors have {vectors.shape[1]} dimensions, the index {progress.dim}")
        _check_docids(docids)
        if (repeated := self.first_repeated(docids)) is not None:
            raise BadRow(repeated[0], f"docid {docids[repeated[0]]!r} was already given (document {repeated[1] + 1})")
        if (row := _first_not_finite(vectors)) is not None:
            raise BadRow(row, f"the vector of document {docids[row]!r} holds NaN or infinity")
        with np.errstate(over="ignore"):
            stored = vectors.astype(progress.dtype, order="C", copy=False)
        if (row := _first_not_finite(stored)) is not None:
            largest = float(np.abs(vectors[row]).max())
            raise BadRow(
                row,
                f"the vector of document {docids[row]!r} holds {largest:g}, too large for {progress.dtype}; "
                "store float32 (--dtype float32)",
            )
        return stored

    @contextmanager
    def _told_of_damage(self) -> Iterator[None]:
        try:
            yield
        except ValueError as error:
            raise HypensearchError(f"{error}; delete {PROGRESS} in {self.folder} to begin anew") from None

    @contextmanager
    def _io(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.close()
            kept = f"; {self.num_docs:,} documents are kept, run the same command again to go on" * bool(self.num_docs)
            raise HypensearchError(
                f"{error.filename or self.folder}: cannot be written: {error.strerror or error}{kept}"
            ) from error


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
        if not overwrite or "not the manifest" in str(error):
            raise
        return
    if not overwrite:
        raise HypensearchError(f"{folder}: holds a complete index of {manifest.num_docs:,} documents; {_OVERWRITE}")


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


def _remove_unnamed_shards(folder: str, manifest: Manifest | None) -> None:
    named = {shard.folder for shard in manifest.shards} if manifest else set()
    for name in os.listdir(folder):
        if _SHARD_NAME.fullmatch(name) and name not in named:
            shutil.rmtree(os.path.join(folder, name), ignore_errors=True)


def readable_manifest(folder: str) -> Manifest | None:
    """Read the manifest of a folder, None when there is none or it is damaged."""
    try:
        return read_manifest(folder)
    except (FileNotFoundError, NotADirectoryError, HypensearchError):
        return None


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


def _check_docids(docids: Sequence[str]) -> None:
    if not docids:
        return
    # One look at all of them first, for speed.
    if all(docids) and flaw_of_id("".join(docids)) is None and max(map(len, docids)) <= MAX_ID_BYTES // 4:
        return
    for row, docid in enumerate(docids):
        if len(docid.encode("utf-8", "surrogatepass")) > MAX_ID_BYTES:
            raise BadRow(row, f"the docid {docid[:40]!r}... is longer than {MAX_ID_BYTES:,} bytes")
        if (flaw := flaw_of_id(docid)) is not None:
            raise BadRow(row, f"the docid {flaw}")


def _first_not_finite(vectors: np.ndarray) -> int | None:
    if np.isfinite(vectors).all():
        return None
    return int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:77] + "..."


class _ShardFiles:
    """The files of a shard while they grow, cut back to what the progress says is there."""

    def __init__(self, folder: str, progress: Progress) -> None:
        self.folder = folder
        self._dim = progress.dim
        num_docs = progress.num_docs
        self.vectors = GrowingArray(self._path(VECTORS), progress.dtype, width=progress.dim, num_rows=num_docs)
        self.docid = GrowingFile(self._path(DOCID), progress.docid_bytes, digested=True)
        self.offsets = GrowingArray(
            self._path(DOCID_OFFSETS), np.uint64, num_rows=num_docs + 1 if num_docs else 0, digested=True
        )
        if not num_docs:
            self.offsets.append_rows(np.zeros(1, np.uint64))
        self.positions: GrowingArray | None = None
        self.documents: GrowingFile | None = None
        if progress.documents is not None:
            self.positions = GrowingArray(
                self._path(DOCUMENT_POSITIONS), POSITION_DTYPE, num_rows=num_docs, digested=True
            )
        if progress.documents is not None and progress.documents["files"] == [{"path": DOCUMENTS}]:
            self.documents = GrowingFile(self._path(DOCUMENTS), progress.documents_bytes, digested=True)
        self.blocks = list(progress.blocks)
        self._open_block = hashlib.sha256(self.vectors.read_rows(len(self.blocks) * BLOCK_ROWS, num_docs))

    def digests(self) -> dict[str, str]:
        """Give digests of all that is written, complete blocks of vectors left out."""
        digests = {os.path.basename(file.path): file.digest for file in self._all() if file.digest}
        return {**digests, VECTORS: self._open_block.hexdigest()}

    def check(self, digests: Mapping[str, str]) -> None:
        """Compare what is on disk with the digests of an earlier run.

        :raises ValueError: Naming the file that has changed.
        """
        found = self.digests()
        for name, digest in digests.items():
            if found.get(name) != digest:
                raise ValueError(f"{self._path(name)}: its content has changed since it was written")

    def docids(self) -> Docids:
        """Give the docids written so far."""
        num_docs = self.offsets.num_rows - 1
        if not num_docs:
            return Docids(np.zeros(0, np.uint8), np.zeros(1, np.uint64))
        offsets = np.memmap(self._path(DOCID_OFFSETS), np.uint64, "r", HEADER_BYTES, (num_docs + 1,))
        return Docids(np.memmap(self._path(DOCID), np.uint8, "r"), offsets)

    def append(
        self, docids: Sequence[str], vectors: np.ndarray, positions: np.ndarray | None, raw: Sequence[bytes] | None
    ) -> None:
        """Write a block and bring it to disk."""
        self._digest(vectors)
        self.vectors.append_rows(vectors)
        lines = [docid.encode("utf-8") + b"\n" for docid in docids]
        ends = self.docid.size + np.cumsum([len(line) for line in lines], dtype=np.uint64)
        self.docid.append(b"".join(lines))
        self.offsets.append_rows(ends)
        if self.documents is not None:
            if raw is None:
                raise ValueError("documents are to be stored, so raw is wanted")
            positions = self._store(self.documents, raw)
        if self.positions is not None:
            if positions is None:
                raise ValueError("the index knows its corpus, so positions are wanted")
            self.positions.append_rows(positions)
        for file in self._all():
            file.sync()

    def finish(self) -> dict[str, FileRecord]:
        """Write headers and ranks; give the record of every file."""
        for array in (self.vectors, self.offsets, self.positions):
            if array is not None:
                array.write_shape()
        offsets = np.load(self._path(DOCID_OFFSETS), mmap_mode="r")
        write_npy(self._path(DOCID_RANK), rank_docids(np.memmap(self._path(DOCID), np.uint8, "r"), offsets))
        blocks = list(self.blocks)
        if self.vectors.num_rows % BLOCK_ROWS:
            blocks.append(self._open_block.hexdigest())
        records = {VECTORS: FileRecord(self.vectors.size, blocks)}
        for file in self._all():
            if file is not self.vectors:
                records[os.path.basename(file.path)] = FileRecord(file.size, file.whole_digest())
        rank = self._path(DOCID_RANK)
        records[DOCID_RANK] = FileRecord(os.path.getsize(rank), sha256_of(rank))
        fsync_folder(self.folder)
        return records

    def close(self) -> None:
        """Close the files."""
        for file in self._all():
            file.close()

    def _digest(self, vectors: np.ndarray) -> None:
        """Digest vectors by blocks of BLOCK_ROWS rows, however they come in."""
        start = 0
        filled = self.vectors.num_rows % BLOCK_ROWS
        while start < len(vectors):
            rows = vectors[start : start + BLOCK_ROWS - filled]
            self._open_block.update(np.ascontiguousarray(rows).view(np.uint8).data)
            start += len(rows)
            filled += len(rows)
            if filled == BLOCK_ROWS:
                self.blocks.append(self._open_block.hexdigest())
                self._open_block, filled = hashlib.sha256(), 0

    def _store(self, documents: GrowingFile, raw: Sequence[bytes]) -> np.ndarray:
        lengths = np.array([len(line) + 1 for line in raw], dtype=np.uint64)
        positions = np.zeros(len(raw), dtype=POSITION_DTYPE)
        positions["offset"] = documents.size + np.cumsum(lengths) - lengths
        positions["length"] = lengths
        documents.append(b"".join(line + b"\n" for line in raw))
        return positions

    def _all(self) -> list[GrowingFile]:
        files = (self.vectors, self.docid, self.offsets, self.positions, self.documents)
        return [file for file in files if file is not None]

    def _path(self, name: str) -> str:
        return os.path.join(self.folder, name)
