# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hypensearch.errors import HypensearchError
from hypensearch.exhaustive.search import ExhaustiveSearch
from hypensearch.flat import FlatIndex
from hypensearch.graph.builder import build_graph
from hypensearch.search.flags import ENGINES
from hypensearch.search.strategy import Batch, SearchOptions, make_strategy
from hypensearch.surrogate import product_search
from hypensearch.surrogate.builder import build_surrogate
from hypensearch.surrogate.codes_in_faiss import FORMS, build_codes_in_faiss
from hypensearch.surrogate.product_search import Codes, Glance, Scan, make_engine
from hypensearch.surrogate.store import Surrogate
from tests.search.strategies import random_vectors, save_index
from tests.surrogate.test_search import related_q_nets

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> FlatIndex:
    index = save_index(tmp_path_factory.mktemp("engines") / "index", random_vectors(3000, 32))
    surrogate = build_surrogate(index, related_q_nets(16, seed=5), CPU)
    build_graph(index, CPU, degree=20)
    for engine in FORMS:
        build_codes_in_faiss(engine, index, surrogate)
    return index


@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_finds_the_best_documents_with_their_exact_scores(index: FlatIndex, engine: str) -> None:
    q_nets = related_q_nets(4)
    strategy = make_strategy(index, CPU, SearchOptions(searcher="surrogate", engine=engine, check=False))
    found, report = strategy.search(Batch(q_nets, 10))
    exact = ExhaustiveSearch(index, CPU).search(q_nets, index.num_docs)
    overlaps = [len(set(a) & set(b[:10])) / 10 for a, b in zip(found, exact, strict=True)]
    assert np.mean(overlaps) >= (0.7 if engine in ("faiss-ivf", "graph") else 0.9)
    for hits, all_hits in zip(found, exact, strict=True):
        assert set(hits) <= set(all_hits)
    assert max(of_query.documents_scored for of_query in report) < index.num_docs / 2


@pytest.mark.parametrize("engine", [engine for engine in ENGINES if engine != "scan"])
def test_proposals_are_the_highest_products_of_what_is_not_scored(index: FlatIndex, engine: str) -> None:
    surrogate = surrogate_of(index)
    codes = Codes(surrogate, CPU)
    weights = torch.randn(2, codes.dim, generator=torch.Generator().manual_seed(1))
    scored = np.arange(0, 3000, 7)
    products = (weights @ codes.gather(torch.arange(3000)).T).numpy()
    found = make_engine(engine, index, surrogate, codes, CPU).propose(weights, 50, scored)
    for proposals, of_fit in zip(found, products, strict=True):
        assert proposals.rows is not None
        assert len(proposals.rows) == 50
        assert not np.isin(proposals.rows, scored).any()
        of_fit[scored] = -np.inf
        best = np.argsort(-of_fit)[:50]
        assert len(np.intersect1d(proposals.rows, best)) >= (25 if engine in ("faiss-ivf", "graph") else 48)
        np.testing.assert_allclose(proposals.predictions, of_fit[proposals.rows], rtol=0.02, atol=0.05)


def random_codes(num_docs: int, chance: np.random.Generator) -> Codes:
    """Codes of 64 components."""
    integers = chance.integers(-127, 128, (num_docs, 64), dtype=np.int8)
    scales = torch.from_numpy(chance.random(num_docs, dtype=np.float32)).bfloat16()
    leverages, none = np.ones(num_docs, np.float16), np.empty(0, np.int64)
    facts = {"error_growth": {"leverage": [1.0], "error": [1.0]}}
    bits = scales.view(torch.int16).numpy().view(np.uint16)
    return Codes(Surrogate(Path(), integers, bits, leverages, *[none] * 7, facts=facts), CPU)


