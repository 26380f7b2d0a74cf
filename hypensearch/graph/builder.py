# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Makes graphs: computed block by block, a kill loses the block in hand and nothing else; or from the authors' file."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from hypensearch.errors import HypensearchError
from hypensearch.flat.index import FlatIndex
from hypensearch.flat.progress import first_difference
from hypensearch.formats.door import make_folder
from hypensearch.formats.files import file_lock, fsync_folder, replace_when_whole
from hypensearch.formats.graph_jsonl import NeighbourList, read_graph_jsonl
from hypensearch.formats.json_files import read_json
from hypensearch.formats.npy import GrowingArray
from hypensearch.formats.sealed import FileRecord
from hypensearch.graph.nearest import CuvsNeighbours, ExactNeighbours, FaissNeighbours, recall, sample_neighbours
from hypensearch.graph.store import (
    DISTANCES,
    GRAPH,
    GRAPHS,
    NEIGHBOURS,
    NO_NEIGHBOUR,
    GraphIndex,
    GraphManifest,
)
from hypensearch.progress import progress_bar

if TYPE_CHECKING:
    import torch

BUILDERS = ("exact", "faiss", "cuvs")
DEFAULT_DEGREE = 100
MIN_RECALL = 0.95

_PROGRESS = "progress.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_IMPORT_ROWS = 65536
_BLOCK_ROWS = {"cpu": 1024, "cuda": 4096}


def build_graph(
    index: FlatIndex,
    device: torch.device,
    *,
    distance: str = "l2",
    degree: int = DEFAULT_DEGREE,
    builder: str = "exact",
    name: str | None = None,
    block_rows: int | None = None,
    overwrite: bool = False,
    min_recall: float = MIN_RECALL,
) -> GraphIndex:
    """Make a graph beside an index, going on where an earlier call was stopped.

    :param index: The flat index.
    :param device: Where to compute distances.
    :param distance: "l2" as in the paper, "ip" or "cosine".
    :param degree: Neighbours of a document.
    :param builder: "exact", every pair is looked at; "faiss", an inverted file searched with as many probes as it
        takes for ``min_recall``; or "cuvs", NN-descent on a GPU with as wide lists.
    :param name: The graph's name; None for one that tells distance and degree.
    :param block_rows: Documents between two safe points; changes memory use, never neighbours.
    :param overwrite: Replace a graph of that name.
    :raises HypensearchError: When there is such a graph, or an unfinished one begun otherwise.
    """
    if distance not in DISTANCES or builder not in BUILDERS:
        raise HypensearchError(f"distance {distance!r}, builder {builder!r}: wanted {DISTANCES} and {BUILDERS}")
    settings: dict[str, Any] = {} if builder == "exact" else {"min_recall": min_recall}
    name = name or f"graph_{distance}_k{degree}{'' if builder == 'exact' else '_' + builder}"
    manifest = GraphManifest(
        index.num_docs, degree, distance, builder, index.vectors_digest, FileRecord(0, ""), settings=settings
    )
    with GraphWriter(index, name, manifest, overwrite=overwrite) as writer:
        exact = ExactNeighbours(index, distance, degree, device)
        find: Callable[[np.ndarray], np.ndarray] = exact
        if builder == "faiss":
            approximate = FaissNeighbours(index, exact, min_recall)
            writer.tell(approximate.recall, approximate.sample, {"probes": approximate.probes})
            find = approximate
        elif builder == "cuvs":
            descended = CuvsNeighbours(index, exact, min_recall)
            writer.tell(descended.recall, descended.sample, {"refined": descended.refined})
            find = descended
        _fill(writer, index.num_docs, block_rows or _BLOCK_ROWS[device.type], find)
        return writer.finish()


def import_graph(
    index: FlatIndex,
    path: str | os.PathLike[str],
    device: torch.device,
    *,
    distance: str = "l2",
    degree: int | None = None,
    name: str | None = None,
    overwrite: bool = False,
) -> GraphIndex:
    """Take over a graph in the authors' form; its recall is measured on a sample.

    :param index: The flat index of the same documents.
    :param path: Lines of ``{"item_id": id, "neighbors": [id, ...]}``.
    :param device: Where to compute the exact neighbours of the sample.
    :param distance: What it was made by.
    :param degree: Cut lists to this length; None for the longest there is.
    :param name: The graph's name; None for one that tells distance and degree.
    :param overwrite: Replace a graph of that name.
    :raises HypensearchError: For a document without a line or with two, and for a docid that is not in the index.
    """
    longest = degree or max((len(line.neighbours) for line in read_graph_jsonl(path)), default=0) or 1
    neighbours = _read_neighbours(index, path, longest)
    manifest = GraphManifest(
        index.num_docs, longest, distance, "imported", index.vectors_digest, FileRecord(0, ""), settings={}
    )
    with GraphWriter(index, name or f"graph_{distance}_k{longest}", manifest, overwrite=overwrite) as writer:
        rows, wanted = sample_neighbours(ExactNeighbours(index, distance, longest, device))
        writer.tell(recall(neighbours[rows], wanted), len(rows), {})
        for start in range(writer.num_rows, index.num_docs, _IMPORT_ROWS):
            writer.append(neighbours[start : start + _IMPORT_ROWS])
        return writer.finish()


