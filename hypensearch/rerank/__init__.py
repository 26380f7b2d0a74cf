# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Reranking: the candidates of any run, scored with q-nets."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hypensearch.rerank.options import RerankOptions
    from hypensearch.rerank.reranker import Reranker, RerankStats

__all__ = ["RerankOptions", "RerankStats", "Reranker"]


def __getattr__(name: str) -> Any:
    """Load the reranker, and with it torch, when it is first asked for: ``--help`` does not need it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from hypensearch.rerank import reranker

    return getattr(reranker, name)


def __dir__() -> list[str]:
    return __all__
