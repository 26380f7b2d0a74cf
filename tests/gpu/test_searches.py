# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Searches on the pretended GPU find what they find on a CPU, and wait for it as often as they say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hypensearch.device import float32_products
from hypensearch.errors import HypensearchError
from hypensearch.exhaustive.options import ExhaustiveOptions
from hypensearch.exhaustive.search import ExhaustiveSearch
from hypensearch.exhaustive.streaming import CUDA_BLOCK_ROWS
from hypensearch.flat import FlatIndex
from hypensearch.graph.builder import build_graph
from hypensearch.graph.options import GraphBuildOptions, GraphOptions
from hypensearch.graph.search import GraphSearch
from hypensearch.models import QNetConfig, QNets
from hypensearch.scoring.choice import Case, choose_scorer
from hypensearch.scoring.found import Found
from hypensearch.scoring.gpu import triton_scorer
from hypensearch.scoring.scorer import Scorer
from hypensearch.search.registry import open_search
from hypensearch.surrogate import builder as surrogate_builder
from hypensearch.surrogate.builder import build_surrogate
from hypensearch.surrogate.gradients import gradients
from hypensearch.surrogate.search import SurrogateSearch
from tests.pretended_cuda import COUNTS, CPU, CUDA, MEMORY, Counts, PretendedTensor, pretended_cuda
from tests.search.strategies import random_q_nets, random_vectors, save_index

DIM, DOCS, K = 32, 1000, 10
CONFIG = QNetConfig(dims=(DIM, DIM, DIM, DIM, 1))


@pytest.fixture
def index(tmp_path: Path) -> Iterator[FlatIndex]:
    with save_index(tmp_path / "index", random_vectors(DOCS, DIM)) as opened:
        yield opened


@pytest.fixture
def q_nets() -> QNets:
    return random_q_nets(CONFIG, 3)


@pytest.fixture
def wanted(index: FlatIndex, q_nets: QNets) -> list[Found]:
    return ExhaustiveSearch(index, CPU, ExhaustiveOptions(scorer="eager")).search(q_nets, K)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, index: FlatIndex, wanted: object) -> Iterator[Counts]:
    monkeypatch.setattr(surrogate_builder, "gradients", gradients_of_numbers)
    with pretended_cuda(monkeypatch) as counts:
        yield counts


def gradients_of_numbers(q_net: QNets, vectors: torch.Tensor) -> torch.Tensor:
    """Compute gradients of what is on one device; torch's own engine looks for a real GPU."""
    tensors = [*q_net.weights, *q_net.biases, vectors]
    if len({tensor.device for tensor in tensors}) > 1:
        raise RuntimeError("expected q-net and vectors on the same device")
    if not isinstance(vectors, PretendedTensor):
        return gradients(q_net, vectors)
    numbers = [tensor.numbers.clone() for tensor in tensors]  # type: ignore[attr-defined]
    split = len(q_net.weights)
    on_cpu = QNets(q_net.config, numbers[:split], numbers[split:-1])
    with torch.utils._python_dispatch._disable_current_modes():
        return PretendedTensor(gradients(on_cpu, numbers[-1]))


