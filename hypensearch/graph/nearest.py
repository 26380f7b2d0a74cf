# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Finds the nearest documents of documents: exactly, a tile of distances at a time, or through Faiss or cuVS.

Neighbours are ordered by distances that are computed pair by pair, so that equal distances are exactly equal and
ordered by row, and tiles and blocks of any size find the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hypensearch.errors import HypensearchError
from hypensearch.flat.index import FlatIndex
from hypensearch.graph.store import NO_NEIGHBOUR
from hypensearch.scoring.scorer import as_tensor

RECALL_SAMPLE = 256

_SPARE = 16  # proposed beyond the degree, for float32 rounding at the cut
_READ_ROWS = 16384
_TILE_COLUMNS = {"cpu": 16384, "cuda": 65536}
_RERANK_VALUES = {"cpu": 2**19, "cuda": 2**28}  # numbers held at a time while distances are computed directly
_RESIDENT_SHARE = 0.5  # of a GPU's free memory that vectors may take up
_MOST_REFINED = 512  # neighbours of a document that cuVS refines
_TINY = 1e-30


class ExactNeighbours:
    """Finds the nearest documents of some by looking at all, a tile of distances at a time.

    :param index: The document vectors.
    :param distance: "l2", "ip" or "cosine".
    :param degree: Neighbours wanted.
    :param device: Where to compute; on a GPU all vectors are kept there when they fit.
    :param tile_columns: Documents looked at at a time; changes memory use only. None for the device's default.
    """

    def __init__(
        self,
        index: FlatIndex,
        distance: str,
        degree: int,
        device: torch.device,
        tile_columns: int | None = None,
    ) -> None:
        self.index = index
        self.distance = distance
        self.degree = degree
        self.device = device
        self._tile_columns = tile_columns or _TILE_COLUMNS[device.type]
        self._kept = min(degree + _SPARE, index.num_docs - 1)
        self._resident = self._on_device()
        self._squares = self._squared_norms()

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Find the nearest documents.

        :param rows: Documents, *Shape:* ``(n,)``.
        :return: Rows, nearest first, equally near ones by row, never the document itself; -1 where there are fewer.
            int32, *Shape:* ``(n, degree)``.
        """
        if not self._kept:
            return np.full((len(rows), self.degree), NO_NEIGHBOUR, dtype=np.int32)
        proposed = self._propose(rows)
        return self.nearest(rows, proposed)

    def nearest(self, rows: np.ndarray, proposed: np.ndarray) -> np.ndarray:
        """Keep the nearest of some proposed neighbours, by distances computed directly.

        :param rows: Documents, *Shape:* ``(n,)``.
        :param proposed: Rows, -1 for none, each at most once, *Shape:* ``(n, num_proposed)``.
        :return: As :meth:`__call__`.
        """
        proposed = np.where(proposed == rows[:, None], NO_NEIGHBOUR, proposed)
        proposed = np.sort(proposed, axis=1)  # so that a stable sort by distance breaks ties by row
        result = np.full((len(rows), self.degree), NO_NEIGHBOUR, dtype=np.int32)
        step = max(1, _RERANK_VALUES[self.device.type] // (proposed.shape[1] * self.index.dim))
        for start in range(0, len(rows), step):
            part = torch.from_numpy(proposed[start : start + step]).to(self.device)
            vectors = self._vectors(rows[start : start + step]).unsqueeze(1)
            closeness = self._direct(vectors, self._vectors(part.clamp(min=0).flatten()).view(*part.shape, -1))
            closeness.masked_fill_(part == NO_NEIGHBOUR, -torch.inf)
            order = closeness.sort(dim=1, descending=True, stable=True).indices[:, : self.degree]
            result[start : start + step, : order.shape[1]] = part.gather(1, order).cpu().numpy()
        return result

    def tiles(self) -> Iterator[tuple[int, Tensor]]:
        """Yield the first row and the float32 vectors of each tile."""
        for start in range(0, self.index.num_docs, self._tile_columns):
            stop = min(start + self._tile_columns, self.index.num_docs)
            if self._resident is not None:
                yield start, self._resident[start:stop].float()
            else:
                yield start, as_tensor(self.index.vector_block(start, stop)).float().to(self.device)

    def _propose(self, rows: np.ndarray) -> np.ndarray:
        """Find a few more neighbours than are wanted, by matrix products."""
        vectors = self._vectors(rows)
        own = torch.from_numpy(rows).to(self.device)
        best = _Nearest(len(rows), self._kept, self.device)
        buffer = torch.empty(len(rows) * min(self._tile_columns, self.index.num_docs), device=self.device)
        for start, tile in self.tiles():
            closeness = buffer[: len(rows) * len(tile)].view(len(rows), len(tile))
            self._closeness(vectors, tile, start, closeness)
            here = ((own >= start) & (own < start + len(tile))).nonzero().squeeze(1)
            closeness[here, own[here] - start] = -torch.inf
            best.add(start, closeness)
        return best.rows.cpu().numpy()

    def _closeness(self, vectors: Tensor, tile: Tensor, start: int, out: Tensor) -> None:
        """Compute numbers that order a tile's documents by distance, the nearest highest."""
        squares = self._squares[start : start + len(tile)]
        if self.distance == "l2":
            torch.addmm(-squares, vectors, tile.T, alpha=2, out=out)
            return
        torch.mm(vectors, tile.T, out=out)
        if self.distance == "cosine":
            out.mul_(squares.clamp(min=_TINY).rsqrt())

    def _direct(self, vectors: Tensor, others: Tensor) -> Tensor:
        """Compute the same pair by pair: equal vectors get equal numbers, whatever else is in the batch.

        :param vectors: *Shape:* ``(n, 1, dim)``.
        :param others: *Shape:* ``(n, num_proposed, dim)``; is overwritten.
        """
        if self.distance == "l2":
            return -others.sub_(vectors).square_().sum(dim=2)
        if self.distance == "cosine":
            others = others.div_(others.square().sum(dim=2, keepdim=True).sqrt_().clamp_(min=_TINY))
        return others.mul_(vectors).sum(dim=2)

    def _vectors(self, rows: np.ndarray | Tensor) -> Tensor:
        if self._resident is not None:
            places = torch.from_numpy(rows).to(self.device) if isinstance(rows, np.ndarray) else rows
            return self._resident[places.long()].float()
        rows = rows if isinstance(rows, np.ndarray) else rows.cpu().numpy()
        return as_tensor(self.index.vectors(rows)).to(self.device)

    def _on_device(self) -> Tensor | None:
        if self.device.type != "cuda":
            return None
        free, _ = torch.cuda.mem_get_info(self.device)
        if self.index.num_docs * self.index.dim * np.dtype(self.index.dtype).itemsize > _RESIDENT_SHARE * free:
            return None
        dtype = torch.float16 if self.index.dtype == "float16" else torch.float32
        resident = torch.empty(self.index.num_docs, self.index.dim, dtype=dtype, device=self.device)
        for start in range(0, self.index.num_docs, _READ_ROWS):
            block = self.index.vector_block(start, start + _READ_ROWS)
            resident[start : start + len(block)] = torch.from_numpy(np.array(block))
        return resident

    def _squared_norms(self) -> Tensor:
        squares = torch.empty(self.index.num_docs, device=self.device)
        for start, tile in self.tiles():
            squares[start : start + len(tile)] = tile.double().square().sum(dim=1)
        return squares


