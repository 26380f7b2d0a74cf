# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The hyper head: from a query's token states to the weights and biases of its q-net (paper section 3.3)."""

from __future__ import annotations

import math
from functools import partial
from operator import call

import torch
from torch import Tensor, nn
from torch.nn import functional

from hypensearch.models.config import QNetConfig
from hypensearch.models.q_net import QNets
from hypensearch.threads import map_on_cores


class HyperHead(nn.Module):
    """One single-head attention for each generated tensor, its learned queries one per output unit.

    For a tensor that maps ``in`` to ``out`` units, from token states ``E`` (paper equations 2 to 5)::

        C = softmax(Q (E Wk + bk)^T / sqrt(out)) (E Wv + bv)        (out, in)
        W = (LayerNorm(ReLU(C)) Wp + bp + base)^T                   (in, out)

    The scale is that of the released code and weights; the paper's equation 3 has the square root of the key size.
    Biases are made in the same way with ``out`` = 1, so, like the output layer, without any scale. Parameters
    have the released names; projections are numbered weights first, then biases.

    :param q_net: The architecture of the q-nets.
    :param hidden_size: Size of the token states.
    :param generator: Random generator of the start values; torch's global one when None.
    :param final_token: "cls" or "last" where the final weight is made of the first or the last token's state alone, as
        of an encoder that pools so; None, as in the paper, for all tokens' states.
    """

    def __init__(
        self,
        q_net: QNetConfig,
        hidden_size: int,
        generator: torch.Generator | None = None,
        *,
        final_token: str | None = None,
    ) -> None:
        super().__init__()
        self.q_net = q_net
        self.final_token = final_token
        weights = q_net.weight_shapes
        widths = [out for _, out in weights[:-1]]
        slots = [into for into, _ in weights] + widths
        self.hyper_base_matrices = _parameters([(1, out, into) for into, out in weights])
        self.hyper_base_vectors = _parameters([(1, width) for width in widths])
        self.weight_query_embeddings = _parameters([(1, out, into) for into, out in weights])
        self.bias_query_embeddings = _parameters([(1, 1, width) for width in widths])
        self.weight_hyper_projection = _linears([(into, into) for into, _ in weights])
        self.bias_hyper_projection = _linears([(width, width) for width in widths])
        self.key_projections = _linears([(hidden_size, slot) for slot in slots])
        self.value_projections = _linears([(hidden_size, slot) for slot in slots])
        self.reset_parameters(generator)

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the released code's start values.

        :param generator: Torch's global one when None.
        """
        if self.hyper_base_matrices[0].is_meta:
            return
        for linears in (self.bias_hyper_projection, self.key_projections, self.value_projections):
            for linear in linears:
                _reset_linear(linear, generator)
        for base, query in zip(self.hyper_base_matrices, self.weight_query_embeddings, strict=True):
            base.normal_(std=math.sqrt(2 / 768), generator=generator)
            query.normal_(std=10, generator=generator)
        for i, projection in enumerate(self.weight_hyper_projection):
            assert isinstance(projection, nn.Linear)
            projection.weight.normal_(std=1 / 768**2, generator=generator)
            for linear in (projection, self.key_projections[i], self.value_projections[i]):
                linear.bias.zero_()  # type: ignore[operator, union-attr]
        for vector, query in zip(self.hyper_base_vectors, self.bias_query_embeddings, strict=True):
            vector.zero_()
            query.normal_(std=10, generator=generator)

    def forward(self, states: Tensor, mask: Tensor, *, threads: int | None = None) -> QNets:
        """Generate the q-nets of a batch of queries.

        :param states: Token states, *Shape:* ``(num_queries, seq_len, hidden_size)``.
        :param mask: 1 for tokens and 0 for padding, *Shape:* ``(num_queries, seq_len)``.
        :param threads: CPU threads that generate tensors, each on one core, so that the number of threads changes no
            bit; None to compute as torch is set, as training does.
        :return: The q-nets, weights of *Shape:* ``(num_queries, in, out)``.
        """
        makers = [
            *(partial(self.generate_weight, i, states, mask) for i in range(len(self.hyper_base_matrices))),
            *(partial(self.generate_bias, i, states, mask) for i in range(len(self.hyper_base_vectors))),
        ]
        tensors = [make() for make in makers] if threads is None else map_on_cores(threads, call, makers)
        return QNets(self.q_net, tensors[: self.q_net.num_blocks + 1], tensors[self.q_net.num_blocks + 1 :])

    def generate_weight(self, layer: int, states: Tensor, mask: Tensor) -> Tensor:
        """Generate one layer's weights, *Shape:* ``(num_queries, in, out)``; parameters as :meth:`forward`'s."""
        scale = 1 / math.sqrt(self.q_net.weight_shapes[layer][1])
        if self.final_token is not None and layer == self.q_net.num_blocks:
            mask = _only(self.final_token, mask)
        context = self._attend(layer, self.weight_query_embeddings[layer], states, mask, scale=scale)
        weight: Tensor = self.weight_hyper_projection[layer](context) + self.hyper_base_matrices[layer]
        return weight.transpose(1, 2).contiguous()

    def generate_bias(self, block: int, states: Tensor, mask: Tensor) -> Tensor:
        """Generate one block's bias, *Shape:* ``(num_queries, out)``; parameters as :meth:`forward`'s."""
        slot = len(self.hyper_base_matrices) + block
        context = self._attend(slot, self.bias_query_embeddings[block], states, mask, scale=1.0)
        bias: Tensor = self.bias_hyper_projection[block](context) + self.hyper_base_vectors[block]
        return bias.squeeze(1)

    def _attend(self, slot: int, queries: Tensor, states: Tensor, mask: Tensor, *, scale: float) -> Tensor:
        keys, values = self.key_projections[slot](states), self.value_projections[slot](states)
        attention = torch.matmul(queries, keys.transpose(1, 2)) * scale
        attention = attention.masked_fill(mask.unsqueeze(1) == 0, float("-inf")).softmax(dim=-1)
        context = torch.relu(attention @ values)
        return functional.layer_norm(context, context.shape[-1:])


def _only(token: str, mask: Tensor) -> Tensor:
    """Mask all tokens but the first or the last."""
    last = mask.sum(dim=1) - 1
    return functional.one_hot(last if token == "last" else torch.zeros_like(last), mask.shape[1])


def _parameters(shapes: list[tuple[int, ...]]) -> nn.ParameterList:
    return nn.ParameterList([nn.Parameter(torch.empty(shape)) for shape in shapes])


def _linears(sizes: list[tuple[int, int]]) -> nn.ModuleList:
    device = torch.get_default_device()
    return nn.ModuleList([nn.utils.skip_init(nn.Linear, into, out, device=device) for into, out in sizes])


def _reset_linear(linear: nn.Module, generator: torch.Generator | None) -> None:
    assert isinstance(linear, nn.Linear)
    bound = 1 / math.sqrt(linear.in_features)
    linear.weight.uniform_(-bound, bound, generator=generator)
    linear.bias.uniform_(-bound, bound, generator=generator)
