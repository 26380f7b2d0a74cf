# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses
import hashlib
import inspect
import json
import re
import shutil
import sys
import tarfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from hypensearch.errors import HypensearchError
from hypensearch.flat import FlatIndex
from hypensearch.graph.search import GraphSearch
from hypensearch.hits import Hit
from hypensearch.models import DualEncoder, QNetConfig, QNets, load_model
from hypensearch.search import HypencoderSearcher
from hypensearch.search.registry import SEARCHES, option_defaults
from hypensearch.surrogate.search import SurrogateSearch
from tests import reference
from tests.commands import encode, succeed, write_corpus
from tests.models.checkpoints import biencoder_config, hypencoder_config, save_checkpoint
from tests.search.strategies import random_q_nets, random_vectors, save_index

NUM_DOCS = 60
WORDS = ["water", "stone", "river", "storm", "north", "early", "church", "satellite"]
TEXTS = {f"d{n}": " ".join([WORDS[n % 8]] * (1 + n // 8) + [WORDS[n * 3 % 8], str(n)]) for n in range(NUM_DOCS)}
QUERIES = ["water", "storm over the north", "how many rivers are there", "", "church " * 300]
IDS = [f"q{n}" for n in range(len(QUERIES))]


@pytest.fixture(scope="module")
def model(tiny_checkpoint: Path) -> DualEncoder:
    return load_model(str(tiny_checkpoint))


@pytest.fixture(scope="module")
def index_dir(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("searcher")
    succeed("encode", *encode(write_corpus(folder / "corpus.jsonl", TEXTS), folder / "index", tiny_checkpoint))
    return folder / "index"


@pytest.fixture
def searcher(index_dir: Path, model: DualEncoder) -> Iterator[HypencoderSearcher]:
    with HypencoderSearcher(index_dir, model) as searcher:
        yield searcher


@pytest.fixture(autouse=True)
def number_of_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_hits_are_those_of_the_formulas(searcher: HypencoderSearcher, model: DualEncoder) -> None:
    vectors = np.array(searcher.index.shards[0].vectors)
    scores = reference.score(model.encode_queries(QUERIES), vectors)
    for query, of_query in zip(QUERIES, scores, strict=True):
        wanted = reference.best(of_query[np.newaxis][0], list(TEXTS), 7)
        found = searcher.search(query, 7)
        assert [hit.score for hit in found] == pytest.approx([score for _, score in wanted], abs=1e-4)
        assert {hit.docid: hit.score for hit in found} == pytest.approx(dict(wanted), abs=1e-4)


def test_hits_are_plain_and_ten_by_default(searcher: HypencoderSearcher) -> None:
    hits = searcher.search("water")
    assert len(hits) == 10
    assert all(type(hit) is Hit and type(hit.docid) is str and type(hit.score) is float for hit in hits)
    assert hits == sorted(hits, key=lambda hit: (-hit.score, hit.docid))


def test_batch_search_is_search_query_by_query(searcher: HypencoderSearcher) -> None:
    alone = {topic: searcher.search(query, 20) for topic, query in zip(IDS, QUERIES, strict=True)}
    assert searcher.batch_search(QUERIES, IDS, 20, 1) == alone
    assert searcher.batch_search(QUERIES, q_ids=IDS, k=20, threads=2) == alone
    assert searcher.batch_search(QUERIES, qids=IDS, k=20) == alone
    assert list(searcher.batch_search(QUERIES, IDS)) == IDS


def test_q_nets_are_queries(searcher: HypencoderSearcher) -> None:
    q_nets = searcher.encode(QUERIES)
    alone = [searcher.search(query, 20) for query in QUERIES]
    assert [searcher.search(q_net, 20) for q_net in q_nets] == alone
    assert list(searcher.batch_search(q_nets, IDS, 20).values()) == alone
    assert list(searcher.batch_search(list(q_nets), IDS, 20).values()) == alone


def test_more_hits_than_documents(searcher: HypencoderSearcher) -> None:
    assert len(searcher.search("water", NUM_DOCS + 1)) == NUM_DOCS
    assert {hit.docid for hit in searcher.search("water", 10**30)} == set(TEXTS)


def test_fewer_hits_are_the_first_of_more(searcher: HypencoderSearcher) -> None:
    everything = searcher.search("water", NUM_DOCS)
    for k in (1, 2, 5, np.int64(12), NUM_DOCS - 1):
        assert searcher.search("water", k) == everything[:k]


@pytest.mark.parametrize("k", [0, -1])
def test_no_hits_at_all_cannot_be_asked_for(searcher: HypencoderSearcher, k: int) -> None:
    with pytest.raises(HypensearchError, match=f"k is {k}: wanted at least 1 hit"):
        searcher.search("water", k)
    with pytest.raises(HypensearchError, match=f"k is {k}: wanted at least 1 hit"):
        searcher.batch_search(["water"], ["q"], k)


def test_threads_change_no_hit(searcher: HypencoderSearcher) -> None:
    assert searcher.search("water", 20, threads=1) == searcher.search("water", 20, 2)
    assert searcher.search("water", 20, threads=10**9) == searcher.search("water", 20)
    with pytest.raises(HypensearchError, match="threads is 0: wanted at least 1"):
        searcher.search("water", threads=0)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_blocks_and_precision_change_no_hit(index_dir: Path, model: DualEncoder, precision: str) -> None:
    wanted = HypencoderSearcher(index_dir, model).batch_search(QUERIES, IDS, 20)
    for block_rows in (1, 7, 10**9):
        searcher = HypencoderSearcher(index_dir, model, precision=precision, block_rows=block_rows)
        assert searcher.batch_search(QUERIES, IDS, 20) == wanted


def test_unknown_precision(index_dir: Path) -> None:
    with pytest.raises(HypensearchError, match="--precision fp8: wanted fp32, bf16, fp16 or int8"):
        HypencoderSearcher(index_dir, precision="fp8")


def test_eight_threads_share_one_searcher(index_dir: Path, tiny_checkpoint: Path, searcher: HypencoderSearcher) -> None:
    wanted = [searcher.search(query, 20) for query in QUERIES]
    shared = HypencoderSearcher(index_dir, str(tiny_checkpoint))  # loads its model while all are waiting
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda query: shared.search(query, 20), QUERIES * 8))
    assert found == wanted * 8
    assert shared.stats.queries == 8 * len(QUERIES)


def test_hits_with_their_vectors(searcher: HypencoderSearcher) -> None:
    q_nets, hits = searcher.search("water", 3, return_vector=True)
    assert [Hit(hit.docid, hit.score) for hit in hits] == searcher.search("water", 3)
    _, batch = searcher.batch_search(["water"], ["1"], 3, return_vector=True)
    assert [(hit.docid, hit.vectors.tolist()) for hit in batch["1"]] == [(h.docid, h.vectors.tolist()) for h in hits]
    stored = dict(zip(searcher.index.docids(), searcher.index.shards[0].vectors, strict=True))
    for hit in hits:
        np.testing.assert_array_equal(hit.vectors, stored[hit.docid])
    scores = q_nets(torch.from_numpy(np.stack([hit.vectors for hit in hits])))
    np.testing.assert_allclose(scores[0], [hit.score for hit in hits], atol=1e-5)


def test_documents_can_be_read(searcher: HypencoderSearcher) -> None:
    document = searcher.doc("d7")
    assert document is not None
    assert (document.docid(), document.contents()) == ("d7", TEXTS["d7"])
    assert json.loads(document.raw()) == {"id": "d7", "contents": TEXTS["d7"]}
    assert searcher.doc("no such docid") is None


def test_size(searcher: HypencoderSearcher) -> None:
    assert (searcher.num_docs, searcher.dimension) == (NUM_DOCS, 32)


def test_what_was_done_is_counted(searcher: HypencoderSearcher) -> None:
    searcher.batch_search(QUERIES, IDS)
    searcher.search("water")
    assert (searcher.stats.queries, searcher.stats.documents_scored) == (6, 6 * NUM_DOCS)
    assert searcher.stats.seconds["encode"] > 0
    assert searcher.stats.search_seconds > 0


def test_no_queries(searcher: HypencoderSearcher) -> None:
    assert searcher.batch_search([], []) == {}


@pytest.mark.parametrize("ids", [["a"], ["a", "a"], ["a", "b", "c"]])
def test_every_query_wants_its_own_id(searcher: HypencoderSearcher, ids: list[str]) -> None:
    with pytest.raises(HypensearchError, match="wanted one id for each query"):
        searcher.batch_search(["water", "stone"], ids)


@pytest.mark.parametrize("given", [{}, {"q_ids": ["a"], "qids": ["a"]}])
def test_ids_are_given_once(searcher: HypencoderSearcher, given: dict[str, list[str]]) -> None:
    with pytest.raises(HypensearchError, match="as q_ids or as qids"):
        searcher.batch_search(["water"], **given)


def test_queries_of_two_kinds(searcher: HypencoderSearcher) -> None:
    q_nets = searcher.encode(["water", "stone"])
    with pytest.raises(HypensearchError, match="found queries of the kinds QNets, str: wanted all texts or all q-nets"):
        searcher.batch_search([q_nets[0], "stone"], ["a", "b"])
    with pytest.raises(HypensearchError, match="kinds ndarray"):
        searcher.search(np.zeros((1, 32)))
    with pytest.raises(HypensearchError, match="a batch of q-nets as one query"):
        searcher.search(q_nets)
    with pytest.raises(HypensearchError, match="a batch of q-nets as one query"):
        searcher.batch_search([q_nets], ["a"])


def test_half_of_a_surrogate_pair_is_an_unknown_character(searcher: HypencoderSearcher) -> None:
    assert searcher.search("water \ud800") == searcher.search("water \ufffd")


def test_threads_cut_queries_each_at_its_own_length(index_dir: Path, model: DualEncoder) -> None:
    searchers = [HypencoderSearcher(index_dir, model, max_length=length) for length in range(3, 11)]
    query, before = "water stone river storm north early church", sys.getswitchinterval()
    wanted = [searcher.search(query, 5) for searcher in searchers]
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda searcher: searcher.search(query, 5), searchers * 20))
    finally:
        sys.setswitchinterval(before)
    assert found == wanted * 20


