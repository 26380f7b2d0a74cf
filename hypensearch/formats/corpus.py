# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Documents from JSON lines, streamed: any size of corpus in the memory of one document.

Ids and texts are those of Pyserini's ``JsonlCollectionIterator``. Titles are put before the text, as the authors of
Hypencoder do. Unlike Pyserini, which cuts a corpus into runs of equal length and has to hold it all for that, a shard
takes every ``shard_num``-th line.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, BinaryIO

from hypensearch.errors import HypensearchError
from hypensearch.formats.door import read_at_most
from hypensearch.formats.files import MAX_LINE_BYTES, UTF8_BOM, PathLike, decode_line, is_gzip_name, open_stream
from hypensearch.formats.json_lines import binary_lines, decode_whole, found_in, id_of, kind_of, parse_object, reason_of

SUFFIXES = (".jsonl", ".json", ".jsonl.gz", ".json.gz")
DOCID_FIELDS = ("id", "_id", "docid")
#: A file that is one JSON array is read whole.
MAX_ARRAY_BYTES = 2**30

_BLOCK_BYTES = 2**20
_LONE_SURROGATES = re.compile("[\ud800-\udfff]")
_JSON_SPACE = re.compile(r"[ \t\r\n]*")
_raw_decode = json.JSONDecoder().raw_decode
_Parse = Callable[[dict[str, Any]], tuple[str, str, tuple[str, ...]]]


