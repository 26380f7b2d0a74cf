# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hypensearch.models import QNetConfig, QNets
from hypensearch.scoring.scorer import Scorer
from hypensearch.surrogate.gradients import Tape, differentiable, gradients, tape_of
from tests.search.strategies import q_net_configs, random_q_nets, random_vectors

CPU = torch.device("cpu")


@settings(max_examples=20)
@given(st.integers(1, 5), st.booleans(), st.booleans(), st.integers(0, 1000))
def test_gradients_are_what_scores_change_by(num_docs: int, residual: bool, after: bool, seed: int) -> None:
    config = QNetConfig(dims=(8, 8, 8, 1), activation="tanh", residual=residual, layer_norm_before_residual=not after)
    q_net = random_q_nets(config, 1, seed).to(dtype=torch.float64)
    vectors = torch.from_numpy(random_vectors(num_docs, 8, seed=seed)).double()
    step = 1e-6 * torch.eye(8, dtype=torch.float64)
    changes = [(q_net(vectors + along) - q_net(vectors - along))[0] / 2e-6 for along in step]
    torch.testing.assert_close(gradients(q_net, vectors), torch.stack(changes, dim=1), rtol=1e-4, atol=1e-5)


def test_what_was_made_in_inference_mode_has_gradients() -> None:
    with torch.inference_mode():
        made = random_q_nets(QNetConfig(dims=(8, 8, 1)), 2, 1)
        q_nets = QNets(made.config, [w.clone() for w in made.weights], [b.clone() for b in made.biases])
        vectors = torch.from_numpy(random_vectors(3, 8)).clone()
        found = gradients(q_nets[0], vectors)
        again = gradients(differentiable(q_nets)[0], vectors)
    torch.testing.assert_close(found, again, rtol=0, atol=0)
    assert not found.requires_grad


def test_a_vector_is_its_own_gradient() -> None:
    vector = torch.from_numpy(random_vectors(1, 8))
    found = gradients(QNets.from_vectors(vector), torch.from_numpy(random_vectors(4, 8, seed=1)))
    torch.testing.assert_close(found, vector.expand(4, -1))


def assert_tells_gradients(tape: Tape, q_net: QNets, vectors: torch.Tensor, places: torch.Tensor) -> None:
    shares = torch.rand(len(places), generator=torch.Generator().manual_seed(0))
    found = tape.gradient(shares @ tape.traces(places))
    wanted = shares.double() @ gradients(q_net.to(dtype=torch.float64), vectors.double()[places])
    assert not found.requires_grad
    torch.testing.assert_close(found.double(), wanted, rtol=1e-3, atol=1e-4 + 1e-3 * float(wanted.abs().max()))


@settings(max_examples=60)
@given(q_net_configs(), st.integers(1, 40), st.integers(1, 3), st.integers(0, 1000))
def test_a_tape_tells_gradients_of_what_was_scored_last(
    config: QNetConfig, num_docs: int, rounds: int, seed: int
) -> None:
    q_nets = random_q_nets(config, 2, seed)
    scorer, tape = Scorer(q_nets, CPU, tile_rows=16), tape_of(q_nets[1])
    for number in range(rounds):
        vectors = random_vectors(max(num_docs // (number + 1), 1), config.dims[0], seed=seed + number)
        scores = scorer.score_one(1, vectors, tape)
        assert torch.equal(scores, scorer.score_one(1, vectors))
    places = torch.randint(len(vectors), (7,), generator=torch.Generator().manual_seed(seed))
    assert_tells_gradients(tape, q_nets[1], torch.from_numpy(vectors), places)
    assert len(tape.traces(places[:0])) == 0


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_a_tape_takes_vectors_of_any_type(dtype: type, activation: str) -> None:
    q_net = random_q_nets(QNetConfig(dims=(8, 8, 8, 1), activation=activation), 1)
    vectors, tape = random_vectors(20, 8).astype(dtype), tape_of(q_net)
    vectors.flags.writeable = False  # as of a memory map
    Scorer(q_net, CPU).score_one(0, vectors, tape)
    assert_tells_gradients(tape, q_net, torch.tensor(vectors), torch.arange(3))


def test_a_tape_goes_back_through_weights_that_are_trained() -> None:
    q_net = random_q_nets(QNetConfig(dims=(8, 8, 8, 1)), 1)
    trained = QNets(q_net.config, [weight.clone().requires_grad_() for weight in q_net.weights], q_net.biases)
    vectors, tape = random_vectors(20, 8), tape_of(trained)
    Scorer(trained, CPU).score_one(0, vectors, tape)
    assert_tells_gradients(tape, q_net, torch.from_numpy(vectors), torch.arange(3))
