# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The documents of a Lucene index, read through Pyserini."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence

from hypensearch.errors import HypensearchError
from hypensearch.flat.document import IndexedDocument
from hypensearch.pyserini import bridge as pyserini_bridge


class LuceneDocuments:
    """The documents that a Lucene index stores.

    :param index: A folder, or the name of a prebuilt index.
    :raises HypensearchError: When it cannot be opened.
    """

    def __init__(self, index: str | os.PathLike[str]) -> None:
        self.where = os.fspath(index)
        self._searcher = pyserini_bridge.lucene_searcher(self.where)

    @property
    def num_docs(self) -> int:
        """Documents in the index."""
        return int(self._searcher.num_docs)

    def read(self, docid: str) -> IndexedDocument | None:
        """Read a document, None when the index does not hold it.

        :raises HypensearchError: When the index stores no texts.
        """
        return self.read_all([docid]).get(docid)

    def read_all(self, docids: Sequence[str], threads: int = 1) -> dict[str, IndexedDocument]:
        """Read documents, those that the index does not hold left out.

        :raises HypensearchError: When the index stores no texts.
        """
        found = pyserini_bridge.stored_documents(self._searcher, docids, threads)
        return {docid: IndexedDocument(docid, self._json(docid, *stored)) for docid, stored in found.items()}

    def close(self) -> None:
        """Close the index."""
        self._searcher.close()

    def _json(self, docid: str, raw: str | None, contents: str | None) -> str:
        """Return the document's JSON as in the corpus, or its contents in that form."""
        if raw is None and contents is None:
            raise HypensearchError(
                f"{self.where}: stores no text of document {docid!r}: index with -storeRaw or -storeContents"
            )
        if raw is not None and _is_object(raw):
            return raw
        return json.dumps({"id": docid, "contents": contents if contents is not None else raw}, ensure_ascii=False)


def _is_object(raw: str) -> bool:
    try:
        return isinstance(json.loads(raw), dict)
    except ValueError:
        return False
