# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The reranker: candidates of a first stage, ordered by q-nets."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from hypensearch.device import resolve_device
from hypensearch.errors import HypensearchError
from hypensearch.flat import FlatIndex
from hypensearch.flat.model import IndexModel
from hypensearch.hits import Hit, in_rank_order
from hypensearch.models.dual_encoder import DEFAULT_MAX_LENGTH, DualEncoder
from hypensearch.models.loading import load_model
from hypensearch.models.q_net import QNets
from hypensearch.rerank.adaptive import adaptive_rerank
from hypensearch.rerank.interpolate import NORMALIZATIONS, interpolate
from hypensearch.rerank.vectors import DocumentEncoding, EncodedVectors, IndexVectors, Vectors
from hypensearch.scoring.scorer import Scorer

if TYPE_CHECKING:
    import torch

    from hypensearch.graph.store import GraphIndex
    from hypensearch.rerank.texts import Texts

MISSING = ("error", "drop", "keep")


class HasScore(Protocol):
    """A candidate: our hits, Pyserini's, Lucene's."""

    @property
    def docid(self) -> str:
        """The document's identifier."""

    @property
    def score(self) -> float:
        """The first stage's score, higher is better."""


@dataclass(frozen=True)
class RerankOptions:
    """How candidates are reranked.

    :param depth: Documents scored for a query, at most: the first stage's best ones, or those that ``gar`` chooses.
    :param alpha: Weight of the first stage's score, 0 to 1; 0 leaves the q-net's scores as they are.
    :param normalization: What scores are normalised by, per query, when ``alpha`` is above 0; see
        :mod:`hypensearch.rerank.interpolate`.
    :param gar: Whether neighbours of good documents are scored as well (:mod:`hypensearch.rerank.adaptive`); needs an
        index with a graph.
    :param gar_batch: Documents scored before the next are chosen.
    :param gar_neighbours: Neighbours of a document that are looked at.
    :param graph: The graph's name; None for the only one.
    :param missing: What becomes of candidates without a vector: "error", "drop", or "keep" below those that were
        scored.
    :param backfill: Keep candidates beyond the depth below those that were scored, in the first stage's order.
    """

    depth: int = 1000
    alpha: float = 0.0
    normalization: str = "min-max"
    gar: bool = False
    gar_batch: int = 16
    gar_neighbours: int = 16
    graph: str | None = None
    missing: str = "error"
    backfill: bool = False

    def check(self) -> None:
        """Refuse values that make no sense.

        :raises HypensearchError: Names the flag.
        """
        if not 0 <= self.alpha <= 1:
            raise HypensearchError(f"--alpha {self.alpha}: wanted 0 (the q-net alone) to 1 (the first stage alone)")
        for flag, value, known in (
            ("normalization", self.normalization, NORMALIZATIONS),
            ("missing", self.missing, MISSING),
        ):
            if value not in known:
                raise HypensearchError(f"--{flag} {value}: wanted {', '.join(known[:-1])} or {known[-1]}")
        for flag, number in (
            ("depth", self.depth),
            ("gar-batch", self.gar_batch),
            ("gar-neighbours", self.gar_neighbours),
        ):
            if number < 1:
                raise HypensearchError(f"--{flag} {number}: wanted at least 1")


@dataclass
class RerankStats:
    """What a reranker did since it was made.

    :param queries: Queries reranked.
    :param candidates: Candidates of the first stage, summed over queries.
    :param documents_scored: Documents scored, summed over queries.
    :param documents_missing: Candidates without a vector, summed over queries.
    :param documents_encoded: Documents encoded for it.
    :param seconds: Seconds by phase: "prepare" (encoding documents, looking up rows), "encode" (query texts to q-nets),
        "fetch" (reading vectors), "score" and "rank".
    """

    queries: int = 0
    candidates: int = 0
    documents_scored: int = 0
    documents_missing: int = 0
    documents_encoded: int = 0
    seconds: dict[str, float] = field(
        default_factory=lambda: dict.fromkeys(("prepare", "encode", "fetch", "score", "rank"), 0.0)
    )

    @property
    def share_scoring(self) -> float:
        """Share of the time, encoding of documents left out, that scoring took."""
        total = sum(seconds for phase, seconds in self.seconds.items() if phase != "prepare")
        return self.seconds["score"] / total if total else 0.0


class Queries(Protocol):
    """What turns query texts into q-nets."""

    @property
    def model(self) -> DualEncoder:
        """The model, loaded on first use."""

    def encode(self, texts: Sequence[str]) -> QNets:
        """Return the q-nets of queries."""

    def check_made_by(self, model: Mapping[str, Any], what: str) -> None:
        """Refuse q-nets of another model than the one that made the vectors."""

    def given(self) -> DualEncoder | None:
        """Return the model that was named or loaded before; None where only an index names one."""


