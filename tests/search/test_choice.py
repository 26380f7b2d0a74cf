# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""What ``--searcher auto`` takes."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch

from hypensearch.models import QNetConfig
from hypensearch.search import HypencoderSearcher
from hypensearch.search.choice import faster_search
from hypensearch.surrogate.builder import build_surrogate
from tests.search.strategies import random_q_nets, random_vectors, save_index

BUNDLED = (384, 384, 384, 1)
RELEASED = (768,) * 7 + (1,)
SIZES = [10, 100, 1_000, 3_204, 10_000, 100_000, 8_841_823]


@pytest.mark.parametrize(
    ("num_docs", "k", "dims", "faster"),
    [
        (3_204, 1_000, BUNDLED, "exhaustive"),  # measured: 122 ms against 223
        (1_000, 1_000, BUNDLED, "exhaustive"),
        (10, 10, BUNDLED, "exhaustive"),
        (74_674, 10, BUNDLED, "surrogate"),
        (74_674, 1_000, BUNDLED, "surrogate"),
        (8_841_823, 1_000, RELEASED, "surrogate"),
        (10, 1, RELEASED, "exhaustive"),
    ],
)
def test_cases_whose_times_are_known(num_docs: int, k: int, dims: tuple[int, ...], faster: str) -> None:
    assert faster_search(num_docs, k, dims, False) == faster


@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.parametrize("dims", [BUNDLED, RELEASED, (32, 1)])
def test_what_is_faster_changes_once(dims: tuple[int, ...], gradients: bool) -> None:
    """More documents never speak for exhaustive search, and more hits never for surrogate search."""
    for k in (1, 10, 100, 1_000):
        taken = [faster_search(num_docs, k, dims, gradients) for num_docs in SIZES]
        assert all(after == "surrogate" for before, after in pairwise(taken) if before == "surrogate")
    for num_docs in SIZES:
        taken = [faster_search(num_docs, k, dims, gradients) for k in (1, 10, 100, 1_000) if k <= num_docs]
        assert all(after == "exhaustive" for before, after in pairwise(taken) if before == "exhaustive")


def test_a_searcher_takes_what_is_faster(tmp_path: Path) -> None:
    config = QNetConfig(dims=(768, 768, 768, 1))
    index, q_nets = tmp_path / "index", random_q_nets(config, 3)
    with save_index(index, random_vectors(3_000, 768)) as written:
        gradients = build_surrogate(written, random_q_nets(config, 16, seed=1), torch.device("cpu")).has_gradients
    ways = {way: HypencoderSearcher(index, device="cpu", searcher=way) for way in ("exhaustive", "surrogate", "auto")}
    for k in (1, 3_000):
        wanted = faster_search(3_000, k, config.dims, gradients)
        (found,), (other,) = ways["auto"].find(q_nets[:1], k), ways[wanted].find(q_nets[:1], k)
        assert (found.rows.tolist(), found.scores.tolist()) == (other.rows.tolist(), other.scores.tolist())
        assert (found.searcher, found.scored, other.searcher) == (wanted, other.scored, "")
    assert ways["auto"].stats.searcher == "exhaustive and surrogate"


def test_the_batch_and_the_threads_change_nothing(tmp_path: Path) -> None:
    config = QNetConfig(dims=(32, 32, 1))
    with save_index(tmp_path / "index", random_vectors(200, 32)) as written:
        build_surrogate(written, random_q_nets(config, 8, seed=1), torch.device("cpu"))
    q_nets = random_q_nets(config, 5)
    with HypencoderSearcher(tmp_path / "index", device="cpu") as searcher:
        alone = [searcher.search(q_net, 7, threads=2) for q_net in q_nets]
        assert list(searcher.batch_search(q_nets, list("abcde"), 7, threads=1).values()) == alone


def test_options_of_surrogate_search_ask_for_it(tmp_path: Path) -> None:
    config = QNetConfig(dims=(32, 32, 1))
    with save_index(tmp_path / "index", random_vectors(200, 32)) as written:
        build_surrogate(written, random_q_nets(config, 8, seed=1), torch.device("cpu"))
    (q_net,) = random_q_nets(config, 1)
    with HypencoderSearcher(tmp_path / "index", device="cpu", max_scored=70) as searcher:
        assert searcher.find(q_net, 10)[0].scored <= 70
        assert searcher.stats.searcher == "surrogate"
    with HypencoderSearcher(tmp_path / "index", device="cpu", searcher="simple") as searcher:
        assert searcher.find(q_net, 10)[0].scored == 200
