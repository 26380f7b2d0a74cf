# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""HypencoderSearcher beside a LuceneSearcher inside Pyserini's HybridSearcher."""

from __future__ import annotations

import json

import pytest

from hypensearch.pyserini import bridge as pyserini_bridge
from integrations.conftest import TEXTS

QUERIES = {"q1": "concussion symptoms", "q2": "how many states are there in india"}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    path = tmp_path_factory.mktemp("hybrid") / "corpus.jsonl"
    path.write_text("".join(json.dumps({"id": docid, "contents": text}) + "\n" for docid, text in TEXTS.items()))
    return path


@pytest.fixture(scope="module")
def sparse(corpus, pyserini):
    pyserini_bridge.index_lucene(corpus, corpus.parent / "lucene")
    return pyserini_bridge.lucene_searcher(corpus.parent / "lucene")


@pytest.fixture(scope="module")
def dense(corpus, tiny_checkpoint, sparse):
    from hypensearch.encode.__main__ import main as encode
    from hypensearch.search import HypencoderSearcher

    index = corpus.parent / "index"
    groups = [["input", "--corpus", corpus], ["output", "--embeddings", index]]
    model = ["encoder", "--encoder", tiny_checkpoint, "--device", "cpu"]
    assert encode([str(word) for group in [*groups, model] for word in group]) == 0
    with HypencoderSearcher(index, str(tiny_checkpoint), device="cpu") as searcher:
        yield searcher


@pytest.fixture(scope="module")
def hybrid(dense, sparse):
    return pyserini_bridge.hybrid_searcher(dense, sparse)


def fused(dense, sparse, query: str, alpha: float, k0: int) -> dict[str, float]:
    """Pyserini's rule: a list's least score stands in for documents that it lacks."""
    scores = [{hit.docid: hit.score for hit in searcher.search(query, k0)} for searcher in (dense, sparse)]
    least = [min(found.values(), default=0) for found in scores]
    of_dense, of_sparse = scores
    return {
        docid: alpha * of_sparse.get(docid, least[1]) + of_dense.get(docid, least[0])
        for docid in of_dense.keys() | of_sparse.keys()
    }


def test_search(dense, sparse, hybrid):
    hits = hybrid.search(QUERIES["q1"], k0=3, k=5, alpha=0.5)

    expected = fused(dense, sparse, QUERIES["q1"], alpha=0.5, k0=3)
    assert {hit.docid: hit.score for hit in hits} == pytest.approx(expected)
    assert [hit.score for hit in hits] == sorted(expected.values(), reverse=True)


@pytest.mark.parametrize("options", [{}, {"weight_on_dense": True}, {"normalization": True}])
def test_batch_search_equals_search(hybrid, options):
    batch = hybrid.batch_search(list(QUERIES.values()), list(QUERIES), k0=5, k=5, threads=1, alpha=0.5, **options)

    for topic, query in QUERIES.items():
        alone = hybrid.search(query, k0=5, k=5, alpha=0.5, **options)
        assert [(hit.docid, pytest.approx(hit.score)) for hit in alone] == [(h.docid, h.score) for h in batch[topic]]


def test_our_bm25_run_is_lucene_searchers(corpus, sparse):
    run = pyserini_bridge.bm25_run(corpus.parent / "lucene", QUERIES, k=5)

    for topic, query in QUERIES.items():
        theirs = [(hit.docid, pytest.approx(hit.score, abs=1e-6)) for hit in sparse.search(query, 5)]
        assert [(hit.docid, hit.score) for hit in run[topic]] == theirs
