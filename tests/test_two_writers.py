# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Two writers of one folder at once: one writes, the other is refused, and what is there is whole."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from hypensearch.errors import HypensearchError
from hypensearch.flat import FlatIndex, FlatIndexWriter
from hypensearch.flat.join import join_indexes
from hypensearch.formats.q_nets import open_q_nets, write_q_nets
from hypensearch.graph.builder import build_graph
from hypensearch.graph.options import GraphBuildOptions
from hypensearch.graph.store import GraphIndex
from hypensearch.models import QNetConfig
from hypensearch.models.stored import architecture_facts, to_arrays
from hypensearch.rerank.vector_cache import VectorCache
from hypensearch.surrogate.builder import build_surrogate
from hypensearch.surrogate.store import open_surrogate
from tests.search.strategies import random_q_nets, random_vectors, save_index

CONFIG = QNetConfig(dims=(8, 8, 1))
DOCIDS = [f"d{number}" for number in range(30)]


def write_index(folder: Path) -> None:
    with FlatIndexWriter(folder / "index", overwrite=True, dim=8) as writer:
        for start in range(0, 30, 3):
            writer.append(DOCIDS[start : start + 3], random_vectors(3, 8))
        writer.finish()


def read_index(folder: Path) -> None:
    with FlatIndex.open(folder / "index") as index:
        index.verify()
        assert index.num_docs == 30


def join(folder: Path) -> None:
    join_indexes([folder / "a", folder / "b"], folder / "index", overwrite=True)


def write_graph(folder: Path) -> None:
    with FlatIndex.open(folder / "a") as index:
        build_graph(index, torch.device("cpu"), GraphBuildOptions(degree=3, name="g", overwrite=True))


def read_graph(folder: Path) -> None:
    with FlatIndex.open(folder / "a") as index:
        GraphIndex.open(index, "g").verify()


def write_codes(folder: Path) -> None:
    with FlatIndex.open(folder / "a") as index:
        build_surrogate(index, random_q_nets(CONFIG, 9), torch.device("cpu"))


def read_codes(folder: Path) -> None:
    with FlatIndex.open(folder / "a") as index:
        codes = open_surrogate(index)
        assert codes is not None
        codes.verify()


def store_q_nets(folder: Path) -> None:
    topics = {str(number): "a" for number in range(3)}
    write_q_nets(folder / "q", architecture_facts(CONFIG), {}, topics, [to_arrays(random_q_nets(CONFIG, 3))])


def read_q_nets(folder: Path) -> None:
    assert len(open_q_nets(folder / "q").read(["0", "1", "2"])) == 3


def keep_vectors(folder: Path) -> None:
    with VectorCache(folder / "cache", dim=8, facts={}) as cache:
        missing = [docid for docid in DOCIDS if docid not in cache]
        for docid in missing:
            cache.append([docid], random_vectors(1, 8))


def read_vectors(folder: Path) -> None:
    cache = VectorCache(folder / "cache", dim=8, facts={})
    assert len(cache.take(np.arange(len(cache)))) == 30


JOBS = {
    "index": (write_index, read_index),
    "join": (join, read_index),
    "graph": (write_graph, read_graph),
    "codes": (write_codes, read_codes),
    "q-nets": (store_q_nets, read_q_nets),
    "kept vectors": (keep_vectors, read_vectors),
}
DONE, REFUSED = 0, 3


@pytest.mark.parametrize("name", JOBS)
def test_two_writers_at_once(name: str, tmp_path: Path) -> None:
    write, read = JOBS[name]
    for part, docids in (("a", DOCIDS[:15]), ("b", DOCIDS[15:])):
        save_index(tmp_path / part, random_vectors(15, 8), docids).close()
    for _ in range(3):
        ends = together(write, tmp_path, 2)
        assert set(ends) <= {DONE, REFUSED}
        assert DONE in ends
        read(tmp_path)


def together(write: Callable[[Path], None], folder: Path, count: int) -> list[int]:
    """Let processes write at once; gives how they ended."""
    reading, writing = os.pipe()
    children = []
    for _ in range(count):
        if not (child := os.fork()):
            os.close(writing)
            os.read(reading, 1)  # until all are there
            os._exit(_end_of(write, folder))
        children.append(child)
    os.close(reading)
    os.close(writing)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def _end_of(write: Callable[[Path], None], folder: Path) -> int:
    try:
        torch.set_num_threads(1)
        write(folder)
    except HypensearchError as error:
        words = ("locked by process", "another process", "complete index", "meanwhile")
        return REFUSED if any(word in str(error) for word in words) else 4
    except BaseException:
        return 5
    return DONE
