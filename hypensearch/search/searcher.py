# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The searcher, with the interface of Pyserini's ``FaissSearcher``."""

from __future__ import annotations

import inspect
import operator
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np

from hypensearch.device import resolve_device
from hypensearch.errors import HypensearchError
from hypensearch.flat import FlatIndex
from hypensearch.flat.model import IndexModel
from hypensearch.hits import Hit
from hypensearch.models.dual_encoder import DEFAULT_MAX_LENGTH, DualEncoder
from hypensearch.models.q_net import QNets
from hypensearch.scoring.found import Found
from hypensearch.search.lucene_documents import LuceneDocuments
from hypensearch.search.registry import open_search, option_defaults
from hypensearch.search.report import SearchStats
from hypensearch.search.seeds import Seeds
from hypensearch.stages import clocked, stage
from hypensearch.threads import available_cpus, default_threads, torch_threads

if TYPE_CHECKING:
    from hypensearch.flat import IndexedDocument

Query = str | QNets


@dataclass(frozen=True, slots=True)
class VectorHit:
    """A hit with its document vector, for feedback methods.

    :param docid: The document's identifier.
    :param score: The q-net's score.
    :param vectors: The document vector, float32, *Shape:* ``(dim,)``; named as in Pyserini.
    """

    docid: str
    score: float
    vectors: np.ndarray


