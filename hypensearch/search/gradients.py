# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""How q-nets' scores change with the document vector."""

from __future__ import annotations

import torch
from torch import Tensor

from hypensearch.models.q_net import QNets


def differentiable(q_nets: QNets) -> QNets:
    """Return the q-nets as gradients can be computed with them: torch refuses what was made in inference mode."""
    with torch.inference_mode(False):
        weights = [weight.clone() if weight.is_inference() else weight for weight in q_nets.weights]
        biases = [bias.clone() if bias.is_inference() else bias for bias in q_nets.biases]
        return QNets(q_nets.config, weights, biases)


def gradients(q_net: QNets, vectors: Tensor) -> Tensor:
    """Differentiate the scores of documents with respect to their vectors.

    :param q_net: One q-net.
    :param vectors: *Shape:* ``(num_docs, dim)``.
    :return: *Shape:* ``(num_docs, dim)``.
    """
    with torch.inference_mode(False), torch.enable_grad():
        points = vectors.clone().requires_grad_()
        (slopes,) = torch.autograd.grad(differentiable(q_net)(points).sum(), points)
    return slopes
