# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Makes the codes of a surrogate search: how an average q-net sees each document.

A q-net's score is linear in the last hidden state. That state depends on the query, but not much: most of a q-net's
blocks is common to all queries. So the last hidden state under the *mean* q-net of some queries is a feature in which
any query's scores are nearly linear, more so than in the document vector, and it is computed once for all queries.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from hypensearch.cli import progress_bar
from hypensearch.errors import HypensearchError
from hypensearch.index.flat import FlatIndex
from hypensearch.index.surrogate import Surrogate, write_surrogate
from hypensearch.models.q_net import QNets
from hypensearch.search.scorer import Scorer

logger = logging.getLogger(__name__)

HEAD_SIZE = 128
CODE_SIZE = 384
SAMPLE_ROWS = 1024
QUERIES = 64
QUERY_WORDS = 10
_BLOCK_ROWS = 8192
_FIT_ROWS = 32768


def build_surrogate(
    index: FlatIndex, q_nets: QNets, device: torch.device, *, seed: int = 0, show_progress: bool = False
) -> Surrogate:
    """Compute and store the codes of all documents.

    :param index: The document vectors.
    :param q_nets: Q-nets of typical queries; their mean gives the features.
    :param device: Where to compute.
    :param seed: Chooses the sample that every query scores first.
    :param show_progress: Whether to draw a progress bar.
    """
    scorer = Scorer(mean_q_net(q_nets), device)
    chance = np.random.default_rng(seed)
    sample = chance.permutation(index.num_docs)[:SAMPLE_ROWS]
    center, basis = _principal_components(scorer, index, chance)
    facts = {"queries": len(q_nets), "seed": seed}
    if basis.shape[1] <= HEAD_SIZE:  # an empty component, so that there is a tail
        basis = torch.nn.functional.pad(basis, (0, 1))
    head_size = min(HEAD_SIZE, basis.shape[1] - 1)
    with progress_bar(index.num_docs, unit="document", description="surrogate codes", show=show_progress) as bar:
        blocks = _codes(scorer, index, center, basis, head_size, bar.update)
        return write_surrogate(index, sample, blocks, facts)


def mean_q_net(q_nets: QNets) -> QNets:
    """Return the q-net whose weights are the mean of some q-nets' weights."""
    weights = [weight.mean(dim=0, keepdim=True) for weight in q_nets.weights]
    return QNets(q_nets.config, weights, [bias.mean(dim=0, keepdim=True) for bias in q_nets.biases])


def typical_queries(index: FlatIndex, *, seed: int = 0) -> list[str]:
    """Take the first words of some documents as queries.

    :raises HypensearchError: When the documents' text cannot be had.
    """
    rows = np.random.default_rng(seed).permutation(index.num_docs)[:QUERIES]
    texts = []
    for row in sorted(rows.tolist()):
        try:
            document = index.document(index.docid(row))
        except HypensearchError as error:
            raise HypensearchError(f"{error}; or give typical queries with --topics") from None
        assert document is not None
        texts.append(" ".join(document.contents().split()[:QUERY_WORDS]))
    if not any(texts):
        raise HypensearchError(f"{index.folder}: its documents have no contents to take queries from")
    return texts


def _principal_components(scorer: Scorer, index: FlatIndex, chance: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Fit centre and basis on some documents; float16 codes have a mean norm of one."""
    rows = np.sort(chance.permutation(index.num_docs)[:_FIT_ROWS])
    states = scorer.last_states(gather(index, rows)).double()
    center = states.mean(dim=0)
    centred = states - center
    scale = centred.norm(dim=1).mean().clamp(min=1e-12)
    _, vectors = torch.linalg.eigh(centred.T @ centred)
    basis = vectors.flip(1)[:, :CODE_SIZE] / scale
    return center.float(), basis.float()


def _codes(
    scorer: Scorer, index: FlatIndex, center: Tensor, basis: Tensor, head_size: int, done: Callable[[int], object]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for shard in index.shards:
        for start in range(0, shard.num_docs, _BLOCK_ROWS):
            block = shard.vectors[start : start + _BLOCK_ROWS]
            codes = ((scorer.last_states(block) - center) @ basis).cpu()
            head = codes[:, :head_size].bfloat16().view(torch.int16).numpy().view(np.uint16)
            yield head, codes[:, head_size:].half().numpy()
            done(len(block))


def gather(index: FlatIndex, rows: Sequence[int] | np.ndarray) -> np.ndarray:
    """Return the vectors of some rows of the whole index, float32, *Shape:* ``(len(rows), dim)``."""
    rows = np.asarray(rows)
    vectors = np.empty((len(rows), index.dim), dtype=np.float32)
    for shard in index.shards:
        inside = (rows >= shard.start) & (rows < shard.start + shard.num_docs)
        if inside.any():
            vectors[inside] = shard.vectors[rows[inside] - shard.start]
    return vectors
