# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hypensearch.errors import HypensearchError
from hypensearch.flat import FlatIndex
from hypensearch.formats.json_files import signed_json
from hypensearch.models import QNetConfig, QNets
from hypensearch.scoring.found import Found
from hypensearch.scoring.scorer import Scorer
from hypensearch.search import HypencoderSearcher
from hypensearch.surrogate import builder
from hypensearch.surrogate import codes as codes_module
from hypensearch.surrogate import search as module
from hypensearch.surrogate.builder import build_surrogate
from hypensearch.surrogate.codes import Codes
from hypensearch.surrogate.fits import FirstRidgeFits
from hypensearch.surrogate.options import SurrogateOptions
from hypensearch.surrogate.search import SurrogateSearch
from hypensearch.surrogate.store import Surrogate, open_surrogate, write_surrogate
from tests.search.strategies import exact_hits, hits_of, random_q_nets, random_vectors, save_index

CPU = torch.device("cpu")
CONFIG = QNetConfig(dims=(32, 32, 32, 1))


def related_q_nets(num_queries: int, seed: int = 0, config: QNetConfig = CONFIG) -> QNets:
    """Q-nets as a hyper head makes them: hidden blocks much alike, output layers of their own."""
    common, own = random_q_nets(config, 1, 99), random_q_nets(config, num_queries, seed)
    weights = [c + 0.1 * o for c, o in zip(common.weights[:-1], own.weights[:-1], strict=True)]
    biases = [c + 0.1 * o for c, o in zip(common.biases, own.biases, strict=True)]
    return QNets(config, [*weights, own.weights[-1]], biases)


def surrogate_search(index: FlatIndex, **options: object) -> SurrogateSearch:
    surrogate = open_surrogate(index) or build_surrogate(index, related_q_nets(16, seed=5), CPU)
    return SurrogateSearch(index, surrogate, CPU, SurrogateOptions(**options))


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> FlatIndex:
    return save_index(tmp_path_factory.mktemp("surrogate") / "index", random_vectors(6000, 32))


def overlap(index: FlatIndex, found: Sequence[Found], q_nets: QNets, k: int) -> float:
    """The mean share of exhaustive search's hits that were found, with the same scores."""
    pairs = zip(hits_of(index, found), exact_hits(index, q_nets, k), strict=True)
    return float(np.mean([len(set(a) & set(b)) / k for a, b in pairs]))


def test_finds_what_exhaustive_search_finds_with_a_fraction_of_the_scores(index: FlatIndex) -> None:
    q_nets = related_q_nets(8)
    found = surrogate_search(index).search(q_nets, 20)
    assert overlap(index, found, q_nets, 20) >= 0.95
    assert np.mean([of_query.scored for of_query in found]) < 900


def test_where_q_nets_share_their_blocks_the_output_layer_tells_the_fit(tmp_path: Path) -> None:
    index = save_index(tmp_path / "index", random_vectors(4000, 32))
    common, own = random_q_nets(CONFIG, 1, 99), random_q_nets(CONFIG, 24, 3)
    weights = [weight.expand(24, -1, -1) for weight in common.weights[:-1]]
    q_nets = QNets(CONFIG, [*weights, own.weights[-1]], [bias.expand(24, -1) for bias in common.biases])
    found = SurrogateSearch(index, build_surrogate(index, q_nets[:16], CPU), CPU).search(q_nets[16:], 10)
    assert hits_of(index, found) == exact_hits(index, q_nets[16:], 10)
    assert max(of_query.scored for of_query in found) <= 64 + 48


def test_q_nets_of_another_width_than_the_typical_ones_are_searched_with_as_well(index: FlatIndex) -> None:
    search, narrow = surrogate_search(index), random_q_nets(QNetConfig(dims=(32, 16, 1), residual=False), 2, 1)
    exact = exact_hits(index, narrow, 6000)
    for hits, of_query in zip(hits_of(index, search.search(narrow, 10)), exact, strict=True):
        scores = {hit.docid: hit.score for hit in of_query}
        assert {hit.docid: hit.score for hit in hits} == {hit.docid: scores[hit.docid] for hit in hits}


