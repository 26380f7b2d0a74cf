# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Where a training step's time goes: each part is run, forwards and backwards, cut off from the others."""

from __future__ import annotations

import copy
import resource
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from hypensearch.models.q_net import QNets
from hypensearch.train.scorers import Batch, FixedBlocks, LossModel

PARTS = ("data", "encoder", "hyper head", "q-nets and loss", "optimizer")


def profile_steps(loss_model: LossModel, batches: Iterable[dict[str, Batch]], *, bf16: bool = False) -> dict[str, Any]:
    """Time steps part by part, on a copy of the model: nothing is learned.

    :param batches: What the loader gives, made while they are asked for. The first one warms up and is not counted.
    :param bf16: Whether to run under bfloat16 autocast.
    :return: Mean ``seconds`` of a step by part, its ``step_seconds``, the ``peak_memory_mb`` of the process until now
        (of a GPU: its own) and the number of ``steps``.
    """
    model = copy.deepcopy(loss_model).train()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-9)
    device = trained[0].device
    clock = _Clock(device)
    per_step: list[dict[str, float]] = []
    iterator = iter(batches)
    while True:
        with clock("data"):
            batch = next(iterator, None)
        if batch is None:
            break
        moved = {group: {k: v.to(device) for k, v in tensors.items()} for group, tensors in batch.items()}
        _step(model, moved, clock, bf16)
        with clock("optimizer"):
            optimizer.step()
            optimizer.zero_grad()
        per_step.append(clock.read())
    counted = per_step[1:] or per_step
    seconds = {part: round(sum(step[part] for step in counted) / len(counted), 4) for part in PARTS}
    return {
        "steps": len(counted),
        "step_seconds": round(sum(seconds.values()), 4),
        "seconds": seconds,
        "peak_memory_mb": _peak_memory(device),
    }


def _step(model: LossModel, batch: dict[str, Batch], clock: _Clock, bf16: bool) -> None:
    scorer: Any = model.scorer
    queries, device_type = batch["queries"], clock.device.type
    with torch.autocast(device_type, torch.bfloat16, enabled=bf16):
        with clock("encoder"):
            states, vectors = scorer.query_states(queries), scorer.document_vectors(batch["documents"])
        states_leaf, vectors_leaf = _leaf(states), _leaf(vectors)
        with clock("hyper head"):
            q_nets = scorer.q_nets_from(states_leaf, queries["attention_mask"])
        leaves, generated = _cut(q_nets)
        with clock("q-nets and loss"):
            loss = model.loss(leaves, vectors_leaf, batch["items"])
    with clock("q-nets and loss"):
        loss.backward()  # type: ignore[no-untyped-call]
    with clock("hyper head"):
        _backward(generated)
    with clock("encoder"):
        _backward([(states, states_leaf), (vectors, vectors_leaf)])


def _cut(q_nets: QNets | FixedBlocks) -> tuple[QNets | FixedBlocks, list[tuple[Tensor, Tensor]]]:
    """Cut q-nets off from what generated them; return both ends of each tensor."""
    if isinstance(q_nets, FixedBlocks):
        bias, final = _leaf(q_nets.bias), _leaf(q_nets.final)
        return FixedBlocks(q_nets.head, bias, final), [(q_nets.bias, bias), (q_nets.final, final)]
    weights, biases = [_leaf(w) for w in q_nets.weights], [_leaf(b) for b in q_nets.biases]
    ends = zip([*q_nets.weights, *q_nets.biases], [*weights, *biases], strict=True)
    return QNets(q_nets.config, weights, biases), list(ends)


def _leaf(tensor: Tensor) -> Tensor:
    return tensor.detach().requires_grad_(tensor.requires_grad)


def _backward(ends: list[tuple[Tensor, Tensor]]) -> None:
    wanted = [(tensor, leaf.grad) for tensor, leaf in ends if tensor.requires_grad and leaf.grad is not None]
    if wanted:
        tensors, gradients = zip(*wanted, strict=True)
        torch.autograd.backward(tensors, gradients)


class _Clock:
    """Adds up the seconds of each part."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        started = self._now()
        yield
        self.seconds[part] += self._now() - started

    def read(self) -> dict[str, float]:
        """Return the seconds since the last call."""
        read, self.seconds = self.seconds, defaultdict(float)
        return read

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


def _peak_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) >> 20
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit >> 20


__all__ = ["PARTS", "profile_steps"]
