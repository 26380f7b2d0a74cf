# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Where candidates' vectors come from, with the model that makes them: an index, or texts encoded on demand.

Both have the same methods; documents are prepared before they are asked for, many at a time.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hypensearch.device import autocast
from hypensearch.encode.options import EncodingOptions
from hypensearch.encode.texts import encode_texts
from hypensearch.errors import HypensearchError
from hypensearch.flat.index import FlatIndex
from hypensearch.flat.model import IndexModel
from hypensearch.models.dual_encoder import DualEncoder
from hypensearch.progress import progress_bar
from hypensearch.rerank.texts import Texts
from hypensearch.rerank.vector_cache import VectorCache

_WINDOW_BATCHES = 32


class IndexVectors:
    """The vectors of an index.

    :param index: The index, which is closed with them.
    :param model: The model that made it.
    """

    def __init__(self, index: FlatIndex, model: IndexModel) -> None:
        self.where, self.dim = index.folder, index.dim
        self.given_encoder, self.check_made_by = model.given, model.check_made_by
        self._index, self._model = index, model
        self._rows: dict[str, int] = {}

    @property
    def model(self) -> DualEncoder:
        """The model, loaded on first use."""
        return self._model.model

    def prepare(self, docids: Iterable[str]) -> int:
        """Look up the rows of documents, all at once.

        :return: How many documents were encoded for it: none.
        """
        missing = [docid for docid in dict.fromkeys(docids) if docid not in self._rows]
        self._rows.update(zip(missing, self._index.rows_of(missing).tolist(), strict=True))
        return 0

    def rows_of(self, docids: Sequence[str]) -> np.ndarray:
        """Return the rows of documents that were prepared, -1 for those that do not exist; int64."""
        return np.array([self._rows[docid] for docid in docids], dtype=np.int64)

    def docid(self, row: int) -> str:
        """Return the docid of a row."""
        return self._index.docid(row)

    def gather(self, rows: np.ndarray) -> np.ndarray:
        """Return the vectors of rows, float32, *Shape:* ``(len(rows), dim)``."""
        return self._index.vectors(rows)

    def close(self) -> None:
        """Close the index."""
        self._index.close()


class EncodedVectors:
    """Vectors made of texts when they are needed, each document's once.

    :param texts: The texts.
    :param model: The encoder.
    :param cache: Folder that keeps the vectors for later calls; None for a temporary one.
    :param encoding: How documents are encoded.
    :param bf16: Encode under bfloat16 autocast: faster on processors that have it.
    :param show_progress: Draw a progress bar on stderr.
    :raises HypensearchError: When the cache was made of other texts or by another encoder.
    """

    def __init__(
        self,
        texts: Texts,
        model: DualEncoder,
        *,
        cache: str | None = None,
        encoding: EncodingOptions | None = None,
        bf16: bool = False,
        show_progress: bool = False,
    ) -> None:
        self.where, self.dim, self.model = texts.where, model.dim, model
        self._texts = texts
        self._encoding, self._bf16, self._show_progress = encoding or EncodingOptions(), bf16, show_progress
        self._temporary = tempfile.TemporaryDirectory(prefix="hypensearch-") if cache is None else None
        folder = Path(self._temporary.name, "vectors") if self._temporary else Path(cache or "")
        facts = {
            "encoder": model.fingerprint,
            "max_length": self._encoding.max_length,
            "precision": "bfloat16" if bf16 else "float32",
            "texts": texts.facts(),
        }
        self._cache = VectorCache(folder, dim=model.dim, facts=facts)
        self._absent: set[str] = set()

    def given_encoder(self) -> DualEncoder:
        """Return the model."""
        return self.model

    def check_made_by(self, model: Mapping[str, Any], what: str) -> None:
        """Refuse q-nets of another model; see :meth:`IndexModel.check_made_by`."""
        if model.get("fingerprint") != self.model.fingerprint:
            raise HypensearchError(
                f"candidates are encoded by {self.model.name} (document encoder {self.model.fingerprint[:8]}), but "
                f"{what} is {model.get('name')} ({str(model.get('fingerprint'))[:8]}): name the right --encoder"
            )

    def prepare(self, docids: Iterable[str]) -> int:
        """Encode the documents that have no vector yet; the texts are read once.

        :return: How many documents were encoded.
        """
        missing = {docid for docid in docids if docid not in self._cache and docid not in self._absent}
        if not missing:
            return 0
        before = len(self._cache)
        with (
            self._cache,
            progress_bar(len(missing), unit="document", description="encoding", show=self._show_progress) as bar,
            autocast(self.model.device, torch.bfloat16, enabled=self._bf16),
        ):
            documents = iter(self._texts.read(missing))
            while window := list(islice(documents, _WINDOW_BATCHES * self._encoding.batch_size)):
                window.sort(key=lambda document: (-len(document[1]), document[0]))
                texts = [text for _, text in window]
                vectors = encode_texts(texts, self.model, self._encoding, lambda rows: bar.update(len(rows)))
                self._cache.append([docid for docid, _ in window], vectors)
        self._absent |= {docid for docid in missing if docid not in self._cache}
        return len(self._cache) - before

    def rows_of(self, docids: Sequence[str]) -> np.ndarray:
        """Return the rows of documents that were prepared, -1 for those that do not exist; int64."""
        return np.array([self._cache.row_of(docid) for docid in docids], dtype=np.int64)

    def docid(self, row: int) -> str:
        """Return the docid of a row."""
        return self._cache.docid(row)

    def gather(self, rows: np.ndarray) -> np.ndarray:
        """Return the vectors of rows, float32, *Shape:* ``(len(rows), dim)``."""
        return self._cache.take(rows)

    def close(self) -> None:
        """Let go of files; a temporary folder is removed."""
        self._cache.close()
        self._texts.close()
        if self._temporary is not None:
            self._temporary.cleanup()


Vectors = IndexVectors | EncodedVectors