class Reranker:
    """Scores candidates of a first stage with q-nets. Made by :meth:`from_index` or :meth:`from_texts`.

    A document's score is the one that exhaustive search gives it; equal scores are ordered by docid.

    :param vectors: Where the candidates' vectors come from.
    :param queries: What turns query texts into q-nets.
    :param device: Where to score.
    :param options: How to rerank.
    :param graph: The graph of nearest documents, for ``gar``.
    :raises HypensearchError: When an option makes no sense.
    """

    def __init__(
        self,
        vectors: Vectors,
        queries: Queries,
        device: torch.device,
        options: RerankOptions | None = None,
        graph: GraphIndex | None = None,
    ) -> None:
        self.options = options or RerankOptions()
        self.options.check()
        self.device = device
        self.stats = RerankStats()
        self._vectors = vectors
        self._queries = queries
        self._graph = graph

    @classmethod
    def from_index(
        cls,
        index_dir: str | os.PathLike[str],
        query_encoder: str | os.PathLike[str] | DualEncoder | None = None,
        *,
        device: str = "auto",
        max_length: int = DEFAULT_MAX_LENGTH,
        width: int | None = None,
        backbone_config: str | None = None,
        options: RerankOptions | None = None,
    ) -> Reranker:
        """Make a reranker that takes candidates' vectors from an index.

        :param index_dir: An index folder.
        :param query_encoder: A loaded model, or a checkpoint's folder or hub name; None for the one the index names.
        :param device: "auto" (CUDA if there is one), "cpu", "cuda" or "cuda:N".
        :param max_length: Tokens kept of a query, special ones included.
        :param width: Hidden width to cut q-nets to (Matryoshka checkpoints).
        :param backbone_config: The transformer's configuration, where it cannot be found.
        :param options: How to rerank.
        :raises HypensearchError: When index, model and options do not fit each other.
        """
        from hypensearch.graph.store import GraphIndex

        options = options or RerankOptions()
        index, place = FlatIndex.open(index_dir), resolve_device(device)
        index.check_once()
        model = IndexModel(
            index, query_encoder, device=place, max_length=max_length, width=width, backbone_config=backbone_config
        )
        graph = GraphIndex.open(index, options.graph) if options.gar else None
        return cls(IndexVectors(index), model, place, options, graph)

    @classmethod
    def from_texts(
        cls,
        texts: Texts,
        query_encoder: str | os.PathLike[str] | DualEncoder,
        *,
        device: str = "auto",
        max_length: int = DEFAULT_MAX_LENGTH,
        width: int | None = None,
        backbone_config: str | None = None,
        options: RerankOptions | None = None,
        cache: str | None = None,
        encoding: DocumentEncoding | None = None,
        show_progress: bool = False,
    ) -> Reranker:
        """Make a reranker that needs no index: it encodes the candidates that come, each document once.

        :param texts: :class:`hypensearch.rerank.texts.CorpusTexts` or :class:`~hypensearch.rerank.texts.LuceneTexts`.
        :param query_encoder: A loaded model, or a checkpoint's folder or hub name.
        :param device: As in :meth:`from_index`; ``max_length``, ``width``, ``backbone_config``, ``options`` likewise.
        :param cache: Folder that keeps the vectors for later; None to forget them.
        :param encoding: How documents are encoded.
        :param show_progress: Draw a progress bar on stderr while documents are encoded.
        :raises HypensearchError: When the cache belongs to other texts, or an option needs an index.
        """
        options = options or RerankOptions()
        if options.gar:
            raise HypensearchError(
                "--gar walks the graph of an index: give --index, and make its graph with: python -m hypensearch.index "
                "--index INDEX"
            )
        place = resolve_device(device)
        queries = _TextQueries(query_encoder, place, max_length, width, backbone_config)
        vectors = EncodedVectors(texts, queries.model, cache=cache, encoding=encoding, show_progress=show_progress)
        return cls(vectors, queries, place, options)

    @property
    def query_encoder(self) -> DualEncoder:
        """The model, loaded on first use."""
        return self._queries.model

    def check_made_by(self, model: Mapping[str, Any], what: str) -> None:
        """Refuse q-nets of another model than the one that made the vectors.

        :param model: Name and fingerprint of the q-nets' model.
        :param what: Who has them, for the message.
        :raises HypensearchError: When the document encoders differ.
        """
        self._queries.check_made_by(model, what)

    def given_encoder(self) -> DualEncoder | None:
        """Return the query encoder that was named or loaded before; None where only an index names one."""
        return self._queries.given()

    def rerank(
        self, query: str | QNets, hits: Iterable[HasScore], k: int | None = None, threads: int | None = None
    ) -> list[Hit]:
        """Rerank the candidates of one query.

        :param query: The query's text, or its q-net.
        :param hits: Candidates: whatever has a ``docid`` and a ``score``, as Pyserini's searchers give.
        :param k: Hits wanted; None for all.
        :param threads: CPU threads; None for as many as torch uses.
        :return: Hits, best first.
        :raises HypensearchError: When candidates have no vector and none may be missing.
        """
        queries: Sequence[str] | QNets = [query] if isinstance(query, str) else query
        return self.batch_rerank(queries, ["query"], {"query": list(hits)}, k, threads)["query"]

    def batch_rerank(
        self,
        queries: Sequence[str] | Sequence[QNets] | QNets,
        q_ids: Sequence[str],
        hits: Mapping[str, Sequence[HasScore]],
        k: int | None = None,
        threads: int | None = None,
    ) -> dict[str, list[Hit]]:
        """Rerank the candidates of several queries.

        :param queries: Texts or q-nets.
        :param q_ids: Their ids.
        :param hits: Candidates by query id, as ``batch_search`` gives them.
        :param k: Hits wanted of each query; None for all.
        :param threads: As in :meth:`rerank`.
        :return: Hits by query id, best first.
        :raises HypensearchError: As :meth:`rerank`, or when ids and queries do not fit.
        """
        ids = list(q_ids)
        if len(ids) != len(queries) or len(set(ids)) != len(ids):
            raise HypensearchError(
                f"found {len(queries)} queries and {len(set(ids))} different ids: wanted one id for each query"
            )
        candidates = {topic: _Candidates.of(hits.get(topic, ())) for topic in ids}
        self._prepare(candidates)
        self._check_missing(candidates)
        with self._timed("encode"):
            q_nets = self._as_q_nets(queries) if ids else None
        found = {}
        for number, topic in enumerate(ids):
            assert q_nets is not None
            found[topic] = self._rerank(q_nets[number], candidates[topic], k, threads)
        return found

    def prepare(self, hits: Mapping[str, Sequence[HasScore]]) -> None:
        """Look up, or encode, the candidates of many queries together; they are checked as :meth:`rerank` does.

        :param hits: Candidates by query id.
        :raises HypensearchError: When candidates have no vector and none may be missing.
        """
        candidates = {topic: _Candidates.of(of_topic) for topic, of_topic in hits.items()}
        self._prepare(candidates)
        self._check_missing(candidates)

    def close(self) -> None:
        """Let go of index and files."""
        self._vectors.close()

    def __enter__(self) -> Reranker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _prepare(self, candidates: Mapping[str, _Candidates]) -> None:
        with self._timed("prepare"):
            docids = dict.fromkeys(docid for of_topic in candidates.values() for docid in self._wanted(of_topic))
            self.stats.documents_encoded += self._vectors.prepare(docids)

    def _wanted(self, candidates: _Candidates) -> list[str]:
        return candidates.docids if self.options.gar else candidates.docids[: self.options.depth]

    def _check_missing(self, candidates: Mapping[str, _Candidates]) -> None:
        if self.options.missing != "error":
            return
        missing = [
            (topic, docids[place])
            for topic, of_topic in candidates.items()
            for docids in [self._wanted(of_topic)]
            for place in np.flatnonzero(self._vectors.rows_of(docids) < 0)
        ]
        if missing:
            topic, docid = missing[0]
            raise HypensearchError(
                f"{len(missing):,} candidates of {len({topic for topic, _ in missing}):,} topics are not in "
                f"{self._vectors.where}, {docid!r} of topic {topic!r} for one: was the run made of another corpus? "
                "(--missing drop leaves them out, --missing keep puts them last)"
            )

    def _rerank(self, q_net: QNets, candidates: _Candidates, k: int | None, threads: int | None) -> list[Hit]:
        if q_net.dim != self._vectors.dim:
            raise HypensearchError(
                f"document vectors in {self._vectors.where} have {self._vectors.dim} dimensions, but the q-nets take "
                f"{q_net.dim}: was the corpus encoded with another checkpoint?"
            )
        wanted = self._wanted(candidates)
        rows = self._vectors.rows_of(wanted)
        known = rows >= 0
        scorer = Scorer(q_net, self.device, threads=threads)
        if self._graph is not None:
            chosen, scores = self._adaptive(scorer, rows[known])
            docids = [self._vectors.docid(int(row)) for row in chosen]
        else:
            chosen = rows[known]
            scores = self._score(scorer, chosen)
            docids = [docid for docid, is_known in zip(wanted, known.tolist(), strict=True) if is_known]
        with self._timed("rank"):
            reranked = self._hits(candidates, docids, scores)
            reranked += self._unscored(candidates, reranked, {wanted[place] for place in np.flatnonzero(~known)})
        self.stats.queries += 1
        self.stats.candidates += len(candidates.docids)
        self.stats.documents_scored += len(chosen)
        self.stats.documents_missing += int((~known).sum())
        return reranked[:k]

    def _adaptive(self, scorer: Scorer, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        graph, options = self._graph, self.options
        assert graph is not None
        before = self.stats.seconds["score"] + self.stats.seconds["fetch"]
        started = time.perf_counter()
        found = adaptive_rerank(
            rows.tolist(),
            lambda row: graph.neighbours_of(row)[: options.gar_neighbours],
            lambda part: self._score(scorer, part),
            budget=options.depth,
            batch=options.gar_batch,
        )
        elsewhere = self.stats.seconds["score"] + self.stats.seconds["fetch"] - before
        self.stats.seconds["rank"] += time.perf_counter() - started - elsewhere
        return found

    def _score(self, scorer: Scorer, rows: np.ndarray) -> np.ndarray:
        """Score rows, which are read in the order in which they lie on disk; float32, *Shape:* ``(len(rows),)``."""
        with self._timed("fetch"):
            order = np.argsort(rows, kind="stable")
            vectors = self._vectors.gather(rows[order])
        with self._timed("score"):
            in_order = scorer.score_one(0, vectors).cpu().numpy()
        if not np.isfinite(in_order).all():
            flawed = self._vectors.docid(int(rows[order][~np.isfinite(in_order)][0]))
            raise HypensearchError(
                f"the score of document {flawed!r} is not finite: the q-net overflows or has broken weights; check the "
                "checkpoint"
            )
        scores = np.empty(len(rows), dtype=np.float32)
        scores[order] = in_order
        return scores

    def _hits(self, candidates: _Candidates, docids: Sequence[str], scores: np.ndarray) -> list[Hit]:
        if self.options.alpha and docids:
            first = np.array([candidates.scores.get(docid, np.nan) for docid in docids], dtype=np.float64)
            scores = interpolate(first, scores, self.options.alpha, self.options.normalization)
        return in_rank_order(Hit(docid, float(score)) for docid, score in zip(docids, scores, strict=True))

    def _unscored(self, candidates: _Candidates, reranked: Sequence[Hit], missing: set[str]) -> list[Hit]:
        """Give the candidates that come below, in the first stage's order, with falling scores."""
        scored = {hit.docid for hit in reranked}
        keep_missing, backfill = self.options.missing == "keep", self.options.backfill
        below = [
            docid
            for docid in candidates.docids
            if docid not in scored and (keep_missing if docid in missing else backfill)
        ]
        least = reranked[-1].score if reranked else 0.0
        return [Hit(docid, least - place) for place, docid in enumerate(below, 1)]

    def _as_q_nets(self, queries: Sequence[str] | Sequence[QNets] | QNets) -> QNets:
        if isinstance(queries, QNets):
            return queries
        texts = [query for query in queries if isinstance(query, str)]
        if len(texts) == len(queries):
            return self._queries.encode(texts)
        return QNets.concat([query for query in queries if isinstance(query, QNets)])

    @contextmanager
    def _timed(self, phase: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self.stats.seconds[phase] += time.perf_counter() - started


@dataclass(frozen=True)
class _Candidates:
    """The candidates of one query.

    :param docids: Best first; of equal scores, the one that came first.
    :param scores: The first stage's scores.
    """

    docids: list[str]
    scores: dict[str, float]

    @classmethod
    def of(cls, hits: Iterable[HasScore]) -> _Candidates:
        ordered = sorted(((str(hit.docid), float(hit.score)) for hit in hits), key=lambda pair: -pair[1])
        scores = dict(ordered)
        if len(scores) != len(ordered):
            raise HypensearchError("a candidate comes twice: wanted each document once")
        return cls(list(scores), scores)


class _TextQueries:
    """A model by its name, loaded once for queries and documents."""

    def __init__(
        self,
        query_encoder: str | os.PathLike[str] | DualEncoder,
        device: torch.device,
        max_length: int,
        width: int | None,
        backbone_config: str | None,
    ) -> None:
        self._max_length = max_length
        if isinstance(query_encoder, DualEncoder):
            self._model = query_encoder
        else:
            self._model = load_model(
                os.fspath(query_encoder), width=width, backbone_config=backbone_config, device=device
            )

    @property
    def model(self) -> DualEncoder:
        return self._model

    def encode(self, texts: Sequence[str]) -> QNets:
        return self.model.encode_queries(list(texts), max_length=self._max_length)

    def check_made_by(self, model: Mapping[str, Any], what: str) -> None:
        if model.get("fingerprint") != self.model.fingerprint:
            raise HypensearchError(
                f"candidates are encoded by {self.model.name} (document encoder {self.model.fingerprint[:8]}), but "
                f"{what} is {model.get('name')} ({str(model.get('fingerprint'))[:8]}): name the right --encoder"
            )

    def given(self) -> DualEncoder | None:
        return self._model
