# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""What a database has to do for surrogate search, and the databases by URL.

A round of surrogate search is one call: the documents whose codes have the highest inner products with the fit, and the
vectors of the best of them. Exact scores and fits are computed by the client.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

import numpy as np

from hypensearch.errors import HypensearchError


@dataclass(frozen=True)
class Documents:
    """Documents in an engine.

    :param rows: Their rows in the index, int64, *Shape:* ``(n,)``.
    :param codes: Their codes, float32, *Shape:* ``(n, code_size)``.
    :param vectors: The document vectors of the first m of them, as stored in the index, *Shape:* ``(m, dim)``.
    """

    rows: np.ndarray
    codes: np.ndarray
    vectors: np.ndarray


class Engine(Protocol):
    """One table (collection) of a vector database."""

    def facts(self) -> dict[str, Any] | None:
        """Return what :meth:`create` was given, None when there is no such table."""
        ...

    def create(self, facts: dict[str, Any]) -> None:
        """Create an empty table in place of one that is there.

        :param facts: What the documents are, as JSON; ``code_size`` and ``dim`` among them.
        """
        ...

    def num_docs(self) -> int:
        """Return how many documents were added: rows 0 to this number."""
        ...

    def add(self, documents: Documents) -> None:
        """Add consecutive documents, all or none, each with its vector."""
        ...

    def build(self) -> None:
        """Build the engine's own index of codes by inner product, once all documents are there."""
        ...

    def best(self, weights: np.ndarray, count: int, with_vectors: int, exclude: np.ndarray) -> Documents:
        """Find the documents whose codes have the highest inner products with weights.

        :param weights: float32, *Shape:* ``(code_size,)``.
        :param count: Documents wanted.
        :param with_vectors: Give the vectors of so many of them, the best.
        :param exclude: Rows to leave out, int64, *Shape:* ``(n,)``.
        """
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


def open_engine(url: str, table: str) -> Engine:
    """Connect to an engine.

    :param url: ``postgresql://user@host/database`` for PostgreSQL with pgvector; ``milvus://host:19530``, or
        ``milvus:///path/to/file.db`` for Milvus Lite.
    :param table: Name of the table or collection: letters, digits and underscores.
    :raises HypensearchError: When the URL is of no engine we know, its client is not installed, or it is not reached.
    """
    if not table.isidentifier() or not table.isascii() or len(table) > 48:
        raise HypensearchError(f"--engine-table {table!r}: wanted up to 48 letters, digits and underscores")
    scheme = urlsplit(url).scheme
    try:
        if scheme in ("postgresql", "postgres"):
            from hypensearch.engines.pgvector import PgvectorEngine

            return PgvectorEngine(url, table)
        if scheme == "milvus":
            from hypensearch.engines.milvus import MilvusEngine

            return MilvusEngine(url, table)
    except ImportError as error:
        extra = "milvus" if scheme == "milvus" else "pgvector"
        raise HypensearchError(f"{url} needs {error.name}: pip install 'hypensearch[{extra}]'") from None
    raise HypensearchError(f"--engine-url {url}: wanted postgresql://... (pgvector) or milvus://...")


def blocks(num_docs: int, start: int, size: int) -> Iterable[range]:
    """Split rows into consecutive ranges."""
    return (range(first, min(first + size, num_docs)) for first in range(start, num_docs, size))
