# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Training records from topics, judgements and a run: what was retrieved but not judged relevant is a hard negative."""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hypensearch.errors import HypensearchError
from hypensearch.formats.corpus import TextRule, read_corpus
from hypensearch.formats.files import FileLock, replace_when_whole
from hypensearch.hits import Hit

if TYPE_CHECKING:
    from hypensearch.search.searcher import HypencoderSearcher

logger = logging.getLogger(__name__)

Scorer = Callable[[str, Sequence[str]], Sequence[float]]

_DIGEST_BYTES = 16  # in front of each line of an unfinished file


def candidates(
    hits: Sequence[Hit], relevant: set[str], *, depth: range, count: int, rng: np.random.Generator
) -> list[str]:
    """Draw negatives from a ranking.

    :param hits: Best first.
    :param relevant: Docids judged relevant; never drawn.
    :param depth: Ranks, from 0, to draw from.
    :param count: The most to draw.
    :return: Docids, best first.
    """
    pool = [hit.docid for hit in hits[depth.start : depth.stop] if hit.docid not in relevant]
    drawn = rng.choice(len(pool), size=min(count, len(pool)), replace=False)
    return [pool[i] for i in sorted(drawn)]


def choose(
    topics: Mapping[str, str],
    qrels: Mapping[str, Mapping[str, int]],
    run: Mapping[str, Sequence[Hit]],
    *,
    depth: range,
    count: int,
    relevance_level: int,
    seed: int,
) -> dict[str, tuple[list[str], list[str]]]:
    """Choose positives and negatives for every topic that has a relevant document.

    :return: Docids of positives and of negatives by topic id. What is drawn depends on seed and topic alone.
    :raises HypensearchError: When no topic has both a relevant document and hits.
    """
    chosen = {}
    for topic in topics:
        positives = sorted(docid for docid, grade in qrels.get(topic, {}).items() if grade >= relevance_level)
        if not positives or topic not in run:
            continue
        rng = np.random.default_rng([seed, *topic.encode()])
        chosen[topic] = (
            positives,
            candidates(run[topic], set(positives), depth=depth, count=count, rng=rng),
        )
    if not chosen:
        raise HypensearchError("no topic has a relevant document in the qrels and hits in the run: do their ids match?")
    return chosen


def with_positives(
    topics: Mapping[str, str], qrels: Mapping[str, Mapping[str, int]], relevance_level: int
) -> dict[str, str]:
    """Return the topics that have a relevant document.

    :raises HypensearchError: When none has.
    """
    found = {
        topic: text
        for topic, text in topics.items()
        if any(grade >= relevance_level for grade in qrels.get(topic, {}).values())
    }
    if not found:
        raise HypensearchError("no topic has a relevant document in the qrels: do their ids match?")
    return found


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


def write_records(
    output: str,
    topics: Mapping[str, str],
    chosen: Mapping[str, tuple[list[str], list[str]]],
    texts: Mapping[str, str],
    score: Scorer | None,
    *,
    scored_by: str = "",
) -> int:
    """Write one training record a topic, going on where an earlier call with the same input was stopped.

    Records are collected in ``OUTPUT.partial``, each line with a digest: what was begun with other input, or is not
    what was written, is made anew.

    :param score: A teacher; its scores stand in the records.
    :param scored_by: What identifies the teacher and how it is used.
    :return: How many records were made by this call.
    :raises HypensearchError: When another process is writing there.
    """
    partial = Path(f"{output}.partial")
    partial.parent.mkdir(parents=True, exist_ok=True)
    records = [
        (topics[topic], [texts[docid] for docid in positives], [texts[docid] for docid in negatives])
        for topic, (positives, negatives) in chosen.items()
    ]
    header = _line_of(json.dumps({"records": _digest(records), "scored_by": scored_by}).encode())
    with FileLock(f"{output}.lock"):
        done = _keep_sound_lines(partial, header) - 1
        if done:
            logger.info("going on after %d records", done)
        with open(partial, "ab") as file:
            for record in records[done:]:
                file.write(_line_of(json.dumps(_record(*record, score), ensure_ascii=False).encode()))
                file.flush()
        with open(partial, "rb") as lines, replace_when_whole(output) as whole:
            whole.writelines(line[_DIGEST_BYTES:] for line in islice(lines, 1, None))
        partial.unlink()
    return len(records) - done


def teacher(name_or_path: str, *, max_length: int, batch_size: int, device: str) -> Scorer:
    """Load a cross-encoder, any sequence classifier of transformers with one output.

    :raises HypensearchError: When it cannot be loaded, or has more outputs.
    """
    import torch
    from transformers import AutoModelForSequenceClassification

    from hypensearch.models.new_model import loading_options, name_for_loading
    from hypensearch.models.tokenizer import load_tokenizer

    options = loading_options(name_or_path)
    try:
        with name_for_loading(name_or_path) as name:
            model = AutoModelForSequenceClassification.from_pretrained(name, **options).to(device).eval()
        tokenizer = load_tokenizer(name_or_path)
    except Exception as error:  # transformers and the hub raise many kinds
        reason = " ".join(str(error).split())[:200]
        raise HypensearchError(f"--teacher {name_or_path}: not loadable as a sequence classifier ({reason})") from None
    if model.config.num_labels != 1:
        raise HypensearchError(f"--teacher {name_or_path}: {model.config.num_labels} outputs, a teacher has one")

    @torch.inference_mode()
    def score(query: str, texts: Sequence[str]) -> list[float]:
        scores: list[float] = []
        for start in range(0, len(texts), batch_size):
            block = list(texts[start : start + batch_size])
            batch = tokenizer(
                [query] * len(block),
                block,
                padding=True,
                truncation="longest_first",
                max_length=max_length,
                return_tensors="pt",
            )
            scores += model(**batch.to(device)).logits[:, 0].float().tolist()
        if not all(map(math.isfinite, scores)):
            raise HypensearchError(f"--teacher {name_or_path}: gave a score that is no finite number for {query!r}")
        return scores

    return score


def _record(query: str, positives: list[str], negatives: list[str], score: Scorer | None) -> dict[str, object]:
    if score is None:
        return {"query": query, "positives": positives, "negatives": negatives}
    scores = iter(score(query, [*positives, *negatives]))
    scored = [[{"text": text, "score": round(next(scores), 6)} for text in part] for part in (positives, negatives)]
    return {"query": query, "positives": scored[0], "negatives": scored[1]}


def _line_of(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest()[:_DIGEST_BYTES].encode() + content + b"\n"


def _digest(records: Sequence[object]) -> str:
    return hashlib.sha256(json.dumps(records).encode()).hexdigest()


def _keep_sound_lines(partial: Path, header: bytes) -> int:
    """Count a stopped call's lines, the header among them, and drop the first that is not sound with all behind it."""
    number = size = 0
    with open(partial, "r+b" if partial.exists() else "w+b") as file:
        for number, line in enumerate(file):
            if line != (_line_of(line[_DIGEST_BYTES:-1]) if number else header):
                break
            size += len(line)
        else:
            number += bool(size)
        file.truncate(size)
        if not size:
            file.seek(0)
            file.write(header)
    return max(1, number)


def all_docids(chosen: Iterable[tuple[list[str], list[str]]]) -> set[str]:
    """Return every docid of some choices."""
    return {docid for positives, negatives in chosen for docid in (*positives, *negatives)}
