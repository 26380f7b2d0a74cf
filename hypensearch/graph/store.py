# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""A graph index: the nearest documents of every document, mapped, beside the flat index whose vectors it belongs to.

``INDEX/graphs/NAME/`` holds ``neighbours.npy`` (rows, int32, ``(num_docs, degree)``, nearest first, -1 where there are
fewer) and ``graph.json``. Vectors are stored once; several graphs may lie beside them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any

import numpy as np
from msgspec import Meta

import hypensearch
from hypensearch.errors import HypensearchError, as_typed
from hypensearch.flat.index import FlatIndex
from hypensearch.flat.integrity import file_damages
from hypensearch.flat.manifest import FileRecord
from hypensearch.formats.checked import check_once
from hypensearch.formats.files import replace_when_whole, size_of
from hypensearch.formats.json_files import check_signed, parse_json, read_bounded, signed_json
from hypensearch.formats.npy import map_npy
from hypensearch.formats.schema import Count, Digest, Distance, Name, Number, Short, Size, checked

FORMAT = "hypensearch graph"
FORMAT_VERSION = 2
GRAPHS = "graphs"
GRAPH = "graph.json"
NEIGHBOURS = "neighbours.npy"
DISTANCES = ("l2", "ip", "cosine")
NO_NEIGHBOUR = -1
_BUILD = "hypensearch.index"
_CHECKED_ROWS = 65536


@dataclass(frozen=True)
class GraphManifest:
    """All there is to know of a graph without opening its neighbours.

    :param num_docs: Documents, over all shards of the index.
    :param degree: Neighbours of a document, at most.
    :param distance: What "near" means: "l2", "ip" or "cosine".
    :param builder: "exact", "faiss" or "imported".
    :param vectors: Digest of the vectors that it belongs to; see :attr:`hypensearch.flat.FlatIndex.vectors_digest`.
    :param neighbours: Size and digest of ``neighbours.npy``.
    :param recall: Share of the exact neighbours that it has, measured on a sample; None for "exact", which has all.
    :param recall_sample: Documents in that sample.
    :param settings: What else the builder was told or found.
    :param created_by: The version that wrote it.
    :param file: Name of the file of neighbours; another one when a graph replaces an older one, so that a rename of the
        manifest changes both at once.
    """

    num_docs: Number
    degree: Size
    distance: Distance
    builder: Short
    vectors: Digest
    neighbours: FileRecord
    recall: Annotated[float, Meta(ge=0, le=1)] | None = None
    recall_sample: Count = 0
    settings: dict[str, Any] = field(default_factory=dict)
    created_by: str = field(default_factory=lambda: f"hypensearch {hypensearch.__version__}")
    file: Name = NEIGHBOURS

    def to_bytes(self) -> bytes:
        """Give the file's content; it carries a digest of itself."""
        facts = {"format": FORMAT, "version": FORMAT_VERSION, **asdict(self)}
        if self.file == NEIGHBOURS:  # as version 1 has it
            facts["version"] = 1
            del facts["file"]
        return signed_json(facts)

    def write(self, folder: str) -> None:
        """Put it into a graph's folder, at once and whole."""
        with replace_when_whole(os.path.join(folder, GRAPH), follow_link=False) as file:
            file.write(self.to_bytes())


