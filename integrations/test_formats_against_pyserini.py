# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Our topics, corpora and runs against Pyserini's own readers and writers, on the same files and hits.

Needs Pyserini and a JDK that fits it; nothing is downloaded.
"""

import copy
import importlib
import json
import random
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hypensearch import pyserini_bridge
from hypensearch.errors import HypensearchError
from hypensearch.formats.corpus import read_corpus
from hypensearch.formats.run import open_run_writer, separate_ties
from hypensearch.formats.topics import read_kilt_topics, read_topics
from hypensearch.hits import Hit, in_rank_order
from hypensearch.java import find_jdk
from tests.formats.topic_files import CACM, READ_BY_BOTH, READ_BY_US, TREC, TopicFile, write

Read = Callable[[Path, str], list[tuple[Any, Any]]]


@pytest.fixture(scope="module")
def pyserini() -> SimpleNamespace:
    """Pyserini's modules, once its JVM runs."""
    try:
        pyserini_bridge.prepare()
    except HypensearchError as error:
        pytest.skip(f"Pyserini cannot be imported here: {error}")
    names = ("query_iterator", "output_writer", "encode")
    return SimpleNamespace(**{name: importlib.import_module(f"pyserini.{name}") for name in names})


@pytest.fixture(scope="module")
def read_with_pyserini(pyserini: SimpleNamespace) -> Read:
    def read(path: Path, topics_format: str = "default") -> list[tuple[Any, Any]]:
        known_format = pyserini.query_iterator.TopicsFormat(topics_format)
        topics = list(pyserini.query_iterator.get_query_iterator(str(path), known_format))
        return [(key, text["query"] if isinstance(text, dict) else text) for key, text in topics]

    return read


# -- topics


@pytest.mark.parametrize("file", READ_BY_BOTH, ids=lambda file: file.name)
def test_topics_are_those_of_pyserini(tmp_path: Path, file: TopicFile, read_with_pyserini: Read) -> None:
    path = write(tmp_path, file.name, file.content)
    theirs = [(str(key), text) for key, text in read_with_pyserini(path, file.topics_format)]
    assert list(read_topics(path, file.topics_format).items()) == theirs == file.topics


@pytest.mark.parametrize("file", READ_BY_US, ids=lambda file: file.name)
def test_what_only_we_read_fails_in_pyserini(tmp_path: Path, file: TopicFile, read_with_pyserini: Read) -> None:
    path = write(tmp_path, file.name, file.content)
    try:
        theirs = read_with_pyserini(path, file.topics_format)
    except Exception:
        return
    # A later Pyserini may have learnt it; then the answer has to be ours.
    assert [(str(key), text) for key, text in theirs] == file.topics


def tsv(rng: random.Random) -> str:
    ids = ["1", "02", "002", "10", "-3", "+4", "x", "x 1", "4294967296", "\u0663", "", "1 "]
    texts = ["a", " b ", "c\td", "\u00a0e", "", "f\u2028g", '"h', "i\x01"]
    rows = [f"{rng.choice(ids[: rng.choice([4, 6, 12])])}\t{rng.choice(texts)}" for _ in range(rng.randint(1, 4))]
    return rng.choice(["\n", "\r\n", "\r"]).join(rows) + rng.choice(["", "\n", "\n\n"])


def jsonl(rng: random.Random) -> str:
    ids = ["1", "01", 1, 12, "x", "y", None, 1.5, ""]
    records = [
        {rng.choice(["id", "id", "qid", "_id"]): rng.choice(ids), rng.choice(["title", "title", "text"]): text}
        for text in rng.choices(["a", " b ", "\u00e9\U0001f600", 5, None], [4, 4, 4, 1, 1], k=rng.randint(1, 3))
    ]
    return "\n".join(json.dumps(record, ensure_ascii=rng.random() < 0.5) for record in records)


def lines_dropped(text: str, rng: random.Random) -> str:
    lines = text.splitlines(keepends=True)
    kept = [line for line in lines if rng.random() > rng.choice([0.0, 0.02, 0.1])]
    return "".join(kept)


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("a.tsv", tsv),
        ("beir.tsv", tsv),
        ("a.txt.gz", tsv),
        ("a.jsonl", jsonl),
        ("a.trec", lambda rng: lines_dropped(TREC, rng)),
        ("cacm", lambda rng: lines_dropped(CACM, rng)),
    ],
    ids=["tsv", "beir", "gz", "jsonl", "trec", "cacm"],
)
def test_random_topics_are_those_of_pyserini_or_an_error(
    tmp_path: Path, name: str, make: Callable[[random.Random], str], read_with_pyserini: Read
) -> None:
    agreed = 0
    for seed in range(300):
        path = write(tmp_path, name, make(random.Random(seed)))
        try:
            ours: list[tuple[str, str]] | None = list(read_topics(path).items())
        except HypensearchError as error:
            ours, reason = None, str(error)
        try:
            theirs = [(str(key), text) for key, text in read_with_pyserini(path, "default")]
        except Exception:
            continue
        if ours is None:
            assert is_told_of_a_loss(reason), f"seed {seed}: Pyserini reads {theirs}, we say {reason}"
        else:
            assert ours == theirs, f"seed {seed}"
            agreed += 1
    assert agreed > 30


