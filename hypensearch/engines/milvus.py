# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Milvus: codes as an indexed float vector, document vectors as text beside them.

Milvus loads a collection only when each of its vector fields has an index, so the document vectors are no such field.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from pymilvus import DataType, MilvusClient, MilvusException

from hypensearch.engines.engine import Documents
from hypensearch.errors import HypensearchError

_MAX_TEXT = 65_535  # bytes of a VARCHAR


class MilvusEngine:
    """A collection in Milvus.

    :param url: ``milvus://host:port``, or ``milvus:///path/to/file.db`` for Milvus Lite.
    :param table: The collection's name.
    :raises HypensearchError: When Milvus is not reached.
    """

    def __init__(self, url: str, table: str) -> None:
        self._table, self._facts_name = table, f"{table}_facts"  # Milvus Lite keeps no descriptions
        parts = urlsplit(url)
        with _one_line(url):
            self._client = MilvusClient(uri=f"http://{parts.netloc}" if parts.netloc else parts.path)
        self._facts = self.facts() or {}

    def facts(self) -> dict[str, Any] | None:
        """See :class:`hypensearch.engines.engine.Engine`."""
        with _one_line(self._table):
            if not self._client.has_collection(self._facts_name):
                return None
            found = self._client.get(self._facts_name, [0], output_fields=["facts"])
        return dict(json.loads(found[0]["facts"])) if found else None

    def create(self, facts: dict[str, Any]) -> None:
        """See :class:`hypensearch.engines.engine.Engine`."""
        length = -(-np.dtype(facts["dtype"]).itemsize * int(facts["dim"]) // 3) * 4
        if length > _MAX_TEXT:
            raise HypensearchError(f"Milvus keeps {_MAX_TEXT:,} bytes beside a code: too few for {facts['dim']} values")
        schema = MilvusClient.create_schema(auto_id=False)
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("code", DataType.FLOAT_VECTOR, dim=int(facts["code_size"]))
        schema.add_field("vector", DataType.VARCHAR, max_length=length)
        indexes = MilvusClient.prepare_index_params()
        indexes.add_index("code", index_type="HNSW", metric_type="IP", params={"M": 16, "efConstruction": 200})
        described = MilvusClient.create_schema(auto_id=False)
        described.add_field("id", DataType.INT64, is_primary=True)
        described.add_field("facts", DataType.VARCHAR, max_length=_MAX_TEXT)
        described.add_field("unused", DataType.FLOAT_VECTOR, dim=2)  # Milvus wants a vector in each collection
        none = MilvusClient.prepare_index_params()
        none.add_index("unused", index_type="FLAT", metric_type="IP")
        with _one_line(self._table):
            for name in (
                self._facts_name,
                self._table,
            ):  # the facts go first, so that no other documents are under them
                if self._client.has_collection(name):
                    self._client.drop_collection(name)
            self._client.create_collection(self._table, schema=schema, index_params=indexes)
            self._client.create_collection(self._facts_name, schema=described, index_params=none)
            self._client.insert(self._facts_name, [{"id": 0, "facts": json.dumps(facts), "unused": [0.0, 0.0]}])
        self._facts = facts

    def num_docs(self) -> int:
        """See :class:`hypensearch.engines.engine.Engine`."""
        with _one_line(self._table):
            found = self._client.query(self._table, filter="id >= 0", output_fields=["count(*)"])
        return int(found[0]["count(*)"])

    def add(self, documents: Documents) -> None:
        """See :class:`hypensearch.engines.engine.Engine`; a repeated row replaces itself."""
        texts = [base64.b64encode(vector.tobytes()).decode() for vector in documents.vectors]
        each = zip(documents.rows.tolist(), documents.codes.tolist(), texts, strict=True)
        records = [{"id": row, "code": code, "vector": text} for row, code, text in each]
        with _one_line(self._table):
            self._client.upsert(self._table, records)

    def build(self) -> None:
        """See :class:`hypensearch.engines.engine.Engine`; Milvus builds its index as documents come."""
        with _one_line(self._table):
            self._client.flush(self._table)
            self._client.load_collection(self._table)

    def best(self, weights: np.ndarray, count: int, with_vectors: int, exclude: np.ndarray) -> Documents:
        """See :class:`hypensearch.engines.engine.Engine`."""
        without = f"id not in {exclude.tolist()}" if len(exclude) else ""
        with _one_line(self._table):
            (hits,) = self._client.search(
                self._table,
                data=[weights.tolist()],
                filter=without,
                limit=count,
                output_fields=["code", "vector"],
                search_params={"metric_type": "IP", "params": {"ef": max(count, 64)}},
            )
        dtype, dim = np.dtype(self._facts["dtype"]), int(self._facts["dim"])
        vectors = b"".join(base64.b64decode(hit["entity"]["vector"]) for hit in hits[:with_vectors])
        codes = [hit["entity"]["code"] for hit in hits]
        return Documents(
            np.array([hit["id"] for hit in hits], dtype=np.int64),
            np.array(codes, dtype=np.float32).reshape(-1, int(self._facts["code_size"])),
            np.frombuffer(vectors, dtype).reshape(-1, dim),
        )

    def close(self) -> None:
        """See :class:`hypensearch.engines.engine.Engine`."""
        self._client.close()


@contextmanager
def _one_line(what: str) -> Iterator[None]:
    try:
        yield
    except MilvusException as error:
        raise HypensearchError(f"{what}: Milvus says: {' '.join(str(error).split())[:300]}") from None
