# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""A document's text, read back from the corpus or from the copy inside the index."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hypensearch.errors import HypensearchError
from hypensearch.formats.door import NotPlain, read_at_most, stat_plain
from hypensearch.formats.files import MAX_LINE_BYTES, is_gzip_name, open_stream
from hypensearch.formats.json_files import parse_json

_SHOWN = 70  # characters of a text in its repr
_SKIPPED_BYTES = 2**20
_CHUNK_ROWS = 2**16
_COPY = "copy the index again"
_STORE_DOCUMENTS = "encode it again with --store-documents to keep the text inside the index"


@dataclass(frozen=True, repr=False)
class IndexedDocument:
    """A document as Pyserini's searchers give it: ``docid()``, ``contents()``, ``raw()``, ``get(field)``.

    :param raw_text: The document's JSON as it stands in the corpus.
    :param own_docid: Its docid.
    :param fields: The fields that were encoded.
    """

    own_docid: str
    raw_text: str
    fields: Sequence[str] = ()
    record: Mapping[str, Any] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "record", parse_json(self.raw_text))

    def __repr__(self) -> str:
        text = " ".join(self.contents().split())
        return f"<IndexedDocument {self.own_docid}: {text[:_SHOWN] + '...' if len(text) > _SHOWN else text}>"

    def docid(self) -> str:
        """Give the docid."""
        return self.own_docid

    def id(self) -> str:
        """Give the docid, as ``docid()``."""
        return self.own_docid

    def raw(self) -> str:
        """Give the document's JSON as it stands in the corpus."""
        return self.raw_text

    def contents(self) -> str:
        """Give the ``contents`` field, else title and encoded fields, a line each."""
        if "contents" in self.record:
            return str(self.record["contents"] or "")
        names = dict.fromkeys(["title", *self.fields])
        return "\n".join(str(self.record[name]) for name in names if self.record.get(name))

    def get(self, field: str) -> str | None:
        """Give a field, None when the document lacks it; what is no string comes as JSON."""
        value = self.record.get(field)
        return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)


