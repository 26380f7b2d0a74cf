# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Files on disk: replaced only when whole, locked against a second writer, read plain or gzipped."""

from __future__ import annotations

import errno
import gzip
import hashlib
import io
import os
import re
import secrets
import shutil
import stat
import sys
import tempfile
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, BinaryIO, Literal

from hypensearch.errors import HypensearchError
from hypensearch.formats.door import PathLike, open_plain, open_to_write, read_at_most

GZIP_MAGIC = b"\x1f\x8b"
MAX_LINE_BYTES = 64 * 2**20
UTF8_BOM = b"\xef\xbb\xbf"
CACHE_VARIABLE = "HYPENSEARCH_CACHE"

_BUFFER_BYTES = 2**20
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

_OS_ERROR = re.compile(r"\(os error (\d{1,4})\)")
_TORCH_CANNOT_WRITE = re.compile(r"PytorchStreamWriter failed|inline_container\.cc")

_ASCII_SPACE = re.compile(r"[ \t\n\x0b\f\r]+")

# What a shell or a system calls a stream that this process has open.
_STREAMS = {"/dev/stdout": 1, "/dev/stderr": 2}
_STREAM = re.compile(r"/(?:dev|proc/self)/fd/(\d{1,6})")


@contextmanager
def replace_when_whole(
    path: PathLike, mode: Literal["w", "wb"] = "wb", *, follow_link: bool = True
) -> Iterator[IO[Any]]:
    """Write a file under a temporary name beside it and move it into place once it is complete.

    What was there before stays until then, and stays for good when the block raises. Missing parent folders are made. A
    symbolic link is followed, and what is not a regular file (``/dev/stdout``, a pipe) is written directly. The
    permissions are those of the file that is replaced, or what the umask leaves a new file.

    :param path: The file to write.
    :param mode: ``"wb"`` for bytes, ``"w"`` for UTF-8 text with ``\\n`` line ends.
    :param follow_link: False inside folders that may be a stranger's: a link or a pipe of that name is replaced itself.
    :return: The open file, as the target of ``with ... as``.
    :raises HypensearchError: When the file cannot be made there or the disk is full.
    """
    if follow_link and _is_special(path):
        with _os_errors(path):
            file = _open_in_place(path, mode)
        with write_errors(path), file:
            yield file
            with _os_errors(path):
                file.flush()
        return
    folder, name = os.path.split(os.path.realpath(path) if follow_link else os.path.abspath(path))
    folder = os.path.realpath(folder)
    target, partial = os.path.join(folder, name), os.path.join(folder, f".{name[:60]}.{secrets.token_hex(4)}.partial")
    with _os_errors(path):
        os.makedirs(folder, exist_ok=True)
        file = _open(partial, mode.replace("w", "x"))
        permissions = stat.S_IMODE(os.fstat(file.fileno()).st_mode)  # those that the umask leaves a new file
    try:
        with write_errors(path), file:
            yield file
            with _os_errors(path):
                file.flush()
                fsync_file(partial)
        with _os_errors(path):
            os.chmod(partial, _permissions_of(target, permissions))  # safetensors makes private files
            os.replace(partial, target)
            fsync_folder(folder)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(partial)
        raise


@contextmanager
def name_for_libraries(path: PathLike) -> Iterator[str]:
    """Give a name of a file or folder that libraries take which want UTF-8, as those in Rust and C++ do.

    :param path: What has a name of any bytes; what is not there yet can be made under the name given.
    :return: The path itself where it is UTF-8, else one through a link, which is there within the block.
    """
    name = os.path.abspath(path)
    if _is_utf_8(name):
        yield os.fspath(path)
        return
    with tempfile.TemporaryDirectory(prefix="hypensearch-") as links:
        folder, last = os.path.split(name)
        link = os.path.join(links, "linked")
        # Through the folder's link, as a library may replace the file: that would replace a link to the file.
        os.symlink(folder if _is_utf_8(last) else name, link)
        yield os.path.join(link, last) if _is_utf_8(last) else link


