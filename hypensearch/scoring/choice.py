# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The ways to score every document, and which one is taken when.

A scorer is made of q-nets and scores blocks of document vectors (:class:`BlockScorer`). To add one, append a
:class:`ScorerKind` to :data:`SCORERS`, and its name to :data:`hypensearch.scoring.options.SCORERS`. The order is that
of preference: "auto" takes the first one that supports the :class:`Case`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from hypensearch.device import usable_dtype, usual_precision
from hypensearch.errors import HypensearchError
from hypensearch.models.config import QNetConfig
from hypensearch.models.q_net import QNets
from hypensearch.scoring import int8_scorer
from hypensearch.scoring.eager_scorer import EagerScorer
from hypensearch.scoring.options import PRECISIONS
from hypensearch.scoring.scorer import DTYPES, Scorer

logger = logging.getLogger(__name__)

_logged: set[str] = set()


class BlockScorer(Protocol):
    """Scores blocks of document vectors with a batch of q-nets, on one device."""

    def score(self, vectors: Tensor | np.ndarray) -> Tensor:
        """Score documents.

        :param vectors: *Shape:* ``(num_docs, dim)``, any floating dtype, on any device.
        :return: float32, *Shape:* ``(num_queries, num_docs)``, on the scorer's device. In fp32 a score depends on its
            q-net and its document alone.
        """
        ...


@dataclass(frozen=True)
class Case:
    """What a scorer has to do.

    :param device: Where.
    :param precision: One of :data:`hypensearch.scoring.options.PRECISIONS`.
    :param config: The q-nets' architecture; None while it is not known.
    :param threads: CPU threads; None for as many as torch uses.
    """

    device: torch.device
    precision: str = "fp32"
    config: QNetConfig | None = None
    threads: int | None = None


@dataclass(frozen=True)
class ScorerKind:
    """A way to score.

    :param name: What ``--scorer`` calls it.
    :param unsupported: Why it cannot do a case, as the end of a sentence; None when it can.
    :param reason: Why "auto" takes it.
    :param make: Makes a scorer of q-nets for a case.
    :param automatic: Whether "auto" may take it in a case that it supports.
    :param exact: Whether its fp32 scores are those of hits, or equal to them up to rounding.
    """

    name: str
    unsupported: Callable[[Case], str | None]
    reason: str
    make: Callable[[QNets, Case], BlockScorer]
    automatic: Callable[[Case], bool] = lambda case: True
    exact: bool = False


def _without_int8(case: Case) -> str | None:
    return "it has no int8" if case.precision == "int8" else None


def _int8_unsupported(case: Case) -> str | None:
    return int8_scorer.unsupported(case.device) if case.precision == "int8" else "it does int8 only"


def _triton_unsupported(case: Case) -> str | None:
    from hypensearch.scoring.gpu import triton_scorer

    if case.precision == "int8":
        return "it has no int8"
    if case.config is not None and max(case.config.dims) > triton_scorer.MAX_WIDTH:
        return f"it takes q-nets up to {triton_scorer.MAX_WIDTH:,} wide"
    cuda = case.device.type == "cuda"
    if case.precision == "fp32" and cuda and torch.cuda.get_device_capability(case.device) < (9, 0):
        return "in fp32 its registers do not suffice on GPUs before compute capability 9.0"
    return triton_scorer.missing_triton(case.device)


def _triton_automatic(case: Case) -> bool:
    """Tensor cores have no fp32, and without blocks there is nothing to fuse."""
    blocks = case.config is None or case.config.num_blocks > 0
    return case.device.type == "cuda" and case.precision != "fp32" and blocks


def _triton(q_nets: QNets, case: Case) -> BlockScorer:
    from hypensearch.scoring.gpu.triton_scorer import TritonScorer

    return TritonScorer(q_nets, case.device, case.precision)


SCORERS = [
    ScorerKind(
        "triton",
        _triton_unsupported,
        "whole q-nets in kernels of their own, whose states stay in the GPU's cache",
        _triton,
        automatic=_triton_automatic,
    ),
    ScorerKind(
        "fused",
        _without_int8,
        "tiles that stay in cache and buffers that are used again",
        lambda q_nets, case: Scorer(q_nets, case.device, case.precision, threads=case.threads),
        exact=True,
    ),
    ScorerKind(
        "int8",
        _int8_unsupported,
        "products of 8-bit integers by oneDNN",
        lambda q_nets, case: int8_scorer.Int8Scorer(q_nets, threads=case.threads),
    ),
    ScorerKind(
        "eager",
        _without_int8,
        "the plain way, which always works",
        lambda q_nets, case: EagerScorer(q_nets, case.device, case.precision),
        exact=True,
    ),
]


def choose_scorer(case: Case, wanted: str = "auto") -> ScorerKind:
    """Return the scorer for a case; which one, and why, is logged once.

    :param wanted: A name of the table, or "auto" for the first one that supports the case.
    :raises HypensearchError: When the name is unknown, or that scorer does not support the case.
    """
    if case.precision not in PRECISIONS:
        raise HypensearchError(f"unknown precision {case.precision!r}: known are {', '.join(PRECISIONS)}")
    if wanted == "auto":
        kind = next((kind for kind in SCORERS if not kind.unsupported(case) and kind.automatic(case)), None)
        if kind is None:
            reasons = "; ".join(f"{kind.name}: {kind.unsupported(case) or 'only when asked for'}" for kind in SCORERS)
            raise HypensearchError(f"no scorer does {case.precision} on {case.device}: {reasons}")
        reason = kind.reason
    else:
        kind = next((kind for kind in SCORERS if kind.name == wanted), None)
        if kind is None:
            raise HypensearchError(f"--scorer {wanted}: wanted auto, {', '.join(kind.name for kind in SCORERS)}")
        if why := kind.unsupported(case):
            what = f"--scorer {wanted} with {case.precision} on {case.device}"
            raise HypensearchError(f"{what}: {why}; use --scorer auto")
        reason = "as --scorer says"
    message = f"Scoring on {case.device} in {case.precision} by the {kind.name} scorer: {reason}"
    if case.config is not None and message not in _logged:  # without q-nets nothing is scored yet
        _logged.add(message)
        logger.info("%s", message)
    return kind


def make_scorer(q_nets: QNets, case: Case, wanted: str = "auto") -> BlockScorer:
    """Make the scorer of a case for some q-nets.

    :param wanted: As in :func:`choose_scorer`.
    """
    return choose_scorer(case, wanted).make(q_nets, case)


def usable_precision(device: torch.device, precision: str | None) -> str:
    """Return the precision to scan in: fp32 in place of one that the device has no instructions for.

    :param precision: One of :data:`hypensearch.scoring.options.PRECISIONS`; others are returned as they are. None for
        :func:`hypensearch.device.usual_precision`.
    """
    if precision is None:
        return usual_precision(device)
    dtype = DTYPES.get(precision)
    return precision if dtype is None or usable_dtype(device, dtype) == dtype else "fp32"
