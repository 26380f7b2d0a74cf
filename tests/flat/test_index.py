# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
import os
import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hypensearch.errors import HypensearchError
from hypensearch.flat import FlatIndex, FlatIndexWriter
from hypensearch.flat.join import join_indexes
from hypensearch.flat.manifest import Manifest, ShardRecord, read_manifest
from hypensearch.formats.npy import npy_header
from hypensearch.formats.sealed import FileRecord, SealedFormat

from .test_docids import docids
from .writing import MODEL, vectors_of, write_index


@given(docids.filter(bool), st.integers(1, 9), st.sampled_from(["float32", "float16"]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
def test_what_is_written_is_read(tmp_path, texts, block_rows, dtype):
    write_index(tmp_path / "i", texts, block_rows=block_rows, dtype=dtype, overwrite=True)
    with FlatIndex.open(tmp_path / "i") as index:
        assert (index.num_docs, index.dim, index.dtype, index.model) == (len(texts), 3, dtype, MODEL)
        np.testing.assert_array_equal(index.shards[0].vectors, vectors_of(len(texts)))
        assert index.shards[0].vectors.dtype == dtype
        assert list(index.docids()) == texts
        assert [index.docid(row) for row in range(len(texts))] == texts
        assert [index.row_of(docid) for docid in texts] == list(range(len(texts)))
        assert sorted(texts) == [texts[row] for row in np.argsort(index.shards[0].docid_rank)]
        assert index.row_of("no such docid") is None
        asked = [*texts, "no such docid", texts[0] + "\0", texts[-1][:-1], *reversed(texts)]
        wanted = [-1 if (row := index.row_of(docid)) is None else row for docid in asked]
        assert index.rows_of(asked).tolist() == wanted
        assert index.rows_of([]).tolist() == []
        index.verify()


def test_its_files_open_elsewhere(tmp_path):
    write_index(tmp_path)
    (shard,) = tmp_path.glob("shard-*")
    np.testing.assert_array_equal(np.load(shard / "vectors.npy"), vectors_of(5))
    assert (shard / "docid").read_text() == "a\nb\nc\nd\ne\n"


def test_vectors_are_mapped_not_copied(tmp_path):
    write_index(tmp_path)
    vectors = FlatIndex.open(tmp_path).shards[0].vectors
    assert isinstance(vectors, np.memmap)
    assert not vectors.flags.writeable


def test_opening_the_size_of_ms_marco_copies_no_array(tmp_path):
    num_docs, dim = 8_841_823, 768
    shapes = {
        "vectors.npy": ("<f4", (num_docs, dim)),
        "docid.rank.npy": ("<u4", (num_docs,)),
        "docid.offsets.npy": ("<u8", (num_docs + 1,)),
    }
    files = {}
    for name, (dtype, shape) in shapes.items():
        header = npy_header(np.dtype(dtype), shape)
        with open(tmp_path / name, "wb") as file:  # a file with a hole: it takes no room on the disk
            file.write(header)
            file.truncate(len(header) + np.dtype(dtype).itemsize * int(np.prod(shape)))
        files[name] = FileRecord(os.path.getsize(tmp_path / name), "0" * 64)
    files["vectors.npy"] = FileRecord(files["vectors.npy"].bytes, ["0" * 64] * -(-num_docs // 8192))
    (tmp_path / "docid").write_bytes(b"1\n")
    files["docid"] = FileRecord(2, "0" * 64)
    Manifest(dim, "float32", num_docs, None, [ShardRecord(".", num_docs, files)]).write(str(tmp_path))
    tracemalloc.start()
    try:
        assert FlatIndex.open(tmp_path).num_docs == num_docs
        assert tracemalloc.get_traced_memory()[1] < num_docs  # bytes: no array was copied
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", [300 * "9", "docid/offsets.npy"])
def test_names_that_no_file_can_have_are_refused(tmp_path, name):
    write_index(tmp_path)
    manifest = read_manifest(str(tmp_path))
    manifest.shards[0].files[name] = FileRecord(2, "0" * 64)
    manifest.write(str(tmp_path))
    with pytest.raises(HypensearchError, match=r"manifest.json: damaged \(Expected"):
        FlatIndex.open(tmp_path)


def test_rows_outside_are_refused(tmp_path):
    write_index(tmp_path)
    index = FlatIndex.open(tmp_path)
    for row in (-1, 5):
        with pytest.raises(IndexError):
            index.docid(row)


def test_open_index_survives_its_replacement(tmp_path):
    write_index(tmp_path)
    old = FlatIndex.open(tmp_path)
    write_index(tmp_path, ["x", "y"], overwrite=True)
    assert list(old.docids()) == ["a", "b", "c", "d", "e"]
    np.testing.assert_array_equal(old.shards[0].vectors, vectors_of(5))
    assert list(FlatIndex.open(tmp_path).docids()) == ["x", "y"]
    assert len(list(tmp_path.glob("shard-*"))) == 1


def test_reader_that_loses_the_race_reads_the_new_index(tmp_path, monkeypatch):
    write_index(tmp_path)
    read, replaced = SealedFormat.read, []

    def read_then_replace(*args):
        manifest = read(*args)
        if not replaced:
            replaced.append(True)
            write_index(tmp_path, ["x", "y"], overwrite=True)
        return manifest

    monkeypatch.setattr(SealedFormat, "read", read_then_replace)
    assert list(FlatIndex.open(tmp_path).docids()) == ["x", "y"]


def test_missing_folder(tmp_path):
    with pytest.raises(HypensearchError, match=r"nowhere: no such index folder; .*encode"):
        FlatIndex.open(tmp_path / "nowhere")


def test_a_file_is_no_index(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(HypensearchError, match="is a file"):
        FlatIndex.open(tmp_path / "file")


def test_some_other_folder(tmp_path):
    with pytest.raises(HypensearchError, match=r"not an index \(no manifest\.json"):
        FlatIndex.open(tmp_path)


@pytest.mark.parametrize("names", [["index", "docid"], ["embeddings.jsonl"]])
def test_pyserinis_folders_are_named_with_the_way_to_import_them(tmp_path, names):
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(HypensearchError, match=r"Pyserini's .* input --vectors"):
        FlatIndex.open(tmp_path)


@pytest.mark.parametrize(("name", "said"), [("vectors.npy", "the vectors of rows 0 to 4"), ("docid", "has changed")])
def test_verify_finds_a_changed_byte(tmp_path, name, said):
    write_index(tmp_path)
    (path,) = tmp_path.glob(f"shard-*/{name}")
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)
    with pytest.raises(HypensearchError, match=said):
        FlatIndex.open(tmp_path).verify()


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(data=st.data(), sizes=st.lists(st.integers(1, 9), min_size=1, max_size=3))
def test_vectors_of_rows_over_shards(tmp_path_factory, dtype, data, sizes):
    folder, ends = tmp_path_factory.mktemp("shards"), np.cumsum(sizes)
    wanted = np.random.default_rng(0).standard_normal((ends[-1], 3)).astype(dtype)
    for number, (end, size) in enumerate(zip(ends, sizes, strict=True)):
        with FlatIndexWriter(folder / str(number), dim=3, dtype=dtype) as writer:
            writer.append([f"d{row}" for row in range(end - size, end)], wanted[end - size : end])
            writer.finish()
    join_indexes([folder / str(number) for number in range(len(sizes))], folder / "joined")
    rows = data.draw(st.lists(st.integers(0, int(ends[-1]) - 1)))
    start = data.draw(st.integers(0, int(ends[-1]) - 1))
    stop = data.draw(st.integers(start + 1, int(ends[-1]) + 5))
    with FlatIndex.open(folder / "joined") as index:
        vectors = index.vectors(rows)
        assert (vectors.dtype, vectors.shape) == (np.float32, (len(rows), 3))
        np.testing.assert_array_equal(vectors, wanted[rows].astype(np.float32) if rows else vectors)
        block = index.vector_block(start, stop)
        assert block.dtype == dtype
        np.testing.assert_array_equal(block, wanted[start:stop])


@pytest.mark.parametrize("rows", [[0, 7], [-1], [0, 2**40]])
def test_vectors_of_rows_outside_are_refused(tmp_path, rows):
    write_index(tmp_path)
    with FlatIndex.open(tmp_path) as index, pytest.raises(IndexError, match=r"rows -?\d+ to -?\d+ of 5"):
        index.vectors(rows)


def test_the_digest_of_the_vectors_is_theirs_alone(tmp_path):
    digests = []
    for name, scale, docids_ in (("a", 1, "abcdefg"), ("b", 1, "hijklmn"), ("c", 2, "abcdefg")):
        write_index(tmp_path / name, docids=list(docids_), scale=scale)
        with FlatIndex.open(tmp_path / name) as index:
            digests.append(index.vectors_digest)
    assert digests[0] == digests[1] != digests[2]
