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
from hypensearch.surrogate import fits
from hypensearch.surrogate.fits import RidgeFit, TangentFit, inverse_gram, weighted_mean
from hypensearch.surrogate.gradients import gradients, tape_of
from tests.search.strategies import random_q_nets, random_vectors

CPU = torch.device("cpu")
DIM = 8
SIZES = st.integers(1, 60)


def tangents(q_net: QNets, vectors: np.ndarray, k: int = 10) -> TangentFit:
    """A fit whose codes are the vectors."""
    tape = tape_of(q_net)
    scores = Scorer(q_net, CPU).score_one(0, vectors, tape)
    return TangentFit(tape, torch.eye(DIM), torch.from_numpy(vectors), scores, k)


def learn(fit: TangentFit, q_net: QNets, vectors: np.ndarray) -> None:
    scores = Scorer(q_net, CPU).score_one(0, vectors, fit.tape)
    fit.add(torch.from_numpy(vectors), scores, torch.ones(len(vectors)))


@settings(max_examples=30)
@given(
    st.integers(1, 60), st.lists(st.integers(1, 60), min_size=1, max_size=4), st.integers(1, 200), st.integers(0, 99)
)
def test_tangents_are_the_mean_gradient_of_the_best(sample: int, rounds: list[int], k: int, seed: int) -> None:
    q_net = random_q_nets(QNetConfig(dims=(DIM, 8, 8, 1)), 1, seed)
    parts = [random_vectors(count, DIM, seed=seed + number) for number, count in enumerate([sample, *rounds])]
    fit = tangents(q_net, parts[0], k)
    seen = parts[0][
        torch.argsort(q_net(torch.from_numpy(parts[0]))[0], descending=True)[: fits.TANGENT_DOCS[0]].numpy()
    ]
    scored = sample
    for part in parts[1:]:
        learn(fit, q_net, part)
        seen, scored = np.concatenate([seen, part]), scored + len(part)
        size = max(min(max(k, fits.TANGENT_DOCS[0]), fits.TANGENT_DOCS[1], scored // fits._SHARE), 1)
        documents = torch.from_numpy(seen)
        best = documents[q_net(documents)[0].topk(min(size, len(seen))).indices]
        seen = best.numpy()
    torch.testing.assert_close(fit.weights, gradients(q_net, best).mean(dim=0), rtol=1e-4, atol=1e-4)
    mean_score, mean_prediction = q_net(best)[0].mean(), fit.predict(best).mean()
    torch.testing.assert_close(mean_prediction, mean_score, rtol=1e-4, atol=1e-4)


def test_tangents_of_a_vector_are_exact() -> None:
    q_net, others = QNets.from_vectors(torch.from_numpy(random_vectors(1, DIM))), random_vectors(50, DIM, seed=1)
    fit = tangents(q_net, random_vectors(40, DIM, seed=2))
    torch.testing.assert_close(fit.predict(torch.from_numpy(others)), q_net(torch.from_numpy(others))[0])


@pytest.mark.parametrize("score", [0.0, float("nan")])
def test_tangents_of_scores_that_do_not_differ(score: float) -> None:
    q_net, vectors = QNets.from_vectors(torch.full((1, DIM), score)), random_vectors(40, DIM)
    fit = tangents(q_net, vectors)
    learn(fit, q_net, random_vectors(9, DIM, seed=1))
    torch.testing.assert_close(fit.predict(torch.from_numpy(vectors)), torch.full((40,), score), equal_nan=True)


def test_errors_upwards_alone_are_counted_where_tangents_predict() -> None:
    q_net = QNets.from_vectors(torch.ones(1, DIM))
    assert tangents(q_net, random_vectors(40, DIM)).squares(torch.tensor([-3.0, 1.0])).tolist() == [0.0, 2.0]


@settings(max_examples=30)
@given(st.integers(1, 24), st.integers(1, 40), st.lists(st.integers(1, 30), max_size=5), st.integers(0, 1000))
def test_fit_in_rounds_is_ridge_regression_of_all_that_was_scored(
    width: int, sample_size: int, rounds: list[int], seed: int
) -> None:
    chance = torch.Generator().manual_seed(seed)
    codes = torch.randn(sample_size, width, generator=chance)
    scores = torch.randn(sample_size, generator=chance)
    errors = torch.rand(sample_size, generator=chance) + 0.5
    mean, prior = weighted_mean(scores[None], errors)[0, 0], inverse_gram(codes, errors)
    weighted = (codes / errors.square()[:, None]).T.double()
    fit = RidgeFit(prior.float(), (prior @ weighted @ (scores - mean).double()).float(), float(mean))
    gram, moment = torch.linalg.inv(prior), weighted @ (scores - mean).double()
    for size in rounds:
        added, added_scores = torch.randn(size, width, generator=chance), torch.randn(size, generator=chance)
        errors = torch.rand(size, generator=chance) + 0.5
        fit.add(added, added_scores, errors)
        weighted = fits._CHOSEN_WEIGHT * (added / errors.square()[:, None]).T.double()
        gram += weighted @ added.double()
        moment += weighted @ (added_scores - mean).double()
    expected = codes.double() @ torch.linalg.solve(gram, moment) + mean
    torch.testing.assert_close(fit.predict(codes).double(), expected, rtol=1e-2, atol=1e-2)


def test_what_lies_far_out_hardly_bends_the_fit() -> None:
    codes, weights = torch.from_numpy(random_vectors(400, 8)), torch.from_numpy(random_vectors(1, 8, seed=1))[0]
    strange = 30 * torch.from_numpy(random_vectors(4, 8, seed=2))
    deviations = []
    for errors_of_strange in (1.0, 100.0):
        prior = inverse_gram(codes, torch.ones(400)).float()
        fit = RidgeFit(prior, prior @ codes.T @ (codes @ weights), 0.0)
        bounded = torch.zeros(4)  # where a line is not
        fit.add(strange, bounded, torch.full((4,), errors_of_strange))
        deviations.append(float((fit.predict(codes) - codes @ weights).square().mean().sqrt()))
    assert deviations[0] > 10 * deviations[1]
