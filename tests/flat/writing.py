# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Small indexes for tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hypensearch.flat import FlatIndexWriter, Manifest

MODEL = {"name": "toy", "fingerprint": "f00d", "kind": "hypencoder"}


def vectors_of(num_docs: int, dim: int = 3) -> np.ndarray:
    """Give vectors 0, 1, 2, ... in order, shape ``(num_docs, dim)``."""
    return np.arange(num_docs * dim, dtype=np.float32).reshape(num_docs, dim)


def write_index(
    folder: Path,
    docids: Sequence[str] = ("a", "b", "c", "d", "e"),
    *,
    block_rows: int = 2,
    dtype: str = "float32",
    model: dict[str, str] | None = MODEL,
    overwrite: bool = False,
    to_faiss: bool = False,
    scale: float = 1.0,
) -> Manifest:
    """Write an index in blocks, resuming where an earlier call was stopped."""
    vectors = vectors_of(len(docids)) * scale
    settings = {"scale": scale}
    with FlatIndexWriter(folder, dim=3, dtype=dtype, model=model, settings=settings, overwrite=overwrite) as writer:
        start = (writer.resume_at or {"row": 0})["row"]
        for row in range(start, len(docids), block_rows):
            end = min(row + block_rows, len(docids))
            writer.append(docids[row:end], vectors[row:end], resume_at={"row": end})
        return writer.finish(to_faiss=to_faiss)
