# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The demo's folder: what lies where, and what of it can be used again."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import AbstractContextManager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import hypensearch
from hypensearch.demo.docstrings import collect, sources_digest, write_corpus
from hypensearch.errors import HypensearchError
from hypensearch.flat.manifest import MANIFEST, PROGRESS, Manifest, readable_manifest
from hypensearch.flat.progress import Progress, read_progress
from hypensearch.formats.files import file_lock, replace_when_whole
from hypensearch.formats.json_files import read_json
from hypensearch.formats.qrels import write_qrels
from hypensearch.formats.write_topics import write_topics

DEFAULT_MAX_DOCS = 7000
MAX_TOPICS = 250

IndexState = Literal["missing", "begun", "other", "whole"]


class DemoFolder:
    """The files of a demo, all below one folder, which holds nothing else.

    :param root: The folder; made when something is written.
    :raises HypensearchError: When it holds something that the demo did not make.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root)
        self.facts_file = self.root / "demo.json"
        self.corpus = self.root / "corpus"
        self.documents = self.corpus / "docstrings.jsonl"
        self.topics = self.root / "topics.tsv"
        self.qrels = self.root / "qrels.txt"
        self.index = self.root / "index"
        self.lucene = self.root / "lucene"
        self.run = self.root / "run.hypencoder.txt"
        self.bm25_run = self.root / "run.bm25.txt"
        self._check_ours()

    @property
    def facts(self) -> dict[str, Any]:
        """What the corpus was made of; empty when it is not whole."""
        try:
            facts = read_json(self.facts_file)
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return {}
        return facts if isinstance(facts, dict) else {}

    def lock(self) -> AbstractContextManager[None]:
        """Return the lock that a writer must hold."""
        self.root.mkdir(parents=True, exist_ok=True)
        return file_lock(self.root / "lock")

    def has_corpus(self, max_docs: int | None = None) -> bool:
        """Return whether corpus, topics and qrels are there and what they would be if they were made now.

        :param max_docs: The number of documents wanted; None for whatever number they have.
        """
        facts = self.facts
        wanted: dict[str, object] = {"hypensearch": hypensearch.__version__, "sources": self._sources}
        wanted["max_docs"] = facts.get("max_docs") if max_docs is None else max_docs
        there = all(path.is_file() for path in (self.documents, self.topics, self.qrels))
        return there and all(facts.get(name) == value for name, value in wanted.items())

    def make_corpus(self, max_docs: int | None = None) -> None:
        """Write corpus, topics and qrels, and drop the Lucene index and the runs of those that were there.

        :raises HypensearchError: When there are too few source files to make topics of.
        """
        max_docs = max_docs or self.facts.get("max_docs") or DEFAULT_MAX_DOCS
        docstrings = collect(max_docs=max_docs, max_topics=MAX_TOPICS)
        topics = docstrings.topics()
        if not topics:
            raise HypensearchError(
                f"the documentation of {len(docstrings)} objects gives no topic: raise --max-docs (now {max_docs})"
            )
        self._write_facts({})
        shutil.rmtree(self.lucene, ignore_errors=True)
        for path in (self.run, self.bm25_run):
            path.unlink(missing_ok=True)
        write_corpus(docstrings, self.documents)
        write_topics(self.topics, topics)
        write_qrels(self.qrels, docstrings.qrels())
        packages = sorted({entry.file.partition("/")[0] for entry in docstrings.entries})
        made_of = {"hypensearch": hypensearch.__version__, "sources": self._sources, "max_docs": max_docs}
        counts = {"num_docs": len(docstrings), "num_topics": len(topics), "packages": packages}
        self._write_facts(made_of | counts)

    def known_model(self) -> str | None:
        """Return the model of the index here, whole or begun; None when there is none that can still be loaded."""
        for made in (self._manifest, self._progress):
            name = ((made and made.model) or {}).get("name")
            if name and not (os.path.isabs(name) and not os.path.isdir(name)):
                return str(name)
        return None

    def index_state(self, fingerprint: str) -> IndexState:
        """Compare the index with the corpus here and with a model.

        :param fingerprint: The model's.
        :return: "whole": it can be searched. "begun": encoding can be resumed. "other": of another corpus or model.
        """
        manifest, progress = self._manifest, self._progress
        if manifest and self._is_of(manifest.model, manifest.shards[0].documents, fingerprint):
            return "whole"
        if progress and self._is_of(progress.model, progress.documents, fingerprint):
            return "begun"
        return "other" if manifest or progress else "missing"

    def has_run(self, query_fingerprint: str) -> bool:
        """Return whether the run is one of this index by this model.

        :param query_fingerprint: The model's.
        """
        try:
            newer = self.run.stat().st_mtime_ns >= (self.index / MANIFEST).stat().st_mtime_ns
        except FileNotFoundError:
            return False
        return newer and self.facts.get("run_of") == query_fingerprint

    def note_run(self, query_fingerprint: str) -> None:
        """Keep which model made the run."""
        self._write_facts(self.facts | {"run_of": query_fingerprint})

    def must_replace_index(self) -> bool:
        """Return whether a whole index is there."""
        return self._manifest is not None

    def forget_begun_index(self) -> None:
        """Make encoding start again, where an index of something else was begun."""
        with suppress(FileNotFoundError, NotADirectoryError):
            (self.index / PROGRESS).unlink()

    def _check_ours(self) -> None:
        if self.facts_file.exists() or not self.root.exists():
            return
        if not self.root.is_dir():
            raise HypensearchError(f"{self.root}: is a file; the demo wants a folder, name one with --output")
        found = sorted(os.listdir(self.root))
        if found and found != ["lock"]:
            raise HypensearchError(
                f"{self.root}: holds {found[0]!r}, which the demo did not make; name a new folder with --output"
            )

    def _is_of(self, model: dict[str, Any] | None, documents: dict[str, Any] | None, fingerprint: str) -> bool:
        try:
            corpus = self.documents.stat()
        except FileNotFoundError:
            return False
        made_of = [(file.get("bytes"), file.get("mtime_ns")) for file in (documents or {}).get("files", [])]
        return (model or {}).get("fingerprint") == fingerprint and made_of == [(corpus.st_size, corpus.st_mtime_ns)]

    @property
    def _manifest(self) -> Manifest | None:
        return readable_manifest(str(self.index))

    @property
    def _progress(self) -> Progress | None:
        with suppress(HypensearchError, NotADirectoryError):
            return read_progress(str(self.index))
        return None

    @cached_property
    def _sources(self) -> str:
        return sources_digest()

    def _write_facts(self, facts: dict[str, Any]) -> None:
        with replace_when_whole(self.facts_file, "w") as file:
            json.dump(facts, file, indent=2)
            file.write("\n")
