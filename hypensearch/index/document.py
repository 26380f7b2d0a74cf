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
from hypensearch.formats.files import is_gzip_name, open_stream

_SHOWN = 70  # characters of a text in its repr
_SKIPPED_BYTES = 2**20
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
        object.__setattr__(self, "record", json.loads(self.raw_text))

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
        facts, positions = self._known()
        place = positions[row]
        path = self._checked(facts["files"][int(place["file"])])
        if is_gzip_name(path):
            raise HypensearchError(
                f"{path}: documents cannot be read one by one from a gzipped corpus; {_STORE_DOCUMENTS}"
            )
        with open(path, "rb") as file:
            file.seek(int(place["offset"]))
            return self._document(file.read(int(place["length"])), docid)

    def read_many(self, rows: np.ndarray, docids: Sequence[str]) -> list[IndexedDocument]:
        """Read some documents in one pass over each file, so that gzipped ones can be read too.

        :param rows: Shape ``(n,)``.
        :param docids: Their docids.
        :raises HypensearchError: As :meth:`read`.
        """
        facts, positions = self._known()
        places = positions[rows]
        found: dict[int, IndexedDocument] = {}
        for number in np.unique(places["file"]).tolist():
            path = self._checked(facts["files"][number])
            inside = np.flatnonzero(places["file"] == number)
            inside = inside[np.argsort(places["offset"][inside], kind="stable")]
            for i, raw in zip(inside.tolist(), _read_parts(path, places[inside]), strict=True):
                found[i] = self._document(raw, docids[i])
        return [found[i] for i in range(len(rows))]

    def _document(self, raw: bytes, docid: str) -> IndexedDocument:
        facts, _ = self._known()
        text = raw.removeprefix(b"\xef\xbb\xbf").decode("utf-8").strip()
        return IndexedDocument(docid, text, tuple(facts.get("fields", ())))

    def _known(self) -> tuple[Mapping[str, Any], np.ndarray]:
        if self._facts is None or self._positions is None:
            raise HypensearchError(
                f"{self._folder}: the index knows no text, its vectors were imported without; "
                "encode the corpus itself to have it"
            )
        return self._facts, self._positions

    def _checked(self, file: Mapping[str, Any]) -> str:
        path = os.path.join(self._folder, file["path"])
        try:
            found = os.stat(path)
        except OSError as error:
            raise HypensearchError(
                f"{path}: the encoded corpus is not there ({error.strerror}); {_STORE_DOCUMENTS}"
            ) from None
        if "bytes" in file and (found.st_size, found.st_mtime_ns) != (file["bytes"], file["mtime_ns"]):
            raise HypensearchError(f"{path}: the corpus has changed since it was encoded; {_STORE_DOCUMENTS}")
        return path


def _read_parts(path: str, places: np.ndarray) -> Iterator[bytes]:
    """Read documents in the order of their offsets, each once, unpacking what lies between them in a gzipped file."""
    with open_stream(path) as stream:
        position, read = 0, (-1, b"")
        for offset, length in zip(places["offset"].tolist(), places["length"].tolist(), strict=True):
            if offset != read[0]:  # a document may be asked for twice
                while position < offset:
                    position += len(stream.read(min(_SKIPPED_BYTES, offset - position))) or offset
                read = (offset, stream.read(length))
                position += length
            yield read[1]
