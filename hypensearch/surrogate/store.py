# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""What a surrogate search needs beside a flat index: a short code of each document, made once for all queries.

``INDEX/surrogate/`` holds ``surrogate.json`` (written last, with one rename; it names the other files, with their
digests) and arrays:

- of all documents ``codes-*.npy`` and ``scales-*.npy`` (each code as 8-bit integers, and what they are multiples of,
  bfloat16, its bits as uint16) and ``leverages-*.npy`` (how far out a code lies);
- rows: ``sample-*.npy`` (what every query scores first), ``outliers-*.npy`` (what codes tell too little of, so that
  every query scores it as well) and ``extremes-*.npy`` (the highest leverages);
- ``extreme_errors-*.npy`` (of each of the latter, how far typical queries score it above predictions);
- what typical queries tell of a fit before anything is scored: ``output_map-*.npy`` (what to expect, from the
  q-net's output layer), ``penalty-*.npy`` (how strange it is to lie elsewhere) and ``gradient_map-*.npy`` (what to take
  instead of a fit, from gradients at the best documents).
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypedDict

import numpy as np
from msgspec import Meta

from hypensearch.errors import HypensearchError
from hypensearch.flat.index import FlatIndex
from hypensearch.flat.integrity import file_damages
from hypensearch.flat.manifest import FileRecord
from hypensearch.formats.checked import check_once
from hypensearch.formats.door import make_folder
from hypensearch.formats.files import FileLock, fsync_folder, replace_when_whole, sha256_of, size_of
from hypensearch.formats.json_files import check_signed, parse_json, read_bounded, signed_json
from hypensearch.formats.npy import GrowingArray, map_npy, write_npy
from hypensearch.formats.schema import Count, Digest, Name, checked

FOLDER = "surrogate"
FORMAT = "hypensearch surrogate"
FORMAT_VERSION = 8
_MANIFEST = "surrogate.json"
_BLOCKS = ("codes", "scales", "leverages")
_ROWS = ("sample", "outliers", "extremes")
_EXTREME_ERRORS = "extreme_errors"
_PRIOR = ("output_map", "penalty", "gradient_map")
_DTYPES = {"codes": "int8", "scales": "uint16", "leverages": "float16"} | dict.fromkeys(_ROWS, "int64")
_DTYPES |= dict.fromkeys((_EXTREME_ERRORS, *_PRIOR), "float32")
_LEAST_ERROR = np.float32(0.1)  # so that no document's weight in a fit is beyond measure


