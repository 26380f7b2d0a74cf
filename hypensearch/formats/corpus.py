# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Documents from JSON lines, streamed: any size of corpus in the memory of one document.

Ids and texts are those of Pyserini's ``JsonlCollectionIterator``. Titles are put before the text, as the authors of
Hypencoder do. Unlike Pyserini, which cuts a corpus into runs of equal length and has to hold it all for that, a shard
takes every ``shard_num``-th line.
"""

from __future__ import annotations

import codecs
import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, BinaryIO

from hypensearch.errors import HypensearchError
from hypensearch.formats.files import MAX_LINE_BYTES, UTF8_BOM, PathLike, decode_line, is_gzip_name, open_stream
from hypensearch.formats.ids import flaw_of_id

SUFFIXES = (".jsonl", ".json", ".jsonl.gz", ".json.gz")
DOCID_FIELDS = ("id", "_id", "docid")

_BLOCK_BYTES = 2**20
_LONE_SURROGATES = re.compile("[\ud800-\udfff]")
_JSON_SPACE = re.compile(r"[ \t\r\n]*")
_decode_json = json.JSONDecoder().raw_decode
_Parse = Callable[[Any], tuple[str, str, tuple[str, ...]]]


@dataclass(frozen=True, slots=True)
class CorpusPosition:
    """Where to go on reading a corpus: just behind a document.

    :param path: The file; within a folder its name alone counts, so that the folder may have moved.
    :param line: The last line that was read, from 1; 0 when none was.
    :param offset: Where the next line begins, in bytes of the unpacked file.
    """

    path: str
    line: int
    offset: int


@dataclass(slots=True)
class Document:
    """A document and where it stands.

    :param docid: Its identifier, fit for a run file: no white space, no control characters.
    :param text: What is encoded: the title, if any, and the text.
    :param path: The file it comes from.
    :param line: The line it begins on, from 1.
    :param offset: Where it begins, in bytes of the unpacked file.
    :param length: Its size in bytes, its line end included.
    :param fields: What its text was made of, in order: the title's field, if it has one, and the named ones.
    """

    docid: str
    text: str
    path: str
    line: int
    offset: int
    length: int
    fields: tuple[str, ...] = ()

    @property
    def position(self) -> CorpusPosition:
        """Where to go on once this document is done."""
        return CorpusPosition(self.path, self.line, self.offset + self.length)


class _Flaw(Exception):
    """What is wrong with a document; the caller adds where it stands."""


@dataclass(frozen=True, slots=True)
class TextRule:
    """How a JSON object becomes an id and a text.

    A document's id is its ``docid_field``, else ``id``, ``_id`` or ``docid``; whole numbers become strings. Its text is
    the named fields, stripped and joined by a space; when it lacks one of them, its ``contents`` split at the
    delimiter into exactly as many parts. Title and ``text`` stand for ``contents`` where those are wanted, but not
    there. The title goes before named fields unless it is one of them; ``contents`` is taken to hold the title already.

    :param fields: The fields that make up the text.
    :param docid_field: The field that holds the id.
    :param delimiter: What separates the fields within ``contents``.
    :param title_field: The field that holds the title; None to leave titles out.
    :raises HypensearchError: When no field is named or the delimiter is empty.
    """

    fields: tuple[str, ...] = ("text",)
    docid_field: str | None = None
    delimiter: str = "\n"
    title_field: str | None = "title"

    def __post_init__(self) -> None:
        if not self.fields:
            raise HypensearchError("no text field is named; --fields wants at least one, such as text")
        if not self.delimiter:
            raise HypensearchError("the delimiter is empty; --delimiter wants at least one character")

    def parse(self, record: Any, *, allow_empty: bool) -> tuple[str, str, tuple[str, ...]]:
        """Return a document's id, its text and the fields that the text is made of."""
        if not isinstance(record, dict):
            raise _Flaw(f"a JSON object was wanted, found {_kind(record)}")
        docid = self._docid(record)
        text = self.text(record)
        if not text and not allow_empty:
            raise _Flaw(f"document {docid!r} has no text; --allow-empty takes such documents")
        return docid, text, self._encoded_fields(record)

    def _docid(self, record: dict[str, Any]) -> str:
        names = DOCID_FIELDS if self.docid_field is None else (self.docid_field,)
        docid = next((record[name] for name in names if name in record), None)
        if docid is None:
            wanted = "', '".join(names)
            raise _Flaw(f"no id: '{wanted}' was wanted, {_names(record)}; --docid-field names another")
        if type(docid) is int:
            return str(docid)
        if not isinstance(docid, str):
            raise _Flaw(f"the id is {_kind(docid)}, a string or a whole number was wanted")
        if flaw := flaw_of_id(docid):
            raise _Flaw(f"the id {flaw}")
        return docid

    def text(self, record: Any) -> str:
        """Return a document's text."""
        if not isinstance(record, dict):
            raise _Flaw(f"a JSON object was wanted, found {_kind(record)}")
        if self.fields == ("contents",) and "contents" not in record and "text" in record:
            names = [name for name in (self.title_field, "text") if name is not None and name in record]
            return " ".join(filter(None, (_string(record, name).strip() for name in names)))  # BEIR's
        for name in self.fields:
            if name not in record:
                return self._split_contents(record)
        parts = [_string(record, name).strip() for name in self._encoded_fields(record)]
        return parts[0] if len(parts) == 1 else " ".join(filter(None, parts))

    def _encoded_fields(self, record: dict[str, Any]) -> tuple[str, ...]:
        """Name what the text is made of; ``contents`` that is cut into named fields counts as those."""
        for name in self.fields:
            if name not in record:
                return self.fields if len(self.fields) > 1 else ("contents",)
        if self.title_field is not None and self.title_field in record and self.title_field not in self.fields:
            return (self.title_field, *self.fields)
        return self.fields

    def _split_contents(self, record: dict[str, Any]) -> str:
        if "contents" not in record:
            missing = next(name for name in self.fields if name not in record)
            raise _Flaw(f"no field '{missing}' and no 'contents', {_names(record)}; --fields names the right ones")
        contents = _string(record, "contents")
        if contents.count(self.delimiter) == len(self.fields):
            contents = contents.removesuffix(self.delimiter)
        parts = contents.split(self.delimiter)
        if len(parts) != len(self.fields):
            raise _Flaw(
                f"'contents' splits into {len(parts)} parts at {self.delimiter!r}, but --fields names "
                f"{len(self.fields)} ({' '.join(self.fields)}); --fields contents takes it whole"
            )
        return " ".join(filter(None, (part.strip(" ") for part in parts))).strip()