class HypencoderSearcher:
    """Searches a flat index with q-nets; a bi-encoder's index with query vectors, as the baseline.

    The same query gives the same hits whatever the batch it comes in, the block size or the number of threads;
    equal scores are ordered by docid.

    :param index_dir: An index folder.
    :param query_encoder: A loaded model, or a checkpoint's folder or hub name; None for the one the index names. It
        is loaded when the first query comes as text. A ``HypencoderQueryEncoder`` has a loaded model as well.
    :param prebuilt_index_name: The registry's name of the index, if it has one.
    :param device: "auto" (CUDA if there is one), "cpu", "cuda" or "cuda:N".
    :param max_length: Tokens kept of a query, special ones included.
    :param width: Hidden width to cut q-nets to (Matryoshka checkpoints).
    :param backbone_config: The transformer's configuration, where it cannot be found.
    :param revision: Revision of a ``query_encoder`` on the hub; None for the one the index names.
    :param sparse_index: Lucene index that :meth:`doc` reads texts from, a folder or the name of a prebuilt one (needs
        Pyserini); None for the corpus that was encoded, or the copy inside the index.
    :param searcher: "exhaustive" (or "simple", Pyserini's word for it) scores every document, "graph" walks a graph,
        "surrogate" scores the highest-ranked predictions of a fit, "auto" takes the faster of exhaustive and
        surrogate search where the index has codes for the latter (:mod:`hypensearch.search.choice`). Hits have their
        exact fp32 scores in each.
    :param seeds: A run whose documents graph search starts from as well, by topic id.
    :param check: Whether to compare the index with its checksums, once after it was written or copied.
    :param shared: Whether the processes that ``torchrun`` has started share each search.
    :param options: Options of the search, by name: those of
        :class:`~hypensearch.exhaustive.options.ExhaustiveOptions`, :class:`~hypensearch.graph.options.GraphOptions` and
        :class:`~hypensearch.surrogate.options.SurrogateOptions`. Those of other searches are ignored.
    :raises HypensearchError: When index and model do not fit each other, or one of them cannot be read.
    """

    def __init__(
        self,
        index_dir: str | os.PathLike[str],
        query_encoder: str | os.PathLike[str] | DualEncoder | None = None,
        prebuilt_index_name: str | None = None,
        *,
        device: str = "auto",
        max_length: int = DEFAULT_MAX_LENGTH,
        width: int | None = None,
        backbone_config: str | None = None,
        revision: str | None = None,
        sparse_index: str | os.PathLike[str] | None = None,
        searcher: str = "auto",
        seeds: str | None = None,
        check: bool = True,
        shared: bool = False,
        **options: Any,
    ) -> None:
        given = {name: value for name, value in locals().items() if name not in ("self", "options", "__class__")}
        for name in options:
            if name not in option_defaults():
                raise TypeError(f"{type(self).__name__}.__init__() got an unexpected keyword argument {name!r}")
        #: What a copy in another process is made of: it opens the index by itself.
        self._given = {**given, **options, "index_dir": os.path.abspath(index_dir)}
        self.index = FlatIndex.open(os.fspath(index_dir))
        self.prebuilt_index_name = prebuilt_index_name
        self.device = resolve_device(device)
        #: Options of the search that were given.
        self.options: Mapping[str, Any] = options
        if check:
            self.index.check_once()
        self._name, self._search = open_search(self.index, self.device, searcher, options, check=check, shared=shared)
        self._seeds = Seeds(seeds, self.index) if seeds and searcher == "graph" else None
        #: What was done since the searcher was made, time by stage.
        self.stats = SearchStats(self._name, self.index.num_docs)
        self._sparse_index = sparse_index
        self._texts: LuceneDocuments | None = None
        self._opening = threading.Lock()
        self._counting = threading.Lock()
        self._model = IndexModel(
            self.index,
            query_encoder,
            device=self.device,
            max_length=max_length,
            width=width,
            backbone_config=backbone_config,
            revision=revision,
        )

    @classmethod
    def from_prebuilt_index(
        cls,
        prebuilt_index_name: str,
        query_encoder: str | os.PathLike[str] | DualEncoder | None = None,
        **options: Any,
    ) -> HypencoderSearcher:
        """Open an index by its registered name, downloading it once.

        :param options: As :class:`HypencoderSearcher` takes them, by name.
        :raises HypensearchError: When the name is not known or the download fails; Pyserini returns None here.
        """
        from hypensearch.flat.prebuilt import find_prebuilt_index

        inspect.signature(cls).bind(prebuilt_index_name, query_encoder, **options)  # typos are found before a download
        folder = find_prebuilt_index(prebuilt_index_name)
        return cls(folder, query_encoder, prebuilt_index_name, **options)

    @staticmethod
    def list_prebuilt_indexes() -> list[str]:
        """Return the registered names."""
        from hypensearch.flat.prebuilt import prebuilt_indexes

        return sorted(prebuilt_indexes())

    @property
    def num_docs(self) -> int:
        """Number of documents in the index."""
        return self.index.num_docs

    @property
    def dimension(self) -> int:
        """Size of the document vectors."""
        return self.index.dim

    @property
    def query_encoder(self) -> DualEncoder:
        """The model, loaded on first use.

        :raises HypensearchError: When it cannot be loaded, or did not make the index.
        """
        return self._model.model

    @property
    def max_length(self) -> int:
        """Tokens kept of a query, special ones included."""
        return self._model.max_length

    @overload
    def search(
        self,
        query: Query,
        k: int = ...,
        threads: int | None = ...,
        remove_dups: bool = ...,
        *,
        return_vector: Literal[False] = ...,
    ) -> list[Hit]: ...
    @overload
    def search(
        self,
        query: Query,
        k: int = ...,
        threads: int | None = ...,
        remove_dups: bool = ...,
        *,
        return_vector: Literal[True],
    ) -> tuple[QNets, list[VectorHit]]: ...
    def search(
        self,
        query: Query,
        k: int = 10,
        threads: int | None = None,
        remove_dups: bool = False,
        return_vector: bool = False,
    ) -> list[Hit] | tuple[QNets, list[VectorHit]]:
        """Search with one query.

        :param query: The query's text, or its q-net.
        :param k: Hits wanted; fewer where the index has fewer documents.
        :param threads: CPU threads that compute: query encoder, q-nets and scores; they change no bit. None for as
            many as torch uses, or as there are CPUs for this process if these are fewer.
        :param remove_dups: As in Pyserini; an index has no repeated docid, so nothing is ever removed.
        :param return_vector: Whether to return the q-net and hits with their document vectors.
        :return: Hits, best first.
        :raises HypensearchError: When k is less than 1.
        """
        q_nets, (found,) = self._find([query], None, k, threads)
        return (q_nets, self._with_vectors(found)) if return_vector else found.hits(self.index.docid)

    @overload
    def batch_search(
        self,
        queries: Sequence[str] | Sequence[QNets] | QNets,
        q_ids: Sequence[str] | None = ...,
        k: int = ...,
        threads: int | None = ...,
        return_vector: Literal[False] = ...,
        *,
        qids: Sequence[str] | None = ...,
    ) -> dict[str, list[Hit]]: ...
    @overload
    def batch_search(
        self,
        queries: Sequence[str] | Sequence[QNets] | QNets,
        q_ids: Sequence[str] | None = ...,
        k: int = ...,
        threads: int | None = ...,
        *,
        return_vector: Literal[True],
        qids: Sequence[str] | None = ...,
    ) -> tuple[QNets, dict[str, list[VectorHit]]]: ...
    def batch_search(
        self,
        queries: Sequence[str] | Sequence[QNets] | QNets,
        q_ids: Sequence[str] | None = None,
        k: int = 10,
        threads: int | None = None,
        return_vector: bool = False,
        *,
        qids: Sequence[str] | None = None,
    ) -> dict[str, list[Hit]] | tuple[QNets, dict[str, list[VectorHit]]]:
        """Search with several queries, which share one pass over the index.

        :param queries: Texts or q-nets.
        :param q_ids: Their ids; ``qids`` is taken as well, as Pyserini's Lucene searchers call it.
        :param k: Hits wanted of each.
        :param threads: As in :meth:`search`.
        :param return_vector: As in :meth:`search`.
        :return: Hits by query id, best first; with ``return_vector`` the q-nets before them.
        :raises HypensearchError: When there is no query, or ids are missing, repeated, or of another number.
        """
        ids = list(_one_of(q_ids, qids))
        if not queries and not ids and not return_vector:
            return {}
        q_nets, found = self._find(queries, ids, k, threads)
        if return_vector:
            return q_nets, {topic: self._with_vectors(of_query) for topic, of_query in zip(ids, found, strict=True)}
        return {topic: of_query.hits(self.index.docid) for topic, of_query in zip(ids, found, strict=True)}

    def find(
        self,
        queries: Sequence[str] | Sequence[QNets] | QNets,
        k: int = 10,
        threads: int | None = None,
        q_ids: Sequence[str] | None = None,
    ) -> list[Found]:
        """Search as :meth:`batch_search` does, and report what was done for each query.

        :param queries: Texts or q-nets.
        :param k: Hits wanted of each.
        :param threads: As in :meth:`search`.
        :param q_ids: Their ids, for ``seeds``.
        :return: Rows and scores of each query, documents scored, rounds and estimated recall;
            ``found.hits(index.docid)`` are its hits.
        """
        return self._find(queries, q_ids, k, threads)[1]

    def encode(self, queries: Sequence[str]) -> QNets:
        """Return the q-nets of queries."""
        _ = self.query_encoder  # loading it is no part of the time
        with self._clocked(), stage("encode"):
            return self._model.encode(queries)

    def doc(self, docid: str | int) -> IndexedDocument | None:
        """Return a document's text, None when the index has no such document.

        :param docid: Its docid; or, as in Pyserini, a whole number: its row in the index, from 0.
        :raises HypensearchError: When the index knows the document but its text is no longer there; a ``sparse_index``
            can give it. Also for what is neither a docid nor a row.
        """
        self._check_open()
        name = docid if isinstance(docid, str) else self._docid_of_row(docid)
        if name is None or self._sparse_index is None:
            return None if name is None else self.index.document(name)
        with self._opening:
            if self._texts is None:
                self._texts = LuceneDocuments(self._sparse_index)
        return self._texts.read(name)

    def close(self) -> None:
        """Close the index."""
        self.index.close()
        if self._texts is not None:
            self._texts.close()
            self._texts = None

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} of {self.index.folder}: {self.num_docs:,} documents of {self.dimension} "
            f"dimensions, {self._name} search on {self.device}, queries by "
            f"{self._model.name or 'an unknown model'}>"
        )

    def __getstate__(self) -> dict[str, Any]:
        """Give what a copy is made of, for ``pickle``: not the index, which the copy opens again, nor a loaded model.

        :raises HypensearchError: When the searcher was given a model that has no name to load it by.
        """
        encoder = self._given["query_encoder"]
        model = getattr(encoder, "model", encoder)
        if isinstance(model, DualEncoder):
            if not model.name:
                raise HypensearchError(
                    "this searcher's model is of no folder and no hub name, so another process cannot load it: save it "
                    "with save_pretrained, and give the searcher the folder"
                )
            options = {"query_encoder": _absolute(model.name), "revision": model.revision, "width": model.width}
            return {**self._given, **options}
        return {**self._given, "query_encoder": _absolute(encoder)}

    def __setstate__(self, given: Mapping[str, Any]) -> None:
        """Open the index again."""
        self.__init__(**given)  # type: ignore[misc]

    def __enter__(self) -> HypencoderSearcher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _find(
        self, queries: Sequence[Query] | QNets, ids: Sequence[str] | None, k: int, threads: int | None
    ) -> tuple[QNets, list[Found]]:
        self._check_open()
        if ids is not None and (len(ids) != len(queries) or len(set(ids)) != len(ids)):
            raise HypensearchError(
                f"found {len(queries)} queries and {len(set(ids))} different ids: wanted one id for each query"
            )
        k = _whole_number(k, "k", "at least 1 hit")
        with torch_threads(_checked_threads(threads)):
            q_nets = self._as_q_nets(list(queries))
            if q_nets.dim != self.index.dim:
                raise HypensearchError(
                    f"document vectors in {self.index.folder} have {self.index.dim} dimensions, but the q-nets take "
                    f"{q_nets.dim}: was the corpus encoded with another checkpoint?"
                )
            with self._clocked(), stage("search"):
                starts = self._seeds.rows(ids) if self._seeds and ids else None
                found = self._search.search(q_nets, min(k, self.num_docs), starts)
        for query, of_query in enumerate(found):
            if not np.isfinite(of_query.scores).all():
                raise HypensearchError(
                    f"a score under q-net {query} is not finite: the q-net overflows or has broken weights; check the "
                    "checkpoint"
                )
        with self._counting:
            self.stats.add(found)
        return q_nets, found

    def _check_open(self) -> None:
        if not self.index.shards:
            raise HypensearchError(f"the searcher of {self.index.folder} is closed: make a new one")

    def _docid_of_row(self, row: int) -> str | None:
        try:
            row = operator.index(row)
        except TypeError:
            raise HypensearchError(
                f"doc() was given a {type(row).__name__}: wanted a docid (text) or a row (a whole number)"
            ) from None
        return self.index.docid(row) if 0 <= row < self.num_docs else None

    @contextmanager
    def _clocked(self) -> Iterator[None]:
        with clocked() as clock:
            yield
        with self._counting:
            self.stats.add_seconds(clock.seconds)

    def _as_q_nets(self, queries: Sequence[Query]) -> QNets:
        texts = [query for query in queries if isinstance(query, str)]
        if len(texts) == len(queries):
            return self.encode(texts)
        if texts or not all(isinstance(query, QNets) for query in queries):
            kinds = sorted({type(query).__name__ for query in queries})
            raise HypensearchError(f"found queries of the kinds {', '.join(kinds)}: wanted all texts or all q-nets")
        if any(len(query) != 1 for query in queries):
            raise HypensearchError("found a batch of q-nets as one query: give its q-nets one by one (list(q_nets))")
        return QNets.concat(list(queries))  # type: ignore[arg-type]

    def _with_vectors(self, found: Found) -> list[VectorHit]:
        pairs = zip(found.hits(self.index.docid), self.index.vectors(found.rows), strict=True)
        return [VectorHit(hit.docid, hit.score, vector) for hit, vector in pairs]

    def given_encoder(self) -> DualEncoder | None:
        """Return the query encoder that was named or loaded before; None where only the index names one."""
        return self._model.given()

    def check_made_by(self, model: Mapping[str, Any], what: str) -> None:
        """Refuse q-nets of another model than the one that made the vectors; see :class:`IndexModel`."""
        self._model.check_made_by(model, what)


