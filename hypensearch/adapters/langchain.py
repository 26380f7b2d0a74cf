# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""LangChain: a retriever over an index, and a compressor that reranks what any retriever found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.callbacks import CallbackManagerForRetrieverRun, Callbacks
from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.retrievers import BaseRetriever
from pydantic import ConfigDict, Field, PrivateAttr

from hypensearch.adapters.base import TextReranker, TextSearch

__all__ = ["HypencoderReranker", "HypencoderRetriever"]


class HypencoderRetriever(BaseRetriever):
    """Documents of an index; ``metadata`` has each one's exact score.

    :param index: An index folder, or an open searcher.
    :param encoder: A loaded model, or a checkpoint's folder or hub name; None for the one that the index names.
    :param k: Documents of a query.
    :param options: Of the search, as :class:`~hypensearch.search.HypencoderSearcher` takes them.
    """

    index: Any
    encoder: Any = None
    k: int = 4
    options: dict[str, Any] = Field(default_factory=dict)
    _search: TextSearch = PrivateAttr()

    def model_post_init(self, context: Any, /) -> None:
        """Open the index."""
        super().model_post_init(context)
        self._search = TextSearch(self.index, self.encoder, **self.options)

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        return [
            Document(page_content=text, id=hit.docid, metadata={"docid": hit.docid, "score": hit.score})
            for hit, text in self._search.search_texts(query, self.k)
        ]


class HypencoderReranker(BaseDocumentCompressor):
    """The best of some documents, their scores in ``metadata``; their texts are encoded as they come.

    :param encoder: A loaded model, or a checkpoint's folder or hub name.
    :param top_n: Documents kept; None for all.
    :param options: Of :class:`hypensearch.adapters.base.TextReranker`.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    encoder: Any
    top_n: int | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    _reranker: TextReranker = PrivateAttr()

    def model_post_init(self, context: Any, /) -> None:
        """Load the model."""
        self._reranker = TextReranker(self.encoder, **self.options)

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> Sequence[Document]:
        """Rerank documents."""
        ranked = self._reranker.order(query, [document.page_content for document in documents])[: self.top_n]
        return [
            documents[place].model_copy(update={"metadata": {**documents[place].metadata, "score": score}})
            for place, score in ranked
        ]
