# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The authors' ``encoded_items.docs``: document vectors as docarray streams them, read without docarray.

Repeated ``[4-byte big-endian length][gzip of one protobuf DocProto]``, closed by four zero bytes. A DocProto is a map
from field name to node; a node holds its value under the number of its type: 1 text, 6 array. Nothing in the file is
trusted: sizes are bounded before anything is unpacked, and what is not understood is an error with the item's number.
"""

from __future__ import annotations

import math
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from hypensearch.errors import HypensearchError
from hypensearch.formats.files import open_stream

MAX_ITEM_BYTES = 64 * 2**20

_TEXT_NODE, _ARRAY_NODE = 1, 6
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_DTYPES = {"<f4": "<f4", "<f2": "<f2", "<f8": "<f8", "float32": "<f4"}


@dataclass(frozen=True, slots=True)
class EncodedItem:
    """One encoded document.

    :param docid: Its id; empty when it has none.
    :param text: Its text.
    :param vector: Its vector, shape ``(dim,)``, float32.
    """

    docid: str
    text: str
    vector: np.ndarray


class _Malformed(Exception):
    """What is wrong with an item; the caller adds which one."""


def read_encoded_items(path: str | os.PathLike[str], skip: int = 0) -> Iterator[tuple[int, EncodedItem]]:
    """Stream the items of a file.

    :param path: The ``.docs`` file.
    :param skip: Pass over this many items without unpacking them.
    :return: Pairs of the item's number, from 1, and the item.
    :raises HypensearchError: With the item's number, when the file is cut off or holds something else.
    """
    with open_stream(path) as stream:
        for number, packed in enumerate(_messages(stream, path), start=1):
            if number <= skip:
                continue
            try:
                item = _parse_item(_unpack(packed))
            except _Malformed as flaw:
                raise HypensearchError(f"{path}, item {number}: {flaw}; is this a file of encoded items?") from None
            yield number, item


def _messages(stream: BinaryIO, path: str | os.PathLike[str]) -> Iterator[bytes]:
    number = 0
    while True:
        number += 1
        head = stream.read(4)
        if len(head) < 4:
            raise HypensearchError(f"{path}, item {number}: the file breaks off here; copy it or encode anew")
        (length,) = struct.unpack(">I", head)
        if length == 0:
            if stream.read(1):
                raise HypensearchError(f"{path}: more bytes behind the end mark (after item {number - 1})")
            return
        if length > MAX_ITEM_BYTES:
            raise HypensearchError(
                f"{path}, item {number}: {length:,} bytes long, more than the {MAX_ITEM_BYTES:,} that are read; "
                "is this a file of encoded items?"
            )
        packed = stream.read(length)
        if len(packed) < length:
            raise HypensearchError(f"{path}, item {number}: the file breaks off here; copy it or encode anew")
        yield packed


def _unpack(packed: bytes) -> bytes:
    gunzip = zlib.decompressobj(wbits=31)
    try:
        data = gunzip.decompress(packed, MAX_ITEM_BYTES)
    except zlib.error as error:
        raise _Malformed(f"not gzip data ({error})") from None
    if gunzip.unconsumed_tail:
        raise _Malformed(f"more than {MAX_ITEM_BYTES:,} bytes once unpacked")
    if not gunzip.eof or gunzip.unused_data:
        raise _Malformed("gzip data breaks off or goes on behind its end")
    return data


def _parse_item(data: bytes) -> EncodedItem:
    nodes = dict(_parse_entry(_bytes(value)) for number, value in _fields(data) if number == 1)
    if "representation" not in nodes:
        raise _Malformed(f"no field 'representation', found {', '.join(map(repr, sorted(nodes)[:8])) or 'none'}")
    return EncodedItem(_text(nodes.get("id")), _text(nodes.get("text")), _array(nodes["representation"]))


def _parse_entry(data: bytes) -> tuple[str, bytes]:
    """Read an entry of the map: 1 its name, 2 its node."""
    name, node = b"", b""
    for number, value in _fields(data):
        if number == 1:
            name = _bytes(value)
        elif number == 2:
            node = _bytes(value)
    return _utf8(name), node


def _text(node: bytes | None) -> str:
    text = b""
    for number, value in _fields(node or b""):
        if number == _TEXT_NODE:
            text = _bytes(value)
    return _utf8(text)


def _array(node: bytes) -> np.ndarray:
    """Read an array's node: 6 array, in it 1 dense, in it 1 buffer, 2 shape, 3 dtype."""
    for number in (_ARRAY_NODE, 1):
        inner = [_bytes(value) for found, value in _fields(node) if found == number]
        if len(inner) != 1:
            raise _Malformed("'representation' is not one dense array")
        node = inner[0]
    buffer, dtype, shape = b"", "", []
    for number, value in _fields(node):
        if number == 1:
            buffer = _bytes(value)
        elif number == 2:
            shape += [value] if isinstance(value, int) else list(_varints(value))
        elif number == 3:
            dtype = _utf8(_bytes(value))
    return _vector(buffer, dtype, shape)


def _vector(buffer: bytes, dtype: str, shape: list[int]) -> np.ndarray:
    if dtype not in _DTYPES:
        raise _Malformed(f"'representation' is of type {dtype!r}, wanted {', '.join(_DTYPES)}")
    size = np.dtype(_DTYPES[dtype]).itemsize
    if not shape or max(shape) != math.prod(shape) or max(shape) * size != len(buffer) or not buffer:
        raise _Malformed(f"'representation' has shape {shape} and {len(buffer)} bytes of {dtype}, wanted one vector")
    return np.frombuffer(buffer, dtype=_DTYPES[dtype]).astype(np.float32)


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Go through the fields of a protobuf message: pairs of number and value."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == _VARINT:
            value, at = _varint(data, at)
            yield tag >> 3, value
            continue
        if kind == _BYTES:
            length, at = _varint(data, at)
        elif kind in (_FIXED64, _FIXED32):
            length = 8 if kind == _FIXED64 else 4
        else:
            raise _Malformed(f"not a protobuf message (wire type {kind})")
        if length > len(data) - at:
            raise _Malformed("not a protobuf message (a field reaches past its end)")
        yield tag >> 3, data[at : at + length]
        at += length


def _varints(data: bytes) -> Iterator[int]:
    at = 0
    while at < len(data):
        value, at = _varint(data, at)
        yield value


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for place in range(10):
        if at + place >= len(data):
            break
        byte = data[at + place]
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value, at + place + 1
    raise _Malformed("not a protobuf message (a number does not end)")


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise _Malformed("not a docarray item (a number where a value was wanted)")
    return value


def _utf8(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise _Malformed("text that is not UTF-8") from None