def test_typical_queries_tell_of_a_fit_what_a_sample_does_not(index: FlatIndex) -> None:
    q_nets, rows = related_q_nets(8), np.arange(0, 6000, 3)
    surrogate = build_surrogate(index, related_q_nets(64, seed=5), CPU)
    without = dataclasses.replace(
        surrogate, output_map=0 * surrogate.output_map, penalty=np.eye(len(surrogate.penalty), dtype=np.float32)
    )
    scores = Scorer(q_nets, CPU).score(index.vectors(rows))

    def error(surrogate: Surrogate) -> float:
        codes = Codes(surrogate, CPU)
        sample = surrogate.sample[:16]
        of_sample, errors = codes.gather(torch.from_numpy(sample)), codes.errors[sample]
        first_fits = FirstRidgeFits(surrogate, index.vectors(sample), of_sample, errors)
        _, fitted = first_fits(Scorer(q_nets, CPU), q_nets, 10)
        predictions = torch.stack([fit.predict(codes.gather(torch.from_numpy(rows))) for fit in fitted])
        return float(((predictions - scores) / scores.std(dim=1, keepdim=True)).square().mean())

    assert error(surrogate) < 0.8 * error(without)


@pytest.mark.parametrize(
    ("dims", "count"), [((384, 384, 384, 1), 256), ((768,) * 7 + (1,), 75), ((4096,) * 7 + (1,), 64)]
)
def test_q_nets_of_typical_queries_fit_into_a_gibibyte(dims: tuple[int, ...], count: int) -> None:
    assert builder.how_many_queries(QNetConfig(dims=dims)) == count


def test_scores_are_those_of_exhaustive_search(index: FlatIndex) -> None:
    q_nets = related_q_nets(3)
    exact = [{hit.docid: hit.score for hit in hits} for hits in exact_hits(index, q_nets, 6000)]
    for hits, scores in zip(hits_of(index, surrogate_search(index).search(q_nets, 50)), exact, strict=True):
        assert {hit.docid: hit.score for hit in hits} == {hit.docid: scores[hit.docid] for hit in hits}
        assert hits == sorted(hits, key=lambda hit: (-hit.score, hit.docid))


def test_what_a_search_did_is_reported(index: FlatIndex) -> None:
    for found in surrogate_search(index).search(related_q_nets(3), 50):
        assert found.recall is not None
        assert 0.9 < found.recall < 1
        assert 64 + 48 <= found.scored < 6000
        assert found.rounds >= 1


def test_batch_equals_one_by_one(index: FlatIndex) -> None:
    q_nets, search = related_q_nets(4), surrogate_search(index)
    alone = [hits_of(index, search.search(q_net, 10))[0] for q_net in q_nets]
    assert hits_of(index, search.search(q_nets, 10)) == alone


@pytest.mark.parametrize("max_scored", [5, 100, 300])
def test_bounded_work(index: FlatIndex, max_scored: int) -> None:
    """Less than a sample, less than a round, and more."""
    for found in surrogate_search(index, max_scored=max_scored).search(related_q_nets(2), 80):
        assert len(found.rows) == min(80, max_scored)
        assert found.scored <= max_scored


def test_estimated_recall_is_near_the_true_one(index: FlatIndex) -> None:
    q_nets = related_q_nets(12)
    for target in (0.5, 0.99):
        found = surrogate_search(index, target_recall=target).search(q_nets, 20)
        estimated = np.mean([of_query.recall for of_query in found])
        assert abs(overlap(index, found, q_nets, 20) - estimated) < 0.2


@settings(max_examples=25)
@given(st.integers(1, 40), st.integers(1, 60), st.booleans(), st.integers(0, 100))
def test_small_indexes_are_searched_exhaustively(num_docs: int, k: int, repeated: bool, seed: int) -> None:
    vectors = random_vectors(num_docs, 32, seed)
    if repeated:
        vectors[:] = vectors[0]
    q_nets = related_q_nets(2, seed)
    with tempfile.TemporaryDirectory() as folder, save_index(Path(folder) / "index", vectors) as index:
        found = surrogate_search(index).search(q_nets, k)
        assert hits_of(index, found) == exact_hits(index, q_nets, k)
        assert all(of_query.recall == 1 for of_query in found)


def test_the_first_search_sees_a_changed_bit(tmp_path: Path) -> None:
    index = save_index(tmp_path / "index", random_vectors(50, 32))
    surrogate_search(index)
    (path,) = (tmp_path / "index" / "surrogate").glob("codes-*.npy")
    content = bytearray(path.read_bytes())
    content[-8] ^= 1
    path.write_bytes(content)
    with pytest.raises(HypensearchError, match="changed since it was written"):
        HypencoderSearcher(tmp_path / "index", device="cpu", searcher="surrogate")
    HypencoderSearcher(tmp_path / "index", device="cpu", searcher="surrogate", check=False).close()


