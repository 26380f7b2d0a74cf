# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Make the training and validation data of the model that ships with hypensearch.

Training: documentation strings, arXiv titles and abstracts, SQuAD questions and sentences, MedQuAD questions and
answers. Validation, for stopping: held-out parts of these, decided by hashes, and SciFact's training claims, a
collection that is not trained on. No test split is read.

    python examples/train_bundled_model_data.py --collections DATA --output OUTPUT
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

from hypensearch.demo import docstrings

HELD_OUT_PERCENT = 3
MAX_TOPICS, MAX_DISTRACTORS = 200, 3000

Pair = tuple[str, str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--collections", type=Path, required=True, help="folder of arxiv, squad-sentences, medquad ..")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--arxiv-pairs", type=int, default=24000, help="the first so many; encoding them takes longest")
    parser.add_argument("--pairs", type=int, default=sys.maxsize, help="the first so many of each source, to try out")
    args = parser.parse_args()
    sources: dict[str, Iterable[Pair]] = {
        "arxiv": read_arxiv(args.collections / "arxiv", args.arxiv_pairs),
        "squad": read_pairs(args.collections / "squad-sentences" / "train.jsonl"),
        "medquad": read_pairs(args.collections / "medquad" / "train.jsonl"),
    }
    group: dict[str, Callable[[Pair], str]] = {"medquad": subject_of}
    for name, pairs in sources.items():
        split(name, islice(pairs, args.pairs), group.get(name, lambda pair: pair[1]), args.output)
    write_docstrings(args.output, args.pairs)
    write_scifact(args.collections / "scifact", args.output / "validation" / "scifact", args.pairs)


def read_arxiv(folder: Path, count: int) -> Iterator[Pair]:
    with gzip.open(folder / "corpus.jsonl.gz", "rt", encoding="utf-8") as file:
        abstracts = {record["id"]: record["contents"] for record in map(json.loads, file)}
    with gzip.open(folder / "train.tsv.gz", "rt", encoding="utf-8") as file:
        titles = [line.rstrip("\n").split("\t") for line in file]
    return ((title, abstracts[docid]) for title, docid in titles[:count])


def read_pairs(path: Path) -> Iterator[Pair]:
    with open(path, encoding="utf-8") as file:
        for record in map(json.loads, file):
            yield record["query"], record["positive"]


def subject_of(pair: Pair) -> str:
    """MedQuAD's texts begin with their subject: no subject is on both sides of a split."""
    return pair[1].split(". ")[0].lower()


def split(name: str, pairs: Iterable[Pair], group: Callable[[Pair], str], output: Path) -> None:
    train: list[Pair] = []
    held_out: list[Pair] = []
    for pair in pairs:
        (held_out if percentile(group(pair)) < HELD_OUT_PERCENT else train).append(pair)
    write_lines(output / f"{name}.jsonl", (json.dumps({"query": q, "positive": d}) for q, d in train))
    held_out.sort(key=lambda pair: percentile(pair[0], 1 << 60))
    distractors = sorted((d for _, d in train), key=lambda text: percentile(text, 1 << 60))[:MAX_DISTRACTORS]
    write_collection(output / "validation" / name, held_out[:MAX_TOPICS], distractors)


def write_collection(folder: Path, pairs: list[Pair], distractors: list[str]) -> None:
    docids = {text: f"d{i}" for i, text in enumerate(dict.fromkeys([*(d for _, d in pairs), *distractors]))}
    write_lines(folder / "corpus.jsonl", (json.dumps({"id": i, "contents": text}) for text, i in docids.items()))
    write_lines(folder / "topics.tsv", (f"{n}\t{' '.join(q.split())}" for n, (q, _) in enumerate(pairs, 1)))
    write_lines(folder / "qrels.txt", (f"{n} 0 {docids[d]} 1" for n, (_, d) in enumerate(pairs, 1)))


def write_docstrings(output: Path, count: int) -> None:
    collection = docstrings.collect()
    train_pairs = list(islice(collection.pairs(), count))
    write_lines(output / "docstrings.jsonl", (json.dumps({"query": q, "positive": d}) for q, d in train_pairs))
    pairs = [
        (topic, collection.corpus[docid])
        for topic_id, topic in collection.topics("validation").items()
        for docid in collection.qrels("validation")[topic_id]
    ]
    train = sorted((d for _, d in train_pairs), key=lambda text: percentile(text, 1 << 60))
    pairs.sort(key=lambda pair: percentile(pair[0], 1 << 60))
    topics = pairs[: min(count, MAX_TOPICS)]
    write_collection(output / "validation" / "docstrings", topics, train[:MAX_DISTRACTORS])


def write_scifact(source: Path, folder: Path, count: int) -> None:
    with open(source / "corpus.jsonl", encoding="utf-8") as file:
        texts = {record["id"]: record["contents"] for record in map(json.loads, file)}
    with open(source / "topics.train.tsv", encoding="utf-8") as file:
        topics = dict(line.rstrip("\n").split("\t") for line in file)
    with open(source / "qrels.train.txt", encoding="utf-8") as file:
        judged = [line.split() for line in file]
    first = {topic: docid for topic, _, docid, _ in reversed(judged)}
    pairs = sorted(((topics[topic], texts[docid]) for topic, docid in first.items()), key=lambda pair: pair[0])
    distractors = sorted(texts.values(), key=lambda text: percentile(text, 1 << 60))
    most = min(count, MAX_TOPICS)
    write_collection(folder, pairs[::4][:most], distractors[: min(count, MAX_DISTRACTORS)])


def percentile(text: str, buckets: int = 100) -> int:
    return int.from_bytes(hashlib.sha1(text.encode()).digest()[:8], "big") % buckets


def write_lines(path: Path, lines: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(line + "\n" for line in lines)


if __name__ == "__main__":
    main()
