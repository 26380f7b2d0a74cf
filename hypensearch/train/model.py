# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""What the trainer steps on: a dual encoder that returns the loss of a batch, and a frozen one that guides it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from hypensearch.models.dual_encoder import DualEncoder, QueryEncoder, pool, token_states
from hypensearch.models.q_net import QNets
from hypensearch.train.batches import Batch
from hypensearch.train.losses import LOSSES, arrange


class Guide:
    """A frozen bi-encoder whose cosines are distilled. Not a module, so that it is neither trained nor stored.

    :param model: A bi-encoder.
    :param temperature: Its cosines are divided by this.
    """

    def __init__(self, model: DualEncoder, temperature: float) -> None:
        self.model = model.eval()
        self.temperature = temperature

    @torch.no_grad()
    def scores(self, queries: Batch, documents: Batch) -> Tensor:
        """Score all processes' documents, *Shape:* ``(num_queries, all_items)``."""
        device = queries["input_ids"].device
        self.model.to(device)
        encoded = self.model.query_encoder(**queries), _gathered(self.model.passage_encoder(**documents))
        query_vectors, vectors = (functional.normalize(side.float()) for side in encoded)
        with torch.autocast(device.type, enabled=False):  # bfloat16 would round cosines to 1/256
            return query_vectors @ vectors.T / self.temperature


class TrainingModel(nn.Module):
    """A dual encoder with its training losses.

    With a chunk size only the encodings are kept for the gradient, and the encoder's activations are recomputed chunk
    by chunk: the exact gradient of a batch of any size in the memory of a chunk, for one more forward pass (GradCache).

    :param model: What is trained.
    :param losses: Weight of each loss of :data:`hypensearch.train.losses.LOSSES`.
    :param widths: Hidden widths to train jointly (Matryoshka); the loss is the mean over them.
    :param chunk_size: Texts encoded at once while training; 0 for all of a batch.
    :param guide: For the loss distil.
    """

    def __init__(
        self,
        model: DualEncoder,
        losses: Mapping[str, float],
        *,
        widths: Sequence[int] = (),
        chunk_size: int = 0,
        guide: Guide | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.losses = dict(losses)
        self.widths = list(widths)
        self.chunk_size = chunk_size
        self.guide = guide

    def forward(
        self,
        queries: Batch,
        documents: Batch,
        items: Batch,
        guide_queries: Batch | None = None,
        guide_documents: Batch | None = None,
    ) -> dict[str, Tensor]:
        """Return the loss of a batch.

        :param items: ``keys``, one number for each text, ``valid`` and ``teacher``, all of *Shape:*
            ``(num_queries, num_items)``; the documents are those items, query by query.
        :param guide_queries: The queries, as the guide's tokens.
        :param guide_documents: The documents, as the guide's tokens.
        """
        q_nets, vectors = self.q_nets(queries), _gathered(self.document_vectors(documents))
        keys, valid = _gathered(items["keys"]), _gathered(items["valid"].long()).bool()
        first = len(items["keys"]) * _rank()
        guided = None
        if self.guide is not None and guide_queries is not None and guide_documents is not None:
            guided = self.guide.scores(guide_queries, guide_documents)
        terms = []
        for nets in [q_nets.truncated(width) for width in self.widths] or [q_nets]:
            scores = nets.score_each(vectors.expand(len(nets), -1, -1), training=self.training).float()
            batch = arrange(scores, keys, valid, first, items["teacher"], guided)
            terms.append(torch.stack([weight * LOSSES[name](batch) for name, weight in self.losses.items()]).sum())
        return {"loss": torch.stack(terms).mean()}

    def q_nets(self, queries: Batch) -> QNets:
        """Make the q-nets of a batch of queries; a bi-encoder's are its vectors."""
        encoder, mask = self.model.query_encoder, queries["attention_mask"]
        transformer: nn.Module = encoder.transformer  # type: ignore[assignment]
        states = self._chunked(lambda ids, mask: token_states(transformer, ids, mask), queries)
        if isinstance(encoder, QueryEncoder):
            q_nets: QNets = encoder.hyper_head(states, mask)
            return q_nets
        return QNets.from_vectors(pool(states, mask, encoder.pooling))  # type: ignore[arg-type]

    def document_vectors(self, documents: Batch) -> Tensor:
        """Make the vectors of a batch of documents, *Shape:* ``(num_docs, dim)``."""
        return self._chunked(self.model.passage_encoder, documents)

    def _chunked(self, encode: Callable[[Tensor, Tensor], Tensor], texts: Batch) -> Tensor:
        ids, mask = texts["input_ids"], texts["attention_mask"]
        if not self.chunk_size or not torch.is_grad_enabled():
            return encode(ids, mask)
        chunks = zip(ids.split(self.chunk_size), mask.split(self.chunk_size), strict=True)
        return torch.cat([checkpoint(encode, *chunk, use_reentrant=False) for chunk in chunks])


def _is_distributed() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def _rank() -> int:
    return torch.distributed.get_rank() if _is_distributed() else 0


def _gathered(tensor: Tensor) -> Tensor:
    """Put all processes' rows together, gradients included."""
    if not _is_distributed():
        return tensor
    from torch.distributed.nn.functional import all_gather

    return torch.cat(all_gather(tensor.contiguous()))  # type: ignore[no-untyped-call]
