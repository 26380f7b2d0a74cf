# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Graph search that starts from the documents of a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from hypensearch.errors import HypensearchError
from hypensearch.models import QNets
from hypensearch.search import HypencoderSearcher
from tests.graph.test_search import chain, save_graph
from tests.search.strategies import save_index


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """Documents whose scores rise along a chain."""
    with save_index(tmp_path / "index", np.eye(6, dtype=np.float32)) as index:
        save_graph(index, chain(6))
    hits = ["q1 Q0 d4 1 9.0", "q1 Q0 d1 2 8.0", "q2 Q0 d2 1 7.0", "007 Q0 d3 1 7.0"]
    (tmp_path / "run").write_text("".join(f"{hit} bm25\n" for hit in hits))
    return tmp_path / "index"


def searched(index: Path, topics: list[str], **options: int) -> dict[str, list[str]]:
    q_nets = QNets.from_vectors(torch.arange(6, dtype=torch.float32)[None].expand(len(topics), -1))
    seeds = str(index.parent / "run")
    with HypencoderSearcher(index, searcher="graph", device="cpu", seeds=seeds, **options) as searcher:
        found = searcher.batch_search(q_nets, topics, 6)
    return {topic: [hit.docid for hit in hits] for topic, hits in found.items()}


def test_walks_start_at_the_documents_of_their_topic(index: Path) -> None:
    wanted = {"q1": ["d5", "d4", "d3", "d2", "d1"], "q2": ["d5", "d4", "d3", "d2"], "7": ["d5", "d4", "d3"]}
    assert searched(index, ["q1", "q2", "7"], num_entry_points=0) == wanted


def test_a_topic_without_documents_needs_random_entry_points(index: Path) -> None:
    assert searched(index, ["q3"], num_entry_points=6)["q3"] == ["d5", "d4", "d3", "d2", "d1", "d0"]
    with pytest.raises(HypensearchError, match="query 1 has no documents to start from"):
        searched(index, ["q1", "q3"], num_entry_points=0)


def test_documents_of_another_corpus_are_refused(index: Path) -> None:
    (index.parent / "run").write_text("q1 Q0 nowhere 1 9.0 bm25\n")
    with pytest.raises(HypensearchError, match="seed 'nowhere' of topic 'q1' is not in .*index; was it"):
        searched(index, ["q1"])


def test_other_searches_need_no_run(index: Path) -> None:
    HypencoderSearcher(index, searcher="exhaustive", device="cpu", seeds="no such run").close()
