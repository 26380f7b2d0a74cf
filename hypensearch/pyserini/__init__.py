# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Pyserini beside ours: a JDK that is found, BM25 and hybrid search, its commands, our encoders among its own.

What Pyserini's modules are called is known to ``hypensearch.pyserini.bridge`` alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypensearch.pyserini.bridge import (
    bm25_run,
    hybrid_searcher,
    index_lucene,
    lucene_searcher,
    trec_eval,
    use_java,
)

if TYPE_CHECKING:
    from hypensearch.pyserini.encoders import HypencoderDocumentEncoder, HypencoderQueryEncoder

__all__ = [
    "HypencoderDocumentEncoder",
    "HypencoderQueryEncoder",
    "bm25_run",
    "hybrid_searcher",
    "index_lucene",
    "lucene_searcher",
    "trec_eval",
    "use_java",
]


def __getattr__(name: str) -> type:
    """Import the encoders, and so Pyserini, when they are asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from hypensearch.pyserini import encoders

    found: type = getattr(encoders, name)
    return found


def __dir__() -> list[str]:
    return __all__
