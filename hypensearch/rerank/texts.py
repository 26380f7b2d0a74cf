# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The texts of candidates: from a corpus, from a Lucene index, or given."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from hypensearch.errors import HypensearchError
from hypensearch.formats.corpus import TextRule, corpus_files, read_corpus, text_of
from hypensearch.search.lucene_documents import LuceneDocuments

_READ_AT_ONCE = 1000


class CorpusTexts:
    """Texts of a corpus, which is read once for each call.

    :param path: A JSONL file or a folder of them.
    :param rule: Which text.
    :raises HypensearchError: When there is no corpus.
    """

    def __init__(self, path: str | os.PathLike[str], rule: TextRule | None = None) -> None:
        self.where = os.fspath(path)
        self._rule = rule or TextRule()
        self._files = corpus_files(path)

    def facts(self) -> dict[str, Any]:
        """Return what the texts depend on, as JSON can hold it: the files, their sizes and times of change."""
        stats = [(os.path.basename(file), os.stat(file)) for file in self._files]
        files = [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats]
        return {"corpus": files, "rule": _facts(self._rule)}

    def read(self, docids: Collection[str]) -> Iterator[tuple[str, str]]:
        """Return the docids and texts of those documents that exist, in any order.

        :raises HypensearchError: When a document of the corpus is broken, or a wanted one comes twice.
        """
        wanted, found = set(docids), set()
        for document in read_corpus(self.where, self._rule, allow_empty=True):
            if document.docid not in wanted:
                continue
            if document.docid in found:
                raise HypensearchError(
                    f"{document.path}:{document.line}: the id {document.docid!r} comes twice; every document wants an "
                    "id of its own"
                )
            found.add(document.docid)
            yield document.docid, document.text

    def close(self) -> None:
        """Do nothing: files are open only while they are read."""


class LuceneTexts:
    """Texts stored in a Lucene index, read through Pyserini.

    :param index: A folder, or the name of a prebuilt index.
    :param rule: Which text, where the index stores the documents' JSON; else their contents are taken.
    :raises HypensearchError: When it cannot be opened.
    """

    def __init__(self, index: str, rule: TextRule | None = None) -> None:
        self.where = index
        self._rule = rule or TextRule()
        self._documents = LuceneDocuments(index)

    def facts(self) -> dict[str, Any]:
        """Return what the texts depend on: the index's name and number of documents; of a folder, also its state."""
        names = os.listdir(self.where) if os.path.isdir(self.where) else []
        return {
            "lucene": os.path.basename(os.path.normpath(self.where)),
            "documents": self._documents.num_docs,
            "state": sorted(name for name in names if name.startswith("segments")),
            "rule": _facts(self._rule),
        }

    def read(self, docids: Collection[str]) -> Iterator[tuple[str, str]]:
        """Return the docids and texts of those documents that exist, in any order.

        :raises HypensearchError: When the index stores no texts, or they lack a field.
        """
        wanted = sorted(docids)
        for start in range(0, len(wanted), _READ_AT_ONCE):
            found = self._documents.read_all(wanted[start : start + _READ_AT_ONCE], os.cpu_count() or 1)
            for docid, document in found.items():
                try:
                    yield docid, text_of(document.raw(), self._rule)
                except HypensearchError as error:
                    raise HypensearchError(f"{self.where}: document {docid!r}: {error}") from None

    def close(self) -> None:
        """Let go of the index."""
        self._documents.close()


class GivenTexts:
    """Texts that the caller has.

    :param texts: Texts by docid.
    """

    where = "the given texts"

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._texts = texts

    def facts(self) -> dict[str, Any]:
        """Return nothing that would identify the texts: their vectors are not kept."""
        return {}

    def read(self, docids: Collection[str]) -> Iterator[tuple[str, str]]:
        """Return the docids and texts of those documents that exist."""
        return ((docid, self._texts[docid]) for docid in docids if docid in self._texts)

    def close(self) -> None:
        """Do nothing."""


Texts = CorpusTexts | LuceneTexts | GivenTexts


def _facts(rule: TextRule) -> list[Any]:
    return [list(rule.fields), rule.delimiter, rule.title_field]
