# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from hypensearch.errors import HypensearchError
from hypensearch.index import FlatIndex
from hypensearch.index.prebuilt import find_prebuilt_index, prebuilt_indexes
from tests.search.strategies import save_index


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An archive of a two-document index, registered as "toy" under a ``file://`` URL."""
    save_index(tmp_path / "toy", np.eye(2, dtype=np.float32), ["a", "b"]).close()
    archive = tmp_path / "toy.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "toy", "toy")
    path = tmp_path / "registry.json"
    _register(path, archive, hashlib.sha256(archive.read_bytes()).hexdigest())
    monkeypatch.setenv("HYPENSEARCH_PREBUILT_INDEXES", str(path))
    monkeypatch.setenv("HYPENSEARCH_CACHE", str(tmp_path / "cache"))
    return path


def _register(path: Path, archive: Path, sha256: str) -> None:
    path.write_text(json.dumps({"toy": {"description": "", "urls": [archive.as_uri()], "sha256": sha256}}))


def test_downloads_once(registry: Path) -> None:
    assert list(prebuilt_indexes()) == ["toy"]
    folder = find_prebuilt_index("toy")
    with FlatIndex.open(folder) as index:
        assert list(index.docids()) == ["a", "b"]
    (registry.parent / "toy.tar.gz").unlink()
    assert find_prebuilt_index("toy") == folder


def test_unknown_name_tells_the_known_ones(registry: Path) -> None:
    with pytest.raises(HypensearchError, match="known are: toy"):
        find_prebuilt_index("other")


def test_wrong_hash_is_refused_and_nothing_is_kept(registry: Path) -> None:
    _register(registry, registry.parent / "toy.tar.gz", "0" * 64)
    with pytest.raises(HypensearchError, match="sha256 is"):
        find_prebuilt_index("toy")
    assert not list((registry.parent / "cache" / "indexes").glob("*.tar"))


def test_archive_that_leaves_its_folder_is_refused(registry: Path) -> None:
    archive = registry.parent / "evil.tar"
    with tarfile.open(archive, "w") as tar:
        member = tarfile.TarInfo("../outside")
        member.size = 1
        tar.addfile(member, io.BytesIO(b"x"))
    _register(registry, archive, hashlib.sha256(archive.read_bytes()).hexdigest())
    with pytest.raises(HypensearchError, match="cannot be unpacked"):
        find_prebuilt_index("toy")
    assert not list(registry.parent.rglob("outside"))


def test_a_record_of_pyserinis(registry: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """All of its keys, and md5; progress is shown while it is downloaded."""
    archive = registry.parent / "toy.tar.gz"
    record = {
        "description": "two documents",
        "filename": archive.name,
        "readme": "toy.md",
        "urls": ["file:///nowhere/toy.tar.gz", archive.as_uri()],  # the first that gives it is taken
        "md5": hashlib.md5(archive.read_bytes()).hexdigest(),
        "size compressed (bytes)": archive.stat().st_size,
        "documents": 2,
        "downloaded": False,
        "texts": "toy-lucene",
    }
    registry.write_text(json.dumps({"toy": record}))

    folder = find_prebuilt_index("toy")

    assert folder.parent.name == f"toy.{record['md5']}"
    assert f"toy.{record['md5']}.tar: 100%" in capfd.readouterr().err
