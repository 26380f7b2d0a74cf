# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Retrieval measures on held-out topics while training: every topic against every document of its collection.

Documents are scored, ranked and measured by what scores, ranks and measures them in :mod:`hypensearch.search` and
:mod:`hypensearch.eval`, so a finished checkpoint gets the same figures from the commands, given texts
cut at the same lengths (``--max-length``).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from hypensearch.errors import HypensearchError
from hypensearch.eval import Evaluation, evaluate, resolve_measures
from hypensearch.formats.corpus import TextRule, read_corpus
from hypensearch.formats.ids import with_ids_of
from hypensearch.formats.named import is_name, relevance_level
from hypensearch.formats.qrels import read_qrels
from hypensearch.formats.run import separate_ties
from hypensearch.formats.topics import read_topics
from hypensearch.hits import Hit
from hypensearch.train.batches import Batch, Tokens
from hypensearch.train.model import TrainingModel

MEAN = "mean"

_CORPORA = ("corpus.jsonl",)
_TOPICS = ("topics.tsv", "queries.jsonl")
_QRELS = ("qrels.txt", "qrels/dev.tsv", "qrels/test.tsv")
_DEEPEST = 1000
_QUERIES, _DOCUMENTS = 16, 512
_SCORED = 8192  # documents that the search's scorers are given at once

T = TypeVar("T")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Collection:
    """A corpus with topics that have relevant documents.

    :param name: Of its folder.
    :param docids: Of the documents.
    :param documents: Their texts.
    :param topics: Queries by topic id.
    :param qrels: Grades by topic id and docid.
    :param relevance_level: The least grade that binary measures count as relevant.
    """

    name: str
    docids: list[str]
    documents: list[str]
    topics: dict[str, str]
    qrels: dict[str, dict[str, int]]
    relevance_level: int = 1


def read_collection(folder: str | Path) -> Collection:
    """Read ``corpus.jsonl``, ``topics.tsv`` and ``qrels.txt`` of a folder; topics without an answer are left out.

    BEIR's layout will do as well: ``corpus.jsonl``, ``queries.jsonl`` and ``qrels/dev.tsv``, ``test.tsv`` where there
    is no dev.tsv. All files may be ``.gz``. In place of a folder, ``irds:NAME`` is a data set of ir_datasets.

    :raises HypensearchError: When one is missing or broken, or no topic has a relevant document.
    """
    if is_name(folder):
        name, (corpus, topics_file, qrels_file) = str(folder), [str(folder)] * 3
    else:
        name = Path(folder).name
        corpus, topics_file, qrels_file = (_one_of(Path(folder), names) for names in (_CORPORA, _TOPICS, _QRELS))
    logger.info("validation on %s: %s and %s", name, topics_file, qrels_file)
    texts = {document.docid: document.text for document in read_corpus(corpus, TextRule(("contents",)))}
    read = read_topics(topics_file)
    qrels = with_ids_of(read, read_qrels(qrels_file), qrels_file)
    answered = {
        t for t, grades in qrels.items() if any(grade > 0 and docid in texts for docid, grade in grades.items())
    }
    topics = {topic: text for topic, text in read.items() if topic in answered}
    if not topics:
        raise HypensearchError(
            f"{folder}: no topic of {topics_file} has a document in {corpus} judged relevant in {qrels_file}"
        )
    kept = {topic: qrels[topic] for topic in topics}
    return Collection(name, list(texts), list(texts.values()), topics, kept, relevance_level(folder))


def _one_of(folder: Path, names: Sequence[str]) -> str:
    """Return the first of some files that is there, plain or ``.gz``."""
    paths = (folder / f"{name}{suffix}" for name in names for suffix in ("", ".gz"))
    found = next((path for path in paths if path.exists()), None)
    if found is None:
        raise HypensearchError(
            f"{folder}: no {' or '.join(names)} there: wanted corpus.jsonl, topics.tsv and qrels.txt, or BEIR's "
            "corpus.jsonl, queries.jsonl and qrels/dev.tsv or qrels/test.tsv"
        )
    return str(found)


