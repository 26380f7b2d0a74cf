# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The paper's formulas, slow and plain, in float64: what the fast ways are held against."""

from __future__ import annotations

import math

import numpy as np

from hypensearch.models import QNetConfig, QNets


def score(q_nets: QNets, vectors: np.ndarray) -> np.ndarray:
    """Score documents one by one, *Shape:* ``(num_queries, num_docs)``."""
    return np.array([[_score_one(q_nets, query, vector) for vector in vectors] for query in range(len(q_nets))])


def best(scores: np.ndarray, docids: list[str], k: int) -> list[tuple[str, float]]:
    """Sort everything: higher scores first, equal ones by docid."""
    ranked = sorted(zip(docids, scores.tolist(), strict=True), key=lambda pair: (-pair[1], pair[0]))
    return ranked[:k]


def _score_one(q_nets: QNets, query: int, vector: np.ndarray) -> float:
    x = vector.astype(np.float64)
    for block in range(q_nets.config.num_blocks):
        x = _block(q_nets.config, block, x, _array(q_nets.weights[block][query]), _array(q_nets.biases[block][query]))
    return float(x @ _array(q_nets.weights[-1][query])[:, 0])


def _block(config: QNetConfig, block: int, x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    y = np.array([_activate(config.activation, value) for value in x @ weight + bias])
    if config.layer_norm and config.layer_norm_before_residual:
        y = _layer_norm(y)
    if config.residual and (config.residual_on_last or block < config.num_blocks - 1):
        y = y + x
    if config.layer_norm and not config.layer_norm_before_residual:
        y = _layer_norm(y)
    return y


def _activate(name: str, x: float) -> float:
    if name == "relu":
        return max(x, 0.0)
    if name == "leaky_relu":
        return x if x > 0 else 0.01 * x
    if name == "gelu":
        return 0.5 * x * (1 + math.erf(x / math.sqrt(2)))
    return math.tanh(x) if name == "tanh" else 1 / (1 + math.exp(-x))


def _layer_norm(x: np.ndarray) -> np.ndarray:
    return (x - x.mean()) / np.sqrt(x.var() + 1e-5)


def _array(tensor: object) -> np.ndarray:
    return np.asarray(tensor, dtype=np.float64)
