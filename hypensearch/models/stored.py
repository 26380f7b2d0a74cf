# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Q-nets to and from the arrays of :mod:`hypensearch.formats.q_nets`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from hypensearch.errors import HypensearchError
from hypensearch.models.config import QNetConfig
from hypensearch.models.q_net import QNets


def to_arrays(q_nets: QNets) -> dict[str, np.ndarray]:
    """Return the tensors by name, float32, *Shape:* ``(num_queries, in, out)`` and ``(num_queries, out)``."""
    named = {f"weight_{i}": weight for i, weight in enumerate(q_nets.weights)}
    named |= {f"bias_{i}": bias for i, bias in enumerate(q_nets.biases)}
    return {name: tensor.float().cpu().numpy() for name, tensor in named.items()}


def architecture_facts(config: QNetConfig) -> dict[str, Any]:
    """Return an architecture as JSON can hold it."""
    return {**asdict(config), "dims": list(config.dims)}


def from_arrays(architecture: Mapping[str, Any], arrays: Sequence[Mapping[str, np.ndarray]]) -> QNets:
    """Rebuild q-nets.

    :param architecture: What :func:`architecture_facts` gave.
    :param arrays: Tensors by name for each query, without the query axis.
    :raises HypensearchError: When the arrays do not fit the architecture.
    """
    try:
        config = QNetConfig(**{**architecture, "dims": tuple(architecture["dims"])})
        weights = [_stack(arrays, f"weight_{i}") for i in range(len(config.weight_shapes))]
        biases = [_stack(arrays, f"bias_{i}") for i in range(config.num_blocks)]
        return QNets(config, weights, biases)
    except (KeyError, TypeError, ValueError) as error:
        raise HypensearchError(f"the stored q-nets do not fit their architecture ({error})") from None


def _stack(arrays: Sequence[Mapping[str, np.ndarray]], name: str) -> torch.Tensor:
    return torch.from_numpy(np.stack([of_query[name] for of_query in arrays]))
