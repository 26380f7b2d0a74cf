# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The manifest of a flat index: what is in it, file by file. The index is what its manifest names, nothing else."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import numpy as np
from msgspec import Meta

import hypensearch
from hypensearch.errors import HypensearchError
from hypensearch.formats.door import NotPlain
from hypensearch.formats.files import replace_when_whole
from hypensearch.formats.json_files import check_signed, parse_json, read_bounded, signed_json
from hypensearch.formats.npy import HEADER_BYTES
from hypensearch.formats.schema import (
    Count,
    Digest,
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

FORMAT = "hypensearch flat index"
FORMAT_VERSION = 1
MANIFEST = "manifest.json"
PROGRESS = "progress.json"
LOCK = ".lock"
BLOCK_ROWS = 8192
DTYPES = ("float32", "float16")

VECTORS = "vectors.npy"
DOCID = "docid"
DOCID_OFFSETS = "docid.offsets.npy"
DOCID_RANK = "docid.rank.npy"
DOCUMENT_POSITIONS = "document.positions.npy"
DOCUMENTS = "documents.jsonl"

#: Where a document's JSON stands: number of its file, its size, and its offset, both in bytes.
POSITION_DTYPE = np.dtype([("file", "<u4"), ("length", "<u4"), ("offset", "<u8")])


@dataclass(frozen=True)
class FileRecord:
    """One file of a shard.

    :param bytes: Its size.
    :param sha256: Digest of the whole file, or, for vectors, of each :data:`BLOCK_ROWS` rows (without the header).
    """

    bytes: Count
    sha256: Digest | list[Digest]


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
    :param generation: Grows by one each time the index is written anew.
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

    def to_bytes(self) -> bytes:
        """Give the file's content; it carries a digest of itself."""
        facts = {"format": FORMAT, "version": FORMAT_VERSION, **asdict(self)}
        return signed_json(facts)

    def write(self, folder: str) -> None:
        """Put it into an index folder, at once and whole: from then on readers see this index."""
        with replace_when_whole(os.path.join(folder, MANIFEST), follow_link=False) as file:
            file.write(self.to_bytes())


def read_manifest(folder: str) -> Manifest:
    """Read the manifest of an index folder.

    :raises FileNotFoundError: When there is none.
    :raises HypensearchError: When it is damaged, not ours, or of a newer format.
    """
    path = os.path.join(folder, MANIFEST)
    try:
        content = read_bounded(path, within=folder)
    except ValueError as error:
        raise _damaged(path, str(error)) from None
    except NotPlain as error:
        raise HypensearchError(f"{path}: {error.strerror}; take the index from where you trust") from None
    facts = _parse(content, path)
    if facts["version"] > FORMAT_VERSION:
        raise HypensearchError(
            f"{path}: format version {facts['version']}, made by a newer hypensearch "
            f"({str(facts.get('created_by'))[:60]}); this one reads up to version {FORMAT_VERSION}: "
            "pip install --upgrade hypensearch"
        )
    try:
        check_signed(content, facts)
        manifest = _build(facts)
    except ValueError as error:
        raise _damaged(path, str(error)) from None
    if manifest.to_bytes() != content:
        raise _damaged(path, "it says more, or less, than a manifest of this version does")
    return manifest


def _parse(content: bytes, path: str) -> dict[str, Any]:
    try:
        facts = parse_json(content)
    except ValueError:
        raise _damaged(path, "not JSON") from None
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise HypensearchError(f"{path}: not the manifest of a hypensearch index (no format {FORMAT!r} in it)")
    if type(facts.get("version")) is not int or facts["version"] < 1:
        raise _damaged(path, "no version")
    return facts


def _build(facts: Mapping[str, Any]) -> Manifest:
    """Check what whoever signed a manifest may have put into it.

    :raises ValueError: When it is not what an index has.
    """
    manifest = checked(facts, Manifest)
    if manifest.num_docs != sum(shard.num_docs for shard in manifest.shards):
        raise ValueError(f"num_docs is {manifest.num_docs}, which is not the sum over its shards")
    if manifest.model is not None:
        checked(manifest.model, ModelFacts)
    for number, shard in enumerate(manifest.shards):
        try:
            _check_shard(shard, manifest)
        except ValueError as error:
            raise ValueError(f"shard {number}: {error}") from None
    return manifest


def _check_shard(shard: ShardRecord, manifest: Manifest) -> None:
    missing = sorted({VECTORS, DOCID, DOCID_OFFSETS, DOCID_RANK} - shard.files.keys())
    if missing:
        raise ValueError(f"names no {', '.join(missing)}")
    row_bytes = {
        VECTORS: manifest.dim * np.dtype(manifest.dtype).itemsize,
        DOCID_RANK: 4,
        DOCID_OFFSETS: 8,
        DOCUMENT_POSITIONS: POSITION_DTYPE.itemsize,
    }
    for name, record in shard.files.items():
        if name in row_bytes:
            rows = shard.num_docs + (name == DOCID_OFFSETS)
            if record.bytes != HEADER_BYTES + rows * row_bytes[name]:
                raise ValueError(f"{name} of {record.bytes:,} bytes cannot hold {rows:,} rows")
        blocks = len(record.sha256) if isinstance(record.sha256, list) else None
        if blocks != (-(-shard.num_docs // BLOCK_ROWS) if name == VECTORS else None):
            raise ValueError(f"{name} has not the digests that it should have")
    if shard.documents is not None:
        checked(shard.documents, CorpusFacts)


def _damaged(path: str, what: str) -> HypensearchError:
    return HypensearchError(f"{path}: damaged ({what}); copy the index anew, or encode again with --overwrite")
