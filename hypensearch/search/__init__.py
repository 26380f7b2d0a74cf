# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Search: an index and topics to a run."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hypensearch.search.report import SearchStats
    from hypensearch.search.searcher import HypencoderSearcher

__all__ = ["HypencoderSearcher", "SearchStats"]


def __getattr__(name: str) -> Any:
    """Load the searcher, and with it torch, when it is first asked for: ``--help`` does not need it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from hypensearch.search import searcher

    return getattr(searcher, name)


def __dir__() -> list[str]:
    return __all__
