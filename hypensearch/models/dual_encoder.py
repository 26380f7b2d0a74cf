# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The dual encoders: a Hypencoder (queries become q-nets) and its baseline, a bi-encoder (queries become vectors)."""

from __future__ import annotations

import re
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from hypensearch.errors import HypensearchError
from hypensearch.formats.files import name_for_libraries
from hypensearch.models import checkpoint as checkpoints
from hypensearch.models.backbone import build_transformer, find_backbone_config, local_folder
from hypensearch.models.checkpoint_folder import write_whole
from hypensearch.models.config import ModelConfig, QNetConfig, parse_config
from hypensearch.models.encoder_check import check_encoder, check_pooling, prepared_tokenizer
from hypensearch.models.hyper_head import HyperHead
from hypensearch.models.q_net import QNets
from hypensearch.models.tokenizer import TOKENIZER_FILES, has_tokenizer, load_tokenizer
from hypensearch.stages import stage
from hypensearch.threads import Item, Result, default_threads, map_on_cores, torch_threads

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

DEFAULT_MAX_LENGTH = 256
QUERY_TOKENS_MULTIPLE = 16
PIECE_TEXTS = 16  # that one core encodes at a time
_TRIED_TOKENS = 8

_LONE_SURROGATES = re.compile("[\ud800-\udfff]")  # no characters, which tokenizers refuse
_TOKENIZING = threading.Lock()  # a tokenizer keeps the length to cut to, so threads would cut at each other's


