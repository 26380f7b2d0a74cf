# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Files that were compared with their checksums and have not been touched since.

Comparing takes half a second a gigabyte, too long for each search and nothing for the first one behind a copy. So what
was found sound is noted in the user's cache, with size, times and inode of the file: whatever changes it through the
file system changes these, and it is compared again. What a disk does to it by itself does not, and is found by
``python -m hypensearch.verify --full`` alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from hypensearch.errors import HypensearchError
from hypensearch.formats.files import cache_folder, replace_when_whole
from hypensearch.formats.json_files import read_json

FORMAT = "hypensearch checked files, their content too"
# Times of files are no finer than a tick of the system's clock: what was written just now may be written again unseen.
_SETTLED_NS = 2 * 10**9

Stamp = list[int]


def check_once(folder: str | os.PathLike[str], digests: Mapping[str, object], check: Callable[[], object]) -> bool:
    """Run a check unless it has passed before and no file was touched since.

    :param folder: What the files belong to; a note is kept for each folder and set of files.
    :param digests: The files by path, each with what it is compared with, as JSON.
    :param check: Compares the files; raises when one is not what it should be.
    :return: Whether the check was run.
    """
    stamps = _stamps(digests)
    try:
        note = _note_of(folder, digests)
    except HypensearchError:  # no cache that could be trusted
        stamps, note = None, Path()
    if stamps is not None and _is_known(note, digests, stamps):
        return False
    began = time.time_ns()
    check()
    if stamps is not None and stamps == _stamps(digests) and _settled(stamps, began):
        with suppress(OSError, HypensearchError):  # the note only saves time
            _write(note, digests, stamps)
    return True


def _stamps(paths: Mapping[str, object]) -> dict[str, Stamp] | None:
    try:
        return {path: _stamp(os.stat(path)) for path in paths}
    except OSError:
        return None


def _stamp(found: os.stat_result) -> Stamp:
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev]


def _settled(stamps: Mapping[str, Stamp], now: int) -> bool:
    return all(max(mtime, ctime) + _SETTLED_NS < now for _, mtime, ctime, _, _ in stamps.values())


def _note_of(folder: str | os.PathLike[str], paths: Mapping[str, object]) -> Path:
    names = sorted(os.path.relpath(path, folder) for path in paths)
    identity = json.dumps([os.path.realpath(folder), names])
    name = hashlib.sha256(identity.encode("utf-8", "surrogateescape")).hexdigest()[:32]
    return cache_folder() / "checked" / f"{name}.json"


def _facts(digests: Mapping[str, object], stamps: Mapping[str, Stamp]) -> dict[str, Any]:
    files = {os.path.realpath(path): [_digest_of(digests[path]), stamps[path]] for path in digests}
    return {"format": FORMAT, "files": files}


def _digest_of(digest: object) -> str:
    return hashlib.sha256(json.dumps(digest).encode()).hexdigest()


def _is_known(note: Path, digests: Mapping[str, object], stamps: Mapping[str, Stamp]) -> bool:
    try:
        return bool(read_json(note) == _facts(digests, stamps))
    except (OSError, ValueError):
        return False


def _write(note: Path, digests: Mapping[str, object], stamps: Mapping[str, Stamp]) -> None:
    with replace_when_whole(note, "w") as file:
        json.dump(_facts(digests, stamps), file)
