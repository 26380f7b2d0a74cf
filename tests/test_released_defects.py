# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Defects of the authors' released code, and the tests that they are not ours.

 1  checkpoints do not load with transformers 5
    -> tests/models/test_parity.py::test_scores
 2  loading asks the hub for weights that are thrown away
    -> tests/test_released_defects.py::test_loading_needs_no_network
 3  approximate search cannot run
    -> tests/graph/test_search.py::test_released_variant_equals_the_authors_results
 4  building a graph ends at the second batch
    -> tests/test_released_defects.py::test_graphs_are_built_batch_by_batch
 5  documents are their own neighbours
    -> tests/test_released_defects.py::test_graphs_are_built_batch_by_batch
 6  training cannot start
    -> tests/train/test_run.py::test_every_kind_trains_and_loads
 7  both losses end in an error
    -> tests/test_released_defects.py::test_every_loss_gives_a_number_and_a_gradient
 8  the tokenizing tool cannot be imported
    -> tests/test_released_defects.py::test_every_module_can_be_imported
 9  a bi-encoder cannot be built
    -> tests/search/test_searcher.py::test_bi_encoder_is_served_as_the_baseline
10  only an editable install works
    -> tests/test_released_defects.py::test_every_folder_is_a_package
11  a shared encoder cannot be saved as safetensors
    -> tests/models/test_dual_encoder.py::test_own_format_needs_no_other_file
