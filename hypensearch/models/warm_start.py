# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""A hyper head whose first ranking is a bi-encoder's: training then starts from there, not from noise.

Everything stays inside the released architecture. With ``x`` a document's vector, ``q`` the pooled query and ``R`` a
reflection:

- Final weight: values are ``R q`` plus a constant that lifts all of them over the ReLU, attention pools the tokens as
  the bi-encoder does, the layer norm takes the constant away again and normalises, the hyper projection scales.
- Last hidden block: its static matrix is ``R`` and its static bias such a constant, so its output is the normalised
  ``R x``: the score is a scaled cosine. ``R`` turns the direction that the layer norm takes away, that of equal
  numbers, into the one in which the encoder's vectors do not differ: its own last layer norm leaves one.
- Earlier blocks: half of their units have a large bias, so that their layer norm gives an almost constant vector
  (which the last block's bias takes away) and small random features, which training can use.

The encoder's last layer norm is scaled up, so that the residual outweighs what blocks add.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hypensearch.errors import HypensearchError
from hypensearch.models.dual_encoder import DualEncoder, QueryEncoder, hidden_size, pool, token_states
from hypensearch.models.hyper_head import HyperHead

LOGIT_SCALE = 20.0
COMPONENT_SIZE = 4.0  # of document vectors, root mean square, once scaled
PERTURBATION = 0.1  # size of a block's random features, where the layer norm's constant has size 1
LIFT = 1.5  # how far over the largest component seen the ReLU is lifted
CALIBRATION_TEXTS, CALIBRATION_TOKENS = 512, 24
DOT_CONSTANT = 64.0  # size of the constant that keeps the last layer norm linear, in largest components
WEIGHT_PENALTY = 1e-5  # where attention learns to pick the first token
LEAST_CLS_ATTENTION = 0.98
SIMILARITIES = ("cosine", "dot")


@dataclass(frozen=True)
class LinearMaps:
    """What a linear twin has learned: maps of both sides' pooled vectors, applied as ``vector @ matrix``.

    The twin's score is the cosine of ``query @ queries`` and ``document @ documents``, both centred.

    :param queries: *Shape:* ``(dim, dim)``.
    :param documents: *Shape:* ``(dim, dim)``, for vectors before they are scaled.
    """

    queries: Tensor
    documents: Tensor

    @classmethod
    def identity(cls, transformer: nn.Module) -> LinearMaps:
        """Return the maps of an untrained twin: the reflection, so that centring takes nothing away."""
        reflection = _reflection(_dead_direction(transformer))
        return cls(reflection, reflection.clone())


@torch.no_grad()
def warm_start(
    model: DualEncoder,
    *,
    maps: LinearMaps | None = None,
    similarity: str = "cosine",
    logit_scale: float = LOGIT_SCALE,
    sample: tuple[Tensor, Tensor] | None = None,
    generator: torch.Generator | None = None,
) -> float:
    """Set a model's hyper head so that it ranks as its backbone's bi-encoder does.

    :param model: A Hypencoder with at least one hidden block, all layers as wide as the document vectors.
    :param maps: Maps of a linear twin to fold in; none by default.
    :param similarity: The bi-encoder's, "cosine" or "dot".
    :param logit_scale: Score of a document whose cosine is 1 (for "dot": of one of typical length).
    :param sample: Token ids and mask of texts to take ranges from; random tokens by default.
    :param generator: Source of chance.
    :return: The factor that document vectors were scaled with, 1.0 where the transformer does not end in a layer norm.
    :raises HypensearchError: When the architecture allows no warm start; says which part.
    """
    head = _checked_head(model, similarity)
    generator = generator or torch.Generator().manual_seed(0)
    sample = sample or _random_tokens(model, generator)
    query_transformer = _transformer(model.query_encoder)
    document_transformer = model.passage_encoder.transformer
    maps = maps or LinearMaps.identity(document_transformer)
    vectors = model.passage_encoder(*sample)
    scale = _scale_last_norm(document_transformer, COMPONENT_SIZE / float(vectors.pow(2).mean().sqrt()))
    query_scale = scale if query_transformer is document_transformer else 1.0
    vectors = vectors * scale
    maps = LinearMaps(maps.queries / query_scale, maps.documents / scale)

    if similarity == "dot":
        maps = _spare_least_used(maps, vectors @ maps.documents)

    head.reset_parameters(generator)
    _quiet_hidden_slots(head, generator)
    offset = _set_earlier_blocks(head, vectors, generator)
    gain = _set_last_block(head, maps.documents, vectors, offset, similarity)
    _set_final_weight(head, maps.queries, logit_scale * gain, query_transformer, sample, model.config.document_pooling)
    return scale


@torch.no_grad()
def scale_products(model: DualEncoder, *, logit_scale: float, sample: tuple[Tensor, Tensor]) -> float:
    """Scale a bi-encoder's vectors so that its softmax is neither flat nor sharp: what a warm start does, without head.

    :param model: A bi-encoder whose transformers end in a layer norm.
    :param logit_scale: Mean inner product of a text's vector with itself.
    :param sample: Token ids and mask of texts.
    :return: The factor that document vectors were scaled with; ranks stay as they are.
    :raises HypensearchError: When a transformer ends in no layer norm.
    """
    factor = (logit_scale / float(model.passage_encoder(*sample).pow(2).sum(dim=1).mean())) ** 0.5
    transformers = {id(t): t for t in (_transformer(model.query_encoder), model.passage_encoder.transformer)}
    for transformer in transformers.values():
        if _last_norm(transformer) is None:
            raise HypensearchError("a warm start of a bi-encoder needs a transformer that ends in a layer norm")
    for transformer in transformers.values():
        _scale_last_norm(transformer, factor)
    return factor


def _quiet_hidden_slots(head: HyperHead, generator: torch.Generator) -> None:
    """Make hidden weights and all biases static at first; small attention queries let the states' scale in gently."""
    slots = [*head.weight_hyper_projection[:-1], *head.bias_hyper_projection]
    for projection in slots:
        projection.weight.zero_()  # type: ignore[operator, union-attr]
        projection.bias.zero_()  # type: ignore[operator, union-attr]
    for query in [*head.weight_query_embeddings[:-1], *head.bias_query_embeddings]:
        query.normal_(std=0.1, generator=generator)


def _set_earlier_blocks(head: HyperHead, vectors: Tensor, generator: torch.Generator) -> Tensor:
    """Set all blocks but the last and return the constant that they add to a document vector."""
    states = vectors
    offset = torch.zeros(vectors.shape[1])
    pattern = _pattern(vectors.shape[1])
    for block in range(head.q_net.num_blocks - 1):
        matrix, bias = head.hyper_base_matrices[block][0], head.hyper_base_vectors[block][0]
        matrix.normal_(generator=generator)
        matrix[pattern > 0] = 0
        spread = (states @ matrix[pattern < 0].T).std()
        matrix.mul_(PERTURBATION * COMPONENT_SIZE / (head.q_net.num_blocks - 1) / spread)
        bias.copy_(COMPONENT_SIZE * (1 + pattern) - matrix @ states.mean(dim=0))
        added = nn.functional.layer_norm(torch.relu(states @ matrix.T + bias), bias.shape)
        offset, states = offset + added.mean(dim=0), states + added
    return offset


def _set_last_block(head: HyperHead, document_map: Tensor, vectors: Tensor, offset: Tensor, similarity: str) -> float:
    """Make the last block normalise mapped vectors; return what makes of the final weight's product a similarity."""
    last = head.q_net.num_blocks - 1
    dim = vectors.shape[1]
    mapped = vectors @ document_map
    lift = LIFT * float(mapped.abs().max())
    constant, gain = torch.full((dim,), lift), 1 / dim
    if similarity == "dot":
        size = DOT_CONSTANT * lift
        constant = constant + size * (1 + _pattern(dim))
        gain = size / (dim**0.5 * float(mapped.norm(dim=1).mean()))
    head.hyper_base_matrices[last][0].copy_(document_map.T)
    head.hyper_base_vectors[last][0].copy_(constant - offset @ document_map)
    return gain


def _spare_least_used(maps: LinearMaps, mapped: Tensor) -> LinearMaps:
    """Turn both maps so that the large constant's direction, lost to the layer norm, is the one documents use least."""
    dim = mapped.shape[1]
    pattern = _pattern(dim)
    moments = torch.cov((mapped - mapped.mean(dim=1, keepdim=True)).T)
    moments += torch.full((dim, dim), float(moments.trace()) / dim)  # keeps clear of the direction lost anyway
    least_used = torch.linalg.eigh(moments)[1][:, 0]
    turn = _reflection(least_used, pattern / pattern.norm())
    return LinearMaps(maps.queries @ turn, maps.documents @ turn)


def _set_final_weight(
    head: HyperHead,
    query_map: Tensor,
    size: float,
    transformer: nn.Module,
    sample: tuple[Tensor, Tensor],
    pooling: str,
) -> None:
    """Make the final weight the normalised, mapped and scaled pooling of the query's token states."""
    slot = head.q_net.num_blocks
    states, mask = token_states(transformer, *sample), sample[1]
    values, projection = _linear(head.value_projections[slot]), _linear(head.weight_hyper_projection[slot])
    values.weight.copy_(query_map.T)
    values.bias.fill_(LIFT * float((pool(states, mask, pooling) @ query_map).abs().max()))
    projection.weight.copy_(size * torch.eye(len(projection.weight)))
    projection.bias.zero_()
    head.hyper_base_matrices[slot].zero_()
    head.weight_query_embeddings[slot].zero_()
    if pooling == "cls":
        _attend_to_first(head, slot, states, mask)


def _attend_to_first(head: HyperHead, slot: int, states: Tensor, mask: Tensor) -> None:
    """Set one key so that the first token has all attention, told apart by its state, as positions are not seen."""
    direction, attention = _first_token_direction(states, mask)
    if attention < LEAST_CLS_ATTENTION:
        raise HypensearchError(
            f"the first token's states do not stand out among the others' ({attention:.2f} of the attention), so "
            "a hyper head cannot do this encoder's cls pooling: start from a mean-pooled one, or cold"
        )
    keys = _linear(head.key_projections[slot])
    keys.weight[0] = direction
    keys.bias.zero_()
    head.weight_query_embeddings[slot][0, 0, 0] = 1


def _first_token_direction(states: Tensor, mask: Tensor) -> tuple[Tensor, float]:
    """Fit the direction whose softmax over a text's tokens picks the first: a convex problem.

    :return: The direction, *Shape:* ``(hidden_size,)``, and the first token's mean share of the attention.
    """
    size = float(states[mask.bool()].std())
    states = states / size

    def logits() -> Tensor:
        return (states @ direction).masked_fill(mask == 0, float("-inf"))

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = -logits().log_softmax(dim=1)[:, 0].mean() + WEIGHT_PENALTY * direction.pow(2).sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    with torch.enable_grad():
        direction = torch.zeros(states.shape[2], requires_grad=True)
        optimizer = torch.optim.LBFGS([direction], max_iter=200, line_search_fn="strong_wolfe")
        optimizer.step(loss)
    return direction.detach() / size, float(logits().softmax(dim=1)[:, 0].mean())


def _checked_head(model: DualEncoder, similarity: str) -> HyperHead:
    if similarity not in SIMILARITIES:
        raise HypensearchError(f"unknown similarity {similarity!r}: known are {', '.join(SIMILARITIES)}")
    q_net = model.config.q_net
    if q_net is None or q_net.num_blocks < 1:
        raise HypensearchError("a warm start needs a Hypencoder with at least one hidden block")
    if set(q_net.dims[:-1]) != {model.dim} or model.config.hidden_size != model.dim:
        raise HypensearchError(
            f"a warm start needs q-nets as wide as the encoder's states ({model.dim}), found {list(q_net.dims)}"
        )
    if q_net.activation != "relu" or not q_net.layer_norm or q_net.residual_on_last:
        raise HypensearchError("a warm start needs relu, layer norm and no residual on the last block")
    if q_net.num_blocks > 1 and not (q_net.residual and q_net.layer_norm_before_residual):
        raise HypensearchError("a warm start of several blocks needs residuals, added after the layer norm")
    assert isinstance(model.query_encoder, QueryEncoder)
    return model.query_encoder.hyper_head


def _random_tokens(model: DualEncoder, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw token sequences of many lengths, special tokens at their ends."""
    transformer = model.passage_encoder.transformer
    shape = (CALIBRATION_TEXTS, CALIBRATION_TOKENS)
    ids = torch.randint(0, int(transformer.config.vocab_size), shape, generator=generator)  # type: ignore
    lengths = torch.randint(4, CALIBRATION_TOKENS + 1, (CALIBRATION_TEXTS,), generator=generator)
    mask = (torch.arange(CALIBRATION_TOKENS) < lengths.unsqueeze(1)).long()
    first, last = _special_tokens(model)
    ids[:, 0] = first
    ids[torch.arange(CALIBRATION_TEXTS), lengths - 1] = last
    return ids * mask, mask


def _special_tokens(model: DualEncoder) -> tuple[int, int]:
    ids = model.tokenizer("")["input_ids"] if model.tokenizer is not None else [101, 102]
    vocabulary = int(model.passage_encoder.transformer.config.vocab_size)  # type: ignore[union-attr, arg-type]
    return ids[0] % vocabulary, ids[-1] % vocabulary


def _scale_last_norm(transformer: nn.Module, factor: float) -> float:
    """Scale a transformer's outputs through its last layer norm; return the factor, 1.0 where it has none."""
    norm = _last_norm(transformer)
    if norm is None:
        return 1.0
    norm.weight.mul_(factor)
    norm.bias.mul_(factor)
    return factor


@torch.no_grad()
def _last_norm(transformer: nn.Module) -> nn.LayerNorm | None:
    """Find the layer norm that a transformer's output comes from, by what a change of its bias does."""
    norms = [m for m in transformer.modules() if isinstance(m, nn.LayerNorm) and m.bias is not None]
    ids = torch.zeros(1, 2, dtype=torch.long)
    before = token_states(transformer, ids, torch.ones_like(ids))
    for norm in reversed(norms):
        if norm.normalized_shape != (hidden_size(transformer),):
            continue
        norm.bias.add_(1)
        shift = token_states(transformer, ids, torch.ones_like(ids)) - before
        norm.bias.sub_(1)
        if torch.allclose(shift, torch.ones_like(shift), atol=1e-4):
            return norm
    return None


def _dead_direction(transformer: nn.Module) -> Tensor:
    """Return the direction, of length 1, in which a layer norm's outputs do not differ."""
    norm = _last_norm(transformer)
    if norm is None:
        return torch.full((hidden_size(transformer),), hidden_size(transformer) ** -0.5)
    weight = norm.weight.detach().double()
    inverse = torch.where(weight == 0, torch.inf, 1 / weight)
    if inverse.abs().max() > 1e6 / weight.abs().max():
        inverse = nn.functional.one_hot(weight.abs().argmin(), len(weight)).double()
    return (inverse / inverse.norm()).float()


def _reflection(source: Tensor, target: Tensor | None = None) -> Tensor:
    """Return the reflection that swaps two directions of length 1; the second one is that of equal numbers."""
    dim = len(source)
    target = torch.full((dim,), dim**-0.5) if target is None else target
    normal = (source - target).double()
    if normal.norm() < 1e-6:
        return torch.eye(dim)
    return (torch.eye(dim, dtype=torch.float64) - 2 * torch.outer(normal, normal) / normal.dot(normal)).float()


def _pattern(dim: int) -> Tensor:
    """Return alternating 1 and -1, which sum to 0."""
    pattern = torch.ones(dim)
    pattern[1::2] = -1
    if dim % 2:
        pattern[-1] = 0
    return pattern


def _linear(module: nn.Module) -> nn.Linear:
    assert isinstance(module, nn.Linear)
    return module


def _transformer(encoder: nn.Module) -> nn.Module:
    transformer: nn.Module = encoder.transformer  # type: ignore[assignment]
    return transformer
