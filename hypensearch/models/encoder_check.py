# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Is a transformer an encoder whose vectors do not depend on the batch: asked of the transformer itself, not of names.

Texts of a batch are padded to one length. Attention masks padding, but convolutions, Fourier transforms and pooling
over the length see it: a text's vector would then depend on the longest text beside it.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from hypensearch.errors import HypensearchError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_NUM_TOKENS = 11
_PADDED_TO = (13, 32)
_LARGEST_DIFFERENCE = 1e-4  # of a state, relative to the largest


def check_takes_text(transformer: nn.Module) -> None:
    """Refuse what takes no token ids, or says no size of its states.

    :raises HypensearchError: Says what is missing.
    """
    parameters = inspect.signature(transformer.forward).parameters
    if missing := [name for name in ("input_ids", "attention_mask") if name not in parameters]:
        raise HypensearchError(
            f"{_kind(transformer)} takes no {' and no '.join(missing)}: wanted an encoder of text that masks padding, "
            "as BERT is"
        )
    if not isinstance(getattr(transformer.config, "hidden_size", None), int):
        raise HypensearchError(
            f"{_kind(transformer)} has no one size of its states (hidden_size): wanted an encoder of text, as BERT is"
        )


@torch.inference_mode()
def check_encoder(transformer: nn.Module, tokenizer: PreTrainedTokenizerBase, pooling: str | None, where: str) -> None:
    """Encode a few tokens, alone and padded, and compare; the pooled token has to stand for the text.

    :param transformer: With its weights, in evaluation mode.
    :param pooling: One of :data:`hypensearch.models.config.POOLINGS`; None where states are not pooled.
    :param where: What it belongs to, for messages.
    :raises HypensearchError: When it is no encoder, its states depend on padding, or it has no such token.
    """
    if pooling == "cls":
        _check_first_token(transformer, tokenizer, where)
    pad_token = int(tokenizer.pad_token_id)
    known = getattr(transformer.config, "vocab_size", None)
    pad_token = pad_token if not isinstance(known, int) or pad_token < known else 0  # it is masked anyway
    ids = _some_tokens(transformer, pad_token)
    alone = _states(transformer, ids, len(ids), where)
    for length in _PADDED_TO:
        padded = [*ids, *[pad_token] * (length - len(ids))]
        difference = _difference(alone, _states(transformer, padded, len(ids), where))
        if not difference <= _LARGEST_DIFFERENCE:
            raise HypensearchError(
                f"{where}: the layers of {_kind(transformer)} see padding: its states change by {difference:.2%} when "
                "the batch has a longer text, so vectors would depend on the batch; wanted an encoder whose attention "
                "masks padding, as BERT's"
            )
    other = [ids[0], ids[0], *ids[2:]]
    if pooling == "cls" and _difference(alone[:1], _states(transformer, other, len(ids), where)[:1]) == 0:
        raise HypensearchError(
            f"{where}: cls pooling takes the first token's state, which in {_kind(transformer)} does not depend on "
            "the tokens behind it, as in a decoder: wanted an encoder, as BERT is"
        )


def _check_first_token(transformer: nn.Module, tokenizer: PreTrainedTokenizerBase, where: str) -> None:
    ids = tokenizer("text")["input_ids"]
    if ids and ids[0] not in tokenizer.all_special_ids and ids[-1] == tokenizer.cls_token_id:
        raise HypensearchError(
            f"{where}: cls pooling takes the first token, but the tokenizer puts {tokenizer.cls_token} last, as "
            f"{_kind(transformer)} wants it: take a mean-pooled model, or an encoder such as BERT"
        )


def _states(transformer: nn.Module, ids: list[int], num_tokens: int, where: str) -> Tensor:
    """Return the states of the first tokens, those that are not masked, *Shape:* ``(num_tokens, hidden_size)``."""
    device = next(transformer.parameters()).device
    mask = torch.ones(1, len(ids), dtype=torch.long, device=device)
    mask[:, num_tokens:] = 0
    try:
        states: Tensor = transformer(
            input_ids=torch.tensor([ids], device=device), attention_mask=mask
        ).last_hidden_state
    except Exception as error:  # whatever a model of another kind raises
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise HypensearchError(
            f"{where}: {_kind(transformer)} does not encode a few tokens ({reason}): wanted an encoder of text, as "
            "BERT is"
        ) from None
    wanted = (1, len(ids), transformer.config.hidden_size)  # type: ignore[union-attr]
    if tuple(states.shape) != wanted:
        raise HypensearchError(
            f"{where}: {_kind(transformer)} gives states of shape {tuple(states.shape)} for {len(ids)} tokens: wanted "
            f"{wanted}, one of each token, as of BERT"
        )
    return states[0, :num_tokens].float()


def _some_tokens(transformer: nn.Module, pad_token: int) -> list[int]:
    config: Any = transformer.config
    known = int(getattr(config, "vocab_size", 0) or 100)
    ids = [token for token in range(min(known, 2 * _NUM_TOKENS)) if token not in (pad_token, config.pad_token_id)]
    return (ids * _NUM_TOKENS)[-_NUM_TOKENS:]


def _difference(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max() / a.abs().max().clamp(min=1e-30))


def _kind(transformer: nn.Module) -> str:
    config: Any = transformer.config
    return f"a transformer of model_type {getattr(config, 'model_type', type(transformer).__name__)!r}"
