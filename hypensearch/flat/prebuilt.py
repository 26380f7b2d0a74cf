# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Indexes by name: records in Pyserini's form, downloaded once, checked by hash, unpacked into a cache.

A record has ``description``, ``filename``, ``urls``, ``md5`` (or, better, ``sha256``) and ``documents``. The archive is
a tar file, gzipped or not, with one index folder in it. No index is published with this version; groups keep their own
records in a JSON file (name -> record) that :data:`REGISTRY_VARIABLE` names.
"""

from __future__ import annotations

import gzip
import hashlib
import http.client
import io
import os
import re
import shutil
import stat
import tarfile
import urllib.request
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NotRequired, TypedDict
from urllib.parse import urlsplit

from msgspec import Meta

from hypensearch.errors import HypensearchError
from hypensearch.flat.manifest import MANIFEST
from hypensearch.formats.door import make_folder, open_to_write
from hypensearch.formats.files import GZIP_MAGIC, cache_folder, file_lock, replace_when_whole
from hypensearch.formats.json_files import read_json
from hypensearch.formats.schema import Count, checked
from hypensearch.offline import check_may_download

REGISTRY_VARIABLE = "HYPENSEARCH_PREBUILT_INDEXES"
#: What an archive may unpack to: vectors are hardly packed, texts to a fifth; more is made to fill the disk.
MOST_TIMES = 20
LEAST_MOST_BYTES = 10**8
MOST_MEMBERS = 100_000
MOST_ARCHIVE_BYTES = 2**41
_CHUNK_BYTES = 2**20
_TIMEOUT_SECONDS = 60
_SCHEMES = ("https", "http", "ftp", "file", "data")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,150}")


class Record(TypedDict):
    """What is read of a registered index."""

    urls: NotRequired[list[Annotated[str, Meta(max_length=2**24)]]]
    md5: NotRequired[Annotated[str, Meta(pattern=r"\A[0-9A-Fa-f]{32}\Z")]]
    sha256: NotRequired[Annotated[str, Meta(pattern=r"\A[0-9A-Fa-f]{64}\Z")]]
    documents: NotRequired[Count]


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
        reason = getattr(error, "strerror", None) or error
        raise HypensearchError(f"{REGISTRY_VARIABLE}={path}: not readable as JSON ({reason})") from None
    if not isinstance(records, dict) or not all(isinstance(record, dict) for record in records.values()):
        raise HypensearchError(f"{REGISTRY_VARIABLE}={path}: wanted an object of records by name")
    if odd := [name for name in records if not _NAME.fullmatch(name)]:
        raise HypensearchError(
            f"{REGISTRY_VARIABLE}={path}: {odd[0][:100]!r} is no name of an index: wanted letters, digits, '.', '_' "
            "and '-', a letter or digit first"
        )
    return records


def index_folder(index: str) -> str:
    """Return the folder of an index: the one that is named, or that of a prebuilt index, downloaded the first time.

    :raises HypensearchError: As :func:`find_prebuilt_index`.
    """
    return index if os.path.exists(index) or os.sep in index else os.fspath(find_prebuilt_index(index))


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
    try:
        record = checked(records[name], Record)
    except ValueError as error:
        raise HypensearchError(f"prebuilt index {name}: its record is damaged ({error})") from None
    algorithm = "sha256" if record.get("sha256") else "md5"
    digest = (record.get("sha256") or record.get("md5") or "").lower()
    if not digest:
        raise HypensearchError(f"prebuilt index {name}: its record has neither sha256 nor md5, so it cannot be checked")
    folder = cache_folder() / "indexes" / f"{name}.{digest}"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with file_lock(f"{folder}.lock"):
            if not _is_own(folder):
                check_may_download(f"prebuilt index {name}")
                archive = folder.with_name(f"{folder.name}.tar")
                try:
                    _download(name, record.get("urls", ()), archive, algorithm, digest)
                    _unpack(archive, folder)
                finally:
                    archive.unlink(missing_ok=True)
        return _index_in(folder)
    except OSError as error:
        raise HypensearchError(f"{error.filename or folder}: {error.strerror or error}") from None


def _is_own(folder: Path) -> bool:
    """Whether an index was unpacked here before, by this user or the system's.

    :raises HypensearchError: When somebody else has put something there.
    """
    try:
        found = os.lstat(folder)
    except FileNotFoundError:
        return False
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (os.geteuid(), 0):
        raise HypensearchError(f"{folder}: was not unpacked there by this user; remove it")
    return True


def _download(name: str, urls: Sequence[str], archive: Path, algorithm: str, wanted: str) -> None:
    reasons = []
    for url in urls:
        try:
            found = _fetch(url, archive, algorithm)
        except (http.client.HTTPException, OSError, ValueError) as error:  # OSError: urllib's errors too
            reasons.append(f"{_shown(url)}: {_reason(error, url)}")
            continue
        if found == wanted:
            return
        reasons.append(f"{_shown(url)}: {algorithm} is {found}, wanted {wanted}")
    raise HypensearchError(f"prebuilt index {name}: could not be downloaded ({'; '.join(reasons) or 'no urls'})")


def _shown(url: str) -> str:
    """Give a URL without what may be a secret in it: user and password, and what follows the path."""
    try:
        parts = urlsplit(url)
        return "data:..." if parts.scheme == "data" else f"{parts.scheme}://{parts.hostname or ''}{parts.path}"[:200]
    except ValueError:
        return "not an address"


def _reason(error: Exception, url: str) -> str:
    """Say why a download failed; messages of libraries may repeat the address, secrets included."""
    reason = str(getattr(error, "reason", None) or getattr(error, "strerror", None) or error or type(error).__name__)
    hidden = isinstance(error, http.client.InvalidURL) or url in reason or "@" in reason
    return "not an address" if hidden else " ".join(reason.split())[:200]


def _fetch(url: str, archive: Path, algorithm: str) -> str:
    """Download an archive; give its digest."""
    from tqdm import tqdm

    if urlsplit(url).scheme.lower() not in _SCHEMES:
        raise ValueError(f"wanted an address that begins with one of {', '.join(_SCHEMES)}")
    digest = hashlib.new(algorithm)
    with (
        urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as response,
        replace_when_whole(archive, follow_link=False) as file,
    ):
        length = response.headers.get("Content-Length") or ""
        size = int(length) if re.fullmatch(r"[0-9]{1,14}", length) else None
        with tqdm(total=size, unit="B", unit_scale=True, desc=archive.name) as bar:
            while chunk := response.read(_CHUNK_BYTES):
                bar.update(len(chunk))
                if file.tell() + len(chunk) > (MOST_ARCHIVE_BYTES if size is None else size):
                    raise ValueError("sends more than it announced")
                digest.update(chunk)
                file.write(chunk)
    return digest.hexdigest()


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack into a folder that appears only when it is complete; nothing is written outside of it."""
    partial = folder.with_name(f"{folder.name}.partial")
    if partial.is_symlink():
        partial.unlink()
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir()
        with open(archive, "rb") as file:
            _unpack_members(file, partial, max(LEAST_MOST_BYTES, MOST_TIMES * archive.stat().st_size))
        os.replace(partial, folder)
    except (tarfile.TarError, OSError, EOFError, ValueError, OverflowError, zlib.error) as error:
        reason = " ".join(str(getattr(error, "strerror", None) or error).split())[:200]
        raise HypensearchError(f"{archive}: cannot be unpacked ({reason})") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _unpack_members(file: io.BufferedReader, folder: Path, most_bytes: int) -> None:
    """Write an archive's files and folders, in its order.

    An index needs no links, no devices and no holes, so an archive that has them is refused.

    :raises ValueError: For a member that is something else, lies outside or comes twice, and for too much of all.
    """
    with tarfile.open(fileobj=_Unpacked(file, most_bytes), mode="r:") as tar:  # type: ignore[call-overload]
        for number, member in enumerate(tar):
            if number >= MOST_MEMBERS:
                raise ValueError(f"more than {MOST_MEMBERS:,} members")
            if not (member.isreg() or member.isdir()) or member.issparse():
                raise ValueError(f"{member.name[:100]!r} is no plain file and no folder")
            parts = [part for part in member.name.split("/") if part not in ("", ".")]
            if member.name.startswith("/") or ".." in parts or "\0" in member.name or len(parts) > 20:
                raise ValueError(f"{member.name[:100]!r} lies outside of the archive's folder")
            folders = parts if member.isdir() else parts[:-1]
            for depth in range(len(folders)):
                make_folder(folder.joinpath(*folders[: depth + 1]))
            if not member.isdir():
                content = tar.extractfile(member)
                assert content is not None
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
                with os.fdopen(open_to_write(folder.joinpath(*parts), flags), "wb") as target:
                    shutil.copyfileobj(content, target, _CHUNK_BYTES)


