# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""A hyper head whose scores are those of the backbone's bi-encoder: training then starts from there, not from noise.

The paper's layers express a bi-encoder exactly when the last hidden block is a little wider than the vectors. Let ``S``
be a matrix from ``dim`` numbers to that width, its columns orthonormal and each of sum 0. With ``x`` a document's
vector and ``q`` the pooled query:

- Last block: ``S x`` plus a constant that lifts every number over the ReLU. The layer norm takes the constant away
  again and normalises: ``S x / |x|``, whatever the vectors are, as ``S x`` has no mean.
- Final weight: attention pools the tokens as the bi-encoder does, values are ``S q``, lifted and normalised in the same
  way. The product of both is the cosine of ``x`` and ``q``.
- For a dot product, one unit that ``S`` leaves alone has a large constant, which makes the layer norm all but linear.
- Earlier blocks add a constant vector, which the last block's bias takes away. Their weights start at zero.
- All tensors but the final weight are the same for all queries at first.

The transformer's last norm is scaled up, so that what blocks learn to add is small beside the vectors.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from hypensearch.errors import HypensearchError
from hypensearch.models.dual_encoder import DualEncoder, QueryEncoder, hidden_size, pool, token_states
from hypensearch.models.hyper_head import HyperHead

LOGIT_SCALE = 20.0
SIMILARITIES = ("cosine", "dot")
COMPONENT_SIZE = 4.0  # of document vectors, root mean square, once scaled
LIFT = 8 * COMPONENT_SIZE  # of a vector that is turned at random no component is larger
DOT_CONSTANT = 96 * COMPONENT_SIZE  # over all units; larger, the norm is closer to linear, but rounding errors grow
CALIBRATION_TEXTS, CALIBRATION_TOKENS = 512, 24
LARGEST_ERROR = 1e-3  # of a score, as a share of the logit scale
_EXTRA_WIDTH = 16
_CHECKED_QUERIES, _CHECKED_DOCUMENTS = 8, 64


