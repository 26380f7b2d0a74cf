# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""A corpus, or vectors made elsewhere, to a flat index: window by window, in memory that does not grow with the corpus.

A window of documents is encoded, texts of about one length together, and written as one block in the corpus' order. A
run that was killed resumes after the last block.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from itertools import chain
from typing import Any, BinaryIO

import numpy as np

from hypensearch.encode.options import EncodingOptions, OutputOptions
from hypensearch.encode.texts import DocumentEncoder, encode_texts
from hypensearch.errors import HypensearchError
from hypensearch.flat import BadRow, FlatIndexWriter, Manifest
from hypensearch.flat.manifest import POSITION_DTYPE
from hypensearch.flat.progress import Progress
from hypensearch.flat.writer import repeated_within, unfinished
from hypensearch.formats.corpus import CorpusPosition, Document, TextRule, corpus_files, read_corpus
from hypensearch.formats.embeddings import open_vectors
from hypensearch.formats.files import is_gzip_name, is_pipe, open_stream
from hypensearch.progress import CorpusBar

logger = logging.getLogger(__name__)

WINDOW_BYTES = 64 * 2**20


def encode_corpus(
    corpus: str | os.PathLike[str],
    output: str | os.PathLike[str],
    load_encoder: Callable[[], DocumentEncoder],
    *,
    text: TextRule | None = None,
    encoding: EncodingOptions | None = None,
    out: OutputOptions | None = None,
    shard_id: int = 0,
    shard_num: int = 1,
    allow_empty: bool = False,
    show_progress: bool = False,
    known: Callable[[range], np.ndarray | None] | None = None,
) -> Manifest:
    """Encode a corpus to a flat index, or resume one that was begun.

    The first window is read and checked before the encoder is loaded, and nothing is written before that.

    :param corpus: A JSONL file or a folder of them.
    :param output: The index folder.
    :param load_encoder: Returns the encoder.
    :param text: Which text.
    :param encoding: How.
    :param out: What is written.
    :param shard_id: Which shard of the corpus, from 0.
    :param shard_num: The number of shards: every ``shard_num``-th line belongs to one.
    :param allow_empty: Take documents without text.
    :param show_progress: Draw a progress bar on stderr.
    :param known: Returns the vectors of some rows that need not be encoded again, None for those that do.
    :return: The manifest of the index.
    :raises HypensearchError: With file and line for what is wrong with a document; what was encoded before is kept.
    """
    text, encoding, out = text or TextRule(), encoding or EncodingOptions(), out or OutputOptions()
    if is_pipe(corpus):
        raise HypensearchError(
            f"{corpus}: a pipe, but the index notes where each document stands, to show it and to resume after a "
            "kill: write the corpus to a file"
        )
    paths = corpus_files(corpus)
    files = _file_facts(paths)
    which = {**asdict(text), "fields": list(text.fields), "shard_id": shard_id, "shard_num": shard_num}
    settings = _corpus_settings(files, which, encoding, out)
    begun = unfinished(os.fspath(output), settings, overwrite=out.overwrite)
    start = CorpusPosition(**begun.resume_at) if begun and begun.resume_at else None
    documents = read_corpus(corpus, text, shard_id=shard_id, shard_num=shard_num, start=start, allow_empty=allow_empty)
    windows = _windows(documents, encoding.batch_size, encoding.window_rows)
    first = next(windows, [])
    if not first and not (begun and begun.num_docs):
        part = f" in shard {shard_id} of {shard_num}" if shard_num > 1 else ""
        raise HypensearchError(f"{corpus}: holds no documents{part}; an index wants at least one")
    _check_repeated(first, repeated_within(_docids(first)))  # before the model is loaded
    _log_fields(first, text)
    encoder = load_encoder()
    model = _model_record(encoder, encoding)
    how = {
        "corpus": [file["path"] for file in files],
        "text": which,
        "batch_size": encoding.batch_size,
        "sort_by_length": encoding.sort_by_length,
        "window_rows": encoding.window_rows,
        "allow_empty": allow_empty,
    }
    record = {"files": files, "fields": list(text.fields), "how": how}
    numbers = {path: number for number, path in enumerate(paths)}
    copy = _Copier().read if out.store_documents else None
    with (
        _writer(output, begun, settings, out, dim=encoder.dim, model=model, documents=record) as writer,
        CorpusBar(bytes_to_read(files, shard_num, start), show=show_progress) as bar,
    ):
        for window in chain([first] if first else [], windows):
            _check_repeated(window, writer.first_repeated(_docids(window)), writer.num_docs)
            vectors = known(range(writer.num_docs, writer.num_docs + len(window))) if known else None
            if vectors is None:
                vectors = _encode_window(window, encoder, encoding, bar)
            with _named_rows([f"{document.path}:{document.line}" for document in window]):
                writer.append(
                    _docids(window),
                    vectors,
                    positions=_positions((numbers[one.path], one.length, one.offset) for one in window),
                    raw=[copy(document) for document in window] if copy else None,
                    resume_at=asdict(window[-1].position),
                )
        return writer.finish(to_faiss=out.to_faiss)