class _Nearest:
    """The best k columns of each row, kept while tiles come in; equal values go by column."""

    def __init__(self, num_rows: int, k: int, device: torch.device) -> None:
        self.values = torch.full((num_rows, k), -torch.inf, device=device)
        self.rows = torch.full((num_rows, k), NO_NEIGHBOUR, dtype=torch.int32, device=device)
        self._seen = 0

    def add(self, start: int, values: Tensor) -> None:
        """Offer a tile, *Shape:* ``(num_rows, num_columns)``, whose first column is number ``start``."""
        k = self.values.shape[1]
        if self._seen > k:
            passing = values > self.values[:, -1:]
        else:
            bar = values.topk(min(k, values.shape[1]), dim=1).values[:, -1:]
            passing = (values >= bar) & (values > -torch.inf)
        self._seen += values.shape[1]
        row, column = _positions(passing)
        if not len(row):
            return
        counts = torch.bincount(row, minlength=len(values))
        slot = torch.arange(len(row), device=values.device) - (counts.cumsum(0) - counts)[row]
        most = int(counts.max())
        new_values = torch.full((len(values), most), -torch.inf, device=values.device)
        new_rows = torch.full((len(values), most), NO_NEIGHBOUR, dtype=torch.int32, device=values.device)
        new_values[row, slot] = values[row, column]
        new_rows[row, slot] = (column + start).int()
        self._merge(new_values, new_rows)

    def _merge(self, values: Tensor, rows: Tensor) -> None:
        k = self.values.shape[1]
        values, rows = torch.cat([self.values, values], dim=1), torch.cat([self.rows, rows], dim=1)
        self.values, order = (part[:, :k] for part in values.sort(dim=1, descending=True, stable=True))
        self.rows = rows.gather(1, order)


