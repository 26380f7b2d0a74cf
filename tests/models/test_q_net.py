# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hypensearch.errors import HypensearchError
from hypensearch.models import QNetConfig, QNets
from tests import reference
from tests.search.strategies import q_net_configs, random_q_nets, random_vectors


@given(q_net_configs(), st.integers(0, 2**16))
def test_equals_the_formulas(config: QNetConfig, seed: int) -> None:
    q_nets, vectors = random_q_nets(config, 2, seed), random_vectors(3, config.dims[0], seed)
    # layer norm divides by a standard deviation that may be tiny: float32 keeps few digits of such states
    exact = reference.score(q_nets, vectors)
    double = q_nets.to(dtype=torch.float64)(torch.from_numpy(vectors).double())
    np.testing.assert_allclose(double, exact, rtol=1e-6, atol=1e-6)


def test_by_eye() -> None:
    """Two inputs, one block without layer norm: relu(x W + b) summed."""
    config = QNetConfig(dims=(2, 2, 1), layer_norm=False, residual=False)
    q_net = QNets(config, [torch.eye(2).unsqueeze(0), torch.ones(1, 2, 1)], [torch.tensor([[0.0, -1.0]])])
    documents = torch.tensor([[1.0, 0.0], [1.0, 1.0], [1.0, 3.0], [-5.0, 2.0]])
    assert q_net(documents).tolist() == [[1.0, 1.0, 3.0, 1.0]]


def test_batch_equals_one_by_one() -> None:
    q_nets = random_q_nets(QNetConfig(dims=(8, 8, 8, 1)), 3)
    vectors = torch.from_numpy(random_vectors(20, 8))
    alone = torch.cat([q_net(vectors) for q_net in q_nets])
    torch.testing.assert_close(q_nets(vectors), alone)
    torch.testing.assert_close(QNets.concat(list(q_nets))(vectors), q_nets(vectors))


def test_each_query_may_have_its_own_documents() -> None:
    q_nets = random_q_nets(QNetConfig(dims=(8, 8, 1)), 2)
    vectors = torch.from_numpy(random_vectors(10, 8)).reshape(2, 5, 8)
    scores = q_nets.score_each(vectors)
    torch.testing.assert_close(scores[1:], q_nets[1](vectors[1]))


def test_dropout_only_while_training() -> None:
    q_nets = random_q_nets(QNetConfig(dims=(64, 64, 1), dropout=0.5), 1)
    vectors = torch.from_numpy(random_vectors(5, 64)).unsqueeze(0)
    assert torch.equal(q_nets.score_each(vectors), q_nets.score_each(vectors))
    assert not torch.equal(q_nets.score_each(vectors, training=True), q_nets.score_each(vectors))


def test_bi_encoder_vectors_are_q_nets() -> None:
    vectors = torch.tensor([[1.0, 2.0]])
    assert QNets.from_vectors(vectors)(torch.tensor([[3.0, 4.0]])).tolist() == [[11.0]]


def test_truncation_keeps_the_leading_units() -> None:
    config = QNetConfig(dims=(6, 6, 6, 1), residual=False)
    q_nets = random_q_nets(config, 2).truncated(3)
    assert q_nets.config.dims == (6, 3, 3, 1)
    assert [tuple(weight.shape) for weight in q_nets.weights] == [(2, 6, 3), (2, 3, 3), (2, 3, 1)]
    vectors = random_vectors(4, 6)
    np.testing.assert_allclose(
        q_nets(torch.from_numpy(vectors)), reference.score(q_nets, vectors), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dims": (4, 4, 2)}, "the last one 1"),
        ({"dims": (4,)}, "at least two"),
        ({"dims": (4, 1), "activation": "swish"}, "unknown activation 'swish'"),
        ({"dims": (4, 4, 1), "residual": False, "residual_on_last": True}, "do_residual_on_last"),
        ({"dims": (16, 8, 8, 1)}, "residual needs equal widths"),
    ],
)
def test_impossible_architectures_are_refused(options: dict, message: str) -> None:
    with pytest.raises(HypensearchError, match=message):
        QNetConfig(**options)


@pytest.mark.parametrize("dims", [(16, 8, 1), (16, 16, 8, 1), (16, 1)])
def test_tapered_where_no_residual_is_needed(dims: tuple[int, ...]) -> None:
    assert random_q_nets(QNetConfig(dims=dims), 1)(torch.zeros(2, 16)).shape == (1, 2)


def test_misshapen_tensors_are_refused() -> None:
    config = QNetConfig(dims=(4, 4, 1))
    with pytest.raises(ValueError, match="architecture wants"):
        QNets(config, [torch.zeros(1, 4, 3), torch.zeros(1, 4, 1)], [torch.zeros(1, 4)])