class _Unpacked(io.RawIOBase):
    """The bytes of an archive, gzipped or not, read forwards; never more of them than an index would have.

    tarfile takes the extended headers of a member into memory whole, whatever their size: no single read may be large.
    """

    def __init__(self, file: io.BufferedReader, most_bytes: int) -> None:
        self._file = gzip.GzipFile(fileobj=file) if file.peek(2)[:2] == GZIP_MAGIC else file
        self._most = most_bytes
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go forwards; archives are read in their order."""
        if whence != os.SEEK_SET or offset < self._at:
            raise ValueError("its members are not in order")
        while self._at < offset and self.read(min(_CHUNK_BYTES, offset - self._at)):
            pass
        return self._at

    def read(self, size: int = -1) -> bytes:
        """Read so many bytes, fewer at the end."""
        if not 0 <= size <= _CHUNK_BYTES:
            raise ValueError("a header that is too long")
        found = self._file.read(size)
        self._at += len(found)
        if self._at > self._most:
            raise ValueError(f"unpacks to more than {self._most:,} bytes, {MOST_TIMES} times what it takes packed")
        return found


def _index_in(folder: Path) -> Path:
    """Return the index folder of an unpacked archive: itself, or the one folder in it."""
    if (folder / MANIFEST).is_file():
        return folder
    inside = [path for path in folder.iterdir() if (path / MANIFEST).is_file()]
    if len(inside) != 1:
        raise HypensearchError(f"{folder}: wanted one index folder in the archive, found {len(inside)}")
    return inside[0]
