# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Makes what approximate search is measured on out of the collections: corpora, pairs to train on, topics.

``python -m integrations.speed.collections --data DATA --output FOLDER`` writes into the folder:

- ``arxiv.jsonl``, ``others.jsonl``: the abstracts; the documents of MedQuAD, SciFact, CACM and SQuAD (sentences).
- ``titles.tsv``, ``typical-titles.tsv``: the 101st to the 200th of arXiv's topics; the 256 after them, typical queries.
- ``train.jsonl``: 32,000 titles, questions and claims, drawn, with their documents; none is a topic.
- ``mixed.tsv``, ``typical-mixed.tsv``: 100 held-out topics (60 titles, 20 questions each of MedQuAD and SQuAD) and 256
  queries of the training pairs, drawn.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

TITLES = slice(100, 200)
TYPICAL_TITLES = slice(200, 456)
TYPICAL = 256
PAIRS = 32_000
HELD_OUT_QUESTIONS = 500  # of SQuAD, which has no topics of its own
SEED = 7


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--output", required=True, type=Path)
    args = parser.parse_args()
    data, output = args.data, args.output
    output.mkdir(parents=True, exist_ok=True)
    chance = random.Random(SEED)

    with gzip.open(data / "arxiv" / "corpus.jsonl.gz", "rt", encoding="utf-8") as file:
        abstracts = {record["id"]: record["contents"] for record in map(json.loads, file)}
    questions = _records(data / "squad-sentences" / "train.jsonl")
    chance.shuffle(questions)
    held_out, questions = questions[:HELD_OUT_QUESTIONS], questions[HELD_OUT_QUESTIONS:]

    _write_records(output / "arxiv.jsonl", ({"id": id_, "contents": text} for id_, text in abstracts.items()))
    _write_records(output / "others.jsonl", _others(data, [*held_out, *questions]))
    pairs = [
        *_titles(data, abstracts),
        *_pairs(_records(data / "medquad" / "train.jsonl")),
        *_pairs(_records(data / "scifact" / "train.jsonl")),
        *_pairs(questions),
    ]
    chance.shuffle(pairs)
    pairs = pairs[:PAIRS]
    _write_records(output / "train.jsonl", pairs)

    titles = _topics(data / "arxiv" / "topics.tsv")
    _write_topics(output / "titles.tsv", titles[TITLES])
    _write_topics(output / "typical-titles.tsv", titles[TYPICAL_TITLES])
    medical = _topics(data / "medquad" / "topics.tsv")
    mixed = [*titles[TITLES][:60], *chance.sample(medical, 20), *_numbered("squad", held_out[:20])]
    _write_topics(output / "mixed.tsv", mixed)
    _write_topics(output / "typical-mixed.tsv", _numbered("train", chance.sample(pairs, TYPICAL)))


def _records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _others(data: Path, questions: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for name in ("medquad", "scifact", "commacm"):
        for record in _records(data / name / "corpus.jsonl"):
            yield {"id": f"{name}-{record['id']}", "contents": record["contents"]}
    for number, sentence in enumerate(sorted({record["positive"] for record in questions})):
        yield {"id": f"squad-{number}", "contents": sentence}


def _titles(data: Path, abstracts: dict[str, str]) -> Iterator[dict[str, Any]]:
    with gzip.open(data / "arxiv" / "train.tsv.gz", "rt", encoding="utf-8") as file:
        for line in file:
            title, id_ = line.rstrip("\n").split("\t")
            yield {"query": title, "positive": abstracts[id_]}


def _pairs(records: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    return ({"query": record["query"], "positive": record["positive"]} for record in records)


def _topics(path: Path) -> list[tuple[str, str]]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return [(id_, text) for id_, _, text in (line.partition("\t") for line in lines)]


def _numbered(name: str, records: Iterable[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(f"{name}-{number}", record["query"].replace("\t", " ")) for number, record in enumerate(records)]


def _write_records(path: Path, records: Iterable[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for record in records:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


def _write_topics(path: Path, topics: Iterable[tuple[str, str]]) -> None:
    path.write_text("".join(f"{id_}\t{text}\n" for id_, text in topics), encoding="utf-8")


if __name__ == "__main__":
    main()
