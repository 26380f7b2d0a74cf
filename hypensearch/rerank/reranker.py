# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The reranker: candidates of a first stage, ordered by q-nets."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from hypensearch.device import resolve_device
from hypensearch.encode.options import EncodingOptions
from hypensearch.errors import HypensearchError
from hypensearch.flat import FlatIndex
from hypensearch.flat.model import IndexModel
from hypensearch.hits import Hit, in_rank_order
from hypensearch.models.dual_encoder import DEFAULT_MAX_LENGTH, DualEncoder
from hypensearch.models.loading import load_model
from hypensearch.models.q_net import QNets
from hypensearch.rerank.adaptive import adaptive_rerank
from hypensearch.rerank.interpolate import interpolate
from hypensearch.rerank.options import RerankOptions
from hypensearch.rerank.vectors import EncodedVectors, IndexVectors, Vectors
from hypensearch.scoring.scorer import Scorer
from hypensearch.stages import StageClock

if TYPE_CHECKING:
    import torch

    from hypensearch.graph.store import GraphIndex
    from hypensearch.rerank.texts import Texts

__all__ = ["HasScore", "RerankOptions", "RerankStats", "Reranker"]

_PHASES = ("prepare", "encode", "fetch", "score", "rank")


class HasScore(Protocol):
    """A candidate: our hits, Pyserini's, Lucene's."""

    @property
    def docid(self) -> str:
        """The document's identifier."""

    @property
    def score(self) -> float:
        """The first stage's score, higher is better."""


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
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(_PHASES, 0.0))

    @property
    def share_scoring(self) -> float:
        """Share of the time, encoding of documents left out, that scoring took."""
        total = sum(seconds for phase, seconds in self.seconds.items() if phase != "prepare")
        return self.seconds["score"] / total if total else 0.0