def _fill(writer: GraphWriter, num_docs: int, block_rows: int, find: Callable[[np.ndarray], np.ndarray]) -> None:
    done = writer.num_rows
    with progress_bar(num_docs - done, unit="document", description="neighbours") as bar:
        for start in range(done, num_docs, block_rows):
            rows = np.arange(start, min(start + block_rows, num_docs))
            writer.append(find(rows))
            bar.update(len(rows))


def _read_neighbours(index: FlatIndex, path: str | os.PathLike[str], degree: int) -> np.ndarray:
    row_of = {docid: row for row, docid in enumerate(index.docids())}
    neighbours = np.full((index.num_docs, degree), NO_NEIGHBOUR, dtype=np.int32)
    seen = np.zeros(index.num_docs, dtype=bool)
    for line in read_graph_jsonl(path):
        row, *others = (_row(row_of, docid, index, path, line) for docid in (line.docid, *line.neighbours))
        if seen[row]:
            raise HypensearchError(f"{path}:{line.line}: document {line.docid!r} has a line already")
        seen[row] = True
        kept = [other for other in dict.fromkeys(others) if other != row][:degree]
        neighbours[row, : len(kept)] = kept
    if not seen.all():
        missing = index.docid(int(np.flatnonzero(~seen)[0]))
        raise HypensearchError(
            f"{path}: has no line for {(~seen).sum():,} of the documents in {index.folder}, {missing!r} for one; is it "
            "the graph of this corpus?"
        )
    return neighbours


def _row(
    row_of: Mapping[str, int], docid: str, index: FlatIndex, path: str | os.PathLike[str], line: NeighbourList
) -> int:
    row = row_of.get(docid)
    if row is None:
        raise HypensearchError(
            f"{path}:{line.line}: document {docid!r} is not in {index.folder}; is it the graph of this corpus?"
        )
    return row


