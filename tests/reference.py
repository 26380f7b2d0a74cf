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


def nearest(vectors: np.ndarray, distance: str, degree: int) -> np.ndarray:
    """Rows of each document's nearest others, ties by row, -1 where there are fewer, *Shape:* ``(n, degree)``."""
    result = np.full((len(vectors), degree), -1)
    for row in range(len(vectors)):
        near = sorted(
            (_distance(distance, vectors, row, other), other) for other in range(len(vectors)) if other != row
        )
        result[row, : len(near)] = [other for _, other in near][:degree]
    return result


def _distance(name: str, vectors: np.ndarray, one: int, other: int) -> float:
    x, y = vectors[one].astype(np.float64), vectors[other].astype(np.float64)
    if name == "l2":
        return float(((x - y) ** 2).sum())
    return -float(x @ y) / (float(np.linalg.norm(y)) or 1.0 if name == "cosine" else 1.0)


def graph_search(
    scores: list[float],
    neighbours: list[list[int]],
    entry_points: list[int],
    k: int,
    *,
    ncandidates: int,
    max_iter: int,
    early_stop: bool,
    variant: str,
    docids: list[str],
) -> tuple[list[int], list[int]]:
    """Walk as the paper's Algorithm 1 or as the released code; gives the rows of the hits and the documents scored."""
    hits: list[int] = []
    frontier, visited = list(entry_points), set(entry_points)
    scored = []
    while frontier and len(scored) < max_iter:
        scored.append(len(frontier))
        frontier = sorted(frontier, key=lambda row: (-scores[row], docids[row]))
        offered = frontier[: ncandidates if variant == "paper" else max(ncandidates, k)]
        worst = scores[hits[-1]] if len(hits) == k else -math.inf
        stop = scores[offered[0]] < worst if variant == "paper" else scores[offered[0]] <= worst
        hits = sorted([*hits, *offered], key=lambda row: (-scores[row], docids[row]))[:k]
        if early_stop and stop:
            break
        found = [other for row in offered[:ncandidates] for other in neighbours[row]]
        frontier = [row for row in dict.fromkeys(found) if row not in visited]
        visited.update(frontier)
    return hits, scored
