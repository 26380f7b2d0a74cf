# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from hypensearch.errors import HypensearchError
from hypensearch.flat import FlatIndex
from hypensearch.index.join import join_indexes
from hypensearch.surrogate.builder import typical_queries
from tests.commands import encode, succeed, write_corpus
from tests.search.strategies import random_vectors, save_index

TEXTS = {
    f"d{n}": f"the {n}th document says little of note, and what it says is said in more than ten words"
    for n in range(30)
}


def index_of(folder: Path, checkpoint: Path, *, packed: bool, texts: dict[str, str]) -> FlatIndex:
    corpus = write_corpus(folder / "corpus.jsonl", texts)
    if packed:
        content = corpus.read_bytes()
        corpus.unlink()
        corpus = corpus.with_suffix(".jsonl.gz")
        corpus.write_bytes(gzip.compress(content))
    succeed("encode", *encode(corpus, folder / "index", checkpoint))
    return FlatIndex.open(folder / "index")


@pytest.fixture(params=[False, True], ids=["plain", "gzipped"])
def index(request: pytest.FixtureRequest, tmp_path: Path, tiny_checkpoint: Path) -> FlatIndex:
    return index_of(tmp_path, tiny_checkpoint, packed=request.param, texts=TEXTS)


def test_documents_come_in_the_order_asked_for(index: FlatIndex) -> None:
    rows = [17, 3, 29, 0, 3]
    found = index.documents(rows)
    assert [document.docid() for document in found] == [index.docid(row) for row in rows]
    assert [document.contents() for document in found] == [TEXTS[index.docid(row)] for row in rows]
    assert index.documents([]) == []


def test_queries_are_first_words(index: FlatIndex) -> None:
    queries = typical_queries(index, 8)
    assert len(queries) == 8
    assert all(text.startswith("the ") and len(text.split()) == 10 for text in queries)
    assert len(typical_queries(index, 100)) == 30


def test_shards_and_two_files(tmp_path: Path, tiny_checkpoint: Path) -> None:
    names = list(TEXTS)
    for number, packed in enumerate((True, False)):
        part = {name: TEXTS[name] for name in names[number::2]}
        (tmp_path / str(number)).mkdir()
        index_of(tmp_path / str(number), tiny_checkpoint, packed=packed, texts=part)
    join_indexes([tmp_path / "0" / "index", tmp_path / "1" / "index"], tmp_path / "joined")
    with FlatIndex.open(tmp_path / "joined") as joined:
        rows = np.random.default_rng(0).permutation(30)
        assert [d.contents() for d in joined.documents(rows)] == [TEXTS[joined.docid(int(row))] for row in rows]


def test_codes_of_a_gzipped_corpus_are_made_without_topics(tmp_path: Path, tiny_checkpoint: Path) -> None:
    index_of(tmp_path, tiny_checkpoint, packed=True, texts=TEXTS)
    assert "codes of 30 documents" in succeed("index", "--index", tmp_path / "index", "--surrogate")


def test_no_text_to_be_had(tmp_path: Path) -> None:
    with pytest.raises(HypensearchError, match="knows no text.*or give typical queries with --topics"):
        typical_queries(save_index(tmp_path / "index", random_vectors(5, 4)), 3)