class TextEncoder(nn.Module):
    """A transformer and a pooling: a text's tokens to one vector.

    :param transformer: Gives ``last_hidden_state``.
    :param pooling: "cls", the first token's state, or "mean".
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
        """Identifies what document vectors depend on: the document side's weights and pooling, and the vocabulary.

        Hypencoders over one frozen document encoder have the same fingerprint, and may share an index.
        """
        pooling = f"{self.passage_encoder.pooling}{' over padding' if self.passage_encoder.count_padding else ''}"
        return checkpoints.fingerprint(f"{pooling} {self._vocabulary}", self.passage_encoder.state_dict().items())

    @cached_property
    def query_fingerprint(self) -> str:
        """Identifies what q-nets depend on: the query side's weights and the architecture."""
        return self.query_fingerprint_at(self.width)

    def query_fingerprint_at(self, width: int | None) -> str:
        """Identify what q-nets cut to a width depend on; None for full width."""
        facts = f"{self.config.q_net} {width} {self._vocabulary}"
        return checkpoints.fingerprint(facts, self.query_encoder.state_dict().items())

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
        batch = self._tokenize([query], max_length, self._query_transformer)
        if not getattr(self.query_encoder, "count_padding", False):
            batch = self._padded(batch, limit=max_positions(self._query_transformer))
        options = {"threads": threads} if isinstance(self.query_encoder, QueryEncoder) else {}
        encoded = self.query_encoder(**batch, **options)
        if isinstance(encoded, Tensor):
            return QNets.from_vectors(encoded.float())
        return encoded if self.width is None else encoded.truncated(self.width)

    @torch.inference_mode()
    def encode_query_states(self, queries: Sequence[str], *, max_length: int = DEFAULT_MAX_LENGTH) -> list[Tensor]:
        """Return what :meth:`generate_q_nets` makes q-nets of: the token states of each query.

        :param max_length: Tokens kept of each query, special ones included.
        :return: float32, *Shape:* ``(num_tokens, hidden_size)`` each.
        :raises HypensearchError: For a bi-encoder, which has no hyper head; otherwise as :meth:`encode_queries`.
        """
        self._check_has_head()
        return self._each_on_one_core(partial(self._query_states, max_length=max_length), queries)

    def _query_states(self, query: str, threads: int | None, max_length: int) -> Tensor:
        batch = self._tokenize([query], max_length, self._query_transformer)
        padded = self._padded(batch, limit=max_positions(self._query_transformer))
        return token_states(self._query_transformer, **padded)[0, : batch["input_ids"].shape[1]].float()

    @torch.inference_mode()
    def generate_q_nets(self, states: Sequence[Tensor], *, width: int | None = None) -> QNets:
        """Make q-nets of token states, with the bits that :meth:`encode_queries` gives their queries on this device.

        :param states: What :meth:`encode_query_states` gave.
        :param width: Hidden width to cut the q-nets to; None for full width.
        :raises HypensearchError: For a bi-encoder, and for states of another size.
        """
        self._check_has_head()
        wanted = hidden_size(self._query_transformer)
        if sizes := {of_query.shape[1] for of_query in states} - {wanted}:
            raise HypensearchError(
                f"token states of {min(sizes)} dimensions do not fit {self.name}, which has {wanted}"
            )
        q_nets = QNets.concat(self._each_on_one_core(self._generate_q_net, states))
        return q_nets if width is None else q_nets.truncated(width)

    def _generate_q_net(self, states: Tensor, threads: int | None) -> QNets:
        tokens = torch.ones((1, len(states)), dtype=torch.long, device=self.device)
        padded = self._padded(
            {"input_ids": tokens, "attention_mask": tokens}, limit=max_positions(self._query_transformer)
        )
        mask = padded["attention_mask"]
        # the states of padding are masked, so zeros do as well
        whole = torch.zeros((1, mask.shape[1], states.shape[1]), device=self.device)
        whole[0, : len(states)] = states
        with stage("generate"):
            q_nets: QNets = self.query_encoder.hyper_head(whole, mask, threads=threads)  # type: ignore[operator]
        return q_nets

    def _check_has_head(self) -> None:
        if not isinstance(self.query_encoder, QueryEncoder):
            raise HypensearchError(f"{self.name}: a bi-encoder, whose queries are vectors: it has no hyper head")

    def count_query_tokens(self, queries: Sequence[str], *, max_length: int = DEFAULT_MAX_LENGTH) -> int:
        """Count the tokens of queries together, special ones included, each query cut to ``max_length``."""
        return int(self._tokenize(list(queries), max_length, self._query_transformer)["attention_mask"].sum())

    @torch.inference_mode()
    def embed_queries(self, queries: Sequence[str], *, max_length: int = DEFAULT_MAX_LENGTH) -> np.ndarray:
        """Return the extra query embedding that some released configurations ask for beside the q-net.

        :return: float32, *Shape:* ``(len(queries), hidden_size)``.
        :raises HypensearchError: When the checkpoint has no ``embedding_representation``.
        """
        pooling = self.config.embedding_representation
        if pooling is None:
            raise HypensearchError(f"{self.name}: its config.json has no embedding_representation")
        embeddings = []
        for query in queries:
            batch = self._tokenize([query], max_length, self._query_transformer)
            embeddings.append(pool(token_states(self._query_transformer, **batch), batch["attention_mask"], pooling))
        return torch.cat(embeddings).float().cpu().numpy()

    @property
    def _query_transformer(self) -> nn.Module:
        transformer: nn.Module = self.query_encoder.transformer  # type: ignore[assignment]
        return transformer

    def _padded(self, batch: dict[str, Tensor], *, limit: int) -> dict[str, Tensor]:
        """Pad a query to a multiple of 16 tokens.

        Matrix products of fewer rows take other paths in BLAS for other numbers of threads: their last bits, and so
        the q-net's, would depend on the machine's load. Padding is masked, so it changes nothing else.
        """
        length = batch["input_ids"].shape[1]
        missing = min(-length % QUERY_TOKENS_MULTIPLE, max(0, limit - length))
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
        texts = [_LONE_SURROGATES.sub("\ufffd", text) for text in texts]
        with _TOKENIZING:
            batch = self.tokenizer(texts, padding=True, truncation=True, max_length=max_length, return_tensors="pt")
        self._check_tokens(batch["input_ids"], transformer)
        return {key: batch[key].to(self.device) for key in ("input_ids", "attention_mask")}

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
        """Write the checkpoint in our own format: loading it needs no other file and no hub.

        ``config.json`` with the transformers' configurations embedded, ``model.safetensors`` under the released
        names, and the tokenizer's files. A checkpoint that is there is replaced in one step.

        :param compact: Store weights in 8 bits, embeddings in 6 (:mod:`hypensearch.models.compact`): about a fifth of
            the size; only hypensearch reads it.
        """

        def write(folder: Path) -> None:
            if self.tokenizer is not None:
                _save_tokenizer(self.tokenizer, folder)
            checkpoints.write_weights(self.released_weights(), folder, compact=compact)
            checkpoints.write_config(checkpoints.with_checksums(self.own_config(), folder), folder)

        write_whole(Path(folder), write, checkpoints.CHECKED_FILES)

    def push_to_hub(self, repository: str, *, compact: bool = False, private: bool = False) -> str:
        """Upload the checkpoint in our own format to the hub, with a model card where the repository has none yet.

        :param repository: ``user/name``.
        :param compact: See :meth:`save_pretrained`.
        :param private: Whether a new repository is private.
        :return: Address of the commit.
        :raises HypensearchError: Without a token, or when the hub refuses or cannot be reached.
        """
        from hypensearch.models import hub
        from hypensearch.models.card import write_missing_card

        hub.check_may_upload(repository)
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder, compact=compact)
            if not hub.has_card(repository):
                write_missing_card(folder, self, repository)
            return hub.upload(folder, repository, private=private)

    def released_weights(self) -> dict[str, Tensor]:
        """Return the weights under the released names, a shared transformer's once."""
        weights = {checkpoints.released_name(name): tensor for name, tensor in self.state_dict().items()}
        if self.config.shared_encoder:
            weights = {name: tensor for name, tensor in weights.items() if not name.startswith("passage_encoder.")}
        return {name: tensor.contiguous() for name, tensor in weights.items()}

    def own_config(self) -> dict[str, Any]:
        """Return the content of ``config.json`` in our own format, the transformers' configurations embedded."""
        return {
            **{key: value for key, value in self.config.raw.items() if key != checkpoints.CHECKSUMS},
            "backbone_configs": {
                "query": _config_dict(self._query_transformer),
                "document": _config_dict(self.passage_encoder.transformer),
            },
        }


