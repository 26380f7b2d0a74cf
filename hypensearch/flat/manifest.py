# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The manifest of a flat index: what is in it, file by file. The index is what its manifest names, nothing else."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import numpy as np
from msgspec import Meta

import hypensearch
from hypensearch.errors import HypensearchError
from hypensearch.formats.npy import HEADER_BYTES
from hypensearch.formats.schema import (
    Count,
    Dtype,
    FaissFile,
    Name,
    Number,
    Place,
    RelativePlace,
    Short,
    Size,
    Time,
    checked,
)
from hypensearch.formats.sealed import BLOCK_ROWS, Array, FileRecord, SealedFormat

FORMAT = "hypensearch flat index"
MANIFEST = "manifest.json"
PROGRESS = "progress.json"
DTYPES = ("float32", "float16")

VECTORS = "vectors.npy"
DOCID = "docid"
DOCID_OFFSETS = "docid.offsets.npy"
DOCID_RANK = "docid.rank.npy"
DOCUMENT_POSITIONS = "document.positions.npy"
DOCUMENTS = "documents.jsonl"

#: Where a document's JSON stands: number of its file, its size, and its offset, both in bytes.
POSITION_DTYPE = np.dtype([("file", "<u4"), ("length", "<u4"), ("offset", "<u8")])


class CorpusFile(TypedDict):
    """A file with documents: inside of the shard, or the user's own, which must be as it was when it was encoded."""

    path: Place
    bytes: NotRequired[Count]
    mtime_ns: NotRequired[Time]


class CorpusFacts(TypedDict, total=False):
    """What a shard says of its documents."""

    files: list[CorpusFile]
    fields: list[str]


class ModelFacts(TypedDict, total=False):
    """What an index says of the model that made its vectors; None for what is not known."""

    name: Place | Literal[""] | None
    revision: Short | None
    fingerprint: Short | None
    kind: Short | None
    dim: Size | None
    max_length: Size | None
    prefix: str | None
    backbone_config: Place | None
    count_padding: bool | None
    precision: Short | None


@dataclass(frozen=True)
class ShardRecord:
    """One shard.

    :param folder: Where it lies, relative to the manifest's folder.
    :param num_docs: Its number of documents.
    :param files: Its files by name.
    :param documents: Where the text is: ``files`` (path, bytes, mtime_ns; a path relative to the shard when stored
        there) and the ``fields`` that were encoded; None when no text is known.
    """

    folder: RelativePlace
    num_docs: Count
    files: dict[Name, FileRecord]
    documents: dict[str, Any] | None = None


@dataclass(frozen=True)
class Manifest:
    """All there is to know of an index without opening a shard.

    :param dim: Size of a document vector.
    :param dtype: "float32" or "float16".
    :param num_docs: Documents in all shards.
    :param model: What made the vectors (name, revision, fingerprint, kind, dim, max_length, ...); None if unknown.
    :param shards: The shards, in the order of their rows.
    :param generation: Grows by one each time the index is written again.
    :param extra_files: Files beside the manifest that belong to this generation: Pyserini's copy, if asked for.
    :param created_by: The version that wrote it.
    """

    dim: Size
    dtype: Dtype
    num_docs: Number
    model: dict[str, Any] | None
    shards: Annotated[list[ShardRecord], Meta(min_length=1)]
    generation: Number = 1
    extra_files: list[FaissFile] = field(default_factory=list)
    created_by: str = field(default_factory=lambda: f"hypensearch {hypensearch.__version__}")

    def write(self, folder: str) -> None:
        """Put it into an index folder, at once and whole: from then on readers see this index."""
        INDEX.write(folder, asdict(self))


def read_manifest(folder: str) -> Manifest:
    """Read the manifest of an index folder.

    :raises FileNotFoundError: When there is none.
    :raises HypensearchError: When it is damaged, not ours, or of a newer format.
    """
    return INDEX.read(folder)


def arrays_of(dim: int, dtype: str, num_docs: int) -> dict[str, Array]:
    """Say what the arrays of a shard must be."""
    return {
        VECTORS: Array(dtype, (num_docs, dim)),
        DOCID_RANK: Array("uint32", (num_docs,)),
        DOCID_OFFSETS: Array("uint64", (num_docs + 1,)),
        DOCUMENT_POSITIONS: Array(POSITION_DTYPE, (num_docs,)),
    }


def readable_manifest(folder: str) -> Manifest | None:
    """Read the manifest of a folder, None when there is none or it is damaged."""
    try:
        return read_manifest(folder)
    except (FileNotFoundError, HypensearchError):
        return None


def _check(manifest: Manifest) -> None:
    """Check facts that a stranger may have signed.

    :raises ValueError: When it is not what an index has.
    """
    if manifest.num_docs != sum(shard.num_docs for shard in manifest.shards):
        raise ValueError(f"num_docs is {manifest.num_docs}, which is not the sum over its shards")
    if manifest.model is not None:
        checked(manifest.model, ModelFacts)
    for number, shard in enumerate(manifest.shards):
        try:
            _check_shard(shard, manifest)
        except ValueError as error:
            raise ValueError(f"shard {number}: {error}") from None


def _check_shard(shard: ShardRecord, manifest: Manifest) -> None:
    if missing := sorted({VECTORS, DOCID, DOCID_OFFSETS, DOCID_RANK} - shard.files.keys()):
        raise ValueError(f"names no {', '.join(missing)}")
    arrays = arrays_of(manifest.dim, manifest.dtype, shard.num_docs)
    for name, record in shard.files.items():
        if name in arrays:
            rows, *width = (size or 0 for size in arrays[name].shape)
            if record.bytes != HEADER_BYTES + rows * math.prod(width) * np.dtype(arrays[name].dtype).itemsize:
                raise ValueError(f"{name} of {record.bytes:,} bytes cannot hold {rows:,} rows")
        blocks = len(record.sha256) if isinstance(record.sha256, list) else None
        if blocks != (-(-shard.num_docs // BLOCK_ROWS) if name == VECTORS else None):
            raise ValueError(f"{name} has not the digests that it should have")
    if shard.documents is not None:
        checked(shard.documents, CorpusFacts)


def _again(folder: str) -> str:
    return "copy the index again, or encode again with --overwrite"


INDEX = SealedFormat(FORMAT, MANIFEST, Manifest, _again, check=_check)
