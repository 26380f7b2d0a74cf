# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""What a surrogate search needs beside a flat index: a short code of each document, made once for all queries.

``INDEX/surrogate/`` holds ``surrogate.json`` (written last, with one rename; it names the other files, with their
digests) and four arrays: ``head-*.npy`` and ``tail-*.npy`` (leading principal components of each document's feature,
bfloat16 as processors multiply it, its bits as uint16; the remaining ones, float16), ``sample-*.npy`` (the rows that
every query scores first) and ``outliers-*.npy`` (rows that codes tell too little of, which every query scores as well).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hypensearch.errors import HypensearchError
from hypensearch.formats.checked import check_once
from hypensearch.formats.files import FileLock, fsync_folder, replace_when_whole, sha256_of
from hypensearch.formats.json_files import check_signed, parse_json, read_bounded, signed_json
from hypensearch.index.flat import FlatIndex
from hypensearch.index.integrity import file_damages
from hypensearch.index.manifest import VECTORS, FileRecord
from hypensearch.index.npy import GrowingArray, map_npy, write_npy

FOLDER = "surrogate"
FORMAT = "hypensearch surrogate"
FORMAT_VERSION = 4
_MANIFEST = "surrogate.json"
_ARRAYS = ("head", "tail", "sample", "outliers")


@dataclass(frozen=True)
class Surrogate:
    """The codes of an index's documents, mapped.

    :param folder: Where they lie.
    :param head: Leading components, the bits of bfloat16 as uint16, *Shape:* ``(num_docs, head_size)``.
    :param tail: Remaining components, float16, *Shape:* ``(num_docs, tail_size)``.
    :param sample: Rows that are scored first, in order, int64, *Shape:* ``(sample_size,)``.
    :param outliers: Rows whose scores codes do not predict, int64, *Shape:* ``(num_outliers,)``.
    :param facts: How it was made, and the files' names, sizes and digests.
    """

    folder: Path
    head: np.ndarray
    tail: np.ndarray
    sample: np.ndarray
    outliers: np.ndarray
    facts: Mapping[str, Any]

    def verify(self, done: Callable[[int], object] = lambda count: None) -> None:
        """Compare every byte with the manifest's digests; takes as long as the disk does.

        :param done: Told the number of bytes read, again and again.
        :raises HypensearchError: When a file has changed.
        """
        for path, record in self._files().items():
            for damage in file_damages(path, record, done=done):
                raise HypensearchError(f"{damage}; {_again(self.folder)}")

    def check_once(self) -> None:
        """Do what :meth:`verify` does, unless it was done since the files were last touched.

        :raises HypensearchError: When a file has changed.
        """
        check_once(self.folder, {path: record.sha256 for path, record in self._files().items()}, self.verify)

    def _files(self) -> dict[str, FileRecord]:
        records = self.facts["files"].values()
        return {os.fspath(self.folder / record["name"]): _record(record) for record in records}


def open_surrogate(index: FlatIndex) -> Surrogate | None:
    """Open the codes that lie beside an index, None when there are none.

    :raises HypensearchError: When they are damaged, of another format, or of other vectors.
    """
    folder = Path(index.folder) / FOLDER
    facts = _read_manifest(folder)
    if facts is None:
        return None
    if not all((folder / record["name"]).exists() for record in facts["files"].values()):
        facts = _read_manifest(folder) or facts  # another process may have replaced them meanwhile
    if facts["vectors"] != vectors_digest(index):
        raise HypensearchError(f"{folder}: was made of other vectors than {index.folder} holds; {_again(folder)}")
    try:
        arrays = {name: _map(folder, facts["files"][name]) for name in _ARRAYS}
        for name in ("sample", "outliers"):
            if len(rows := arrays[name]) and not 0 <= int(rows.min()) <= int(rows.max()) < index.num_docs:
                raise ValueError(f"{name} names rows that are none")
    except (OSError, ValueError) as error:
        raise HypensearchError(f"{folder}: damaged ({error}); {_again(folder)}") from None
    sample, outliers = (np.array(arrays[name]) for name in ("sample", "outliers"))
    return Surrogate(folder, arrays["head"], arrays["tail"], sample, outliers, facts)


