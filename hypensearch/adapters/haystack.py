# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Haystack: a retriever over an index and a ranker, as components that load with ``warm_up`` and serialise by name."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from haystack import Document, component, default_to_dict

from hypensearch.adapters.base import TextReranker, TextSearch
from hypensearch.errors import HypensearchError

__all__ = ["HypencoderRanker", "HypencoderRetriever"]


@component
class HypencoderRetriever:
    """Documents of an index, with exact scores.

    :param index: An index folder.
    :param encoder: A checkpoint's folder or hub name; None for the one that the index names.
    :param top_k: Documents of a query.
    :param options: Of the search, as :class:`~hypensearch.search.HypencoderSearcher` takes them.
    """

    def __init__(
        self, index: str, encoder: str | None = None, top_k: int = 10, options: dict[str, Any] | None = None
    ) -> None:
        self.index, self.encoder, self.top_k, self.options = index, encoder, top_k, options or {}
        self._search: TextSearch | None = None

    def warm_up(self) -> None:
        """Open the index."""
        self._search = self._search or TextSearch(self.index, self.encoder, **self.options)

    def to_dict(self) -> dict[str, Any]:
        """Return what makes the component again."""
        return default_to_dict(self, index=self.index, encoder=self.encoder, top_k=self.top_k, options=self.options)

    @component.output_types(documents=list[Document])
    def run(
        self, query: str, filters: dict[str, Any] | None = None, top_k: int | None = None
    ) -> dict[str, list[Document]]:
        """Search.

        :raises HypensearchError: When there are filters: an index knows texts alone.
        """
        if filters:
            raise HypensearchError("HypencoderRetriever: an index has no fields to filter by; leave filters out")
        self.warm_up()
        assert self._search is not None
        found = self._search.search_texts(query, top_k or self.top_k)
        return {"documents": [Document(id=hit.docid, content=text, score=hit.score) for hit, text in found]}


@component
class HypencoderRanker:
    """The best of some documents, with their scores; their texts are encoded as they come.

    :param encoder: A checkpoint's folder or hub name.
    :param top_k: Documents kept; None for all.
    :param options: Of :class:`hypensearch.adapters.base.TextReranker`.
    """

    def __init__(self, encoder: str, top_k: int | None = None, options: dict[str, Any] | None = None) -> None:
        self.encoder, self.top_k, self.options = encoder, top_k, options or {}
        self._reranker: TextReranker | None = None

    def warm_up(self) -> None:
        """Load the model."""
        self._reranker = self._reranker or TextReranker(self.encoder, **self.options)

    def to_dict(self) -> dict[str, Any]:
        """Return what makes the component again."""
        return default_to_dict(self, encoder=self.encoder, top_k=self.top_k, options=self.options)

    @component.output_types(documents=list[Document])
    def run(self, query: str, documents: list[Document], top_k: int | None = None) -> dict[str, list[Document]]:
        """Rerank."""
        self.warm_up()
        assert self._reranker is not None
        ranked = self._reranker.order(query, [document.content or "" for document in documents])
        return {"documents": [replace(documents[place], score=score) for place, score in ranked[: top_k or self.top_k]]}
