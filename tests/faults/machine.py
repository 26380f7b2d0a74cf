# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""A machine that fails: the process dies, power goes, the disk is full or refuses, at a chosen write.

A body runs in a forked child whose writes are counted: files opened for writing, cut and written, renames, links,
removals, folders made, and every fsync. What libraries write in their own machine code is one write of this kind or
none; it is met by kills at random times and by limits on the size of files, which the system itself enforces.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import random
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

SECONDS = 600  # that a child may take: a lock or a thread that it waits for must not stop the campaign
NOBODY = 65534
_OS_WRITES = ("fsync", "replace", "rename", "link", "unlink", "remove", "rmdir", "mkdir", "pwrite", "ftruncate")


@dataclass(frozen=True)
class End:
    """How a child ended.

    :param code: Its exit code, minus the signal that killed it.
    :param stderr: What it wrote to stderr.
    :param writes: How many writes it did, where it lived to say so.
    """

    code: int
    stderr: str
    writes: int = 0

    @property
    def killed(self) -> bool:
        """Whether it was killed."""
        return self.code == -signal.SIGKILL

    @property
    def refused(self) -> bool:
        """Whether it ended as a command does that tells of an error: exit code 2, and one line."""
        lines = self.stderr.replace("\r", "\n").split("\n")
        said = [line for line in lines if line.startswith(("error: ", "Traceback"))]
        return self.code == 2 and len(said) == 1 and said[0].startswith("error: ")


class Writes:
    """Counts the writes below a folder in this process, and fails at one of them.

    :param folder: Writes elsewhere count for nothing.
    :param fail_at: Number of the write that fails, from 1; 0 for none.
    :param fail: What happens there; gets the write's name and, for bytes to be written, a function that writes some.
    """

    def __init__(self, folder: Path, fail_at: int, fail: Fail) -> None:
        self.folder = os.path.realpath(folder)
        self.fail_at = fail_at
        self.fail = fail
        self.count = 0
        self.synced = {path.stat().st_ino: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    def install(self) -> None:
        """Stand in for the system from now on, for good: this process is going to end."""
        for name in _OS_WRITES:
            setattr(os, name, self._counted(name, getattr(os, name)))
        counting = self

        class File(io.FileIO):
            def write(self, data: Any) -> int:
                view = memoryview(data).cast("B")
                counting.before("write", self.name, lambda share: super(File, self).write(view[: share(len(view))]))
                return super().write(data)

            def truncate(self, size: int | None = None) -> int:
                counting.before("truncate", self.name)
                return super().truncate(size)

        plain_open = builtins.open

        def opened(file: Any, mode: str = "r", buffering: int = -1, *rest: Any, **named: Any) -> Any:
            if isinstance(file, int) or not set(mode) & set("wax+") or not self._is_ours(file):
                return plain_open(file, mode, buffering, *rest, **named)
            self.before("open", file)
            raw = File(file, mode.replace("b", "").replace("t", ""))
            buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
            return buffered if "b" in mode else io.TextIOWrapper(buffered, **named)

        io.FileIO = File  # type: ignore[misc]
        builtins.open = io.open = opened

    def before(self, name: str, target: object, part: Part | None = None) -> None:
        """Count a write that is about to happen."""
        if not self._is_ours(target):
            return
        self.count += 1
        if self.count >= self.fail_at > 0:
            self.fail(self, name, part)

    def lose_what_is_not_synced(self, rng: random.Random) -> None:
        """Do what a power cut does to bytes that no fsync brought to disk: some are there, some are zeros, some not."""
        self.fail_at = 0
        for path in Path(self.folder).rglob("*"):
            if not path.is_file() or path.is_symlink():
                continue
            now, safe = path.read_bytes(), self.synced.get(path.stat().st_ino, b"")
            if now == safe:
                continue
            kept = rng.randint(len(safe) if now.startswith(safe) else 0, len(now))
            lost = safe[kept:] or rng.choice([b"", bytes(len(now) - kept)])
            with io.FileIO(path, "r+") as file:
                io.FileIO.truncate(file, 0)
                os.write(file.fileno(), now[:kept] + lost)

    def _counted(self, name: str, plain: Callable[..., Any]) -> Callable[..., Any]:
        def counted(target: Any, *rest: Any, **named: Any) -> Any:
            part: Part | None = None
            if name == "pwrite":
                data, at = memoryview(rest[0]).cast("B"), rest[1]
                part = lambda share: plain(target, data[: share(len(data))], at)  # noqa: E731
            self.before(name, target, part)
            result = plain(target, *rest, **named)
            if name == "fsync" and self._is_ours(target):
                self._note_synced(target)
            return result

        return counted

    def _note_synced(self, descriptor: int) -> None:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        if os.path.isfile(path):
            self.synced[os.fstat(descriptor).st_ino] = Path(path).read_bytes()

    def _is_ours(self, target: object) -> bool:
        try:
            path = os.readlink(f"/proc/self/fd/{target}") if isinstance(target, int) else os.fspath(target)  # type: ignore[call-overload]
            folder = os.path.realpath(os.path.dirname(os.path.abspath(path)))
        except (OSError, TypeError):
            return False
        return f"{folder}/".startswith(f"{self.folder}/")


Part = Callable[[Callable[[int], int]], object]
Fail = Callable[[Writes, str, Part | None], None]


def in_child(body: Callable[[], int], writes: Writes | None = None, *, prepare: Callable[[], object] = int) -> End:
    """Run a body in a forked process to whatever end it comes to.

    :param body: Gives the exit code.
    :param writes: Counts, and fails at, its writes.
    :param prepare: What else is done to the process first.
    """
    pid, stderr = _fork(body, writes, prepare)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return _end(code, stderr)


def killed_after(seconds: float, body: Callable[[], int]) -> End:
    """Run a body in a forked process that is killed after some time, unless it has ended before."""
    pid, stderr = _fork(body, None, int)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return _end(os.waitstatus_to_exitcode(status), stderr)
        os.sched_yield()
    os.kill(pid, signal.SIGKILL)
    return _end(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), stderr)