class GraphIndex:
    """A graph opened for reading.

    Open one with :meth:`open`. A graph that is replaced while it is open stays readable.

    :param folder: The graph's folder.
    :param manifest: Its manifest.
    :param neighbours: Rows of the nearest documents, nearest first, int32, mapped, *Shape:* ``(num_docs, degree)``.
    """

    def __init__(self, folder: str, manifest: GraphManifest, neighbours: np.ndarray) -> None:
        self.folder = folder
        self.manifest = manifest
        self.neighbours = neighbours

    @classmethod
    def open(cls, index: FlatIndex, name: str | None = None) -> GraphIndex:
        """Open a graph that lies beside an index.

        Maps a file and checks its size, so that it takes no time and no memory whatever the size.

        :param index: The flat index.
        :param name: The graph's name; None for the only one there is.
        :raises HypensearchError: When there is no such graph, it belongs to other vectors, is damaged or of a newer
            format; says what to do.
        """
        folder = os.path.join(index.folder, GRAPHS, _only_name(index) if name is None else name)
        manifest = _read_manifest(index, folder)
        if not os.path.exists(os.path.join(folder, manifest.file)):
            manifest = _read_manifest(index, folder)  # another process may have replaced it meanwhile
        check_belongs(index, manifest, folder)
        return cls(folder, manifest, _map_neighbours(folder, manifest))

    @property
    def name(self) -> str:
        """The graph's name."""
        return os.path.basename(self.folder)

    @property
    def num_docs(self) -> int:
        """Number of documents."""
        return self.manifest.num_docs

    @property
    def degree(self) -> int:
        """Neighbours of a document, at most."""
        return self.manifest.degree

    @property
    def distance(self) -> str:
        """What "near" means: "l2", "ip" or "cosine"."""
        return self.manifest.distance

    def neighbours_of(self, row: int) -> np.ndarray:
        """Give the rows of a document's neighbours, nearest first, *Shape:* ``(at most degree,)``."""
        neighbours = self.neighbours[row]
        return neighbours[(neighbours >= 0) & (neighbours < self.num_docs)]

    def verify(self) -> None:
        """Read every neighbour and compare the file with its digest; takes as long as the disk does.

        :raises HypensearchError: When the file has changed, or a document has itself, a document twice, or a row that
            is none as a neighbour.
        """
        path = self._verify_bytes()
        for start in range(0, self.num_docs, _CHECKED_ROWS):
            rows = np.arange(start, min(start + _CHECKED_ROWS, self.num_docs))
            flawed = rows_with_flaws(self.neighbours[start : start + _CHECKED_ROWS], rows, self.num_docs)
            if len(flawed):
                raise HypensearchError(
                    f"{path}: row {flawed[0]} has itself, a row twice or a row that is none as a neighbour; "
                    f"{_again(self.folder)}"
                )

    def check_once(self) -> None:
        """Compare the file with its digest and look for rows that are none, unless that was done since it was touched.

        :raises HypensearchError: When the file has changed, or a neighbour is none.
        """
        path = os.path.join(self.folder, self.manifest.file)
        check_once(self.folder, {path: self.manifest.neighbours.sha256}, self._verify_rows)

    def _verify_rows(self) -> None:
        path = self._verify_bytes()
        for start in range(0, self.num_docs, _CHECKED_ROWS):
            check_rows(self.neighbours[start : start + _CHECKED_ROWS], self.num_docs, path, _again(self.folder))

    def _verify_bytes(self) -> str:
        path = os.path.join(self.folder, self.manifest.file)
        for damage in file_damages(path, self.manifest.neighbours):
            raise HypensearchError(f"{damage}; {_again(self.folder)}")
        return path


def graph_names(index: FlatIndex) -> list[str]:
    """Give the names of the graphs beside an index, sorted."""
    folder = os.path.join(index.folder, GRAPHS)
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    return [name for name in names if not name.startswith(".") and os.path.exists(os.path.join(folder, name, GRAPH))]


def check_belongs(index: FlatIndex, manifest: GraphManifest, folder: str) -> None:
    """Refuse a graph of other vectors.

    :raises HypensearchError: When the index' vectors are not those that the graph was made of.
    """
    if manifest.num_docs != index.num_docs or manifest.vectors != index.vectors_digest:
        raise HypensearchError(
            f"{folder}: was made of other vectors ({manifest.num_docs:,} documents) than {index.folder} holds "
            f"({index.num_docs:,}); {_again(folder)}"
        )


def check_rows(neighbours: np.ndarray, num_docs: int, path: str, advice: str) -> None:
    """Refuse neighbours that are no documents of the index: who signed them may have made them up.

    :raises HypensearchError: When a row is outside of the index.
    """
    if neighbours.size and not NO_NEIGHBOUR <= int(neighbours.min()) <= int(neighbours.max()) < num_docs:
        raise HypensearchError(f"{path}: has rows as neighbours that are none of {num_docs:,}; {advice}")


