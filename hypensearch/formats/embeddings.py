# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Document vectors that others have made: Pyserini's ``embeddings.jsonl``, its Faiss flat index, the authors' items."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np

from hypensearch.errors import HypensearchError
from hypensearch.formats.encoded_items import read_encoded_items
from hypensearch.formats.files import decode_line, is_pipe, numbered_lines, open_stream
from hypensearch.formats.ids import flaw_of_id
from hypensearch.formats.json_lines import BLANKS, binary_lines, found_in, id_of, parse_object

FAISS_INDEX = "index"
FAISS_DOCID = "docid"
EMBEDDINGS = "embeddings.jsonl"

_FLAT_KINDS = {b"IxFI": 0, b"IxF2": 1}
_HEADER = struct.Struct("<4siqqq?i")
_COUNT = struct.Struct("<Q")
_UNKNOWN = "wanted Pyserini's embeddings.jsonl or its folder, its Faiss folder (index, docid), or encoded_items.docs"


@dataclass(slots=True)
class VectorBlock:
    """Some documents whose vectors are known.

    :param docids: Their docids.
    :param vectors: Their vectors, shape ``(num_docs, dim)``, float32.
    :param places: Where each stands, for messages, such as ``embeddings.jsonl:7``.
    :param texts: Their texts, None when the format has none.
    :param positions: File number, offset and length of each document's JSON, None when it is no JSON in a plain file.
    """

    docids: list[str]
    vectors: np.ndarray
    places: list[str]
    texts: list[str] | None = None
    positions: list[tuple[int, int, int]] | None = None


@dataclass(frozen=True, slots=True)
class VectorSource:
    """Vectors in one of the known formats.

    :param kind: "embeddings.jsonl", "faiss" or "encoded_items".
    :param files: Its files, in reading order.
    """

    kind: str
    files: list[str]

    @property
    def has_text(self) -> bool:
        """Whether it knows the documents' texts."""
        return self.kind != "faiss"

    def blocks(self, block_rows: int, skip: int = 0) -> Iterator[VectorBlock]:
        """Stream the documents, ``block_rows`` at a time.

        :param skip: Leave out this many from the beginning.
        :raises HypensearchError: With file and line (or item number) for what cannot be read.
        """
        if self.kind == "faiss":
            return _read_faiss(map_faiss_flat(self.files[0]), self.files[1], block_rows, skip)
        items = _read_jsonl(self.files, skip) if self.kind == EMBEDDINGS else _read_items(self.files[0], skip)
        return _blocks(items, block_rows)


def open_vectors(path: str | os.PathLike[str]) -> VectorSource:
    """Recognise the format of vectors that exist already.

    :param path: A ``.jsonl`` file (``.gz`` or not), a folder of them, a folder with ``index`` and ``docid``, or a
        ``.docs`` file.
    :raises HypensearchError: When there is no such path or it is of no known format.
    """
    path = os.fspath(path)
    if not os.path.exists(path):
        raise HypensearchError(f"{path}: no such file or folder; {_UNKNOWN}")
    if is_pipe(path):
        raise HypensearchError(f"{path}: a pipe, but an import resumes after a kill: write the vectors to a file")
    if os.path.isdir(path):
        return _open_folder(path)
    if path.endswith((".jsonl", ".jsonl.gz", ".json", ".json.gz")):
        return VectorSource(EMBEDDINGS, [path])
    if path.endswith(".docs"):
        return VectorSource("encoded_items", [path])
    if os.path.basename(path) == FAISS_INDEX:
        return _open_folder(os.path.dirname(path) or ".")
    raise HypensearchError(f"{path}: vectors of unknown form; {_UNKNOWN}")


def _open_folder(folder: str) -> VectorSource:
    names = sorted(os.listdir(folder))
    if FAISS_INDEX in names and FAISS_DOCID in names:
        files = [os.path.join(folder, name) for name in (FAISS_INDEX, FAISS_DOCID)]
        map_faiss_flat(files[0])  # its error now, not when it is read
        return VectorSource("faiss", files)
    jsonl = [name for name in names if name.endswith((".jsonl", ".jsonl.gz")) and not name.startswith(".")]
    if jsonl:
        return VectorSource(EMBEDDINGS, [os.path.join(folder, name) for name in jsonl])
    raise HypensearchError(f"{folder}: a folder without vectors of a known form; {_UNKNOWN}")


@dataclass(slots=True)
class _Item:
    docid: str
    vector: np.ndarray
    place: str
    text: str
    position: tuple[int, int, int] | None = None


def _blocks(items: Iterator[_Item], rows: int) -> Iterator[VectorBlock]:
    """Gather documents to blocks; their vectors must be of one size."""
    dim = None
    while block := list(islice(items, rows)):
        dim = dim or len(block[0].vector)
        for item in block:
            if len(item.vector) != dim:
                raise HypensearchError(f"{item.place}: {len(item.vector)} dimensions, the documents before have {dim}")
        positions = [item.position for item in block if item.position is not None]
        yield VectorBlock(
            docids=[item.docid for item in block],
            vectors=np.stack([item.vector for item in block]),
            places=[item.place for item in block],
            texts=[item.text for item in block],
            positions=positions if len(positions) == len(block) else None,
        )


