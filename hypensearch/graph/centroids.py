# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Documents that stand for the parts of a corpus: those nearest to its k-means centroids.

Graph search may start from them in place of random documents. ``INDEX/centroids/centroids.json`` holds their rows.
"""

from __future__ import annotations

import os
from typing import Any, TypedDict

import numpy as np

from hypensearch.errors import HypensearchError, as_typed
from hypensearch.flat.index import FlatIndex
from hypensearch.formats.door import make_folder
from hypensearch.formats.files import FileLock, replace_when_whole
from hypensearch.formats.json_files import check_signed, parse_json, read_bounded, signed_json
from hypensearch.formats.schema import Count, checked

FOLDER = "centroids"
FORMAT = "hypensearch centroids"
FORMAT_VERSION = 2
_MANIFEST = "centroids.json"
_TRAINED_ON = 128  # documents a centroid
_READ_ROWS = 16384
_ITERATIONS = 10


def build_centroids(index: FlatIndex, count: int, *, seed: int = 0) -> np.ndarray:
    """Cluster the documents (Faiss' k-means, squared distances) and store the one nearest to each centroid.

    :param index: The document vectors.
    :param count: Centroids; fewer where there are fewer documents.
    :param seed: Of k-means.
    :return: Rows, largest cluster first, each once, int64, *Shape:* ``(at most count,)``.
    :raises HypensearchError: Without Faiss.
    """
    rows, sizes = _nearest_documents(index, _k_means(index, min(count, index.num_docs), seed))
    order = np.lexsort((rows, -sizes))
    chosen = rows[order][np.sort(np.unique(rows[order], return_index=True)[1])]
    _write(index, chosen, {"count": count, "seed": seed})
    return chosen


def open_centroids(index: FlatIndex) -> np.ndarray:
    """Read the rows of the documents nearest to the centroids, *Shape:* ``(num_centroids,)``.

    :raises HypensearchError: When there are none, or they are damaged or of other vectors; says what to do.
    """
    folder = os.path.join(index.folder, FOLDER)
    again = f"make them with: {as_typed('hypensearch.index', '--index', index.folder, '--centroids')}"
    try:
        content = read_bounded(os.path.join(folder, _MANIFEST), within=index.folder)
        facts = parse_json(content)
        if facts["version"] > FORMAT_VERSION:
            raise HypensearchError(f"{folder}: format version {facts['version']}: upgrade hypensearch, or {again}")
        if facts["version"] < FORMAT_VERSION:
            raise HypensearchError(f"{folder}: format version {facts['version']}, which is read no more; {again}")
        check_signed(content, facts)
        if facts["vectors"] != index.vectors_digest:
            raise HypensearchError(f"{folder}: were made of other vectors than {index.folder} holds; {again}")
        rows = np.array(checked(facts, _Facts)["rows"], dtype=np.int64)
        if not _are_rows(rows, index.num_docs):
            raise ValueError("rows that are none")
    except (FileNotFoundError, NotADirectoryError):
        raise HypensearchError(f"{index.folder} has no centroids to start from; {again}") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise HypensearchError(f"{folder}: damaged ({reason}); {again}") from None
    return rows


class _Facts(TypedDict):
    rows: list[Count]


def _are_rows(rows: np.ndarray, num_docs: int) -> bool:
    return rows.ndim == 1 and bool(len(rows)) and int(rows.min()) >= 0 and int(rows.max()) < num_docs


def _k_means(index: FlatIndex, count: int, seed: int) -> np.ndarray:
    try:
        import faiss
    except ImportError:
        raise HypensearchError("--centroids needs Faiss: pip install 'hypensearch[faiss]'") from None
    sample = np.sort(np.random.default_rng(seed).permutation(index.num_docs)[: _TRAINED_ON * count])
    k_means = faiss.Kmeans(index.dim, count, niter=_ITERATIONS, seed=seed, min_points_per_centroid=1)
    k_means.train(np.ascontiguousarray(index.vectors(sample)))
    return np.asarray(k_means.centroids)


def _nearest_documents(index: FlatIndex, centroids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give the row of each centroid's nearest document, and how many documents are nearest to each centroid."""
    import faiss

    engine = faiss.IndexFlatL2(index.dim)
    engine.add(centroids)
    best = np.full(len(centroids), np.inf, dtype=np.float32)
    rows = np.zeros(len(centroids), dtype=np.int64)
    sizes = np.zeros(len(centroids), dtype=np.int64)
    for start in range(0, index.num_docs, _READ_ROWS):
        block = np.ascontiguousarray(index.vector_block(start, start + _READ_ROWS), dtype=np.float32)
        sizes += np.bincount(engine.search(block, 1)[1][:, 0], minlength=len(centroids))
        of_block = faiss.IndexFlatL2(index.dim)
        of_block.add(block)
        distances, places = of_block.search(centroids, 1)
        nearer = distances[:, 0] < best
        best[nearer], rows[nearer] = distances[nearer, 0], places[nearer, 0] + start
    return rows, sizes


def _write(index: FlatIndex, rows: np.ndarray, facts: dict[str, Any]) -> None:
    folder = os.path.join(index.folder, FOLDER)
    make_folder(folder)
    belongs = {"format": FORMAT, "version": FORMAT_VERSION, "vectors": index.vectors_digest}
    with (
        FileLock(os.path.join(folder, ".lock")),
        replace_when_whole(os.path.join(folder, _MANIFEST), follow_link=False) as file,
    ):
        file.write(signed_json({**belongs, **facts, "rows": rows.tolist()}))