@pytest.mark.parametrize("row", [-1, 50, 2**60])
@pytest.mark.parametrize("name", ["sample", "outliers", "extremes"])
def test_rows_outside_of_the_index_are_refused(tmp_path: Path, name: str, row: int) -> None:
    index = save_index(tmp_path / "index", random_vectors(50, 32))
    rows = {"sample": np.arange(9), "outliers": np.arange(3), "extremes": np.arange(4)}
    rows[name][1] = row
    codes = np.zeros((50, 4), np.int8), np.zeros(50, np.uint16), np.zeros(50, np.float16)
    arrays = {"outliers": rows["outliers"], "extremes": rows["extremes"], "extreme_errors": np.ones(4), **PRIOR}
    with pytest.raises(HypensearchError, match=f"damaged .{name} contains rows outside of the index"):
        write_surrogate(index, rows["sample"], [codes], lambda: (arrays, GROWTH), {})


@pytest.mark.parametrize("errors", [[1, 1], [1, 0, 1], [1, np.nan, 1], [1, np.inf, 1], [[1, 1, 1]]])
def test_errors_that_are_not_positive_numbers_are_refused(tmp_path: Path, errors: list[float]) -> None:
    index = save_index(tmp_path / "index", random_vectors(50, 32))
    codes = np.zeros((50, 4), np.int8), np.zeros(50, np.uint16), np.zeros(50, np.float16)
    arrays = {"outliers": np.arange(2), "extremes": np.arange(3), "extreme_errors": np.array(errors), **PRIOR}
    with pytest.raises(HypensearchError, match="damaged .*(extreme_errors are not one positive|wanted float32)"):
        write_surrogate(index, np.arange(9), [codes], lambda: (arrays, GROWTH), {})


@pytest.mark.parametrize(
    "change",
    [
        {"penalty": np.eye(3)},
        {"penalty": np.full((4, 4), np.nan)},
        {"output_map": np.zeros((3, 8))},
        {"output_map": np.zeros(4)},
        {"output_map": np.full((4, 8), np.inf)},
        {"gradient_map": np.zeros((4, 31))},
        {"gradient_map": np.full((4, 32), np.nan)},
    ],
)
def test_a_prior_of_other_shapes_or_not_finite_is_refused(tmp_path: Path, change: dict[str, np.ndarray]) -> None:
    index = save_index(tmp_path / "index", random_vectors(50, 32))
    codes = np.zeros((50, 4), np.int8), np.zeros(50, np.uint16), np.zeros(50, np.float16)
    arrays = {"outliers": np.arange(2), "extremes": np.arange(3), "extreme_errors": np.ones(3), **PRIOR, **change}
    with pytest.raises(HypensearchError, match="damaged .*(is not finite|wanted float32)"):
        write_surrogate(index, np.arange(9), [codes], lambda: (arrays, GROWTH), {})


PRIOR = {"output_map": np.zeros((4, 8)), "penalty": np.eye(4), "gradient_map": np.zeros((4, 32))}
GROWTH = {"error_growth": {"leverage": [0.0, 1.0], "error": [1.0, 2.0]}}


def has_a_file_more(facts: dict[str, Any]) -> None:
    facts["files"]["more"] = {}


def names_nothing(facts: dict[str, Any]) -> None:
    del facts["files"]["scales"]["name"]


def lies_elsewhere(facts: dict[str, Any]) -> None:
    facts["files"]["codes"]["name"] = "../shard-0/vectors.npy"


def has_a_name_too_long(facts: dict[str, Any]) -> None:
    facts["files"]["codes"]["name"] = 300 * "9"


def belongs_to_nothing(facts: dict[str, Any]) -> None:
    del facts["vectors"]


def has_no_size(facts: dict[str, Any]) -> None:
    facts["files"]["codes"]["bytes"] = None


def has_no_curve(facts: dict[str, Any]) -> None:
    facts["error_growth"]["error"].pop()


def has_an_empty_curve(facts: dict[str, Any]) -> None:
    facts["error_growth"] = {"leverage": [], "error": []}


