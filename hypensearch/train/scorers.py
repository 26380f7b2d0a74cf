# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""What is trained: a whole dual encoder, a hyper head over frozen encoders, or two linear maps over frozen encoders.

All three give q-nets for queries and vectors for documents, so losses and validation are the same for them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from hypensearch.models.dual_encoder import DualEncoder, QueryEncoder, pool, token_states
from hypensearch.models.hyper_head import HyperHead
from hypensearch.models.q_net import QNets
from hypensearch.models.warm_start import LinearMaps
from hypensearch.train.losses import LOSSES, BatchScores

Batch = dict[str, Tensor]

LAYER_NORM_EPS = 1e-5


class Scorer(Protocol):
    """What losses and validation need."""

    def query_states(self, queries: Batch) -> Tensor:
        """Make the token states of a batch of queries, *Shape:* ``(num_queries, seq_len, hidden_size)``."""

    def q_nets_from(self, states: Tensor, mask: Tensor) -> QNets:
        """Make the q-nets of token states and their mask."""

    def q_nets(self, queries: Batch) -> QNets:
        """Do both."""

    def document_vectors(self, documents: Batch) -> Tensor:
        """Make the vectors of a batch of documents, *Shape:* ``(num_docs, dim)``."""


class _InTwoParts(nn.Module):
    """Makes q-nets of queries in two parts, the encoder's and the head's, so that each can be timed."""

    def q_nets(self, queries: Batch) -> QNets:
        """See :class:`Scorer`."""
        q_nets: QNets = self.q_nets_from(self.query_states(queries), queries["attention_mask"])  # type: ignore[operator]
        return q_nets


class TextScorer(_InTwoParts):
    """A dual encoder, trained as a whole; batches hold ``input_ids`` and ``attention_mask``.

    With a chunk size only encodings are kept for the gradient, and the encoder's activations are made again chunk by
    chunk: the exact gradient of a batch of any size in the memory of a chunk, for one more forward pass. That is what
    GradCache does, at the encodings.

    :param model: What is trained.
    :param chunk_size: Texts encoded at once while training; 0 for all of a batch.
    """

    def __init__(self, model: DualEncoder, chunk_size: int = 0) -> None:
        super().__init__()
        self.model = model
        self.chunk_size = chunk_size

    def query_states(self, queries: Batch) -> Tensor:
        """See :class:`Scorer`."""
        transformer: nn.Module = self.model.query_encoder.transformer  # type: ignore[assignment]
        return self._chunked(lambda ids, mask: token_states(transformer, ids, mask), queries)

    def q_nets_from(self, states: Tensor, mask: Tensor) -> QNets:
        """See :class:`Scorer`."""
        encoder = self.model.query_encoder
        if isinstance(encoder, QueryEncoder):
            q_nets: QNets = encoder.hyper_head(states, mask)
            return q_nets
        return QNets.from_vectors(pool(states, mask, encoder.pooling))  # type: ignore[arg-type]

    def document_vectors(self, documents: Batch) -> Tensor:
        """See :class:`Scorer`."""
        return self._chunked(self.model.passage_encoder, documents)

    def _chunked(self, encode: Callable[[Tensor, Tensor], Tensor], texts: Batch) -> Tensor:
        ids, mask = texts["input_ids"], texts["attention_mask"]
        if not self.chunk_size or not torch.is_grad_enabled():
            return encode(ids, mask)
        chunks = zip(ids.split(self.chunk_size), mask.split(self.chunk_size), strict=True)
        return torch.cat([checkpoint(encode, *chunk, use_reentrant=False) for chunk in chunks])


class HeadScorer(_InTwoParts):
    """A hyper head over frozen encoders; batches hold the backbone's ``states`` and ``attention_mask``, or ``vectors``.

    :param head: What is trained.
    :param query_scale: Factor from the backbone's token states to the model's.
    :param document_scale: The same for document vectors.
    """

    def __init__(self, head: HyperHead, query_scale: float, document_scale: float) -> None:
        super().__init__()
        self.head = head
        self.query_scale = query_scale
        self.document_scale = document_scale

    def query_states(self, queries: Batch) -> Tensor:
        """See :class:`Scorer`."""
        return queries["states"] * self.query_scale

    def q_nets_from(self, states: Tensor, mask: Tensor) -> QNets:
        """See :class:`Scorer`."""
        q_nets: QNets = self.head(states, mask)
        return q_nets

    def document_vectors(self, documents: Batch) -> Tensor:
        """See :class:`Scorer`."""
        return documents["vectors"] * self.document_scale


