# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Retrieval measures on held-out topics while training: every topic against every document of its collection."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from hypensearch.errors import HypensearchError
from hypensearch.formats.corpus import read_corpus
from hypensearch.formats.qrels import read_qrels
from hypensearch.formats.topics import read_topics
from hypensearch.train.inputs import Inputs
from hypensearch.train.scorers import Batch, Scorer

MRR_DEPTH = 10
_QUERIES, _DOCUMENTS = 16, 512

T = TypeVar("T")


@dataclass(frozen=True)
class Collection:
    """A corpus with topics that have relevant documents.

    :param name: Of its folder.
    :param documents: Texts.
    :param topics: Queries.
    :param relevant: Rows of the documents relevant to each topic.
    """

    name: str
    documents: list[str]
    topics: list[str]
    relevant: list[set[int]]


def read_collection(folder: str | Path) -> Collection:
    """Read ``corpus.jsonl``, ``topics.tsv`` and ``qrels.txt`` of a folder.

    :raises HypensearchError: When one is missing or broken, or no topic has a relevant document.
    """
    folder = Path(folder)
    rows: dict[str, int] = {}
    documents: list[str] = []
    for document in read_corpus(folder / "corpus.jsonl", fields=("contents",)):
        rows[document.docid] = len(documents)
        documents.append(document.text)
    topics, qrels = read_topics(folder / "topics.tsv"), read_qrels(folder / "qrels.txt")
    relevant = {
        topic: {rows[docid] for docid, grade in qrels.get(topic, {}).items() if grade > 0 and docid in rows}
        for topic in topics
    }
    kept = [topic for topic in topics if relevant[topic]]
    if not kept:
        raise HypensearchError(f"{folder}: no topic of topics.tsv has a document in corpus.jsonl judged relevant")
    return Collection(folder.name, documents, [topics[t] for t in kept], [relevant[t] for t in kept])


class Validation:
    """Scores a model on collections.

    :param collections: Held-out ones.
    :param inputs: What turns their texts into the scorer's input.
    :param bf16: Whether to score under bfloat16 autocast.
    """

    def __init__(self, collections: Sequence[Collection], inputs: Inputs, *, bf16: bool = False) -> None:
        self.collections = list(collections)
        self.inputs = inputs
        self.bf16 = bf16

    @torch.inference_mode()
    def __call__(self, scorer: Scorer) -> dict[str, float]:
        """Return MRR@10 by collection, and their mean as ``mrr``."""
        measured = {}
        for collection in self.collections:
            ranks = self.ranks(scorer, collection)
            measured[collection.name] = sum(1 / rank for rank in ranks if rank <= MRR_DEPTH) / len(ranks)
        return {**measured, "mrr": sum(measured.values()) / len(measured)}

    @torch.inference_mode()
    def ranks(self, scorer: Scorer, collection: Collection) -> list[int]:
        """Return the rank, from 1, of each topic's best relevant document; ties count against it."""
        device = next(scorer.parameters()).device  # type: ignore[attr-defined]
        with torch.autocast(device.type, torch.bfloat16, enabled=self.bf16):
            vectors = [
                scorer.document_vectors(_to(self.inputs.documents(block), device))
                for block in _blocks(collection.documents, _DOCUMENTS)
            ]
            ranks = []
            for start, topics in enumerate(_blocks(collection.topics, _QUERIES)):
                q_nets = scorer.q_nets(_to(self.inputs.queries(topics), device))
                scores = torch.cat([q_nets(block) for block in vectors], dim=1).float()
                relevant = collection.relevant[start * _QUERIES :]
                ranks += [_rank(of_topic, rows) for of_topic, rows in zip(scores, relevant, strict=False)]
        return ranks


def _rank(scores: Tensor, relevant: set[int]) -> int:
    rows = list(relevant)
    best = scores[rows].max()
    others = scores.clone()
    others[rows] = float("-inf")
    return 1 + int((others >= best).sum())


def _to(batch: Batch, device: torch.device) -> Batch:
    return {key: tensor.to(device) for key, tensor in batch.items()}


def _blocks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))
