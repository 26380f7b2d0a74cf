# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Scores document vectors with the q-nets' plain formula, as ``torch.compile`` makes it fast.

Weights are arguments, so one compiled function serves all q-nets of an architecture. Tiles have one size and are filled
up to it: another shape would be compiled anew.
"""

from __future__ import annotations

import functools
import os
import shutil
import threading
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from hypensearch.errors import HypensearchError
from hypensearch.models.config import QNetConfig
from hypensearch.models.q_net import QNets
from hypensearch.scoring.precision import DTYPES
from hypensearch.scoring.scorer import CPU_TILE_ROWS, CUDA_TILE_ROWS, as_tensor
from hypensearch.threads import core_pool, default_threads

_compiling = threading.Lock()  # the compiler is not made for several threads

CompiledQNet = Callable[[Tensor, list[Tensor], list[Tensor]], Tensor]


def missing_compiler(device: torch.device) -> str | None:
    """Return why nothing can be compiled for a device; None where it can."""
    if device.type == "cuda":
        from torch.utils._triton import has_triton

        return None if has_triton() else "it needs Triton"
    wanted = os.environ.get("CXX")
    if any(shutil.which(name) for name in ([wanted] if wanted else ["g++", "clang++"])):
        return None
    return f"it needs a C++ compiler, found no {wanted or 'g++ or clang++'}"


class CompiledScorer:
    """Scores tiles of document vectors with a batch of q-nets.

    :param q_nets: The q-nets.
    :param device: Where to compute.
    :param precision: A key of :data:`hypensearch.scoring.precision.DTYPES`.
    :param threads: CPU threads; None for as many as torch uses.
    """

    def __init__(
        self, q_nets: QNets, device: torch.device, precision: str = "fp32", *, threads: int | None = None
    ) -> None:
        self.device = device
        self._dtype = DTYPES[precision]
        self._q_nets = q_nets.to(device, self._dtype)
        self._rows = CUDA_TILE_ROWS if device.type == "cuda" else CPU_TILE_ROWS
        self._pool = core_pool(threads or default_threads()) if device.type == "cpu" else None
        self._compiled = _compiled(q_nets.config)

    def score(self, vectors: Tensor | np.ndarray) -> Tensor:
        """Score documents; see :class:`hypensearch.scoring.choice.BlockScorer`.

        :raises HypensearchError: When the compiler fails.
        """
        if isinstance(vectors, np.ndarray):
            vectors = as_tensor(vectors)
        scores = torch.empty(len(self._q_nets), len(vectors), device=self.device)

        @torch.inference_mode()
        def do(start: int) -> None:
            part = vectors[start : start + self._rows]
            tile = torch.zeros(self._rows, vectors.shape[1], dtype=self._dtype, device=self.device)
            tile[: len(part)].copy_(part)
            for query in range(len(self._q_nets)):
                weights = [weight[query] for weight in self._q_nets.weights]
                biases = [bias[query] for bias in self._q_nets.biases]
                scores[query, start : start + len(part)] = self._compiled(tile, weights, biases)[: len(part)]

        starts = range(0, len(vectors), self._rows)
        with _compiling:
            _try(lambda: self._each(do, starts[:1]))
        self._each(do, starts[1:])
        return scores

    def _each(self, do: Callable[[int], None], starts: range) -> None:
        """Do something for each tile, in threads that each compute on one core."""
        list(map(do, starts) if self._pool is None else self._pool.map(do, starts))


@functools.cache
def _compiled(config: QNetConfig) -> CompiledQNet:
    def score(tile: Tensor, weights: list[Tensor], biases: list[Tensor]) -> Tensor:
        q_net = QNets(config, [weight.unsqueeze(0) for weight in weights], [bias.unsqueeze(0) for bias in biases])
        return q_net(tile)[0]

    result: CompiledQNet = torch.compile(score, dynamic=False)
    return result


def _try(run: Callable[[], object]) -> None:
    from torch._dynamo.exc import TorchDynamoException

    try:
        run()
    except TorchDynamoException as error:
        reason = " ".join(str(error).split())[:300]
        raise HypensearchError(f"--scorer compiled: the compiler failed ({reason}); use --scorer auto") from error
