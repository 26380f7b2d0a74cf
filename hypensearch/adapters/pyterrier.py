# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""PyTerrier: an index as an artifact, its retriever and reranker as transformers. Needs no Java.

::

    index = HypencoderIndex("index", encoder="bundled")
    index.index(documents)                               # dicts with docno and text
    pt.Experiment([index.retriever() % 100, bm25 >> index.reranker()], topics, qrels, ["ndcg_cut_10"])
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import pandas as pd
import pyterrier as pt

from hypensearch.adapters.base import Encoder, TextReranker, TextSearch, index_texts
from hypensearch.encode import EncodingOptions
from hypensearch.errors import HypensearchError
from hypensearch.flat.manifest import FORMAT, MANIFEST
from hypensearch.formats.run import separate_ties
from hypensearch.hits import Hit

__all__ = [
    "HypencoderIndex",
    "HypencoderReranker",
    "HypencoderRetriever",
    "HypencoderTextLoader",
    "HypencoderTextReranker",
]


class HypencoderIndex(pt.Artifact, pt.Indexer):
    """A flat index: made of documents, loaded by ``pt.Artifact.load``, searched by :meth:`retriever`.

    :param path: The index folder.
    :param encoder: A loaded model, or a checkpoint's folder or hub name; None for the one that the index names.
    :param text_fields: Fields of a document that are encoded, joined by a space.
    :param encoding: How documents are encoded.
    :param device: "auto" (CUDA if there is one), "cpu", "cuda" or "cuda:N".
    :param options: Of the search, as :class:`~hypensearch.search.HypencoderSearcher` takes them.
    """

    ARTIFACT_TYPE = "dense_index"
    ARTIFACT_FORMAT = "hypensearch"
    ARTIFACT_PACKAGE_HINT = "hypensearch"

    def __init__(
        self,
        path: str | os.PathLike[str],
        encoder: Encoder | None = None,
        *,
        text_fields: Sequence[str] = ("text",),
        encoding: EncodingOptions | None = None,
        device: str = "auto",
        **options: Any,
    ) -> None:
        super().__init__(path)
        self.encoder = encoder
        self.text_fields = list(text_fields)
        self.encoding = encoding
        self.device = device
        self.options = options

    def __repr__(self) -> str:
        return f"HypencoderIndex({os.fspath(self.path)!r})"

    def index_inputs(self) -> list[list[str]]:
        """Return the columns that documents have."""
        return [["docno", *self.text_fields]]

    def index(self, iter: Iterable[Mapping[str, Any]], **kwargs: Any) -> HypencoderIndex:
        """Encode documents.

        :param iter: Dicts with ``docno`` and the text fields.
        :param kwargs: ``overwrite=True`` replaces an index.
        :raises HypensearchError: When there is no encoder, or the folder holds an index.
        """
        if self.encoder is None:
            raise HypensearchError("HypencoderIndex(path, encoder): name the encoder that makes the document vectors")
        records = self._records(iter)
        index_texts(records, self.path, self.encoder, device=self.device, encoding=self.encoding, **kwargs)
        self.__dict__.pop("opened", None)
        return self

    def retriever(self, num_results: int = 1000) -> HypencoderRetriever:
        """Return a transformer of queries to results."""
        return HypencoderRetriever(self, num_results)

    def reranker(self) -> HypencoderReranker:
        """Return a transformer of results to results, scored by the vectors of this index."""
        return HypencoderReranker(self)

    def text_loader(self, fields: Sequence[str] | str = "*", *, verbose: bool = False) -> HypencoderTextLoader:
        """Return a transformer that adds documents' texts, for ``pt.text.get_text(index)``."""
        return HypencoderTextLoader(
            self, ["text"] if fields == "*" else [fields] if isinstance(fields, str) else fields
        )

    @cached_property
    def opened(self) -> TextSearch:
        """The index, opened when it is first searched."""
        return TextSearch(self.path, self.encoder, device=self.device, **self.options)

    def _records(self, documents: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
        for document in documents:
            pt.validate.columns(list(document), includes=["docno", *self.text_fields])
            yield {"id": document["docno"], "text": " ".join(document[name] for name in self.text_fields)}


class HypencoderRetriever(pt.Transformer):
    """Queries (``qid``, ``query``) to results (with ``docno``, ``score``, ``rank``).

    :param index: The index.
    :param num_results: Results of a query.
    """

    def __init__(self, index: HypencoderIndex, num_results: int = 1000) -> None:
        self.index = index
        self.num_results = num_results

    def __repr__(self) -> str:
        return f"HypencoderRetriever({self.index!r}, {self.num_results})"

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Search."""
        pt.validate.query_frame(inp, extra_columns=["query"], context=self)
        queries = inp[pt.model.query_columns(inp)].reset_index(drop=True)
        names = list(queries["qid"]) if queries["qid"].is_unique else [str(row) for row in queries.index]
        texts = dict(zip(names, queries["query"], strict=True))
        found = self.index.opened.search(texts, self.num_results) if texts else {}
        hits = [(row, *hit) for row, name in enumerate(names) for hit in enumerate(separate_ties(found[name]))]
        results = queries.loc[[row for row, _, _ in hits]].reset_index(drop=True)
        return results.assign(
            docno=pd.Series([hit.docid for _, _, hit in hits], dtype=object),
            score=pd.Series([hit.score for _, _, hit in hits], dtype=float),
            rank=pd.Series([rank + pt.model.FIRST_RANK for _, rank, _ in hits], dtype=int),
        )

    def fuse_rank_cutoff(self, k: int) -> HypencoderRetriever:
        """Search for fewer results where ``% k`` follows."""
        return self if self.num_results <= k else HypencoderRetriever(self.index, k)


class HypencoderReranker(pt.Transformer):
    """Results to results, scored by the vectors of an index.

    :param index: The index, which must have all candidates.
    """

    def __init__(self, index: HypencoderIndex) -> None:
        self.index = index

    def __repr__(self) -> str:
        return f"HypencoderReranker({self.index!r})"

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Rerank."""
        pt.validate.result_frame(inp, extra_columns=["query"], context=self)
        queries, candidates = _queries(inp), inp.groupby("qid", sort=False)["docno"].apply(list).to_dict()
        return _rescored(inp, self.index.opened.rerank(queries, candidates) if queries else {})


class HypencoderTextLoader(pt.Transformer):
    """Results to the same with documents' texts.

    :param index: The index.
    :param fields: ``text``, which is all that a document shows, title included, or fields of its record.
    """

    def __init__(self, index: HypencoderIndex, fields: Sequence[str]) -> None:
        self.index = index
        self.fields = list(fields)

    def __repr__(self) -> str:
        return f"HypencoderTextLoader({self.index!r}, {self.fields})"

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Look up the texts."""
        pt.validate.columns(inp, includes=["docno"], context=self)
        found = [self.index.opened.document(docno) for docno in inp["docno"]]
        texts = {
            name: pd.Series(
                [document.contents() if name == "text" else document.get(name) for document in found],
                index=inp.index,
                dtype=object,
            )
            for name in self.fields
        }
        return inp.assign(**texts)

    def fuse_rank_cutoff(self, k: int) -> pt.Transformer:
        """Look up fewer texts where ``% k`` follows."""
        return pt.RankCutoff(k) >> self


class HypencoderTextReranker(pt.Transformer):
    """Results with a text to results, the texts encoded as they come.

    :param encoder: A loaded model, or a checkpoint's folder or hub name.
    :param text_field: The column of the texts.
    :param options: Of :class:`hypensearch.adapters.base.TextReranker`.
    """

    def __init__(self, encoder: Encoder = "bundled", *, text_field: str = "text", **options: Any) -> None:
        self.encoder = encoder
        self.text_field = text_field
        self.options = options

    def __repr__(self) -> str:
        return f"HypencoderTextReranker({self.encoder!r})"

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Rerank."""
        pt.validate.result_frame(inp, extra_columns=["query", self.text_field], context=self)
        candidates: dict[str, dict[str, str]] = {}
        for qid, docno, text in zip(inp["qid"], inp["docno"], inp[self.text_field], strict=True):
            candidates.setdefault(qid, {})[docno] = text
        return _rescored(inp, self._reranker.rerank(_queries(inp), candidates) if candidates else {})

    @cached_property
    def _reranker(self) -> TextReranker:
        return TextReranker(self.encoder, **self.options)


def _queries(results: pd.DataFrame) -> dict[str, str]:
    return dict(zip(results["qid"], results["query"], strict=True))


def _rescored(inp: pd.DataFrame, found: Mapping[str, Sequence[Hit]]) -> pd.DataFrame:
    scores = {(qid, hit.docid): hit.score for qid, hits in found.items() for hit in separate_ties(hits)}
    new = [scores[pair] for pair in zip(inp["qid"], inp["docno"], strict=True)]
    ranked = pt.model.add_ranks(inp.assign(score=pd.Series(new, index=inp.index, dtype=float)))
    places = ranked["qid"].map({qid: place for place, qid in enumerate(found)})
    return ranked.assign(place=places).sort_values(["place", "rank"]).drop(columns="place").reset_index(drop=True)


def describe_artifact(path: str, names: Sequence[str]) -> dict[str, str] | None:
    """Say that a folder is an index of ours, for ``pt.Artifact.load``; None where it is not."""
    if MANIFEST not in names:
        return None
    try:
        with open(os.path.join(path, MANIFEST), encoding="utf-8") as file:
            is_ours = json.load(file).get("format") == FORMAT
    except (OSError, ValueError, AttributeError):
        return None
    return {"type": HypencoderIndex.ARTIFACT_TYPE, "format": HypencoderIndex.ARTIFACT_FORMAT} if is_ours else None
