# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Pyserini's own commands under a JDK that hypensearch finds, with our encoders and index type among Pyserini's.

What Pyserini's modules are called is known to ``hypensearch.pyserini_bridge`` alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hypensearch.pyserini.encoders import HypencoderDocumentEncoder, HypencoderQueryEncoder

__all__ = ["HypencoderDocumentEncoder", "HypencoderQueryEncoder"]


def __getattr__(name: str) -> type:
    """Import the encoders, and so Pyserini, when they are asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from hypensearch.pyserini import encoders

    found: type = getattr(encoders, name)
    return found