def import_vectors(
    vectors: str | os.PathLike[str],
    output: str | os.PathLike[str],
    load_encoder: Callable[[], DocumentEncoder] | None = None,
    *,
    encoding: EncodingOptions | None = None,
    out: OutputOptions | None = None,
    show_progress: bool = False,
) -> Manifest:
    """Make a flat index of vectors that exist already.

    :param vectors: See :func:`hypensearch.formats.embeddings.open_vectors`.
    :param output: The index folder.
    :param load_encoder: Returns the model that made them, for the manifest; None when it is unknown.
    :param encoding: Its facts, for the manifest.
    :param out: What is written.
    :param show_progress: Draw a progress bar on stderr.
    :return: The manifest of the index.
    :raises HypensearchError: With file and line for what is wrong.
    """
    encoding, out = encoding or EncodingOptions(), out or OutputOptions()
    source = open_vectors(vectors)
    if out.store_documents and not source.has_text:
        raise HypensearchError(f"{vectors}: a Faiss index holds no text; leave --store-documents out")
    files = _file_facts(source.files)
    settings = {**_file_settings(files), "dtype": out.dtype, "store_documents": out.store_documents}
    begun = unfinished(os.fspath(output), settings, overwrite=out.overwrite)
    blocks = source.blocks(encoding.window_rows, begun.num_docs if begun else 0)
    first = next(blocks, None)
    if first is None and begun is None:
        raise HypensearchError(f"{vectors}: holds no vectors")
    encoder = load_encoder() if load_encoder else None
    dim = first.vectors.shape[1] if first else begun.dim if begun else 0
    if encoder is not None and encoder.dim != dim:
        raise HypensearchError(
            f"{vectors}: vectors of {dim} dimensions, but those of {encoder.name} have {encoder.dim}: "
            "--encoder wants the model that made them"
        )
    model = None if encoder is None else _model_record(encoder, encoding)
    record = {"files": files, "fields": ["contents"]} if source.kind == "embeddings.jsonl" else None
    with (
        _writer(output, begun, settings, out, dim=dim, model=model, documents=record) as writer,
        CorpusBar(None, show=show_progress) as bar,
    ):
        for block in chain([first] if first else [], blocks):
            raw = None
            if out.store_documents and block.texts is not None:
                pairs = zip(block.docids, block.texts, strict=True)
                records = ({"id": docid, "contents": text} for docid, text in pairs)
                raw = [json.dumps(record, ensure_ascii=False).encode() for record in records]
            positions = None
            if block.positions is not None:
                positions = _positions((number, length, offset) for number, offset, length in block.positions)
            with _named_rows(block.places):
                writer.append(block.docids, block.vectors, positions=positions, raw=raw)
            bar.add(len(block.docids), 0)
        return writer.finish(to_faiss=out.to_faiss)


def _corpus_settings(
    files: list[dict[str, Any]], which: dict[str, Any], encoding: EncodingOptions, out: OutputOptions
) -> dict[str, Any]:
    """Return all that a resumed run must have in common with the one that was killed, the model aside."""
    return {
        **_file_settings(files),
        **which,
        "batch_size": encoding.batch_size,
        "max_length": encoding.max_length,
        "prefix": encoding.prefix,
        "sort_by_length": encoding.sort_by_length,
        "window": [encoding.window_rows, WINDOW_BYTES],
        "dtype": out.dtype,
        "store_documents": out.store_documents,
    }


def _file_settings(files: list[dict[str, Any]]) -> dict[str, Any]:
    return {f"size and time of {file['path']}": [file["bytes"], file["mtime_ns"]] for file in files}