def test_q_nets_for_other_vectors(searcher: HypencoderSearcher) -> None:
    with pytest.raises(HypensearchError, match="have 32 dimensions, but the q-nets take 8"):
        searcher.search(random_q_nets(QNetConfig(dims=(8, 8, 1)), 1))


def test_vectors_that_are_no_numbers(tmp_path: Path) -> None:
    vectors = random_vectors(30, 4)
    save_index(tmp_path, vectors)
    (path,) = tmp_path.glob("shard-*/vectors.npy")
    raw = bytearray(path.read_bytes())
    raw[-16:-12] = np.float32(np.inf).tobytes()
    path.write_bytes(raw)
    with pytest.raises(HypensearchError, match="the vectors of rows 0 to 29 have changed since they were written"):
        HypencoderSearcher(tmp_path)
    with pytest.raises(HypensearchError, match="the score of row 29 under q-net 0 is (nan|inf)"):
        HypencoderSearcher(tmp_path, check=False).search(random_q_nets(QNetConfig(dims=(4, 1)), 1), 2)


def test_closed_searcher(index_dir: Path, model: DualEncoder) -> None:
    with HypencoderSearcher(index_dir, model) as searcher:
        assert searcher.search("water", 1)
    searcher.close()
    with pytest.raises(HypensearchError, match="is closed"):
        searcher.search("water", 1)


