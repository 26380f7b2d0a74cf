# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hypensearch.errors import HypensearchError
from hypensearch.rerank.vector_cache import FACTS, VectorCache
from tests.commands import content, disk_full_after

VECTORS = np.arange(12, dtype=np.float32).reshape(4, 3)
DOCIDS = ["a", "ü", "c c".replace(" ", "_"), "d"]


def opened(folder: Path, **facts: object) -> VectorCache:
    return VectorCache(folder, dim=3, facts={"encoder": "f00d", **facts})


def write(folder: Path) -> None:
    with opened(folder) as cache:
        cache.append(DOCIDS[:1], VECTORS[:1])
        cache.append(DOCIDS[1:], VECTORS[1:])


def assert_whole(cache: VectorCache) -> None:
    assert [cache.row_of(docid) for docid in [*DOCIDS, "e"]] == [0, 1, 2, 3, -1]
    assert [cache.docid(row) for row in range(4)] == DOCIDS
    np.testing.assert_array_equal(cache.vectors, VECTORS)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    empty = opened(tmp_path / "cache")
    assert (len(empty), empty.vectors.shape, "a" in empty) == (0, (0, 3), False)
    write(tmp_path / "cache")
    assert_whole(opened(tmp_path / "cache"))


def test_killed_at_any_byte(tmp_path: Path) -> None:
    """Whatever is missing of the last call's bytes, the rest is used and what was lost is written again."""
    write(tmp_path / "cache")
    files = {name: data for name, data in content(tmp_path / "cache").items() if name != FACTS}
    lengths_of = {"docids": range(2, len(files["docids"])), "sums": (4, 5, 15), "vectors": (12, 13, 47)}
    for name, lengths in lengths_of.items():
        for length in lengths:
            (tmp_path / "cache/docids").write_bytes(files["docids"] if name == "docids" else b"a\n")
            (tmp_path / "cache/vectors").write_bytes(files["vectors"])
            (tmp_path / "cache/sums").write_bytes(files["sums"])
            with open(tmp_path / "cache" / name, "r+b") as file:
                file.truncate(length)
            with opened(tmp_path / "cache") as cache:
                lost = [docid for docid in DOCIDS if docid not in cache]
                assert lost
                cache.append(lost, VECTORS[[DOCIDS.index(docid) for docid in lost]])
            assert_whole(opened(tmp_path / "cache"))


def test_full_disk(tmp_path: Path) -> None:
    with opened(tmp_path / "cache") as cache:
        cache.append(DOCIDS[:1], VECTORS[:1])
        with disk_full_after(20), pytest.raises(HypensearchError, match="cannot be written"):
            cache.append(DOCIDS[1:], VECTORS[1:])
    with opened(tmp_path / "cache") as cache:
        assert len(cache) == 1
        cache.append(DOCIDS[1:], VECTORS[1:])
    assert_whole(opened(tmp_path / "cache"))


def test_other_facts_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "cache")
    with pytest.raises(HypensearchError, match='another encoder \\("f00d", now it is "beef"\\): name a new folder'):
        opened(tmp_path / "cache", encoder="beef")
    with pytest.raises(HypensearchError, match="another max_length \\(null, now it is 7\\)"):
        opened(tmp_path / "cache", max_length=7)


def test_other_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(HypensearchError, match="no cache of vectors"):
        opened(tmp_path)
    with pytest.raises(HypensearchError, match="no cache of vectors"):
        opened(tmp_path / "mine")
    (tmp_path / "index").mkdir()
    for facts in (b"{", json.dumps({"format": "hypensearch graph"}).encode()):
        (tmp_path / "index" / FACTS).write_bytes(facts)
        with pytest.raises(HypensearchError, match="damaged"):
            opened(tmp_path / "index")


def test_damage_is_found(tmp_path: Path) -> None:
    write(tmp_path / "cache")
    for docids, vectors in ((b"a\na\n", bytes(24)), (b"a\nb\n", bytes(23))):
        (tmp_path / "cache/docids").write_bytes(docids)
        (tmp_path / "cache/vectors").write_bytes(vectors)
        with pytest.raises(HypensearchError, match="damaged"):
            opened(tmp_path / "cache")


def test_one_writer(tmp_path: Path) -> None:
    with opened(tmp_path / "cache"), pytest.raises(HypensearchError, match="locked by process"):
        write(tmp_path / "cache")


def test_vectors_that_are_not_finite(tmp_path: Path) -> None:
    vectors = VECTORS.copy()
    vectors[1, 2] = np.nan
    with opened(tmp_path / "cache") as cache, pytest.raises(HypensearchError, match="'ü' is not finite"):
        cache.append(DOCIDS, vectors)
    assert len(opened(tmp_path / "cache")) == 0


def test_a_vector_that_has_changed_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "cache")
    content = bytearray((tmp_path / "cache/vectors").read_bytes())
    content[2 * 12 + 2] ^= 1
    (tmp_path / "cache/vectors").write_bytes(content)
    cache = opened(tmp_path / "cache")
    np.testing.assert_array_equal(cache.take(np.array([3, 0])), VECTORS[[3, 0]])
    with pytest.raises(HypensearchError, match="vector of document 'c_c' has changed.*encode again"):
        cache.take(np.array([0, 2]))


def test_docids_that_are_no_text_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "cache")
    (tmp_path / "cache/docids").write_bytes(b"a\n\xff\nc\nd\n")
    with pytest.raises(HypensearchError, match="damaged .*can't decode byte 0xff.*encode again"):
        opened(tmp_path / "cache")
