# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The Triton kernel: on a GPU where there is one, else in Triton's interpreter."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hypensearch.errors import HypensearchError
from hypensearch.exhaustive.options import ExhaustiveOptions
from hypensearch.exhaustive.search import ExhaustiveSearch
from hypensearch.models import QNetConfig
from hypensearch.scoring.choice import Case, choose_scorer
from hypensearch.scoring.gpu.candidates import Candidates
from hypensearch.scoring.gpu.triton_scorer import LAYER_BY_LAYER, MAX_WIDTH, Tiling, TritonScorer, Way, tilings
from hypensearch.scoring.top_k import TopK, pack
from tests.search.strategies import q_net_configs, random_q_nets, random_vectors, save_index

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
pytest.importorskip("triton", reason="triton is not installed: pip install -c constraints.txt triton")

SMALL = Tiling(rows=16, columns=16, inner=16, warps=4, stages=2)
OPTIONS = [
    QNetConfig(dims=(40, 40, 40, 40, 1)),
    QNetConfig(dims=(40, 40, 40, 1), residual_on_last=True),
    QNetConfig(dims=(40, 40, 40, 1), residual_on_last=True, layer_norm_before_residual=False),
    QNetConfig(dims=(20, 20, 20, 1), layer_norm=False, residual_on_last=True),
    QNetConfig(dims=(17, 50, 33, 1), residual=False, activation="gelu"),
    QNetConfig(dims=(33, 7, 40, 20, 1), residual=False, activation="tanh", layer_norm_before_residual=False),
    QNetConfig(dims=(24, 24, 1), activation="sigmoid"),
    QNetConfig(dims=(24, 24, 1), activation="leaky_relu", residual_on_last=True),
    QNetConfig(dims=(30, 1)),
]


def assert_close(found: torch.Tensor, plain: torch.Tensor, share: float) -> None:
    scale = max(1.0, float(plain.abs().max()))
    torch.testing.assert_close(found.cpu() / scale, plain / scale, rtol=share, atol=share)


@pytest.mark.parametrize("config", OPTIONS, ids=str)
@pytest.mark.parametrize(("precision", "share"), [("fp32", 1e-5), ("bf16", 0.04), ("fp16", 0.005)])
@pytest.mark.parametrize("way", [SMALL, LAYER_BY_LAYER], ids=["one kernel", "layers"])
def test_every_option_equals_the_plain_way(config: QNetConfig, precision: str, share: float, way: Way) -> None:
    if way == LAYER_BY_LAYER and not config.num_blocks:
        pytest.skip("there are no layers")
    q_nets, vectors = random_q_nets(config, 2), random_vectors(37, config.dims[0])
    found = TritonScorer(q_nets, DEVICE, precision, way=way, programs=2).score(vectors)
    assert found.dtype == torch.float32
    assert_close(found, q_nets(torch.from_numpy(vectors)), share)


@settings(max_examples=12, deadline=None)
@given(q_net_configs(), st.integers(1, 3), st.integers(1, 40), st.integers(1, 3), st.integers(0, 2**16))
def test_random_q_nets_equal_the_plain_way(
    config: QNetConfig, num_queries: int, num_docs: int, programs: int, seed: int
) -> None:
    q_nets, vectors = random_q_nets(config, num_queries, seed), random_vectors(num_docs, config.dims[0], seed)
    found = TritonScorer(q_nets, DEVICE, "fp32", way=SMALL, programs=programs).score(vectors)
    assert_close(found, q_nets(torch.from_numpy(vectors)), 2e-3)


@pytest.mark.parametrize("tiling", tilings(OPTIONS[0], torch.float16)[1:3], ids=str)
def test_tilings_give_the_same_scores(tiling: Tiling) -> None:
    q_nets, vectors = random_q_nets(OPTIONS[1], 2), random_vectors(20, 40)
    found = TritonScorer(q_nets, DEVICE, "fp16", way=tiling, programs=1).score(vectors)
    assert_close(found, q_nets(torch.from_numpy(vectors)), 0.01)


