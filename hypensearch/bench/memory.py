# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Memory of this process: its own, and what it has mapped of files, which the system takes back when it needs to."""

from __future__ import annotations

import resource
from pathlib import Path

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"


def reset_peak() -> None:
    """Let the peak begin at what is resident now, where the system can (Linux); elsewhere it is that of the process."""
    try:
        _CLEAR.write_text(_RESET_PEAK)
    except OSError:
        return


def memory_mb() -> dict[str, int]:
    """Give the resident memory in MB: ``peak`` with mapped files, now ``own`` and ``mapped``; the last two on Linux."""
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return {"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}
    kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.endswith(" kB")}
    names = {"peak": "VmHWM", "own": "RssAnon", "mapped": "RssFile"}
    return {name: kilobytes[field] // 1024 for name, field in names.items()}