@pytest.mark.parametrize(
    "harm",
    [
        has_a_file_more,
        names_nothing,
        lies_elsewhere,
        has_a_name_too_long,
        belongs_to_nothing,
        has_no_size,
        has_no_curve,
        has_an_empty_curve,
    ],
)
def test_signed_nonsense_is_refused(tmp_path: Path, harm: Callable[[dict[str, Any]], None]) -> None:
    index = save_index(tmp_path / "index", random_vectors(50, 32))
    surrogate_search(index)
    path = tmp_path / "index" / "surrogate" / "surrogate.json"
    facts = json.loads(path.read_bytes())
    del facts["checksum"]
    harm(facts)
    path.write_bytes(signed_json(facts))
    with pytest.raises(HypensearchError, match=f"{path.parent}.*: damaged .*; remove "):
        open_surrogate(index)


@pytest.mark.parametrize(
    "codes",
    [
        (np.zeros((50, 4), np.uint8), np.zeros(50, np.uint16), np.zeros(50, np.float16)),
        (np.zeros((50, 4), np.int8), np.zeros(50, np.int16), np.zeros(50, np.float16)),
        (np.zeros((50, 4), np.int8), np.zeros(50, np.uint16), np.zeros((50, 1), np.float16)),
        (np.zeros((49, 4), np.int8), np.zeros(50, np.uint16), np.zeros(50, np.float16)),
    ],
)
def test_arrays_of_another_kind_are_refused(tmp_path: Path, codes: tuple[np.ndarray, ...]) -> None:
    index = save_index(tmp_path / "index", random_vectors(50, 32))
    arrays = {"outliers": np.arange(2), "extremes": np.arange(3), "extreme_errors": np.ones(3), **PRIOR}
    with pytest.raises(HypensearchError, match=r"damaged .*, wanted (int8|uint16|float16) \(50"):
        write_surrogate(index, np.arange(9), [codes], lambda: (arrays, GROWTH), {})


def test_older_codes_stay_until_the_new_ones_are_whole(tmp_path: Path) -> None:
    index = save_index(tmp_path / "index", random_vectors(50, 32))
    older = hits_of(index, surrogate_search(index).search(related_q_nets(2), 5))
    folder = tmp_path / "index" / "surrogate"
    names = sorted(path.name for path in folder.iterdir())

    def broken() -> Iterator[tuple[np.ndarray, ...]]:
        yield np.zeros((20, 4), np.int8), np.zeros(20, np.uint16), np.zeros(20, np.float16)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_surrogate(index, np.arange(9), broken(), lambda: ({}, {}), {})
    assert sorted(path.name for path in folder.iterdir()) == names
    assert hits_of(index, surrogate_search(index).search(related_q_nets(2), 5)) == older
    build_surrogate(index, related_q_nets(16, seed=8), CPU)
    assert len(list(folder.iterdir())) == len(names)
    assert sorted(path.name for path in folder.iterdir()) != names


