# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hypensearch.errors import HypensearchError
from hypensearch.flat.manifest import (
    DOCID,
    DOCID_OFFSETS,
    DOCID_RANK,
    DOCUMENT_POSITIONS,
    VECTORS,
    Manifest,
    ShardRecord,
    read_manifest,
)
from hypensearch.formats.json_files import signed_json
from hypensearch.formats.sealed import FileRecord

from .writing import write_index

names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=8)
names = names.filter(lambda name: name not in (".", ".."))
scalars = st.none() | st.booleans() | st.integers(-(2**60), 2**60) | names
digests = st.text("0123456789abcdef", min_size=64, max_size=64)
facts_of_models = st.dictionaries(names.map("own_{}".format), scalars)


@st.composite
def shards(draw, dim, dtype):
    num_docs = draw(st.integers(0, 40_000))
    rows = {VECTORS: dim * np.dtype(dtype).itemsize, DOCID_RANK: 4, DOCUMENT_POSITIONS: 16}
    files = {name: FileRecord(192 + num_docs * size, draw(digests)) for name, size in rows.items()}
    files[VECTORS] = FileRecord(files[VECTORS].bytes, [draw(digests)] * -(-num_docs // 8192))
    files[DOCID_OFFSETS] = FileRecord(192 + (num_docs + 1) * 8, draw(digests))
    files[DOCID] = FileRecord(draw(st.integers(0, 2**40)), draw(digests))
    return ShardRecord(draw(names), num_docs, files, draw(st.none() | st.just({"files": [{"path": "documents"}]})))


@st.composite
def manifests(draw):
    dim, dtype = draw(st.integers(1, 10_000)), draw(st.sampled_from(["float32", "float16"]))
    of = draw(st.lists(shards(dim, dtype), min_size=1, max_size=3).filter(lambda of: any(s.num_docs for s in of)))
    return Manifest(
        dim=dim,
        dtype=dtype,
        num_docs=sum(shard.num_docs for shard in of),
        model=draw(st.none() | facts_of_models),
        shards=of,
        generation=draw(st.integers(1, 9)),
        extra_files=draw(st.sampled_from([[], ["index", "docid"]])),
        created_by=draw(names),
    )


@given(manifests())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_written_is_read(tmp_path, manifest):
    manifest.write(str(tmp_path))
    assert read_manifest(str(tmp_path)) == manifest


def error_of(folder):
    with pytest.raises(HypensearchError) as caught:
        read_manifest(str(folder))
    return str(caught.value)


@pytest.mark.parametrize(
    ("harm", "what"),
    [
        ({"dtype": "float64"}, r"Expected float32 or float16 - at `\$\.dtype`"),
        ({"dim": -1}, r"Expected `int` >= 1 - at `\$\.dim`"),
        ({"dim": "4"}, r"Expected `int`, got `str` - at `\$\.dim`"),
        ({"num_docs": 2.0}, r"Expected `int`, got `float` - at `\$\.num_docs`"),
        ({"num_docs": True}, r"Expected `int`, got `bool`"),
        ({"num_docs": 2**40}, r"num_docs is 1099511627776, which is not the sum over its shards"),
        ({"model": ["a"]}, r"Expected `object \| null`, got `array` - at `\$\.model`"),
        ({"model": 7}, r"Expected `object \| null`, got `int` - at `\$\.model`"),
        ({"model": {"name": ["a"]}}, r"at `\$\.name`"),
        ({"shards": []}, r"length >= 1 - at `\$\.shards`"),
        ({"extra_files": ["../x"]}, r"Expected index or docid - at"),
    ],
)
def test_sizes_and_types_that_no_index_has_are_refused_with_any_checksum(tmp_path, harm, what):
    write_index(tmp_path)
    replace(read_manifest(str(tmp_path)), **harm).write(str(tmp_path))
    with pytest.raises(HypensearchError, match=rf"damaged \(.*{what}.*\); copy the index again"):
        read_manifest(str(tmp_path))


@pytest.mark.parametrize(
    ("file", "harm", "what"),
    [
        ("vectors.npy", {"sha256": None}, "Expected `str | array`, got `null`"),
        ("vectors.npy", {"sha256": []}, "vectors.npy has not the digests that it should have"),
        ("vectors.npy", {"bytes": "7"}, "Expected `int`, got `str`"),
        ("vectors.npy", {"bytes": 7}, "vectors.npy of 7 bytes cannot hold"),
        ("docid", {"sha256": "../../x"}, "Expected a SHA-256 - at"),
        ("docid", {"sha256": ["0" * 64]}, "docid has not the digests that it should have"),
        ("docid.rank.npy", None, "names no docid.rank.npy"),
    ],
)
def test_files_that_cannot_be_are_refused_with_any_checksum(tmp_path, file, harm, what):
    write_index(tmp_path)
    facts = {key: value for key, value in json.loads((tmp_path / "manifest.json").read_text()).items()}
    del facts["checksum"]
    files = facts["shards"][0]["files"]
    if harm is None:
        del files[file]
    else:
        files[file] |= harm
    (tmp_path / "manifest.json").write_bytes(signed_json(facts))
    assert what in error_of(tmp_path)


def test_a_folder_named_by_half_a_character_is_refused(tmp_path):
    write_index(tmp_path)
    facts = json.loads((tmp_path / "manifest.json").read_text())
    del facts["checksum"]
    facts["shards"][0]["folder"] = "\ud800"
    (tmp_path / "manifest.json").write_bytes(signed_json(facts))
    assert "Expected a relative path" in error_of(tmp_path)
