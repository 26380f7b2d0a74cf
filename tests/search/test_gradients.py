# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hypensearch.models import QNetConfig, QNets
from hypensearch.search.gradients import differentiable, gradients
from tests.search.strategies import random_q_nets, random_vectors


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
