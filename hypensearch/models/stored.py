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
from hypensearch.formats.q_nets import NUM_TOKENS, STATES
from hypensearch.models.config import QNetConfig
from hypensearch.models.dual_encoder import DualEncoder
from hypensearch.models.q_net import QNets


def to_arrays(q_nets: QNets) -> dict[str, np.ndarray]:
    """Return the tensors by name, float32, *Shape:* ``(num_queries, in, out)`` and ``(num_queries, out)``."""
    named = {f"weight_{i}": weight for i, weight in enumerate(q_nets.weights)}
    named |= {f"bias_{i}": bias for i, bias in enumerate(q_nets.biases)}
    return {name: tensor.float().cpu().numpy() for name, tensor in named.items()}


def states_to_arrays(states: Sequence[torch.Tensor]) -> dict[str, np.ndarray]:
    """Return the compact form: all token states one below the other, and the number of each query's tokens."""
    return {
        STATES: torch.cat(list(states)).float().cpu().numpy(),
        NUM_TOKENS: np.array([len(of_query) for of_query in states], dtype=np.int64),
    }


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


def from_states(
    architecture: Mapping[str, Any], arrays: Sequence[Mapping[str, np.ndarray]], model: DualEncoder, width: int | None
) -> QNets:
    """Make the q-nets of the compact form.

    :param architecture: That of the q-nets.
    :param arrays: What was read for each query.
    :param model: The model that made the states; :func:`check_can_finish` has approved of it.
    :param width: The width that the q-nets are cut to.
    :raises HypensearchError: When the states do not fit the model, or its q-nets are of another architecture.
    """
    q_nets = model.generate_q_nets([torch.from_numpy(of_query[STATES]) for of_query in arrays], width=width)
    if architecture_facts(q_nets.config) != architecture:
        raise HypensearchError("the stored token states give q-nets of another architecture than their manifest says")
    return q_nets


def check_can_finish(model: DualEncoder, made_by: Mapping[str, Any], where: str) -> None:
    """Check that a model is the one whose token states were stored.

    :param made_by: The stored facts of the model.
    :param where: Who has them, for the message.
    :raises HypensearchError: When it is another.
    """
    wanted, found = made_by.get("query_fingerprint"), model.query_fingerprint_at(made_by.get("width"))
    if wanted != found:
        raise HypensearchError(
            f"{where} holds token states of {made_by.get('name')} (query encoder {str(wanted)[:8]}), but the model is "
            f"{model.name} ({found[:8]}): name the right --encoder, or encode the topics again"
        )


def _stack(arrays: Sequence[Mapping[str, np.ndarray]], name: str) -> torch.Tensor:
    return torch.from_numpy(np.stack([of_query[name] for of_query in arrays]))
