# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The dual encoders: a Hypencoder (queries become q-nets) and its baseline, a bi-encoder (queries become vectors)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from hypensearch.errors import HypensearchError
from hypensearch.models.checkpoint import save_model
from hypensearch.models.config import ModelConfig, QNetConfig
from hypensearch.models.hyper_head import HyperHead
from hypensearch.models.q_net import QNets
from hypensearch.models.tokenizer import tokenize
from hypensearch.models.weights import fingerprint
from hypensearch.stages import stage
from hypensearch.threads import Item, Result, default_threads, map_on_cores, torch_threads

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

DEFAULT_MAX_LENGTH = 256
QUERY_TOKENS_MULTIPLE = 16
PIECE_TEXTS = 16  # that one core encodes at a time
# These number positions from pad_token_id + 1.
_OFFSET_POSITIONS = ("roberta", "xlm-roberta", "camembert", "mpnet", "longformer")


class TextEncoder(nn.Module):
    """A transformer and a pooling: a text's tokens to one vector.

    :param transformer: Gives ``last_hidden_state``.
    :param pooling: "cls", the first token's state, "last", the last one's, or "mean".
    :param count_padding: Whether mean pooling adds up the states of padding as well, as the released code does:
        vectors then depend on the longest text of the batch. Only for reproducing figures made that way.
    """

    def __init__(self, transformer: nn.Module, pooling: str, *, count_padding: bool = False) -> None:
        super().__init__()
        self.transformer = transformer
        self.pooling = pooling
        self.count_padding = count_padding

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Encode a padded batch.

        :param input_ids: *Shape:* ``(batch, seq_len)``.
        :param attention_mask: 1 for tokens and 0 for padding, *Shape:* ``(batch, seq_len)``.
        :return: *Shape:* ``(batch, dim)``.
        """
        states = token_states(self.transformer, input_ids, attention_mask)
        return pool(states, attention_mask, self.pooling, count_padding=self.count_padding)


class QueryEncoder(nn.Module):
    """A transformer and a hyper head: a query's tokens to its q-net (paper sections 3.2 and 3.3)."""

    def __init__(self, transformer: nn.Module, hyper_head: HyperHead) -> None:
        super().__init__()
        self.transformer = transformer
        self.hyper_head = hyper_head

    def forward(self, input_ids: Tensor, attention_mask: Tensor, *, threads: int | None = None) -> QNets:
        """Generate the q-nets of a padded batch of queries; every token counts, [CLS] and [SEP] included.

        :param input_ids: *Shape:* ``(num_queries, seq_len)``.
        :param attention_mask: *Shape:* ``(num_queries, seq_len)``.
        :param threads: Of the hyper head; see :meth:`HyperHead.forward`.
        """
        states = token_states(self.transformer, input_ids, attention_mask)
        with stage("generate"):
            q_nets: QNets = self.hyper_head(states, attention_mask, threads=threads)
        return q_nets


