# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Training records from topics, judgements and a run: what was retrieved but not judged relevant is a hard negative."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hypensearch.errors import HypensearchError
from hypensearch.formats.corpus import TextRule, read_corpus
from hypensearch.formats.files import file_lock, replace_when_whole
from hypensearch.hits import Hit
from hypensearch.mine.kept_lines import KeptLines
from hypensearch.options import Options, option

if TYPE_CHECKING:
    from hypensearch.search.searcher import HypencoderSearcher

Teacher = Callable[[str, Sequence[str]], Sequence[float]]
Scores = Mapping[str, Mapping[str, float]]
Chosen = Mapping[str, tuple[list[str], list[str]]]


@dataclass(frozen=True)
class Draw(Options):
    """How positives and negatives are drawn."""

    negatives: int = option("negatives drawn for each query", 8, at_least=1)
    depth: int = option("last rank to draw from", 100, at_least=1)
    skip: int = option("first ranks not to draw from: they may be unjudged answers", 0, at_least=0)
    relevance_level: int = option("lowest grade of a positive", 1)
    seed: int = option("seed of the draw", 42)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.skip >= self.depth:
            raise HypensearchError(f"--skip {self.skip} leaves nothing of --depth {self.depth}")

    def relevant(self, grades: Mapping[str, int]) -> set[str]:
        """Return the docids that are judged relevant."""
        return {docid for docid, grade in grades.items() if grade >= self.relevance_level}


def with_positives(topics: Mapping[str, str], qrels: Mapping[str, Mapping[str, int]], draw: Draw) -> dict[str, str]:
    """Return the topics that have a relevant document.

    :raises HypensearchError: When none has.
    """
    found = {topic: text for topic, text in topics.items() if draw.relevant(qrels.get(topic, {}))}
    if not found:
        raise HypensearchError("no topic has a relevant document in the qrels: do their ids match?")
    return found


def choose(
    topics: Mapping[str, str],
    qrels: Mapping[str, Mapping[str, int]],
    run: Mapping[str, Sequence[Hit]],
    draw: Draw,
    scores: Scores | None = None,
) -> dict[str, tuple[list[str], list[str]]]:
    """Choose positives and negatives for every topic that has a relevant document.

    :param run: Hits by topic id, best first.
    :param scores: A teacher's; documents that have none are left out.
    :return: Docids of positives and of negatives by topic id. What is drawn depends on seed and topic alone.
    :raises HypensearchError: When no topic has both a relevant document and hits.
    """
    chosen = {}
    for topic in topics:
        relevant = draw.relevant(qrels.get(topic, {}))
        pool = [hit.docid for hit in run.get(topic, ())[draw.skip : draw.depth] if hit.docid not in relevant]
        positives = sorted(relevant)
        if scores is not None:
            scored = scores.get(topic, {})
            positives, pool = ([docid for docid in part if docid in scored] for part in (positives, pool))
        if not positives or topic not in run:
            continue
        rng = np.random.default_rng([draw.seed, *topic.encode()])
        drawn = rng.choice(len(pool), size=min(draw.negatives, len(pool)), replace=False)
        chosen[topic] = (positives, [pool[i] for i in sorted(drawn)])
    if not chosen:
        found = "hits in the run" if scores is None else "hits in the run, and a score by the teacher"
        raise HypensearchError(f"no topic has a relevant document in the qrels and {found}: do their ids match?")
    return chosen


def indexed_texts(searcher: HypencoderSearcher, docids: set[str]) -> dict[str, str]:
    """Read the texts of some documents from the corpus that an index was made of, or from the index itself.

    :raises HypensearchError: When one cannot be read.
    """
    texts = {}
    for docid in sorted(docids):
        document = searcher.doc(docid)
        if document is None:
            raise HypensearchError(f"{searcher.index.folder}: has no document {docid!r}, which the qrels name")
        texts[docid] = document.contents()
    return texts


def read_texts(corpus: str, docids: set[str], fields: Sequence[str]) -> dict[str, str]:
    """Read the texts of some documents.

    :raises HypensearchError: When one is not in the corpus.
    """
    texts = {doc.docid: doc.text for doc in read_corpus(corpus, TextRule(tuple(fields))) if doc.docid in docids}
    if missing := sorted(docids - texts.keys()):
        raise HypensearchError(
            f"{corpus}: lacks {len(missing)} of the documents of run and qrels, such as {missing[0]!r}: "
            "is it the corpus that was searched?"
        )
    return texts


def make_records(
    topics: Mapping[str, str], chosen: Chosen, texts: Mapping[str, str], scores: Scores | None = None
) -> list[dict[str, Any]]:
    """Make one training record a topic.

    :param scores: A teacher's, of all documents that were chosen.
    """

    def item(topic: str, docid: str) -> Any:
        return texts[docid] if scores is None else {"text": texts[docid], "score": round(scores[topic][docid], 6)}

    return [
        {
            "query": topics[topic],
            "positives": [item(topic, docid) for docid in positives],
            "negatives": [item(topic, docid) for docid in negatives],
        }
        for topic, (positives, negatives) in chosen.items()
    ]


def write_records(
    output: str, records: Sequence[dict[str, Any]], teacher: Teacher | None = None, *, scored_by: str = ""
) -> int:
    """Write training records, resuming where an earlier call with the same input was stopped.

    Until all are there, records are kept in ``OUTPUT.partial``.

    :param teacher: Scores the texts of a query; its scores are added to the records.
    :param scored_by: What identifies the teacher and how it is used.
    :return: How many records were made by this call.
    :raises HypensearchError: When another process is writing there.
    """
    os.makedirs(os.path.dirname(os.path.abspath(output)), exist_ok=True)
    with file_lock(f"{output}.lock"):
        with KeptLines(f"{output}.partial", [records, scored_by]) as lines:
            done = len(lines)
            for record in records[done:]:
                lines.append(record if teacher is None else _scored(record, teacher))
            with replace_when_whole(output) as whole:
                whole.writelines(lines)
        lines.path.unlink()
    return len(records) - done


def _scored(record: dict[str, Any], teacher: Teacher) -> dict[str, Any]:
    parts = record["positives"], record["negatives"]
    scores = iter(teacher(record["query"], [text for part in parts for text in part]))
    positives, negatives = ([{"text": text, "score": round(next(scores), 6)} for text in part] for part in parts)
    return {"query": record["query"], "positives": positives, "negatives": negatives}
