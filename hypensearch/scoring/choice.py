# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""One switch between the ways to score every document: a table of scorers, and which one is taken when.

A scorer is made of q-nets and scores blocks of document vectors (:class:`BlockScorer`). To add one, write a module with
its class and append a :class:`ScorerKind` to :data:`SCORERS`, and its name to
:data:`hypensearch.search.flags.SCORERS`::

    ScorerKind(
        "fused",
        unfit=_fused_unfit,
        reason="tiles that stay in cache and buffers that are used again",
        make=_fused,                     # imports its module when it is called
    )

The order is that of preference: "auto" takes the first one that fits the :class:`Case`. Every scorer is held against
the plain q-nets by ``tests/scoring/test_choice.py``, which goes through the table.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from hypensearch.errors import HypensearchError
from hypensearch.models.config import QNetConfig
from hypensearch.models.q_net import QNets
from hypensearch.scoring import int8_scorer
from hypensearch.scoring.eager_scorer import EagerScorer
from hypensearch.scoring.scorer import Scorer
from hypensearch.search import flags

logger = logging.getLogger(__name__)

_told: set[tuple[str, ...]] = set()  # what has been logged


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
    :param precision: One of :data:`hypensearch.search.flags.PRECISIONS`.
    :param config: The q-nets' architecture; None while it is not known.
    :param num_queries: Q-nets that share a pass over the vectors.
    :param num_docs: Documents that will be scored; None while that is not known.
    :param threads: CPU threads; None for as many as torch uses.
    """

    device: torch.device
    precision: str = "fp32"
    config: QNetConfig | None = None
    num_queries: int = 1
    num_docs: int | None = None
    threads: int | None = None


@dataclass(frozen=True)
class ScorerKind:
    """A row of the table.

    :param name: What ``--scorer`` calls it.
    :param unfit: Why it cannot do a case, as the end of a sentence; None when it can.
    :param reason: Why "auto" takes it where it fits.
    :param make: Q-nets and a case to a scorer.
    :param automatic: Whether "auto" may take it in a case that it can do.
    :param exact: Whether its fp32 scores are those that hits have, to the last bit, or close to them.
    """

    name: str
    unfit: Callable[[Case], str | None]
    reason: str
    make: Callable[[QNets, Case], BlockScorer]
    automatic: Callable[[Case], bool] = lambda case: True
    exact: bool = False


def _fused_unfit(case: Case) -> str | None:
    return "it has no int8" if case.precision == "int8" else None


def _fused(q_nets: QNets, case: Case) -> BlockScorer:
    return Scorer(q_nets, case.device, case.precision, threads=case.threads)


def _int8_unfit(case: Case) -> str | None:
    return int8_scorer.unfit(case.device) if case.precision == "int8" else "it does int8 only"


def _int8(q_nets: QNets, case: Case) -> BlockScorer:
    return int8_scorer.Int8Scorer(q_nets, threads=case.threads)


def _eager(q_nets: QNets, case: Case) -> BlockScorer:
    return EagerScorer(q_nets, case.device, case.precision)


def _compiled_unfit(case: Case) -> str | None:
    from hypensearch.scoring.compiled_scorer import missing_compiler

    return _fused_unfit(case) or missing_compiler(case.device)


def _compiled(q_nets: QNets, case: Case) -> BlockScorer:
    from hypensearch.scoring.compiled_scorer import CompiledScorer

    return CompiledScorer(q_nets, case.device, case.precision, threads=case.threads)


def _triton_unfit(case: Case) -> str | None:
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


SCORERS: list[ScorerKind] = [
    ScorerKind(
        "triton",
        unfit=_triton_unfit,
        reason="one kernel for whole q-nets, whose states never leave the GPU's cache",
        make=_triton,
        automatic=_triton_automatic,
    ),
    ScorerKind(
        "fused",
        unfit=_fused_unfit,
        reason="tiles that stay in cache and buffers that are used again",
        make=_fused,
        exact=True,
    ),
    ScorerKind("int8", unfit=_int8_unfit, reason="products of 8-bit integers by oneDNN", make=_int8),
    ScorerKind(
        "compiled",
        unfit=_compiled_unfit,
        reason="the plain formula as torch.compile makes it fast",
        make=_compiled,
        automatic=lambda case: False,  # compiling takes seconds, and is no faster than "fused" on a CPU
    ),
    ScorerKind("eager", unfit=_fused_unfit, reason="the plain way, which always works", make=_eager, exact=True),
]


def choose_scorer(case: Case, wanted: str = "auto") -> ScorerKind:
    """Return the scorer that a case gets; which one, and why, is logged once.

    :param wanted: A name of the table, or "auto" for the first one that fits.
    :raises HypensearchError: When the name is unknown, or that scorer cannot do this case.
    """
    if case.precision not in flags.PRECISIONS:
        raise HypensearchError(f"unknown precision {case.precision!r}: known are {', '.join(flags.PRECISIONS)}")
    if wanted == "auto":
        kind = next((kind for kind in SCORERS if not kind.unfit(case) and kind.automatic(case)), None)
        if kind is None:
            raise HypensearchError(f"no scorer does {case.precision} on {case.device}: {_why_none(case)}")
        _tell_once(case, kind, kind.reason)
        return kind
    kind = next((kind for kind in SCORERS if kind.name == wanted), None)
    if kind is None:
        raise HypensearchError(f"--scorer {wanted}: wanted auto, {', '.join(kind.name for kind in SCORERS)}")
    if why := kind.unfit(case):
        raise HypensearchError(f"--scorer {wanted} with {case.precision} on {case.device}: {why}; use --scorer auto")
    _tell_once(case, kind, "as --scorer says")
    return kind


def make_scorer(q_nets: QNets, case: Case, wanted: str = "auto") -> BlockScorer:
    """Make the scorer of a case for some q-nets.

    :param q_nets: The q-nets; what the case says of them is taken from here.
    :param wanted: As in :func:`choose_scorer`.
    """
    return choose_scorer(case, wanted).make(q_nets, case)


def _why_none(case: Case) -> str:
    return "; ".join(f"{kind.name}: {kind.unfit(case) or 'only when asked for'}" for kind in SCORERS)


def _tell_once(case: Case, kind: ScorerKind, reason: str) -> None:
    if case.config is None:
        return  # asked beforehand, nothing is scored yet
    known = (kind.name, case.precision, str(case.device), reason)
    if known not in _told:
        _told.add(known)
        logger.info("Scoring on %s in %s by the %s scorer: %s", case.device, case.precision, kind.name, reason)
