# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Every scorer of the table against the plain q-nets, and which one is taken when."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hypensearch.errors import HypensearchError
from hypensearch.models import QNetConfig
from hypensearch.scoring import choice as scorers
from hypensearch.scoring.choice import SCORERS, Case, choose_scorer, make_scorer
from hypensearch.scoring.options import SCORERS as NAMES
from tests.search.strategies import q_net_configs, random_q_nets, random_vectors

CPU = torch.device("cpu")
ON_CPU = [kind.name for kind in SCORERS if kind.name != "triton" and not kind.unsupported(Case(CPU))]


def test_the_table_is_what_the_flag_names() -> None:
    assert ("auto", *(kind.name for kind in SCORERS)) == NAMES


@pytest.mark.parametrize("name", ON_CPU)
@given(q_net_configs(), st.integers(1, 3), st.integers(1, 70), st.integers(0, 2**16))
def test_fp32_equals_the_plain_way(name: str, config: QNetConfig, num_queries: int, num_docs: int, seed: int) -> None:
    q_nets, vectors = random_q_nets(config, num_queries, seed), random_vectors(num_docs, config.dims[0], seed)
    scores = make_scorer(q_nets, Case(CPU, config=config), name).score(vectors)
    assert scores.dtype == torch.float32
    plain = q_nets(torch.from_numpy(vectors))
    scale = max(1.0, float(plain.abs().max()))
    torch.testing.assert_close(scores / scale, plain / scale, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("name", ON_CPU)
def test_fp32_scores_depend_on_their_document_alone(name: str) -> None:
    config = QNetConfig(dims=(64, 64, 64, 1))
    q_nets, vectors = random_q_nets(config, 2), random_vectors(700, 64)
    scorer = make_scorer(q_nets, Case(CPU, config=config), name)
    scores = scorer.score(vectors)
    shuffled = np.random.default_rng(1).permutation(700)
    assert torch.equal(scorer.score(vectors[shuffled]), scores[:, shuffled])
    assert torch.equal(torch.cat([scorer.score(vectors[:5]), scorer.score(vectors[5:])], dim=1), scores)


@pytest.mark.parametrize("dims", [(96, 96, 96, 96, 1), (768, 256, 1), (384, 384, 1), (300, 200, 1)])
def test_fused_and_eager_agree_up_to_rounding(dims: tuple[int, ...]) -> None:
    config = QNetConfig(dims=dims, residual=False)
    q_nets, vectors = random_q_nets(config, 2), random_vectors(3000, dims[0])
    fused, eager = (make_scorer(q_nets, Case(CPU, config=config), name).score(vectors) for name in ("fused", "eager"))
    torch.testing.assert_close(fused, eager, rtol=2e-6, atol=2e-6 * float(eager.std()))


def test_what_was_chosen_is_logged_once_with_the_reason(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scorers, "_logged", set())
    caplog.set_level(logging.INFO, logger=scorers.__name__)
    case = Case(CPU, config=QNetConfig(dims=(8, 8, 1)))
    for wanted in ("auto", "auto", "eager"):
        choose_scorer(case, wanted)
    assert [record.message for record in caplog.records] == [
        "Scoring on cpu in fp32 by the fused scorer: tiles that stay in cache and buffers that are used again",
        "Scoring on cpu in fp32 by the eager scorer: as --scorer says",
    ]


def test_nothing_is_logged_before_there_are_q_nets(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger=scorers.__name__)
    choose_scorer(Case(CPU))
    assert not caplog.records


@pytest.mark.parametrize(
    ("case", "wanted", "message"),
    [
        (Case(CPU, "fp8"), "auto", "unknown precision 'fp8': known are fp32, bf16, fp16, int8"),
        (Case(CPU), "fast", "--scorer fast: wanted auto, triton, fused, int8, eager"),
        (Case(CPU, "int8"), "eager", "--scorer eager with int8 on cpu: it has no int8; use --scorer auto"),
    ],
)
def test_what_no_scorer_does(case: Case, wanted: str, message: str) -> None:
    with pytest.raises(HypensearchError, match=message):
        choose_scorer(case, wanted)