def _fork(body: Callable[[], int], writes: Writes | None, prepare: Callable[[], object]) -> tuple[int, int]:
    stderr = os.memfd_create("stderr")
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        _run(body, writes, prepare, stderr)
    return pid, stderr


def _run(body: Callable[[], int], writes: Writes | None, prepare: Callable[[], object], stderr: int) -> NoReturn:
    code = 1
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(SECONDS)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(stderr, 2)
        sys.stdout, sys.stderr = (io.TextIOWrapper(io.FileIO(number, "w"), write_through=True) for number in (1, 2))
        prepare()
        if writes is not None:
            writes.install()
        code = body()
    except BaseException:
        traceback.print_exc()
    finally:
        if writes is not None:
            os.write(stderr, f"\0{writes.count}".encode())
        os._exit(code)


def _end(code: int, stderr: int) -> End:
    with open(stderr, "rb") as file:
        file.seek(0)
        text, _, count = file.read().decode(errors="replace").partition("\0")
    return End(code, text, int(count or 0))


def die(writes: Writes, name: str, part: Part | None) -> None:
    """Kill -9 before the write."""
    os.kill(os.getpid(), signal.SIGKILL)


def die_within(writes: Writes, name: str, part: Part | None) -> None:
    """Kill -9 when half of the bytes are written."""
    if part is not None:
        part(lambda size: size // 2)
    os.kill(os.getpid(), signal.SIGKILL)


def power_cut(writes: Writes, name: str, part: Part | None) -> None:
    """All that no fsync has brought to disk is lost, in whole or in part."""
    writes.lose_what_is_not_synced(random.Random(writes.count))
    os.kill(os.getpid(), signal.SIGKILL)


def disk_full(writes: Writes, name: str, part: Part | None) -> None:
    """There is room for half of the bytes, and for nothing after that; what takes no room is written."""
    if name in ("open", "write", "mkdir", "pwrite", "link"):
        if part is not None and writes.count == writes.fail_at:
            part(lambda size: size // 2)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def disk_error(writes: Writes, name: str, part: Part | None) -> None:
    """The one write fails, whatever it is; the next ones succeed."""
    if writes.count == writes.fail_at:
        raise OSError(errno.EIO, os.strerror(errno.EIO))


def no_failure(writes: Writes, name: str, part: Part | None) -> None:
    """Nothing fails."""


def small_files(most_bytes: int) -> Callable[[], object]:
    """Let no file grow beyond a size, enforced by the system: libraries' own writes fail as on a full disk."""

    def prepare() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))

    return prepare


def read_only(folder: Path) -> Callable[[], object]:
    """Take the right to write into a folder; root gives itself up for it, who may write anywhere."""

    def prepare() -> None:
        if os.getuid() == 0:
            for path in (folder.parent, *folder.parent.rglob("*")):
                os.chown(path, NOBODY, NOBODY)
            os.setuid(NOBODY)
        os.chmod(folder, 0o555)

    return prepare


def flipped(content: bytes, rng: random.Random) -> bytes:
    """Give bytes with one to three bits flipped."""
    changed = bytearray(content)
    for _ in range(rng.randint(1, 3)):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def cut(content: bytes) -> Iterator[bytes]:
    """Give every beginning of some bytes."""
    return (content[:size] for size in range(len(content)))
