# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""A graph index: the nearest documents of every document, mapped, beside the flat index whose vectors it belongs to.

``INDEX/graphs/NAME/`` holds ``neighbours.npy`` (rows, int32, ``(num_docs, degree)``, nearest first, -1 where there are
fewer) and ``graph.json``. Vectors are stored once; several graphs may lie beside them.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any

import numpy as np
from msgspec import Meta

import hypensearch
from hypensearch.errors import HypensearchError, as_typed
from hypensearch.flat.index import FlatIndex
from hypensearch.formats.schema import Count, Digest, Distance, Name, Number, Short, Size
from hypensearch.formats.sealed import Array, FileRecord, SealedFormat, check_once, map_array

GRAPHS = "graphs"
GRAPH = "graph.json"
NEIGHBOURS = "neighbours.npy"
NO_NEIGHBOUR = -1
_BUILD = "hypensearch.index"
_CHECKED_ROWS = 65536


@dataclass(frozen=True)
class GraphManifest:
    """All there is to know of a graph without opening its neighbours.

    :param num_docs: Documents, over all shards of the index.
    :param degree: Neighbours of a document, at most.
    :param distance: What "near" means: "l2", "ip" or "cosine".
    :param builder: "exact", "faiss", "cuvs" or "imported".
    :param vectors: Digest of the vectors that it belongs to; see :attr:`hypensearch.flat.FlatIndex.vectors_digest`.
    :param neighbours: Size and digest of the file of neighbours.
    :param recall: Share of the exact neighbours that it has, measured on a sample; None for "exact", which has all.
    :param recall_sample: Documents in that sample.
    :param settings: The builder's other settings, and what it found.
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

    def write(self, folder: str) -> None:
        """Put it into a graph's folder, at once and whole."""
        facts, version = asdict(self), 2
        if self.file == NEIGHBOURS:  # as version 1 has it
            version = 1
            del facts["file"]
        _FORMAT.write(folder, facts, version=version)


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

        def opened(manifest: GraphManifest) -> GraphIndex:
            check_belongs(index, manifest, folder)
            kind = Array("int32", (manifest.num_docs, manifest.degree))
            return cls(folder, manifest, map_array(folder, manifest.file, manifest.neighbours, kind))

        try:
            return _FORMAT.open(folder, opened, within=index.folder)
        except FileNotFoundError:
            known = ", ".join(graph_names(index)) or "none"
            build = as_typed(_BUILD, "--index", index.folder, "--name", os.path.basename(folder))
            raise HypensearchError(f"{folder}: no such graph (there: {known}); make one with: {build}") from None

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
            the index does not have as a neighbour.
        """
        self._check_bytes()
        for start in range(0, self.num_docs, _CHECKED_ROWS):
            rows = np.arange(start, min(start + _CHECKED_ROWS, self.num_docs))
            flawed = rows_with_flaws(self.neighbours[start : start + _CHECKED_ROWS], rows, self.num_docs)
            if len(flawed):
                raise HypensearchError(
                    f"{self.folder}/{self.manifest.file}: row {flawed[0]} has itself, a row twice or a row outside of "
                    f"the index as a neighbour; {_again(self.folder)}"
                )

    def check_once(self) -> None:
        """Compare the file with its digest and look for rows outside of the index, unless done since it was touched.

        :raises HypensearchError: When the file has changed, or a neighbour is not in the index.
        """
        path = os.path.join(self.folder, self.manifest.file)
        check_once(self.folder, {path: self.manifest.neighbours.sha256}, self._check_rows)

    def _check_rows(self) -> None:
        self._check_bytes()
        for start in range(0, self.num_docs, _CHECKED_ROWS):  # who signed them may have made them up
            part = self.neighbours[start : start + _CHECKED_ROWS]
            if part.size and not NO_NEIGHBOUR <= int(part.min()) <= int(part.max()) < self.num_docs:
                raise HypensearchError(
                    f"{self.folder}/{self.manifest.file}: has neighbours outside of the {self.num_docs:,} documents; "
                    f"{_again(self.folder)}"
                )

    def _check_bytes(self) -> None:
        _FORMAT.verify(self.folder, {self.manifest.file: self.manifest.neighbours})


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
        raise _FORMAT.of_other_vectors(folder, index.folder)


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


def _again(folder: str) -> str:
    index = os.path.dirname(os.path.dirname(folder))
    build = as_typed(_BUILD, "--index", index, "--name", os.path.basename(folder), "--overwrite")
    return f"make it again: {build}"


def _check(manifest: GraphManifest) -> None:
    if not isinstance(manifest.neighbours.sha256, str):
        raise ValueError("its neighbours have no digest")


_FORMAT = SealedFormat("hypensearch graph", GRAPH, GraphManifest, _again, newest=2, check=_check)
