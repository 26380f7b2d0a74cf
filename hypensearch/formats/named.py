# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Collections by name: ``irds:NAME`` of ir_datasets, and corpora as ``hf:NAME`` of Hugging Face's datasets.

A named corpus is written to a JSONL file in the cache once, a document at a time. From then on it is a corpus like any
other: encoding resumes after a kill, the index shows its texts and repairs its vectors.

- ``irds:NAME``, or ``irds:MODULE:NAME`` where importing a Python module is what registers the data set.
- ``hf:NAME``, ``hf:NAME:CONFIG`` or ``hf:NAME:CONFIG:SPLIT``; NAME is a data set on the hub, a local folder or a local
  file (``.parquet``, ``.jsonl``, ``.csv``).
"""

from __future__ import annotations

import hashlib
import importlib
import json
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

from hypensearch.errors import HypensearchError
from hypensearch.formats.corpus import TextRule
from hypensearch.formats.files import PathLike, cache_folder, replace_when_whole
from hypensearch.formats.ids import flaw_of_id
from hypensearch.offline import check_may_download

IRDS, HF = "irds:", "hf:"

_FILE_TYPES = {".parquet": "parquet", ".jsonl": "json", ".json": "json", ".csv": "csv"}
_OFFICIAL_LEVEL = re.compile(r"rel=(\d+)")

logger = logging.getLogger(__name__)


def is_name(path: PathLike) -> bool:
    """Return whether a path is the name of a collection."""
    return isinstance(path, str) and path.startswith((IRDS, HF))


def named_corpus(name: str) -> str:
    """Return the JSONL file of a named corpus, written the first time.

    What is encoded by default is what the data set says is a document's text: ``default_text()`` of ir_datasets, title
    and text of a data set on the hub. The file has the documents' other fields of text too, for ``--fields``.

    :raises HypensearchError: When there is no such corpus, or it cannot be had.
    """
    with _reported(name):
        documents, version = _irds_documents(name) if name.startswith(IRDS) else _hf_documents(name)
        digest = hashlib.sha256(f"{name} {version}".encode()).hexdigest()[:16]
        stem = re.sub(r"[^A-Za-z0-9.]+", "-", name.partition(":")[2]).strip("-.")[-80:]
        path = cache_folder() / "corpora" / f"{stem}-{digest}.jsonl"
        if not path.exists():
            logger.info("%s: writing its documents to %s", name, path)
            with replace_when_whole(path, "w") as file:
                file.writelines(json.dumps(document) + "\n" for document in documents())
        return os.fspath(path)


def named_topics(name: str) -> dict[str, str]:
    """Return the queries of a named data set by topic id: their ``default_text()``.

    :raises HypensearchError: When there are none, or an id or a text cannot be used.
    """
    with _reported(name):
        topics: dict[str, str] = {}
        for query in _irds(name, "queries").queries_iter():
            text = " ".join(query.default_text().split())
            _check_id(name, query.query_id)
            if not text:
                raise HypensearchError(f"{name}: topic {query.query_id!r} has an empty query")
            topics[query.query_id] = text
        _log_once(f"{name}: topics are {_default_text(_irds(name, 'queries').queries_cls())}")
        return topics


def named_qrels(name: str) -> dict[str, dict[str, int]]:
    """Return the judgements of a named data set: grades by docid by topic id.

    :raises HypensearchError: When there are none, or an id cannot be used.
    """
    with _reported(name):
        qrels: dict[str, dict[str, int]] = {}
        for judged in _irds(name, "qrels").qrels_iter():
            _check_id(name, judged.query_id)
            _check_id(name, judged.doc_id)
            qrels.setdefault(judged.query_id, {})[judged.doc_id] = int(judged.relevance)
        return qrels


def relevance_level(name: PathLike) -> int:
    """Return the least grade that binary measures count as relevant: that of the data set's official measures.

    It is 2 for ``irds:msmarco-passage/trec-dl-2019``, whose measures are nDCG@10, RR(rel=2) and AP(rel=2); 1 for what
    is no name, and where no official measure says ``rel=``.
    """
    if not is_name(name):
        return 1
    with _reported(str(name)):
        data_set = _irds(str(name), "qrels")
        documentation = data_set.documentation() if hasattr(data_set, "documentation") else {}
        official = " ".join(documentation.get("official_measures", ()))
        level = max(map(int, _OFFICIAL_LEVEL.findall(official)), default=1)
        if level > 1:
            _log_once(f"{name}: grade {level} and above is relevant, as in its official measures {official}")
        return level


@contextmanager
def _reported(name: str) -> Iterator[None]:
    """Turn what the libraries raise, which may be anything, into one line."""
    try:
        yield
    except (HypensearchError, MemoryError):
        raise
    except Exception as error:
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise HypensearchError(f"{name}: cannot be had ({type(error).__name__}: {reason})") from error


@cache
def _log_once(message: str) -> None:
    """Log what a command may ask for several times."""
    logger.info("%s", message)


def _check_id(name: str, text: str) -> None:
    if flaw := flaw_of_id(text):
        raise HypensearchError(f"{name}: an id {flaw}")


def _irds(name: str, part: str) -> Any:
    """Return a data set of ir_datasets that has documents, queries or judgements."""
    if not name.startswith(IRDS):
        raise HypensearchError(f"{name}: only a corpus comes from {HF}; {part} come from a file or from {IRDS}NAME")
    module, _, own_name = name.removeprefix(IRDS).rpartition(":")
    library = _ir_datasets()
    if module:
        importlib.import_module(module)
    try:
        data_set = library.load(own_name)
    except KeyError:
        raise HypensearchError(
            f"{name}: ir_datasets knows no such data set; they are listed at https://ir-datasets.com, and "
            f"{IRDS}MODULE:NAME imports the module that registers one"
        ) from None
    if not data_set.has(part):
        raise HypensearchError(f"{name}: this data set has no {part}")
    return data_set


@cache
def _ir_datasets() -> Any:
    """Import ir_datasets, its downloads forbidden where ours are."""
    library = _imported("ir_datasets", "irds")
    downloads = importlib.import_module("ir_datasets.util.download")
    for kind in (downloads.RequestsDownload, downloads.GoogleDriveDownload):
        _guard(kind)
    return library


def _guard(kind: Any) -> None:
    stream = kind.stream

    def guarded(self: Any) -> Any:
        check_may_download(self.url)
        return stream(self)

    kind.stream = guarded


def _imported(library: str, extra: str) -> Any:
    try:
        return importlib.import_module(library)
    except ImportError:
        raise HypensearchError(f"{library} is not installed: pip install 'hypensearch[{extra}]'") from None


def _default_text(kind: Any) -> str:
    """Say what ``default_text()`` is made of; the library's classes say it in its docstring."""
    words = (kind.default_text.__doc__ or "").split()
    return f"default_text() of {kind.__name__}" + (f": {' '.join(words)}" if words else "")