def is_told_of_a_loss(reason: str) -> bool:
    """Tell whether an error is about what Pyserini takes in silence, but wrongly."""
    silent = (
        "both printed as", "was used already", "empty query", "holds white space", "the id is empty", "a topic begins",
        "the topic that begins here", "an id (a string", "the query (a string", "holds no topics",
    )  # fmt: skip
    return any(words in reason for words in silent)


# -- corpus


def test_documents_are_those_of_pyserini(tmp_path: Path, pyserini: SimpleNamespace) -> None:
    both = ["title", "text"]
    corpora: list[tuple[list[dict[str, Any]], dict[str, Any]]] = [
        ([{"id": i, "contents": f" text {i} é\u2028x \n"} for i in range(5)], {}),
        ([{"_id": "a", "text": " x\ny "}, {"docid": "b", "contents": "z"}], {}),
        ([{"id": "a", "pmid": 7, "body": "x"}], {"fields": ["body"], "docid_field": "pmid"}),
        ([{"id": "a", "contents": "t|x|"}, {"id": "b", "contents": "t|"}], {"fields": both, "delimiter": "|"}),
        ([{"id": "a", "title": "t", "text": "x"}, {"id": "b", "title": "", "text": "y"}], {"fields": both}),
    ]
    for records, flags in corpora:
        path = tmp_path / "corpus.jsonl"
        path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), "utf-8")
        (batch,) = pyserini.encode.JsonlCollectionIterator(str(path), **flags)(batch_size=10)
        parts = zip(*(batch[field] for field in flags.get("fields", ["text"])), strict=True)
        theirs = [(docid, " ".join(filter(None, part)).strip()) for docid, part in zip(batch["id"], parts, strict=True)]
        assert [(document.docid, document.text) for document in read_corpus(path, **flags)] == theirs


# -- runs


def hits_of(rng: random.Random) -> list[Hit]:
    docids = rng.sample(
        [f"{space}{d}{p}{space}" for d in "abcé" for p in ("", "#0", "#1", "#1#2") for space in ("", " ")], 12
    )
    unique = {docid.strip(): docid for docid in docids}.values()
    return [Hit(docid, rng.choice([1.0, 2.5, rng.gauss(0, 1), np.float32(rng.gauss(0, 1e4))])) for docid in unique]


@pytest.mark.parametrize("output_format", ["trec", "msmarco", "kilt"])
@pytest.mark.parametrize("passages", [
    {}, {"max_hits": 3}, {"use_max_passage": True, "max_passage_delimiter": "#"},
    {"use_max_passage": True, "max_passage_delimiter": "#", "max_passage_hits": 2, "max_hits": 1},
    {"use_max_passage": True}, {"max_passage_delimiter": "#", "max_passage_hits": 2},
])  # fmt: skip
@pytest.mark.parametrize("ids", [[1, 20, 3], ["q1", "b", "010"]], ids=["int", "str"])
def test_runs_are_written_byte_for_byte(
    tmp_path: Path, output_format: str, passages: dict[str, Any], ids: list[Any], pyserini: SimpleNamespace
) -> None:
    rng = random.Random(str((output_format, passages, ids)))
    run = {topic: hits_of(rng) for topic in ids}
    if passages.get("max_passage_delimiter") and passages.get("use_max_passage"):
        run = {topic: [Hit(hit.docid.strip(), hit.score) for hit in hits] for topic, hits in run.items()}
    datapoints = {topic: {"id": topic, "input": "é", "output": [1], "meta": {"x": 1.5}} for topic in ids}
    (tmp_path / "kilt").write_text("".join(json.dumps(datapoint) + "\n" for datapoint in datapoints.values()))

    theirs, ours = tmp_path / "new" / "theirs", tmp_path / "new" / "ours"
    known_format = pyserini.output_writer.OutputFormat(output_format)
    with pyserini.output_writer.get_output_writer(
        str(theirs), known_format, tag="t", topics=copy.deepcopy(datapoints), **passages
    ) as writer:
        for topic, hits in run.items():
            writer.write(topic, hits)
    topics = read_kilt_topics(tmp_path / "kilt")
    with open_run_writer(ours, output_format, tag="t", topics=topics, **passages) as our_writer:
        for topic, hits in run.items():
            our_writer.write(str(topic), hits)
    assert ours.read_bytes() == theirs.read_bytes() != b""


def test_our_order_holds_under_the_trec_eval_of_anserini(tmp_path: Path, pyserini: SimpleNamespace) -> None:
    levels = (1e7, 1e5, 300.0, 16.0, 15.9999999, 1.0, 1e-7, 0.0, -1e-7, -5.0, -7e4)
    hits = separate_ties(in_rank_order(Hit(f"d{level}-{i}", level) for level in levels for i in range(11)))
    with open_run_writer(tmp_path / "run") as writer:
        for rank in range(1, len(hits) + 1):
            writer.write(f"q{rank}", hits)
    (tmp_path / "qrels").write_text("".join(f"q{rank} 0 {hit.docid} 1\n" for rank, hit in enumerate(hits, 1)))
    java = [find_jdk().home / "bin" / "java", "-cp", pyserini_bridge.anserini_jar(), "trec_eval"]
    files = [tmp_path / "qrels", tmp_path / "run"]
    done = subprocess.run([*java, "-q", "-m", "recip_rank", *files], capture_output=True, text=True, check=True)
    measured = {line.split()[1]: line.split()[2] for line in done.stdout.splitlines() if line.startswith("recip_rank")}
    del measured["all"]
    assert measured == {f"q{rank}": f"{1 / rank:.4f}" for rank in range(1, len(hits) + 1)}
