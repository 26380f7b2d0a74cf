# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""A corpus, or vectors made elsewhere, to a flat index: window by window, in memory that does not grow with the corpus.

A window of documents is sorted by length, so that batches hold texts of one length and little padding, encoded, put
back into corpus order, and written as one block. A run that was killed goes on behind the last block.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
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
from hypensearch.formats.embeddings import VectorBlock, VectorSource, open_vectors
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
    """Encode a corpus to a flat index, or go on with one that was begun.

    The first window is read and checked before the encoder is loaded, and nothing is written before that.

    :param corpus: A JSONL file or a folder of them.
    :param output: The index folder.
    :param load_encoder: Gives the encoder.
    :param text: Which text.
    :param encoding: How.
    :param out: What is written.
    :param shard_id: Which shard of the corpus, from 0.
    :param shard_num: The number of shards: every ``shard_num``-th line belongs to one.
    :param allow_empty: Take documents without text.
    :param show_progress: Draw a progress bar on stderr.
    :param known: Gives the vectors of some rows that need not be encoded again, None for those that do.
    :return: The manifest of the index.
    :raises HypensearchError: With file and line for what is wrong with a document; what was encoded before is kept.
    """
    text, encoding, out = text or TextRule(), encoding or EncodingOptions(), out or OutputOptions()
    if is_pipe(corpus):
        raise HypensearchError(
            f"{corpus}: a pipe, but the index notes where each document stands, to show it and to resume after a "
            "kill: write the corpus to a file"
        )
    files = _file_facts(corpus_files(corpus))
    which = {**asdict(text), "fields": list(text.fields), "shard_id": shard_id, "shard_num": shard_num}
    settings = _settings(files, which, encoding, out)
    begun = unfinished(os.fspath(output), settings, overwrite=out.overwrite)
    start = CorpusPosition(**begun.resume_at) if begun and begun.resume_at else None
    documents = read_corpus(corpus, text, shard_id=shard_id, shard_num=shard_num, start=start, allow_empty=allow_empty)
    windows = _windows(documents, encoding.batch_size, encoding.window_rows)
    first = list(next(windows, []))
    if not first and not (begun and begun.num_docs):
        part = f" in shard {shard_id} of {shard_num}" if shard_num > 1 else ""
        raise HypensearchError(f"{corpus}: holds no documents{part}; an index wants at least one")
    _check_repeated(first, repeated_within(_docids(first)))  # before the model is loaded
    _log_fields(first, text)
    encoder = load_encoder()
    with FlatIndexWriter(
        output,
        dim=encoder.dim,
        dtype=out.dtype,
        model=_model_record(encoder, encoding),
        documents={"files": files, "fields": list(text.fields), "how": _how(files, which, encoding, allow_empty)},
        store_documents=out.store_documents,
        settings=settings,
        overwrite=out.overwrite,
    ) as writer:
        _check_nobody_else_wrote(writer, begun)
        copier = _Copier() if out.store_documents else None
        places = _Places([file["path"] for file in files], corpus_files(corpus))
        with CorpusBar(_num_bytes(files, shard_num, start), show=show_progress) as bar:
            for window in chain([first] if first else [], windows):
                _check_repeated(window, writer.first_repeated(_docids(window)), writer.num_docs)
                rows = range(writer.num_docs, writer.num_docs + len(window))
                vectors = known(rows) if known else None
                if vectors is None:
                    vectors = _encode_window(window, encoder, encoding, bar)
                _append(writer, window, vectors, places, copier)
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
    :param load_encoder: Gives the model that made them, for the manifest; None when it is unknown.
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
    settings = {**_as_settings(files), "dtype": out.dtype, "store_documents": out.store_documents}
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
    with FlatIndexWriter(
        output,
        dim=dim,
        dtype=out.dtype,
        model=None if encoder is None else _model_record(encoder, encoding),
        documents=_documents_of(source, files),
        store_documents=out.store_documents,
        settings=settings,
        overwrite=out.overwrite,
    ) as writer:
        _check_nobody_else_wrote(writer, begun)
        with CorpusBar(None, show=show_progress) as bar:
            for block in chain([first] if first else [], blocks):
                _append_vectors(writer, block, out.store_documents)
                bar.add(len(block.docids), 0)
        return writer.finish(to_faiss=out.to_faiss)


def _settings(
    files: list[dict[str, Any]], which: dict[str, Any], encoding: EncodingOptions, out: OutputOptions
) -> dict[str, Any]:
    """Give all that a resumed run must have in common with the one that was killed, the model aside."""
    return {
        **_as_settings(files),
        **which,
        "batch_size": encoding.batch_size,
        "max_length": encoding.max_length,
        "prefix": encoding.prefix,
        "sort_by_length": encoding.sort_by_length,
        "window": [encoding.window_rows, WINDOW_BYTES],
        "dtype": out.dtype,
        "store_documents": out.store_documents,
    }


def _how(
    files: list[dict[str, Any]], which: dict[str, Any], encoding: EncodingOptions, allow_empty: bool
) -> dict[str, Any]:
    """Give what it takes to encode the same corpus in the same way again, the model aside."""
    return {
        "corpus": [file["path"] for file in files],
        "text": which,
        "batch_size": encoding.batch_size,
        "sort_by_length": encoding.sort_by_length,
        "window_rows": encoding.window_rows,
        "allow_empty": allow_empty,
    }


def _file_facts(files: Sequence[str]) -> list[dict[str, Any]]:
    facts = []
    for path in files:
        found = os.stat(path)
        facts.append({"path": os.path.abspath(path), "bytes": found.st_size, "mtime_ns": found.st_mtime_ns})
    return facts


