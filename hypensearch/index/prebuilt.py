# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Indexes by name: records in Pyserini's form, downloaded once, checked by hash, unpacked into a cache.

A record has ``description``, ``filename``, ``urls``, ``md5`` (or, better, ``sha256``) and ``documents``. The archive is
a tar file with one index folder in it. No index is published with this version; groups keep their own records in a JSON
file (name -> record) that :data:`REGISTRY_VARIABLE` names.
"""

from __future__ import annotations

import hashlib
import lzma
import os
import shutil
import tarfile
import urllib.error
import urllib.request
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hypensearch.errors import HypensearchError
from hypensearch.formats.files import FileLock, cache_folder, replace_when_whole, set_usual_permissions
from hypensearch.formats.json_files import read_json
from hypensearch.index.manifest import MANIFEST

REGISTRY_VARIABLE = "HYPENSEARCH_PREBUILT_INDEXES"
_CHUNK_BYTES = 2**20


def prebuilt_indexes() -> dict[str, Mapping[str, Any]]:
    """Return the registered records by name.

    :raises HypensearchError: When the user's registry cannot be read.
    """
    path = os.environ.get(REGISTRY_VARIABLE)
    if not path:
        return {}
    try:
        records = read_json(path)
    except (OSError, ValueError) as error:
        raise HypensearchError(f"{REGISTRY_VARIABLE}={path}: not readable as JSON ({error})") from None
    if not isinstance(records, dict) or not all(isinstance(record, dict) for record in records.values()):
        raise HypensearchError(f"{REGISTRY_VARIABLE}={path}: wanted an object of records by name")
    return records


def find_prebuilt_index(name: str) -> Path:
    """Return the folder of a registered index, downloading it the first time.

    :raises HypensearchError: When the name is not known, no URL gives the archive, or its hash is another one.
    """
    records = prebuilt_indexes()
    if name not in records:
        known = ", ".join(sorted(records)) or "none"
        raise HypensearchError(
            f"{name}: no such index folder, and no prebuilt index of that name (known are: {known}; records of your "
            f"own go into a JSON file that {REGISTRY_VARIABLE} names)"
        )
    record = records[name]
    algorithm, digest = _expected_hash(name, record)
    folder = cache_folder() / "indexes" / f"{name}.{digest}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not folder.is_dir():
            archive = folder.with_name(f"{folder.name}.tar")
            _download(name, record, archive, algorithm, digest)
            _unpack(archive, folder)
            archive.unlink()
    return _index_in(folder)


def _expected_hash(name: str, record: Mapping[str, Any]) -> tuple[str, str]:
    for algorithm in ("sha256", "md5"):
        if isinstance(digest := record.get(algorithm), str) and digest.isalnum():
            return algorithm, digest.lower()
    raise HypensearchError(f"prebuilt index {name}: its record has neither sha256 nor md5, so it cannot be checked")


def _download(name: str, record: Mapping[str, Any], archive: Path, algorithm: str, expected: str) -> None:
    reasons = []
    for url in record.get("urls") or ():
        try:
            found = _fetch(str(url), archive, algorithm)
        except (urllib.error.URLError, OSError, ValueError) as error:
            reasons.append(f"{url}: {getattr(error, 'reason', error)}")
            continue
        if found == expected:
            return
        archive.unlink()
        reasons.append(f"{url}: {algorithm} is {found}, wanted {expected}")
    raise HypensearchError(f"prebuilt index {name}: could not be downloaded ({'; '.join(reasons) or 'no urls'})")


def _fetch(url: str, archive: Path, algorithm: str) -> str:
    from tqdm import tqdm

    digest = hashlib.new(algorithm)
    with urllib.request.urlopen(url) as response, replace_when_whole(archive) as file:
        size = int(response.headers.get("Content-Length") or 0) or None
        with tqdm(total=size, unit="B", unit_scale=True, desc=archive.name) as bar:
            while chunk := response.read(_CHUNK_BYTES):
                digest.update(chunk)
                file.write(chunk)
                bar.update(len(chunk))
    return digest.hexdigest()


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack into a folder that appears only when it is complete; nothing is written outside of it."""
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with tarfile.open(archive) as tar:
            tar.extractall(partial, filter="data")
        set_usual_permissions(partial)
    except (tarfile.TarError, OSError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        reason = " ".join(str(error).split())[:200]
        raise HypensearchError(f"{archive}: cannot be unpacked ({reason})") from None
    os.replace(partial, folder)


def _index_in(folder: Path) -> Path:
    """Return the index folder of an unpacked archive: itself, or the one folder in it."""
    if (folder / MANIFEST).is_file():
        return folder
    inside = [path for path in folder.iterdir() if (path / MANIFEST).is_file()]
    if len(inside) != 1:
        raise HypensearchError(f"{folder}: wanted one index folder in the archive, found {len(inside)}")
    return inside[0]
