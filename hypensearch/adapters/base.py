# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""What all frameworks are served with: texts indexed, an index searched by text, candidates reranked by text."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

from hypensearch.device import resolve_device
from hypensearch.encode import EncodingOptions, OutputOptions, encode_corpus
from hypensearch.errors import HypensearchError
from hypensearch.flat import IndexedDocument
from hypensearch.hits import Hit, in_rank_order
from hypensearch.models import DualEncoder, load_model
from hypensearch.rerank import Reranker, RerankOptions
from hypensearch.rerank.texts import GivenTexts
from hypensearch.search import HypencoderSearcher

Encoder = str | os.PathLike[str] | DualEncoder

BATCH_QUERIES = 32  # that share a pass over the vectors


class TextSearch:
    """An index that is searched by text, or whose vectors rerank candidates.

    :param index: An index folder, or an open searcher.
    :param encoder: A loaded model, or a checkpoint's folder or hub name; None for the one that the index names.
    :param options: Options of :class:`~hypensearch.search.HypencoderSearcher`.
    :raises HypensearchError: When index and model do not fit each other, or one of them cannot be read.
    """

    def __init__(
        self, index: str | os.PathLike[str] | HypencoderSearcher, encoder: Encoder | None = None, **options: Any
    ) -> None:
        if not isinstance(index, HypencoderSearcher):
            index = HypencoderSearcher(index, encoder, **options)
        self.searcher = index

    def search(self, queries: Mapping[str, str], k: int) -> dict[str, list[Hit]]:
        """Search with texts by query id; returns hits with exact scores, best first."""
        ids, found = list(queries), {}
        for start in range(0, len(ids), BATCH_QUERIES):
            batch = ids[start : start + BATCH_QUERIES]
            found.update(self.searcher.batch_search([queries[one] for one in batch], batch, k))
        return found

    def search_texts(self, query: str, k: int) -> list[tuple[Hit, str]]:
        """Search with one text; returns hits and their texts, best first."""
        return [(hit, self.document(hit.docid).contents()) for hit in self.searcher.search(query, k)]

    def document(self, docid: str) -> IndexedDocument:
        """Return a document of the index.

        :raises HypensearchError: When it has none of that docid, or its text is no longer there.
        """
        document = self.searcher.doc(docid)
        if document is None:
            raise HypensearchError(f"{self.searcher.index.folder}: has no document {docid!r}")
        return document

    def rerank(self, queries: Mapping[str, str], candidates: Mapping[str, Iterable[str]]) -> dict[str, list[Hit]]:
        """Score candidates that are in the index.

        :param queries: Texts by query id.
        :param candidates: Docids by query id.
        :return: Hits by query id, best first.
        :raises HypensearchError: When the index lacks a candidate.
        """
        run = {query: [Hit(docid, 0.0) for docid in candidates.get(query, ())] for query in queries}
        return self._reranker.batch_rerank(list(queries.values()), list(queries), run)

    def close(self) -> None:
        """Let go of the index."""
        self.searcher.close()
        if "_reranker" in vars(self):
            self._reranker.close()

    @cached_property
    def _reranker(self) -> Reranker:
        searcher = self.searcher
        return Reranker.from_index(
            searcher.index.folder,
            searcher.query_encoder,
            device=str(searcher.device),
            max_length=searcher.max_length,
            options=_ALL_CANDIDATES,
        )


class TextReranker:
    """A model that scores texts, which need no index.

    :param encoder: A loaded model, or a checkpoint's folder or hub name.
    :param device: "auto" (CUDA if there is one), "cpu", "cuda" or "cuda:N".
    :param max_length: Tokens kept of a query.
    :param encoding: How documents are encoded.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        device: str = "auto",
        max_length: int = 256,
        encoding: EncodingOptions | None = None,
    ) -> None:
        self.model = loaded(encoder, device)
        self._options: dict[str, Any] = {
            "device": device,
            "max_length": max_length,
            "encoding": encoding or EncodingOptions(),
        }

    def rerank(self, queries: Mapping[str, str], candidates: Mapping[str, Mapping[str, str]]) -> dict[str, list[Hit]]:
        """Score texts.

        :param queries: Texts by query id.
        :param candidates: Texts by docid by query id; each text is encoded once.
        :return: Hits by query id, best first.
        """
        texts = dict.fromkeys(text for of_query in candidates.values() for text in of_query.values())
        number_of = {text: str(number) for number, text in enumerate(texts)}
        run = {
            query: [Hit(number_of[text], 0.0) for text in dict.fromkeys(of_query.values())]
            for query, of_query in candidates.items()
        }
        given = GivenTexts({number: text for text, number in number_of.items()})
        with Reranker.from_texts(given, self.model, options=_ALL_CANDIDATES, **self._options) as reranker:
            scored = reranker.batch_rerank(list(queries.values()), list(queries), run)
        scores = {query: {hit.docid: hit.score for hit in hits} for query, hits in scored.items()}
        return {
            query: in_rank_order(
                Hit(docid, scores[query][number_of[text]]) for docid, text in candidates.get(query, {}).items()
            )
            for query in queries
        }

    def order(self, query: str, texts: Sequence[str]) -> list[tuple[int, float]]:
        """Return the places of texts and their scores, best first; equal ones in the order given."""
        width = len(str(len(texts)))
        named = {f"{place:0{width}}": text for place, text in enumerate(texts)}
        return [(int(hit.docid), hit.score) for hit in self.rerank({"": query}, {"": named})[""]]


def index_texts(
    documents: Iterable[Mapping[str, Any]],
    folder: str | os.PathLike[str],
    encoder: Encoder,
    *,
    device: str = "auto",
    encoding: EncodingOptions | None = None,
    overwrite: bool = False,
) -> None:
    """Encode documents to an index that keeps their texts.

    :param documents: Records with ``id``, ``text`` and, if they have one, ``title``, which is put before the text.
    :param folder: The index folder.
    :param encoder: A loaded model, or a checkpoint's folder or hub name.
    :param device: Where the model computes.
    :param encoding: How documents are encoded.
    :param overwrite: Replace an index.
    :raises HypensearchError: When a document has no id, or a repeated one, or the folder holds another index.
    """
    with tempfile.TemporaryDirectory(prefix="hypensearch-") as temporary:
        corpus = os.path.join(temporary, "documents.jsonl")
        with open(corpus, "w", encoding="utf-8") as file:
            file.writelines(json.dumps(document) + "\n" for document in documents)
        encode_corpus(
            corpus,
            folder,
            lambda: loaded(encoder, device),
            encoding=encoding,
            out=OutputOptions(store_documents=True, overwrite=overwrite),
            allow_empty=True,
        )


def loaded(encoder: Encoder, device: str) -> DualEncoder:
    """Return a model, loaded if it is only named."""
    return (
        encoder if isinstance(encoder, DualEncoder) else load_model(os.fspath(encoder), device=resolve_device(device))
    )


_ALL_CANDIDATES = RerankOptions(depth=2**31 - 1)