12  the attention's scale is not the paper's (the weights' it is)
    -> tests/models/test_parity.py::test_q_nets
13  mean pooling counts padding
    -> tests/models/test_dual_encoder.py::test_mean_pooling_counts_real_tokens_only
14  fewer documents than hits, in all or in the last block
    -> tests/test_released_defects.py::test_last_block_smaller_than_k
15  one hit fewer without the query's own document
    -> tests/search/test_main.py::test_remove_query_still_gives_all_hits
16  few documents end approximate search
    -> tests/graph/test_search.py::test_one_document_and_more_wanted_than_there_are
17  one query on a device ends training
    -> tests/test_released_defects.py::test_every_loss_gives_a_number_and_a_gradient
18  the default dtype is none that is known
    -> tests/test_released_defects.py::test_defaults_are_values_that_are_known
19  grade 1 is relevant on TREC Deep Learning
    -> tests/eval/test_measures.py::test_relevance_level_raises_all_binary_measures
20  documents must have a field "text"
    -> tests/test_released_defects.py::test_any_field_is_text
21  random numbers of the whole process are seeded anew
    -> tests/test_released_defects.py::test_nothing_seeds_the_world
22  contrastive examples want scores that they do not use
    -> tests/test_released_defects.py::test_contrastive_examples_need_no_scores
23  all documents, texts and vectors are held in memory
    -> tests/flat/test_index.py::test_vectors_are_mapped_not_copied
24  the graph is made of Python strings
    -> tests/graph/test_store.py::test_is_mapped_and_known_by_name
25  one query at a time
    -> tests/test_released_defects.py::test_queries_of_a_batch_share_a_pass
26  times include writing results and warming up
    -> tests/search/test_searcher.py::test_what_was_done_is_counted
27  runs have a form of their own
    -> tests/search/test_main.py::test_lines_are_pyserinis
28  without a GPU nothing runs as it is
    -> tests/test_device.py::test_auto_is_the_cpu_without_a_gpu
"""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import os
import pkgutil
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import hypensearch
from hypensearch.encode.__main__ import build_parser as encode_parser
from hypensearch.encode.query import build_parser as query_parser
from hypensearch.exhaustive.search import ExhaustiveSearch
from hypensearch.graph.builder import build_graph
from hypensearch.graph.options import GraphBuildOptions
from hypensearch.hits import Hit
from hypensearch.models import QNetConfig, load_model
from hypensearch.scoring.options import PRECISIONS
from hypensearch.search import HypencoderSearcher
from hypensearch.search.flags import build_parser as search_parser
from hypensearch.search.registry import option_defaults
from hypensearch.train.data import RecordFile
from hypensearch.train.losses import LOSSES, arrange
from tests import reference
from tests.commands import encode, refuse, search, succeed, write_corpus, write_topics
from tests.search.strategies import random_q_nets, random_vectors, save_index

TESTS = Path(__file__).parent


def table() -> dict[int, str]:
    """Where each defect is tested, by its number."""
    rows = re.findall(r"^ ?(\d+)  .*\n    -> (\S+)$", __doc__ or "", re.MULTILINE)
    return {int(number): where for number, where in rows}


def test_the_table_names_tests_that_exist() -> None:
    assert list(table()) == list(range(1, 29))
    for where in set(table().values()):
        path, _, name = where.partition("::")
        found = ast.parse((TESTS.parent / path).read_text(encoding="utf-8")).body
        assert name in {node.name for node in found if isinstance(node, ast.FunctionDef)}, where


def test_loading_needs_no_network(tiny_checkpoint: Path) -> None:
    """With the checkpoint's folder and its backbone's config there, no connection is even tried."""
    code = f"""
import socket, sys
def refuse(*args, **kwargs):
    print("tried", *args[:2]); raise OSError("no network here")
socket.socket.connect = socket.getaddrinfo = refuse
from hypensearch.models import load_model
print(load_model({str(tiny_checkpoint)!r}).dim)
"""
    environment = {**os.environ, "HF_HUB_OFFLINE": "0"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout) == (0, "32\n"), done.stderr


def test_every_folder_is_a_package() -> None:
    """A folder without ``__init__.py`` is not installed; the built package is what ``make test`` tests."""
    package = Path(hypensearch.__file__).parent
    folders = {path.parent for path in package.rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").is_file()] == []


@pytest.mark.parametrize(("num_docs", "block_rows", "k"), [(3, 8, 5), (17, 8, 5), (17, 4, 16), (1, 1, 1), (16, 15, 9)])
def test_last_block_smaller_than_k(tmp_path: Path, num_docs: int, block_rows: int, k: int) -> None:
    vectors, q_nets = random_vectors(num_docs, 4), random_q_nets(QNetConfig(dims=(4, 4, 1)), 2)
    save_index(tmp_path, vectors).close()
    found = HypencoderSearcher(tmp_path, block_rows=block_rows).batch_search(q_nets, ["a", "b"], k)
    docids = [f"d{row}" for row in range(num_docs)]
    for hits, scores in zip(found.values(), reference.score(q_nets, vectors), strict=True):
        assert [hit.docid for hit in hits] == [docid for docid, _ in reference.best(scores, docids, k)]


def test_defaults_are_values_that_are_known(tmp_path: Path) -> None:
    assert option_defaults()["precision"] in (None, *PRECISIONS)
    parameters = inspect.signature(HypencoderSearcher.__init__).parameters
    assert parameters["device"].default == "auto"
    groups = {part.prog.split()[-1]: part for part in encode_parser().groups}
    for parser in (search_parser(), query_parser(), groups["encoder"]):
        assert parser.get_default("device") == "auto"


def test_any_field_is_text(tiny_checkpoint: Path, tmp_path: Path) -> None:
    corpus, model = tmp_path / "corpus.jsonl", load_model(str(tiny_checkpoint))
    corpus.write_text(json.dumps({"_id": "1", "title": "stone", "body": "water"}) + "\n")
    groups = ["output", "--embeddings", tmp_path / "index", "encoder", "--encoder", tiny_checkpoint]
    assert "--fields names the right ones" in refuse("encode", "input", "--corpus", corpus, *groups)
    succeed("encode", "input", "--corpus", corpus, "--fields", "body", *groups)
    with HypencoderSearcher(tmp_path / "index", model) as searcher:
        stored = searcher.search("water", 1, return_vector=True)[1][0].vectors
    np.testing.assert_allclose(stored, model.encode_documents(["stone water"])[0], atol=1e-6)


def test_whole_numbers_are_ids(tiny_checkpoint: Path, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text('{"id": 7, "contents": "water"}\n{"id": 8, "contents": "stone"}\n')
    succeed("encode", *encode(corpus, tmp_path / "index", tiny_checkpoint))
    corpus.write_text('{"id": 7, "contents": "water"}\n{"id": "7", "contents": "stone"}\n')
    assert "corpus.jsonl:2: the id '7' was already given" in refuse(
        "encode", *encode(corpus, tmp_path / "new", tiny_checkpoint)
    )
    topics = write_topics(tmp_path / "topics.tsv", {"7": "water"})
    flags = ["--remove-query", "--hits", 1, "--output-format", "msmarco"]
    succeed("search", *search(tmp_path / "index", topics, tmp_path / "run", *flags))
    assert (tmp_path / "run").read_text() == "7\t8\t1\n"


def test_nothing_seeds_the_world(tiny_checkpoint: Path, tmp_path: Path) -> None:
    def next_numbers() -> tuple[float, float, float]:
        return random.random(), float(np.random.random()), float(torch.rand(()))

    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    wanted = next_numbers()
    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    corpus = write_corpus(tmp_path / "corpus.jsonl", {"a": "water", "b": "stone"})
    topics = write_topics(tmp_path / "topics.tsv", {"1": "water"})
    succeed("encode", *encode(corpus, tmp_path / "index", tiny_checkpoint))
    succeed("encode.query", "--topics", topics, "--encoder", tiny_checkpoint, "--output", tmp_path / "q")
    succeed("search", *search(tmp_path / "index", topics, tmp_path / "run"))
    assert next_numbers() == wanted


def test_queries_of_a_batch_share_a_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_index(tmp_path, random_vectors(40, 4)).close()
    searcher, passes = HypencoderSearcher(tmp_path), 0
    go_through = ExhaustiveSearch._go_through

    def counted(*args: Any) -> None:
        nonlocal passes
        passes += 1
        go_through(*args)

    monkeypatch.setattr(ExhaustiveSearch, "_go_through", counted)
    q_nets = random_q_nets(QNetConfig(dims=(4, 4, 1)), 9)
    found: dict[str, list[Hit]] = searcher.batch_search(q_nets, [str(number) for number in range(9)], 3)
    assert (passes, len(found)) == (1, 9)


@pytest.mark.parametrize("block_rows", [1, 4, 100])
def test_graphs_are_built_batch_by_batch(block_rows: int, tmp_path: Path) -> None:
    vectors = random_vectors(13, 4)
    with save_index(tmp_path, vectors) as index:
        graph = build_graph(index, torch.device("cpu"), GraphBuildOptions(degree=5, block_rows=block_rows))
        distances = ((vectors[:, None] - vectors) ** 2).sum(axis=2)
        np.fill_diagonal(distances, np.inf)
        np.testing.assert_array_equal(graph.neighbours, distances.argsort(axis=1)[:, :5])


@pytest.mark.parametrize("num_queries", [1, 3])
@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_gives_a_number_and_a_gradient(loss: str, num_queries: int) -> None:
    scores = torch.randn(num_queries, 2 * num_queries, requires_grad=True)
    keys = torch.arange(2 * num_queries).view(num_queries, 2)
    teacher = torch.randn(num_queries, 2)
    valid, guide = torch.ones(num_queries, 2, dtype=torch.bool), torch.randn(num_queries, 2 * num_queries)
    value = LOSSES[loss](arrange(scores, keys, valid, 0, teacher, guide))
    value.backward()
    assert torch.isfinite(value)
    assert scores.grad is not None
    assert torch.isfinite(scores.grad).all()


def test_every_module_can_be_imported() -> None:
    for module in pkgutil.walk_packages(hypensearch.__path__, "hypensearch."):
        if not re.search(r"__main__$|pyserini|lucene|\.kernels|pgvector|milvus|adapters", module.name):  # need more
            importlib.import_module(module.name)


def test_contrastive_examples_need_no_scores(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text('{"query": "q", "positive": "p", "negative": "n"}\n')
    assert len(RecordFile(tmp_path / "train.jsonl", least_negatives=1)) == 1