def assert_same(found: list[Found], wanted: list[Found]) -> None:
    for one, other in zip(found, wanted, strict=True):
        assert one.rows.tolist() == other.rows.tolist()
        np.testing.assert_allclose(one.scores, other.scores, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("block_rows", [None, 256])
@pytest.mark.parametrize(
    ("scorer", "precision"),
    [
        *[("fused", "fp32"), ("fused", "bf16"), ("fused", "fp16")],
        *[("eager", "fp32"), ("eager", "bf16"), ("triton", "bf16"), ("triton", "fp16"), ("triton", "fp32")],
    ],
)
def test_exhaustive_search(
    gpu: Counts, index: FlatIndex, q_nets: QNets, wanted: list, scorer: str, precision: str, block_rows: int | None
) -> None:
    if scorer == "triton":
        pytest.importorskip("triton", reason="triton is not installed")
    search = ExhaustiveSearch(index, CUDA, ExhaustiveOptions(precision, scorer, block_rows))
    assert_same(search.search(q_nets, K), wanted)
    gpu.clear()
    assert_same(search.search(q_nets, K), wanted)
    if scorer == "triton":  # for the best candidates, each query's exact scores, and whether there were too many
        passes = 1 if block_rows is None else 2
        assert gpu.waits == {"copy to the host": len(q_nets) + 1, "aten._local_scalar_dense.default": passes}


@pytest.mark.parametrize("variant", ["paper", "released"])
def test_graph_search_waits_at_its_end(gpu: Counts, index: FlatIndex, q_nets: QNets, variant: str) -> None:
    options = GraphOptions(num_entry_points=50, ncandidates=8, variant=variant)
    graph = build_graph(index, CPU, GraphBuildOptions(degree=12))
    wanted = GraphSearch(index, graph, CPU, options).search(q_nets, K)
    search = GraphSearch(index, graph, CUDA, options)
    gpu.clear()
    assert_same(search.search(q_nets, K), wanted)
    assert gpu.waits.total() == 2  # keys and counts
    assert gpu.from_device == len(q_nets) * K * 8
    of_q_nets = 4 * sum(tensor.numel() for tensor in (*q_nets.weights, *q_nets.biases))
    assert gpu.to_device == 2 * of_q_nets


def test_a_graph_is_built(gpu: Counts, index: FlatIndex) -> None:
    on_cpu = np.asarray(build_graph(index, CPU, GraphBuildOptions(degree=12, name="cpu")).neighbours)
    on_gpu = np.asarray(build_graph(index, CUDA, GraphBuildOptions(degree=12, name="gpu")).neighbours)
    np.testing.assert_array_equal(on_gpu, on_cpu)


@pytest.mark.parametrize("related", [False, True])
def test_surrogate_search(gpu: Counts, index: FlatIndex, q_nets: QNets, related: bool) -> None:
    if related:  # hidden blocks that are nearly the same, as those of warm-started models
        common = random_q_nets(CONFIG, 1, seed=9)
        weights = [one + 0.1 * own for one, own in zip(common.weights[:-1], q_nets.weights, strict=False)]
        biases = [one + 0.1 * own for one, own in zip(common.biases, q_nets.biases, strict=True)]
        q_nets = QNets(CONFIG, [*weights, q_nets.weights[-1]], biases)
    codes = build_surrogate(index, q_nets, CPU, show_progress=False)
    wanted = SurrogateSearch(index, codes, CPU).search(q_nets, K)
    assert_same(SurrogateSearch(index, codes, CUDA).search(q_nets, K), wanted)


def test_codes_are_built(gpu: Counts, index: FlatIndex, q_nets: QNets) -> None:
    wanted = ExhaustiveSearch(index, CPU).search(q_nets, K)
    codes = build_surrogate(index, q_nets, CUDA, show_progress=False)
    assert_same(SurrogateSearch(index, codes, CPU).search(q_nets, K), wanted)


def test_a_gpu_is_searched_exhaustively_in_bf16_unless_said_otherwise(
    gpu: Counts, index: FlatIndex, q_nets: QNets, wanted: list, caplog: pytest.LogCaptureFixture
) -> None:
    build_surrogate(index, q_nets, CPU, show_progress=False)
    name, search = open_search(index, CUDA)
    with caplog.at_level("INFO"):
        found = search.search(q_nets, K)
    assert_same(found, wanted)
    assert [of_query.scored for of_query in found] == [DOCS] * len(q_nets)
    assert (name, search.precision) == ("exhaustive", "bf16")  # type: ignore[attr-defined]
    assert open_search(index, CUDA, options={"target_recall": 0.9})[0] == "surrogate"


@pytest.mark.parametrize("scorer", ["fused", "triton"])
@pytest.mark.parametrize("room", ["for both", "for the scan's type", "for none"])
def test_what_a_search_moves(
    gpu: Counts, index: FlatIndex, q_nets: QNets, wanted: list, monkeypatch: pytest.MonkeyPatch, scorer: str, room: str
) -> None:
    """As :class:`ExhaustiveSearch` states it."""
    if scorer == "triton":
        pytest.importorskip("triton", reason="triton is not installed")
    bytes_of_all = DOCS * DIM * 4
    free = {"for both": 3 * bytes_of_all, "for the scan's type": bytes_of_all, "for none": 0}[room]
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device=None: (free, MEMORY))
    search = ExhaustiveSearch(index, CUDA, ExhaustiveOptions("bf16", scorer))
    search.search(q_nets, K)
    gpu.clear()
    assert_same(search.search(q_nets, K), wanted)
    candidates, again = 3 * (2 * K + 256), 3 * (K + 128)
    assert gpu.from_device == 8 * candidates + 4 * again
    of_q_nets = 4 * sum(tensor.numel() for tensor in (*q_nets.weights, *q_nets.biases))
    of_vectors = {
        "for both": 8 * again,
        "for the scan's type": 4 * DIM * again,
        "for none": 4 * DIM * again + bytes_of_all,
    }
    few = 4 * len(CONFIG.dims)  # the kernel's widths
    assert 0 <= gpu.to_device - 2 * of_q_nets - of_vectors[room] <= few


