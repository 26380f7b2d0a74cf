# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""``--scorer compiled``: needs a compiler and its time."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hypensearch.exhaustive.search import ExhaustiveSearch
from hypensearch.models import QNetConfig
from hypensearch.scoring.compiled_scorer import CompiledScorer, missing_compiler
from tests.search.strategies import random_q_nets, random_vectors, save_index

CPU = torch.device("cpu")
CONFIGS = [
    QNetConfig((64, 64, 64, 1)),
    QNetConfig((48, 32, 16, 1), "gelu", residual=False),
    QNetConfig((40, 40, 40, 1), "tanh", layer_norm_before_residual=False, residual_on_last=True),
    QNetConfig((32, 1)),
]
pytestmark = pytest.mark.skipif(missing_compiler(CPU) is not None, reason=str(missing_compiler(CPU)))


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_equals_the_plain_way(config: QNetConfig) -> None:
    q_nets, vectors = random_q_nets(config, 2), random_vectors(1700, config.dims[0])
    plain = q_nets(torch.from_numpy(vectors))
    torch.testing.assert_close(CompiledScorer(q_nets, CPU).score(vectors), plain, rtol=1e-3, atol=1e-3)
    others = random_q_nets(config, 1, seed=1)  # the same function, other weights
    torch.testing.assert_close(
        CompiledScorer(others, CPU).score(vectors[:3]), others(torch.from_numpy(vectors[:3])), rtol=1e-3, atol=1e-3
    )


def test_no_documents() -> None:
    assert CompiledScorer(random_q_nets(CONFIGS[0], 2), CPU).score(random_vectors(0, 64)).shape == (2, 0)


def test_hits_are_those_of_the_default(tmp_path: Path) -> None:
    q_nets, index = random_q_nets(CONFIGS[0], 2), save_index(tmp_path / "index", random_vectors(3000, 64))
    assert ExhaustiveSearch(index, CPU, scorer="compiled").search(q_nets, 50) == ExhaustiveSearch(index, CPU).search(
        q_nets, 50
    )
