# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""A process that dies at a chosen moment, and folders compared byte by byte."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

_KILLED, _DONE = 9, 0
_SECONDS = 60  # that a child may take: what it inherited of threads and locks may keep it waiting for ever


def dies_at_fsync(number: int, body: Callable[[], object]) -> bool:
    """Run ``body`` in a process of its own that dies, as if killed, right before its ``number``-th fsync.

    :return: Whether it died; False when it was done before.
    """
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(_SECONDS)
        _die_before_fsync(number)
        try:
            body()
            os._exit(_DONE)
        finally:
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code in (_KILLED, _DONE)
    return code == _KILLED


def _die_before_fsync(number: int) -> None:
    fsync, calls = os.fsync, iter(range(1, number + 1))

    def counting(descriptor: int) -> None:
        if next(calls, number) == number:
            os._exit(_KILLED)
        fsync(descriptor)

    os.fsync = counting


def content_of(folder: Path) -> dict[str, bytes]:
    """Give every file under a folder with its bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
