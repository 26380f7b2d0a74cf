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
from hypensearch.flat import FlatIndex
from hypensearch.flat.prebuilt import find_prebuilt_index, prebuilt_indexes
from tests.fuzzing import memory_bounded
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


def _hostile(folder: Path, kind: str) -> Path:
    """An archive that wants to write outside of its folder, or more than there is room for."""
    archive = folder / "hostile.tar"
    packing = "w:gz" if kind in ("zeros", "a long header") else "w"
    with tarfile.open(archive, packing, format=tarfile.PAX_FORMAT) as tar:
        if kind == "a chain of links":
            _add_chain(tar)
        elif kind == "zeros":
            member = tarfile.TarInfo("toy/vectors.npy")
            member.size = 2**28
            tar.addfile(member, _Zeros())
        elif kind == "a long header":
            tar.addfile(tarfile.TarInfo("toy/manifest.json"))
            header = tarfile.TarInfo("x")
            header.type, header.size = tarfile.XHDTYPE, 2**26
            tar.addfile(header, _Zeros())
        elif kind == "the same twice":
            tar.addfile(tarfile.TarInfo("toy/a"))
            tar.addfile(tarfile.TarInfo("toy/a"))
        elif kind == "an absolute path":
            tar.addfile(tarfile.TarInfo(str(folder / "outside")))
        else:
            member = tarfile.TarInfo("toy/a")
            member.type = {"a link": tarfile.SYMTYPE, "a hard link": tarfile.LNKTYPE, "a pipe": tarfile.FIFOTYPE}[kind]
            member.linkname = "../../../outside"
            tar.addfile(member)
    return archive


def _add_chain(tar: tarfile.TarFile) -> None:
    """Links to folders with long names, whose real path is too long to be told from one inside (CVE-2025-4517)."""
    long, step = "d" * 247, ""
    for letter in "abcdefghijklmnop":
        folder = tarfile.TarInfo(f"{step}{long}")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        link = tarfile.TarInfo(f"{step}{letter}")
        link.type, link.linkname = tarfile.SYMTYPE, long
        tar.addfile(link)
        step += f"{long}/"
    path = "/".join("abcdefghijklmnop") + "/" + "l" * 254
    link = tarfile.TarInfo(path)
    link.type, link.linkname = tarfile.SYMTYPE, "../" * 16
    tar.addfile(link)
    escape = tarfile.TarInfo("escape")
    escape.type, escape.linkname = tarfile.SYMTYPE, f"{path}/../../.."
    tar.addfile(escape)
    tar.addfile(tarfile.TarInfo("escape/outside"))


class _Zeros(io.RawIOBase):
    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return bytes(size)


@pytest.mark.parametrize(
    "kind",
    [
        *("a chain of links", "a link", "a hard link", "a pipe", "the same twice", "an absolute path"),
        *("zeros", "a long header"),
    ],
)
def test_hostile_archives_leave_nothing(kind: str, registry: Path) -> None:
    archive = _hostile(registry.parent, kind)
    _register(registry, archive, hashlib.sha256(archive.read_bytes()).hexdigest())
    before = set(registry.parent.rglob("*"))
    with memory_bounded(2**27), pytest.raises(HypensearchError, match="cannot be unpacked") as refused:
        find_prebuilt_index("toy")
    assert "\n" not in str(refused.value)
    cache = registry.parent / "cache"
    assert set(registry.parent.rglob("*")) - before <= {cache, cache / "indexes"}


@pytest.mark.parametrize(
    ("records", "said"),
    [
        ({"../../x": {}}, "is no name of an index"),
        ({"a/b": {}}, "is no name of an index"),
        ({"\x1b[2J": {}}, "is no name of an index"),
        ({"toy": {"urls": [7], "sha256": "0" * 64}}, r"its record is damaged \(Expected `str`, got `int`"),
        ({"toy": {"urls": "http://x", "sha256": "0" * 64}}, r"its record is damaged \(Expected `array`, got `str`"),
        ({"toy": {"urls": [], "sha256": "../../x"}}, "its record is damaged"),
        ({"toy": {"urls": ["gopher://x/y"], "sha256": "0" * 64}}, "wanted an address that begins with one of"),
        ({"toy": {"urls": ["http://[x"], "sha256": "0" * 64}}, "not an address"),
        ({"toy": {"urls": ["http://a:b@h:port/p?key=c"], "sha256": "0" * 64}}, r"http://h/p: not an address"),
    ],
)
def test_records_that_cannot_be(records: dict[str, object], said: str, registry: Path) -> None:
    registry.write_text(json.dumps(records))
    with pytest.raises(HypensearchError, match=said) as refused:
        find_prebuilt_index("toy")
    assert not {"a:b", "key=c"} & set(str(refused.value).split())
    assert "a:b@" not in str(refused.value)
    assert not list((registry.parent / "cache").rglob("*.tar"))


def test_nothing_is_downloaded_offline(registry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYPENSEARCH_OFFLINE", "1")
    with pytest.raises(HypensearchError, match="prebuilt index toy: not on this machine, and nothing is downloaded"):
        find_prebuilt_index("toy")


def test_what_somebody_planted_is_not_taken_for_the_index(registry: Path) -> None:
    folder = find_prebuilt_index("toy").parent
    planted = registry.parent / "planted"
    folder.rename(planted)
    folder.symlink_to(planted)
    with pytest.raises(HypensearchError, match="was not unpacked there by this user"):
        find_prebuilt_index("toy")