def _file_facts(paths: Sequence[str]) -> list[dict[str, Any]]:
    found = [(os.path.abspath(path), os.stat(path)) for path in paths]
    return [{"path": path, "bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns} for path, stat in found]


def _model_record(encoder: DocumentEncoder, encoding: EncodingOptions) -> dict[str, Any]:
    # A folder is named so that it is found from elsewhere too.
    name = os.path.abspath(encoder.name) if os.path.isdir(encoder.name) else encoder.name
    return {
        "name": name,
        "revision": encoder.revision,
        "fingerprint": encoder.fingerprint,
        "kind": encoder.kind,
        "dim": encoder.dim,
        "max_length": encoding.max_length,
        "prefix": encoding.prefix,
        **(encoding.model_facts or {}),
    }


def _windows(documents: Iterator[Document], batch_size: int, window_rows: int) -> Iterator[list[Document]]:
    """Cut a corpus into windows of whole batches, bounded in number and in bytes."""
    window: list[Document] = []
    num_bytes = 0
    rows = max(batch_size, window_rows - window_rows % batch_size)
    for document in documents:
        window.append(document)
        num_bytes += document.length
        if len(window) % batch_size == 0 and (len(window) >= rows or num_bytes >= WINDOW_BYTES):
            yield window
            window, num_bytes = [], 0
    if window:
        yield window


def _log_fields(window: list[Document], text: TextRule) -> None:
    """Log what is encoded and, where Pyserini's default is another, how to have that."""
    fields = list(dict.fromkeys(name for document in window for name in document.fields))
    if len(fields) > 1:
        titled = text.title_field in fields and text.title_field not in text.fields
        alone = ["--fields text"] * (len(text.fields) > 1) + ["--no-title"] * titled
        listed = f"{', '.join(fields[:-1])} and {fields[-1]}"
        logger.info("Encoding %s; Pyserini's default is text alone, here: input %s", listed, " ".join(alone))
    elif fields:
        logger.info("Encoding %s", fields[0])


def _docids(window: list[Document]) -> list[str]:
    return [document.docid for document in window]


def _check_repeated(window: list[Document], repeated: tuple[int, int] | None, num_docs: int = 0) -> None:
    """Refuse a repeated docid before time is spent on encoding.

    :param repeated: Its position in the window and the row of the earlier document.
    :param num_docs: Documents before the window.
    """
    if repeated is None:
        return
    document, row = window[repeated[0]], repeated[1] - num_docs
    earlier = f"line {window[row].line} of {window[row].path}" if row >= 0 else f"document number {repeated[1] + 1}"
    raise HypensearchError(
        f"{document.path}:{document.line}: the id {document.docid!r} was already given to {earlier}; "
        "every document wants an id of its own"
    )


@contextmanager
def _writer(
    output: str | os.PathLike[str], begun: Progress | None, settings: dict[str, Any], out: OutputOptions, **facts: Any
) -> Iterator[FlatIndexWriter]:
    """Open the index to be written, or to be resumed where it stood before the model was loaded."""
    with FlatIndexWriter(
        output,
        dtype=out.dtype,
        store_documents=out.store_documents,
        settings=settings,
        overwrite=out.overwrite,
        **facts,
    ) as writer:
        if writer.num_docs != (begun.num_docs if begun else 0):
            raise HypensearchError(f"{writer.folder}: another process has written there meanwhile; run this again")
        yield writer


def _encode_window(
    window: list[Document], encoder: DocumentEncoder, encoding: EncodingOptions, bar: CorpusBar
) -> np.ndarray:
    def done(rows: Sequence[int]) -> None:
        bar.add(len(rows), sum(window[row].length for row in rows))

    return encode_texts([document.text for document in window], encoder, encoding, done)


def _positions(places: Iterable[tuple[int, int, int]]) -> np.ndarray:
    """Return file number, length and offset of documents, as an index keeps them."""
    return np.array(list(places), dtype=POSITION_DTYPE)


@contextmanager
def _named_rows(places: Sequence[str]) -> Iterator[None]:
    """Say where a document stands that cannot go into the index."""
    try:
        yield
    except BadRow as error:
        raise HypensearchError(f"{places[error.row]}: {error}") from None


class _Copier:
    """Reads documents a second time, as they stand in the corpus, to store them."""

    def __init__(self) -> None:
        self._path: str | None = None
        self._stream: BinaryIO | None = None
        self._at = 0

    def read(self, document: Document) -> bytes:
        """Return a document as one line of JSON, without the line end. Documents come in corpus order."""
        if document.path != self._path or self._stream is None:
            self._path, self._stream, self._at = document.path, open_stream(document.path), 0
        if not is_gzip_name(document.path):
            self._stream.seek(document.offset)
        while is_gzip_name(document.path) and self._at < document.offset:
            self._at += len(self._stream.read(min(document.offset - self._at, 2**20)))
        raw = self._stream.read(document.length).removeprefix(b"\xef\xbb\xbf").strip()
        self._at = document.offset + document.length
        return json.dumps(json.loads(raw), ensure_ascii=False).encode() if b"\n" in raw else raw


def bytes_to_read(files: Sequence[Mapping[str, Any]], shard_num: int, start: CorpusPosition | None) -> int | None:
    """Return how much of an unpacked corpus is left to read, None when that is unknown.

    :param files: Path and size of each file.
    :param start: Where reading is resumed.
    """
    sizes = {os.path.basename(file["path"]): _unpacked_size(file["path"], file["bytes"]) for file in files}
    names = list(sizes)
    left = [sizes[name] for name in names[names.index(os.path.basename(start.path)) if start else 0 :]]
    if None in left:
        return None
    return max(0, sum(size or 0 for size in left) - (start.offset if start else 0)) // shard_num


def _unpacked_size(path: str, size: int) -> int | None:
    """Return a file's size once unpacked, None when it is unknown.

    A gzip file ends with its unpacked size, modulo 4 GiB and of its last member only: one that is less than the packed
    size, or that of a file that may unpack to more, says nothing.
    """
    if not is_gzip_name(path):
        return size
    with open(path, "rb") as stream:
        stream.seek(max(0, size - 4))
        unpacked = int.from_bytes(stream.read(4), "little")
    return unpacked if size < unpacked and size < 2**28 else None
