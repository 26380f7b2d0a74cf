# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""LlamaIndex: a retriever over an index, and a postprocessor that reranks what any retriever found."""

from __future__ import annotations

import os
from typing import Any

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.bridge.pydantic import Field, PrivateAttr
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle, TextNode

from hypensearch.adapters.base import Encoder, TextReranker, TextSearch
from hypensearch.search import HypencoderSearcher

__all__ = ["HypencoderReranker", "HypencoderRetriever"]


class HypencoderRetriever(BaseRetriever):
    """Nodes of an index, with exact scores.

    :param index: An index folder, or an open searcher.
    :param encoder: A loaded model, or a checkpoint's folder or hub name; None for the one that the index names.
    :param similarity_top_k: Nodes of a query.
    :param options: Of the search, as :class:`~hypensearch.search.HypencoderSearcher` takes them.
    """

    def __init__(
        self,
        index: str | os.PathLike[str] | HypencoderSearcher,
        encoder: Encoder | None = None,
        similarity_top_k: int = 2,
        **options: Any,
    ) -> None:
        super().__init__()
        self._search = TextSearch(index, encoder, **options)
        self._top_k = similarity_top_k

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return [
            NodeWithScore(node=TextNode(id_=hit.docid, text=text), score=hit.score)
            for hit, text in self._search.search_texts(query_bundle.query_str, self._top_k)
        ]


class HypencoderReranker(BaseNodePostprocessor):
    """The best of some nodes, with their scores; their texts are encoded as they come, without metadata.

    :param encoder: A loaded model, or a checkpoint's folder or hub name.
    :param top_n: Nodes kept; None for all.
    :param options: Of :class:`hypensearch.adapters.base.TextReranker`.
    """

    encoder: Any
    top_n: int | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    _reranker: TextReranker = PrivateAttr()

    def model_post_init(self, context: Any, /) -> None:
        """Load the model."""
        super().model_post_init(context)
        self._reranker = TextReranker(self.encoder, **self.options)

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        if query_bundle is None:
            raise ValueError("HypencoderReranker needs the query: postprocess_nodes(nodes, query_str=...)")
        texts = [node.node.get_content(metadata_mode=MetadataMode.NONE) for node in nodes]
        ranked = self._reranker.order(query_bundle.query_str, texts)[: self.top_n]
        return [NodeWithScore(node=nodes[place].node, score=score) for place, score in ranked]
