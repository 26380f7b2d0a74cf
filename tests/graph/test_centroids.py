# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hypensearch.errors import HypensearchError
from hypensearch.formats.json_files import signed_json
from hypensearch.graph.centroids import build_centroids, open_centroids
from hypensearch.index.join import join_indexes
from tests.commands import refuse, succeed
from tests.search.strategies import random_vectors, save_index

pytest.importorskip("faiss")


def test_one_document_of_each_cluster_largest_first(tmp_path: Path) -> None:
    means = 100 * np.eye(4, dtype=np.float32)
    sizes = [40, 10, 30, 20]
    vectors = np.concatenate([np.repeat(means[i : i + 1], size, axis=0) for i, size in enumerate(sizes)])
    vectors += random_vectors(100, 4) * 0.1
    index = save_index(tmp_path / "index", vectors)
    rows = build_centroids(index, 4)
    cluster = np.repeat(np.arange(4), sizes)
    assert cluster[rows].tolist() == [0, 2, 3, 1]
    for row in rows:
        members = vectors[cluster == cluster[row]]
        distances = np.linalg.norm(members - members.mean(axis=0), axis=1)
        assert np.isclose(np.linalg.norm(vectors[row] - members.mean(axis=0)), distances.min(), rtol=1e-4)
    np.testing.assert_array_equal(open_centroids(index), rows)


@pytest.mark.parametrize("num_docs", [1, 2, 7])
def test_fewer_documents_than_centroids_and_repeated_ones(tmp_path: Path, num_docs: int) -> None:
    index = save_index(tmp_path / "index", np.ones((num_docs, 4), dtype=np.float32))
    rows = build_centroids(index, 50)
    assert 1 <= len(rows) == len(set(rows.tolist())) <= num_docs


def test_shards_change_nothing(tmp_path: Path) -> None:
    vectors = random_vectors(60, 8)
    whole = build_centroids(save_index(tmp_path / "whole", vectors), 5)
    for number, part in enumerate((slice(0, 25), slice(25, 60))):
        docids = [f"d{row}" for row in range(60)][part]
        save_index(tmp_path / str(number), vectors[part], docids)
    join_indexes([tmp_path / "0", tmp_path / "1"], tmp_path / "joined")
    from hypensearch.flat import FlatIndex

    np.testing.assert_array_equal(build_centroids(FlatIndex.open(tmp_path / "joined"), 5), whole)


def test_what_is_missing_damaged_or_of_other_vectors_is_refused(tmp_path: Path) -> None:
    index = save_index(tmp_path / "index", random_vectors(30, 4))
    with pytest.raises(HypensearchError, match="has no centroids to start from; make them with"):
        open_centroids(index)
    build_centroids(index, 3)
    other = save_index(tmp_path / "other", random_vectors(30, 4, seed=1))
    (tmp_path / "index" / "centroids").rename(tmp_path / "other" / "centroids")
    with pytest.raises(HypensearchError, match="made of other vectors"):
        open_centroids(other)
    build_centroids(other, 3)
    path = tmp_path / "other" / "centroids" / "centroids.json"
    facts = json.loads(path.read_text())
    del facts["checksum"]
    for change, message in (
        ({"rows": [30]}, "damaged .rows that are none"),
        ({"rows": []}, "damaged"),
        ({"rows": 4}, "damaged"),
        ({"rows": ["a"]}, "damaged"),
        ({"version": 1}, "is read no more"),
        ({"version": 3}, "upgrade hypensearch"),
    ):
        path.write_bytes(signed_json({**facts, **change}))
        with pytest.raises(HypensearchError, match=message):
            open_centroids(other)
    path.write_bytes(signed_json(facts).replace(b"rows", b"r0ws"))
    with pytest.raises(HypensearchError, match="does not match its checksum"):
        open_centroids(other)


def test_command(tmp_path: Path) -> None:
    save_index(tmp_path / "index", random_vectors(30, 4))
    assert "the 3 documents of 30" in succeed("index", "--index", tmp_path / "index", "--centroids", 3)
    assert "not a whole number" in refuse("index", "--index", tmp_path / "index", "--centroids", 0)
