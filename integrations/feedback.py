# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Vector feedback for q-nets, tried: the best documents' vectors mixed into the score, or into what the q-net sees.

``python -m integrations.feedback --tune INDEX TOPICS QRELS --report NAME INDEX TOPICS QRELS [--report ...]`` chooses
depth and weight of each kind of feedback on the first collection's topics (nDCG@10), and reports it beside exhaustive
search on the others. The kinds, with c the mean of the best m documents' vectors:

- "cosine": ``(1 - beta) * minmax(q(v)) + beta * minmax(cos(v, c))``;
- "rocchio": ``(1 - beta) * minmax(q(v)) + beta * minmax(v . c)``, Rocchio's step for a q-net's linear part;
- "input": ``q((1 - beta) * v + beta * c)``: the q-net sees documents that have moved towards the best ones.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch

from hypensearch.eval import compare, evaluate
from hypensearch.eval.measures import Evaluation
from hypensearch.formats.qrels import read_qrels
from hypensearch.formats.topics import read_topics
from hypensearch.hits import Hit, in_rank_order
from hypensearch.models.q_net import QNets
from hypensearch.rerank.interpolate import normalise
from hypensearch.scoring.scorer import Scorer
from hypensearch.search import HypencoderSearcher

KINDS = ("cosine", "rocchio", "input")
DEPTHS = (1, 2, 3, 5, 10)
BETAS = (0.05, 0.1, 0.2, 0.3, 0.5)
CANDIDATES = 1000
HITS = 100
MEASURES = ["nDCG@10", "RR@10", "R@100"]


def main() -> None:
    args = _arguments()
    tuned = Collection.open(*args.tune, max_topics=args.max_topics)
    grid = [Feedback(kind, depth, beta) for kind in KINDS for depth in DEPTHS for beta in BETAS]
    runs = tuned.runs([None, *grid])
    figures = {feedback: tuned.evaluate(run).values["nDCG@10"] for feedback, run in runs.items()}
    best = [max((f for f in grid if f.kind == kind), key=lambda f: figures[f]) for kind in KINDS]
    print(json.dumps({"chosen on": args.tune[1], "topics": len(tuned.topics), "none": round(figures[None], 4)}))
    for feedback in best:
        print(json.dumps({**feedback.__dict__, "nDCG@10": round(figures[feedback], 4)}))
    for name, *files in args.report:
        collection = Collection.open(*files, max_topics=args.max_topics)
        found = {feedback: collection.evaluate(run) for feedback, run in collection.runs([None, *best]).items()}
        _print(name, len(collection.topics), found)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tune", nargs=3, required=True, metavar=("INDEX", "TOPICS", "QRELS"))
    parser.add_argument(
        "--report", nargs=4, action="append", required=True, metavar=("NAME", "INDEX", "TOPICS", "QRELS")
    )
    parser.add_argument("--max-topics", type=int, default=300)
    return parser.parse_args()


@dataclass(frozen=True)
class Feedback:
    """A kind of feedback.

    :param kind: One of :data:`KINDS`.
    :param depth: Documents whose vectors are fed back (m).
    :param beta: Their weight.
    """

    kind: str
    depth: int
    beta: float

    def scores(self, q_net: QNets, scores: np.ndarray, vectors: np.ndarray) -> np.ndarray:
        """Score candidates anew.

        :param scores: Their scores, falling, *Shape:* ``(num_docs,)``.
        :param vectors: Their vectors, *Shape:* ``(num_docs, dim)``.
        """
        centre = vectors[: self.depth].mean(axis=0)
        if self.kind == "input":
            moved = (1 - self.beta) * vectors + self.beta * centre
            found: np.ndarray = Scorer(q_net, torch.device("cpu")).score(moved.astype(np.float32))[0].numpy()
            return found
        similarity = vectors @ centre
        if self.kind == "cosine":
            similarity = similarity / (np.linalg.norm(vectors, axis=1) * np.linalg.norm(centre) + 1e-12)
        mixed = (1 - self.beta) * normalise(scores, "min-max") + self.beta * normalise(similarity, "min-max")
        return np.asarray(mixed)


@dataclass
class Collection:
    """An index, its topics and judgements."""

    index: str
    topics: Mapping[str, str]
    qrels: Mapping[str, Mapping[str, int]]

    @classmethod
    def open(cls, index: str, topics: str, qrels: str, *, max_topics: int) -> Collection:
        judged = read_qrels(qrels)
        texts = {topic: text for topic, text in read_topics(topics).items() if topic in judged}
        kept = dict(islice(texts.items(), max_topics))
        return cls(index, kept, {topic: judged[topic] for topic in kept})

    def runs(self, feedbacks: Sequence[Feedback | None]) -> dict[Feedback | None, dict[str, list[Hit]]]:
        """Search, then rerank the best candidates with each kind of feedback; None is the search itself."""
        runs: dict[Feedback | None, dict[str, list[Hit]]] = {feedback: {} for feedback in feedbacks}
        for topic, q_net, docids, scores, vectors in self._candidates():
            for feedback in feedbacks:
                found = scores if feedback is None else feedback.scores(q_net, scores, vectors)
                hits = (Hit(docid, float(score)) for docid, score in zip(docids, found, strict=True))
                runs[feedback][topic] = in_rank_order(hits)[:HITS]
        return runs

    def evaluate(self, run: Mapping[str, Sequence[Hit]]) -> Evaluation:
        return evaluate(self.qrels, run, MEASURES)

    def _candidates(self) -> Iterator[tuple[str, QNets, list[str], np.ndarray, np.ndarray]]:
        with HypencoderSearcher(self.index, searcher="exhaustive", max_length=128) as searcher:
            vectors = np.concatenate([np.asarray(shard.vectors, dtype=np.float32) for shard in searcher.index.shards])
            docids = list(searcher.index.docids())
            for topic, text in self.topics.items():
                q_net = searcher.encode([text])
                scores = Scorer(q_net, searcher.device).score(vectors)[0].cpu().numpy()
                rows = np.argsort(-scores, kind="stable")[:CANDIDATES]
                yield topic, q_net, [docids[row] for row in rows], scores[rows], vectors[rows]


def _print(name: str, num_topics: int, found: Mapping[Feedback | None, Evaluation]) -> None:
    baseline, others = found[None], {f: e for f, e in found.items() if f is not None}
    print(json.dumps({"collection": name, "topics": num_topics, "kind": "none", **_rounded(baseline.values)}))
    for feedback, p in zip(others, compare(baseline, list(others.values())), strict=True):
        values = {"p": _rounded(p), **feedback.__dict__, **_rounded(others[feedback].values)}
        print(json.dumps({"collection": name, **values}))


def _rounded(values: Mapping[str, float | None]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in values.items() if value is not None}


if __name__ == "__main__":
    main()