def load_model(
    name_or_path: str,
    *,
    backbone_config: str | None = None,
    revision: str | None = None,
    width: int | None = None,
    count_padding: bool = False,
    device: str | torch.device = "cpu",
    network: bool = True,
) -> DualEncoder:
    """Load a checkpoint in the released layout, a bi-encoder's, a Matryoshka one or one in our own format.

    :param name_or_path: The checkpoint's folder or hub name.
    :param backbone_config: Folder, ``config.json`` or hub name of the transformer, where it cannot be found; two
        of them with a comma between, the query side's first, where the sides differ.
    :param revision: Branch, tag or commit on the hub.
    :param width: Hidden width to cut q-nets to (Matryoshka checkpoints).
    :param count_padding: Mean pooling as in the released code; see :class:`TextEncoder`.
    :param device: Where to put the weights.
    :param network: Whether the hub may be asked; False for a name that comes out of a file. For a folder it never is,
        whatever other names are in it.
    :return: The model, float32, in evaluation mode.
    :raises HypensearchError: When files, configuration or weights do not fit together; says what to do.
    """
    folder = checkpoints.find_checkpoint(name_or_path, revision, network=network)
    try:
        raw, weights, weight_file = _read(folder)
    except HypensearchError:
        newer = checkpoints.find_checkpoint(name_or_path, revision, network=network)
        raw, weights, weight_file = _read(newer)  # another process may have replaced it meanwhile
        folder = newer
    config = parse_config(raw, str(folder / checkpoints.CONFIG))
    network = network and not checkpoints.is_local(name_or_path)
    transformers = _find_transformers(config, folder, backbone_config, network=network)
    _check_layers(transformers, len(weights), weight_file)
    with torch.device("meta"):  # takes no memory for what weights must have first
        sketch = _assemble(config, folder, transformers, count_padding=count_padding)
    checkpoints.check_fit(sketch, weights, shared=config.shared_encoder, where=weight_file)
    model = _assemble(config, folder, transformers, count_padding=count_padding)
    checkpoints.load_weights(model, weights, shared=config.shared_encoder, where=weight_file)
    model.tokenizer = _load_tokenizer(folder, config, network=network)
    model.name, model.revision = name_or_path, revision
    model.width = _checked_width(width, config)
    _try(model.eval(), folder)
    return model.to(device)


