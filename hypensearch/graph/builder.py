# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Builds graphs block by block, so that a kill loses one block only, and imports those of the authors' code."""

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
from hypensearch.graph.options import GraphBuildOptions
from hypensearch.graph.store import (
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

_DEGREE = 100
_PROGRESS = "progress.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_IMPORT_ROWS = 65536
_BLOCK_ROWS = {"cpu": 1024, "cuda": 4096}


def build_graph(index: FlatIndex, device: torch.device, options: GraphBuildOptions | None = None) -> GraphIndex:
    """Build a graph beside an index, resuming where an earlier call was stopped.

    :param index: The flat index.
    :param device: Where to compute distances.
    :param options: What to build, and how.
    :raises HypensearchError: When there is such a graph, or an unfinished one begun with other options.
    """
    options = options or GraphBuildOptions()
    degree, suffix = options.degree or _DEGREE, "" if options.builder == "exact" else f"_{options.builder}"
    settings: dict[str, Any] = {"min_recall": options.min_recall} if suffix else {}
    with _writer(index, options, degree, options.builder, suffix, settings) as writer:
        exact = ExactNeighbours(index, options.distance, degree, device)
        find: Callable[[np.ndarray], np.ndarray] = exact
        if options.builder == "faiss":
            approximate = FaissNeighbours(index, exact, options.min_recall)
            writer.describe(approximate.recall, approximate.sample, {"probes": approximate.probes})
            find = approximate
        elif options.builder == "cuvs":
            descended = CuvsNeighbours(index, exact, options.min_recall)
            writer.describe(descended.recall, descended.sample, {"refined": descended.refined})
            find = descended
        _fill(writer, index.num_docs, options.block_rows or _BLOCK_ROWS[device.type], find)
        return writer.finish()


def import_graph(
    index: FlatIndex, path: str | os.PathLike[str], device: torch.device, options: GraphBuildOptions | None = None
) -> GraphIndex:
    """Import a graph in the authors' form; its recall is measured on a sample.

    :param index: The flat index of the same documents.
    :param path: Lines of ``{"item_id": id, "neighbors": [id, ...]}``.
    :param device: Where to compute the exact neighbours of the sample.
    :param options: The distance that it was built by, the name that it gets, and where to cut its lists.
    :raises HypensearchError: For a document without a line or with two, and for a docid that is not in the index.
    """
    options = options or GraphBuildOptions()
    if options.builder != "exact":
        raise HypensearchError(f"--builder {options.builder} and --import-graph exclude each other: give one")
    degree = options.degree or max((len(line.neighbours) for line in read_graph_jsonl(path)), default=0) or 1
    neighbours = _read_neighbours(index, path, degree)
    with _writer(index, options, degree, "imported") as writer:
        rows, wanted = sample_neighbours(ExactNeighbours(index, options.distance, degree, device))
        writer.describe(recall(neighbours[rows], wanted), len(rows), {})
        for start in range(writer.num_rows, index.num_docs, _IMPORT_ROWS):
            writer.append(neighbours[start : start + _IMPORT_ROWS])
        return writer.finish()


def _writer(
    index: FlatIndex,
    options: GraphBuildOptions,
    degree: int,
    builder: str,
    suffix: str = "",
    settings: dict[str, Any] | None = None,
) -> GraphWriter:
    facts = index.num_docs, degree, options.distance, builder, index.vectors_digest, FileRecord(0, "")
    name = options.name or f"graph_{options.distance}_k{degree}{suffix}"
    return GraphWriter(index, name, GraphManifest(*facts, settings=settings or {}), overwrite=options.overwrite)


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

    def describe(self, recall: float, sample: int, settings: Mapping[str, Any]) -> None:
        """Set the manifest's recall, the documents it was measured on, and settings that the builder chose."""
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
            raise HypensearchError(f"{error}; remove {self._partial} to start again") from None
        self._close_file()
        record = FileRecord(os.path.getsize(os.path.join(self._partial, NEIGHBOURS)), digest)
        self._make_visible(replace(self._manifest, neighbours=record))
        return GraphIndex.open(self._index, self._name)

    def __enter__(self) -> GraphWriter:
        make_folder(os.path.dirname(self.folder))
        self._lock.__enter__()
        try:
            self._check_new()
            self._resume()
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
        """The settings that an unfinished graph must have been begun with."""
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

    def _resume(self) -> None:
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
            raise HypensearchError(f"{error}; remove {self._partial} to start again") from None
        self._write_progress()

    def _rows_done(self) -> tuple[int, str]:
        """Return how many rows an unfinished graph has, and their digest."""
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
            raise HypensearchError(f"{path}: damaged; give --overwrite to start again") from None
        difference = first_difference(settings, self._settings)
        if difference is None or self._overwrite:
            return (0, "") if difference else (num_rows, digest)
        raise HypensearchError(
            f"{self.folder}: unfinished graph ({num_rows:,} documents) begun with {difference[0]} {difference[1]}, now "
            f"it is {difference[2]}; run it as before to resume, or give --overwrite to start again"
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
    """Give a file a second name; on a file system without links, rename it."""
    other = f"{target}.partial"
    with suppress(FileNotFoundError):
        os.unlink(other)
    try:
        os.link(source, other)
    except PermissionError:  # a file system without links, FAT for one
        other = source
    os.replace(other, target)
