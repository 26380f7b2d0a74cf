# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The door for files of others: plain files come in, and only from the folder that they belong to.

What a stranger's folder holds may be a link to a file of the user, a pipe that never ends or a device. So such files
are opened here: links are followed within the folder and not out of it, and what is not a plain file is refused before
it is opened. The same goes for what is written into such a folder: never through a link.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

PathLike = str | os.PathLike[str]

#: A file of facts that is read whole; the manifest of a billion documents takes about 10 MB.
MAX_BYTES = 2**28
_PIECE_BYTES = 2**20
_READING = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFLNK: "a link",
}


class NotPlain(OSError):
    """Something else than a plain file, or one that lies elsewhere."""


def open_plain(path: PathLike, within: PathLike | None = None) -> int:
    """Open a plain file for reading.

    :param within: The folder that it must lie in once all links are followed; None for a path that the user gave.
    :return: A file descriptor, the caller's to close.
    :raises FileNotFoundError: When there is no such file, nor can be: its name is too long, or lies below a file.
    :raises NotPlain: When it is a folder, a pipe or a device, or lies outside of ``within``.
    :raises OSError: When it cannot be read.
    """
    place = _place(path, within)
    _check_plain(_stat(place, path), path)
    descriptor = os.open(place, _READING | (0 if within is None else os.O_NOFOLLOW))
    try:
        _check_plain(os.fstat(descriptor), path)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def open_plain_file(path: PathLike, within: PathLike | None = None) -> BinaryIO:
    """Open a plain file as :func:`open_plain` does; gives a buffered stream."""
    return os.fdopen(open_plain(path, within), "rb")


def stat_plain(path: PathLike, within: PathLike | None = None) -> os.stat_result:
    """Give a plain file's size and times; errors as :func:`open_plain`'s."""
    found = _stat(_place(path, within), path)
    _check_plain(found, path)
    return found


def read_plain(path: PathLike, max_bytes: int = MAX_BYTES, within: PathLike | None = None) -> bytes:
    """Read a plain file of bounded size; memory is taken for what is there, not for what might be.

    :raises ValueError: When it is larger than ``max_bytes``.
    :raises OSError: As :func:`open_plain`.
    """
    with open_plain_file(path, within) as file:
        content = read_at_most(file, max_bytes + 1)
    if len(content) > max_bytes:
        raise ValueError(f"larger than {max_bytes:,} bytes")
    return content


def read_at_most(stream: BinaryIO, num_bytes: int) -> bytes:
    """Read up to so many bytes, taking memory for those that are there and not for those that might be."""
    pieces, left = [], num_bytes
    while left and (piece := stream.read(min(left, _PIECE_BYTES))):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)


def is_plain(path: PathLike, within: PathLike | None = None) -> bool:
    """Whether :func:`open_plain` would find a plain file."""
    try:
        stat_plain(path, within)
    except OSError:
        return False
    return True


def open_to_write(path: PathLike, flags: int, *, only_name: bool = False) -> int:
    """Open a file of our own to write to, where a stranger may have put something else before.

    :param flags: As for ``os.open``; a new file gets the usual permissions.
    :param only_name: Refuse a file that has another name as well: it may be somebody's.
    :raises NotPlain: When there is a link or no plain file.
    :raises OSError: When it cannot be opened.
    """
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK, errno.ENXIO, errno.EISDIR):
            raise _not_plain(path, f"is {_kind(os.lstat(path).st_mode)}, a plain file was wanted; remove it") from None
        raise
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or (only_name and found.st_nlink > 1):
        os.close(descriptor)
        what = "another name of some other file" if stat.S_ISREG(found.st_mode) else _kind(found.st_mode)
        raise _not_plain(path, f"is {what}, a plain file was wanted; remove it")
    return descriptor


def make_folder(path: PathLike) -> None:
    """Make a folder inside a folder that may be a stranger's, or find it there.

    :raises NotPlain: When there is a link in its place: what is written there would land elsewhere.
    :raises OSError: When it cannot be made.
    """
    try:
        os.mkdir(path)
    except FileExistsError:
        found = os.lstat(path).st_mode
        if not stat.S_ISDIR(found):
            raise _not_plain(path, f"is {_kind(found)}, a folder was wanted; remove it") from None


def root_of_checkpoint(folder: Path) -> Path:
    """Give the folder that a checkpoint's links may lead into: its own, or in the hub's cache its repository's.

    The hub's cache keeps ``snapshots/REVISION/NAME`` as links to ``blobs/DIGEST``.
    """
    folder = Path(os.path.abspath(folder))
    return folder.parent.parent if folder.parent.name == "snapshots" else folder


def _place(path: PathLike, within: PathLike | None) -> str:
    path = os.fspath(path)
    if not _can_be_a_name(path):
        raise _missing(path)
    if within is None:
        return path
    place, root = os.path.realpath(path), os.path.realpath(within)
    if os.path.commonpath([place, root]) != root:
        if not os.path.lexists(path):
            raise _missing(path)
        raise _not_plain(path, f"leads out of {os.fspath(within)}")
    return place


def _can_be_a_name(path: str) -> bool:
    try:
        return b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:
        return False


def _stat(place: str, path: PathLike) -> os.stat_result:
    try:
        return os.stat(place)
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.ENOTDIR):
            raise _missing(path) from None
        if error.errno == errno.ELOOP:
            raise _not_plain(path, "is a link that leads nowhere, a plain file was wanted") from None
        error.filename = os.fspath(path)
        raise


def _check_plain(found: os.stat_result, path: PathLike) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise _not_plain(path, f"is {_kind(found.st_mode)}, a plain file was wanted")


def _kind(mode: int) -> str:
    return _KINDS.get(stat.S_IFMT(mode), "no plain file")


def _not_plain(path: PathLike, what: str) -> NotPlain:
    return NotPlain(errno.EINVAL, what, os.fspath(path))


def _missing(path: PathLike) -> FileNotFoundError:
    return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), os.fspath(path))
