# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Encodings of texts by a frozen encoder, kept on disk: each text is encoded once, for all runs to come.

A cache belongs to one encoder and one text length. Texts are found by their digest, so data files may change, be
split or be mixed. Files only grow: a run that was killed goes on where it stopped. Each text has a checksum, which is
looked at when a run first reads it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from hypensearch.errors import HypensearchError
from hypensearch.formats.door import make_folder, open_to_write
from hypensearch.formats.files import FileLock
from hypensearch.models.dual_encoder import pool, token_states

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

_KEY_BYTES = 16
_TOKENS_PER_BATCH = 8192
_SECONDS_BETWEEN_REPORTS = 60


class EmbeddingCache:
    """Encodings of texts by one frozen transformer.

    :param folder: Where all caches live; this one gets a folder of its own in it.
    :param transformer: The frozen encoder.
    :param tokenizer: Its tokenizer.
    :param pooling: "cls" or "mean" for one vector a text; None for the states of all its tokens.
    :param max_length: Tokens kept of each text.
    :param bf16: Whether to encode under bfloat16 autocast: much faster on processors that have it.
    """

    def __init__(
        self,
        folder: str | Path,
        transformer: nn.Module,
        tokenizer: PreTrainedTokenizerBase,
        *,
        pooling: str | None,
        max_length: int,
        bf16: bool = False,
    ) -> None:
        self.transformer = transformer.eval()
        self.tokenizer = tokenizer
        self.pooling = pooling
        self.max_length = max_length
        self.bf16 = bf16
        self.dim = int(transformer.config.hidden_size)  # type: ignore[union-attr, arg-type]
        self.folder = Path(folder) / self._identity()
        self._checked = 0
        try:
            Path(folder).mkdir(parents=True, exist_ok=True)
            make_folder(self.folder)
            for name in ("keys", "sums", "lengths", "states"):
                os.close(open_to_write(self.folder / name, os.O_RDWR | os.O_CREAT))
        except OSError as error:
            raise HypensearchError(f"{error.filename or self.folder}: cannot be used: {error.strerror}") from None

    def add(self, texts: Iterable[str]) -> None:
        """Encode the texts that are not in the cache yet.

        :raises HypensearchError: When another process is adding to this cache.
        """
        known = self._rows()
        missing = [text for key, text in {_key(text): text for text in texts}.items() if key not in known]
        if not missing:
            return
        with FileLock(self.folder / "lock"):
            self._drop_unfinished()
            self._encode_all(missing)

    def _encode_all(self, missing: list[str]) -> None:
        logger.info("encoding %d texts (%d tokens at most) into %s", len(missing), self.max_length, self.folder)
        started = reported = time.monotonic()
        done = 0
        for batch in self._batches(missing):
            self._append(*batch)
            done += len(batch[0])
            if time.monotonic() - reported > _SECONDS_BETWEEN_REPORTS:
                reported = time.monotonic()
                logger.info("encoded %d of %d (%.0f a second)", done, len(missing), done / (reported - started))

    def vectors(self, texts: Sequence[str]) -> np.ndarray:
        """Return one vector a text, encoding what is missing.

        :return: float32, *Shape:* ``(len(texts), dim)``.
        """
        self.add(texts)
        known = self._rows()
        stored = self._stored(np.float32, len(known))
        self._check(stored, np.arange(len(known) + 1))
        return np.asarray(stored[[known[_key(text)] for text in texts]])

    def token_states(self, texts: Sequence[str]) -> TokenStates:
        """Return the token states of each text, encoding what is missing."""
        self.add(texts)
        known = self._rows()
        offsets = np.concatenate([[0], np.cumsum(self._lengths(len(known)), dtype=np.int64)])
        stored = self._stored(np.float16, int(offsets[-1]))
        self._check(stored, offsets)
        rows = np.array([known[_key(text)] for text in texts], dtype=np.int64)
        return TokenStates(stored, offsets[rows], offsets[rows + 1])

    def _batches(self, texts: list[str]) -> Iterator[tuple[list[str], np.ndarray, np.ndarray]]:
        """Encode in batches of about equal cost, texts of like length together."""
        texts = sorted(texts, key=len, reverse=True)
        start = 0
        while start < len(texts):
            longest = min(self.max_length, len(texts[start]) // 3 + 8)
            size = max(1, min(256, _TOKENS_PER_BATCH // longest))
            batch = texts[start : start + size]
            yield (batch, *self._encode(batch))
            start += size

    @torch.inference_mode()
    def _encode(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        device = next(self.transformer.parameters()).device
        batch = self.tokenizer(texts, padding=True, truncation=True, max_length=self.max_length, return_tensors="pt")
        mask: Tensor = batch["attention_mask"].to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=self.bf16):
            states = token_states(self.transformer, batch["input_ids"].to(device), mask).float()
        if self.pooling is not None:
            vectors = pool(states, mask, self.pooling)
            return vectors.cpu().numpy(), np.ones(len(texts), dtype=np.int32)
        lengths = mask.sum(dim=1).cpu().numpy().astype(np.int32)
        return states[mask.bool()].half().cpu().numpy(), lengths

    def _append(self, texts: list[str], states: np.ndarray, lengths: np.ndarray) -> None:
        ends = np.cumsum(lengths)
        parts = (states[end - length : end] for end, length in zip(ends, lengths, strict=True))
        sums = np.array([_sum(_key(text), part) for text, part in zip(texts, parts, strict=True)], np.uint32)
        for name, data in (("states", states), ("lengths", lengths), ("sums", sums)):
            with open(self.folder / name, "ab") as file:
                file.write(np.ascontiguousarray(data).tobytes())
        with open(self.folder / "keys", "ab") as file:  # last: a text counts once its key is there
            file.write(b"".join(_key(text) for text in texts))

    def _drop_unfinished(self) -> None:
        count = (self.folder / "keys").stat().st_size // _KEY_BYTES
        lengths = self._lengths(count)
        tokens = int(lengths.sum(dtype=np.int64))
        sizes = {"keys": count * _KEY_BYTES, "lengths": count * 4, "sums": count * 4}
        sizes["states"] = tokens * self.dim * (4 if self.pooling else 2)
        if any((self.folder / name).stat().st_size < size for name, size in sizes.items()):
            raise self._damaged()
        for name, size in sizes.items():
            _truncate(self.folder / name, size)

    def _check(self, stored: np.ndarray, offsets: np.ndarray) -> None:
        """Compare encodings that were not looked at before with their checksums."""
        keys = (self.folder / "keys").read_bytes()
        sums = np.fromfile(self.folder / "sums", dtype=np.uint32)
        for row in range(self._checked, len(offsets) - 1):
            key = keys[row * _KEY_BYTES : (row + 1) * _KEY_BYTES]
            if row >= len(sums) or _sum(key, stored[offsets[row] : offsets[row + 1]]) != sums[row]:
                raise self._damaged()
        self._checked = len(offsets) - 1

    def _damaged(self) -> HypensearchError:
        return HypensearchError(f"{self.folder}: damaged cache of encodings: remove the folder and start again")

    def _rows(self) -> dict[bytes, int]:
        keys = (self.folder / "keys").read_bytes()
        whole = len(keys) - len(keys) % _KEY_BYTES
        rows = {keys[i : i + _KEY_BYTES]: i // _KEY_BYTES for i in range(0, whole, _KEY_BYTES)}
        if len(rows) * _KEY_BYTES < whole:  # no text is added twice
            raise self._damaged()
        return rows

    def _lengths(self, count: int) -> np.ndarray:
        lengths = np.fromfile(self.folder / "lengths", dtype=np.int32)[:count]
        if len(lengths) < count or (lengths < 0).any():
            raise self._damaged()
        return lengths

    def _stored(self, dtype: type[np.generic], rows: int) -> np.ndarray:
        if (self.folder / "states").stat().st_size < rows * self.dim * np.dtype(dtype).itemsize:
            raise self._damaged()
        return np.memmap(self.folder / "states", dtype=dtype, mode="r", shape=(rows, self.dim))

    def _identity(self) -> str:
        described: dict[str, Any] = {
            "format": 2,
            "weights": _digest(self.transformer),
            "pooling": self.pooling or "tokens",
            "max_length": self.max_length,
            "bf16": self.bf16,
        }
        digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:16]
        return f"{described['pooling']}-{self.max_length}-{digest}"


class TokenStates:
    """Token states of many texts, in one array on disk.

    :param stored: float16, *Shape:* ``(all_tokens, dim)``.
    :param starts: First token of each text, *Shape:* ``(num_texts,)``.
    :param ends: One past its last token, *Shape:* ``(num_texts,)``.
    """

    def __init__(self, stored: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> None:
        self.stored, self.starts, self.ends = stored, starts, ends

    def __len__(self) -> int:
        return len(self.starts)

    def padded(self, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return some texts' states as one padded batch.

        :return: States, float32, *Shape:* ``(len(rows), seq_len, dim)``, and their mask, ``(len(rows), seq_len)``.
        """
        lengths = [int(self.ends[row] - self.starts[row]) for row in rows]
        states = torch.zeros(len(lengths), max(lengths), self.stored.shape[1])
        mask = torch.zeros(len(lengths), max(lengths), dtype=torch.long)
        for i, (row, length) in enumerate(zip(rows, lengths, strict=True)):
            states[i, :length] = torch.from_numpy(self.stored[self.starts[row] : self.ends[row]].astype(np.float32))
            mask[i, :length] = 1
        return states, mask


def _digest(transformer: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(transformer.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _key(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:_KEY_BYTES]


def _sum(key: bytes, states: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(states).view(np.uint8).data, zlib.crc32(key))


def _truncate(path: Path, size: int) -> None:
    if path.stat().st_size != size:
        with open(path, "r+b") as file:
            file.truncate(size)