@dataclass(frozen=True)
class Surrogate:
    """The codes of an index's documents, mapped.

    :param folder: Where they lie.
    :param codes: Multiples of the scales, int8, *Shape:* ``(num_docs, code_size)``.
    :param scales: The bits of bfloat16 as uint16, *Shape:* ``(num_docs,)``.
    :param leverages: How far out codes lie, float16, *Shape:* ``(num_docs,)``; 1 is usual.
    :param sample: Rows that are scored first, in order, int64, *Shape:* ``(sample_size,)``.
    :param outliers: Rows whose scores codes do not predict, int64, *Shape:* ``(num_outliers,)``.
    :param extremes: Rows of the highest leverages, int64, *Shape:* ``(num_extremes,)``.
    :param extreme_errors: How large their errors upwards are, float32, *Shape:* ``(num_extremes,)``; 1 is usual.
    :param output_map: Gives the fit that is expected of a q-net with such an output layer, float32, *Shape:*
        ``(code_size, width)``.
    :param penalty: Of the square of what a fit differs by from that, float32, *Shape:* ``(code_size, code_size)``.
    :param gradient_map: Gives weights from a gradient with respect to the document vector, float32, *Shape:*
        ``(code_size, dim)``; all zero where codes are not made of vectors. Where they are, nothing is fitted: the
        output map is zero, the penalty the unit matrix.
    :param facts: How it was made, and the files' names, sizes and digests. ``error_growth`` tells how errors of
        predictions grow with leverage.
    """

    folder: Path
    codes: np.ndarray
    scales: np.ndarray
    leverages: np.ndarray
    sample: np.ndarray
    outliers: np.ndarray
    extremes: np.ndarray
    extreme_errors: np.ndarray
    output_map: np.ndarray
    penalty: np.ndarray
    gradient_map: np.ndarray
    facts: Mapping[str, Any]

    @property
    def has_gradients(self) -> bool:
        """Whether gradients take the place of fits."""
        return bool(self.gradient_map.any())

    def errors(self) -> np.ndarray:
        """Return how large each document's errors are, the usual one's being 1, float32, *Shape:* ``(num_docs,)``."""
        growth = self.facts["error_growth"]
        result: np.ndarray = np.interp(self.leverages, growth["leverage"], growth["error"]).astype(np.float32)
        result[self.extremes] = self.extreme_errors
        return np.maximum(result, _LEAST_ERROR)

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
    if not all(os.path.exists(folder / record["name"]) for record in facts["files"].values()):
        facts = _read_manifest(folder) or facts  # another process may have replaced them meanwhile
    if facts["vectors"] != index.vectors_digest:
        raise HypensearchError(f"{folder}: was made of other vectors than {index.folder} holds; {_again(folder)}")
    try:
        arrays = {name: _map(folder, facts["files"][name], *_kind(name, index.num_docs)) for name in _DTYPES}
        for name in _ROWS:
            if len(rows := arrays[name]) and not 0 <= int(rows.min()) <= int(rows.max()) < index.num_docs:
                raise ValueError(f"{name} names rows that are none")
        errors = np.asarray(arrays[_EXTREME_ERRORS])
        if errors.shape != arrays["extremes"].shape or not (np.isfinite(errors) & (errors > 0)).all():
            raise ValueError("errors of extremes that are none")
        _check_prior(*(arrays[name] for name in _PRIOR), code_size=arrays["codes"].shape[1], dim=index.dim)
    except (OSError, ValueError) as error:
        raise HypensearchError(f"{folder}: damaged ({_reason(error)}); {_again(folder)}") from None
    arrays |= {name: np.array(arrays[name]) for name in (*_ROWS, _EXTREME_ERRORS, *_PRIOR)}
    return Surrogate(folder, **arrays, facts=facts)


def write_surrogate(
    index: FlatIndex,
    sample: np.ndarray,
    blocks: Iterable[tuple[np.ndarray, ...]],
    of_typical_queries: Callable[[], tuple[Mapping[str, np.ndarray], Mapping[str, Any]]],
    facts: Mapping[str, Any],
) -> Surrogate:
    """Write codes beside an index, in place of older ones, which stay until one rename of the manifest.

    :param sample: Rows that are scored first, *Shape:* ``(sample_size,)``.
    :param blocks: Codes, scales and leverages in the order of rows, as in :class:`Surrogate`.
    :param of_typical_queries: Gives the other arrays, and more facts, when all blocks have been taken.
    :param facts: How they were made, as JSON.
    :raises HypensearchError: When another process is writing them.
    """
    folder = Path(index.folder) / FOLDER
    make_folder(folder)
    with FileLock(folder / ".lock"):
        try:
            paths = _write_codes(folder, blocks)
            arrays, more_facts = of_typical_queries()
            for name, array in {"sample": sample, **arrays}.items():
                paths[name] = folder / f".{name}.partial"
                write_npy(os.fspath(paths[name]), array.astype(np.int64 if name in _ROWS else np.float32))
            manifest = {
                "format": FORMAT,
                "version": FORMAT_VERSION,
                "vectors": index.vectors_digest,
                "files": {name: _named_by_content(name, path) for name, path in paths.items()},
                **facts,
                **more_facts,
            }
            fsync_folder(folder)
            with replace_when_whole(folder / _MANIFEST, follow_link=False) as file:
                file.write(signed_json(manifest))
        finally:
            _remove_unnamed(folder)
    surrogate = open_surrogate(index)
    assert surrogate is not None
    return surrogate