def _check_layers(transformers: Sequence[PretrainedConfig], num_tensors: int, where: Path) -> None:
    """Refuse more layers than there are weights of, before time is taken to build them."""
    for config in transformers:
        layers = getattr(config, "num_hidden_layers", 0)
        if isinstance(layers, int) and layers > num_tensors:
            raise HypensearchError(
                f"{where}: {num_tensors:,} tensors cannot be those of {layers:,} layers, as the configuration has them"
            )


def _check_encoders(model: DualEncoder, where: str) -> None:
    document, query = model.passage_encoder, model.query_encoder
    pad_token = int(model.tokenizer.pad_token_id)  # type: ignore[union-attr]
    check_pooling(document.transformer, document.pooling, model.tokenizer, where)
    check_encoder(document.transformer, pad_token, document.pooling, where)
    if query.transformer is not document.transformer:
        check_encoder(query.transformer, pad_token, getattr(query, "pooling", None), where)  # type: ignore[arg-type]


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor], Path]:
    raw = checkpoints.read_config(folder)
    checkpoints.check_files(raw, folder)
    return raw, *checkpoints.read_weights(folder)


def build_model(
    config: ModelConfig, folder: Path, *, backbone_config: str | None = None, count_padding: bool = False
) -> DualEncoder:
    """Build a model whose weights are still to be loaded; the hub is not asked.

    :param folder: The checkpoint's folder, for the transformers' configurations.
    :raises HypensearchError: When the transformers' sizes do not fit the q-net's.
    """
    transformers = _find_transformers(config, folder, backbone_config, network=False)
    return _assemble(config, folder, transformers, count_padding=count_padding)


def _try(model: DualEncoder, folder: Path) -> None:
    """Encode a word on both sides: configurations and vocabularies that do not work are told of here, once.

    :raises HypensearchError: When it fails, whatever transformers says.
    """
    if model.tokenizer is None:
        return
    try:
        model.tokenizer = prepared_tokenizer(model.tokenizer, str(folder))
        _check_encoders(model, str(folder))
        model.encode_documents(["a"], max_length=_TRIED_TOKENS)
        model.encode_queries(["a"], max_length=_TRIED_TOKENS)
    except HypensearchError:
        raise
    except Exception as error:  # transformers and torch raise many kinds
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise HypensearchError(f"{folder}: cannot encode a word with this checkpoint ({reason})") from None


def _assemble(
    config: ModelConfig, folder: Path, transformers: Sequence[PretrainedConfig], *, count_padding: bool
) -> DualEncoder:
    """Build a model whose weights are still to be loaded.

    :param folder: The checkpoint's folder, for messages.
    :param transformers: Configuration of the query side's transformer, and of the document side's where it has one.
    :raises HypensearchError: When the transformers' sizes do not fit the q-net's.
    """
    query_transformer = build_transformer(transformers[0])
    document_transformer = build_transformer(transformers[1]) if len(transformers) > 1 else query_transformer
    passage_encoder = TextEncoder(document_transformer, config.document_pooling, count_padding=count_padding)
    query_encoder: nn.Module
    if config.q_net is None:
        query_encoder = TextEncoder(query_transformer, config.query_pooling or "cls", count_padding=count_padding)
    else:
        _check_sizes(config, query_transformer, document_transformer, folder)
        query_encoder = QueryEncoder(query_transformer, _hyper_head(config))
    return DualEncoder(config, query_encoder, passage_encoder)