def read_corpus(
    path: PathLike,
    rule: TextRule | None = None,
    *,
    shard_id: int = 0,
    shard_num: int = 1,
    start: CorpusPosition | None = None,
    allow_empty: bool = False,
) -> Iterator[Document]:
    r"""Stream the documents of a corpus.

    Lines end with ``\n`` only, blank ones are skipped, and a file may also be one JSON array of documents. Repeated ids
    are not looked for.

    :param path: A file, plain or ``.gz``, or a folder, whose files are read in the order of their names.
    :param rule: Which text of a document is taken.
    :param shard_id: Which shard to read, from 0.
    :param shard_num: The number of shards. Every ``shard_num``-th line belongs to a shard, each file beginning with
        the next shard.
    :param start: Where to resume reading.
    :param allow_empty: Take documents without text.
    :return: The documents in corpus order. The lookup of files and flags happens at once, the reading on demand.
    :raises HypensearchError: Before reading, when there is no such corpus or shard; while reading, with file and line,
        for what is not JSON, not an object, too long or not UTF-8, and for a document without an id or text or with one
        that cannot be used.
    """
    if not 0 <= shard_id < shard_num:
        raise HypensearchError(f"shard {shard_id} of {shard_num} does not exist; shards are 0 to {shard_num - 1}")
    files = list(enumerate(corpus_files(path)))
    if start is not None:
        files = _files_from(files, start, path)
    parse = partial((rule or TextRule()).parse, allow_empty=allow_empty)
    return _read_files(files, parse, shard_id, shard_num, start)


def text_of(raw: str, rule: TextRule) -> str:
    """Give the text of one document's JSON; it may be empty.

    :raises HypensearchError: When it is not JSON, or lacks a field.
    """
    try:
        return _LONE_SURROGATES.sub("\ufffd", rule.text(_parse_json(raw.strip(" \t\r\n"))))
    except _Flaw as flaw:
        raise HypensearchError(str(flaw)) from None