@dataclass(frozen=True, slots=True)
class CorpusPosition:
    """Where to resume reading a corpus: just behind a document.

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
        """Where to resume once this document is done."""
        return CorpusPosition(self.path, self.line, self.offset + self.length)


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

    def parse(self, record: dict[str, Any], *, allow_empty: bool) -> tuple[str, str, tuple[str, ...]]:
        """Return a document's id, its text and the fields that the text is made of.

        :raises ValueError: When it has no id or no text, or one that cannot be used.
        """
        docid = self._docid(record)
        text = self.text(record)
        if not text and not allow_empty:
            raise ValueError(f"document {docid!r} has no text; --allow-empty takes such documents")
        return docid, text, self._encoded_fields(record)

    def _docid(self, record: dict[str, Any]) -> str:
        try:
            return id_of(record, *(DOCID_FIELDS if self.docid_field is None else (self.docid_field,)))
        except ValueError as error:
            raise ValueError(f"{error}; --docid-field names another field") from None

    def text(self, record: dict[str, Any]) -> str:
        """Return a document's text.

        :raises ValueError: When it lacks a field.
        """
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
            raise ValueError(
                f"no field '{missing}' and no 'contents', {found_in(record)}; --fields names the right ones"
            )
        contents = _string(record, "contents")
        if contents.count(self.delimiter) == len(self.fields):
            contents = contents.removesuffix(self.delimiter)
        parts = contents.split(self.delimiter)
        if len(parts) != len(self.fields):
            raise ValueError(
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

    Lines end with ``\n`` only, and blank ones are skipped. A file may also be one JSON array of documents, which is
    read whole. Repeated ids are not looked for.

    :param path: A file, plain or ``.gz``, a folder, whose files are read in the order of their names, or the name of a
        collection (:mod:`hypensearch.formats.named`).
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
    """Return the text of one document's JSON; it may be empty.

    :raises HypensearchError: When it is not JSON, or lacks a field.
    """
    try:
        return _LONE_SURROGATES.sub("\ufffd", rule.text(parse_object(raw)))
    except ValueError as error:
        raise HypensearchError(str(error)) from None


def corpus_files(path: PathLike) -> list[str]:
    """List the files of a corpus in reading order.

    :param path: A file, a folder or the name of a collection. Hidden files of a folder are passed over.
    :raises HypensearchError: When there is no such path, or the folder holds nothing or something that is no corpus
        file: leaving it out in silence could lose documents.
    """
    from hypensearch.formats.named import is_name, named_corpus

    path = named_corpus(os.fspath(path)) if is_name(path) else os.fspath(path)
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
        raise ValueError(f"field '{name}' is {kind_of(value)}, a string was wanted")
    return value


def _files_from(files: list[tuple[int, str]], start: CorpusPosition, path: PathLike) -> list[tuple[int, str]]:
    wanted = os.path.basename(start.path)
    for place, (_, name) in enumerate(files):
        if os.path.basename(name) == wanted:
            return files[place:]
    raise HypensearchError(f"{path}: {wanted!r}, where reading was to resume, is gone; begin again")


def _read_files(
    files: list[tuple[int, str]], parse: _Parse, shard_id: int, shard_num: int, start: CorpusPosition | None
) -> Iterator[Document]:
    for file_number, path in files:
        yield from _read_file(path, parse, (shard_id - file_number) % shard_num, shard_num, start)
        start = None


def _read_file(path: str, parse: _Parse, first: int, step: int, start: CorpusPosition | None) -> Iterator[Document]:
    with open_stream(path) as stream:
        start = start or CorpusPosition(path, 0, 0)
        begin = stream.peek(64).removeprefix(UTF8_BOM).lstrip(b" \t\r\n")  # type: ignore[attr-defined]
        if begin.startswith(b"["):
            objects, before = _array_elements(stream, path), 0
        else:
            _skip_to(stream, path, start)
            objects, before = binary_lines(stream, path, start.line, start.offset), start.line
        for place, (number, offset, content) in enumerate(objects, before):
            if place % step != first or offset < start.offset:
                continue
            text = decode_line(content, path, number).strip("\ufeff \t\r\n" if number == 1 else " \t\r\n")
            if not text:
                continue
            try:
                docid, encoded, fields = parse(parse_object(text))
            except ValueError as error:
                raise HypensearchError(f"{path}:{number}: {error}") from None
            if "\\u" in text:
                encoded = _LONE_SURROGATES.sub("\ufffd", encoded)
            yield Document(docid, encoded, path, number, offset, len(content), fields)


def _skip_to(stream: BinaryIO, path: str, start: CorpusPosition) -> None:
    if not start.offset:
        return
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
            f"{path}: has changed since byte {start.offset:,} (line {start.line}) was reached; begin again"
        )


def _array_elements(stream: BinaryIO, path: str) -> Iterator[tuple[int, int, bytes]]:
    """Yield each element's line, offset and content."""
    content = read_at_most(stream, MAX_ARRAY_BYTES + 1)
    if len(content) > MAX_ARRAY_BYTES:
        raise HypensearchError(
            f"{path}: a JSON array of more than {MAX_ARRAY_BYTES:,} bytes, which is read whole; write one document a "
            "line, as jq -c '.[]' does"
        )
    text = decode_whole(content, path)
    at, line, offset = 0, 1, len(content) - len(content.removeprefix(UTF8_BOM))

    def move_to(end: int) -> None:
        nonlocal at, line, offset
        passed = text[at:end]
        at, line, offset = end, line + passed.count("\n"), offset + len(passed.encode("utf-8"))

    def next_letter() -> str:
        move_to(_JSON_SPACE.match(text, at).end())  # type: ignore[union-attr]
        return text[at : at + 1]

    def flaw(found: str) -> HypensearchError:
        return HypensearchError(f"{path}:{line}: {found}")

    next_letter()
    move_to(at + 1)
    if next_letter() != "]":
        while True:
            try:
                _, end = _raw_decode(text, at)
            except (ValueError, RecursionError) as error:
                raise flaw(f"not JSON: {reason_of(error).partition(' (')[0]}") from None
            element = text[at:end].encode("utf-8")
            if len(element) > MAX_LINE_BYTES:
                raise flaw(f"a document of more than {MAX_LINE_BYTES:,} bytes")
            yield line, offset, element
            move_to(end)
            if next_letter() != ",":
                break
            move_to(at + 1)
            next_letter()
    if next_letter() != "]":
        raise flaw(f"']' was wanted in the JSON array, found {next_letter() or 'its end'!r}")
    move_to(at + 1)
    if next_letter():
        raise flaw("more text behind the end of the JSON array")
