# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""What a surrogate search needs beside a flat index: a short code of each document, made once for all queries.

``INDEX/surrogate/`` holds ``surrogate.json`` (written last, with one rename; it names the other files, with their
digests) and arrays:

- of all documents ``codes-*.npy`` and ``scales-*.npy`` (each code as 8-bit integers, and what they are multiples of,
  bfloat16, its bits as uint16) and ``leverages-*.npy`` (how far out a code lies);
- rows: ``sample-*.npy`` (scored first by every query), ``outliers-*.npy`` (poorly predicted from their codes, so that
  every query scores them too) and ``extremes-*.npy`` (the highest leverages);
- ``extreme_errors-*.npy`` (for each extreme, how far typical queries score it above predictions);
- the prior of a fit, learnt from typical queries: ``output_map-*.npy`` (its mean, from the q-net's output layer),
  ``penalty-*.npy`` (its precision) and ``gradient_map-*.npy`` (weights from gradients at the best documents, instead
  of a fit).
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from hypensearch.flat.index import FlatIndex
from hypensearch.formats.door import make_folder
from hypensearch.formats.files import fsync_folder, sha256_of
from hypensearch.formats.npy import GrowingArray, map_npy, write_npy
from hypensearch.formats.schema import Count, Digest, Name
from hypensearch.formats.sealed import Array, Done, FileRecord, SealedFormat, check_once, map_array

FOLDER = "surrogate"
_BLOCKS = ("codes", "scales", "leverages")
_ROWS = ("sample", "outliers", "extremes")
_PRIOR = ("output_map", "penalty", "gradient_map")
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
    :param facts: How it was made, and the files' names, sizes and digests. ``error_growth`` is how errors of
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

    @property
    def digest(self) -> str:
        """What identifies the codes, for what is made of them."""
        return str(self.facts["files"]["codes"]["sha256"])

    def errors(self) -> np.ndarray:
        """Return how large each document's errors are, the usual one's being 1, float32, *Shape:* ``(num_docs,)``."""
        growth = self.facts["error_growth"]
        result: np.ndarray = np.interp(self.leverages, growth["leverage"], growth["error"]).astype(np.float32)
        result[self.extremes] = self.extreme_errors
        return np.maximum(result, _LEAST_ERROR)

    def verify(self, done: Done = lambda count: None) -> None:
        """Compare every byte with the manifest's digests; takes as long as the disk does.

        :param done: Called with the number of bytes read, again and again.
        :raises HypensearchError: When a file has changed.
        """
        _FORMAT.verify(self.folder, {file["name"]: _record(file) for file in self.facts["files"].values()}, done)

    def check_once(self) -> None:
        """Do what :meth:`verify` does, unless it was done since the files were last touched.

        :raises HypensearchError: When a file has changed.
        """
        digests = {os.fspath(self.folder / file["name"]): file["sha256"] for file in self.facts["files"].values()}
        check_once(self.folder, digests, self.verify)


def open_surrogate(index: FlatIndex) -> Surrogate | None:
    """Open the codes that lie beside an index, None when there are none.

    :raises HypensearchError: When they are damaged, of another format, or of other vectors.
    """
    folder = Path(index.folder) / FOLDER

    def opened(facts: _Facts) -> Surrogate:
        if facts["vectors"] != index.vectors_digest:
            raise _FORMAT.of_other_vectors(folder, index.folder)
        arrays = _map_all(folder, facts["files"], index)
        return Surrogate(folder, **arrays, facts=facts)

    try:
        return _FORMAT.open(folder, opened, within=index.folder)
    except FileNotFoundError:
        return None


def _map_all(folder: Path, files: Mapping[str, _File], index: FlatIndex) -> dict[str, np.ndarray]:
    """Map codes, and read the small arrays.

    :raises ValueError: For an array that is not what it should be.
    """
    codes = map_array(folder, files["codes"]["name"], _record(files["codes"]), Array("int8", (index.num_docs, None)))
    size = codes.shape[1]
    kinds = {"scales": Array("uint16", (index.num_docs,)), "leverages": Array("float16", (index.num_docs,))}
    kinds |= dict.fromkeys(_ROWS, Array("int64", (None,)))
    kinds |= {"output_map": Array("float32", (size, None)), "penalty": Array("float32", (size, size))}
    kinds |= {"gradient_map": Array("float32", (size, index.dim)), "extreme_errors": Array("float32", (None,))}
    arrays = {name: map_array(folder, files[name]["name"], _record(files[name]), kind) for name, kind in kinds.items()}
    arrays |= {name: np.array(array) for name, array in arrays.items() if name not in _BLOCKS}
    for name in _ROWS:
        if len(rows := arrays[name]) and not 0 <= int(rows.min()) <= int(rows.max()) < index.num_docs:
            raise ValueError(f"{name} contains rows outside of the index, {int(rows.min())} to {int(rows.max())}")
    errors = arrays["extreme_errors"]
    if errors.shape != arrays["extremes"].shape or not (np.isfinite(errors) & (errors > 0)).all():
        raise ValueError("extreme_errors are not one positive number for each extreme")
    for name in _PRIOR:
        if not np.isfinite(arrays[name]).all():
            raise ValueError(f"{name} is not finite")
    return {"codes": codes, **arrays}


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
    with _FORMAT.replacing(folder, r".*\.npy|\..*\.partial"):
        paths = _write_codes(folder, blocks)
        arrays, more_facts = of_typical_queries()
        for name, array in {"sample": sample, **arrays}.items():
            paths[name] = folder / f".{name}.partial"
            write_npy(os.fspath(paths[name]), array.astype(np.int64 if name in _ROWS else np.float32))
        files = {name: _named_by_content(name, path) for name, path in paths.items()}
        fsync_folder(folder)
        _FORMAT.write(folder, {"vectors": index.vectors_digest, "files": files, **facts, **more_facts})
    surrogate = open_surrogate(index)
    assert surrogate is not None
    return surrogate


class _File(TypedDict):
    name: Name
    bytes: Count
    sha256: Digest


class _Curve(TypedDict):
    leverage: list[float]
    error: list[float]


class _Facts(TypedDict):
    """What is read of the manifest."""

    vectors: Digest
    files: dict[str, _File]
    error_growth: _Curve


def _again(folder: str) -> str:
    return f"remove {folder}, it is made again when needed"


def _check_facts(facts: _Facts) -> None:
    growth, names = facts["error_growth"], {*_BLOCKS, *_ROWS, *_PRIOR, "extreme_errors"}
    if facts["files"].keys() != names:
        raise ValueError(f"names the files of {', '.join(facts['files'])}, wanted {', '.join(sorted(names))}")
    leverage, error = growth["leverage"], growth["error"]
    if len(leverage) != len(error) or not leverage or not all(map(math.isfinite, (*leverage, *error))):
        raise ValueError("error_growth is not a curve")


_FORMAT = SealedFormat(
    "hypensearch surrogate", "surrogate.json", _Facts, _again, newest=8, oldest=8, check=_check_facts
)


def _record(file: _File) -> FileRecord:
    return FileRecord(file["bytes"], file["sha256"])


def _named_by_content(name: str, partial: Path) -> dict[str, Any]:
    """Give a whole array the name that the manifest knows it by, another one than older codes have."""
    digest = sha256_of(partial)
    final = partial.with_name(f"{name}-{digest[:12]}.npy")
    shape = list(map_npy(partial).shape)
    os.replace(partial, final)
    return {"name": final.name, "bytes": final.stat().st_size, "sha256": digest, "shape": shape}


def _write_codes(folder: Path, blocks: Iterable[tuple[np.ndarray, ...]]) -> dict[str, Path]:
    files: dict[str, GrowingArray] = {}
    for block in blocks:
        for name, part in zip(_BLOCKS, block, strict=True):
            if name not in files:
                width = part.shape[1] if part.ndim == 2 else None
                files[name] = GrowingArray(os.fspath(folder / f".{name}.partial"), part.dtype, width=width)
            files[name].append_rows(part)
    for file in files.values():
        file.write_shape()
        file.close()
    return {name: Path(file.path) for name, file in files.items()}
