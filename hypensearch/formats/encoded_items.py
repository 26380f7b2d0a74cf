# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The authors' ``encoded_items.docs``: document vectors as docarray streams them.

Repeated ``[4-byte big-endian length][gzip of one protobuf DocProto]``, closed by four zero bytes. docarray itself takes
seconds to import and unpacks whatever a file holds; here sizes are bounded before anything is unpacked, and what is not
understood is an error with the item's number.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, BinaryIO

import numpy as np

from hypensearch.errors import HypensearchError
from hypensearch.formats.files import PathLike, open_stream

MAX_ITEM_BYTES = 64 * 2**20

_DTYPES = {"<f4": "<f4", "<f2": "<f2", "<f8": "<f8", "float32": "<f4"}
#: Those of docarray's messages that are read: name to fields' names, types and numbers.
_MESSAGES = {
    "Dense": (("buffer", "bytes", 1), ("shape", "repeated uint32", 2), ("dtype", "string", 3)),
    "Array": (("dense", "Dense", 1),),
    "Node": (("text", "string", 1), ("array", "Array", 6)),
    "Entry": (("key", "string", 1), ("value", "Node", 2)),
    "Doc": (("data", "repeated Entry", 1),),
}


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


def read_encoded_items(path: PathLike, skip: int = 0) -> Iterator[tuple[int, EncodedItem]]:
    """Stream the items of a file.

    :param path: The ``.docs`` file.
    :param skip: Pass over this many items without unpacking them.
    :return: Pairs of the item's number, from 1, and the item.
    :raises HypensearchError: With the item's number, when the file is cut off or holds something else.
    """
    number = 1
    try:
        with open_stream(path) as stream:
            while packed := _next_message(stream):
                if number > skip:
                    yield number, _parse_item(_unpack(packed))
                number += 1
            if stream.read(1):
                raise ValueError("more bytes behind the end mark")
    except ValueError as error:
        raise HypensearchError(f"{path}, item {number}: {error}; is this a whole file of encoded items?") from None


def _next_message(stream: BinaryIO) -> bytes:
    head = stream.read(4)
    if len(head) < 4:
        raise ValueError("the file breaks off here")
    (length,) = struct.unpack(">I", head)
    if length > MAX_ITEM_BYTES:
        raise ValueError(f"{length:,} bytes long, more than the {MAX_ITEM_BYTES:,} that are read")
    packed = stream.read(length)
    if len(packed) < length:
        raise ValueError("the file breaks off here")
    return packed


def _unpack(packed: bytes) -> bytes:
    gunzip = zlib.decompressobj(wbits=31)
    try:
        data = gunzip.decompress(packed, MAX_ITEM_BYTES)
    except zlib.error as error:
        raise ValueError(f"not gzip data ({error})") from None
    if gunzip.unconsumed_tail:
        raise ValueError(f"more than {MAX_ITEM_BYTES:,} bytes once unpacked")
    if not gunzip.eof or gunzip.unused_data:
        raise ValueError("gzip data breaks off or has something behind its end")
    return data


def _parse_item(data: bytes) -> EncodedItem:
    from google.protobuf.message import DecodeError

    try:
        nodes = {entry.key: entry.value for entry in _doc_type().FromString(data).data}
    except DecodeError as error:
        raise ValueError(f"not a protobuf message ({error})") from None
    if "representation" not in nodes:
        raise ValueError(f"no field 'representation', found {', '.join(map(repr, sorted(nodes)[:8])) or 'none'}")
    docid, text = (nodes[name].text if name in nodes else "" for name in ("id", "text"))
    return EncodedItem(docid, text, _vector(nodes["representation"].array.dense))


def _vector(dense: Any) -> np.ndarray:
    if dense.dtype not in _DTYPES:
        raise ValueError(f"'representation' is of type {dense.dtype!r}, wanted an array of {', '.join(_DTYPES)}")
    shape, dtype = list(dense.shape), np.dtype(_DTYPES[dense.dtype])
    if (
        not dense.buffer
        or max(shape, default=0) != math.prod(shape)
        or max(shape) * dtype.itemsize != len(dense.buffer)
    ):
        raise ValueError(
            f"'representation' has shape {shape} and {len(dense.buffer)} bytes of {dense.dtype}, wanted one vector"
        )
    return np.frombuffer(dense.buffer, dtype).astype(np.float32)


@cache
def _doc_type() -> Any:
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="encoded_items.proto", package="hypensearch", syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, kind, number in fields:
            label, kind = ("LABEL_REPEATED" if " " in kind else "LABEL_OPTIONAL"), kind.split()[-1]
            of_message = f".hypensearch.{kind}" if kind in _MESSAGES else None
            known = kinds.TYPE_MESSAGE if of_message else kinds.Type.Value(f"TYPE_{kind.upper()}")
            message.field.add(name=field, number=number, label=label, type=known, type_name=of_message)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("hypensearch.Doc"))