# Pyserini's embeddings.jsonl: {"id", "contents", "vector"} a line.


def _read_jsonl(files: list[str], skip: int) -> Iterator[_Item]:
    for file_number, path in enumerate(files):
        with open_stream(path) as stream:
            for number, offset, line in binary_lines(stream, path):
                if not line.strip():
                    continue
                if skip:
                    skip -= 1
                    continue
                place = f"{path}:{number}"
                try:
                    docid, vector, text = _parse_embedding(decode_line(line, path, number))
                except ValueError as error:
                    raise HypensearchError(f"{place}: {error}") from None
                yield _Item(docid, vector, place, text, (file_number, offset, len(line)))


def _parse_embedding(line: str) -> tuple[str, np.ndarray, str]:
    record = parse_object(line.strip(BLANKS))
    numbers, text = record.get("vector"), record.get("contents", record.get("text"))
    if not isinstance(numbers, list):
        raise ValueError(f"wanted 'id', 'contents' and 'vector', a list of numbers, {found_in(record)}")
    try:
        if not numbers or not all(type(number) in (int, float) for number in numbers):
            raise ValueError
        with np.errstate(over="ignore"):
            vector = np.array(numbers, dtype=np.float64).astype(np.float32)
    except (ValueError, OverflowError):
        raise ValueError("'vector' is not a list of numbers") from None
    return id_of(record, "id"), vector, text if isinstance(text, str) else ""


# The authors' encoded items.


def _read_items(path: str, skip: int) -> Iterator[_Item]:
    for number, item in read_encoded_items(path, skip):
        place = f"{path}, item {number}"
        yield _Item(_checked_docid(item.docid, place), item.vector, place, item.text)


def _checked_docid(docid: str, place: str) -> str:
    if flaw := flaw_of_id(docid):
        raise HypensearchError(f"{place}: the id {flaw}")
    return docid


# Pyserini's Faiss flat index: the file `index` and the file `docid`, one docid a line.


def faiss_flat_header(num_docs: int, dim: int) -> bytes:
    """Return the header of a Faiss IndexFlatIP's file (format of Faiss 1.5 to 1.15)."""
    return _HEADER.pack(b"IxFI", dim, num_docs, 1 << 20, 1 << 20, True, 0) + _COUNT.pack(num_docs * dim)


def map_faiss_flat(path: str) -> np.ndarray:
    """Map the vectors of a Faiss flat index (inner product or L2), without Faiss and without a copy.

    :param path: The index file.
    :return: Shape ``(num_docs, dim)``, float32.
    :raises HypensearchError: When it is another kind of index, or its size is not what its header says.
    """
    start = _HEADER.size + _COUNT.size
    with open(path, "rb") as file:
        head = file.read(start)
    if head[:4] not in _FLAT_KINDS:
        raise HypensearchError(
            f"{path}: a Faiss index of kind {head[:4]!r}; only flat ones (IxFI, IxF2) hold the vectors as they were: "
            "encode the corpus again, or convert it with faiss"
        )
    if len(head) < start:
        raise HypensearchError(f"{path}: breaks off within its header; copy it again")
    _, dim, num_docs, _, _, _, _ = _HEADER.unpack_from(head)
    (count,) = _COUNT.unpack_from(head, _HEADER.size)
    wanted = start + 4 * num_docs * dim
    if dim < 1 or num_docs < 1 or count != num_docs * dim or os.path.getsize(path) != wanted:
        raise HypensearchError(
            f"{path}: {os.path.getsize(path):,} bytes long, but its header says {num_docs:,} vectors of "
            f"{dim:,} dimensions ({wanted:,} bytes); copy it again"
        )
    return np.memmap(path, "<f4", "r", start, (num_docs, dim))


def _read_faiss(vectors: np.ndarray, docid_path: str, rows: int, skip: int) -> Iterator[VectorBlock]:
    def block() -> VectorBlock:
        start = number - len(docids)
        places = [f"{docid_path}:{row + 1}" for row in range(start, number)]
        return VectorBlock(docids, np.array(vectors[start:number], dtype=np.float32), places)

    number = 0
    docids: list[str] = []
    for number, line in numbered_lines(docid_path):
        if number > len(vectors):
            raise HypensearchError(f"{docid_path}:{number}: more docids than the {len(vectors):,} vectors beside it")
        if number > skip:
            docids.append(_checked_docid(line, f"{docid_path}:{number}"))
        if len(docids) == rows:
            yield block()
            docids = []
    if number < len(vectors):
        raise HypensearchError(f"{docid_path}: {number:,} docids for the {len(vectors):,} vectors beside it")
    if docids:
        yield block()
