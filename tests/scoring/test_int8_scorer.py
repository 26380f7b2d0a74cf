# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hypensearch.exhaustive.options import ExhaustiveOptions
from hypensearch.exhaustive.search import ExhaustiveSearch
from hypensearch.models import QNetConfig
from hypensearch.models.config import ACTIVATIONS
from hypensearch.scoring import int8_scorer
from hypensearch.scoring.int8_scorer import Int8Scorer
from tests.search.strategies import exact_hits, hits_of, q_net_configs, random_q_nets, random_vectors, save_index

CPU = torch.device("cpu")
pytestmark = pytest.mark.skipif(int8_scorer.unsupported(CPU) is not None, reason=str(int8_scorer.unsupported(CPU)))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("options", [(True, True, False), (True, False, True), (False, True, False)])
def test_comes_close_to_the_plain_scores(activation: str, options: tuple[bool, bool, bool]) -> None:
    norm, before, last = options
    config = QNetConfig((96, 96, 96, 1), activation, norm, before, residual_on_last=last)
    q_nets, vectors = random_q_nets(config, 2), random_vectors(700, 96)
    found, plain = Int8Scorer(q_nets).score(vectors), q_nets(torch.from_numpy(vectors))
    for ours, exact in zip(found.numpy(), plain.numpy(), strict=True):
        assert np.corrcoef(ours, exact)[0, 1] > 0.99


@given(q_net_configs(), st.integers(1, 300), st.integers(0, 2**16))
def test_takes_every_architecture(config: QNetConfig, num_docs: int, seed: int) -> None:
    q_nets, vectors = random_q_nets(config, 2, seed), random_vectors(num_docs, config.dims[0], seed)
    scorer = Int8Scorer(q_nets)
    scores = scorer.score(vectors)
    assert scores.shape == (2, num_docs)
    assert bool(torch.isfinite(scores).all())
    assert torch.equal(scorer.score(vectors[::-1].copy()), scores.flip(1))


def test_hits_are_those_of_fp32(tmp_path: Path) -> None:
    config = QNetConfig(dims=(64, 64, 64, 1))
    q_nets, vectors = random_q_nets(config, 2), random_vectors(3000, 64)
    index = save_index(tmp_path / "index", vectors)
    found = ExhaustiveSearch(index, CPU, ExhaustiveOptions("int8")).search(q_nets, 50)
    assert hits_of(index, found) == exact_hits(index, q_nets, 50)
