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
import torch
from ir_measures import RR, nDCG

from hypensearch.formats.corpus import TextRule, read_corpus
from hypensearch.formats.qrels import read_qrels
from hypensearch.formats.topics import read_topics
from hypensearch.models import DualEncoder, load_model
from hypensearch.models.bundled import bundled_model
from hypensearch.models.dual_encoder import token_states
from hypensearch.train.embedding_cache import EmbeddingCache
from hypensearch.train.scorers import FixedBlocksScorer

MEASURES = [nDCG @ 10, RR @ 10, ir_measures.R @ 100]
DEPTH, QUERIES, DOCUMENTS = 100, 32, 2048

Scores = Callable[[list[str], torch.Tensor], torch.Tensor]


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
    def scores(queries: list[str], vectors: torch.Tensor) -> torch.Tensor:
        wanted = torch.cat([torch.from_numpy(model.encode_documents([query])) for query in queries])
        return torch.nn.functional.normalize(wanted) @ torch.nn.functional.normalize(vectors).T

    return scores


def q_nets_of(model: DualEncoder) -> Scores:
    """Score with a model's q-nets; where queries change the last layers only, earlier ones are computed once."""
    head = model.query_encoder.hyper_head  # type: ignore[union-attr]
    projections = [*head.weight_hyper_projection[:-1], *head.bias_hyper_projection[:-1]]  # type: ignore
    assert all(not p.weight.any() and not p.bias.any() for p in projections)
    scorer = FixedBlocksScorer(head, 1.0, 1.0)  # type: ignore[arg-type]

    def scores(queries: list[str], vectors: torch.Tensor) -> torch.Tensor:
        batch = model.tokenizer(queries, padding=True, truncation=True, max_length=256, return_tensors="pt")  # type: ignore
        states = token_states(model.query_encoder.transformer, batch["input_ids"], batch["attention_mask"])  # type: ignore
        return scorer.q_nets({"states": states, "attention_mask": batch["attention_mask"]})(vectors)

    return scores


def with_encoder_of(shipped: DualEncoder, other: DualEncoder) -> DualEncoder:
    other.query_encoder.transformer = shipped.query_encoder.transformer  # type: ignore[assignment]
    return other


@torch.inference_mode()
def evaluate(folder: Path, scores: Scores, cache: EmbeddingCache) -> dict[str, float]:
    docids, texts = [], []
    corpus = next(path for name in ("corpus.jsonl", "corpus.jsonl.gz") if (path := folder / name).is_file())
    for document in read_corpus(corpus, TextRule(("contents",))):
        docids.append(document.docid)
        texts.append(document.text)
    blocks = torch.from_numpy(cache.vectors(texts)).split(DOCUMENTS)
    topics, qrels = read_topics(folder / "topics.tsv"), read_qrels(folder / "qrels.txt")
    judged = [topic for topic in topics if topic in qrels]
    run = {}
    for start in range(0, len(judged), QUERIES):
        batch = judged[start : start + QUERIES]
        found = torch.cat([scores([topics[topic] for topic in batch], block) for block in blocks], dim=1)
        for topic, top in zip(batch, zip(*found.topk(min(DEPTH, len(docids))), strict=True), strict=True):
            run[topic] = {docids[row]: float(score) for score, row in zip(*top, strict=True)}
    measured = ir_measures.calc_aggregate(MEASURES, qrels, run)
    return {str(measure): round(float(value), 4) for measure, value in measured.items()}


def report(name: str, figures: dict[str, dict[str, float]], output: Path | None) -> None:
    for row, values in figures.items():
        shown = "  ".join(f"{measure} {value:.4f}" for measure, value in sorted(values.items()))
        print(f"{name:12} {row:8} {shown}", flush=True)
    if output is not None:
        known = json.loads(output.read_text()) if output.is_file() else {}
        output.write_text(json.dumps({**known, name: figures}, indent=2) + "\n")


if __name__ == "__main__":
    main()
