# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Scores documents on a GPU: by one launch of a Triton kernel for a whole block, or layer by layer, whatever is faster.

On a CPU the kernel runs in Triton's interpreter (TRITON_INTERPRET=1), which is for tests.
"""

from __future__ import annotations

import functools
import importlib.util
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hypensearch.errors import HypensearchError
from hypensearch.models.config import QNetConfig
from hypensearch.models.q_net import QNets
from hypensearch.scoring.gpu.candidates import Candidates
from hypensearch.scoring.gpu.layers import Layers
from hypensearch.scoring.scorer import DTYPES, as_tensor
from hypensearch.scoring.top_k import TopK

logger = logging.getLogger(__name__)

MAX_WIDTH = 4096  # beyond, a tile's states no longer stay in cache
_COLUMN_SIZES = (256, 128, 64, 32, 16)
_WIDEST_OF_LARGE_TILES = 768
_LEAST = 16  # columns and rows that tl.dot wants
_HOPPER = (9, 0)
_SMALL, _AMPERE, _LARGE = 99 * 1024, 163 * 1024, 227 * 1024
#: Bytes of shared memory that a program may have, by compute capability (CUDA C++ Programming Guide, table of
#: technical specifications).
SHARED_MEMORY = {
    **{(8, 0): _AMPERE, (8, 6): _SMALL, (8, 7): _AMPERE, (8, 9): _SMALL, (9, 0): _LARGE},
    **{(10, 0): _LARGE, (10, 3): _LARGE, (12, 0): _SMALL, (12, 1): _SMALL},
}
_INTERPRETED_PROGRAMS = 2
_TUNING_TILES = 2  # for each program: a block of 131,072 documents is enough for the largest GPUs


@dataclass(frozen=True)
class Tiling:
    """How a kernel cuts its work.

    :param rows: Documents of a tile.
    :param columns: Columns of a block computed at a time.
    :param inner: Length of the pieces that products are summed over.
    :param warps: Warps of a program.
    :param stages: Pieces under way at a time.
    """

    rows: int
    columns: int
    inner: int
    warps: int = 8
    stages: int = 3

    @property
    def programs(self) -> int:
        """Programs that a multiprocessor has registers for, where each thread takes 255."""
        return max(1, 8 // self.warps)


def missing_triton(device: torch.device) -> str | None:
    """Tell why Triton cannot be used on a device, None when it can."""
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed (CUDA builds of torch bring it)"
    if device.type != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
        return "it needs a CUDA device"
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < (8, 0):
        return "it needs a GPU of compute capability 8.0 or later"
    return None


def tilings(config: QNetConfig, dtype: torch.dtype, capability: tuple[int, int] = _HOPPER) -> list[Tiling]:
    """Return the tilings worth trying for an architecture, the likely best one first, those that need least last.

    :param capability: The GPU's compute capability; its shared memory and registers bound them.
    """
    widest = max(config.dims[1:-1], default=_LEAST)
    # Little padding, but tensor cores want many columns at a time.
    columns = min(_COLUMN_SIZES, key=lambda size: -(-widest // size) * size * (1 + 32 / size))
    inner = min(64 if dtype.itemsize == 2 else 32, columns)
    shapes = [(128, columns, 8, 3), (64, columns, 8, 3), (64, min(columns, 128), 4, 3)]
    if columns == 256:
        # 128 x 256 needs all registers: on an RTX 50, or where states are wider, it spills in its loops.
        fits = capability < (12, 0) and widest <= _WIDEST_OF_LARGE_TILES
        shapes = [*shapes[:fits], (128, 128, 8, 3), *shapes[1:]]
    found = [Tiling(rows, across, min(inner, across), warps, stages) for rows, across, warps, stages in shapes]
    limit = SHARED_MEMORY.get(capability, _SMALL)
    return [tiling for tiling in found if shared_memory(tiling, dtype, capability) <= limit]


def shared_memory(tiling: Tiling, dtype: torch.dtype, capability: tuple[int, int]) -> int:
    """Return the bytes of shared memory that Triton's compiler takes for a tiling's products.

    Tensor cores of Hopper and of Blackwell's server GPUs read both sides from there, so every piece under way has its
    place; on others the piece that is multiplied is in registers. Blackwell's servers want a barrier of 16 bytes too.
    ``python -m integrations.speed.kernels`` compares this with what the compiler takes.
    """
    major, _ = capability
    pieces = tiling.stages if major in (9, 10) else tiling.stages - 1
    barrier = 16 if major == 10 else 0
    return pieces * tiling.inner * (tiling.rows + tiling.columns) * dtype.itemsize + barrier


LAYER_BY_LAYER = "layer by layer"
Way = Tiling | str


class TritonScorer:
    """Scores blocks of document vectors with a batch of q-nets, by one kernel in a tiling or layer by layer.

    The ways are timed on the first large block, and those that the GPU does not take are left out.

    :param q_nets: The q-nets.
    :param device: A CUDA device, or the CPU under Triton's interpreter.
    :param precision: "fp32" (products of three TF32 parts), "bf16" or "fp16"; sums are in float32.
    :param way: A tiling or :data:`LAYER_BY_LAYER`; None for the fastest.
    :param programs: Multiprocessors to use; None for all.
    """

    def __init__(
        self,
        q_nets: QNets,
        device: torch.device,
        precision: str = "bf16",
        *,
        way: Way | None = None,
        programs: int | None = None,
    ) -> None:
        self.config = q_nets.config
        self.dtype = DTYPES[precision]
        self.device = device
        self._q_nets = q_nets
        self._ways: list[Way] = [way] if way else list(tilings(self.config, self.dtype, _capability_of(device)))
        if not way and self.config.num_blocks:
            self._ways.append(LAYER_BY_LAYER)
        self._is_tuned = way is not None or device.type != "cuda"
        self._programs = programs or _programs_of(device)
        self._packed: dict[tuple[int, int], _Packed] = {}
        self._layers: Layers | None = None
        self._states = torch.empty(0, dtype=self.dtype, device=device)

    def score(self, vectors: Tensor | np.ndarray) -> Tensor:
        """Score documents.

        :param vectors: *Shape:* ``(num_docs, dim)``, any floating dtype, on any device.
        :return: float32, *Shape:* ``(num_queries, num_docs)``, on the scorer's device.
        """
        vectors = self._prepared(vectors)
        scores = torch.empty(len(self._q_nets), len(vectors), device=self.device)
        self._tune(vectors, scores=scores)
        self._launch_what_fits(vectors, scores=scores)
        return scores

    def collect(self, first_row: int, vectors: Tensor | np.ndarray, candidates: Candidates) -> None:
        """Score documents and keep only those that reach their query's bar; nothing waits for the GPU.

        :param first_row: Row of the first document.
        :param vectors: *Shape:* ``(num_docs, dim)``.
        :param candidates: Where to keep them.
        """
        vectors = self._prepared(vectors)
        docid_rank = candidates.best.docid_rank[first_row : first_row + len(vectors)]
        if not self._is_tuned:
            unused = Candidates(TopK(len(self._q_nets), 1, docid_rank), 1)
            unused.bars.fill_(torch.inf)
            self._tune(vectors, candidates=unused, docid_rank=docid_rank)
        candidates.make_room(len(vectors))
        self._launch_what_fits(vectors, candidates=candidates, docid_rank=docid_rank)

    def _prepared(self, vectors: Tensor | np.ndarray) -> Tensor:
        return as_tensor(vectors).to(self.device, self.dtype).contiguous()

    @property
    def rows_to_tune(self) -> int:
        """Documents of the first block that ways are timed on; with fewer the likely best one is taken."""
        most = max((way.rows * way.programs for way in self._ways if isinstance(way, Tiling)), default=0)
        return _TUNING_TILES * self._programs * most

    def _tune(self, vectors: Tensor, **what: Any) -> None:
        """Put the fastest way first; measured once for each architecture, type and GPU, on a large enough block."""
        if self._is_tuned or len(self._ways) == 1:
            return
        key = (self.config, self.dtype, torch.cuda.get_device_name(self.device))
        if key not in _tuned:
            if len(vectors) < self.rows_to_tune:
                return
            _tuned[key] = self._by_time(vectors[: self.rows_to_tune], what)
        self._ways, self._is_tuned = _tuned[key], True
        best = self._ways[0]
        if isinstance(best, Tiling):
            self._layers = None
        self._packed = {
            key: packed
            for key, packed in self._packed.items()
            if isinstance(best, Tiling) and key == (best.columns, best.inner)
        }

    def _by_time(self, vectors: Tensor, what: Mapping[str, Any]) -> list[Way]:
        """Return the ways that this GPU takes, the fastest first."""
        times: dict[Way, float] = {}
        for way in self._ways:
            try:
                with _on(self.device):  # events are made on the current GPU
                    times[way] = _milliseconds(functools.partial(self._launch, way, vectors, **what))
            except _does_not_fit() as error:
                logger.debug("%s does not fit this GPU: %s", way, error)
        logger.debug("milliseconds of each way: %s", times)
        if not times:
            raise self._nothing_fits()
        return sorted(times, key=times.__getitem__)

    def _launch_what_fits(self, vectors: Tensor, **what: Any) -> None:
        """Launch the first way that the GPU takes, and leave out those that it does not.

        :raises HypensearchError: When it takes none.
        """
        for number, way in enumerate(self._ways):
            try:
                self._launch(way, vectors, **what)
            except _does_not_fit() as error:  # nothing has run
                logger.warning("%s does not fit this GPU, trying another: %s", way, error)
            else:
                self._ways = self._ways[number:]
                return
        raise self._nothing_fits()

    def _nothing_fits(self) -> HypensearchError:
        return HypensearchError(
            f"--scorer triton: none of its kernels fits {torch.cuda.get_device_name(self.device)} for q-nets of widths "
            f"{list(self.config.dims)}; use --scorer fused"
        )

    def _launch(
        self,
        way: Way,
        vectors: Tensor,
        *,
        scores: Tensor | None = None,
        candidates: Candidates | None = None,
        docid_rank: Tensor | None = None,
    ) -> None:
        from hypensearch.scoring.gpu.kernels import score_tiles

        if not len(vectors):
            return
        if not isinstance(way, Tiling):
            self._layers = self._layers or Layers(self._q_nets, self.device, self.dtype)
            with _on(self.device):
                self._layers.launch(vectors, scores=scores, candidates=candidates, docid_rank=docid_rank)
            return
        tiling = way
        packed = self._pack(tiling)
        config, nothing = self.config, packed.biases
        tiles, programs = -(-len(vectors) // tiling.rows), self._programs * tiling.programs
        grid = (min(tiles, programs), min(len(self._q_nets), max(1, programs // tiles)))
        states = self._states_of(grid[0] * grid[1] * 2 * tiling.rows * packed.width if config.num_blocks > 1 else 0)
        with _on(self.device):
            score_tiles[grid](
                vectors,
                packed.first_weights,
                packed.hidden_weights,
                packed.biases,
                packed.output_weights,
                packed.widths,
                states,
                nothing if scores is None else scores,
                nothing if candidates is None else candidates.bars,
                packed.widths if candidates is None else candidates.counts,
                packed.widths if candidates is None else candidates.keys,
                packed.widths if docid_rank is None else docid_rank,
                len(vectors),
                len(self._q_nets),
                0 if candidates is None else candidates.room,
                **constants(config, self.dtype, tiling, append=candidates is not None, interpreted=not vectors.is_cuda),
                num_warps=tiling.warps,
                num_stages=tiling.stages,
            )

    def _pack(self, tiling: Tiling) -> _Packed:
        key = (tiling.columns, tiling.inner)
        if key not in self._packed:
            self._packed[key] = _Packed(self._q_nets, tiling, self.device, self.dtype)
        return self._packed[key]

    def _states_of(self, size: int) -> Tensor:
        if len(self._states) < size:
            self._states = torch.empty(size, dtype=self.dtype, device=self.device)
        return self._states


class _Packed:
    """Weights as the kernel wants them: hidden layers of one width, padded with zeros to whole tiles."""

    def __init__(self, q_nets: QNets, tiling: Tiling, device: torch.device, dtype: torch.dtype) -> None:
        config, number = q_nets.config, len(q_nets)
        self.width = padded_width(config, tiling)
        hidden = config.dims[1:-1]

        def padded(tensor: Tensor, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
            result = torch.zeros(number, *shape, dtype=dtype, device=device)
            result[tuple(slice(size) for size in tensor.shape)] = tensor.to(device, dtype)
            return result

        width = self.width
        first = padded(q_nets.weights[0], _up(config.dims[0], tiling.inner), width, dtype=dtype) if hidden else None
        rest = [padded(weight, width, width, dtype=dtype) for weight in q_nets.weights[1:-1]]
        nothing = torch.empty(0, dtype=dtype, device=device)
        self.first_weights = nothing if first is None else first
        self.hidden_weights = torch.stack(rest, 1) if rest else nothing
        biases = [padded(bias, width) for bias in q_nets.biases]
        self.biases = torch.stack(biases, 1) if biases else torch.empty(0, device=device)
        last = q_nets.weights[-1].to(device, torch.float32).squeeze(2)
        self.output_weights = torch.stack([padded(_centred(config, last), width), padded(last, width)], 1)
        self.widths = torch.tensor(hidden or [0], dtype=torch.int32, device=device)


def padded_width(config: QNetConfig, tiling: Tiling) -> int:
    """Return the width that the weights of hidden blocks (or the vectors, without blocks) are padded to."""
    if not config.num_blocks:
        return _up(config.dims[0], tiling.inner)
    return _up(max(config.dims[1:-1]), tiling.columns)


def constants(
    config: QNetConfig, dtype: torch.dtype, tiling: Tiling, *, append: bool, interpreted: bool = False
) -> dict[str, object]:
    """Return what the kernel is compiled for."""
    return {
        "DIM": config.dims[0],
        "WIDTH": padded_width(config, tiling),
        "BLOCKS": config.num_blocks,
        "ACTIVATION": config.activation,
        "NORM": "none" if not config.layer_norm else "first" if config.layer_norm_before_residual else "last",
        "RESIDUAL": config.residual,
        "RESIDUAL_ON_LAST": config.residual and config.residual_on_last,
        "PRECISION": "tf32x3" if dtype == torch.float32 else "tf32",
        "WIDEN": interpreted and dtype == torch.bfloat16,
        "PADDED": set(config.dims[1:-1]) != {padded_width(config, tiling)},
        "APPEND": append,
        "ROWS": tiling.rows,
        "COLUMNS": tiling.columns,
        "INNER": tiling.inner,
    }


def _centred(config: QNetConfig, weights: Tensor) -> Tensor:
    """Subtract the mean, where the last thing before the output layer is a norm's part: a norm's output has none."""
    return weights - weights.mean(1, keepdim=True) if config.layer_norm and config.num_blocks else weights


def _up(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple


_tuned: dict[tuple[QNetConfig, torch.dtype, str], list[Way]] = {}


def _programs_of(device: torch.device) -> int:
    if device.type != "cuda":
        return _INTERPRETED_PROGRAMS
    return int(torch.cuda.get_device_properties(device).multi_processor_count)


def _milliseconds(run: Callable[[], None]) -> float:
    """Time work on the GPU: the least of three, after one run that compiles."""
    run()
    times = []
    for _ in range(3):
        before, after = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        before.record()
        run()
        after.record()
        after.synchronize()
        times.append(before.elapsed_time(after))
    return min(times)


@functools.cache
def _does_not_fit() -> tuple[type[Exception], ...]:
    from triton.runtime.errors import OutOfResources, PTXASError

    return OutOfResources, PTXASError


def _capability_of(device: torch.device) -> tuple[int, int]:
    return torch.cuda.get_device_capability(device) if device.type == "cuda" else _HOPPER


def _on(device: torch.device) -> torch.device | torch.cuda.device:
    """Make a GPU the current one; Triton launches on that."""
    return torch.cuda.device(device) if device.type == "cuda" else torch.device(device)
