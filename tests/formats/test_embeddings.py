# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
import gzip
import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hypensearch.errors import HypensearchError
from hypensearch.formats.embeddings import faiss_flat_header, map_faiss_flat, open_vectors

VECTORS = np.arange(21, dtype=np.float32).reshape(7, 3) / 3
DOCIDS = [f"d{row}" for row in range(7)]
ITEM = {"id": "a", "contents": "b", "vector": [1, 2.5]}


def write_faiss(folder, header=None, docids=DOCIDS):
    folder.mkdir(exist_ok=True)
    (folder / "index").write_bytes((header or faiss_flat_header(7, 3)) + VECTORS.tobytes())
    (folder / "docid").write_text("".join(f"{docid}\n" for docid in docids))
    return folder


def write_jsonl(path, *items):
    lines = [item if isinstance(item, str) else json.dumps(item) for item in items]
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def read(path, rows=3, skip=0):
    blocks = list(open_vectors(path).blocks(rows, skip))
    return [docid for block in blocks for docid in block.docids], np.concatenate([block.vectors for block in blocks])


finite = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(st.lists(st.tuples(finite, finite), min_size=1, max_size=9), st.integers(1, 4), st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_jsonl_round_trip(tmp_path, vectors, rows, data):
    items = [{"id": row, "contents": f"t\u2028{row}", "vector": vector} for row, vector in enumerate(vectors)]
    path = write_jsonl(tmp_path / "embeddings.jsonl", *items)
    skip = data.draw(st.integers(0, len(vectors) - 1))
    for name in (path, tmp_path):
        blocks = list(open_vectors(name).blocks(rows, skip))
        assert all(len(block.docids) == rows for block in blocks[:-1])
        assert [docid for block in blocks for docid in block.docids] == [str(n) for n in range(skip, len(vectors))]
        np.testing.assert_array_equal(np.concatenate([block.vectors for block in blocks]), np.float32(vectors[skip:]))
        assert blocks[0].texts[0] == f"t\u2028{skip}"
        content = path.read_bytes()
        for block in blocks:
            for docid, (_, offset, length) in zip(block.docids, block.positions, strict=True):
                assert str(json.loads(content[offset : offset + length])["id"]) == docid


def test_gzipped_jsonl_and_blank_lines(tmp_path):
    path = tmp_path / "e.jsonl.gz"
    path.write_bytes(gzip.compress(b"\n" + json.dumps(ITEM).encode() + b"\n\n"))
    docids, vectors = read(path)
    assert docids == ["a"]
    assert vectors.tolist() == [[1, 2.5]]


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ("{", "not JSON"),
        ("[1]", "a JSON object was wanted, found a list"),
        (
            {"id": "x", "contents": "a corpus line"},
            "wanted 'id', 'contents' and 'vector', a list of numbers, found 'id'",
        ),
        ({**ITEM, "id": None}, "an id .* was wanted under 'id'"),
        ({**ITEM, "id": ""}, "the id is empty"),
        ({**ITEM, "id": "a b"}, "white space"),
        ({**ITEM, "vector": []}, "not a list of numbers"),
        ({**ITEM, "vector": [1, "2"]}, "not a list of numbers"),
        ({**ITEM, "vector": [1, True]}, "not a list of numbers"),
        ({**ITEM, "vector": [1, [2]]}, "not a list of numbers"),
        ({**ITEM, "vector": [1, 10**400]}, "not a list of numbers"),
        ({**ITEM, "vector": [1]}, "1 dimensions, the documents before have 2"),
    ],
)
def test_bad_lines_are_reported_with_file_and_line(tmp_path, item, said):
    path = write_jsonl(tmp_path / "embeddings.jsonl", ITEM, item)
    with pytest.raises(HypensearchError, match=rf"embeddings\.jsonl:2: .*{said}"):
        read(path)


@pytest.mark.parametrize("kind", ["IndexFlatIP", "IndexFlatL2"])
def test_reads_what_faiss_writes(tmp_path, kind):
    faiss = pytest.importorskip("faiss")
    index = getattr(faiss, kind)(3)
    index.add(VECTORS)
    write_faiss(tmp_path)
    faiss.write_index(index, str(tmp_path / "index"))
    docids, vectors = read(tmp_path)
    assert docids == DOCIDS
    np.testing.assert_array_equal(vectors, VECTORS)


def test_faiss_reads_what_we_write(tmp_path):
    faiss = pytest.importorskip("faiss")
    index = faiss.read_index(str(write_faiss(tmp_path) / "index"))
    np.testing.assert_array_equal(index.reconstruct_n(0, 7), VECTORS)


def test_faiss_folder_or_its_index_file(tmp_path):
    write_faiss(tmp_path)
    assert isinstance(map_faiss_flat(str(tmp_path / "index")), np.memmap)
    for path in (tmp_path, tmp_path / "index"):
        for skip in range(7):
            docids, vectors = read(path, rows=2, skip=skip)
            assert docids == DOCIDS[skip:]
            np.testing.assert_array_equal(vectors, VECTORS[skip:])


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (b"IHNf" + faiss_flat_header(7, 3)[4:], "a Faiss index of kind b'IHNf'; only flat ones"),
        (faiss_flat_header(8, 3), "its header says 8 vectors"),
        (faiss_flat_header(7, 4), "its header says 7 vectors of 4"),
        (b"IxFI\xff\xff\xff\xff" + faiss_flat_header(7, 3)[8:], "its header says 7 vectors of -1"),
    ],
)
def test_other_or_damaged_faiss_indexes(tmp_path, header, said):
    with pytest.raises(HypensearchError, match=said):
        open_vectors(write_faiss(tmp_path, header))


@pytest.mark.parametrize("length", range(1, 45))
def test_a_faiss_index_that_breaks_off(tmp_path, length):
    write_faiss(tmp_path)
    (tmp_path / "index").write_bytes(faiss_flat_header(7, 3)[:length])
    with pytest.raises(HypensearchError, match=r"index: "):
        open_vectors(tmp_path)


@pytest.mark.parametrize(
    ("docids", "said"),
    [
        (DOCIDS[:6], "6 docids for the 7 vectors"),
        ([*DOCIDS, "more"], "docid:8: more docids than the 7 vectors"),
        ([*DOCIDS[:3], "", *DOCIDS[4:]], "docid:4: the id is empty"),
        ([*DOCIDS[:3], "a b", *DOCIDS[4:]], "docid:4: .*white space"),
    ],
)
def test_docids_that_do_not_fit_the_faiss_index(tmp_path, docids, said):
    with pytest.raises(HypensearchError, match=said):
        read(write_faiss(tmp_path, docids=docids))


def test_unknown_forms(tmp_path):
    (tmp_path / "vectors.pkl").touch()
    for path, said in [("nowhere", "no such"), ("vectors.pkl", "unknown form"), (".", "without vectors of a known")]:
        with pytest.raises(HypensearchError, match=f"{said}.*wanted Pyserini's"):
            open_vectors(tmp_path / path)
