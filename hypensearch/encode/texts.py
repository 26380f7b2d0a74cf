# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Texts to vectors, in batches of texts of about one length: they have little padding."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from hypensearch.encode.options import EncodingOptions
from hypensearch.errors import HypensearchError
from hypensearch.threads import on_cores


class DocumentEncoder(Protocol):
    """What encodes: a model of :mod:`hypensearch.models`, or anything like it."""

    name: str
    revision: str | None

    @property
    def kind(self) -> str:
        """``"hypencoder"`` or ``"biencoder"``."""

    @property
    def dim(self) -> int:
        """Size of a document vector."""

    @property
    def fingerprint(self) -> str:
        """Identifies the weights."""

    def encode_documents(self, texts: Sequence[str], *, max_length: int = 256) -> np.ndarray:
        """Encode one padded batch, shape ``(len(texts), dim)``, float32.

        An encoder whose ``concurrent_batches`` is more than 1 is given so many batches at a time, each by a thread.
        """


def encode_texts(
    texts: Sequence[str],
    encoder: DocumentEncoder,
    options: EncodingOptions,
    done: Callable[[Sequence[int]], object],
) -> np.ndarray:
    """Encode texts, the longest first; of equal ones, the one that comes first.

    :param texts: The texts, without the options' prefix.
    :param done: Called with the places of texts that are encoded, always by the thread that calls this.
    :return: Vectors in the texts' order, float32, *Shape:* ``(len(texts), dim)``.
    :raises HypensearchError: When a batch does not fit the device's memory.
    """
    order = list(range(len(texts)))
    if options.sort_by_length:
        order.sort(key=lambda place: -len(texts[place]))
    vectors = np.empty((len(texts), encoder.dim), dtype=np.float32)
    caller, finished = threading.get_ident(), deque[list[int]]()

    def report() -> None:
        while finished:
            done(finished.popleft())

    def encode(start: int) -> None:
        places = order[start : start + options.batch_size]
        batch = [f"{options.prefix} {texts[place]}" if options.prefix else texts[place] for place in places]
        vectors[places] = _encode_batch(batch, encoder, options)
        finished.append(places)
        if threading.get_ident() == caller:  # a progress bar that fails in another thread never frees its lock
            report()

    starts = range(0, len(order), options.batch_size)
    if (at_once := getattr(encoder, "concurrent_batches", 1)) > 1:
        on_cores(at_once, encode, starts)
        report()
    else:
        for start in starts:
            encode(start)
    return vectors


def _encode_batch(texts: list[str], encoder: DocumentEncoder, options: EncodingOptions) -> np.ndarray:
    """Encode a batch; one too large for the device is halved."""
    try:
        return encoder.encode_documents(texts, max_length=options.max_length)
    except RuntimeError as error:  # torch.cuda.OutOfMemoryError is one
        if "out of memory" not in str(error).lower():
            raise
    if len(texts) == 1 or not options.sort_by_length:
        raise HypensearchError(
            f"out of memory on a batch of {len(texts)} texts (batch size {options.batch_size}, max length "
            f"{options.max_length}); lower one of them"
        )
    half = len(texts) // 2
    return np.concatenate([_encode_batch(part, encoder, options) for part in (texts[:half], texts[half:])])