def _is_utf_8(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


@contextmanager
def write_errors(path: PathLike) -> Iterator[None]:
    """Report a full disk, and what keeps a library's machine code from writing, as every other failed write.

    safetensors and tokenizers raise errors of their own that name the system's error, torch one that does not.

    :param path: The file or folder that is written.
    :raises HypensearchError: In place of such an error. Others pass: they name their files.
    """
    try:
        yield
    except HypensearchError:
        raise
    except OSError as error:
        if error.errno not in _NO_ROOM or error.filename is not None:
            raise
        raise HypensearchError(f"{path}: cannot be written: {error.strerror}") from error
    except Exception as error:
        if match := _OS_ERROR.search(str(error)):
            raise HypensearchError(f"{path}: cannot be written: {os.strerror(int(match[1]))}") from error
        if isinstance(error, RuntimeError) and _TORCH_CANNOT_WRITE.search(str(error)):
            raise HypensearchError(f"{path}: cannot be written whole; is the disk full?") from error
        raise


def fsync_file(path: PathLike) -> None:
    """Bring the file of a name to disk; safetensors replaces files it writes to, so an open one may be another."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def fsync_folder(folder: PathLike) -> None:
    """Bring a folder's entries to disk, so that a rename inside it outlives a power cut.

    :param folder: An existing folder. File systems that cannot do this are left alone.
    """
    descriptor = os.open(folder, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(descriptor)


def set_usual_permissions(folder: PathLike) -> None:
    """Give all files below a folder the permissions that the umask leaves a new file there.

    Libraries make private files (safetensors), or keep the permissions of an archive; colleagues could not read them.

    :param folder: An existing folder.
    """
    probe = os.path.join(folder, f".{secrets.token_hex(8)}.partial")
    try:
        with open(probe, "xb") as file:
            permissions = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(probe)
    for parent, _, names in os.walk(folder):
        for path in (os.path.join(parent, name) for name in names):
            if not os.path.islink(path):
                os.chmod(path, permissions)


def sha256_of(path: PathLike, within: PathLike | None = None) -> str:
    """Give the hex SHA-256 digest of a plain file's bytes as they are on disk.

    :param within: The folder that it must lie in, links followed.
    :raises HypensearchError: When there is no such file.
    """
    try:
        with os.fdopen(open_plain(path, within), "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise HypensearchError(f"{path}: no such file") from None
    except OSError as error:
        raise HypensearchError(f"{path}: cannot be read: {error.strerror}") from None


def cache_folder() -> Path:
    """Give the user's folder for what can be had again: ``HYPENSEARCH_CACHE``, or ``~/.cache/hypensearch``.

    What lies there is trusted, so nobody else may put anything there. Without a home it is a folder of this user alone
    among the temporary files.

    :raises HypensearchError: When it belongs to another user, or others may write to it.
    """
    try:
        folder = Path(os.environ.get(CACHE_VARIABLE) or "~/.cache/hypensearch").expanduser()
        forbidden = stat.S_IWOTH
    except RuntimeError:  # nobody's home
        folder = Path(tempfile.gettempdir()) / f"hypensearch-{os.getuid()}"
        forbidden = stat.S_IWOTH | stat.S_IWGRP
        with _os_errors(folder), suppress(FileExistsError):
            os.mkdir(folder, 0o700)
    try:
        found = os.lstat(folder) if forbidden & stat.S_IWGRP else os.stat(folder)
    except OSError:
        return folder  # not there, so not filled by others
    if found.st_uid not in (os.geteuid(), 0) or found.st_mode & forbidden or not stat.S_ISDIR(found.st_mode):
        raise HypensearchError(
            f"{folder}: belongs to another user, or others may write to it, so what lies there cannot be trusted; set "
            f"{CACHE_VARIABLE} to a folder of your own, or take the permission away (chmod go-w)"
        )
    return folder


@contextmanager
def file_lock(path: PathLike) -> Iterator[None]:
    """Hold a lock that one process has at a time and that dies with it.

    The file names its holder's process id and is removed at the end. One that stays after a crash locks nobody out:
    what counts is the lock that the system keeps, not that the file exists.

    :param path: The lock file. Its folder must exist.
    :raises HypensearchError: At once when it is held, by another process or by this one; names the holder's pid.
    """
    while (descriptor := _try_to_lock(path)) is None:
        pass
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        with suppress(FileNotFoundError):
            os.unlink(path)
        os.close(descriptor)


def _try_to_lock(path: PathLike) -> int | None:
    """Give the locked file; None when its last holder removed it between our opening and locking it."""
    import fcntl

    with _os_errors(path):
        descriptor = open_to_write(path, os.O_RDWR | os.O_CREAT, only_name=True)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.lstat(path)):
                return descriptor
    except BlockingIOError:
        pid = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
        os.close(descriptor)
        raise HypensearchError(
            f"{path}: locked by process {pid or '(unknown)'}, which is still writing there; "
            "wait until it has ended or stop it"
        ) from None
    except OSError as error:
        os.close(descriptor)
        raise HypensearchError(f"{path}: cannot be locked here: {error.strerror}") from error
    os.close(descriptor)
    return None


def is_gzip_name(path: PathLike) -> bool:
    """Whether a file is read as gzip: by its name alone, as Pyserini does."""
    return os.fspath(path).endswith(".gz")


def open_stream(path: PathLike) -> BinaryIO:
    """Open a file for reading bytes, unpacked when its name ends in ``.gz``.

    :param path: A plain or gzipped file; a pipe will do, and can be read again. Only plain files can be sought in.
    :return: A buffered stream. Damaged gzip data raises :class:`HypensearchError` while it is read.
    :raises HypensearchError: When there is no such file, it is a folder, or name and content disagree about gzip.
    """
    plain = _open_plain(path)
    packed = plain.peek(2)[:2] == GZIP_MAGIC
    if packed and is_gzip_name(path):
        return io.BufferedReader(_Unpacked(plain, path), _BUFFER_BYTES)
    if not packed and not is_gzip_name(path):
        return plain
    found_nothing = not packed and not plain.peek(1)
    plain.close()
    if packed:
        raise HypensearchError(f"{path}: holds gzip data, but its name does not end in .gz; rename it to {path}.gz")
    raise HypensearchError(f"{path}: {'empty' if found_nothing else 'not gzip data'}, though its name ends in .gz")


def read_whole(path: PathLike, max_bytes: int) -> bytes:
    """Read a file that has to fit into memory, unpacked when its name ends in ``.gz``.

    :param max_bytes: More than this, unpacked, is refused before it is taken into memory.
    :raises HypensearchError: As :func:`open_stream`, or when the file is larger.
    """
    with open_stream(path) as stream:
        content = read_at_most(stream, max_bytes + 1)
    if len(content) > max_bytes:
        raise HypensearchError(f"{path}: larger than {max_bytes:,} bytes, the most that is read of such a file")
    return content


def numbered_lines(
    path: PathLike, *, max_line_bytes: int = MAX_LINE_BYTES, max_bytes: int | None = None
) -> Iterator[tuple[int, str]]:
    """Read a text file line by line.

    A line ends with ``\\n``, ``\\r\\n`` or ``\\r`` as in Java and Python's text mode, and with nothing else.

    :param path: A UTF-8 file, plain or ``.gz``; a byte order mark at its start is dropped.
    :param max_line_bytes: Longer lines are refused.
    :param max_bytes: Files that hold more, unpacked, are refused when that is reached; None for no limit.
    :return: Pairs of the line's number, from 1, and its text without the line end.
    :raises HypensearchError: As :func:`open_stream`, for a line or file too long, and for bytes that are not UTF-8.
    """
    number = size = 0
    with open_stream(path) as stream:
        while piece := stream.readline(max_line_bytes + 1):
            size += len(piece)
            if len(piece) > max_line_bytes:
                raise HypensearchError(f"{path}:{number + 1}: line is longer than {max_line_bytes:,} bytes")
            if max_bytes is not None and size > max_bytes:
                raise HypensearchError(f"{path}: larger than {max_bytes:,} bytes, the most that is read of such a file")
            if not number:
                piece = piece.removeprefix(UTF8_BOM)
            for line in _cut_at_line_ends(piece):
                number += 1
                yield number, decode_line(line, path, number)


def decode_line(line: bytes, path: PathLike, number: int) -> str:
    """Decode a line from UTF-8.

    :raises HypensearchError: When it is not UTF-8, naming file, line and the first bad byte.
    """
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise HypensearchError(
            f"{path}:{number}: byte 0x{line[error.start]:02x} at column {error.start + 1} is not UTF-8; "
            "convert the file to UTF-8"
        ) from None


def columns_of(line: str) -> list[str]:
    """Cut a line at ASCII white space and nothing else, as trec_eval does."""
    return line.split() if line.isascii() else [column for column in _ASCII_SPACE.split(line) if column]


def _cut_at_line_ends(piece: bytes) -> list[bytes]:
    if b"\r" not in piece:
        return [piece.removesuffix(b"\n")]
    return piece.removesuffix(b"\n").removesuffix(b"\r").split(b"\r")


def _open_plain(path: PathLike) -> io.BufferedReader:
    if os.path.isdir(path):
        raise HypensearchError(f"{path}: is a folder, a file was wanted")
    try:
        return io.BufferedReader(io.FileIO(_copy_of_pipe(path) if is_pipe(path) else path), _BUFFER_BYTES)
    except FileNotFoundError:
        raise HypensearchError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise HypensearchError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error


def is_pipe(path: PathLike) -> bool:
    """Whether a path is a pipe, such as the shell's ``<(command)``."""
    try:
        return stat.S_ISFIFO(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


#: Copies of pipes that were read, by device and inode: the shell's pipes have names that are used again.
_copies: dict[tuple[int, int], IO[bytes]] = {}
_copying = threading.Lock()


def _copy_of_pipe(path: PathLike) -> str:
    """Give the name of a copy of what a pipe gives, so that it can be read again from its start."""
    found = os.stat(path)
    key = (found.st_dev, found.st_ino)
    with _copying:
        if key not in _copies:
            copy = tempfile.NamedTemporaryFile(prefix="hypensearch-")  # noqa: SIM115 -- removed when the process ends
            with open(path, "rb", buffering=0) as pipe:
                shutil.copyfileobj(pipe, copy, _BUFFER_BYTES)
            copy.flush()
            _copies[key] = copy
        return _copies[key].name


class _Unpacked(io.RawIOBase):
    """The unpacked bytes of a gzip file, whose damage is an error of ours."""

    def __init__(self, packed: io.BufferedReader, path: PathLike) -> None:
        self._packed = packed
        self._gzip = gzip.GzipFile(fileobj=packed, mode="rb")
        self._path = path

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            return self._gzip.readinto(buffer)
        except EOFError:
            raise HypensearchError(f"{self._path}: gzip data breaks off before its end; copy the file again") from None
        except (gzip.BadGzipFile, zlib.error) as error:
            raise HypensearchError(f"{self._path}: gzip data is damaged ({error}); copy the file again") from None

    def close(self) -> None:
        if not self.closed:
            self._gzip.close()
            self._packed.close()
        super().close()


@contextmanager
def _os_errors(path: PathLike) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise HypensearchError(f"{path}: cannot be written: {error.strerror or error}") from error


def _open(place: str | int, mode: str) -> IO[Any]:
    return open(place, mode) if "b" in mode else open(place, mode, encoding="utf-8", newline="\n")


def _open_in_place(path: PathLike, mode: str) -> IO[Any]:
    if (stream := _stream_of(path)) is None:
        return _open(os.fspath(path), mode)
    for printed in filter(None, (sys.stdout, sys.stderr)):
        printed.flush()  # what was printed before comes before
    return _open(os.dup(stream), mode)


def _is_special(path: PathLike) -> bool:
    if _stream_of(path) is not None:
        return True
    with _os_errors(path):
        try:
            kind = os.stat(path).st_mode
        except (FileNotFoundError, NotADirectoryError):
            return False
    if stat.S_ISDIR(kind):
        raise HypensearchError(f"{path}: is a folder, a file name was wanted")
    return not stat.S_ISREG(kind)


def _stream_of(path: PathLike) -> int | None:
    """Give the number of an open stream that a path means: opened by name, it would start again or be refused."""
    name = os.fspath(path)
    match = _STREAM.fullmatch(name)
    return int(match[1]) if match else _STREAMS.get(name)


def _permissions_of(target: str, otherwise: int) -> int:
    try:
        found = os.lstat(target).st_mode
    except FileNotFoundError:
        return otherwise
    return stat.S_IMODE(found) if stat.S_ISREG(found) else otherwise