class FixedBlocksScorer(HeadScorer):
    """A hyper head whose hidden blocks stay the same for all queries, but for the last one's bias.

    What queries change is the last bias and the final weight, so blocks are computed once a document instead of once
    a pair, and the head makes two vectors instead of whole matrices: many times faster to train, and hard to overfit.
    The hidden weights' hyper projections must be zero, as a warm start leaves them; then the head's q-nets are these.

    :param static_bias: Keep the last bias the same for all queries, too, as a warm start leaves it: then scores are one
        product of matrices, of what the head makes of queries and what the blocks make of documents.
    :param attention_only: Train nothing but the final weight's learned query and keys; the last bias is static.
    """

    def __init__(
        self,
        head: HyperHead,
        query_scale: float,
        document_scale: float,
        *,
        static_bias: bool = False,
        attention_only: bool = False,
    ) -> None:
        super().__init__(head, query_scale, document_scale)
        self.static_bias = static_bias or attention_only
        last = head.q_net.num_blocks - 1
        slots = {head.q_net.num_blocks, 2 * head.q_net.num_blocks}
        unused = [*head.weight_hyper_projection[:-1], *head.bias_hyper_projection[:last]]
        for number in range(2 * head.q_net.num_blocks + 1):
            if number not in slots:
                unused += [head.key_projections[number], head.value_projections[number]]
        if self.static_bias:
            bias_slot = 2 * head.q_net.num_blocks
            unused += [
                head.bias_hyper_projection[last],
                head.key_projections[bias_slot],
                head.value_projections[bias_slot],
            ]
            head.bias_query_embeddings[last].requires_grad_(False)
        for module in unused:
            module.requires_grad_(False)
        for query in [*head.weight_query_embeddings[:-1], *head.bias_query_embeddings[:last]]:
            query.requires_grad_(False)
        if attention_only:
            head.requires_grad_(False)
            head.key_projections[last + 1].requires_grad_(True)
            head.weight_query_embeddings[last + 1].requires_grad_(True)

    def q_nets_from(self, states: Tensor, mask: Tensor) -> FixedBlocks:  # type: ignore[override]
        """See :class:`Scorer`."""
        head, last = self.head, self.head.q_net.num_blocks - 1
        final = head.generate_weight(last + 1, states, mask)
        bias = head.hyper_base_vectors[last] if self.static_bias else head.generate_bias(last, states, mask)
        return FixedBlocks(head, bias, final.squeeze(2))


class FixedBlocks:
    """The q-nets of :class:`FixedBlocksScorer`.

    :param bias: Of the last block, *Shape:* ``(num_queries, dim)``; ``(1, dim)`` when it is the same for all queries.
    :param final: The final weight, *Shape:* ``(num_queries, dim)``.
    """

    def __init__(self, head: HyperHead, bias: Tensor, final: Tensor) -> None:
        self.head, self.bias, self.final = head, bias, final

    def __len__(self) -> int:
        return len(self.final)

    def __call__(self, vectors: Tensor) -> Tensor:
        """Score all documents, *Shape:* ``(num_queries, num_docs)``."""
        return self.score_all(vectors, training=False)

    def score_all(self, vectors: Tensor, *, training: bool) -> Tensor:
        """Score all documents with every q-net.

        :param vectors: *Shape:* ``(num_docs, dim)``.
        :param training: Whether to apply the architecture's dropout.
        :return: *Shape:* ``(num_queries, num_docs)``.
        """
        head, last = self.head, self.head.q_net.num_blocks - 1
        states = vectors
        for block in range(last):
            outputs = torch.relu(_mapped(head, block, states, training) + head.hyper_base_vectors[block])
            states = states + functional.layer_norm(outputs, outputs.shape[-1:])
        mapped = _mapped(head, last, states, training)
        if len(self.bias) == 1:
            outputs = torch.relu(mapped.float() + self.bias.float())
            return (functional.layer_norm(outputs, outputs.shape[-1:]) @ self.final.float().T).T
        outputs = torch.relu(mapped.float().unsqueeze(0) + self.bias.float().unsqueeze(1))
        return _normalised_product(outputs, self.final.float())


def _normalised_product(outputs: Tensor, final: Tensor) -> Tensor:
    """Return ``layer_norm(outputs) @ final`` without making the layer norm's output, which is most of the time."""
    with torch.autocast(outputs.device.type, enabled=False):
        mean = outputs.mean(dim=-1)
        variance = torch.linalg.vector_norm(outputs, dim=-1).pow(2) / outputs.shape[-1] - mean.pow(2)
        product = (outputs @ final.unsqueeze(2)).squeeze(2) - mean * final.sum(dim=1, keepdim=True)
    return product * torch.rsqrt(variance.clamp(min=0) + LAYER_NORM_EPS)


def _mapped(head: HyperHead, block: int, states: Tensor, training: bool) -> Tensor:
    inputs = functional.dropout(states, head.q_net.dropout, training=training and head.q_net.dropout > 0)
    return inputs @ head.hyper_base_matrices[block][0].T


