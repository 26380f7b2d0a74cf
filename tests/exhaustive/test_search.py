# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hypensearch.exhaustive.options import ExhaustiveOptions
from hypensearch.exhaustive.search import ExhaustiveSearch
from hypensearch.flat import FlatIndex
from hypensearch.hits import Hit
from hypensearch.index.join import join_indexes
from hypensearch.models import QNetConfig
from hypensearch.scoring.scorer import Scorer
from tests import reference
from tests.search.strategies import exact_hits, hits_of, random_q_nets, random_vectors, save_index

CPU = torch.device("cpu")
CONFIG = QNetConfig(dims=(16, 16, 16, 1))


def blocks_of(index: FlatIndex, block_rows: int) -> ExhaustiveSearch:
    return ExhaustiveSearch(index, CPU, ExhaustiveOptions(block_rows=block_rows))


def as_pairs(hits: list[Hit]) -> list[tuple[str, float]]:
    return [(hit.docid, hit.score) for hit in hits]


@given(st.integers(1, 60), st.integers(1, 70), st.integers(1, 80), st.integers(0, 100))
def test_equals_scoring_one_by_one(num_docs: int, k: int, block_rows: int, seed: int) -> None:
    q_nets, vectors = random_q_nets(CONFIG, 2, seed), random_vectors(num_docs, 16, seed)
    with tempfile.TemporaryDirectory() as folder, save_index(Path(folder) / "index", vectors) as index:
        found = hits_of(index, blocks_of(index, block_rows).search(q_nets, k))
    exact = reference.score(q_nets, vectors)
    for query, hits in enumerate(found):
        by_docid = {f"d{row}": score for row, score in enumerate(exact[query])}
        np.testing.assert_allclose([hit.score for hit in hits], [by_docid[hit.docid] for hit in hits], atol=1e-3)
        wanted = reference.best(exact[query], list(by_docid), k)
        np.testing.assert_allclose([hit.score for hit in hits], [score for _, score in wanted], atol=1e-3)
        assert len(hits) == min(k, num_docs)


def test_scores_by_eye(tmp_path: Path) -> None:
    """Lower-triangular ones under a q-net that adds up: scores 1, 2, 3, 4, 5."""
    q_net = random_q_nets(QNetConfig(dims=(5, 1)), 1)
    q_net.weights[0].fill_(1)
    index = save_index(tmp_path / "index", np.tril(np.ones((5, 5), dtype=np.float32)))
    (hits,) = exact_hits(index, q_net, 3)
    assert as_pairs(hits) == [("d4", 5.0), ("d3", 4.0), ("d2", 3.0)]


def test_equal_scores_are_ordered_and_cut_by_docid(tmp_path: Path) -> None:
    q_net = random_q_nets(CONFIG, 1)
    vectors = np.tile(random_vectors(1, 16), (6, 1))
    index = save_index(tmp_path / "index", vectors, ["f", "b", "é", "a", "Z", "c"])
    (hits,) = hits_of(index, blocks_of(index, 2).search(q_net, 4))
    assert [hit.docid for hit in hits] == ["Z", "a", "b", "c"]


def test_block_batch_and_order_of_the_corpus_change_no_hit(tmp_path: Path) -> None:
    q_nets, vectors = random_q_nets(CONFIG, 3), random_vectors(1500, 16)
    index = save_index(tmp_path / "index", vectors)
    wanted = exact_hits(index, q_nets, 40)
    assert hits_of(index, blocks_of(index, 7).search(q_nets, 40)) == wanted
    assert [exact_hits(index, q_net, 40)[0] for q_net in q_nets] == wanted
    order = np.random.default_rng(0).permutation(1500)
    permuted = save_index(tmp_path / "permuted", vectors[order], [f"d{row}" for row in order])
    assert exact_hits(permuted, q_nets, 40) == wanted


def test_shards_give_the_hits_of_the_whole(tmp_path: Path) -> None:
    q_nets, vectors = random_q_nets(CONFIG, 2), random_vectors(90, 16)
    vectors[60] = vectors[10]
    docids = [f"d{row}" for row in range(90)]
    whole = save_index(tmp_path / "whole", vectors, docids)
    for name, part in (("one", slice(0, 50)), ("two", slice(50, 90))):
        save_index(tmp_path / name, vectors[part], docids[part]).close()
    join_indexes([tmp_path / "one", tmp_path / "two"], tmp_path / "all")
    with type(whole).open(tmp_path / "all") as joined:
        assert exact_hits(joined, q_nets, 20) == exact_hits(whole, q_nets, 20)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_hits_of_lower_precisions_have_exact_scores(tmp_path: Path, precision: str) -> None:
    q_nets, vectors = random_q_nets(CONFIG, 2), random_vectors(2000, 16)
    index = save_index(tmp_path / "index", vectors)
    search = ExhaustiveSearch(index, CPU, ExhaustiveOptions(precision=precision))
    assert hits_of(index, search.search(q_nets, 20)) == exact_hits(index, q_nets, 20)


@given(st.integers(1, 400), st.integers(1, 300), st.floats(0, 3), st.integers(0, 100))
def test_as_many_candidates_are_scored_again_as_the_scan_is_wrong(num: int, k: int, wrong: float, seed: int) -> None:
    """No candidate that is left out would be among the best, if none is wronger than those that were scored."""
    q_nets, vectors = random_q_nets(CONFIG, 1, seed), random_vectors(num, 16, seed)
    with tempfile.TemporaryDirectory() as folder, save_index(Path(folder) / "index", vectors) as index:
        search = ExhaustiveSearch(index, CPU)
        exact = Scorer(q_nets, CPU).score(vectors)[0].numpy()
        rng = np.random.default_rng(seed)
        rough = exact + (rng.uniform(-wrong, wrong, num) * exact.std()).astype(np.float32)
        rows = np.argsort(-rough)
        found = search.rescore(index.shards[0], q_nets, rows, rough[rows], k)
    np.testing.assert_array_equal(found, exact[rows[: len(found)]])
    assert len(found) >= min(k, num)
    if k < num:
        error = np.abs(found - rough[rows[: len(found)]]).max()
        within = rough - exact >= -2 * error  # what the scan underrates by more, no bound can know
        kth = np.sort(found)[-k]
        assert not ((exact > kth) & within)[rows[len(found) :]].any()