def rows_with_flaws(neighbours: np.ndarray, rows: np.ndarray, num_docs: int) -> np.ndarray:
    """Find documents whose neighbours are not what they should be.

    :param neighbours: *Shape:* ``(n, degree)``.
    :param rows: The documents they belong to, *Shape:* ``(n,)``.
    :return: Those of ``rows`` with themselves, a row twice, or a row outside of the index among their neighbours.
    """
    ordered = np.sort(neighbours, axis=1)
    twice = ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] != NO_NEIGHBOUR)).any(axis=1)
    outside = (neighbours < NO_NEIGHBOUR) | (neighbours >= num_docs)
    return rows[twice | (outside | (neighbours == rows[:, None])).any(axis=1)]


def _only_name(index: FlatIndex) -> str:
    names = graph_names(index)
    if len(names) == 1:
        return names[0]
    if names:
        raise HypensearchError(f"{index.folder}: has several graphs ({', '.join(names)}): name the one to search")
    raise HypensearchError(f"{index.folder}: has no graph; make one with: {as_typed(_BUILD, '--index', index.folder)}")


def _read_manifest(index: FlatIndex, folder: str) -> GraphManifest:
    path = os.path.join(folder, GRAPH)
    try:
        content = read_bounded(path, within=index.folder)
    except ValueError as error:
        raise HypensearchError(f"{path}: damaged ({error}); {_again(folder)}") from None
    except (FileNotFoundError, NotADirectoryError):
        known = ", ".join(graph_names(index)) or "none"
        build = as_typed(_BUILD, "--index", index.folder, "--name", os.path.basename(folder))
        raise HypensearchError(f"{folder}: no such graph (there: {known}); make one with: {build}") from None
    except OSError as error:
        raise HypensearchError(f"{path}: cannot be read ({error.strerror}); {_again(folder)}") from None
    return _parse(content, path)


def _parse(content: bytes, path: str) -> GraphManifest:
    folder = os.path.dirname(path)
    try:
        facts = parse_json(content)
        if facts["format"] != FORMAT:
            raise ValueError(f"format {facts['format']!r}")
        if facts["version"] > FORMAT_VERSION:
            raise HypensearchError(
                f"{path}: format version {facts['version']}, this hypensearch reads up to version {FORMAT_VERSION}: "
                "pip install --upgrade hypensearch"
            )
        check_signed(content, facts)
        manifest = _build(facts)
        if manifest.to_bytes() != content:
            raise ValueError("it says more, or less, than such a file does")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise HypensearchError(f"{path}: damaged ({error}); {_again(folder)}") from None
    return manifest


def _build(facts: Mapping[str, Any]) -> GraphManifest:
    manifest = checked(facts, GraphManifest)
    if not isinstance(manifest.neighbours.sha256, str):
        raise ValueError("its neighbours have no digest")
    return manifest


def _map_neighbours(folder: str, manifest: GraphManifest) -> np.ndarray:
    path = os.path.join(folder, manifest.file)
    try:
        found = size_of(path, folder)
        neighbours = map_npy(path, folder)
    except (ValueError, EOFError, OSError) as error:
        reason = getattr(error, "strerror", None) or error
        raise HypensearchError(f"{path}: cannot be read ({reason}); {_again(folder)}") from None
    wanted = (manifest.num_docs, manifest.degree)
    if found != manifest.neighbours.bytes or neighbours.shape != wanted or neighbours.dtype != np.int32:
        raise HypensearchError(
            f"{path}: holds {neighbours.dtype} {neighbours.shape} in {found:,} bytes, not int32 {wanted} "
            f"in {manifest.neighbours.bytes:,}; {_again(folder)}"
        )
    return neighbours


def _again(folder: str) -> str:
    index = os.path.dirname(os.path.dirname(folder))
    build = as_typed(_BUILD, "--index", index, "--name", os.path.basename(folder), "--overwrite")
    return f"make it again: {build}"
