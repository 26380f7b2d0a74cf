# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""A document encoder without weights: every word has a fixed vector, a text is the sum of its words."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np


class HashEncoder:
    """Deterministic and fast; keeps the batches it was given."""

    name = "hash-encoder"
    revision = None
    kind = "hypencoder"

    def __init__(self, dim: int = 8, fingerprint: str = "abc") -> None:
        self.dim = dim
        self.fingerprint = fingerprint
        self.batches: list[list[str]] = []

    def encode_documents(self, texts: Sequence[str], *, max_length: int = 256) -> np.ndarray:
        """Encode texts, shape ``(len(texts), dim)``."""
        self.batches.append(list(texts))
        return np.stack([self.vector(text, max_length) for text in texts])

    def vector(self, text: str, max_length: int = 256) -> np.ndarray:
        """Encode one text, shape ``(dim,)``."""
        vector = np.zeros(self.dim, dtype=np.float32)
        for word in text.split()[:max_length]:
            digest = hashlib.blake2b(word.encode(), digest_size=self.dim).digest()
            vector += np.frombuffer(digest, np.uint8)
        return vector