class Reranker:
    """Scores candidates of a first stage with q-nets. Made by :meth:`from_index` or :meth:`from_texts`.

    A document's score is the one that exhaustive search gives it; equal scores are ordered by docid.

    :param vectors: Where the candidates' vectors come from.
    :param device: Where to score.
    :param max_length: Tokens kept of a query, special ones included.
    :param options: How to rerank.
    :param graph: The graph of nearest documents, for ``gar``.
    """

    def __init__(
        self,
        vectors: Vectors,
        device: torch.device,
        max_length: int = DEFAULT_MAX_LENGTH,
        options: RerankOptions | None = None,
        graph: GraphIndex | None = None,
    ) -> None:
        self.options = options or RerankOptions()
        self.device = device
        self._clock = StageClock(_PHASES)
        self.stats = RerankStats(seconds=self._clock.seconds)
        self._vectors = vectors
        self._max_length = max_length
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
        model = IndexModel(index, query_encoder, device=place, width=width, backbone_config=backbone_config)
        graph = GraphIndex.open(index, options.graph) if options.gar else None
        return cls(IndexVectors(index, model), place, max_length, options, graph)

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
        encoding: EncodingOptions | None = None,
        bf16: bool = False,
        show_progress: bool = False,
    ) -> Reranker:
        """Make a reranker that needs no index: it encodes the candidates that come, each document once.

        :param texts: :class:`hypensearch.rerank.texts.CorpusTexts` or :class:`~hypensearch.rerank.texts.LuceneTexts`.
        :param query_encoder: A loaded model, or a checkpoint's folder or hub name.
        :param device: As in :meth:`from_index`; ``max_length``, ``width``, ``backbone_config``, ``options`` likewise.
        :param cache: Folder that keeps the vectors for later; None to forget them.
        :param encoding: How documents are encoded: batch size and length.
        :param bf16: Encode documents in bfloat16, on processors that have it.
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
        if not isinstance(query_encoder, DualEncoder):
            name = os.fspath(query_encoder)
            query_encoder = load_model(name, width=width, backbone_config=backbone_config, device=place)
        vectors = EncodedVectors(
            texts, query_encoder, cache=cache, encoding=encoding, bf16=bf16, show_progress=show_progress
        )
        return cls(vectors, place, max_length, options)

    @property
    def query_encoder(self) -> DualEncoder:
        """The model, loaded on first use."""
        return self._vectors.model

    def check_made_by(self, model: Mapping[str, Any], what: str) -> None:
        """Refuse q-nets of another model than the one that made the vectors.

        :param model: Name and fingerprint of the q-nets' model.
        :param what: Who has them, for the message.
        :raises HypensearchError: When the document encoders differ.
        """
        self._vectors.check_made_by(model, what)

    def given_encoder(self) -> DualEncoder | None:
        """Return the query encoder that was named or loaded before; None where only an index names one."""
        return self._vectors.given_encoder()

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
        candidates = {topic: _best_first(hits.get(topic, ())) for topic in ids}
        self._prepare(candidates)
        if not ids:
            return {}
        with self._clock.stage("encode"):
            q_nets = self._as_q_nets(queries)
        return {topic: self._rerank(q_nets[number], candidates[topic], threads)[:k] for number, topic in enumerate(ids)}

    def prepare(self, hits: Mapping[str, Sequence[HasScore]]) -> None:
        """Look up, or encode, the candidates of many queries together; they are checked as :meth:`rerank` does.

        :param hits: Candidates by query id.
        :raises HypensearchError: When candidates have no vector and none may be missing.
        """
        self._prepare({topic: _best_first(of_topic) for topic, of_topic in hits.items()})

    def close(self) -> None:
        """Let go of index and files."""
        self._vectors.close()

    def __enter__(self) -> Reranker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _wanted(self, candidates: Mapping[str, float]) -> list[str]:
        return list(candidates)[: None if self.options.gar else self.options.depth]

    def _prepare(self, candidates: Mapping[str, Mapping[str, float]]) -> None:
        wanted = {topic: self._wanted(of_topic) for topic, of_topic in candidates.items()}
        with self._clock.stage("prepare"):
            docids = dict.fromkeys(docid for of_topic in wanted.values() for docid in of_topic)
            self.stats.documents_encoded += self._vectors.prepare(docids)
        if self.options.missing != "error":
            return
        missing = [
            (topic, docids_of[place])
            for topic, docids_of in wanted.items()
            for place in np.flatnonzero(self._vectors.rows_of(docids_of) < 0)
        ]
        if missing:
            topic, docid = missing[0]
            raise HypensearchError(
                f"{len(missing):,} candidates of {len({topic for topic, _ in missing}):,} topics are not in "
                f"{self._vectors.where}, {docid!r} of topic {topic!r} for one: was the run made of another corpus? "
                "(--missing drop leaves them out, --missing keep puts them last)"
            )

    def _as_q_nets(self, queries: Sequence[str] | Sequence[QNets] | QNets) -> QNets:
        if isinstance(queries, QNets):
            return queries
        texts = [query for query in queries if isinstance(query, str)]
        if len(texts) == len(queries):
            return self.query_encoder.encode_queries(texts, max_length=self._max_length)
        return QNets.concat([query for query in queries if isinstance(query, QNets)])

    def _rerank(self, q_net: QNets, candidates: Mapping[str, float], threads: int | None) -> list[Hit]:
        """Rerank the candidates of one query.

        :param candidates: First stage's scores by docid, best first.
        """
        if q_net.dim != self._vectors.dim:
            raise HypensearchError(
                f"document vectors in {self._vectors.where} have {self._vectors.dim} dimensions, but the q-nets take "
                f"{q_net.dim}: was the corpus encoded with another checkpoint?"
            )
        wanted = self._wanted(candidates)
        rows = self._vectors.rows_of(wanted)
        known = rows >= 0
        scorer = Scorer(q_net, self.device, threads=threads)
        if self._graph is None:
            docids = list(compress(wanted, known))
            scores = self._score(scorer, rows[known])
        else:
            chosen, scores = self._adaptive(self._graph, scorer, rows[known])
            docids = [self._vectors.docid(int(row)) for row in chosen]
        with self._clock.stage("rank"):
            reranked = self._hits(candidates, docids, scores)
            reranked += self._unscored(candidates, reranked, set(compress(wanted, ~known)))
        self.stats.queries += 1
        self.stats.candidates += len(candidates)
        self.stats.documents_scored += len(docids)
        self.stats.documents_missing += int((~known).sum())
        return reranked

    def _adaptive(self, graph: GraphIndex, scorer: Scorer, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with self._clock.stage("rank"):
            return adaptive_rerank(
                rows.tolist(),
                lambda row: graph.neighbours_of(row)[: self.options.gar_neighbours],
                lambda part: self._score(scorer, part),
                budget=self.options.depth,
                batch=self.options.gar_batch,
            )

    def _score(self, scorer: Scorer, rows: np.ndarray) -> np.ndarray:
        """Score rows, which are read in the order in which they lie on disk; float32, *Shape:* ``(len(rows),)``."""
        with self._clock.stage("fetch"):
            order = np.argsort(rows, kind="stable")
            vectors = self._vectors.gather(rows[order])
        with self._clock.stage("score"):
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

    def _hits(self, candidates: Mapping[str, float], docids: Sequence[str], scores: np.ndarray) -> list[Hit]:
        if self.options.alpha and docids:
            first = np.array([candidates.get(docid, np.nan) for docid in docids], dtype=np.float64)
            scores = interpolate(first, scores, self.options.alpha, self.options.normalization)
        return in_rank_order(Hit(docid, float(score)) for docid, score in zip(docids, scores, strict=True))

    def _unscored(self, candidates: Mapping[str, float], reranked: Sequence[Hit], missing: set[str]) -> list[Hit]:
        """Return the candidates that come below, in the first stage's order, with falling scores."""
        scored = {hit.docid for hit in reranked}
        keep_missing, backfill = self.options.missing == "keep", self.options.backfill
        below = [
            docid for docid in candidates if docid not in scored and (keep_missing if docid in missing else backfill)
        ]
        least = reranked[-1].score if reranked else 0.0
        return [Hit(docid, least - place) for place, docid in enumerate(below, 1)]


def _best_first(hits: Iterable[HasScore]) -> dict[str, float]:
    """Return candidates' scores by docid, best first; of equal scores, the one that came first."""
    ordered = sorted(((str(hit.docid), float(hit.score)) for hit in hits), key=lambda pair: -pair[1])
    scores = dict(ordered)
    if len(scores) != len(ordered):
        raise HypensearchError("a candidate comes twice: wanted each document once")
    return scores