def _irds_documents(name: str) -> tuple[Callable[[], Iterable[Mapping[str, Any]]], str]:
    data_set = _irds(name, "docs")
    _log_once(f"{name}: documents are {_default_text(data_set.docs_cls())}")
    rule = TextRule()
    return lambda: (_record(document, rule) for document in data_set.docs_iter()), ""


def _record(document: Any, rule: TextRule) -> dict[str, Any]:
    """Return a document with its fields of text, so that the default rule encodes its ``default_text()``."""
    text = " ".join(document.default_text().split())
    fields = {name: value for name, value in document._asdict().items() if isinstance(value, str)}
    record = {"id": fields.pop("doc_id"), **fields}
    if "text" in record and " ".join(rule.text(record).split()) == text:
        return record
    others = {name: value for name, value in record.items() if name not in ("text", "title", "contents")}
    return {**others, "contents": text}


def _hf_documents(name: str) -> tuple[Callable[[], Iterable[Mapping[str, Any]]], str]:
    library = _imported("datasets", "hf")
    path, config, split, *_ = [*name.removeprefix(HF).split(":"), "", ""]
    file_type = _FILE_TYPES.get(os.path.splitext(path)[1])
    if file_type and os.path.exists(path):
        builder = library.load_dataset_builder(file_type, data_files=path)
    else:
        builder = library.load_dataset_builder(path, config or None)
    splits = builder.as_streaming_dataset()
    split = split or ("corpus" if len(splits) > 1 else next(iter(splits)))
    if split not in splits:
        raise HypensearchError(f"{name}: has the splits {', '.join(splits)}: wanted {HF}{path}:{config}:SPLIT")
    return lambda: map(_plain_values, splits[split]), builder.cache_dir


def _plain_values(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value is None or type(value) in (str, int)}