def _as_settings(files: list[dict[str, Any]]) -> dict[str, Any]:
    return {f"size and time of {file['path']}": [file["bytes"], file["mtime_ns"]] for file in files}


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


def _check_nobody_else_wrote(writer: FlatIndexWriter, begun: Progress | None) -> None:
    if writer.num_docs != (begun.num_docs if begun else 0):
        raise HypensearchError(f"{writer.folder}: another process has written there meanwhile; run this again")


def _log_fields(window: list[Document], text: TextRule) -> None:
    """Log what is encoded and, where Pyserini's default is another, how to have that."""
    fields = list(dict.fromkeys(name for document in window for name in document.fields))
    if len(fields) > 1:
        titled = text.title_field in fields and text.title_field not in text.fields
        alone = ["--fields text"] * (len(text.fields) > 1) + ["--no-title"] * titled
        logger.info("Encoding %s; Pyserini's default is text alone, here: input %s", _listed(fields), " ".join(alone))
    elif fields:
        logger.info("Encoding %s", fields[0])


def _listed(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"


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


def _encode_window(
    window: list[Document], encoder: DocumentEncoder, encoding: EncodingOptions, bar: CorpusBar
) -> np.ndarray:
    def done(rows: Sequence[int]) -> None:
        bar.add(len(rows), sum(window[row].length for row in rows))

    return encode_texts([document.text for document in window], encoder, encoding, done)


def _append(
    writer: FlatIndexWriter,
    window: list[Document],
    vectors: np.ndarray,
    places: _Places,
    copier: _Copier | None,
) -> None:
    try:
        writer.append(
            _docids(window),
            vectors,
            positions=places.of(window),
            raw=None if copier is None else [copier.read(document) for document in window],
            resume_at=asdict(window[-1].position),
        )
    except BadRow as error:
        document = window[error.row]
        raise HypensearchError(f"{document.path}:{document.line}: {error}") from None


class _Places:
    """Where documents stand, as the index keeps it."""

    def __init__(self, kept: list[str], read: list[str]) -> None:
        assert len(kept) == len(read)
        self._numbers = {path: number for number, path in enumerate(read)}

    def of(self, window: list[Document]) -> np.ndarray:
        """Give file number, length and offset of each document."""
        rows = [(self._numbers[document.path], document.length, document.offset) for document in window]
        return np.array(rows, dtype=POSITION_DTYPE)


class _Copier:
    """Reads documents a second time, as they stand in the corpus, to store them."""

    def __init__(self) -> None:
        self._path: str | None = None
        self._stream: BinaryIO | None = None
        self._at = 0

    def read(self, document: Document) -> bytes:
        """Give a document as one line of JSON, without the line end. Documents come in corpus order."""
        if document.path != self._path or self._stream is None:
            self._path, self._stream, self._at = document.path, open_stream(document.path), 0
        self._go_to(self._stream, document.offset)
        raw = self._stream.read(document.length).removeprefix(b"\xef\xbb\xbf").strip()
        self._at = document.offset + document.length
        return json.dumps(json.loads(raw), ensure_ascii=False).encode() if b"\n" in raw else raw

    def _go_to(self, stream: BinaryIO, offset: int) -> None:
        if not is_gzip_name(self._path or ""):
            stream.seek(offset)
            return
        while self._at < offset:
            self._at += len(stream.read(min(offset - self._at, 2**20)))


def _num_bytes(files: list[dict[str, Any]], shard_num: int, start: CorpusPosition | None) -> int | None:
    """Give how much of the unpacked corpus is left to read, None when only unpacking it would tell."""
    sizes = [_unpacked_size(file) for file in files]
    if None in sizes:
        return None
    left = sum(size or 0 for size in sizes)
    if start is not None:
        for file, size in zip(files, sizes, strict=True):
            if os.path.basename(file["path"]) == os.path.basename(start.path):
                left -= start.offset
                break
            left -= size or 0
    return max(0, int(left / shard_num))


def _unpacked_size(file: dict[str, Any]) -> int | None:
    """Give a file's size once unpacked, None when it is not known.

    A gzip file ends with its unpacked size, modulo 4 GiB and of its last member only: a size that is less than the
    packed one, or a file that may unpack to more, tells nothing.
    """
    if not is_gzip_name(file["path"]):
        return int(file["bytes"])
    with open(file["path"], "rb") as stream:
        stream.seek(max(0, file["bytes"] - 4))
        size = int.from_bytes(stream.read(4), "little")
    return size if file["bytes"] < size and file["bytes"] < 2**28 else None


def _documents_of(source: VectorSource, files: list[dict[str, Any]]) -> dict[str, Any] | None:
    if source.kind == "embeddings.jsonl":
        return {"files": files, "fields": ["contents"]}
    return None


def _append_vectors(writer: FlatIndexWriter, block: VectorBlock, store_documents: bool) -> None:
    positions = None
    if block.positions is not None:
        rows = [(number, length, offset) for number, offset, length in block.positions]
        positions = np.array(rows, dtype=POSITION_DTYPE)
    raw = None
    if store_documents and block.texts is not None:
        pairs = zip(block.docids, block.texts, strict=True)
        raw = [json.dumps({"id": docid, "contents": text}, ensure_ascii=False).encode() for docid, text in pairs]
    try:
        writer.append(block.docids, block.vectors, positions=positions, raw=raw)
    except BadRow as error:
        raise HypensearchError(f"{block.places[error.row]}: {error}") from None
