# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""What the trainer steps on: a dual encoder that returns the loss of a batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from hypensearch.models.dual_encoder import DualEncoder, QueryEncoder, pool, token_states
from hypensearch.models.q_net import QNets
from hypensearch.train.batches import Batch
from hypensearch.train.losses import LOSSES, arrange


class TrainingModel(nn.Module):
    """A dual encoder with the losses that it is trained by.

    With a chunk size only encodings are kept for the gradient, and the encoder's activations are made again chunk by
    chunk: the exact gradient of a batch of any size in the memory of a chunk, for one more forward pass. That is what
    GradCache does, at the encodings.

    :param model: What is trained.
    :param losses: Weight of each loss of :data:`hypensearch.train.losses.LOSSES`.
    :param widths: Hidden widths to train as well (Matryoshka); the loss is the mean over them.
    :param chunk_size: Texts encoded at once while training; 0 for all of a batch.
    """

    def __init__(
        self, model: DualEncoder, losses: Mapping[str, float], *, widths: Sequence[int] = (), chunk_size: int = 0
    ) -> None:
        super().__init__()
        self.model = model
        self.losses = dict(losses)
        self.widths = list(widths)
        self.chunk_size = chunk_size

    def forward(self, queries: Batch, documents: Batch, items: Batch) -> dict[str, Tensor]:
        """Return the loss of a batch.

        :param items: ``keys``, one number for each text, ``valid`` and ``teacher``, all of *Shape:*
            ``(num_queries, num_items)``; the documents are those items, query by query.
        """
        q_nets, vectors = self.q_nets(queries), self.document_vectors(documents)
        all_vectors, all_keys, all_valid, first = _gathered(vectors, items["keys"], items["valid"])
        terms = []
        for nets in [q_nets.truncated(width) for width in self.widths] or [q_nets]:
            scores = nets.score_each(all_vectors.expand(len(nets), -1, -1), training=self.training).float()
            batch = arrange(scores, all_keys, all_valid, first, items["teacher"])
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


def _gathered(vectors: Tensor, keys: Tensor, valid: Tensor) -> tuple[Tensor, Tensor, Tensor, int]:
    """Put all processes' documents together, gradients included; also return the first row of this process."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return vectors, keys, valid, 0
    from torch.distributed.nn.functional import all_gather

    first = torch.distributed.get_rank() * len(keys)
    gathered = [torch.cat(all_gather(tensor.contiguous())) for tensor in (vectors, keys, valid.long())]  # type: ignore
    return gathered[0], gathered[1], gathered[2].bool(), first