def test_columns_are_whole_and_padding_is_little() -> None:
    for width, columns in ((768, 256), (1024, 128), (384, 128), (256, 256), (300, 128), (40, 64), (16, 16)):
        found = tilings(QNetConfig(dims=(width, width, 1)), torch.bfloat16)
        assert found[0].columns == columns


def test_no_documents() -> None:
    scorer = TritonScorer(random_q_nets(OPTIONS[0], 2), DEVICE, "fp16", way=SMALL)
    assert scorer.score(np.empty((0, 40), dtype=np.float32)).shape == (2, 0)


@pytest.mark.parametrize("way", [SMALL, LAYER_BY_LAYER], ids=["one kernel", "layers"])
def test_kernels_pack_and_append_what_reaches_the_bar(way: Way) -> None:
    q_nets, vectors = random_q_nets(OPTIONS[0], 3), random_vectors(50, 40)
    vectors[20] = vectors[3]
    scorer = TritonScorer(q_nets, DEVICE, "fp32", way=way)
    scores, order = scorer.score(vectors), torch.randperm(50, generator=torch.Generator().manual_seed(0)).int()
    found = Candidates(TopK(3, 5, order.to(DEVICE)), 50)
    found.bars.copy_(scores.median(1).values)
    scorer.collect(0, vectors, found)
    wanted = pack(scores.cpu(), order)
    for query in range(3):
        reaching = wanted[query][scores[query].cpu() >= found.bars[query].cpu()]
        assert int(found.counts[query]) == len(reaching)
        kept = found.keys[query, : len(reaching)].cpu()
        assert torch.equal(kept.sort().values, reaching.sort().values)


@pytest.mark.parametrize("block_rows", [16, 64, 10_000])
def test_exhaustive_search_finds_what_the_plain_scorer_finds(tmp_path: Path, block_rows: int) -> None:
    q_nets, vectors = random_q_nets(OPTIONS[0], 3), random_vectors(200, 40)
    vectors[100:150] = vectors[:50]  # ties
    docids = [f"d{row:03d}" for row in np.random.default_rng(0).permutation(200)]
    with save_index(tmp_path / "index", vectors, docids) as index:
        plain = ExhaustiveOptions(scorer="eager")
        wanted = ExhaustiveSearch(index, torch.device("cpu"), plain).search(q_nets, 7)
        found, exact = (
            ExhaustiveSearch(index, DEVICE, ExhaustiveOptions(precision, "triton", block_rows)).search(q_nets, 7)
            for precision in ("fp16", "fp32")
        )
    for one, other in zip(found, wanted, strict=True):  # scored again by the fast scorer
        assert one.rows.tolist() == other.rows.tolist()
        np.testing.assert_allclose(one.scores, other.scores, rtol=1e-6)
    # The interpreter's products, NumPy's, differ in last bits from row to row: equal documents may change places.
    for one, other in zip(exact, wanted, strict=True):
        np.testing.assert_allclose(one.scores, other.scores, rtol=1e-4, atol=1e-4)


def test_a_score_that_is_not_finite_is_an_error(tmp_path: Path) -> None:
    q_nets = random_q_nets(OPTIONS[0], 2)
    q_nets.weights[-1][1, 3, 0] = torch.nan
    with (
        save_index(tmp_path / "index", random_vectors(40, 40)) as index,
        pytest.raises(HypensearchError, match="under q-net 1 is nan: the q-net overflows or has broken weights"),
    ):
        ExhaustiveSearch(index, DEVICE, ExhaustiveOptions("fp16", "triton", 16)).search(q_nets, 3)


def test_what_it_cannot_do() -> None:
    wide = QNetConfig(dims=(MAX_WIDTH + 1, 1))
    for case, message in (
        (Case(DEVICE, "bf16", wide), "q-nets up to 4,096 wide"),
        (Case(DEVICE, "int8", OPTIONS[0]), "it has no int8"),
    ):
        with pytest.raises(HypensearchError, match=message):
            choose_scorer(case, "triton")
