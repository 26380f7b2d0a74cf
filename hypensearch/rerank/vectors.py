# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Where candidates' vectors come from: a vector index, or texts that are encoded when they are asked for."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from hypensearch.device import autocast
from hypensearch.flat.index import FlatIndex
from hypensearch.progress import progress_bar
from hypensearch.rerank.vector_cache import VectorCache

if TYPE_CHECKING:
    from hypensearch.models.dual_encoder import DualEncoder
    from hypensearch.rerank.texts import Texts


class Vectors(Protocol):
    """Document vectors by docid."""

    where: str

    @property
    def dim(self) -> int:
        """Size of a document vector."""

    def prepare(self, docids: Iterable[str]) -> int:
        """Have the vectors of some documents, those that do not exist left out; gives how many were made for it."""

    def rows_of(self, docids: Sequence[str]) -> np.ndarray:
        """Give the rows of documents that were prepared, -1 for those that do not exist; int64."""

    def docid(self, row: int) -> str:
        """Give the docid of a row."""

    def gather(self, rows: np.ndarray) -> np.ndarray:
        """Give the vectors of rows, float32, *Shape:* ``(len(rows), dim)``."""

    def close(self) -> None:
        """Let go of files."""


class IndexVectors:
    """The vectors of an index.

    :param index: The index, which is closed with them.
    """

    def __init__(self, index: FlatIndex) -> None:
        self.where = index.folder
        self._index = index
        self._rows: dict[str, int] = {}

    @property
    def dim(self) -> int:
        """Size of a document vector."""
        return self._index.dim

    def prepare(self, docids: Iterable[str]) -> int:
        """Look up the rows of documents, all at once."""
        missing = [docid for docid in dict.fromkeys(docids) if docid not in self._rows]
        self._rows.update(zip(missing, self._index.rows_of(missing).tolist(), strict=True))
        return 0

    def rows_of(self, docids: Sequence[str]) -> np.ndarray:
        """Give the rows of documents that were prepared, -1 for those that are not in the index."""
        return np.array([self._rows[docid] for docid in docids], dtype=np.int64)

    def docid(self, row: int) -> str:
        """Give the docid of a row."""
        return self._index.docid(row)

    def gather(self, rows: np.ndarray) -> np.ndarray:
        """Give the vectors of rows."""
        return self._index.vectors(rows)

    def close(self) -> None:
        """Close the index."""
        self._index.close()


@dataclass(frozen=True)
class DocumentEncoding:
    """How documents are encoded.

    :param max_length: Tokens kept of a text.
    :param batch_size: Texts encoded at a time.
    :param bf16: Encode under bfloat16 autocast: faster on processors that have it.
    """

    max_length: int = 256
    batch_size: int = 64
    bf16: bool = False


class EncodedVectors:
    """Vectors made of texts when they are asked for, each document's once.

    :param texts: The texts.
    :param model: The encoder.
    :param cache: Folder that keeps the vectors for later calls; None for a temporary one.
    :param encoding: How documents are encoded.
    :param show_progress: Draw a progress bar on stderr.
    :raises HypensearchError: When the cache was made of other texts or by another encoder.
    """

    def __init__(
        self,
        texts: Texts,
        model: DualEncoder,
        *,
        cache: str | None = None,
        encoding: DocumentEncoding | None = None,
        show_progress: bool = False,
    ) -> None:
        self.where = texts.where
        self._texts = texts
        self._model = model
        self._encoding = encoding or DocumentEncoding()
        self._show_progress = show_progress
        self._temporary = tempfile.TemporaryDirectory(prefix="hypensearch-") if cache is None else None
        folder = Path(self._temporary.name, "vectors") if self._temporary else Path(cache or "")
        self._cache = VectorCache(folder, dim=model.dim, facts=self._facts())
        self._absent: set[str] = set()

    @property
    def dim(self) -> int:
        """Size of a document vector."""
        return self._model.dim

    def prepare(self, docids: Iterable[str]) -> int:
        """Encode the documents that have no vector yet; the texts are gone through once."""
        missing = {docid for docid in docids if docid not in self._cache and docid not in self._absent}
        if not missing:
            return 0
        before = len(self._cache)
        bar = progress_bar(len(missing), unit="document", description="encoding", show=self._show_progress)
        with self._cache, bar:
            for window in _windows(self._texts.read(missing), self._encoding.batch_size * 32):
                for batch, vectors in self._encode(window):
                    self._cache.append(batch, vectors)
                    bar.update(len(batch))
        self._absent |= {docid for docid in missing if docid not in self._cache}
        return len(self._cache) - before

    def rows_of(self, docids: Sequence[str]) -> np.ndarray:
        """Give the rows of documents that were prepared, -1 for those without a text."""
        return np.array([self._cache.row_of(docid) for docid in docids], dtype=np.int64)

    def docid(self, row: int) -> str:
        """Give the docid of a row."""
        return self._cache.docid(row)

    def gather(self, rows: np.ndarray) -> np.ndarray:
        """Give the vectors of rows."""
        return self._cache.take(rows)

    def close(self) -> None:
        """Let go of files; a temporary folder is removed."""
        self._cache.close()
        self._texts.close()
        if self._temporary is not None:
            self._temporary.cleanup()

    def _encode(self, window: list[tuple[str, str]]) -> Iterator[tuple[list[str], np.ndarray]]:
        """Encode texts of about equal length together, longest first."""
        import torch

        window = sorted(window, key=lambda document: (-len(document[1]), document[0]))
        for start in range(0, len(window), self._encoding.batch_size):
            batch = window[start : start + self._encoding.batch_size]
            with autocast(self._model.device, torch.bfloat16, enabled=self._encoding.bf16):
                vectors = self._model.encode_documents(
                    [text for _, text in batch], max_length=self._encoding.max_length
                )
            yield [docid for docid, _ in batch], vectors

    def _facts(self) -> dict[str, Any]:
        return {
            "encoder": self._model.fingerprint,
            "max_length": self._encoding.max_length,
            "precision": "bfloat16" if self._encoding.bf16 else "float32",
            "texts": self._texts.facts(),
        }


def _windows(documents: Iterable[tuple[str, str]], size: int) -> Iterator[list[tuple[str, str]]]:
    window: list[tuple[str, str]] = []
    for document in documents:
        window.append(document)
        if len(window) == size:
            yield window
            window = []
    if window:
        yield window
