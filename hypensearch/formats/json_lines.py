# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""JSON lines: one object a line, errors with file and line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO, TypeVar

import jsonlines

from hypensearch.errors import HypensearchError
from hypensearch.formats.files import MAX_LINE_BYTES, PathLike, decode_line, numbered_lines
from hypensearch.formats.ids import flaw_of_id

#: What Java's ``trim`` removes.
BLANKS = "".join(map(chr, range(33)))

T = TypeVar("T")


def read_json_lines(
    path: PathLike, parse: Callable[[dict[str, Any]], T], max_bytes: int | None = None
) -> Iterator[tuple[int, T]]:
    """Stream the objects of a file, plain or ``.gz``; blank lines are skipped.

    :param parse: Turns an object into what is wanted; raises ValueError in words.
    :param max_bytes: Larger files are refused.
    :return: Pairs of the line's number, from 1, and what ``parse`` returned.
    :raises HypensearchError: When there is no such file; with its number, for a line that is no JSON object or does not
        parse.
    """
    number = 0

    def lines() -> Iterator[str]:
        nonlocal number
        for number, line in numbered_lines(path, max_bytes=max_bytes):  # noqa: B007
            yield line.strip(BLANKS)

    reader = jsonlines.Reader(lines(), loads=lambda line: parse(parse_object(str(line))))
    try:
        for found in reader.iter(skip_empty=True):
            yield number, found  # type: ignore[misc]
    except jsonlines.InvalidLineError as error:
        raise HypensearchError(f"{path}:{number}: {error.__cause__}") from None


def parse_object(text: str) -> dict[str, Any]:
    """Parse one JSON object.

    :raises ValueError: When it is something else.
    """
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {reason_of(error)}") from None
    if not isinstance(record, dict):
        raise ValueError(f"a JSON object was wanted, found {kind_of(record)}")
    return record


def binary_lines(
    stream: BinaryIO, path: PathLike, number: int = 0, offset: int = 0
) -> Iterator[tuple[int, int, bytes]]:
    r"""Read lines with their places; only ``\n`` ends a line.

    :param number: The line before the first one.
    :param offset: Where the stream stands.
    :return: For each line its number, its offset in bytes, and its content with the line end.
    :raises HypensearchError: When a line is longer than :data:`hypensearch.formats.files.MAX_LINE_BYTES`.
    """
    while line := stream.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(line) > MAX_LINE_BYTES:
            raise HypensearchError(f"{path}:{number}: line is longer than {MAX_LINE_BYTES:,} bytes")
        yield number, offset, line
        offset += len(line)


def decode_whole(content: bytes, path: PathLike) -> str:
    """Decode a whole file from UTF-8, dropping a byte order mark.

    :raises HypensearchError: When it is not UTF-8, naming file, line and the first bad byte.
    """
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = content.count(b"\n", 0, error.start)
        return decode_line(content.split(b"\n")[number], path, number + 1)


def id_of(record: Mapping[str, Any], *names: str) -> str:
    """Return a record's id, the first that is there of some fields; whole numbers become strings.

    :raises ValueError: When there is none, or a run file cannot carry it.
    """
    value = next((record[name] for name in names if name in record), None)
    if type(value) is int:
        return str(value)
    if not isinstance(value, str):
        wanted = " or ".join(map(repr, names))
        raise ValueError(f"an id (a string or a whole number) was wanted under {wanted}, {found_in(record)}")
    if flaw := flaw_of_id(value):
        raise ValueError(f"the id {flaw}")
    return value


def found_in(record: Mapping[str, Any]) -> str:
    """Name the first fields of a record, and what they are, for messages."""
    shown = ", ".join(f"{name[:40]!r} ({kind_of(value)})" for name, value in list(record.items())[:8])
    return f"found {shown or 'no fields'}"


def kind_of(value: Any) -> str:
    """Name the type of a JSON value."""
    names = {type(None): "null", bool: "true or false", dict: "an object", list: "a list", str: "a string"}
    return names.get(type(value), "a number")


def reason_of(error: Exception) -> str:
    """Say why JSON could not be parsed."""
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} (column {error.colno})"
    return "nested too deeply" if isinstance(error, RecursionError) else "a number with too many digits"
