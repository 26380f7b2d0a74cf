# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Hypencoders as Pyserini's encoders: what its commands make, and what its users pass to searchers.

Importing this module imports Pyserini; where that is not possible, the encoders work all the same, without being
Pyserini's.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hypensearch.device import autocast, resolve_device
from hypensearch.errors import HypensearchError
from hypensearch.models import load_model
from hypensearch.pyserini import bridge as pyserini_bridge

if TYPE_CHECKING:
    from hypensearch.models import QNets

LOGGER = logging.getLogger(__name__)

_MAX_LENGTH = 256


_DocumentEncoder: Any = object
_QueryEncoder: Any = object
try:
    _DocumentEncoder, _QueryEncoder = pyserini_bridge.encoder_bases()
except HypensearchError as error:
    LOGGER.info("the encoders are not Pyserini's, which cannot be imported: %s", error)


class HypencoderDocumentEncoder(_DocumentEncoder):
    """The document side of a checkpoint, with the interface of Pyserini's ``AutoDocumentEncoder``.

    :param model_name: The checkpoint's folder or hub name, or ``bundled``.
    :param tokenizer_name: Has no effect, as ``pooling`` and ``l2_norm``: the checkpoint knows. Pyserini's commands
        guess them from the name.
    :param device: "auto", "cpu", "cuda" or "cuda:N".
    :param prefix: Put before every text, with a space.
    :param backbone_config: The transformer's configuration, where it cannot be found.
    """

    def __init__(
        self,
        model_name: str,
        tokenizer_name: str | None = None,
        device: str = "auto",
        pooling: str | None = None,
        l2_norm: bool = False,
        prefix: str | None = None,
        *,
        backbone_config: str | None = None,
        **others: object,
    ) -> None:
        super().__init__()
        _log_ignored(tokenizer_name=tokenizer_name, pooling=pooling, l2_norm=l2_norm, **others)
        self.model = load_model(model_name, device=resolve_device(str(device)), backbone_config=backbone_config)
        self.has_model = True
        self.prefix = prefix

    def encode(
        self,
        texts: Sequence[str],
        titles: Sequence[str] | None = None,
        max_length: int | None = _MAX_LENGTH,
        add_sep: bool = False,
        fp16: bool = False,
        **others: object,
    ) -> np.ndarray:
        """Encode documents as one batch.

        :param texts: The texts.
        :param titles: Their titles, put before them with a space.
        :param max_length: Tokens kept of each, special ones included.
        :param add_sep: Refused: the models were trained with a space between title and text.
        :param fp16: Whether to compute in half precision.
        :return: float32, *Shape:* ``(len(texts), dim)``.
        :raises HypensearchError: For ``add_sep``, and for fields other than title and text.
        """
        if add_sep:
            raise HypensearchError("--add-sep: titles are put before the text with a space; leave the flag out")
        if others:
            fields = ", ".join(name.removesuffix("s") for name in others)
            raise HypensearchError(f"--fields: only title and text are encoded, found {fields}; join them beforehand")
        import torch

        parts = zip(titles if titles is not None else [""] * len(texts), texts, strict=True)
        whole = [" ".join(filter(None, (self.prefix, title, text))).strip() for title, text in parts]
        with autocast(self.model.device, torch.float16, enabled=fp16):
            return self.model.encode_documents(whole, max_length=max_length or _MAX_LENGTH)


class HypencoderQueryEncoder(_QueryEncoder):
    """The query side of a checkpoint, for ``HypencoderSearcher``; a bi-encoder's for Pyserini's searchers as well.

    :param encoder_dir: The checkpoint's folder or hub name, or ``bundled``.
    :param tokenizer_name: Has no effect, as ``pooling`` and ``l2_norm``: the checkpoint knows.
    :param device: "auto", "cpu", "cuda" or "cuda:N".
    :param prefix: Put before every query, with a space.
    :param max_length: Tokens kept of a query, special ones included.
    :param width: Hidden width to cut q-nets to (Matryoshka checkpoints).
    :param backbone_config: The transformer's configuration, where it cannot be found.
    """

    def __init__(
        self,
        encoder_dir: str,
        tokenizer_name: str | None = None,
        device: str = "auto",
        pooling: str | None = None,
        l2_norm: bool = False,
        prefix: str | None = None,
        *,
        max_length: int = _MAX_LENGTH,
        width: int | None = None,
        backbone_config: str | None = None,
        fp16: bool = False,
        **others: object,
    ) -> None:
        super().__init__()
        _log_ignored(tokenizer_name=tokenizer_name, pooling=pooling, l2_norm=l2_norm, fp16=fp16, **others)
        self.model = load_model(
            encoder_dir, device=resolve_device(str(device)), backbone_config=backbone_config, width=width
        )
        self.has_model = True
        self.prefix = prefix
        self.max_length = max_length

    def encode(self, query: str, max_length: int | None = None, **others: object) -> np.ndarray:
        """Encode a query of a bi-encoder.

        :return: float32, *Shape:* ``(dim,)``.
        :raises HypensearchError: For a Hypencoder, whose queries are no vectors.
        """
        vector: np.ndarray = self.encode_batch([query], max_length=max_length)[0]
        return vector

    def encode_batch(self, queries: Sequence[str], max_length: int | None = None, **others: object) -> np.ndarray:
        """Encode queries of a bi-encoder; Pyserini's ``batch_search`` asks for this.

        :return: float32, *Shape:* ``(len(queries), dim)``.
        :raises HypensearchError: For a Hypencoder, whose queries are no vectors.
        """
        if self.model.kind != "biencoder":
            raise HypensearchError(
                f"{self.model.name} is a {self.model.kind}: it makes q-nets of queries, which Faiss and Lucene cannot "
                "search with; use python -m hypensearch.search or HypencoderSearcher"
            )
        weights = self.encode_q_nets(queries, max_length=max_length).weights[-1]
        vectors: np.ndarray = weights.squeeze(-1).cpu().numpy()
        return vectors

    def encode_q_nets(self, queries: Sequence[str], max_length: int | None = None) -> QNets:
        """Encode queries to q-nets, which ``HypencoderSearcher`` takes as queries."""
        texts = [f"{self.prefix} {query}" if self.prefix else query for query in queries]
        return self.model.encode_queries(texts, max_length=max_length or self.max_length)


def _log_ignored(**options: object) -> None:
    ignored = ", ".join(f"{name}={value}" for name, value in options.items() if value)
    if ignored:
        LOGGER.warning("ignored: %s; the checkpoint knows how its vectors are made", ignored)
