# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The texts of candidates: from a corpus or from a Lucene index."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from hypensearch.errors import HypensearchError
from hypensearch.formats.corpus import corpus_files, read_corpus, text_of

_READ_AT_ONCE = 1000


@dataclass(frozen=True)
class TextRule:
    """Which text of a document is encoded; see :func:`hypensearch.formats.corpus.read_corpus`."""

    fields: tuple[str, ...] = ("text",)
    docid_field: str | None = None
    delimiter: str = "\n"
    title_field: str | None = "title"

    def facts(self) -> list[Any]:
        """Give it as JSON can hold it."""
        return [list(self.fields), self.delimiter, self.title_field]


class Texts(Protocol):
    """Texts by docid."""

    where: str

    def facts(self) -> dict[str, Any]:
        """Say what the texts depend on, as JSON can hold it."""

    def read(self, docids: Collection[str]) -> Iterator[tuple[str, str]]:
        """Give the docids and texts of those documents that exist, in any order."""

    def close(self) -> None:
        """Let go of files."""


class CorpusTexts:
    """Texts of a corpus, which is gone through once for each call.

    :param path: A JSONL file or a folder of them.
    :param rule: Which text.
    :raises HypensearchError: When there is no corpus.
    """

    def __init__(self, path: str | os.PathLike[str], rule: TextRule | None = None) -> None:
        self.where = os.fspath(path)
        self._rule = rule or TextRule()
        self._files = corpus_files(path)

    def facts(self) -> dict[str, Any]:
        """Name the files, their sizes and times of change."""
        stats = [os.stat(file) for file in self._files]
        files = [
            [os.path.basename(file), stat.st_size, stat.st_mtime_ns]
            for file, stat in zip(self._files, stats, strict=True)
        ]
        return {"corpus": files, "rule": self._rule.facts()}

    def read(self, docids: Collection[str]) -> Iterator[tuple[str, str]]:
        """Give the texts of documents.

        :raises HypensearchError: When a document of the corpus is broken, or a wanted one comes twice.
        """
        wanted, found = set(docids), set()
        rule = self._rule
        for document in read_corpus(
            self.where,
            fields=rule.fields,
            docid_field=rule.docid_field,
            delimiter=rule.delimiter,
            title_field=rule.title_field,
            allow_empty=True,
        ):
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
        from hypensearch import pyserini_bridge

        self.where = index
        self._rule = rule or TextRule()
        self._searcher = pyserini_bridge.lucene_searcher(index)

    def facts(self) -> dict[str, Any]:
        """Name the index and its number of documents; of a folder, also its state."""
        state = (
            sorted(name for name in os.listdir(self.where) if name.startswith("segments")) if self._is_folder else []
        )
        return {"lucene": os.path.basename(self.where), "documents": int(self._searcher.num_docs), "state": state}

    def read(self, docids: Collection[str]) -> Iterator[tuple[str, str]]:
        """Give the texts of documents.

        :raises HypensearchError: When the index stores no texts.
        """
        from hypensearch import pyserini_bridge

        wanted = sorted(docids)
        threads = os.cpu_count() or 1
        for start in range(0, len(wanted), _READ_AT_ONCE):
            part = wanted[start : start + _READ_AT_ONCE]
            for docid, (raw, contents) in pyserini_bridge.stored_documents(self._searcher, part, threads).items():
                yield docid, self._text(docid, raw, contents)

    def close(self) -> None:
        """Let go of the index."""
        self._searcher.close()

    @property
    def _is_folder(self) -> bool:
        return os.path.isdir(self.where)

    def _text(self, docid: str, raw: str | None, contents: str | None) -> str:
        if raw is not None and raw.lstrip().startswith("{"):
            rule = self._rule
            try:
                return text_of(raw, fields=rule.fields, delimiter=rule.delimiter, title_field=rule.title_field)
            except HypensearchError as error:
                raise HypensearchError(f"{self.where}: document {docid!r}: {error}") from None
        if raw is None and contents is None:
            raise HypensearchError(
                f"{self.where}: stores no text of document {docid!r}: index with -storeRaw or -storeContents, or give "
                "the corpus with --corpus"
            )
        return contents if contents is not None else raw or ""
