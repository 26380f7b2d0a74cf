# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
import json
import os
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hypensearch.errors import HypensearchError
from hypensearch.formats.json_files import MAX_BYTES
from hypensearch.index.manifest import FileRecord, Manifest, ShardRecord, read_manifest

from .writing import write_index

names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
scalars = st.none() | st.booleans() | st.integers() | names
records = st.builds(FileRecord, st.integers(0, 2**50), names | st.lists(names, max_size=3))
shards = st.builds(
    ShardRecord,
    names,
    st.integers(0, 2**40),
    st.dictionaries(names, records),
    st.none() | st.dictionaries(names, scalars),
)
manifests = st.builds(
    Manifest,
    dim=st.integers(1, 10_000),
    dtype=st.sampled_from(["float32", "float16"]),
    num_docs=st.integers(0, 2**40),
    model=st.none() | st.dictionaries(names, scalars),
    shards=st.lists(shards, max_size=3),
    generation=st.integers(1, 9),
    extra_files=st.lists(names, max_size=2),
    created_by=names,
)


@given(manifests)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_written_is_read(tmp_path, manifest):
    manifest.write(str(tmp_path))
    assert read_manifest(str(tmp_path)) == manifest


def test_cut_off_anywhere_it_is_refused(tmp_path):
    write_index(tmp_path)
    path = tmp_path / "manifest.json"
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(HypensearchError, match=r"manifest\.json: (damaged|not the manifest)"):
            read_manifest(str(tmp_path))


def test_one_wrong_byte_is_refused(tmp_path):
    write_index(tmp_path)
    path = tmp_path / "manifest.json"
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(HypensearchError, match=r"manifest\.json"):
            read_manifest(str(tmp_path))


def test_a_newer_format_says_upgrade(tmp_path):
    write_index(tmp_path)
    path = tmp_path / "manifest.json"
    newer = {**json.loads(path.read_text()), "version": 2, "graphs": [], "created_by": "hypensearch 9.9 " + "x" * 60}
    path.write_text(json.dumps(newer))
    assert error_of(tmp_path) == (
        f"{path}: format version 2, made by a newer hypensearch (hypensearch 9.9 {'x' * 44}); this one reads up to "
        "version 1: pip install --upgrade hypensearch"
    )


def error_of(folder):
    with pytest.raises(HypensearchError) as caught:
        read_manifest(str(folder))
    return str(caught.value)


def test_every_kind_of_damage_is_named(tmp_path):
    write_index(tmp_path)
    path = tmp_path / "manifest.json"
    facts = json.loads(path.read_text())
    for content, what in (
        ("{", "not JSON"),
        (json.dumps({**facts, "version": 0}), "no version"),
        (json.dumps({**facts, "version": True}), "no version"),
        (json.dumps({**facts, "generation": 7}), "its content does not match its checksum"),
    ):
        path.write_text(content)
        again = "copy the index anew, or encode again with --overwrite"
        assert error_of(tmp_path) == f"{path}: damaged ({what}); {again}"
    os.truncate(path, MAX_BYTES + 1)  # takes no room on disk
    assert error_of(tmp_path) == f"{path}: damaged (larger than {MAX_BYTES:,} bytes); {again}"


@pytest.mark.parametrize("harm", [{"dtype": "float64"}, {"dim": -1}, {"num_docs": 2.0}, {"num_docs": True}])
def test_sizes_and_types_that_no_index_has_are_refused_with_any_checksum(tmp_path, harm):
    write_index(tmp_path)
    replace(read_manifest(str(tmp_path)), **harm).write(str(tmp_path))
    assert "damaged (its content does not match its checksum)" in error_of(tmp_path)


@pytest.mark.parametrize("content", ["[]", '{"name": "a PWA"}', "7"])
def test_a_foreign_manifest_is_not_ours(tmp_path, content):
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(HypensearchError, match="not the manifest of a hypensearch index"):
        read_manifest(str(tmp_path))
