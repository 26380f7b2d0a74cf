# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The manifest of a flat index: what is in it, file by file. The index is what its manifest names, nothing else."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

import hypensearch
from hypensearch.errors import HypensearchError
from hypensearch.formats.files import replace_when_whole
from hypensearch.formats.json_files import parse_json, read_bounded, signed_json

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

    bytes: int
    sha256: str | list[str]


@dataclass(frozen=True)
class ShardRecord:
    """One shard.

    :param folder: Where it lies, relative to the manifest's folder.
    :param num_docs: Its number of documents.
    :param files: Its files by name.
    :param documents: Where the text is: ``files`` (path, bytes, mtime_ns; a path relative to the shard when stored
        there) and the ``fields`` that were encoded; None when no text is known.
    """

    folder: str
    num_docs: int
    files: dict[str, FileRecord]
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

    dim: int
    dtype: str
    num_docs: int
    model: dict[str, Any] | None
    shards: list[ShardRecord]
    generation: int = 1
    extra_files: list[str] = field(default_factory=list)
    created_by: str = field(default_factory=lambda: f"hypensearch {hypensearch.__version__}")

    def to_bytes(self) -> bytes:
        """Give the file's content; it carries a digest of itself."""
        facts = {"format": FORMAT, "version": FORMAT_VERSION, **asdict(self)}
        return signed_json(facts)

    def write(self, folder: str) -> None:
        """Put it into an index folder, at once and whole: from then on readers see this index."""
        with replace_when_whole(os.path.join(folder, MANIFEST)) as file:
            file.write(self.to_bytes())


def read_manifest(folder: str) -> Manifest:
    """Read the manifest of an index folder.

    :raises FileNotFoundError: When there is none.
    :raises HypensearchError: When it is damaged, not ours, or of a newer format.
    """
    path = os.path.join(folder, MANIFEST)
    try:
        content = read_bounded(path)
    except ValueError as error:
        raise _damaged(path, str(error)) from None
    facts = _parse(content, path)
    if facts["version"] > FORMAT_VERSION:
        raise HypensearchError(
            f"{path}: format version {facts['version']}, made by a newer hypensearch "
            f"({str(facts.get('created_by'))[:60]}); this one reads up to version {FORMAT_VERSION}: "
            "pip install --upgrade hypensearch"
        )
    try:
        manifest = _build(facts)
        whole = manifest.to_bytes() == content
    except (KeyError, TypeError, ValueError, AttributeError):
        whole = False
    if not whole:
        raise _damaged(path, "its content does not match its checksum")
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
    own = {key: value for key, value in facts.items() if key not in ("format", "version", "checksum")}
    shards = [
        ShardRecord(**{**shard, "files": {name: FileRecord(**record) for name, record in shard["files"].items()}})
        for shard in own.pop("shards")
    ]
    manifest = Manifest(shards=shards, **own)
    counts = [manifest.dim, manifest.num_docs, *(shard.num_docs for shard in shards)]
    if manifest.dtype not in DTYPES or not all(type(count) is int and count >= 0 for count in counts):
        raise ValueError  # a type or a size that no index has: damage, whatever the checksum says
    return manifest


def _damaged(path: str, what: str) -> HypensearchError:
    return HypensearchError(f"{path}: damaged ({what}); copy the index anew, or encode again with --overwrite")