class TwinScorer(_InTwoParts):
    """The linear twin, a bi-encoder: cosine of two mapped and centred vectors over frozen encoders.

    :param maps: Where to start.
    :param pooling: Of the query's token states.
    :param logit_scale: Score of a cosine of 1.
    """

    def __init__(self, maps: LinearMaps, pooling: str, logit_scale: float) -> None:
        super().__init__()
        self.query_map = nn.Parameter(maps.queries.clone())
        self.document_map = nn.Parameter(maps.documents.clone())
        self.pooling = pooling
        self.logit_scale = logit_scale

    @property
    def maps(self) -> LinearMaps:
        """What has been learned."""
        return LinearMaps(self.query_map.detach().clone(), self.document_map.detach().clone())

    def query_states(self, queries: Batch) -> Tensor:
        """See :class:`Scorer`."""
        return queries["states"]

    def q_nets_from(self, states: Tensor, mask: Tensor) -> QNets:
        """See :class:`Scorer`."""
        pooled = pool(states, mask, self.pooling)
        return QNets.from_vectors(_normalised(pooled @ self.query_map) * self.logit_scale)

    def document_vectors(self, documents: Batch) -> Tensor:
        """See :class:`Scorer`."""
        return _normalised(documents["vectors"] @ self.document_map)


class LossModel(nn.Module):
    """A scorer with its losses: what the trainer steps on.

    :param scorer: What is trained.
    :param losses: Weight of each loss of :data:`hypensearch.train.losses.LOSSES`.
    :param widths: Hidden widths to train as well (Matryoshka); the loss is the mean over them.
    """

    def __init__(self, scorer: nn.Module, losses: dict[str, float], widths: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.scorer = scorer
        self.losses = losses
        self.widths = widths

    def forward(self, queries: Batch, documents: Batch, items: Batch) -> dict[str, Tensor]:
        """Score a batch.

        :param items: ``keys``, one number for each text, ``valid`` and ``teacher``, all of *Shape:*
            ``(num_queries, num_items)``; the documents are those items, query by query.
        """
        q_nets: QNets = self.scorer.q_nets(queries)  # type: ignore[operator]
        vectors: Tensor = self.scorer.document_vectors(documents)  # type: ignore[operator]
        return {"loss": self.loss(q_nets, vectors, items)}

    def loss(self, q_nets: QNets | FixedBlocks, vectors: Tensor, items: Batch) -> Tensor:
        """Return the loss of q-nets over the vectors of all items; parameters as :meth:`forward`'s."""
        all_vectors, all_keys, all_valid, first = _gathered(vectors, items["keys"], items["valid"])
        nets: list[QNets | FixedBlocks] = [q_nets]
        if self.widths and isinstance(q_nets, QNets):
            nets = [q_nets.truncated(width) for width in self.widths]
        terms = [self._loss(net, all_vectors, all_keys, all_valid, first, items) for net in nets]
        return torch.stack(terms).mean()

    def _loss(
        self, q_nets: QNets | FixedBlocks, vectors: Tensor, keys: Tensor, valid: Tensor, first: int, items: Batch
    ) -> Tensor:
        if isinstance(q_nets, FixedBlocks):
            scores = q_nets.score_all(vectors, training=self.training).float()
        else:
            scores = q_nets.score_each(vectors.expand(len(q_nets), -1, -1), training=self.training).float()
        batch = arrange(scores, keys, valid, first, items["teacher"])
        return torch.stack([weight * LOSSES[name](batch) for name, weight in self.losses.items()]).sum()


def arrange(scores: Tensor, keys: Tensor, valid: Tensor, first: int, teacher: Tensor) -> BatchScores:
    """Sort out which of a batch's scores are whose.

    :param scores: Of these queries and all items, *Shape:* ``(num_queries, all_queries * num_items)``.
    :param keys: One number for each text, *Shape:* ``(all_queries, num_items)``.
    :param valid: False for filling, *Shape:* ``(all_queries, num_items)``.
    :param first: Row of the first of these queries among all queries.
    :param teacher: *Shape:* ``(num_queries, num_items)``.
    """
    num_queries, num_items = len(scores), keys.shape[1]
    rows = torch.arange(first, first + num_queries, device=scores.device)
    positives = rows * num_items
    own = scores.view(num_queries, -1, num_items)[torch.arange(num_queries, device=scores.device), rows]
    same = keys.reshape(1, -1) == keys[rows, :1]
    is_positive = torch.zeros_like(same).scatter_(1, positives.unsqueeze(1), True)
    candidates = (valid.reshape(1, -1) & ~same) | is_positive
    only_positives = (torch.arange(keys.numel(), device=scores.device) % num_items) == 0
    return BatchScores(own, scores, positives, valid[rows], candidates, only_positives, teacher)


def _gathered(vectors: Tensor, keys: Tensor, valid: Tensor) -> tuple[Tensor, Tensor, Tensor, int]:
    """Put all processes' documents together, gradients included."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return vectors, keys, valid, 0
    from torch.distributed.nn.functional import all_gather

    first = torch.distributed.get_rank() * len(keys)
    gathered = [torch.cat(all_gather(tensor.contiguous())) for tensor in (vectors, keys, valid.long())]  # type: ignore
    return gathered[0], gathered[1], gathered[2].bool(), first


def _normalised(vectors: Tensor) -> Tensor:
    return functional.layer_norm(vectors, vectors.shape[-1:], eps=0.0) / math.sqrt(vectors.shape[-1])
