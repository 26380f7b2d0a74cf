# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""A searcher in processes that are forked, or get a copy of it."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from hypensearch.errors import HypensearchError
from hypensearch.models import load_model
from hypensearch.search import HypencoderSearcher
from tests.commands import encode, search, succeed, write_corpus

TEXTS = {f"d{n}": f"water and stone number {n}" for n in range(40)}

FORKED = """
import multiprocessing, sys
import torch
from torch.utils.data import DataLoader
from hypensearch.search import HypencoderSearcher

class Hits(torch.utils.data.Dataset):
    def __len__(self): return 4
    def __getitem__(self, place): return search()

def search(_=0):
    return searcher.search("water", k=3)

def search_in_children():
    with multiprocessing.get_context("fork").Pool(2) as pool:
        return pool.map_async(search, range(4)).get(timeout=100)

def search_in_workers():
    return list(DataLoader(Hits(), batch_size=None, collate_fn=list, num_workers=1, timeout=100))

searcher = HypencoderSearcher(sys.argv[1])
searcher.query_encoder
torch.randn(512, 512) @ torch.randn(512, 512)  # OpenMP's threads are there now
loaded = search_in_children()
expected = search()
assert loaded == [expected] * 4
assert search_in_children() == [expected] * 4
assert search_in_workers() == [expected] * 4
"""


@pytest.fixture(scope="module")
def index(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("processes")
    corpus = write_corpus(folder / "corpus.jsonl", TEXTS)
    succeed("encode", *encode(corpus, folder / "index", tiny_checkpoint))
    return folder / "index"


def test_forked_children_search(index: Path) -> None:
    """Of a searcher that is loaded, of one that has searched, and as DataLoader's workers; others in integrations/."""
    threads = {**os.environ, "OMP_NUM_THREADS": "2"}
    subprocess.run([sys.executable, "-c", FORKED, index], env=threads, check=True, timeout=300)


def test_a_copy_opens_the_index_again(index: Path) -> None:
    with HypencoderSearcher(index, searcher="exhaustive", max_length=32) as searcher:
        copy = pickle.loads(pickle.dumps(searcher))
        assert copy.search("water", k=3) == searcher.search("water", k=3)
        assert (copy.max_length, copy.options, copy.index is searcher.index) == (32, searcher.options, False)


def test_a_copy_loads_the_model_by_its_name(index: Path, tiny_checkpoint: Path) -> None:
    model = load_model(str(tiny_checkpoint))
    with HypencoderSearcher(index, model) as searcher:
        copy = pickle.loads(pickle.dumps(searcher))
        assert copy.query_encoder is not model
        assert copy.search("water", k=3) == searcher.search("water", k=3)
        model.name = ""
        with pytest.raises(HypensearchError, match="another process cannot load it"):
            pickle.dumps(searcher)


def test_names_that_are_not_utf_8(tiny_checkpoint: Path, tmp_path: Path) -> None:
    """Of corpus, index, topics and run; the manifest is JSON all the same."""
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    corpus = write_corpus(folder / os.fsdecode(b"d\xe9.jsonl"), TEXTS)
    topics = folder / os.fsdecode(b"t\xe9.tsv")
    topics.write_text("1\twater\n")
    succeed("encode", *encode(corpus, folder / "index", tiny_checkpoint))
    succeed("search", *search(folder / "index", topics, folder / os.fsdecode(b"r\xe9.txt"), "--hits", 3))
    (folder / "index" / "manifest.json").read_bytes().decode("utf-8")
    with HypencoderSearcher(folder / "index") as searcher:
        hits = searcher.search("water", k=1)
        assert searcher.doc(hits[0].docid).contents() == TEXTS[hits[0].docid]  # type: ignore[union-attr]
