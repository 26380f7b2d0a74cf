# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
import gzip
import json
import struct
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hypensearch.errors import HypensearchError
from hypensearch.formats.encoded_items import read_encoded_items

END = bytes(4)


def varint(number: int) -> bytes:
    out = b""
    while number > 0x7F:
        out, number = out + bytes([number & 0x7F | 0x80]), number >> 7
    return out + bytes([number])


def field(number: int, value: bytes | int) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def array(vector: np.ndarray, dtype: str = "<f4", shape: list[int] | None = None, packed: bool = True) -> bytes:
    shape = list(vector.shape) if shape is None else shape
    sizes = field(2, b"".join(map(varint, shape))) if packed else b"".join(field(2, size) for size in shape)
    return field(6, field(1, field(1, vector.astype(dtype).tobytes()) + sizes + field(3, dtype.encode())))


def item(**nodes: bytes) -> bytes:
    return b"".join(field(1, field(1, name.encode()) + field(2, node)) for name, node in nodes.items())


def encoded(docid: str, text: str, vector: np.ndarray, **options) -> bytes:
    return item(text=field(1, text.encode()), representation=array(vector, **options), id=field(1, docid.encode()))


def stream(*items: bytes, end: bytes = END) -> bytes:
    packed = [gzip.compress(data, mtime=0) for data in items]
    return b"".join(struct.pack(">I", len(data)) + data for data in packed) + end


def read(path, content: bytes, skip: int = 0):
    path.write_bytes(content)
    return [found for _, found in read_encoded_items(path, skip)]


@given(
    st.lists(
        st.tuples(st.text(max_size=5), st.text(max_size=9), st.lists(st.floats(width=32), min_size=1)), max_size=5
    ),
    st.booleans(),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_round_trip(tmp_path, items, packed):
    content = stream(*(encoded(docid, text, np.float32(vector), packed=packed) for docid, text, vector in items))
    for skip in (0, 2):
        found = read(tmp_path / "a.docs", content, skip)
        assert [(one.docid, one.text) for one in found] == [(docid, text) for docid, text, _ in items[skip:]]
        for one, (_, _, vector) in zip(found, items[skip:], strict=True):
            np.testing.assert_array_equal(one.vector, np.float32(vector))


def test_the_authors_file(variant):
    wanted = np.load(variant / "documents.npz")
    found = [one for _, one in read_encoded_items(variant / "encoded_items.docs")]
    assert [one.docid for one in found] == wanted["ids"].tolist()
    np.testing.assert_array_equal(np.stack([one.vector for one in found]), wanted["embeddings"])
    lines = (variant / "documents.jsonl").read_bytes().decode().strip("\n").split("\n")
    assert [one.text for one in found] == [json.loads(line)["text"] for line in lines]


GOOD = encoded("a", "b", np.ones(2))


@pytest.mark.parametrize("dtype", ["<f4", "<f2", "<f8"])
def test_other_types_become_float32(tmp_path, dtype):
    (found,) = read(tmp_path / "a.docs", stream(encoded("a", "b", np.arange(3), dtype=dtype)))
    assert found.vector.dtype == np.float32
    assert found.vector.tolist() == [0, 1, 2]


def test_cut_off_anywhere_it_is_refused(tmp_path):
    content = stream(GOOD, GOOD)
    for length in range(len(content)):
        with pytest.raises(HypensearchError, match=r"a\.docs, item \d: the file breaks off"):
            read(tmp_path / "a.docs", content[:length])


@given(st.binary(max_size=200))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_whatever_it_is_only_our_error_escapes(tmp_path, data):
    with suppress(HypensearchError):
        read(tmp_path / "a.docs", stream(data))


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_of_a_changed_byte_only_our_error_escapes(tmp_path, place, change):
    changed = GOOD[:place] + bytes([GOOD[place] ^ change]) + GOOD[place + 1 :]
    with suppress(HypensearchError):
        read(tmp_path / "a.docs", stream(changed))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (item(text=field(1, b"x")), "no field 'representation', found 'text'"),
        (item(representation=field(1, b"x")), "of type '', wanted an array"),
        (item(representation=array(np.ones(2), dtype="<i8")), "of type '<i8'"),
        (item(representation=array(np.ones(6), shape=[2, 3])), r"shape \[2, 3\]"),
        (item(representation=array(np.ones(2), shape=[3])), r"shape \[3\] and 8 bytes"),
        (item(representation=array(np.ones(0))), r"shape \[0\]"),
        (item(representation=array(np.ones(2), shape=[2**60])), "wanted one vector"),
        (item(id=field(1, b"\xff"), representation=array(np.ones(2))), "not a protobuf message"),
        (b"\x0a\x7f", "not a protobuf message"),
        (b"\xff" * 12, "not a protobuf message"),
        (b"\x0b", "not a protobuf message"),
        (b"\x08\x01", "no field 'representation', found none"),
    ],
)
def test_items_of_another_kind(tmp_path, data, said):
    with pytest.raises(HypensearchError, match=rf"a\.docs, item 2: .*{said}"):
        read(tmp_path / "a.docs", stream(GOOD, data))


def test_sizes_are_bounded_before_anything_is_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr("hypensearch.formats.encoded_items.MAX_ITEM_BYTES", 1000)
    with pytest.raises(HypensearchError, match=r"item 1: more than 1,000 bytes once unpacked"):
        read(tmp_path / "a.docs", stream(bytes(100_000)))
    with pytest.raises(HypensearchError, match=r"item 1: 1,001 bytes long, more than the 1,000"):
        read(tmp_path / "a.docs", struct.pack(">I", 1001))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (stream(GOOD, end=END + b"x"), "more bytes behind the end mark"),
        (struct.pack(">I", 3) + b"abc" + END, "item 1: not gzip data"),
        (struct.pack(">I", 30) + gzip.compress(GOOD, mtime=0)[:30] + END, "item 1: gzip data breaks off"),
        (b'{"id": "a"}', "item 1: .* bytes long"),
    ],
)
def test_files_of_another_kind(tmp_path, content, said):
    with pytest.raises(HypensearchError, match=said):
        read(tmp_path / "a.docs", content)
