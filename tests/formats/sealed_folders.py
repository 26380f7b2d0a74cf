# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""One small folder of every format that lies on disk.

``tests/resources/sealed.tar.xz`` holds the same folders, written by the version before there were sealed folders.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from hypensearch.flat import FlatIndex, FlatIndexWriter
from hypensearch.flat.join import join_indexes
from hypensearch.formats.q_nets import COMPACT, write_q_nets
from hypensearch.formats.sealed import FileRecord
from hypensearch.graph.builder import GraphWriter
from hypensearch.graph.store import GraphManifest
from hypensearch.rerank.vector_cache import VectorCache
from hypensearch.surrogate.store import write_surrogate

BEFORE = Path(__file__).parent.parent / "resources" / "sealed.tar.xz"
NUM_DOCS, DIM = 6, 4
DOCIDS = [f"d{number}" for number in range(NUM_DOCS)]
VECTORS = np.arange(NUM_DOCS * DIM, dtype=np.float32).reshape(NUM_DOCS, DIM)
MODEL = {"name": "toy", "revision": None, "fingerprint": "f00d", "kind": "hypencoder", "dim": DIM, "max_length": 64}
TEXTS = [json.dumps({"id": docid, "contents": f"text of {docid}"}).encode() for docid in DOCIDS]


def index(folder: Path) -> None:
    """An index with texts and Pyserini's copy."""
    with FlatIndexWriter(
        folder,
        settings={"batch_size": 2},
        dim=DIM,
        model=MODEL,
        documents={"fields": ["contents"]},
        store_documents=True,
    ) as writer:
        for rows in (slice(0, 2), slice(2, NUM_DOCS)):
            writer.append(DOCIDS[rows], VECTORS[rows], raw=TEXTS[rows], resume_at={"row": rows.stop})
        writer.finish(to_faiss=True)


def unfinished_index(folder: Path) -> None:
    """An index of which the last rows are missing."""
    with FlatIndexWriter(
        folder,
        settings={"batch_size": 2},
        dim=DIM,
        dtype="float16",
        model=MODEL,
        documents={"fields": []},
        store_documents=True,
    ) as writer:
        writer.append(DOCIDS[:3], VECTORS[:3], raw=TEXTS[:3], resume_at={"row": 3})


def joined(folder: Path) -> None:
    """Two indexes, joined in ``folder/all``."""
    for name, rows in (("a", slice(0, 2)), ("b", slice(2, NUM_DOCS))):
        with FlatIndexWriter(folder / name, dim=DIM) as writer:
            writer.append(DOCIDS[rows], VECTORS[rows])
            writer.finish()
    join_indexes([folder / "a", folder / "b"], folder / "all")


def graphs(folder: Path) -> None:
    """An index with a graph, and one that has replaced another."""
    index(folder)
    with FlatIndex.open(folder) as opened:
        for name, shift in (("new", 1), ("replaced", 1), ("replaced", 2)):
            facts = {"num_docs": NUM_DOCS, "degree": 2, "distance": "l2", "builder": "exact"}
            manifest = GraphManifest(**facts, vectors=opened.vectors_digest, neighbours=FileRecord(0, ""))  # type: ignore[arg-type]
            with GraphWriter(opened, name, manifest, overwrite=True) as writer:
                rows = np.arange(NUM_DOCS, dtype=np.int32)
                writer.append(np.stack([(rows + shift) % NUM_DOCS, np.full(NUM_DOCS, -1, np.int32)], axis=1))
                writer.finish()


def codes(folder: Path) -> None:
    """An index with codes for surrogate search."""
    index(folder)
    block = np.eye(NUM_DOCS, 4, dtype=np.int8), np.full(NUM_DOCS, 16256, np.uint16), np.ones(NUM_DOCS, np.float16)
    arrays = {"outliers": np.arange(2), "extremes": np.arange(3), "extreme_errors": np.ones(3)}
    arrays |= {"output_map": np.zeros((4, 8)), "penalty": np.eye(4), "gradient_map": np.zeros((4, DIM))}
    growth = {"error_growth": {"leverage": [0.0, 1.0], "error": [1.0, 2.0]}}
    with FlatIndex.open(folder) as opened:
        write_surrogate(opened, np.arange(4), [block], lambda: (arrays, growth), {"seed": 0})


def q_nets(folder: Path) -> None:
    """Stored q-nets, as a name and a text that are not ASCII."""
    tensors = {"weight_0": np.ones((2, 2, 2), np.float32), "weight_1": np.ones((2, 2, 1), np.float32)}
    tensors |= {"bias_0": np.zeros((2, 2), np.float32)}
    write_q_nets(folder, {"dims": [2, 2, 1]}, {"name": "toy"}, {"1": "one", "ü": "zwei"}, [tensors])


def token_states(folder: Path) -> None:
    """Stored q-nets in the compact form."""
    tensors = {"states": np.arange(12, dtype=np.float32).reshape(3, 4), "num_tokens": np.array([1, 2])}
    write_q_nets(folder, {"dims": [2, 2, 1]}, {"name": "toy"}, {"1": "one", "2": "two"}, [tensors], form=COMPACT)


def vector_cache(folder: Path) -> None:
    """Vectors kept for reranking."""
    with VectorCache(folder, dim=DIM, facts={"encoder": "f00d"}) as cache:
        cache.append(DOCIDS[:2], VECTORS[:2])
        cache.append(["ü"], VECTORS[2:3])


FOLDERS: dict[str, Callable[[Path], None]] = {
    make.__name__: make for make in (index, unfinished_index, joined, graphs, codes, q_nets, token_states, vector_cache)
}
