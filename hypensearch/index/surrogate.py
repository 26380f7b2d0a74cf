# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""What a surrogate search needs beside a flat index: a short code of each document, made once for all queries.

``INDEX/surrogate/`` holds ``surrogate.json`` (written last, with one rename), ``head.npy`` and ``tail.npy`` (leading
principal components of each document's feature, bfloat16 as processors multiply it, its bits as uint16; the remaining
ones, float16), ``sample.npy`` (the rows that every query scores first) and ``outliers.npy`` (rows that codes tell too
little of, which every query scores as well).
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
from hypensearch.formats.files import FileLock, replace_when_whole
from hypensearch.formats.json_files import read_json
from hypensearch.index.flat import FlatIndex
from hypensearch.index.manifest import VECTORS
from hypensearch.index.npy import GrowingArray, map_npy

FOLDER = "surrogate"
FORMAT = "hypensearch surrogate"
FORMAT_VERSION = 3
_MANIFEST = "surrogate.json"
_ARRAYS = ("head", "tail", "sample", "outliers")


@dataclass(frozen=True)
class Surrogate:
    """The codes of an index's documents, mapped.

    :param head: Leading components, the bits of bfloat16 as uint16, *Shape:* ``(num_docs, head_size)``.
    :param tail: Remaining components, float16, *Shape:* ``(num_docs, tail_size)``.
    :param sample: Rows that are scored first, in order, int64, *Shape:* ``(sample_size,)``.
    :param outliers: Rows whose scores codes do not predict, int64, *Shape:* ``(num_outliers,)``.
    :param facts: How it was made.
    """

    head: np.ndarray
    tail: np.ndarray
    sample: np.ndarray
    outliers: np.ndarray
    facts: Mapping[str, Any]


def open_surrogate(index: FlatIndex) -> Surrogate | None:
    """Open the codes that lie beside an index, None when there are none.

    :raises HypensearchError: When they are damaged, of a newer format, or of other vectors.
    """
    folder = Path(index.folder) / FOLDER
    path = folder / _MANIFEST
    again = f"remove {folder}, it is made again when needed"
    try:
        facts = read_json(path)
        version, belongs_to = facts["version"], facts["vectors"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise HypensearchError(f"{path}: damaged ({error}); {again}") from None
    if version != FORMAT_VERSION:
        raise HypensearchError(f"{path}: format version {version}, wanted {FORMAT_VERSION}: {again}")
    if belongs_to != vectors_digest(index):
        raise HypensearchError(f"{folder}: was made of other vectors than {index.folder} holds; {again}")
    try:
        arrays = {name: map_npy(folder / f"{name}.npy") for name in _ARRAYS}
        if any(list(arrays[name].shape) != facts["shapes"][name] for name in _ARRAYS):
            raise ValueError("arrays of other shapes than the manifest says")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise HypensearchError(f"{folder}: damaged ({error}); {again}") from None
    return Surrogate(arrays["head"], arrays["tail"], np.array(arrays["sample"]), np.array(arrays["outliers"]), facts)


def write_surrogate(
    index: FlatIndex,
    sample: np.ndarray,
    blocks: Iterable[tuple[np.ndarray, np.ndarray]],
    outliers: Callable[[], np.ndarray],
    facts: Mapping[str, Any],
) -> Surrogate:
    """Write codes beside an index, in place of older ones.

    :param sample: Rows that are scored first, *Shape:* ``(sample_size,)``.
    :param blocks: Heads and tails in the order of rows, as in :class:`Surrogate`.
    :param outliers: Gives the rows that every query scores as well, when all blocks have been taken.
    :param facts: How they were made, as JSON.
    """
    folder = Path(index.folder) / FOLDER
    folder.mkdir(exist_ok=True)
    with FileLock(folder / ".lock"):
        (folder / _MANIFEST).unlink(missing_ok=True)
        shapes = _write_codes(folder, blocks)
        for name, rows in (("sample", sample), ("outliers", outliers())):
            shapes[name] = list(rows.shape)
            with replace_when_whole(folder / f"{name}.npy") as file:
                np.save(file, rows.astype(np.int64))
        manifest = {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "vectors": vectors_digest(index),
            "shapes": shapes,
            **facts,
        }
        with replace_when_whole(folder / _MANIFEST, "w") as file:
            json.dump(manifest, file, indent=1)
    surrogate = open_surrogate(index)
    assert surrogate is not None
    return surrogate


def vectors_digest(index: FlatIndex) -> str:
    """Identify the vectors of an index by the digests that its manifest holds."""
    digests = [shard.files[VECTORS].sha256 for shard in index.manifest.shards]
    return hashlib.sha256(json.dumps(digests).encode()).hexdigest()


def _write_codes(folder: Path, blocks: Iterable[tuple[np.ndarray, np.ndarray]]) -> dict[str, list[int]]:
    files: dict[str, GrowingArray] = {}
    for head, tail in blocks:
        for name, part in (("head", head), ("tail", tail)):
            if name not in files:
                path = folder / f"{name}.npy"
                path.unlink(missing_ok=True)  # a reader that has it mapped keeps it
                files[name] = GrowingArray(os.fspath(path), part.dtype, width=part.shape[1])
            files[name].append_rows(part)
    shapes = {}
    for name, file in files.items():
        file.write_shape()
        shapes[name] = [file.num_rows, int(file.width or 0)]
        file.close()
    return shapes