class DocumentFiles:
    """Where the documents of a shard are.

    :param folder: The shard's folder.
    :param facts: The manifest's ``documents``, None when no text is known.
    :param positions: File number, offset and length of each document, shape ``(num_docs,)``.
    """

    def __init__(self, folder: str, facts: Mapping[str, Any] | None, positions: np.ndarray | None) -> None:
        self._folder = folder
        self._facts = facts
        self._positions = positions

    def read(self, row: int, docid: str) -> IndexedDocument:
        """Read a document.

        :raises HypensearchError: When its text cannot be had; says why and what to do.
        """
        _, positions = self._known()
        path = self._path_of(int(positions[row]["file"]))
        if is_gzip_name(path):
            raise HypensearchError(
                f"{path}: documents cannot be read one by one from a gzipped corpus; {_STORE_DOCUMENTS}"
            )
        return self.read_many(np.array([row]), [docid])[0]

    def read_many(self, rows: np.ndarray, docids: Sequence[str]) -> list[IndexedDocument]:
        """Read some documents in one pass over each file, so that gzipped ones can be read too.

        :param rows: Shape ``(n,)``.
        :param docids: Their docids.
        :raises HypensearchError: As :meth:`read`.
        """
        _, positions = self._known()
        places = positions[rows]
        longest = int(places["length"].max(initial=0))
        if longest > MAX_LINE_BYTES:
            raise HypensearchError(
                f"{self._folder}: says that a document takes {longest:,} bytes, more than {MAX_LINE_BYTES:,}; {_COPY}"
            )
        found: dict[int, IndexedDocument] = {}
        for number in np.unique(places["file"]).tolist():
            path = self._path_of(number)
            inside = np.flatnonzero(places["file"] == number)
            inside = inside[np.argsort(places["offset"][inside], kind="stable")]
            for i, raw in zip(inside.tolist(), _read_parts(path, places[inside]), strict=True):
                found[i] = self._document(raw, docids[i], path)
        return [found[i] for i in range(len(rows))]

    def flaw(self) -> str | None:
        """Say what is wrong with the places of documents, None when all can be looked for."""
        if self._positions is None:
            return None
        num_files = len((self._facts or {}).get("files", ()))
        for start in range(0, len(self._positions), _CHUNK_ROWS):
            places = self._positions[start : start + _CHUNK_ROWS]
            if int(places["file"].max()) >= num_files or int(places["length"].max()) > MAX_LINE_BYTES:
                return "names files that the manifest does not, or documents that are too long"
        return None

    def _document(self, raw: bytes, docid: str, path: str) -> IndexedDocument:
        """Make a document of what was read, if it has the docid: no other file of the user's is shown."""
        facts, _ = self._known()
        try:
            text = raw.removeprefix(b"\xef\xbb\xbf").decode("utf-8").strip()
            document = IndexedDocument(docid, text, tuple(facts.get("fields", ())))
        except ValueError:
            raise _no_document(path, docid) from None
        record: object = document.record
        if not isinstance(record, dict) or docid not in {str(value) for value in record.values() if _may_be_id(value)}:
            raise _no_document(path, docid)
        return document

    def _path_of(self, number: int) -> str:
        facts, _ = self._known()
        if number >= len(facts.get("files", ())):
            raise HypensearchError(f"{self._folder}: names no file number {number} of documents; {_COPY}")
        return self._checked(facts["files"][number])

    def _known(self) -> tuple[Mapping[str, Any], np.ndarray]:
        if self._facts is None or self._positions is None:
            raise HypensearchError(
                f"{self._folder}: the index knows no text, its vectors were imported without; "
                "encode the corpus itself to have it"
            )
        return self._facts, self._positions

    def _checked(self, file: Mapping[str, Any]) -> str:
        """Give a file's path: one inside of the shard, or the very corpus that was encoded, wherever it lies."""
        path = os.path.join(self._folder, file["path"])
        is_inside = file["path"] == os.path.basename(file["path"])
        try:
            found = stat_plain(path, self._folder if is_inside else None)
        except NotPlain as error:
            raise HypensearchError(f"{path}: {error.strerror}; {_COPY}") from None
        except OSError as error:
            raise HypensearchError(
                f"{path}: the encoded corpus is not there ({error.strerror}); {_STORE_DOCUMENTS}"
            ) from None
        if not is_inside and not {"bytes", "mtime_ns"} <= file.keys():
            raise HypensearchError(f"{path}: lies outside of the index, which does not say what it should be; {_COPY}")
        if "bytes" in file and (found.st_size, found.st_mtime_ns) != (file["bytes"], file.get("mtime_ns")):
            raise HypensearchError(f"{path}: the corpus has changed since it was encoded; {_STORE_DOCUMENTS}")
        return path


def _no_document(path: str, docid: str) -> HypensearchError:
    return HypensearchError(f"{path}: holds no JSON of document {docid!r} where the index says; {_STORE_DOCUMENTS}")


def _may_be_id(value: object) -> bool:
    return isinstance(value, str) or type(value) is int


def _read_parts(path: str, places: np.ndarray) -> Iterator[bytes]:
    """Read documents in the order of their offsets, each once, unpacking what lies between them in a gzipped file."""
    with open_stream(path) as stream:
        position, read = 0, (-1, b"")
        for offset, length in zip(places["offset"].tolist(), places["length"].tolist(), strict=True):
            if offset != read[0]:  # a document may be asked for twice
                if not is_gzip_name(path):
                    stream.seek(min(offset, os.fstat(stream.fileno()).st_size))
                    position = offset
                while position < offset:
                    position += len(stream.read(min(_SKIPPED_BYTES, offset - position))) or offset
                read = (offset, read_at_most(stream, length))
                position += length
            yield read[1]
