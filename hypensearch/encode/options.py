# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""How documents are encoded, and what is written of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hypensearch.options import Options, option

WINDOW_ROWS = 2048


@dataclass(frozen=True)
class EncodingOptions(Options):
    """How documents are encoded.

    :param batch_size: Texts in a batch.
    :param max_length: Tokens kept of each text.
    :param prefix: Put before every text, with a space.
    :param sort_by_length: Sort windows by length. Batches keep the corpus' order without, as the released code has it.
    :param window_rows: Documents in a window; what is lost at most by a kill.
    :param model_facts: Kept in the manifest with the model: what to load it with, its precision.
    """

    batch_size: int = option("texts encoded at a time", 64, at_least=1)
    max_length: int = option("tokens kept of each text", 256, at_least=1)
    prefix: str | None = option("put before every text, with a space", None)
    sort_by_length: bool = True
    window_rows: int = WINDOW_ROWS
    model_facts: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class OutputOptions(Options):
    """What is written.

    :param to_faiss: Write Pyserini's ``index`` and ``docid`` beside it.
    :param dtype: Stored type of the vectors, "float32" or "float16".
    :param store_documents: Keep the documents in the index.
    :param overwrite: Replace an index.
    """

    to_faiss: bool = option("write Pyserini's Faiss index and docid into the folder as well", False)
    dtype: str = option("type in which vectors are stored", "float32", choices=("float32", "float16"))
    store_documents: bool = option("keep the documents in the index, for doc() without the corpus", False)
    overwrite: bool = option("replace an index; it can be searched until the new one is whole", False)
