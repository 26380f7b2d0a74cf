# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Where a graph search starts, when it is neither at random documents nor at those of a run: found for each query."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np
import torch

from hypensearch.errors import HypensearchError
from hypensearch.flat.index import FlatIndex
from hypensearch.models.q_net import QNets
from hypensearch.scoring.scorer import as_tensor
from hypensearch.search.report import OfThisThread
from hypensearch.stages import stage
from hypensearch.surrogate.search import SurrogateSearch

Embed = Callable[[Sequence[str]], np.ndarray]

_BLOCK_ROWS = 65536
_TINY = 1e-12


class EntryPoints(Protocol):
    """Finds the documents that the walk of each query starts from."""

    #: Q-net evaluations that finding them took, of each query of the last call.
    scored: list[int]

    def find(self, q_nets: QNets, texts: Sequence[str] | None, k: int) -> list[np.ndarray]:
        """Find them.

        :param texts: The queries' text, None where they came as q-nets.
        :param k: Hits wanted.
        :return: Rows of each query, best first, *Shape:* ``(n,)`` each.
        """
        ...


class FromBiEncoder:
    """The documents nearest to the query as the document encoder sees it, by cosine: a flat scan of the vectors.

    :param index: The document vectors.
    :param embed: Texts to vectors, by the encoder that made the index.
    :param count: Documents of each query.
    :param device: Where to compute.
    """

    #: Documents that this thread's last search scored, for each query.
    scored = OfThisThread[list[int]](list)

    def __init__(self, index: FlatIndex, embed: Embed, count: int, device: torch.device) -> None:
        self._index = index
        self._embed = embed
        self._count = min(count, index.num_docs)
        self._device = device

    @torch.inference_mode()
    def find(self, q_nets: QNets, texts: Sequence[str] | None, k: int) -> list[np.ndarray]:
        """See :class:`EntryPoints`.

        :raises HypensearchError: When the queries came as q-nets.
        """
        if texts is None:
            raise HypensearchError(
                "--entry bi-encoder encodes the queries' text, and they came as q-nets: give text, or another --entry"
            )
        with stage("encode"):
            queries = torch.from_numpy(np.concatenate([self._embed([text]) for text in texts])).to(self._device)
        best = torch.full((len(texts), 0), 0.0, device=self._device)
        rows = torch.zeros(len(texts), 0, dtype=torch.long, device=self._device)
        for start, block in self._blocks():
            cosines = queries @ (block / block.norm(dim=1, keepdim=True).clamp(min=_TINY)).T
            here = torch.arange(start, start + len(block), device=self._device).expand(len(texts), -1)
            values = torch.cat([best, cosines], dim=1)
            best, places = values.topk(min(self._count, values.shape[1]), dim=1)
            rows = torch.cat([rows, here], dim=1).gather(1, places)
        self.scored = [0] * len(texts)
        return list(rows.cpu().numpy())

    def _blocks(self) -> Iterator[tuple[int, torch.Tensor]]:
        for shard in self._index.shards:
            for start in range(0, shard.num_docs, _BLOCK_ROWS):
                block = as_tensor(shard.vectors[start : start + _BLOCK_ROWS])
                yield shard.start + start, block.to(self._device).float()


class FromSurrogate:
    """The hits of a surrogate search: the walk looks at what lies near them.

    :param search: The surrogate search.
    :param count: Documents of each query; None for as many as hits are wanted.
    """

    #: Documents that this thread's last search scored, for each query.
    scored = OfThisThread[list[int]](list)

    def __init__(self, search: SurrogateSearch, count: int | None) -> None:
        self._search = search
        self._count = count

    def find(self, q_nets: QNets, texts: Sequence[str] | None, k: int) -> list[np.ndarray]:
        """See :class:`EntryPoints`."""
        index = self._search.index
        found = self._search.search(q_nets, self._count or k)
        self.scored = [stats.documents_scored for stats in self._search.stats]
        return [index.rows_of([hit.docid for hit in hits]) for hits in found]
