# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Random q-nets of every option and shape, and indexes of given vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st

from hypensearch.exhaustive.search import ExhaustiveSearch
from hypensearch.flat import FlatIndex, FlatIndexWriter
from hypensearch.hits import Hit
from hypensearch.models import QNetConfig, QNets
from hypensearch.models.config import ACTIVATIONS
from hypensearch.scoring.found import Found


@st.composite
def q_net_configs(draw: st.DrawFn, dim: int | None = None) -> QNetConfig:
    """Any architecture that the released code knows: tapered without residual, wide, deep, no block at all."""
    dim = dim or draw(st.integers(1, 24))
    blocks = draw(st.integers(0, 4))
    residual = draw(st.booleans())
    hidden = [dim] * blocks if residual else draw(st.lists(st.integers(1, 24), min_size=blocks, max_size=blocks))
    return QNetConfig(
        dims=(dim, *hidden, 1),
        activation=draw(st.sampled_from(ACTIVATIONS)),
        layer_norm=draw(st.booleans()),
        layer_norm_before_residual=draw(st.booleans()),
        residual=residual,
        residual_on_last=residual and draw(st.booleans()),
    )


def random_q_nets(config: QNetConfig, num_queries: int, seed: int = 0) -> QNets:
    """Q-nets whose states neither die nor blow up."""
    chance = torch.Generator().manual_seed(seed)
    weights = [
        torch.randn(num_queries, *shape, generator=chance) * (2 / shape[0]) ** 0.5 for shape in config.weight_shapes
    ]
    biases = [torch.randn(num_queries, out, generator=chance) * 0.1 for _, out in config.weight_shapes[:-1]]
    return QNets(config, weights, biases)


def random_vectors(num_docs: int, dim: int, seed: int = 0) -> np.ndarray:
    """Document vectors, float32, *Shape:* ``(num_docs, dim)``."""
    return np.random.default_rng(seed).standard_normal((num_docs, dim), dtype=np.float32)


def save_index(
    folder: Path,
    vectors: np.ndarray,
    docids: Sequence[str] | None = None,
    *,
    dtype: str = "float32",
    model: Mapping[str, Any] | None = None,
) -> FlatIndex:
    """Write vectors as an index and open it; docids are d0, d1, ... if not given."""
    with FlatIndexWriter(folder, dim=vectors.shape[1], dtype=dtype, model=model) as writer:
        writer.append(docids or [f"d{row}" for row in range(len(vectors))], vectors)
        writer.finish()
    return FlatIndex.open(folder)


def hits_of(index: FlatIndex, found: Sequence[Found]) -> list[list[Hit]]:
    """What a search found, as ranked lists."""
    return [of_query.hits(index.docid) for of_query in found]


def exact_hits(index: FlatIndex, q_nets: QNets, k: int) -> list[list[Hit]]:
    """The hits of exhaustive search on a CPU, with which those of other searches are compared."""
    return hits_of(index, ExhaustiveSearch(index, torch.device("cpu")).search(q_nets, k))
