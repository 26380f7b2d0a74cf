# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from hypensearch.errors import HypensearchError
from hypensearch.exhaustive import streaming
from hypensearch.exhaustive.options import ExhaustiveOptions
from hypensearch.exhaustive.ranks import Ranks
from hypensearch.exhaustive.search import ExhaustiveSearch
from hypensearch.exhaustive.streaming import DeviceVectors, go_through
from hypensearch.models import QNetConfig
from hypensearch.scoring import choice as scorers
from hypensearch.scoring.scorer import Scorer
from tests.search.strategies import exact_hits, hits_of, random_q_nets, random_vectors, save_index

CPU = torch.device("cpu")
CONFIG = QNetConfig(dims=(16, 16, 16, 1))


@pytest.mark.parametrize("block_rows", [1, 7, 64, 100, 1000])
@pytest.mark.parametrize("rows", [range(100), range(13, 14), range(20, 93)])
def test_streamed_blocks_are_the_vectors(tmp_path: Path, block_rows: int, rows: range) -> None:
    vectors = random_vectors(100, 16).astype(np.float16)
    with save_index(tmp_path / "index", vectors, dtype="float16") as index:
        seen = []
        for first, block in DeviceVectors(CPU).streamed(index.shards[0], rows, block_rows):
            assert first == rows.start + sum(map(len, seen))
            assert len(block) <= block_rows
            seen.append(block.clone())
    assert torch.equal(torch.cat(seen), torch.from_numpy(vectors[rows.start : rows.stop]))


class Limited(Scorer):
    """Refuses more than some rows, as a GPU does whose memory is short."""

    limit = 0

    def score(self, vectors: torch.Tensor | np.ndarray) -> torch.Tensor:
        if len(vectors) > self.limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.\nMore.")
        return super().score(vectors)


@pytest.fixture
def limited(monkeypatch: pytest.MonkeyPatch) -> type[Limited]:
    kind = scorers.ScorerKind("fused", lambda case: None, "test", lambda q_nets, case: Limited(q_nets, case.device))
    monkeypatch.setattr(scorers, "SCORERS", [kind])
    return Limited


def test_out_of_memory_halves_the_block_and_changes_no_hit(
    tmp_path: Path, limited: type[Limited], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(streaming, "LEAST_BLOCK_ROWS", 16)
    q_nets = random_q_nets(CONFIG, 3)
    with save_index(tmp_path / "index", random_vectors(1000, 16)) as index:
        limited.limit = 1000
        wanted = exact_hits(index, q_nets, 40)
        limited.limit = 70
        search = ExhaustiveSearch(index, CPU)
        assert hits_of(index, search.search(q_nets, 40)) == wanted
        assert [record.args for record in caplog.records] == [(1000, 500), (500, 250), (250, 125), (125, 62)]
        caplog.clear()
        assert hits_of(index, search.search(q_nets, 40)) == wanted
        assert not caplog.records  # it has learnt


def test_no_memory_at_all_is_an_error(tmp_path: Path, limited: type[Limited]) -> None:
    limited.limit = 100
    message = r"out of memory even with blocks of 512 documents \(CUDA out of memory. Tried to allocate 20.00 MiB.\)"
    with (
        save_index(tmp_path / "index", random_vectors(1000, 16)) as index,
        pytest.raises(HypensearchError, match=message),
    ):
        ExhaustiveSearch(index, CPU).search(random_q_nets(CONFIG, 1), 3)


def test_other_errors_are_not_taken_for_it() -> None:
    def broken(first: int, vectors: object) -> None:
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        go_through(range(2000), 2000, lambda rows, size: iter([(0, torch.empty(0))]), broken)


def test_a_real_limit_of_memory_halves_the_block() -> None:
    """In a process of its own, that may have 300 MB more than it has."""
    code = """
import resource, torch
from hypensearch.exhaustive.streaming import go_through
torch.empty(1000).sum()
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 300 * 2**20,) * 2)
seen = []
def use(first, block):
    torch.empty(len(block), 250_000)  # 1 MB a row
    seen.append((first, len(block)))
def blocks(rows, size):
    for first in range(rows.start, rows.stop, size):
        yield first, torch.empty(min(size, rows.stop - first), 1)
import hypensearch.exhaustive.streaming as streaming
streaming.LEAST_BLOCK_ROWS = 16
print(go_through(range(900), 900, blocks, use), seen[-1][0] + seen[-1][1], seen[0][0])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows, end, start = map(int, done.stdout.split())
    assert rows in (225, 112)
    assert (start, end) == (0, 900)


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_shares_are_all_rows_in_order(size: int) -> None:
    for num_rows in (0, 1, 5, 100):
        shares = [Ranks(rank, size).share_of(num_rows) for rank in range(size)]
        assert [row for share in shares for row in share] == list(range(num_rows))


class Together(Ranks):
    """Processes that search one after the other: the last one gets the parts of all."""

    parts: ClassVar[list[Any]] = []

    def exchange(self, part: Any) -> list[Any] | None:
        self.parts.append(json.loads(json.dumps(part)))
        return self.parts if self.rank == self.size - 1 else None


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_hits_of_all_shares_are_those_of_the_whole(tmp_path: Path, size: int, precision: str) -> None:
    """Also where a score occurs in two shares."""
    q_nets, vectors = random_q_nets(CONFIG, 2), random_vectors(130, 16)
    vectors[100:] = vectors[:30]
    options = ExhaustiveOptions(precision=precision)
    Together.parts.clear()
    with save_index(tmp_path / "index", vectors) as index:
        for rank in range(size):
            found = ExhaustiveSearch(index, CPU, options, Together(rank, size)).search(q_nets, 20)
        assert hits_of(index, found) == exact_hits(index, q_nets, 20)
        assert [of_query.scored for of_query in found] == [130, 130]
