# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Q-nets layer by layer on a GPU: products by torch's library, and one Triton kernel for all that follows a product.

Tiles are so small that what a block reads and writes stays in the GPU's L2 cache.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hypensearch.device import float32_products
from hypensearch.models.config import QNetConfig
from hypensearch.models.q_net import QNets
from hypensearch.scoring.gpu.candidates import Candidates

_L2_BYTES = 40 << 20  # of an A100, where torch does not say
_TILE_ROWS = (2048, 32768)  # fewer leave a GPU idle between launches
_NUMBERS = 8192  # that a program of the kernel takes


class Layers:
    """Scores blocks of documents with a batch of q-nets that have hidden blocks.

    :param q_nets: The q-nets.
    :param device: A CUDA device, or the CPU under Triton's interpreter.
    :param dtype: The type to compute in.
    """

    def __init__(self, q_nets: QNets, device: torch.device, dtype: torch.dtype) -> None:
        self._q_nets = q_nets.to(device, dtype)
        self._output_weights = q_nets.weights[-1].to(device, torch.float32).squeeze(2)
        self._device, self._dtype = device, dtype
        l2_bytes = _L2_BYTES
        if device.type == "cuda":
            l2_bytes = getattr(torch.cuda.get_device_properties(device), "L2_cache_size", _L2_BYTES)
        least, most = _TILE_ROWS
        rows = l2_bytes // (3 * max(q_nets.config.dims) * dtype.itemsize)  # inputs, outputs, and those of the next one
        self._tile_rows = max(least, min(most, rows // 1024 * 1024))

    @torch.inference_mode()
    def launch(
        self,
        vectors: Tensor,
        *,
        scores: Tensor | None = None,
        candidates: Candidates | None = None,
        docid_rank: Tensor | None = None,
    ) -> None:
        """Score documents; nothing waits for the GPU.

        :param vectors: On the device, in the type to compute in, *Shape:* ``(num_docs, dim)``.
        :param scores: Where to write scores, float32, *Shape:* ``(num_queries, num_docs)``.
        :param candidates: Where to append those that reach a bar, instead.
        :param docid_rank: Their docids' places among all docids, int32, *Shape:* ``(num_docs,)``; with candidates.
        """
        last = self._q_nets.config.num_blocks - 1
        for start in range(0, len(vectors), self._tile_rows):
            tile = slice(start, start + self._tile_rows)
            for query in range(len(self._q_nets)):
                states = vectors[tile]
                for block in range(last + 1):
                    weight, bias = self._q_nets.weights[block][query], self._q_nets.biases[block][query]
                    with float32_products(self._device, self._dtype):
                        outputs = torch.addmm(bias, states, weight)
                    self._finish(query, block, outputs, states, tile, scores, candidates, docid_rank)
                    states = outputs

    def _finish(
        self,
        query: int,
        block: int,
        outputs: Tensor,
        inputs: Tensor,
        tile: slice,
        scores: Tensor | None,
        candidates: Candidates | None,
        docid_rank: Tensor | None,
    ) -> None:
        from hypensearch.scoring.gpu.kernels import finish_rows

        fixed = finish_constants(self._q_nets.config, block, append=candidates is not None)
        weights = self._output_weights[query]
        finish_rows[(-(-len(outputs) // fixed["ROWS"]),)](
            outputs,
            inputs,
            weights,
            weights if scores is None else scores[query, tile],
            weights if candidates is None else candidates.bars[query],
            weights if candidates is None else candidates.counts[query],
            weights if candidates is None else candidates.keys[query],
            weights if docid_rank is None else docid_rank[tile],
            len(outputs),
            0 if candidates is None else candidates.room,
            **fixed,
            num_warps=8,
        )


def finish_constants(config: QNetConfig, block: int, *, append: bool) -> dict[str, Any]:
    """Return what the kernel behind a block's product is compiled for."""
    width = config.dims[block + 1]
    columns = 1 << (width - 1).bit_length()
    return {
        "WIDTH": width,
        "ACTIVATION": config.activation,
        "NORM": "none" if not config.layer_norm else "first" if config.layer_norm_before_residual else "last",
        "RESIDUAL": config.has_residual(block),
        "LAST": block == config.num_blocks - 1,
        "APPEND": append,
        "ROWS": max(1, _NUMBERS // columns),
        "COLUMNS": columns,
    }