def token_states(transformer: nn.Module, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
    """Return a transformer's last hidden states, *Shape:* ``(batch, seq_len, hidden_size)``."""
    states: Tensor = transformer(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
    return states


def pool(states: Tensor, attention_mask: Tensor, pooling: str, *, count_padding: bool = False) -> Tensor:
    """Pool token states to one vector a text.

    :param states: *Shape:* ``(batch, seq_len, hidden_size)``.
    :param attention_mask: *Shape:* ``(batch, seq_len)``.
    :param pooling: "cls" or "mean".
    :param count_padding: See :class:`TextEncoder`.
    :return: *Shape:* ``(batch, hidden_size)``.
    """
    if pooling == "cls":
        return states[:, 0]
    mask = attention_mask.unsqueeze(2).to(states.dtype)
    total = states.sum(dim=1) if count_padding else (states * mask).sum(dim=1)
    return total / mask.sum(dim=1)


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
    # RoBERTa and its kin number positions from pad_token_id + 1
    offset = int(config.pad_token_id or 0) + 1 if config.model_type in _OFFSET_POSITIONS else 0
    return positions - offset


_OFFSET_POSITIONS = ("roberta", "xlm-roberta", "camembert", "mpnet", "longformer")


def _hyper_head(config: ModelConfig) -> HyperHead:
    assert config.q_net is not None
    generator = torch.Generator().manual_seed(0)  # overwritten by the checkpoint; keeps torch's own state untouched
    return HyperHead(config.q_net, config.hidden_size, generator)


def _find_transformers(
    config: ModelConfig, folder: Path, given: str | None, *, network: bool
) -> list[PretrainedConfig]:
    """Find the transformers' configurations, one where both sides share it."""
    sides = {"query": config.query_backbone}
    if not config.shared_encoder:
        sides["document"] = config.document_backbone
    found = []
    for side, name in sides.items():
        embedded: Mapping[str, Any] | None = config.backbone_configs.get(side)
        of_side = given
        if given and "," in given and not Path(given).expanduser().exists():
            of_side = _divided(given)[side == "document"]
        found.append(find_backbone_config(name, checkpoint=folder, embedded=embedded, given=of_side, network=network))
    return found


def _divided(given: str) -> tuple[str, str]:
    """Divide two names at the comma between them; a path may have commas of its own."""
    pairs = [(given[:place], given[place + 1 :]) for place, letter in enumerate(given) if letter == ","]
    existing = [pair for pair in pairs if all(Path(name).expanduser().exists() for name in pair)]
    return (existing or pairs)[0]


def _check_sizes(config: ModelConfig, query: nn.Module, document: nn.Module, folder: Path) -> None:
    assert config.q_net is not None
    if hidden_size(query) != config.hidden_size:
        raise HypensearchError(
            f"{folder}: the query backbone's states have {hidden_size(query)} dimensions, config.json's "
            f"base_encoder_output_dim says {config.hidden_size}: is the backbone's configuration the right one?"
        )
    if hidden_size(document) != config.q_net.dims[0]:
        raise HypensearchError(
            f"{folder}: document vectors have {hidden_size(document)} dimensions, but the q-nets take "
            f"{config.q_net.dims[0]} (vector_dimensions): is the backbone's configuration the right one?"
        )


def _checked_width(width: int | None, config: ModelConfig) -> int | None:
    if width is None:
        return None
    if config.q_net is None:
        raise HypensearchError(f"--width {width}: a bi-encoder's queries are vectors, there is nothing to cut")
    config.q_net.truncated(width)
    return width


def _save_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write a tokenizer without the length and the padding of whatever it was last used for."""
    if (backend := getattr(tokenizer, "backend_tokenizer", None)) is not None:
        with _TOKENIZING:
            backend.no_truncation()
            backend.no_padding()
    with name_for_libraries(folder) as name:
        tokenizer.save_pretrained(name)


def _load_tokenizer(folder: Path, config: ModelConfig, *, network: bool = False) -> PreTrainedTokenizerBase:
    """Load a tokenizer, of the checkpoint or of its backbone.

    :param network: Whether the hub may be asked for the backbone's.
    """
    sources: list[str | Path] = [folder] if has_tokenizer(folder) else []
    if local := local_folder(config.query_backbone, folder):
        sources += [local] if has_tokenizer(local) else []
    elif config.query_backbone:
        sources.append(config.query_backbone)
    reason = ""
    for source in sources:
        try:
            return load_tokenizer(source, network=network)
        except HypensearchError as error:
            if source == folder:
                raise HypensearchError(f"{folder}: its tokenizer cannot be loaded ({error})") from None
            reason = str(error)
    raise HypensearchError(
        f"{folder}: no tokenizer ({' or '.join(TOKENIZER_FILES)}) here, and none could be had for "
        f"{config.query_backbone!r}{f' ({reason})' if reason else ''}: copy the backbone's tokenizer files there"
    )


def _config_dict(transformer: nn.Module) -> dict[str, Any]:
    config: Any = transformer.config
    raw: dict[str, Any] = config.to_diff_dict()
    raw["model_type"] = config.model_type
    return {key: value for key, value in raw.items() if key not in ("_name_or_path", "transformers_version")}
