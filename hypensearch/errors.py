# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The one error type that reaches users, and how messages name a command to run."""

from __future__ import annotations

import os
import shlex

from hypensearch.printing import visible_line

__all__ = ["HypensearchError"]


class HypensearchError(Exception):
    """Bad input or a bad environment.

    The message is one line: what was found (file, line or flag), what was wanted, and what to do.
    Commands print it as ``error: ...`` and exit with code 2.
    """

    def __str__(self) -> str:
        """Return the message: one line without control characters, whatever file names are in it."""
        return visible_line(super().__str__())


def as_typed(module: str, *words: str | os.PathLike[str]) -> str:
    """Return the command line that runs a module, quoted for the shell.

    :param words: Its arguments; placeholders are words in capitals, which need no quotes.
    """
    return shlex.join(["python", "-m", module, *(os.fspath(word) for word in words)])


def __dir__() -> list[str]:
    return __all__