@settings(max_examples=30)
@given(st.integers(1, 9000), st.integers(1, 3), st.sampled_from([0.0, 1e-30, 1.0, 1e30]), st.integers(0, 1000))
@pytest.mark.parametrize("integers", [True, False])
def test_scan_is_the_product_of_codes_and_weights(
    integers: bool, num_docs: int, num_fits: int, size: float, seed: int
) -> None:
    chance = np.random.default_rng(seed)
    codes = random_codes(num_docs, chance)
    weights = size * torch.from_numpy(chance.standard_normal((num_fits, 64), dtype=np.float32))
    of_all = codes.gather(torch.arange(num_docs))
    norms = [float(tensor.double().norm(dim=1).max()) for tensor in (weights, of_all)]
    wanted, rounding = weights @ of_all.T, 0.01 * norms[0] * norms[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(product_search, "_integers_are_exact", lambda code_size: integers)
        every = Scan(codes).propose(weights, 1, np.empty(0, np.int64))
    for proposals, of_fit in zip(every, wanted, strict=True):
        assert proposals.rows is None
        predictions = torch.from_numpy(proposals.predictions)
        torch.testing.assert_close(predictions, of_fit, rtol=0.01, atol=rounding)


def surrogate_of(index: FlatIndex) -> Surrogate:
    from hypensearch.surrogate.store import open_surrogate

    surrogate = open_surrogate(index)
    assert surrogate is not None
    return surrogate


def engine_of(index: FlatIndex, name: str) -> object:
    surrogate = surrogate_of(index)
    return make_engine(name, index, surrogate, Codes(surrogate, CPU), CPU)


def new_index(folder: Path, seed: int = 0) -> FlatIndex:
    index = save_index(folder, random_vectors(300, 32, seed))
    build_surrogate(index, related_q_nets(16, seed=5), CPU)
    return index


def test_an_engine_that_is_not_there_says_how_to_make_it(tmp_path: Path) -> None:
    index = new_index(tmp_path / "index")
    with pytest.raises(HypensearchError, match="no faiss-ivf of its codes; make it with: .* --engine faiss-ivf"):
        engine_of(index, "faiss-ivf")
    with pytest.raises(HypensearchError, match="--engine annoy: wanted scan"):
        engine_of(index, "annoy")
    with pytest.raises(HypensearchError, match="graph"):
        engine_of(index, "graph")


@pytest.mark.parametrize("name", FORMS)
def test_an_engine_of_other_codes_is_refused(tmp_path: Path, name: str) -> None:
    one, other = new_index(tmp_path / "one"), new_index(tmp_path / "other", seed=1)
    path = build_codes_in_faiss(name, one, surrogate_of(one))
    for file in (path, path.with_suffix(".json")):
        file.rename(tmp_path / "other" / "surrogate" / file.name)
    with pytest.raises(HypensearchError, match="made of other codes"):
        engine_of(other, name)


def damaged(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def emptied(path: Path) -> None:
    path.with_suffix(".json").write_text("{}")


def changed(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(content)


def of_another_file(path: Path) -> None:
    facts = path.with_suffix(".json")
    facts.write_text(facts.read_text().replace('"sha256": "', '"sha256": "0')[:-1])


@pytest.mark.parametrize("harm", [damaged, emptied, changed, of_another_file])
def test_a_damaged_engine_is_refused(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    index = new_index(tmp_path / "index")
    harm(build_codes_in_faiss("faiss-flat", index, surrogate_of(index)))
    with pytest.raises(HypensearchError, match="damaged"):
        engine_of(index, "faiss-flat")


def test_an_engine_whose_file_is_gone_is_made_again(tmp_path: Path) -> None:
    index = new_index(tmp_path / "index")
    build_codes_in_faiss("faiss-flat", index, surrogate_of(index)).unlink()
    with pytest.raises(HypensearchError, match="no faiss-flat of its codes; make it with: "):
        engine_of(index, "faiss-flat")


def test_new_codes_take_engines_of_old_ones_away(tmp_path: Path) -> None:
    index = new_index(tmp_path / "index")
    path = build_codes_in_faiss("faiss-flat", index, surrogate_of(index))
    build_surrogate(index, related_q_nets(16, seed=6), CPU)
    assert not path.exists()


def cut_at_16_bits(codes: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    return (codes.int() @ weights.int()).clamp(-(2**15), 2**15 - 1)


def missing(*arguments: object) -> torch.Tensor:
    raise RuntimeError("no such operation")


@pytest.mark.parametrize("product", [cut_at_16_bits, missing])
def test_products_of_integers_that_are_not_exact_are_never_taken(
    monkeypatch: pytest.MonkeyPatch, product: Callable[..., torch.Tensor]
) -> None:
    monkeypatch.setattr(torch, "_int_mm", product)
    assert not product_search._integers_are_exact.__wrapped__(64)


def test_products_of_integers_are_never_taken_from_a_processor_that_may_cut_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: False, raising=False)
    assert not product_search._integers_are_exact.__wrapped__(64)


@settings(max_examples=30)
@given(st.integers(1, 3000), st.integers(1, 3), st.integers(1, 40), st.integers(0, 1000))
def test_a_glance_proposes_the_best_of_some_documents(num_docs: int, num_fits: int, count: int, seed: int) -> None:
    chance = np.random.default_rng(seed)
    codes = random_codes(num_docs, chance)
    weights = torch.from_numpy(chance.standard_normal((num_fits, 64), dtype=np.float32))
    scored = chance.permutation(num_docs)[: chance.integers(0, min(num_docs, 70) + 1)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(product_search, "_GLANCE", 256)
        glance = Glance(codes)
        assert Glance.is_worthwhile(num_docs) == (num_docs >= 512)
    seen = glance._rows
    assert len(seen) >= min(num_docs, 128)
    assert np.array_equal(np.unique(seen), seen)
    assert num_docs < 512 or np.diff(seen, prepend=0, append=num_docs).max() < 2 * num_docs * 16 / 256
    wanted = Scan(codes).scores(weights).numpy()[:, seen]
    wanted[:, np.isin(seen, scored)] = -np.inf
    for proposals, of_fit in zip(glance.propose(weights, count, scored), wanted, strict=True):
        assert proposals.is_glance
        assert not np.isin(proposals.rows, scored).any()
        number = min(count, int(np.isfinite(of_fit).sum()))
        np.testing.assert_array_equal(np.sort(proposals.predictions), np.sort(of_fit)[len(of_fit) - number :])
        np.testing.assert_array_equal(proposals.predictions, of_fit[np.searchsorted(seen, proposals.rows)])
