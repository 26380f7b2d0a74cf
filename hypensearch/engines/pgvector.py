# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""PostgreSQL with pgvector 0.8 or later: codes as an indexed ``halfvec``, vectors as bytes beside them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import psycopg
from pgvector import HalfVector
from pgvector.psycopg import register_vector
from psycopg import sql

from hypensearch.engines.engine import Documents
from hypensearch.errors import HypensearchError

_EXPORTS = "hypensearch_exports"  # a row for each table, with its facts


class PgvectorEngine:
    """A table in PostgreSQL.

    :param url: The database, as libpq takes it.
    :param table: The table's name.
    :raises HypensearchError: When the database is not reached, or has no pgvector.
    """

    def __init__(self, url: str, table: str) -> None:
        self._name, self._table = table, sql.Identifier(table)
        with _one_line(url):
            self._connection = psycopg.connect(url, autocommit=True)
            self._connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
            register_vector(self._connection)
            self._execute("CREATE TABLE IF NOT EXISTS {exports} (name text PRIMARY KEY, facts text NOT NULL)")
        self._facts = self.facts() or {}

    def facts(self) -> dict[str, Any] | None:
        """See :class:`hypensearch.engines.engine.Engine`."""
        found = self._execute("SELECT facts FROM {exports} WHERE name = %s", [self._name]).fetchone()
        return json.loads(found[0]) if found else None

    def create(self, facts: dict[str, Any]) -> None:
        """See :class:`hypensearch.engines.engine.Engine`."""
        size = sql.Literal(int(facts["code_size"]))
        with self._connection.transaction():
            self._execute("DROP TABLE IF EXISTS {table}")
            self._execute(
                "CREATE TABLE {table} (id bigint PRIMARY KEY, code halfvec({size}) NOT NULL, vector bytea NOT NULL)",
                size=size,
            )
            self._execute("ALTER TABLE {table} ALTER COLUMN code SET STORAGE PLAIN")
            self._execute("DELETE FROM {exports} WHERE name = %s", [self._name])
            self._execute("INSERT INTO {exports} VALUES (%s, %s)", [self._name, json.dumps(facts)])
        self._facts = facts

    def num_docs(self) -> int:
        """See :class:`hypensearch.engines.engine.Engine`."""
        return int(self._execute("SELECT coalesce(max(id) + 1, 0) FROM {table}").fetchone()[0])

    def add(self, documents: Documents) -> None:
        """See :class:`hypensearch.engines.engine.Engine`."""
        statement = sql.SQL("COPY {} (id, code, vector) FROM STDIN WITH (FORMAT BINARY)").format(self._table)
        with (
            _one_line(self._name),
            self._connection.transaction(),
            self._connection.cursor() as cursor,
            cursor.copy(statement) as copy,
        ):
            copy.set_types(["int8", "halfvec", "bytea"])
            for row, code, vector in zip(documents.rows.tolist(), documents.codes, documents.vectors, strict=True):
                copy.write_row((row, HalfVector(code), vector.tobytes()))

    def build(self) -> None:
        """See :class:`hypensearch.engines.engine.Engine`; an HNSW index with pgvector's own settings."""
        index = sql.Identifier(f"{self._name}_code")
        self._execute("CREATE INDEX IF NOT EXISTS {index} ON {table} USING hnsw (code halfvec_ip_ops)", index=index)
        self._execute("ANALYZE {table}")

    def best(self, weights: np.ndarray, count: int, with_vectors: int, exclude: np.ndarray) -> Documents:
        """See :class:`hypensearch.engines.engine.Engine`."""
        with self._connection.transaction():
            # pgvector stops at ef_search candidates, before any are excluded, unless it may continue.
            self._execute("SET LOCAL hnsw.iterative_scan = strict_order")
            self._execute("SET LOCAL hnsw.ef_search = {size}", size=sql.Literal(min(1000, max(40, count))))
            found = self._execute(
                "SELECT id, code, CASE WHEN row_number() OVER () <= %s THEN vector END FROM (SELECT id, code, vector "
                "FROM {table} WHERE id <> ALL(%s) ORDER BY code <#> %s LIMIT %s) AS best",
                [with_vectors, exclude.tolist(), HalfVector(weights), count],
            ).fetchall()
        dtype, dim = np.dtype(self._facts["dtype"]), int(self._facts["dim"])
        vectors = b"".join(vector for _, _, vector in found if vector is not None)
        codes = [code.to_numpy() for _, code, _ in found]
        return Documents(
            np.array([row for row, _, _ in found], dtype=np.int64),
            np.array(codes, dtype=np.float32).reshape(-1, int(self._facts["code_size"])),
            np.frombuffer(vectors, dtype).reshape(-1, dim),
        )

    def close(self) -> None:
        """See :class:`hypensearch.engines.engine.Engine`."""
        self._connection.close()

    def _execute(self, statement: str, values: list[Any] | None = None, **names: sql.Composable) -> Any:
        composed = sql.SQL(statement).format(table=self._table, exports=sql.Identifier(_EXPORTS), **names)
        with _one_line(self._name):
            return self._connection.execute(composed, values, binary=True)


@contextmanager
def _one_line(what: str) -> Iterator[None]:
    try:
        yield
    except psycopg.Error as error:
        raise HypensearchError(f"{what}: PostgreSQL says: {' '.join(str(error).split())[:300]}") from None