class GraphWriter:
    """Writes a graph block by block, under a hidden name until it is complete.

    :param index: The flat index that it lies beside.
    :param name: The graph's name.
    :param manifest: What it will be; size, digest and recall are filled in.
    :param overwrite: Replace a graph of that name, and forget an unfinished one begun otherwise.
    :raises HypensearchError: When there is such a graph, the name is none, or an unfinished graph was begun otherwise.
    """

    def __init__(self, index: FlatIndex, name: str, manifest: GraphManifest, *, overwrite: bool = False) -> None:
        if not _NAME.fullmatch(name):
            raise HypensearchError(f"--name {name}: wanted letters, digits, '.', '_' and '-', a letter or digit first")
        self._index = index
        self._name = name
        self._manifest = manifest
        self._overwrite = overwrite
        graphs = os.path.join(index.folder, GRAPHS)
        self.folder = os.path.join(graphs, name)
        self._partial = os.path.join(graphs, f".{name}.partial")
        self._lock = file_lock(os.path.join(graphs, f".{name}.lock"))
        self._file: GrowingArray | None = None
        self._check_new()

    @property
    def num_rows(self) -> int:
        """Documents whose neighbours are on disk for good."""
        return self._open_file.num_rows

    def tell(self, recall: float, sample: int, settings: Mapping[str, Any]) -> None:
        """Say what the manifest has to say besides."""
        facts = self._manifest
        self._manifest = replace(
            facts, recall=round(recall, 6), recall_sample=sample, settings={**facts.settings, **settings}
        )

    def append(self, neighbours: np.ndarray) -> None:
        """Write the neighbours of the next documents and bring them to disk.

        :param neighbours: Rows, *Shape:* ``(n, degree)``, -1 for none.
        """
        self._open_file.append_rows(neighbours)
        self._open_file.sync()
        self._write_progress()

    def finish(self) -> GraphIndex:
        """Make the graph visible; a reader of the one that it replaces keeps that."""
        self._open_file.write_shape()
        try:
            digest = self._open_file.whole_digest()
        except ValueError as error:
            raise HypensearchError(f"{error}; remove {self._partial} to begin anew") from None
        self._close_file()
        record = FileRecord(os.path.getsize(os.path.join(self._partial, NEIGHBOURS)), digest)
        self._make_visible(replace(self._manifest, neighbours=record))
        return GraphIndex.open(self._index, self._name)

    def __enter__(self) -> GraphWriter:
        make_folder(os.path.dirname(self.folder))
        self._lock.__enter__()
        try:
            self._check_new()
            self._go_on()
        except BaseException:
            self._lock.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close_file()
        self._lock.__exit__(None, None, None)

    @property
    def _open_file(self) -> GrowingArray:
        if self._file is None:
            raise ValueError("the writer is not open: use it as a context manager")
        return self._file

    @property
    def _settings(self) -> dict[str, Any]:
        """What an unfinished graph must have been begun with."""
        facts = self._manifest
        return {
            "distance": facts.distance,
            "degree": facts.degree,
            "builder": facts.builder,
            "vectors": facts.vectors,
            **{key: value for key, value in facts.settings.items() if key == "min_recall"},
        }

    def _check_new(self) -> None:
        if os.path.exists(os.path.join(self.folder, GRAPH)) and not self._overwrite:
            raise HypensearchError(f"{self.folder}: is a complete graph; give --overwrite to replace it, or --name")

    def _go_on(self) -> None:
        num_rows, digest = self._rows_done()
        if not num_rows:
            shutil.rmtree(self._partial, ignore_errors=True)
        make_folder(self._partial)
        try:
            path = os.path.join(self._partial, NEIGHBOURS)
            self._file = GrowingArray(path, np.int32, width=self._manifest.degree, num_rows=num_rows, digested=True)
            if num_rows and self._file.digest != digest:
                raise ValueError(f"{path}: its content has changed since it was written")
        except ValueError as error:
            raise HypensearchError(f"{error}; remove {self._partial} to begin anew") from None
        self._write_progress()

    def _rows_done(self) -> tuple[int, str]:
        """Give how many rows an unfinished graph has, and their digest."""
        path = os.path.join(self._partial, _PROGRESS)
        try:
            progress = read_json(path, within=self._partial)
            num_rows, digest = int(progress["num_rows"]), str(progress["digest"])
            settings = dict(progress["settings"])
        except FileNotFoundError:
            return 0, ""
        except (OSError, ValueError, KeyError, TypeError, OverflowError):
            if self._overwrite:
                return 0, ""
            raise HypensearchError(f"{path}: damaged; give --overwrite to begin anew") from None
        difference = first_difference(settings, self._settings)
        if difference is None or self._overwrite:
            return (0, "") if difference else (num_rows, digest)
        raise HypensearchError(
            f"{self.folder}: unfinished graph ({num_rows:,} documents) begun with {difference[0]} {difference[1]}, now "
            f"it is {difference[2]}; run it as before to go on, or give --overwrite to begin anew"
        )

    def _write_progress(self) -> None:
        with replace_when_whole(os.path.join(self._partial, _PROGRESS), "w", follow_link=False) as file:
            progress = {"settings": self._settings, "num_rows": self.num_rows, "digest": self._open_file.digest}
            json.dump(progress, file)

    def _make_visible(self, manifest: GraphManifest) -> None:
        """Put the file of neighbours beside that of an older graph, then change over by one rename of the manifest."""
        make_folder(self.folder)
        if os.path.exists(os.path.join(self.folder, GRAPH)):
            name = f"neighbours-{str(manifest.neighbours.sha256)[:12]}.npy"
            manifest = replace(manifest, file=name)
        _link(os.path.join(self._partial, NEIGHBOURS), os.path.join(self.folder, manifest.file))
        fsync_folder(self.folder)
        manifest.write(self.folder)
        fsync_folder(os.path.dirname(self.folder))
        for name in set(os.listdir(self.folder)) - {GRAPH, manifest.file}:
            os.unlink(os.path.join(self.folder, name))
        shutil.rmtree(self._partial, ignore_errors=True)

    def _close_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _link(source: str, target: str) -> None:
    """Give a file a second name, in place of what has it; where the file system knows no links, the only one."""
    other = f"{target}.partial"
    with suppress(FileNotFoundError):
        os.unlink(other)
    try:
        os.link(source, other)
    except PermissionError:  # a file system without links, FAT for one
        other = source
    os.replace(other, target)