def warm_dims(dim: int, num_blocks: int) -> tuple[int, ...]:
    """Return the widths of q-nets that allow a warm start; the last block is up to 16 units wider than the vectors.

    :param dim: Of the document vectors.
    """
    return (dim,) * num_blocks + ((dim + 1 + _EXTRA_WIDTH) // _EXTRA_WIDTH * _EXTRA_WIDTH, 1)


@torch.no_grad()
def warm_start(
    model: DualEncoder,
    *,
    similarity: str = "cosine",
    logit_scale: float = LOGIT_SCALE,
    sample: tuple[Tensor, Tensor] | None = None,
    generator: torch.Generator | None = None,
) -> None:
    """Set a model's hyper head so that it scores as its backbone's bi-encoder does.

    Scores are ``logit_scale`` times the cosine, or times the dot product of vectors divided by their mean lengths.

    :param model: A Hypencoder whose q-nets have the widths of :func:`warm_dims`.
    :param similarity: The bi-encoder's, one of :data:`SIMILARITIES`.
    :param sample: Token ids and mask of texts to take ranges from; random tokens by default.
    :param generator: Random generator of start values.
    :raises HypensearchError: When the model allows no warm start, or its scores are not the bi-encoder's; says why.
    """
    head = _checked_head(model, similarity)
    generator = generator or torch.Generator().manual_seed(0)
    sample = sample or _random_tokens(model, generator)
    query_transformer: nn.Module = model.query_encoder.transformer  # type: ignore[assignment]
    size = float(model.passage_encoder(*sample).pow(2).mean().sqrt())
    _scale_last_norm(model.passage_encoder.transformer, COMPONENT_SIZE / size)
    vectors = model.passage_encoder(*sample)
    queries = pool(token_states(query_transformer, *sample), sample[1], model.passage_encoder.pooling)

    head.reset_parameters(generator)
    _make_static(head, generator)
    frame = _frame(head.q_net.dims[-2], model.dim, generator)
    constant = DOT_CONSTANT * len(frame) ** 0.5 if similarity == "dot" else 0.0
    offset = _set_earlier_blocks(head, vectors)
    _set_last_block(head, frame, offset, vectors, constant)
    _set_final_weight(head, frame, queries, constant, logit_scale)
    _check(model, (vectors, queries), sample, similarity, logit_scale)


@torch.no_grad()
def scale_products(model: DualEncoder, *, logit_scale: float, sample: tuple[Tensor, Tensor]) -> float:
    """Scale a bi-encoder's vectors so that its softmax is neither flat nor sharp: what a warm start does, without head.

    :param model: A bi-encoder whose transformers end in a norm.
    :param logit_scale: Mean inner product of a text's vector with itself.
    :param sample: Token ids and mask of texts.
    :return: The factor that document vectors were scaled with; ranks stay as they are.
    :raises HypensearchError: When a transformer ends in no norm.
    """
    factor = (logit_scale / float(model.passage_encoder(*sample).pow(2).sum(dim=1).mean())) ** 0.5
    query: nn.Module = model.query_encoder.transformer  # type: ignore[assignment]
    document = model.passage_encoder.transformer
    transformers = [document] if query is document else [query, document]
    if None in map(_last_norm, transformers):
        raise HypensearchError("a warm start of a bi-encoder needs a transformer that ends in a layer norm or RMS norm")
    for transformer in transformers:
        _scale_last_norm(transformer, factor)
    return factor


def _make_static(head: HyperHead, generator: torch.Generator) -> None:
    """Make all but the final weight the same for all queries; small attention queries let training change it gently."""
    for projection in (*head.weight_hyper_projection[:-1], *head.bias_hyper_projection):
        _linear(projection).weight.zero_()
        _linear(projection).bias.zero_()
    for query in (*head.weight_query_embeddings[:-1], *head.bias_query_embeddings):
        query.normal_(std=0.1, generator=generator)


def _frame(width: int, dim: int, generator: torch.Generator) -> Tensor:
    """Draw ``S``: random orthonormal columns that sum to 0; its first row is zero, for the unit of the constant.

    :return: *Shape:* ``(width, dim)``.
    """
    columns = torch.randn(width - 1, dim, generator=generator, dtype=torch.float64)
    frame = torch.linalg.qr(columns - columns.mean(dim=0))[0].float()
    return functional.pad(frame, (0, 0, 1, 0))


def _set_earlier_blocks(head: HyperHead, vectors: Tensor) -> Tensor:
    """Let all blocks but the last add constants; return their sum, *Shape:* ``(dim,)``."""
    offset = torch.zeros(vectors.shape[1])
    for block in range(head.q_net.num_blocks - 1):
        bias = COMPONENT_SIZE * (1 + _pattern(vectors.shape[1]) / 2)
        head.hyper_base_matrices[block].zero_()
        head.hyper_base_vectors[block][0].copy_(bias)
        offset += functional.layer_norm(bias, bias.shape)
    return offset


def _set_last_block(head: HyperHead, frame: Tensor, offset: Tensor, vectors: Tensor, constant: float) -> None:
    """Make the last block normalise vectors."""
    matrix = frame * _factor(frame, vectors)
    head.hyper_base_matrices[-2][0].copy_(matrix)
    head.hyper_base_vectors[-1][0].copy_(_lift(frame, constant) - matrix @ offset)


def _set_final_weight(head: HyperHead, frame: Tensor, queries: Tensor, constant: float, logit_scale: float) -> None:
    """Make the final weight the normalised and scaled pooling of the query's token states."""
    slot, width = head.q_net.num_blocks, len(frame)
    values, projection = _linear(head.value_projections[slot]), _linear(head.weight_hyper_projection[slot])
    values.weight.copy_(frame * _factor(frame, queries))
    values.bias.copy_(_lift(frame, constant))
    variance = 1 + (constant / COMPONENT_SIZE) ** 2 * (width - 1) / width**2
    projection.weight.copy_(torch.eye(width) - 1 / (width - 1))  # takes the constant out
    projection.weight[0], projection.weight[:, 0] = 0, 0
    projection.weight.mul_(logit_scale / width * variance)
    projection.bias.zero_()
    head.hyper_base_matrices[slot].zero_()
    head.weight_query_embeddings[slot].zero_()  # attends to all tokens alike


def _factor(frame: Tensor, vectors: Tensor) -> float:
    """Return what makes ``COMPONENT_SIZE`` the components' size of vectors of mean length."""
    return COMPONENT_SIZE * len(frame) ** 0.5 / float(vectors.norm(dim=1).mean())


def _lift(frame: Tensor, constant: float) -> Tensor:
    return LIFT + constant * functional.one_hot(torch.tensor(0), len(frame))


def _check(
    model: DualEncoder, sides: tuple[Tensor, Tensor], sample: tuple[Tensor, Tensor], similarity: str, logit_scale: float
) -> None:
    """Compare scores with the bi-encoder's.

    :param sides: Pooled vectors of the sample as documents and as queries.
    :raises HypensearchError: When they differ.
    """
    documents, queries = sides[0][:_CHECKED_DOCUMENTS], sides[1][:_CHECKED_QUERIES]
    found = model.query_encoder(*(part[:_CHECKED_QUERIES] for part in sample))(documents)
    if similarity == "cosine":
        wanted = functional.normalize(queries) @ functional.normalize(documents).T
    else:
        wanted = queries @ documents.T / (sides[1].norm(dim=1).mean() * sides[0].norm(dim=1).mean())
    error = float((found / logit_scale - wanted).abs().max() / wanted.abs().max())
    if not error <= LARGEST_ERROR:
        raise HypensearchError(
            f"a warm start failed: scores differ from the backbone's {similarity} by {error:.2%}, wanted at most "
            f"{LARGEST_ERROR:.2%}; are some texts' vectors far longer than others'? Start cold"
        )


def _checked_head(model: DualEncoder, similarity: str) -> HyperHead:
    if similarity not in SIMILARITIES:
        raise HypensearchError(f"unknown similarity {similarity!r}: known are {', '.join(SIMILARITIES)}")
    q_net, encoder = model.config.q_net, model.query_encoder
    if q_net is None or q_net.num_blocks < 1 or not isinstance(encoder, QueryEncoder):
        raise HypensearchError("a warm start needs a Hypencoder with at least one hidden block")
    wanted = warm_dims(model.dim, q_net.num_blocks)
    if q_net.dims != wanted or model.config.hidden_size != model.dim:
        raise HypensearchError(
            f"a warm start needs q-nets of the widths {list(wanted)} and query states of {model.dim} dimensions, found "
            f"{list(q_net.dims)} and {model.config.hidden_size}"
        )
    if q_net.activation != "relu" or not q_net.layer_norm or q_net.residual_on_last:
        raise HypensearchError("a warm start needs relu, layer norm and no residual on the last block")
    if q_net.num_blocks > 1 and not (q_net.residual and q_net.layer_norm_before_residual):
        raise HypensearchError("a warm start of several blocks needs residuals, added after the layer norm")
    pooling, token = model.passage_encoder.pooling, encoder.hyper_head.final_token
    if (token or "mean") != pooling:
        raise HypensearchError(f"a warm start with {pooling} pooling needs a head with that final_token, found {token}")
    return encoder.hyper_head


def _random_tokens(model: DualEncoder, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw token sequences of many lengths, special tokens at their ends."""
    vocabulary = int(model.passage_encoder.transformer.config.vocab_size)  # type: ignore[union-attr, arg-type]
    shape = (CALIBRATION_TEXTS, CALIBRATION_TOKENS)
    ids = torch.randint(0, vocabulary, shape, generator=generator)
    lengths = torch.randint(4, CALIBRATION_TOKENS + 1, (CALIBRATION_TEXTS,), generator=generator)
    mask = (torch.arange(CALIBRATION_TOKENS) < lengths.unsqueeze(1)).long()
    if model.tokenizer is not None and (special := model.tokenizer("")["input_ids"]):
        ids[:, 0] = special[0] % vocabulary
        ids[torch.arange(CALIBRATION_TEXTS), lengths - 1] = special[-1] % vocabulary
    return ids * mask, mask


def _scale_last_norm(transformer: nn.Module, factor: float) -> None:
    """Scale a transformer's outputs through its last norm, where it has one."""
    if (norm := _last_norm(transformer)) is not None:
        for parameter in norm.parameters():
            parameter.mul_(factor)


def _last_norm(transformer: nn.Module) -> nn.Module | None:
    """Find the norm that a transformer's output comes from: twice its weight and bias gives twice the output."""
    dim, ids = hidden_size(transformer), torch.tensor([[1, 2, 3]])
    before = token_states(transformer, ids, torch.ones_like(ids))
    for module in reversed(list(transformer.modules())):
        parameters = list(module.parameters())
        if not parameters or any(parameter.shape != (dim,) for parameter in parameters):
            continue
        for parameter in parameters:
            parameter.mul_(2)
        after = token_states(transformer, ids, torch.ones_like(ids))
        for parameter in parameters:
            parameter.div_(2)
        if torch.allclose(after, 2 * before, rtol=1e-4, atol=1e-6):
            return module
    return None


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