class DualEncoder(nn.Module):
    """A query encoder and a document encoder, with their tokenizer. Made by :func:`load_model`.

    Texts are encoded with the prompts of the configuration put before them.

    :param config: The checkpoint's configuration.
    :param query_encoder: :class:`QueryEncoder`, or :class:`TextEncoder` for a bi-encoder.
    :param passage_encoder: The document side; named as in the released checkpoints.
    :param tokenizer: Shared by both sides; None for models that only see token ids.
    :param name: What the model was loaded as.
    :param revision: The hub's revision, if any.
    :param width: Hidden width that q-nets are cut to (Matryoshka checkpoints); None for full width.
    """

    def __init__(
        self,
        config: ModelConfig,
        query_encoder: nn.Module,
        passage_encoder: TextEncoder,
        tokenizer: PreTrainedTokenizerBase | None = None,
        *,
        name: str = "",
        revision: str | None = None,
        width: int | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.query_encoder = query_encoder
        self.passage_encoder = passage_encoder
        self.tokenizer = tokenizer
        self.name = name
        self.revision = revision
        self.width = width

    def __repr__(self) -> str:
        blocks = f", q-nets of {self.q_net_config.num_blocks} blocks" if self.kind == "hypencoder" else ""
        parameters = sum(parameter.numel() for parameter in self.parameters())
        return (
            f"<DualEncoder {self.name or '(unnamed)'}: a {self.kind}{blocks}, vectors of {self.dim} dimensions, "
            f"{parameters / 1e6:.1f} million parameters on {self.device}>"
        )

    @property
    def kind(self) -> str:
        """``"hypencoder"`` or ``"biencoder"``."""
        return self.config.kind

    @property
    def dim(self) -> int:
        """Size of the document vectors."""
        return hidden_size(self.passage_encoder.transformer)

    @property
    def q_net_config(self) -> QNetConfig:
        """Architecture of the q-nets that :meth:`encode_queries` returns."""
        if self.config.q_net is None:
            return QNetConfig(dims=(self.dim, 1))
        return self.config.q_net if self.width is None else self.config.q_net.truncated(self.width)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @cached_property
    def fingerprint(self) -> str:
        """Identifies what document vectors depend on: the document side's weights, pooling and prompt, the vocabulary.

        Hypencoders over one frozen document encoder have the same fingerprint, and may share an index.
        """
        pooling = f"{self.passage_encoder.pooling}{' over padding' if self.passage_encoder.count_padding else ''}"
        facts = f"{pooling} {self._vocabulary}{_shown(self.config.document_prompt)}"
        return fingerprint(facts, self.passage_encoder.state_dict().items())

    @cached_property
    def query_fingerprint(self) -> str:
        """Identifies what q-nets depend on: the query side's weights and prompt, and the architecture."""
        return self.query_fingerprint_at(self.width)

    def query_fingerprint_at(self, width: int | None) -> str:
        """Identify what q-nets cut to a width depend on; None for full width."""
        of_head = _shown(self.config.query_prompt) + _shown(self.config.final_token)
        facts = f"{self.config.q_net} {width} {self._vocabulary}{of_head}"
        return fingerprint(facts, self.query_encoder.state_dict().items())

    @property
    def _vocabulary(self) -> list[tuple[str, int]]:
        return sorted(self.tokenizer.get_vocab().items()) if self.tokenizer is not None else []

    @property
    def concurrent_batches(self) -> int:
        """How many calls of :meth:`encode_documents` are best made at the same time: on a CPU one for each thread."""
        return default_threads() if self.device.type == "cpu" else 1

    @torch.inference_mode()
    def encode_documents(self, texts: Sequence[str], *, max_length: int = DEFAULT_MAX_LENGTH) -> np.ndarray:
        """Encode texts as one padded batch; on a CPU in pieces of 16, each padded by itself and computed on one core.

        So the number of threads changes no bit. Other batches do change last bits: texts are padded to another length.

        :param texts: The documents, title and text already joined.
        :param max_length: Tokens kept of each text, special ones included.
        :return: float32, *Shape:* ``(len(texts), dim)``.
        :raises HypensearchError: When ``max_length`` is more than the transformer takes.
        """
        pieces = [list(texts)]
        if self.device.type != "cpu":
            return self._encode_piece(pieces[0], max_length)
        if len(texts) > PIECE_TEXTS and not self.passage_encoder.count_padding:
            pieces = [list(texts[start : start + PIECE_TEXTS]) for start in range(0, len(texts), PIECE_TEXTS)]
        encode = partial(self._encode_piece, max_length=max_length)
        return np.concatenate(map_on_cores(default_threads(), encode, pieces))

    def _encode_piece(self, texts: list[str], max_length: int) -> np.ndarray:
        texts = [self.config.document_prompt + text for text in texts]
        batch = self._tokenize(texts, max_length, self.passage_encoder.transformer)
        vectors: np.ndarray = self.passage_encoder(**batch).float().cpu().numpy()
        return vectors

    @torch.inference_mode()
    def encode_queries(self, queries: Sequence[str], *, max_length: int = DEFAULT_MAX_LENGTH) -> QNets:
        """Generate the q-nets of queries, each encoded alone so that it does not depend on its neighbours.

        :param max_length: Tokens kept of each query, special ones included.
        :return: One q-net a query, float32.
        :raises ValueError: When there is no query.
        :raises HypensearchError: When ``max_length`` is more than the transformer takes.
        """
        return QNets.concat(self._each_on_one_core(partial(self._encode_query, max_length=max_length), queries))

    def _each_on_one_core(self, encode: Callable[[Item, int | None], Result], queries: Sequence[Item]) -> list[Result]:
        """Encode each query on one core of a CPU, several at a time, so that the number of threads changes no bit.

        :param encode: Takes a query and how many threads may generate tensors of its q-net.
        """
        if self.device.type != "cpu":
            return [encode(query, None) for query in queries]
        threads = default_threads()
        if len(queries) > 1:
            return map_on_cores(threads, lambda query: encode(query, 1), queries)
        with torch_threads(1):
            return [encode(query, threads) for query in queries]

    def _encode_query(self, query: str, threads: int | None, max_length: int) -> QNets:
        batch = self._query_tokens([query], max_length)
        if isinstance(self.query_encoder, TextEncoder):
            batch = batch if self.query_encoder.count_padding else self._padded(batch)
            return QNets.from_vectors(self.query_encoder(**batch).float())
        q_nets: QNets = self.query_encoder(**self._padded(batch), threads=threads)
        return q_nets if self.width is None else q_nets.truncated(self.width)

    @torch.inference_mode()
    def encode_query_states(self, queries: Sequence[str], *, max_length: int = DEFAULT_MAX_LENGTH) -> list[Tensor]:
        """Return what :meth:`generate_q_nets` makes q-nets of: the token states of each query.

        :param max_length: Tokens kept of each query, special ones included.
        :return: float32, *Shape:* ``(num_tokens, hidden_size)`` each.
        :raises HypensearchError: For a bi-encoder, which has no hyper head; otherwise as :meth:`encode_queries`.
        """
        self._head()
        return self._each_on_one_core(partial(self._query_states, max_length=max_length), queries)

    def _query_states(self, query: str, threads: int | None, max_length: int) -> Tensor:
        batch = self._query_tokens([query], max_length)
        states = token_states(self._query_transformer, **self._padded(batch))
        return states[0, : batch["input_ids"].shape[1]].float()

    @torch.inference_mode()
    def generate_q_nets(self, states: Sequence[Tensor], *, width: int | None = None) -> QNets:
        """Make q-nets of token states, with the bits that :meth:`encode_queries` gives their queries on this device.

        :param states: What :meth:`encode_query_states` gave.
        :param width: Hidden width to cut the q-nets to; None for full width.
        :raises HypensearchError: For a bi-encoder, and for states of another size.
        """
        head, wanted = self._head(), hidden_size(self._query_transformer)
        if sizes := {of_query.shape[1] for of_query in states} - {wanted}:
            raise HypensearchError(
                f"token states of {min(sizes)} dimensions do not fit {self.name}, which has {wanted}"
            )
        q_nets = QNets.concat(self._each_on_one_core(partial(self._generate_q_net, head), states))
        return q_nets if width is None else q_nets.truncated(width)

    def _generate_q_net(self, head: HyperHead, states: Tensor, threads: int | None) -> QNets:
        tokens = torch.ones((1, len(states)), dtype=torch.long, device=self.device)
        mask = self._padded({"input_ids": tokens, "attention_mask": tokens})["attention_mask"]
        # the states of padding are masked, so zeros do as well
        padded = functional.pad(states.to(self.device), (0, 0, 0, mask.shape[1] - len(states)))
        with stage("generate"):
            q_nets: QNets = head(padded.unsqueeze(0), mask, threads=threads)
        return q_nets

    def _head(self) -> HyperHead:
        if not isinstance(self.query_encoder, QueryEncoder):
            raise HypensearchError(f"{self.name}: a bi-encoder, whose queries are vectors: it has no hyper head")
        return self.query_encoder.hyper_head

    def count_query_tokens(self, queries: Sequence[str], *, max_length: int = DEFAULT_MAX_LENGTH) -> int:
        """Count the tokens of queries together, special ones included, each query cut to ``max_length``."""
        return int(self._query_tokens(queries, max_length)["attention_mask"].sum())

    def _query_tokens(self, queries: Sequence[str], max_length: int) -> dict[str, Tensor]:
        texts = [self.config.query_prompt + query for query in queries]
        return self._tokenize(texts, max_length, self._query_transformer)

    @property
    def _query_transformer(self) -> nn.Module:
        transformer: nn.Module = self.query_encoder.transformer  # type: ignore[assignment]
        return transformer

    def _padded(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Pad a query to a multiple of 16 tokens.

        Matrix products of fewer rows take other paths in BLAS for other numbers of threads: their last bits, and so
        the q-net's, would depend on the machine's load. Padding is masked, so it changes nothing else.
        """
        length = batch["input_ids"].shape[1]
        room = max(0, max_positions(self._query_transformer) - length)
        missing = min(-length % QUERY_TOKENS_MULTIPLE, room)
        pad_token = int(getattr(self.tokenizer, "pad_token_id", 0) or 0)
        pad_token = pad_token if 0 <= pad_token < _num_embeddings(self._query_transformer) else 0  # masked anyway
        return {
            "input_ids": functional.pad(batch["input_ids"], (0, missing), value=pad_token),
            "attention_mask": functional.pad(batch["attention_mask"], (0, missing), value=0),
        }

    def _tokenize(self, texts: list[str], max_length: int, transformer: nn.Module) -> dict[str, Tensor]:
        if self.tokenizer is None:
            raise HypensearchError(f"{self.name}: has no tokenizer, so it cannot encode text")
        limit = max_positions(transformer)
        if not 2 <= max_length <= limit:
            raise HypensearchError(f"--max-length {max_length}: wanted 2 to {limit}, the positions of {self.name}")
        batch = tokenize(self.tokenizer, texts, max_length)
        self._check_tokens(batch["input_ids"], transformer)
        return {key: tensor.to(self.device) for key, tensor in batch.items()}

    def _check_tokens(self, input_ids: Tensor, transformer: nn.Module) -> None:
        """Refuse tokens that the transformer has no embeddings of: tokenizer and weights are of different models."""
        if not input_ids.numel():
            raise HypensearchError(f"{self.name}: its tokenizer makes no tokens of a text; is its vocabulary empty?")
        known = _num_embeddings(transformer)
        if not 0 <= int(input_ids.min()) <= int(input_ids.max()) < known:
            raise HypensearchError(
                f"{self.name}: its tokenizer makes token {int(input_ids.max())}, its transformer knows {known:,}: "
                "are tokenizer and weights of the same model?"
            )

    def save_pretrained(self, folder: str | Path, *, compact: bool = False) -> None:
        """Write the checkpoint in our own format; see :func:`hypensearch.models.checkpoint.save_model`."""
        save_model(self, folder, compact=compact)


def token_states(transformer: nn.Module, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
    """Return a transformer's last hidden states, *Shape:* ``(batch, seq_len, hidden_size)``."""
    states: Tensor = transformer(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
    return states


def pool(states: Tensor, attention_mask: Tensor, pooling: str, *, count_padding: bool = False) -> Tensor:
    """Pool token states to one vector a text.

    :param states: *Shape:* ``(batch, seq_len, hidden_size)``.
    :param attention_mask: *Shape:* ``(batch, seq_len)``.
    :param pooling: "cls", "mean" or "last".
    :param count_padding: See :class:`TextEncoder`.
    :return: *Shape:* ``(batch, hidden_size)``.
    """
    if pooling == "cls":
        return states[:, 0]
    if pooling == "last":
        return states[torch.arange(len(states), device=states.device), attention_mask.sum(dim=1) - 1]
    mask = attention_mask.unsqueeze(2).to(states.dtype)
    total = states.sum(dim=1) if count_padding else (states * mask).sum(dim=1)
    return total / mask.sum(dim=1)


def _shown(option: str | None) -> str:
    """Return an option as part of a fingerprint; those at their default are none, as in older versions."""
    return f" {option!r}" if option else ""


def _num_embeddings(transformer: nn.Module) -> int:
    embeddings: nn.Module = transformer.get_input_embeddings()  # type: ignore[operator]
    return len(embeddings.weight)  # type: ignore[arg-type]


def hidden_size(transformer: nn.Module) -> int:
    """Return the size of a transformer's token states."""
    return int(transformer.config.hidden_size)  # type: ignore[union-attr, arg-type]


def max_positions(transformer: nn.Module) -> int:
    """Return the longest token sequence a transformer takes."""
    config: Any = transformer.config
    positions = int(getattr(config, "max_position_embeddings", 0) or 0)
    if positions <= 0:  # relative ones have no end; XLNet says -1
        return 1 << 20
    offset = int(config.pad_token_id or 0) + 1 if config.model_type in _OFFSET_POSITIONS else 0
    return positions - offset