def _name_options() -> None:
    """Name the options of all searches in the signatures, for help() and completion."""
    keyword = inspect.Parameter.KEYWORD_ONLY
    options = [inspect.Parameter(name, keyword, default=value) for name, value in option_defaults().items()]

    def own(function: Any) -> list[inspect.Parameter]:
        parameters = inspect.signature(function).parameters.values()
        return [one for one in parameters if one.kind != one.VAR_KEYWORD and one.name != "self"]

    of_class = [*own(HypencoderSearcher.__init__), *options]
    HypencoderSearcher.__signature__ = inspect.Signature(of_class)  # type: ignore[attr-defined]
    by_name = HypencoderSearcher.from_prebuilt_index.__func__  # type: ignore[attr-defined]
    keywords = [one for one in of_class if one.kind == keyword]
    by_name.__signature__ = inspect.Signature([*own(by_name), *keywords], return_annotation=HypencoderSearcher)


_name_options()


def _absolute(name: str | os.PathLike[str] | None) -> str | os.PathLike[str] | None:
    """Return a folder's whole path: another process may run elsewhere; other names stay."""
    return os.path.abspath(name) if name is not None and os.path.isdir(name) else name


def _one_of(q_ids: Sequence[str] | None, qids: Sequence[str] | None) -> Sequence[str]:
    if (q_ids is None) == (qids is None):
        raise HypensearchError("wanted the queries' ids once, as q_ids or as qids")
    return q_ids if q_ids is not None else qids  # type: ignore[return-value]


def _checked_threads(threads: int | None) -> int:
    if threads is None:
        return default_threads()
    return min(_whole_number(threads, "threads", "at least 1"), available_cpus())  # more never help


def _whole_number(value: object, name: str, wanted: str) -> int:
    """Take a number that counts something, numpy's included; what comes over HTTP may be anything."""
    try:
        number = 0 if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = 0
    if number < 1:
        raise HypensearchError(f"{name} is {str(value)[:40]}: wanted {wanted}")
    return number