def write_surrogate(
    index: FlatIndex,
    sample: np.ndarray,
    blocks: Iterable[tuple[np.ndarray, np.ndarray]],
    outliers: Callable[[], np.ndarray],
    facts: Mapping[str, Any],
) -> Surrogate:
    """Write codes beside an index, in place of older ones, which stay until one rename of the manifest.

    :param sample: Rows that are scored first, *Shape:* ``(sample_size,)``.
    :param blocks: Heads and tails in the order of rows, as in :class:`Surrogate`.
    :param outliers: Gives the rows that every query scores as well, when all blocks have been taken.
    :param facts: How they were made, as JSON.
    :raises HypensearchError: When another process is writing them.
    """
    folder = Path(index.folder) / FOLDER
    folder.mkdir(exist_ok=True)
    with FileLock(folder / ".lock"):
        try:
            paths = _write_codes(folder, blocks)
            for name, rows in (("sample", sample), ("outliers", outliers())):
                paths[name] = folder / f".{name}.partial"
                write_npy(os.fspath(paths[name]), rows.astype(np.int64))
            manifest = {
                "format": FORMAT,
                "version": FORMAT_VERSION,
                "vectors": vectors_digest(index),
                "files": {name: _named_by_content(name, path) for name, path in paths.items()},
                **facts,
            }
            fsync_folder(folder)
            with replace_when_whole(folder / _MANIFEST) as file:
                file.write(signed_json(manifest))
        finally:
            _remove_unnamed(folder)
    surrogate = open_surrogate(index)
    assert surrogate is not None
    return surrogate


def vectors_digest(index: FlatIndex) -> str:
    """Identify the vectors of an index by the digests that its manifest holds."""
    digests = [shard.files[VECTORS].sha256 for shard in index.manifest.shards]
    return hashlib.sha256(json.dumps(digests).encode()).hexdigest()


def _again(folder: Path) -> str:
    return f"remove {folder}, it is made again when needed"


def _read_manifest(folder: Path) -> dict[str, Any] | None:
    path = folder / _MANIFEST
    try:
        content = read_bounded(path)
        facts: dict[str, Any] = parse_json(content)
        if facts["version"] != FORMAT_VERSION:
            raise HypensearchError(
                f"{path}: format version {facts['version']}, wanted {FORMAT_VERSION}: {_again(folder)}"
            )
        check_signed(content, facts)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise HypensearchError(f"{path}: damaged ({error}); {_again(folder)}") from None
    return facts


def _map(folder: Path, record: Mapping[str, Any]) -> np.ndarray:
    path = folder / record["name"]
    found, array = path.stat().st_size, map_npy(path)
    if found != record["bytes"] or list(array.shape) != record["shape"]:
        raise ValueError(f"{path}: {array.shape} in {found:,} bytes, the manifest says otherwise")
    return array


def _record(record: Mapping[str, Any]) -> FileRecord:
    return FileRecord(record["bytes"], record["sha256"])


def _named_by_content(name: str, partial: Path) -> dict[str, Any]:
    """Give a whole array the name that the manifest knows it by, another one than older codes have."""
    digest = sha256_of(partial)
    final = partial.with_name(f"{name}-{digest[:12]}.npy")
    shape = list(map_npy(partial).shape)
    os.replace(partial, final)
    return {"name": final.name, "bytes": final.stat().st_size, "sha256": digest, "shape": shape}


def _remove_unnamed(folder: Path) -> None:
    """Remove what the manifest does not name: older codes, and what a stopped writer left."""
    try:
        facts = _read_manifest(folder)
    except HypensearchError:
        return
    named = {record["name"] for record in facts["files"].values()} if facts else set()
    for path in folder.glob("*.npy"):
        if path.name not in named:
            path.unlink()  # a reader that has it mapped keeps it
    for path in folder.glob(".*.partial"):
        path.unlink()


def _write_codes(folder: Path, blocks: Iterable[tuple[np.ndarray, np.ndarray]]) -> dict[str, Path]:
    files: dict[str, GrowingArray] = {}
    for head, tail in blocks:
        for name, part in (("head", head), ("tail", tail)):
            if name not in files:
                path = folder / f".{name}.partial"
                path.unlink(missing_ok=True)
                files[name] = GrowingArray(os.fspath(path), part.dtype, width=part.shape[1])
            files[name].append_rows(part)
    for file in files.values():
        file.write_shape()
        file.close()
    return {name: Path(file.path) for name, file in files.items()}
