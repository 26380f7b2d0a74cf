# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Hypencoder retrieval for Pyserini: encode a corpus, search it with q-nets, evaluate the run.

::

    corpus --encode--> document vectors --> flat index ------+
    topics --query encoder + hyper head--> q-nets -----------+--search--> run --eval--> measures

The modules named in ``__all__`` are the interface; each is imported when it is first used.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

from hypensearch.threads import wait_passively as _wait_passively

if TYPE_CHECKING:
    from hypensearch import (
        encode,
        errors,
        eval,
        flat,
        hits,
        models,
        pyserini,
        qrels,
        rerank,
        runs,
        search,
        topics,
    )

__version__ = "0.1.0"

__all__ = [
    "encode",
    "errors",
    "eval",
    "flat",
    "hits",
    "models",
    "pyserini",
    "qrels",
    "rerank",
    "runs",
    "search",
    "topics",
]


def __getattr__(name: str) -> ModuleType:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"{__name__}.{name}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


_wait_passively()
