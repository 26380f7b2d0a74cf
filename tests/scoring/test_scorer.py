# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hypensearch.models import QNetConfig
from hypensearch.scoring.scorer import Scorer
from tests.search.strategies import q_net_configs, random_q_nets, random_vectors

CPU = torch.device("cpu")


@given(q_net_configs(), st.integers(1, 40), st.sampled_from([16, 32, 512]), st.integers(0, 2**16))
def test_equals_the_plain_way(config: QNetConfig, num_docs: int, tile_rows: int, seed: int) -> None:
    q_nets = random_q_nets(config, 2, seed).to(dtype=torch.float32)
    vectors = random_vectors(num_docs, config.dims[0], seed)
    scores = Scorer(q_nets, CPU, tile_rows=tile_rows).score(vectors)
    plain = q_nets(torch.from_numpy(vectors))
    scale = max(1.0, float(plain.abs().max()))
    torch.testing.assert_close(scores / scale, plain / scale, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("dims", [(64, 64, 64, 1), (96, 1), (64, 32, 1)])
def test_a_score_depends_on_nothing_but_its_document(dims: tuple[int, ...]) -> None:
    q_nets = random_q_nets(QNetConfig(dims=dims), 2)
    vectors = random_vectors(700, dims[0])
    scores = Scorer(q_nets, CPU).score(vectors)
    shuffled = np.random.default_rng(1).permutation(700)
    assert torch.equal(Scorer(q_nets, CPU).score(vectors[shuffled]), scores[:, shuffled])
    assert torch.equal(Scorer(q_nets[1], CPU).score(vectors[100:]), scores[1:, 100:])
    assert torch.equal(Scorer(q_nets, CPU, tile_rows=64).score(vectors), scores)


def test_number_of_threads_changes_nothing() -> None:
    q_nets, vectors = random_q_nets(QNetConfig(dims=(64, 64, 64, 1)), 1), random_vectors(600, 64)
    before = torch.get_num_threads()
    try:
        scores = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            scores.append(Scorer(q_nets, CPU).score(vectors))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(scores[0], other) for other in scores[1:])


def test_float16_vectors_are_scored_in_float32() -> None:
    q_nets = random_q_nets(QNetConfig(dims=(32, 32, 1)), 1)
    vectors = random_vectors(50, 32).astype(np.float16)
    assert torch.equal(Scorer(q_nets, CPU).score(vectors), Scorer(q_nets, CPU).score(vectors.astype(np.float32)))


@pytest.mark.parametrize(("precision", "atol"), [("bf16", 0.2), ("fp16", 0.03)])
def test_lower_precisions_come_close(precision: str, atol: float) -> None:
    q_nets, vectors = random_q_nets(QNetConfig(dims=(64, 64, 64, 1)), 2), random_vectors(300, 64)
    exact = Scorer(q_nets, CPU).score(vectors)
    rough = Scorer(q_nets, CPU, precision).score(vectors)
    assert not torch.equal(rough, exact)
    torch.testing.assert_close(rough, exact, rtol=0, atol=atol * float(exact.std()) * 2)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("num_docs", [1, 700, 3000, 9000])
def test_tiles_cover_all_documents(precision: str, num_docs: int) -> None:
    """One, some for torch's own threads, some for ours, and so many that weights are laid out for them."""
    q_nets, vectors = random_q_nets(QNetConfig(dims=(64, 64, 64, 1)), 1), random_vectors(num_docs, 64)
    found = Scorer(q_nets, CPU, precision, threads=2).score(vectors)
    wanted = q_nets(torch.from_numpy(vectors))
    atol = 1e-4 if precision == "fp32" else 0.05 * float(wanted.abs().max())
    torch.testing.assert_close(found, wanted, rtol=0, atol=atol)