# Which model


def test_the_index_knows_its_model(index_dir: Path, searcher: HypencoderSearcher) -> None:
    assert HypencoderSearcher(index_dir).batch_search(QUERIES, IDS) == searcher.batch_search(QUERIES, IDS)


def test_a_model_is_given_as_folder_or_loaded(
    index_dir: Path, tiny_checkpoint: Path, searcher: HypencoderSearcher
) -> None:
    wanted = searcher.search("water")
    assert HypencoderSearcher(index_dir, tiny_checkpoint).search("water") == wanted
    assert HypencoderSearcher(index_dir, query_encoder=str(tiny_checkpoint)).search("water") == wanted
    with pytest.raises(HypensearchError, match="the query encoder is a dict: wanted a checkpoint's folder"):
        HypencoderSearcher(index_dir, {})  # type: ignore[arg-type]


def test_another_model_of_the_same_size_is_refused(index_dir: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    other = _copy(tiny_checkpoint, tmp_path)
    weights = load_file(other / "model.safetensors")
    name = next(name for name in weights if name.startswith("passage_encoder") and name.endswith("LayerNorm.weight"))
    save_file({**weights, name: weights[name] + 0.01}, other / "model.safetensors")
    searcher = HypencoderSearcher(index_dir, str(other))
    with pytest.raises(HypensearchError, match=r"were made by .*checkpoint .*, but the query encoder is .*checkpoint"):
        searcher.search("water")
    with pytest.raises(HypensearchError, match="were made by"):
        HypencoderSearcher(index_dir, load_model(str(other)))


def test_another_query_side_over_the_same_documents_is_fine(
    index_dir: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    other = _copy(tiny_checkpoint, tmp_path)
    weights = load_file(other / "model.safetensors")
    weights = {name: tensor * 1.5 if "hyper_base" in name else tensor for name, tensor in weights.items()}
    save_file(weights, other / "model.safetensors")
    assert HypencoderSearcher(index_dir, str(other)).search("water") != HypencoderSearcher(index_dir).search("water")


def test_a_model_of_another_size_is_refused(index_dir: Path, save: Callable[..., Path]) -> None:
    model = load_model(str(save(hypencoder_config())))
    with pytest.raises(HypensearchError, match="have 32 dimensions, but .* makes vectors of 16"):
        HypencoderSearcher(index_dir, model)


def test_an_index_of_unknown_model(tmp_path: Path, model: DualEncoder) -> None:
    save_index(tmp_path, model.encode_documents(list(TEXTS.values())), list(TEXTS)).close()
    searcher = HypencoderSearcher(tmp_path)
    assert len(searcher.search(model.encode_queries(["water"]))) == 10  # q-nets need no model
    with pytest.raises(HypensearchError, match="does not say which model made its vectors: name it with --encoder"):
        searcher.search("water")
    assert HypencoderSearcher(tmp_path, model).search("water") == searcher.search(model.encode_queries(["water"]))


def test_a_model_that_has_moved(tiny_checkpoint: Path, tmp_path: Path) -> None:
    here, there = _copy(tiny_checkpoint, tmp_path / "here"), tmp_path / "there"
    corpus = write_corpus(tmp_path / "corpus.jsonl", TEXTS)
    succeed("encode", *encode(corpus, tmp_path / "index", here))
    wanted = HypencoderSearcher(tmp_path / "index").search("water")
    shutil.move(here.parent, there)
    with pytest.raises(HypensearchError, match=r"cannot be loaded .*; if it has moved, name it with --encoder"):
        HypencoderSearcher(tmp_path / "index").search("water")
    assert HypencoderSearcher(tmp_path / "index", there / "checkpoint").search("water") == wanted


def test_bi_encoder_is_served_as_the_baseline(save: Callable[..., Path], tmp_path: Path) -> None:
    folder = save(biencoder_config())
    corpus = write_corpus(tmp_path / "corpus.jsonl", TEXTS)
    succeed("encode", *encode(corpus, tmp_path / "index", folder))
    searcher = HypencoderSearcher(tmp_path / "index")
    vectors = np.array(FlatIndex.open(tmp_path / "index").shards[0].vectors)
    query = searcher.encode(["water"]).weights[0][0, :, 0].numpy()
    wanted = reference.best(vectors @ query, list(TEXTS), 10)
    assert [hit.score for hit in searcher.search("water")] == pytest.approx([score for _, score in wanted], abs=1e-4)
    assert searcher.query_encoder.kind == "biencoder"


def test_matryoshka_width(save: Callable[..., Path], tmp_path: Path) -> None:
    raw = {"loss_type": ["matryoshka_margin_mse"], "loss_kwargs": [{"matryoshka_dims": [4, 16]}]}
    folder = save(hypencoder_config() | raw)
    model = load_model(str(folder))
    save_index(tmp_path / "index", model.encode_documents(list(TEXTS.values())), list(TEXTS)).close()
    narrow = HypencoderSearcher(tmp_path / "index", folder, width=4)
    assert narrow.encode(["water"]).config.dims == (16, 4, 4, 1)
    cut = model.encode_queries(["water"]).truncated(4)
    assert narrow.search("water") == HypencoderSearcher(tmp_path / "index").search(cut)
    assert narrow.search("water") != HypencoderSearcher(tmp_path / "index", folder).search("water")


def test_half_precision_vectors(tmp_path: Path, model: DualEncoder, searcher: HypencoderSearcher) -> None:
    vectors = model.encode_documents(list(TEXTS.values()))
    save_index(tmp_path, vectors, list(TEXTS), dtype="float16").close()
    found = {hit.docid: hit.score for hit in HypencoderSearcher(tmp_path, model).search("water", NUM_DOCS)}
    wanted = {hit.docid: hit.score for hit in searcher.search("water", NUM_DOCS)}
    assert found == pytest.approx(wanted, abs=0.05)
    assert found != wanted


def test_ties_go_by_docid(tmp_path: Path) -> None:
    docids = ["b", "a", "10", "9", "é", "B"]
    save_index(tmp_path, np.ones((6, 2), np.float32), docids).close()
    q_net = QNets.from_vectors(torch.ones(1, 2))
    for k in range(1, 7):
        hits = HypencoderSearcher(tmp_path, block_rows=2).search(q_net, k)
        assert [astuple(hit) for hit in hits] == [(docid, 2.0) for docid in sorted(docids)[:k]]


def test_order_of_the_corpus_changes_no_hit(tmp_path: Path, model: DualEncoder, searcher: HypencoderSearcher) -> None:
    shard = searcher.index.shards[0]
    order = np.random.default_rng(0).permutation(NUM_DOCS)
    docids = [shard.docids[int(row)] for row in order]
    save_index(tmp_path, np.array(shard.vectors)[order], docids).close()
    shuffled = HypencoderSearcher(tmp_path, model)
    assert shuffled.batch_search(QUERIES, IDS, 30) == searcher.batch_search(QUERIES, IDS, 30)


def test_prebuilt_index(index_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / "toy.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(index_dir, "toy")
    record = {"urls": [archive.as_uri()], "sha256": hashlib.sha256(archive.read_bytes()).hexdigest()}
    (tmp_path / "registry.json").write_text(json.dumps({"toy": record}))
    monkeypatch.setenv("HYPENSEARCH_PREBUILT_INDEXES", str(tmp_path / "registry.json"))
    monkeypatch.setenv("HYPENSEARCH_CACHE", str(tmp_path / "cache"))
    assert HypencoderSearcher.list_prebuilt_indexes() == ["toy"]
    searcher = HypencoderSearcher.from_prebuilt_index("toy", block_rows=7)
    assert searcher.prebuilt_index_name == "toy"
    assert searcher.search("water") == HypencoderSearcher(index_dir).search("water")
    with pytest.raises(HypensearchError, match="known are: toy"):
        HypencoderSearcher.from_prebuilt_index("other")


@pytest.fixture
def save(tmp_path: Path, tiny_checkpoint: Path) -> Callable[..., Path]:
    """Write a random checkpoint of a configuration into this test's folder."""
    return lambda raw, **options: save_checkpoint(tmp_path / "model", raw, tiny_checkpoint, **options)


def _copy(checkpoint: Path, folder: Path) -> Path:
    """Copy a checkpoint and the folder of its backbone beside it."""
    shutil.copytree(checkpoint.parent / "base_encoder", folder / "base_encoder")
    return Path(shutil.copytree(checkpoint, folder / "checkpoint"))


@pytest.mark.parametrize("kind", ["graph", "surrogate"])
def test_threads_are_those_of_every_way_to_search(
    index_dir: Path, model: DualEncoder, kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    flags = ["--surrogate"] if kind == "surrogate" else ["--degree", 3]
    folder = shutil.copytree(index_dir, tmp_path / "index")
    succeed("index", "--index", folder, *flags)
    used: list[int] = []
    way: type[GraphSearch] | type[SurrogateSearch] = GraphSearch if kind == "graph" else SurrogateSearch
    find = way.search
    monkeypatch.setattr(way, "search", lambda *given: (used.append(torch.get_num_threads()), find(*given))[1])
    torch.set_num_threads(2)
    with HypencoderSearcher(folder, model, searcher=kind) as searcher:
        searcher.search("water", k=2, threads=1)
        searcher.search("water", k=2)
    assert used == [1, 2]
    assert torch.get_num_threads() == 2


def test_options_are_named(index_dir: Path) -> None:
    """help() shows every option of a search with the default that it has for commands; its class describes it."""
    for made_by in (HypencoderSearcher, HypencoderSearcher.from_prebuilt_index):
        parameters = inspect.signature(made_by).parameters
        assert {name: parameters[name].default for name in option_defaults()} == option_defaults()
        assert not [parameter for parameter in parameters.values() if parameter.kind is parameter.VAR_KEYWORD]
    documented = re.findall(r":param (\w+):", HypencoderSearcher.__doc__ or "")
    assert documented == [name for name in inspect.signature(HypencoderSearcher.__init__).parameters if name != "self"]
    for kind in SEARCHES.values():
        described = re.findall(r":param (\w+):", kind.__doc__ or "")
        assert described == [field.name for field in dataclasses.fields(kind)]
    with HypencoderSearcher(index_dir, max_scored=NUM_DOCS, block_rows=7) as searcher:
        assert searcher.options == {"max_scored": NUM_DOCS, "block_rows": 7}


def test_an_option_means_the_same_in_every_search() -> None:
    kinds = [{field.name: field for field in dataclasses.fields(kind)} for kind in SEARCHES.values()]
    for one, other in combinations(kinds, 2):
        for name in one.keys() & other.keys():
            assert (one[name].type, one[name].default) == (other[name].type, other[name].default)


def test_what_was_found_is_reported_by_row(searcher: HypencoderSearcher) -> None:
    found = searcher.find(QUERIES, 7)
    hits = searcher.batch_search(QUERIES, IDS, 7)
    assert [of_query.hits(searcher.index.docid) for of_query in found] == list(hits.values())
    assert [(of_query.scored, of_query.rounds, of_query.recall) for of_query in found] == [(NUM_DOCS, 1, None)] * 5
    with pytest.raises(HypensearchError, match="wanted one id for each query"):
        searcher.find(QUERIES, 7, q_ids=["a"])


def test_a_misspelt_option_is_the_searchers_own_error(index_dir: Path) -> None:
    with pytest.raises(TypeError, match=r"HypencoderSearcher.__init__\(\) got an unexpected keyword argument 'serch'"):
        HypencoderSearcher(index_dir, serch="exhaustive")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="'serch'"):  # and not that there is no such index
        HypencoderSearcher.from_prebuilt_index("no-such-index", serch="exhaustive")


def test_simple_is_exhaustive(index_dir: Path, searcher: HypencoderSearcher) -> None:
    with HypencoderSearcher(index_dir, searcher="simple") as simple:
        assert simple.search("water") == searcher.search("water")
        assert simple.stats.searcher == "exhaustive"


def test_documents_by_row(searcher: HypencoderSearcher) -> None:
    for row in (0, NUM_DOCS - 1, np.int64(7)):
        document = searcher.doc(row)
        assert document is not None
        assert document.docid() == searcher.index.docid(int(row))
        assert document == searcher.doc(document.docid())
    assert searcher.doc(NUM_DOCS) is None
    assert searcher.doc(-1) is None
    with pytest.raises(HypensearchError, match="was given a float: wanted a docid"):
        searcher.doc(1.0)  # type: ignore[arg-type]


def test_things_say_what_they_are(index_dir: Path, searcher: HypencoderSearcher, model: DualEncoder) -> None:
    of_index = f"<FlatIndex {index_dir}: 60 documents of 32 float32 by {model.name}>"
    assert repr(searcher.index) == of_index
    assert repr(searcher) == (
        f"<HypencoderSearcher of {index_dir}: 60 documents of 32 dimensions, exhaustive search on cpu, queries by "
        f"{model.name}>"
    )
    assert (
        repr(searcher.encode(["water", "storm"])) == "<QNets of 2 queries: 32 -> 32 -> 32 -> 1, relu, float32 on cpu>"
    )
    assert repr(model).startswith(f"<DualEncoder {model.name}: a hypencoder, q-nets of 2 blocks, vectors of 32 dim")
    assert repr(searcher.doc("d0")) == "<IndexedDocument d0: water water 0>"
    searcher.close()
    assert repr(searcher.index) == of_index