def test_vectors_are_streamed_where_memory_ends(
    gpu: Counts, index: FlatIndex, q_nets: QNets, wanted: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = torch.empty

    def empty(*shape: object, **options: object) -> torch.Tensor:
        if shape == ((DOCS, DIM),) and options.get("device") == CUDA:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return plain(*shape, **options)

    monkeypatch.setattr(torch, "empty", empty)
    search = ExhaustiveSearch(index, CUDA, ExhaustiveOptions("bf16", "fused", 256))
    assert_same(search.search(q_nets, K), wanted)


class Launched:
    """Stands before the kernel: notes tilings, and refuses those that are too tall."""

    def __init__(self, kernel: Any, most_rows: int = 1024) -> None:
        self._kernel, self._most_rows = kernel, most_rows
        self.tilings: list[tuple[int, int]] = []

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
        def launch(*tensors: Any, **constants: Any) -> None:
            from triton.runtime.errors import OutOfResources

            self.tilings.append((constants["ROWS"], constants["num_warps"]))
            if constants["ROWS"] > self._most_rows:
                raise OutOfResources(300_000, 232_448, "shared memory")
            self._kernel[grid](*tensors, **constants)

        return launch


@pytest.fixture
def launched(gpu: Counts, monkeypatch: pytest.MonkeyPatch) -> Launched:
    pytest.importorskip("triton", reason="triton is not installed")
    from hypensearch.scoring.gpu import kernels

    launched = Launched(kernels.score_tiles)
    monkeypatch.setattr(kernels, "score_tiles", launched)
    monkeypatch.setattr(triton_scorer, "_tuned", {})
    monkeypatch.setattr(triton_scorer, "_programs_of", lambda device: 1)  # 256 documents are enough to time tilings
    return launched


def test_tilings_are_timed_on_the_first_block_and_once(
    launched: Launched, index: FlatIndex, q_nets: QNets, wanted: list
) -> None:
    tiled = len(triton_scorer.tilings(CONFIG, torch.bfloat16))
    for timed in (4 * tiled, 0):  # one run to compile, three that count
        launched.tilings.clear()
        options = ExhaustiveOptions("bf16", "triton")
        assert_same(ExhaustiveSearch(index, CUDA, options).search(q_nets, K), wanted)
        assert len(launched.tilings) == timed + 1
    assert len(set(launched.tilings)) == 1


@pytest.mark.parametrize("num_docs", [20, DOCS])
def test_a_tiling_that_does_not_fit_is_left_out(
    launched: Launched, q_nets: QNets, num_docs: int, caplog: pytest.LogCaptureFixture
) -> None:
    launched._most_rows = 64
    vectors = torch.from_numpy(random_vectors(num_docs, DIM)).to(CUDA)
    scorer = triton_scorer.TritonScorer(q_nets, CUDA, "fp16")
    for _ in range(2):
        found = scorer.score(vectors)
    torch.testing.assert_close(found.cpu(), q_nets(vectors.cpu()), rtol=0.01, atol=0.01)
    assert launched.tilings[-1][0] == 64
    assert launched.tilings.count((128, 8)) == 1  # not tried again
    assert ("does not fit this GPU, trying another" in caplog.text) == (num_docs == 20)


@pytest.mark.parametrize("num_docs", [20, DOCS])
def test_where_no_tiling_fits_q_nets_are_computed_layer_by_layer(
    launched: Launched, q_nets: QNets, num_docs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hypensearch.scoring.gpu import kernels

    launched._most_rows = 0
    vectors = torch.from_numpy(random_vectors(num_docs, DIM)).to(CUDA)
    scorer = triton_scorer.TritonScorer(q_nets, CUDA, "fp16")
    for _ in range(2):
        found = scorer.score(vectors)
        torch.testing.assert_close(found.cpu(), q_nets(vectors.cpu()), rtol=0.01, atol=0.01)
    assert len(launched.tilings) == len(triton_scorer.tilings(CONFIG, torch.float16))  # not tried again
    monkeypatch.setattr(triton_scorer, "_tuned", {})
    monkeypatch.setattr(kernels, "finish_rows", Launched(kernels.finish_rows, most_rows=0))
    with pytest.raises(HypensearchError, match=r"none of its kernels fits Pretended .*; use --scorer fused"):
        triton_scorer.TritonScorer(q_nets, CUDA, "fp16").score(vectors)


class Clock:
    """A GPU's clock by which some ways take longer."""

    def __init__(self, milliseconds: dict[str, float]) -> None:
        self._milliseconds = milliseconds

    def __call__(self, run: Any) -> float:
        run()
        way = run.args[0]
        return self._milliseconds.get(way if isinstance(way, str) else "tilings", 1.0)


@pytest.mark.parametrize("fastest", ["layer by layer", "tilings"])
def test_the_fastest_way_is_taken(
    launched: Launched, index: FlatIndex, q_nets: QNets, wanted: list, monkeypatch: pytest.MonkeyPatch, fastest: str
) -> None:
    monkeypatch.setattr(triton_scorer, "_milliseconds", Clock({fastest: 0.5}))
    search = ExhaustiveSearch(index, CUDA, ExhaustiveOptions("bf16", "triton"))
    search.search(q_nets, K)
    launched.tilings.clear()
    gpu_counts = COUNTS.waits.copy()
    assert_same(search.search(q_nets, K), wanted)
    assert len(launched.tilings) == (0 if fastest == "layer by layer" else 1)
    assert (COUNTS.waits - gpu_counts).total() == len(q_nets) + 2  # as with one kernel


@pytest.mark.parametrize("multiprocessors", [132, 142, 148, 188])  # H200, L40S, B200, RTX PRO 6000
@pytest.mark.parametrize("width", [384, 768, 1024])
def test_a_block_is_enough_to_time_tilings_on_the_largest_gpus(
    monkeypatch: pytest.MonkeyPatch, gpu: Counts, multiprocessors: int, width: int
) -> None:
    monkeypatch.setattr(triton_scorer, "_programs_of", lambda device: multiprocessors)
    scorer = triton_scorer.TritonScorer(random_q_nets(QNetConfig(dims=(width, width, 1)), 1), CUDA, "bf16")
    assert scorer.rows_to_tune <= CUDA_BLOCK_ROWS


@pytest.mark.parametrize(("capability", "fits"), [((8, 0), False), ((8, 9), False), ((9, 0), True)])
def test_fp32_by_triton_is_for_gpus_whose_registers_suffice(
    monkeypatch: pytest.MonkeyPatch, gpu: Counts, capability: tuple[int, int], fits: bool
) -> None:
    pytest.importorskip("triton", reason="triton is not installed")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)
    case = Case(CUDA, "fp32", CONFIG)
    if fits:
        assert choose_scorer(case, "triton").name == "triton"
    else:
        with pytest.raises(HypensearchError, match="in fp32 its registers do not suffice"):
            choose_scorer(case, "triton")
    assert choose_scorer(case).name == "fused"


def test_scores_of_a_scan_are_float32(gpu: Counts, q_nets: QNets) -> None:
    vectors = torch.from_numpy(random_vectors(DOCS, DIM)).to(CUDA)
    scores = Scorer(q_nets, CUDA, "bf16").score(vectors).cpu()
    assert all(len(of_query.unique()) > DOCS * 0.99 for of_query in scores)


def test_float32_products_are_exact_whatever_the_process_allows(gpu: Counts, q_nets: QNets) -> None:
    seen = []
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        with float32_products(CUDA, torch.float32):
            seen.append(torch.get_float32_matmul_precision())
        with float32_products(CUDA, torch.bfloat16):
            seen.append(torch.get_float32_matmul_precision())
        seen.append(torch.get_float32_matmul_precision())
    finally:
        torch.set_float32_matmul_precision(before)
    assert seen == ["highest", "high", "high"]