class _File(TypedDict):
    name: Name
    bytes: Count
    sha256: Digest
    shape: Annotated[list[Count], Meta(max_length=2)]


class _Curve(TypedDict):
    leverage: list[float]
    error: list[float]


class _Facts(TypedDict):
    """What is read of the manifest."""

    vectors: Digest
    files: dict[str, _File]
    error_growth: _Curve


def _reason(error: Exception) -> object:
    return getattr(error, "strerror", None) or error


def _again(folder: Path) -> str:
    return f"remove {folder}, it is made again when needed"


def _read_manifest(folder: Path) -> dict[str, Any] | None:
    path = folder / _MANIFEST
    try:
        content = read_bounded(path, within=folder.parent)
        facts: dict[str, Any] = parse_json(content)
        if facts["version"] != FORMAT_VERSION:
            raise HypensearchError(
                f"{path}: format version {facts['version']}, wanted {FORMAT_VERSION}: {_again(folder)}"
            )
        check_signed(content, facts)
        _check_facts(facts)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise HypensearchError(f"{path}: damaged ({_reason(error)}); {_again(folder)}") from None
    return facts


def _check_facts(facts: Mapping[str, Any]) -> None:
    """Check what whoever signed a manifest may have put into it.

    :raises ValueError: As KeyError and TypeError, when it is not what :func:`write_surrogate` writes.
    """
    growth = checked(facts, _Facts)["error_growth"]
    if facts["files"].keys() != _DTYPES.keys():
        raise ValueError("files are missing, or more than there are")
    leverage, error = growth["leverage"], growth["error"]
    if len(leverage) != len(error) or not leverage or not all(map(math.isfinite, (*leverage, *error))):
        raise ValueError("error_growth is no curve")


def _check_prior(
    output_map: np.ndarray, penalty: np.ndarray, gradient_map: np.ndarray, *, code_size: int, dim: int
) -> None:
    wanted = len(output_map), *penalty.shape, *gradient_map.shape
    if wanted != (code_size, code_size, code_size, code_size, dim):
        shapes = ", ".join(str(array.shape) for array in (output_map, penalty, gradient_map))
        raise ValueError(f"{shapes} are no prior of codes of {code_size}")
    if not all(np.isfinite(array).all() for array in (output_map, penalty, gradient_map)):
        raise ValueError("a prior without numbers")


def _kind(name: str, num_docs: int) -> tuple[str, int, int | None]:
    """Tell type, axes and length of an array."""
    return _DTYPES[name], 2 if name in ("codes", *_PRIOR) else 1, num_docs if name in _BLOCKS else None


def _map(folder: Path, record: Mapping[str, Any], dtype: str, axes: int, length: int | None) -> np.ndarray:
    path = folder / record["name"]
    found, array = size_of(path, folder), map_npy(path, folder)
    if found != record["bytes"] or list(array.shape) != record["shape"]:
        raise ValueError(f"{path}: {array.shape} in {found:,} bytes, the manifest says otherwise")
    if array.dtype != dtype or array.ndim != axes or length not in (None, len(array)):
        raise ValueError(f"{path}: {array.dtype} {array.shape}, wanted {dtype} of {axes} axes for {length} documents")
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
            for of_codes in folder.glob("faiss-*"):
                of_codes.unlink()
    for path in folder.glob(".*.partial"):
        path.unlink()


def _write_codes(folder: Path, blocks: Iterable[tuple[np.ndarray, ...]]) -> dict[str, Path]:
    files: dict[str, GrowingArray] = {}
    for block in blocks:
        for name, part in zip(_BLOCKS, block, strict=True):
            if name not in files:
                path = folder / f".{name}.partial"
                path.unlink(missing_ok=True)
                files[name] = GrowingArray(os.fspath(path), part.dtype, width=part.shape[1] if part.ndim == 2 else None)
            files[name].append_rows(part)
    for file in files.values():
        file.write_shape()
        file.close()
    return {name: Path(file.path) for name, file in files.items()}
