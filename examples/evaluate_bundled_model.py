# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Measure the model that ships with hypensearch, beside what it was made from, on collections it was not trained on.

All rows share the shipped encoder, so each corpus is encoded once: the cosine of its vectors (the backbone, zero-shot),
the linear twin's head, and the shipped head. Encodings are kept in --cache.

    python examples/evaluate_bundled_model.py --collections DATA/scifact DATA/commacm .. --twin RUN/twin --cache CACHE
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import ir_measures
import numpy as np
import torch
from ir_measures import RR, nDCG

from hypensearch.formats.corpus import read_corpus
from hypensearch.formats.qrels import read_qrels
from hypensearch.formats.topics import read_topics
from hypensearch.models import DualEncoder, load_model
from hypensearch.models.bundled import bundled_model
from hypensearch.train.embedding_cache import EmbeddingCache

MEASURES = [nDCG @ 10, RR @ 10, ir_measures.R @ 100]
DEPTH, QUERIES, DOCUMENTS = 100, 16, 1024

Scores = Callable[[str, torch.Tensor], torch.Tensor]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--collections", type=Path, nargs="+", required=True, help="corpus, topics.tsv and qrels.txt")
    parser.add_argument("--model", default=str(bundled_model()))
    parser.add_argument("--twin", help="a finished linear twin")
    parser.add_argument("--cache", required=True)
    parser.add_argument("--document-length", type=int, default=128)
    parser.add_argument("--bf16", action="store_true", help="encode documents under bfloat16 autocast")
    parser.add_argument("--output", type=Path, help="JSON file of the figures; added to")
    args = parser.parse_args()
    shipped = load_model(args.model)
    assert shipped.tokenizer is not None
    cache = EmbeddingCache(
        args.cache,
        shipped.passage_encoder.transformer,
        shipped.tokenizer,
        pooling=shipped.passage_encoder.pooling,
        max_length=args.document_length,
        bf16=args.bf16,
    )
    rows: dict[str, Scores] = {"cosine": cosine(shipped)}
    if args.twin:
        rows["twin"] = q_nets_of(with_encoder_of(shipped, load_model(args.twin)))
    rows["shipped"] = q_nets_of(shipped)
    for folder in args.collections:
        figures = {name: evaluate(folder, scores, cache) for name, scores in rows.items()}
        report(folder.name, figures, args.output)


def cosine(model: DualEncoder) -> Scores:
    def scores(query: str, vectors: torch.Tensor) -> torch.Tensor:
        wanted = torch.from_numpy(model.encode_documents([query]))
        return torch.nn.functional.cosine_similarity(wanted, vectors)

    return scores


def q_nets_of(model: DualEncoder) -> Scores:
    memory: dict[str, object] = {}

    def scores(query: str, vectors: torch.Tensor) -> torch.Tensor:
        if query not in memory:
            memory.clear()
            memory[query] = model.encode_queries([query])
        return memory[query](vectors)[0]  # type: ignore[operator]

    return scores


def with_encoder_of(shipped: DualEncoder, other: DualEncoder) -> DualEncoder:
    other.query_encoder.transformer = shipped.query_encoder.transformer  # type: ignore[assignment]
    return other


@torch.inference_mode()
def evaluate(folder: Path, scores: Scores, cache: EmbeddingCache) -> dict[str, float]:
    docids, texts = [], []
    corpus = next(path for name in ("corpus.jsonl", "corpus.jsonl.gz") if (path := folder / name).is_file())
    for document in read_corpus(corpus, fields=("contents",)):
        docids.append(document.docid)
        texts.append(document.text)
    vectors = torch.from_numpy(cache.vectors(texts))
    topics, qrels = read_topics(folder / "topics.tsv"), read_qrels(folder / "qrels.txt")
    run = {}
    for topic, query in topics.items():
        if topic in qrels:
            blocks = [scores(query, block) for block in vectors.split(DOCUMENTS * QUERIES)]
            top = torch.cat(blocks).topk(min(DEPTH, len(docids)))
            run[topic] = {docids[row]: float(s) for row, s in zip(top.indices, top.values, strict=True)}
    measured = ir_measures.calc_aggregate(MEASURES, qrels, run)
    return {str(measure): round(float(np.float64(value)), 4) for measure, value in measured.items()}


def report(name: str, figures: dict[str, dict[str, float]], output: Path | None) -> None:
    for row, values in figures.items():
        shown = "  ".join(f"{measure} {value:.4f}" for measure, value in sorted(values.items()))
        print(f"{name:12} {row:8} {shown}", flush=True)
    if output is not None:
        known = json.loads(output.read_text()) if output.is_file() else {}
        output.write_text(json.dumps({**known, name: figures}, indent=2) + "\n")


if __name__ == "__main__":
    main()
