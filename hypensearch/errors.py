# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The one error type that reaches users."""

from __future__ import annotations

__all__ = ["HypensearchError"]


class HypensearchError(Exception):
    """Bad input or a bad environment.

    The message is one line: what was found (file, line or flag), what was wanted, and what to do.
    Commands print it as ``error: ...`` and exit with code 2.
    """


def __dir__() -> list[str]:
    return __all__