def _positions(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return rows and columns of what is true; numpy is several times faster at it on a CPU."""
    if mask.device.type != "cpu":
        row, column = mask.nonzero(as_tuple=True)
        return row, column
    flat = torch.from_numpy(np.flatnonzero(mask.numpy()))
    return flat // mask.shape[1], flat % mask.shape[1]


def recall(found: np.ndarray, wanted: np.ndarray) -> float:
    """Return the share of the wanted neighbours that were found, both *Shape:* ``(n, degree)``, -1 for none."""
    there = [len(np.intersect1d(one, two[two >= 0])) for one, two in zip(found, wanted, strict=True)]
    return sum(there) / max(1, int((wanted >= 0).sum()))


def sample_neighbours(exact: ExactNeighbours) -> tuple[np.ndarray, np.ndarray]:
    """Choose documents to measure recall by; returns their rows and their exact neighbours."""
    num_docs = exact.index.num_docs
    rows = np.sort(np.random.default_rng(0).permutation(num_docs)[:RECALL_SAMPLE])
    return rows, exact(rows)


class FaissNeighbours:
    """Finds near documents through Faiss: an inverted file, searched with as many probes as a wanted recall takes.

    Holds a float32 copy of all vectors in memory. Looks at fewer pairs than the exact way, but at each more slowly: it
    pays when there are a great many documents.

    :param index: The document vectors.
    :param exact: Finds the exact neighbours of the sample, and orders what Faiss proposes.
    :param min_recall: Raise the probes until the sample's recall reaches this.
    """

    def __init__(self, index: FlatIndex, exact: ExactNeighbours, min_recall: float) -> None:
        self._index = index
        self._exact = exact
        self._faiss = _inverted_file(index, exact.distance)
        self._unit = exact.distance == "cosine"
        rows, wanted = sample_neighbours(exact)
        self.sample = len(rows)
        for probes in _rising(8, self._faiss.nlist):
            self.probes = self._faiss.nprobe = probes
            self.recall = recall(self(rows), wanted)
            if self.recall >= min_recall:
                break

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Find near documents; as :meth:`ExactNeighbours.__call__`, but some may be missing."""
        vectors = _unit_rows(self._index.vectors(rows), self._unit)
        _, proposed = self._faiss.search(vectors, min(self._exact.degree + _SPARE + 1, self._index.num_docs))
        return self._exact.nearest(rows, proposed)


class CuvsNeighbours:
    """Finds near documents through cuVS: NN-descent on a GPU, with as wide lists as a wanted recall takes.

    Holds a float32 copy of all vectors in memory. NN-descent is not repeatable: a graph that is resumed after a kill
    has blocks of two passes, each of the recall wanted.

    :param index: The document vectors.
    :param exact: Finds the exact neighbours of the sample, and orders what cuVS proposes.
    :param min_recall: Widen the lists until the sample's recall reaches this.
    :param descend: Gives each vector's neighbours: takes the vectors, a metric of cuVS, the length of the lists wanted
        and of those that are refined; returns uint32, *Shape:* ``(num_docs, length)``, in which a document itself,
        repetitions and rows that are none may occur.
    """

    def __init__(
        self,
        index: FlatIndex,
        exact: ExactNeighbours,
        min_recall: float,
        descend: Callable[[np.ndarray, str, int, int], np.ndarray] | None = None,
    ) -> None:
        descend = descend or _nn_descent(exact.device)
        self._exact = exact
        vectors = _unit_rows(index.vector_block(0, index.num_docs).astype(np.float32), exact.distance == "cosine")
        metric = "inner_product" if exact.distance == "ip" else "sqeuclidean"
        length = max(1, min(exact.degree + _SPARE, index.num_docs - 1))
        rows, wanted = sample_neighbours(exact)
        self.sample = len(rows)
        for refined in _rising(min(length + length // 2, index.num_docs - 1), min(_MOST_REFINED, index.num_docs - 1)):
            self.refined = refined
            self._proposed = _each_once(descend(vectors, metric, length, max(length, refined)), index.num_docs)
            self.recall = recall(self(rows), wanted)
            if self.recall >= min_recall:
                break

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Find near documents; as :meth:`ExactNeighbours.__call__`, but some may be missing."""
        return self._exact.nearest(rows, self._proposed[rows])


def _nn_descent(device: torch.device) -> Callable[[np.ndarray, str, int, int], np.ndarray]:
    if device.type != "cuda":
        raise HypensearchError(f"--builder cuvs needs a CUDA GPU, --device is {device}: take --builder faiss or exact")
    try:
        from cuvs.neighbors import nn_descent
    except ImportError:
        raise HypensearchError(
            "--builder cuvs needs cuVS: pip install 'hypensearch[cuvs]' --extra-index-url https://pypi.nvidia.com"
        ) from None

    def descend(vectors: np.ndarray, metric: str, length: int, refined: int) -> np.ndarray:
        settings = nn_descent.IndexParams(metric=metric, graph_degree=length, intermediate_graph_degree=refined)
        with torch.cuda.device(device):
            return np.asarray(nn_descent.build(settings, vectors).graph)

    return descend


def _each_once(proposed: np.ndarray, num_docs: int) -> np.ndarray:
    """Sort each document's list, with -1 in place of repetitions and of rows that are none."""
    rows = np.sort(proposed.astype(np.int64), axis=1)
    rows[:, 1:][rows[:, 1:] == rows[:, :-1]] = NO_NEIGHBOUR
    rows[rows >= num_docs] = NO_NEIGHBOUR
    return rows.astype(np.int32)


def _rising(first: int, last: int) -> Iterator[int]:
    """Yield whole numbers, each half as large again as the one before."""
    while first < last:
        yield first
        first += first // 2
    yield last


def _inverted_file(index: FlatIndex, distance: str) -> Any:
    try:
        import faiss
    except ImportError:
        raise HypensearchError("--builder faiss needs Faiss: pip install 'hypensearch[faiss]'") from None
    num_lists = max(1, min(int(4 * index.num_docs**0.5), index.num_docs // 39))
    metric = faiss.METRIC_L2 if distance == "l2" else faiss.METRIC_INNER_PRODUCT
    inverted = faiss.IndexIVFFlat(faiss.IndexFlat(index.dim, metric), index.dim, num_lists, metric)
    unit = distance == "cosine"
    rows = np.sort(np.random.default_rng(0).permutation(index.num_docs)[: 128 * num_lists])
    inverted.cp.min_points_per_centroid = 1
    inverted.train(_unit_rows(index.vectors(rows), unit))
    for start in range(0, index.num_docs, _READ_ROWS):
        block = index.vector_block(start, start + _READ_ROWS)
        inverted.add(_unit_rows(np.ascontiguousarray(block, dtype=np.float32), unit))
    return inverted


def _unit_rows(vectors: np.ndarray, wanted: bool) -> np.ndarray:
    if not wanted:
        return vectors
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: np.ndarray = vectors / np.maximum(norms, _TINY)
    return unit