def corpus_files(path: PathLike) -> list[str]:
    """List the files of a corpus in reading order.

    :param path: A file or a folder. Hidden files of a folder are passed over.
    :raises HypensearchError: When there is no such path, or the folder holds nothing or something that is no corpus
        file: leaving it out in silence could lose documents.
    """
    path = os.fspath(path)
    if not os.path.exists(path):
        raise HypensearchError(f"{path}: no such file or folder; a corpus is a JSONL file or a folder of them")
    if not os.path.isdir(path):
        return [path]
    names = sorted(name for name in os.listdir(path) if not name.startswith("."))
    if not names:
        raise HypensearchError(f"{path}: holds no files; a corpus folder holds {', '.join(SUFFIXES)} files")
    for name in names:
        if not name.endswith(SUFFIXES) or os.path.isdir(os.path.join(path, name)):
            raise HypensearchError(
                f"{path}: holds {name!r}, but a corpus folder holds {', '.join(SUFFIXES)} files and nothing else; "
                "move it away, or name the corpus file itself"
            )
    return [os.path.join(path, name) for name in names]


def _string(record: dict[str, Any], name: str) -> str:
    value = record[name]
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _Flaw(f"field '{name}' is {_kind(value)}, a string was wanted")
    return value


def _kind(value: Any) -> str:
    names = {type(None): "null", bool: "true or false", dict: "an object", list: "a list", str: "a string"}
    return names.get(type(value), "a number")


def _names(record: dict[str, Any]) -> str:
    shown = ", ".join(f"'{name[:40]}'" for name in list(record)[:8])
    return f"found {shown or 'no fields'}"


def _files_from(files: list[tuple[int, str]], start: CorpusPosition, path: PathLike) -> list[tuple[int, str]]:
    wanted = os.path.basename(start.path)
    for place, (_, name) in enumerate(files):
        if os.path.basename(name) == wanted:
            return files[place:]
    raise HypensearchError(f"{path}: {wanted!r}, where reading was to go on, is gone; begin anew")


def _read_files(
    files: list[tuple[int, str]], parse: _Parse, shard_id: int, shard_num: int, start: CorpusPosition | None
) -> Iterator[Document]:
    for file_number, path in files:
        first = (shard_id - file_number) % shard_num
        yield from _read_file(path, parse, first, shard_num, start)
        start = None


def _read_file(path: str, parse: _Parse, first: int, step: int, start: CorpusPosition | None) -> Iterator[Document]:
    with open_stream(path) as stream:
        head = stream.peek(64) if hasattr(stream, "peek") else b""
        if head.removeprefix(UTF8_BOM).lstrip(b" \t\r\n").startswith(b"["):
            documents = _read_array(stream, path, parse, first, step)
            begin = start.offset if start else 0
            yield from (document for document in documents if document.offset >= begin)
            return
        if start is not None and start.offset:
            _skip_to(stream, path, start)
        else:
            start = None
        yield from _read_lines(stream, path, parse, first, step, start or CorpusPosition(path, 0, 0))


def _read_lines(
    stream: BinaryIO, path: str, parse: _Parse, first: int, step: int, start: CorpusPosition
) -> Iterator[Document]:
    number, offset = start.line, start.offset
    while line := stream.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(line) > MAX_LINE_BYTES:
            raise HypensearchError(f"{path}:{number}: line is longer than {MAX_LINE_BYTES:,} bytes")
        begin, offset = offset, offset + len(line)
        if (number - 1) % step != first:
            continue
        if number == 1:
            line = line.removeprefix(UTF8_BOM)
        string = decode_line(line, path, number).strip(" \t\r\n")
        if not string:
            continue
        try:
            docid, text, fields = parse(_parse_json(string))
        except _Flaw as flaw:
            raise HypensearchError(f"{path}:{number}: {flaw}") from None
        if "\\u" in string:
            text = _LONE_SURROGATES.sub("\ufffd", text)
        yield Document(docid, text, path, number, begin, offset - begin, fields)


def _parse_json(string: str) -> Any:
    try:
        record, end = _decode_json(string)
    except (ValueError, RecursionError) as error:
        raise _Flaw(f"not JSON: {_reason(error)}") from None
    if end != len(string):
        raise _Flaw(f"not JSON: more than one value on the line (column {end + 1})")
    return record


