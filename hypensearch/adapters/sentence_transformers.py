# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""sentence-transformers: a checkpoint as the model of its ``InformationRetrievalEvaluator``.

::

    InformationRetrievalEvaluator(queries, corpus, relevant_docs)(EvaluatedModel("bundled"))
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from sentence_transformers.sentence_transformer.model_card import SentenceTransformerModelCardData
from torch import Tensor

from hypensearch.adapters.base import Encoder, loaded
from hypensearch.encode import EncodingOptions
from hypensearch.encode.texts import encode_texts
from hypensearch.errors import HypensearchError
from hypensearch.models import QNets

__all__ = ["EvaluatedModel"]


class EvaluatedModel:
    """What the evaluator asks of a model: encoded queries, encoded documents, and scores of all pairs.

    :param encoder: A loaded model, or a checkpoint's folder or hub name.
    :param device: "auto" (CUDA if there is one), "cpu", "cuda" or "cuda:N".
    :param query_length: Tokens kept of a query.
    :param max_length: Tokens kept of a document.
    """

    def __init__(
        self, encoder: Encoder, *, device: str = "auto", query_length: int = 256, max_length: int = 256
    ) -> None:
        self.model = loaded(encoder, device)
        self.query_length, self.max_length = query_length, max_length
        self.similarity_fn_name = "q_net" if self.model.kind == "hypencoder" else "dot"
        self.model_card_data = SentenceTransformerModelCardData()

    def encode_query(self, sentences: Sequence[str], *, prompt: str | None = None, **options: Any) -> QNets:
        """Return the q-nets of queries; a ``prompt`` is put before each."""
        _check(options)
        return self.model.encode_queries([(prompt or "") + text for text in sentences], max_length=self.query_length)

    def encode_document(
        self, sentences: Sequence[str], *, prompt: str | None = None, batch_size: int = 64, **options: Any
    ) -> Tensor:
        """Return the vectors of documents, *Shape:* ``(num_docs, dim)``; a ``prompt`` is put before each."""
        _check(options)
        texts = [(prompt or "") + text for text in sentences]
        encoding = EncodingOptions(batch_size=batch_size, max_length=self.max_length)
        return torch.from_numpy(encode_texts(texts, self.model, encoding, lambda places: None)).to(self.model.device)

    def similarity(self, queries: QNets, documents: Tensor) -> Tensor:
        """Return the scores of all documents for all queries, *Shape:* ``(num_queries, num_docs)``."""
        return torch.cat([q_net(documents) for q_net in queries])


def _check(options: dict[str, Any]) -> None:
    for name in ("prompt_name", "truncate_dim"):
        if options.get(name) is not None:
            raise HypensearchError(f"{name}={options[name]!r}: a Hypencoder has no such thing; leave it out")