def check_measures(measures: Sequence[str]) -> None:
    """Check the names of measures.

    :raises HypensearchError: When one is unknown, or a set of several.
    """
    if len(resolve_measures(measures, 1)) != len(measures):
        raise HypensearchError(
            f"--measures {' '.join(measures)}: wanted single measures, each once, such as nDCG@10 and not a set"
        )


class Validation:
    """Measures a model on collections.

    :param collections: Held-out ones.
    :param tokens: Of the model.
    :param measures: Names as ir_measures has them; the first one decides which weights are the best.
    :param bf16: Whether to encode under bfloat16 autocast; scores are in float32.
    :raises HypensearchError: When collections have the same name.
    """

    def __init__(
        self, collections: Sequence[Collection], tokens: Tokens, *, measures: Sequence[str], bf16: bool = False
    ) -> None:
        names = [collection.name for collection in collections]
        if len({*names, MEAN}) <= len(names):
            raise HypensearchError(f"validation collections are told apart by their folders' names, found {names}")
        self.collections = list(collections)
        self.tokens = tokens
        self.measures = list(measures)
        self.bf16 = bf16
        self._depth = max(m.params.get("cutoff", _DEEPEST) for m in resolve_measures(self.measures, 1).values())

    def __call__(self, model: TrainingModel) -> dict[str, float]:
        """Return the first measure by collection and its ``mean``; the others as ``<collection>_<measure>``."""
        first, others = {}, {}
        for collection in self.collections:
            values = list(self.evaluate(model, collection).values.values())
            first[collection.name] = values[0]
            named = zip(self.measures[1:], values[1:], strict=True)
            others.update({f"{collection.name}_{measure}": value for measure, value in named})
        return {**first, MEAN: sum(first.values()) / len(first), **others}

    def evaluate(self, model: TrainingModel, collection: Collection) -> Evaluation:
        """Search a collection with all its topics and measure the run."""
        run = self.run(model, collection)
        return evaluate(collection.qrels, run, self.measures, relevance_level=collection.relevance_level)

    @torch.inference_mode()
    def run(self, model: TrainingModel, collection: Collection) -> dict[str, list[Hit]]:
        """Search a collection with all its topics.

        :return: Hits by topic id, best first, as many as the measures look at.
        """
        from hypensearch.scoring.choice import Case, make_scorer
        from hypensearch.scoring.top_k import TopK

        device = next(model.parameters()).device
        rows_by_rank = np.argsort(np.array(collection.docids, dtype=object))
        docid_rank = torch.from_numpy(np.argsort(rows_by_rank)).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=self.bf16):
            encoded = [
                model.document_vectors(_to(self.tokens.documents(block), device)).float()
                for block in _blocks(collection.documents, _DOCUMENTS)
            ]
            vectors = torch.cat(encoded)
        found = {}
        for topics in _blocks(list(collection.topics), _QUERIES):
            with torch.autocast(device.type, torch.bfloat16, enabled=self.bf16):
                q_nets = model.q_nets(_to(self.tokens.queries([collection.topics[t] for t in topics]), device))
            scorer = make_scorer(q_nets, Case(device, config=q_nets.config))
            best = TopK(len(topics), min(self._depth, len(collection.docids)), docid_rank)
            for start in range(0, len(vectors), _SCORED):
                best.add(start, scorer.score(vectors[start : start + _SCORED]))
            for topic, (rows, scores) in zip(topics, best.best(rows_by_rank), strict=True):
                hits = zip(rows, scores, strict=True)
                found[topic] = separate_ties(Hit(collection.docids[row], float(value)) for row, value in hits)
        return found


def _to(batch: Mapping[str, torch.Tensor], device: torch.device) -> Batch:
    return {key: tensor.to(device) for key, tensor in batch.items()}


def _blocks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))