def _reason(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} (column {error.colno})"
    return "nested too deeply" if isinstance(error, RecursionError) else "a number with too many digits"


def _skip_to(stream: BinaryIO, path: str, start: CorpusPosition) -> None:
    if not is_gzip_name(path) and stream.seekable():
        stream.seek(start.offset - 1)
    else:
        left = start.offset - 1
        while left and (block := stream.read(min(left, _BLOCK_BYTES))):
            left -= len(block)
    last = stream.read(1)
    # A last line without a line end is behind us when nothing follows it.
    if not last or (last != b"\n" and stream.peek(1)):  # type: ignore[attr-defined]
        raise HypensearchError(
            f"{path}: has changed since byte {start.offset:,} (line {start.line}) was reached; begin anew"
        )


def _read_array(stream: BinaryIO, path: str, parse: _Parse, first: int, step: int) -> Iterator[Document]:
    for number, (record, line, offset, length) in enumerate(_ArrayReader(stream, path)):
        if number % step != first:
            continue
        try:
            docid, text, fields = parse(record)
        except _Flaw as flaw:
            raise HypensearchError(f"{path}:{line}: {flaw}") from None
        yield Document(docid, _LONE_SURROGATES.sub("\ufffd", text), path, line, offset, length, fields)


class _ArrayReader:
    """The values of one JSON array, read block by block.

    Holds no more than one value and one block. Iteration gives ``(value, line, offset, length)``.
    """

    def __init__(self, stream: BinaryIO, path: str) -> None:
        self._stream = stream
        self._path = path
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._text = ""
        self._at = 0
        self._line = 1
        self._offset = len(UTF8_BOM) if stream.peek(3)[:3] == UTF8_BOM else 0  # type: ignore[attr-defined]
        self._ended = False

    def __iter__(self) -> Iterator[tuple[Any, int, int, int]]:
        self._skip("[")
        if self._next_letter() == "]":
            self._skip("]")
        else:
            while True:
                yield self._value()
                if self._next_letter() != ",":
                    break
                self._skip(",")
            self._skip("]")
        if self._next_letter():
            raise self._flaw("more text behind the end of the JSON array")

    def _value(self) -> tuple[Any, int, int, int]:
        if self._next_letter() in ("", "]"):
            raise self._flaw("the JSON array breaks off: another document was wanted")
        while True:
            try:
                value, end = _decode_json(self._text, self._at)
            except (ValueError, RecursionError) as error:
                if self._ended or isinstance(error, RecursionError) or not self._may_grow():
                    raise self._flaw(f"not JSON: {_reason(error).partition(' (')[0]}") from None
                self._grow()
                continue
            # A number at the end of the text may go on in the next block.
            if end == len(self._text) and not self._ended:
                self._grow()
                continue
            line, offset = self._line, self._offset
            self._move_to(end)
            return value, line, offset, self._offset - offset

    def _skip(self, letter: str) -> None:
        if self._next_letter() != letter:
            raise self._flaw(f"{letter!r} was wanted in the JSON array, found {self._next_letter() or 'its end'!r}")
        self._move_to(self._at + 1)

    def _next_letter(self) -> str:
        while True:
            space = _JSON_SPACE.match(self._text, self._at)
            assert space is not None
            self._move_to(space.end())
            if self._at < len(self._text):
                return self._text[self._at]
            if self._ended:
                return ""
            self._grow()

    def _move_to(self, end: int) -> None:
        passed = self._text[self._at : end]
        self._line += passed.count("\n")
        self._offset += len(passed) if passed.isascii() else len(passed.encode("utf-8"))
        self._at = end

    def _may_grow(self) -> bool:
        return len(self._text) - self._at <= MAX_LINE_BYTES

    def _grow(self) -> None:
        # Twice as much each time, so that a long document is not tried again for every block.
        block = self._stream.read(max(_BLOCK_BYTES, len(self._text) - self._at))
        self._ended = not block
        try:
            more = self._decoder.decode(block, final=self._ended)
        except UnicodeDecodeError:
            raise self._flaw("bytes that are not UTF-8, here or on the lines that follow") from None
        self._text = self._text[self._at :] + more
        self._at = 0

    def _flaw(self, message: str) -> HypensearchError:
        return HypensearchError(f"{self._path}:{self._line}: {message}")