def test_queries_in_parts_give_the_same_hits(index: FlatIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    q_nets, search = related_q_nets(5), surrogate_search(index)
    whole = hits_of(index, search.search(q_nets, 10))
    monkeypatch.setattr(module, "_ROUGH_SCORES", 2 * index.num_docs)
    assert hits_of(index, search.search(q_nets, 10)) == whole


def test_outliers_are_documents_of_large_errors(tmp_path: Path) -> None:
    """Without layer norm, scores and errors grow with the vectors."""
    vectors = random_vectors(3000, 32)
    vectors[2020:2040] *= 30
    q_nets = related_q_nets(16, seed=5, config=dataclasses.replace(CONFIG, layer_norm=False))
    surrogate = build_surrogate(save_index(tmp_path / "index", vectors), q_nets, CPU)
    assert sorted(surrogate.outliers) == list(range(2020, 2040))


@pytest.mark.parametrize(("k", "target"), [(1, 0.998), (10, 0.998), (100, 0.99368), (1000, 0.98), (10000, 0.98)])
def test_usual_target(k: int, target: float) -> None:
    assert module.usual_target(k) == pytest.approx(target, abs=1e-5)


def test_outliers_are_scored_by_every_search(index: FlatIndex) -> None:
    q_net, surrogate = related_q_nets(1), surrogate_search(index)
    codes = open_surrogate(index)
    assert codes is not None
    more = dataclasses.replace(codes, outliers=np.arange(5000, 5050))
    with_outliers = SurrogateSearch(index, more, CPU, surrogate.options)
    found, other = with_outliers.search(q_net, 10)[0], surrogate.search(q_net, 10)[0]
    assert found.rows.tolist() == other.rows.tolist()
    assert found.scored > other.scored


def test_errors_grow_with_leverage_as_they_do_for_typical_queries(tmp_path: Path) -> None:
    vectors = random_vectors(4000, 32)
    vectors[::50] *= 3
    index = save_index(tmp_path / "index", vectors)
    surrogate = build_surrogate(index, related_q_nets(16, seed=5), CPU)
    errors, far_out = surrogate.errors(), np.isin(np.arange(4000), surrogate.extremes[:50])
    np.testing.assert_array_equal(errors[surrogate.extremes], surrogate.extreme_errors)
    assert (np.diff(surrogate.facts["error_growth"]["error"]) >= 0).all()
    assert surrogate.leverages[far_out].min() > np.median(surrogate.leverages)
    assert errors[far_out].mean() > 1.2 * errors.mean()


def test_what_no_fit_tells_is_searched_for_among_all_documents(index: FlatIndex) -> None:
    search, strangers = surrogate_search(index, target_recall=1 - 1e-9), random_q_nets(CONFIG, 2, 31)
    found = search.search(strangers, 10)
    assert hits_of(index, found) == exact_hits(index, strangers, 10)
    assert min(of_query.scored for of_query in found) > index.num_docs / 2
    assert max(of_query.rounds for of_query in found) < 24


@pytest.mark.parametrize(("directions", "size"), [(3, 32), (60, 96)])
def test_codes_have_the_components_that_scores_need(tmp_path: Path, directions: int, size: int) -> None:
    vectors = random_vectors(3000, 96)
    index = save_index(tmp_path / "index", vectors)
    used = np.linalg.qr(random_vectors(96, 96, seed=1))[0][:, :directions].astype(np.float32)
    q_nets = QNets.from_vectors(torch.from_numpy(random_vectors(40, directions, seed=2) @ used.T))
    surrogate = build_surrogate(index, q_nets, CPU)
    assert surrogate.codes.shape == (3000, size)
    codes = Codes(surrogate, CPU).gather(torch.arange(3000)).numpy()
    fitted = codes @ np.linalg.lstsq(codes, vectors @ used, rcond=None)[0]
    assert np.square(fitted - vectors @ used).mean() < 0.02 * np.square(vectors @ used).mean()


def strangers(num_queries: int, seed: int) -> QNets:
    """Q-nets that have no hidden unit in common, as those of a cold-started model."""
    q_nets = random_q_nets(QNetConfig(dims=(32, 8, 1), residual=False, layer_norm=False), num_queries, seed)
    return QNets(q_nets.config, [q_nets.weights[0], q_nets.weights[1].abs()], q_nets.biases)


@pytest.mark.parametrize("subsample", [32768, 512])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_gradients_are_followed_where_q_nets_have_little_in_common(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, subsample: int
) -> None:
    monkeypatch.setattr(codes_module, "_SUBSAMPLE_ROWS", subsample)
    own = save_index(tmp_path / "index", random_vectors(6000, 32))
    surrogate = build_surrogate(own, strangers(16, seed=5).to(dtype=dtype), CPU)
    assert surrogate.has_gradients
    q_nets, search = strangers(8, seed=1).to(dtype=dtype), SurrogateSearch(own, surrogate, CPU)
    found = search.search(q_nets, 10)
    assert overlap(own, found, q_nets, 10) >= 0.95
    assert np.mean([of_query.scored for of_query in found]) < 900


@pytest.mark.parametrize("max_scored", [1, 64, 100, 255, 256, 400])
def test_a_subsample_is_used_where_two_rounds_may_follow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, max_scored: int
) -> None:
    own = save_index(tmp_path / "index", random_vectors(3000, 32))
    surrogate = build_surrogate(own, strangers(16, seed=5), CPU)
    options, q_nets = SurrogateOptions(max_scored=max_scored), strangers(2, seed=1)
    whole = SurrogateSearch(own, surrogate, CPU, options).search(q_nets, 10)
    monkeypatch.setattr(codes_module, "_SUBSAMPLE_ROWS", 64)
    found = SurrogateSearch(own, surrogate, CPU, options).search(q_nets, 10)
    assert all(of_query.scored <= max_scored for of_query in found)
    assert [len(of_query.rows) for of_query in found] == [min(10, max_scored)] * 2
    if max_scored < 64 + 2 * 96:
        assert hits_of(own, found) == hits_of(own, whole)


def test_gradients_are_not_followed_where_blocks_are_alike(index: FlatIndex) -> None:
    assert not build_surrogate(index, related_q_nets(16, seed=5), CPU).has_gradients
