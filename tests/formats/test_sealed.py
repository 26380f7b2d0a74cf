# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Sealed folders of every format: their bytes, what the version before wrote, and all that can be wrong with them."""

from __future__ import annotations

import json
import os
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hypensearch
from hypensearch.errors import HypensearchError
from hypensearch.flat import FlatIndex, FlatIndexWriter
from hypensearch.formats import sealed
from hypensearch.formats.door import MAX_BYTES
from hypensearch.formats.json_files import compact_signed_json, signed_json
from hypensearch.formats.q_nets import open_q_nets
from hypensearch.graph.store import GraphIndex
from hypensearch.rerank.vector_cache import VectorCache
from hypensearch.surrogate.store import Surrogate, open_surrogate
from tests.commands import content
from tests.formats import sealed_folders
from tests.formats.sealed_folders import BEFORE, DIM, DOCIDS, FOLDERS, NUM_DOCS, VECTORS


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the version before wrote."""
    with tarfile.open(BEFORE) as tar:
        tar.extractall(folder := tmp_path_factory.mktemp("before"), filter="data")
    return folder / "sealed"


@pytest.mark.parametrize("name", FOLDERS)
def test_bytes_are_those_of_the_version_before(
    name: str, before: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = json.loads((before / "index" / "manifest.json").read_text())
    monkeypatch.setattr(hypensearch, "__version__", manifest["created_by"].split()[1])
    FOLDERS[name](tmp_path / name)
    assert content(tmp_path / name) == content(before / name)


# What the version before wrote.


@pytest.mark.parametrize("name", ["index", "joined/all"])
def test_an_index_of_the_version_before_opens(name: str, before: Path) -> None:
    with FlatIndex.open(before / name) as index:
        index.verify()
        assert list(index.docids()) == DOCIDS
        np.testing.assert_array_equal(index.vectors(range(NUM_DOCS)), VECTORS)
        if name == "index":
            assert [document.contents() for document in index.documents([0, 5])] == ["text of d0", "text of d5"]


def test_an_unfinished_index_of_the_version_before_is_finished(before: Path, tmp_path: Path) -> None:
    shutil.copytree(before / "unfinished_index", tmp_path / "i")
    options: dict[str, Any] = {"model": sealed_folders.MODEL, "documents": {"fields": []}, "store_documents": True}
    with FlatIndexWriter(tmp_path / "i", dim=DIM, dtype="float16", settings={"batch_size": 2}, **options) as writer:
        assert (writer.num_docs, writer.resume_at) == (3, {"row": 3})
        writer.append(DOCIDS[3:], VECTORS[3:], raw=sealed_folders.TEXTS[3:])
        writer.finish()
    with FlatIndex.open(tmp_path / "i") as index:
        index.verify()
        np.testing.assert_array_equal(index.vectors(range(NUM_DOCS)), VECTORS)


@pytest.mark.parametrize(("name", "shift"), [("new", 1), ("replaced", 2)])
def test_a_graph_of_the_version_before_opens(name: str, shift: int, before: Path) -> None:
    with FlatIndex.open(before / "graphs") as index:
        graph = GraphIndex.open(index, name)
        graph.verify()
        assert [graph.neighbours_of(row).tolist() for row in range(3)] == [[row + shift] for row in range(3)]


def test_codes_of_the_version_before_open(before: Path) -> None:
    with FlatIndex.open(before / "codes") as index:
        codes = _codes(index)
        codes.verify()
        assert codes.codes.tolist() == np.eye(NUM_DOCS, 4).tolist()
        assert codes.errors().tolist() == pytest.approx([1, 1, 1, 2, 2, 2])


def test_q_nets_of_the_version_before_open(before: Path) -> None:
    stored = open_q_nets(before / "q_nets")
    assert dict(stored.topics) == {"1": "one", "ü": "zwei"}
    assert stored.read(["ü"])["ü"]["weight_1"].tolist() == [[1], [1]]
    assert open_q_nets(before / "token_states").read(["2"])["2"]["states"].shape == (2, 4)


def test_vectors_kept_by_the_version_before_are_read(before: Path) -> None:
    cache = VectorCache(before / "vector_cache", dim=DIM, facts={"encoder": "f00d"})
    assert [cache.row_of(docid) for docid in ("d0", "d1", "ü")] == [0, 1, 2]
    np.testing.assert_array_equal(cache.take(np.arange(3)), VECTORS[:3])


# Damage.


def _codes(index: FlatIndex) -> Surrogate:
    codes = open_surrogate(index)
    assert codes is not None
    return codes


def _read_index(folder: Path) -> None:
    with FlatIndex.open(folder) as index:
        index.verify()


def _read_graph(folder: Path) -> None:
    with FlatIndex.open(folder) as index:
        GraphIndex.open(index, "replaced").check_once()


def _read_codes(folder: Path) -> None:
    with FlatIndex.open(folder) as index:
        _codes(index).check_once()


def _read_q_nets(folder: Path) -> None:
    stored = open_q_nets(folder)
    stored.read(stored.topics)


@dataclass(frozen=True)
class Case:
    """A format.

    :param folder: The folder that is made.
    :param read: Opens it and compares it with its digests.
    :param manifest: Its manifest.
    :param file: A file that the manifest names.
    :param newer: The first version that this hypensearch does not read.
    """

    folder: str
    read: Callable[[Path], None]
    manifest: str
    file: str
    newer: int


CASES = {
    "index": Case("index", _read_index, "manifest.json", "shard-*/vectors.npy", 2),
    "index, docids": Case("index", _read_index, "manifest.json", "shard-*/docid", 2),
    "graph": Case("graphs", _read_graph, "graphs/replaced/graph.json", "graphs/replaced/neighbours*", 3),
    "codes": Case("codes", _read_codes, "surrogate/surrogate.json", "surrogate/codes-*.npy", 9),
    "codes, sample": Case("codes", _read_codes, "surrogate/surrogate.json", "surrogate/sample-*.npy", 9),
    "q-nets": Case("q_nets", _read_q_nets, "manifest.json", "*.safetensors", 3),
}


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def changed(path: Path) -> None:
    whole = bytearray(path.read_bytes())
    whole[-3] ^= 1
    path.write_bytes(whole)


def gone(path: Path) -> None:
    path.unlink()


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def a_link_out(path: Path) -> None:
    elsewhere = path.resolve().parents[3] / "elsewhere"
    shutil.move(path, elsewhere)
    path.symlink_to(elsewhere)


HARMS = (cut, emptied, changed, gone, a_pipe, a_folder, a_link_out)


@pytest.fixture
def folder(request: pytest.FixtureRequest, tmp_path: Path, before: Path) -> Path:
    path = tmp_path / "a" / "b" / "c" / "folder"
    shutil.copytree(before / CASES[request.node.callspec.params["name"]].folder, path)
    return path


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("part", ["manifest", "file"])
@pytest.mark.parametrize("name", CASES)
def test_damage_is_an_error_of_one_line_that_names_the_file(
    name: str, part: str, harm: Callable[[Path], None], folder: Path
) -> None:
    case = CASES[name]
    case.read(folder)
    (path,) = folder.glob(getattr(case, part))
    harm(path)
    no_manifest = (part, harm) == ("manifest", gone)
    if no_manifest and "codes" in name:
        with FlatIndex.open(folder) as index:
            assert open_surrogate(index) is None  # they are made again when needed
        return
    with pytest.raises(HypensearchError) as caught:
        case.read(folder)
    said = str(caught.value)
    assert "\n" not in said
    assert (path.parent.name if no_manifest else path.name.split("-")[0]) in said
    assert "again" in said or no_manifest


@pytest.mark.parametrize("name", ["index", "graph", "codes", "q-nets"])
def test_every_byte_of_a_manifest_counts(name: str, folder: Path) -> None:
    case = CASES[name]
    path = folder / case.manifest
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        if name == "q-nets" and b'"checksum"' not in path.read_bytes():
            continue  # as version 0.1 wrote it
        with pytest.raises(HypensearchError, match=path.name):
            case.read(folder)
        path.write_bytes(whole[:place])
        with pytest.raises(HypensearchError, match=path.name):
            case.read(folder)


def _signed(facts: dict[str, Any], compact: bool) -> bytes:
    facts = {name: fact for name, fact in facts.items() if name != "checksum"}
    return compact_signed_json(facts) if compact else signed_json(facts)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": "newer"}, "format version [0-9]+, made by a newer hypensearch.*pip install --upgrade hypensearch"),
        ({"version": 0}, r"damaged \(no version\)"),
        ({"version": True}, r"damaged \(no version\)"),
        ({"version": "1"}, r"damaged \(no version\)"),
        ({"format": "a PWA"}, "not a manifest of the format 'hypensearch "),
    ],
)
@pytest.mark.parametrize("name", ["index", "graph", "codes", "q-nets"])
def test_other_formats_and_versions_are_refused(name: str, change: dict[str, Any], said: str, folder: Path) -> None:
    case = CASES[name]
    path = folder / case.manifest
    change = {key: case.newer if value == "newer" else value for key, value in change.items()}
    path.write_bytes(_signed({**json.loads(path.read_bytes()), **change}, compact=name == "q-nets"))
    with pytest.raises(HypensearchError, match=f"{path.name}: {said}"):
        case.read(folder)


def test_older_codes_are_made_again(before: Path, tmp_path: Path) -> None:
    shutil.copytree(before / "codes", tmp_path / "i")
    path = tmp_path / "i" / "surrogate" / "surrogate.json"
    path.write_bytes(signed_json({**json.loads(path.read_bytes()), "version": 7}))
    with pytest.raises(HypensearchError, match=r"format version 7, wanted 8 or later; remove .*surrogate, it is made"):
        _read_codes(tmp_path / "i")


@pytest.mark.parametrize("raw", [b"", b"[]", b"7", b"\xff\xfe", b"[" * 100_000, b'{"format": 1}'])
@pytest.mark.parametrize("name", ["index", "graph", "codes", "q-nets"])
def test_manifests_that_are_something_else(name: str, raw: bytes, folder: Path) -> None:
    path = folder / CASES[name].manifest
    path.write_bytes(raw)
    with pytest.raises(HypensearchError, match=rf"{path.name}: (damaged|not a manifest of the format 'hypensearch)"):
        CASES[name].read(folder)


@pytest.mark.parametrize("name", ["index", "graph", "codes", "q-nets"])
def test_manifests_that_are_too_large_take_no_memory(name: str, folder: Path) -> None:
    path = folder / CASES[name].manifest
    os.truncate(path, MAX_BYTES + 1)  # takes no room on disk
    with pytest.raises(HypensearchError, match=rf"{path.name}: damaged \(larger than {MAX_BYTES:,} bytes\)"):
        CASES[name].read(folder)


@pytest.mark.parametrize("name", ["graph", "codes"])
def test_what_was_made_of_other_vectors_is_refused(name: str, folder: Path, tmp_path: Path) -> None:
    with FlatIndexWriter(tmp_path / "other", dim=DIM) as writer:
        writer.append(DOCIDS, VECTORS + 1)
        writer.finish()
    beside = Path(CASES[name].manifest).parts[0]
    shutil.move(folder / beside, tmp_path / "other" / beside)
    with pytest.raises(HypensearchError, match=f"{beside}.*: was made of other vectors than .*other holds; .*again"):
        CASES[name].read(tmp_path / "other")


def test_a_header_with_another_shape_is_refused(before: Path, tmp_path: Path) -> None:
    shutil.copytree(before / "index", tmp_path / "i")
    (path,) = (tmp_path / "i").glob("shard-*/vectors.npy")
    path.write_bytes(path.read_bytes().replace(b"(6, 4)", b"(4, 6)"))
    with pytest.raises(HypensearchError, match=r"holds float32 \(4, 6\), wanted float32 \(6, 4\)"):
        FlatIndex.open(tmp_path / "i")


def test_a_file_that_was_replaced_meanwhile_is_looked_for_again(
    before: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between a reader's look at the manifest and at the files, another process may replace both."""
    shutil.copytree(before / "graphs", tmp_path / "i")
    read, manifest = sealed.SealedFormat.read, tmp_path / "i/graphs/replaced/graph.json"
    newer = manifest.read_bytes()

    def read_older_first(self: Any, *args: Any) -> Any:
        facts = read(self, *args)
        if self.name == "hypensearch graph" and facts.file == "gone.npy":
            manifest.write_bytes(newer)
        return facts

    monkeypatch.setattr(sealed.SealedFormat, "read", read_older_first)
    manifest.write_bytes(signed_json({**_unsigned(newer), "file": "gone.npy"}))
    _read_graph(tmp_path / "i")


def _unsigned(whole: bytes) -> dict[str, Any]:
    return {name: fact for name, fact in json.loads(whole).items() if name != "checksum"}
