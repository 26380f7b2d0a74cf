# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""A document's text, read back from the corpus or from the copy inside the index."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hypensearch.errors import HypensearchError


@dataclass(frozen=True)
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
        if self._facts is None or self._positions is None:
            raise HypensearchError(
                f"{self._folder}: the index knows no text, its vectors were imported without; "
                "encode the corpus itself to have it"
            )
        place = self._positions[row]
        path = self._checked(self._facts["files"][int(place["file"])])
        with open(path, "rb") as file:
            file.seek(int(place["offset"]))
            raw = file.read(int(place["length"])).removeprefix(b"\xef\xbb\xbf").decode("utf-8").strip()
        return IndexedDocument(docid, raw, tuple(self._facts.get("fields", ())))

    def _checked(self, file: Mapping[str, Any]) -> str:
        path = os.path.join(self._folder, file["path"])
        hint = "encode it again with --store-documents to keep the text inside the index"
        if path.endswith(".gz"):
            raise HypensearchError(f"{path}: documents cannot be read one by one from a gzipped corpus; {hint}")
        try:
            found = os.stat(path)
        except OSError as error:
            raise HypensearchError(f"{path}: the encoded corpus is not there ({error.strerror}); {hint}") from None
        if "bytes" in file and (found.st_size, found.st_mtime_ns) != (file["bytes"], file["mtime_ns"]):
            raise HypensearchError(f"{path}: the corpus has changed since it was encoded; {hint}")
        return path
