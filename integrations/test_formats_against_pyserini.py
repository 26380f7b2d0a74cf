# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Our topics, corpora and runs against Pyserini's own readers and writers, on the same files and hits.

Needs Pyserini and a JDK that fits it; nothing is downloaded.
"""

import copy
import importlib
import importlib.util
import json
import random
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hypensearch.errors import HypensearchError
from hypensearch.formats.corpus import TextRule, read_corpus
from hypensearch.formats.run import open_run_writer, separate_ties
from hypensearch.formats.topics import read_kilt_topics, read_topics
from hypensearch.hits import Hit, in_rank_order
from hypensearch.pyserini import bridge as pyserini_bridge
from hypensearch.pyserini.java import find_jdk
from hypensearch.search.flags import build_parser
from hypensearch.search.topics_to_run import write_run
from hypensearch.topics import load_topics
from tests.formats.topic_files import CACM, READ_BY_BOTH, READ_BY_US, TREC_LAYOUTS, TopicFile, write

Read = Callable[[Path, str], list[tuple[Any, Any]]]


@pytest.fixture(scope="module")
def pyserini() -> SimpleNamespace:
    """Pyserini's modules, once its JVM runs."""
    try:
        pyserini_bridge.use_java()
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
    assert list(read_topics(path, file.topics_format).items()) == file.topics
    assert theirs == file.pyserini_topics


@pytest.mark.parametrize("file", READ_BY_US, ids=lambda file: file.name)
def test_what_only_we_read_fails_in_pyserini(tmp_path: Path, file: TopicFile, read_with_pyserini: Read) -> None:
    path = write(tmp_path, file.name, file.content)
    try:
        theirs = read_with_pyserini(path, file.topics_format)
    except Exception:
        return
    # Pyserini reads these with less of the query or of the topics; a later one may have learnt them.
    topics = [(str(key), text) for key, text in theirs]
    assert loses_something(file) or topics == file.pyserini_topics


def loses_something(file: TopicFile) -> bool:
    """Tell whether Pyserini is known to read other queries than the file holds, or to make one topic of two."""
    return file in TREC_LAYOUTS or file.name in ("both.tsv", "topics.301", "topics.robust04.txt", "lines.json")


def as_pyserini_prints(topics: list[tuple[str, str]], name: str) -> list[tuple[str, str]]:
    """Give ids their numbers, as Pyserini does."""
    is_tsv = name.endswith((".tsv", ".txt.gz")) and "beir" not in name
    if is_tsv and all(re.fullmatch(r"[+-]?[0-9]{1,9}", topic) for topic, _ in topics):
        return [(str(int(topic)), text) for topic, text in topics]
    return [(str(int(topic)) if topic.isdigit() else topic, text) for topic, text in topics]


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
        ("cacm", lambda rng: lines_dropped(CACM, rng)),
    ],
    ids=["tsv", "beir", "gz", "jsonl", "cacm"],
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
        if any(text is None for _, text in theirs):
            continue  # a field that it does not look for
        if ours is None:
            assert is_told_of_a_loss(reason), f"seed {seed}: Pyserini reads {theirs}, we say {reason}"
        elif len(printed := as_pyserini_prints(ours, name)) == len(dict(printed)):
            assert printed == theirs, f"seed {seed}"
            agreed += 1
    assert agreed > 30


def is_told_of_a_loss(reason: str) -> bool:
    """Tell whether an error is about what Pyserini takes in silence, but wrongly."""
    silent = (
        "both printed as", "was used already", "empty query", "holds white space", "the id is empty", "a topic begins",
        "the topic that begins here", "tabs", "an id (a string", "the query (a string", "holds no topics",
    )  # fmt: skip
    return any(words in reason for words in silent)


# -- corpus


def test_documents_are_those_of_pyserini(tmp_path: Path, pyserini: SimpleNamespace) -> None:
    both = ("title", "text")
    corpora: list[tuple[list[dict[str, Any]], dict[str, Any]]] = [
        ([{"id": i, "contents": f" text {i} é\u2028x \n"} for i in range(5)], {}),
        ([{"_id": "a", "text": " x\ny "}, {"docid": "b", "contents": "z"}], {}),
        ([{"id": "a", "pmid": 7, "body": "x"}], {"fields": ("body",), "docid_field": "pmid"}),
        ([{"id": "a", "contents": "t|x|"}, {"id": "b", "contents": "t|"}], {"fields": both, "delimiter": "|"}),
        ([{"id": "a", "title": "t", "text": "x"}, {"id": "b", "title": "", "text": "y"}], {"fields": both}),
    ]
    for records, flags in corpora:
        path = tmp_path / "corpus.jsonl"
        path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), "utf-8")
        (batch,) = pyserini.encode.JsonlCollectionIterator(str(path), **flags)(batch_size=10)
        parts = zip(*(batch[field] for field in flags.get("fields", ["text"])), strict=True)
        theirs = [(docid, " ".join(filter(None, part)).strip()) for docid, part in zip(batch["id"], parts, strict=True)]
        assert [(document.docid, document.text) for document in read_corpus(path, TextRule(**flags))] == theirs


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


#: Ids with leading zeros are not among them: Pyserini makes numbers of those.
IDS = {"int": [1, 20, 3], "str": ["q1", "b", "x20"]}
TOPIC_IDS = sorted(str(topic) for ids in IDS.values() for topic in ids)


def topics_file(folder: Path, kind: str, output_format: str) -> Path:
    """Topics of a kind of ids; a text is an id's place, by which the hits are known."""
    if output_format == "kilt":
        records = [{"id": topic, "input": str(place)} for place, topic in enumerate(IDS[kind])]
        path, text = folder / "topics.jsonl", "".join(json.dumps(record) + "\n" for record in records)
    else:
        path = folder / "topics.tsv"
        text = "".join(f"{topic}\t{place}\n" for place, topic in enumerate(IDS[kind]))
    path.write_text(text)
    return path


def found_for(text: str) -> list[Hit]:
    """Hits of which some are passages of a document, and one is a topic's id; no two scores are equal."""
    chance = random.Random(text)
    docids = ["d1#0", "d1#1", "d2#0", "d3", "é#7", *TOPIC_IDS]
    return [Hit(docid, 9.5 - 1.25 * rank) for rank, docid in enumerate(chance.sample(docids, len(docids)))]


class Canned:
    """What Pyserini's command takes for its searcher, and for the encoder: the same hits that ours writes."""

    def __init__(self, *args: Any, **options: Any) -> None:
        pass

    def search(self, query: str, k: int, **options: Any) -> list[Hit]:
        return found_for(query)[:k]

    def batch_search(self, queries: list[str], ids: list[str], k: int, **options: Any) -> dict[str, list[Hit]]:
        return {topic: self.search(query, k) for topic, query in zip(ids, queries, strict=True)}


@pytest.mark.parametrize("kind", IDS)
@pytest.mark.parametrize("remove_query", [False, True], ids=["all", "remove-query"])
@pytest.mark.parametrize("max_passage", [False, True], ids=["passages", "max-passage"])
@pytest.mark.parametrize("output_format", ["trec", "msmarco", "kilt"])
def test_the_commands_write_the_same_run(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    pyserini: SimpleNamespace,
    output_format: str,
    max_passage: bool,
    remove_query: bool,
    kind: str,
) -> None:
    """Pyserini's search command and ours, from topics to a run's bytes, with the same hits in between."""
    if importlib.util.find_spec("faiss") is None:
        pytest.skip("Pyserini's search command needs faiss: pip install faiss-cpu")
    topics = topics_file(tmp_path, kind, output_format)
    flags = ["--output-format", output_format, *(["--topics-format", "kilt"] if output_format == "kilt" else [])]
    flags += ["--max-passage", "--max-passage-hits", "4"] if max_passage else []
    # With --remove-query we look for one hit more, so that as many are left; here there are no more.
    flags += ["--remove-query"] if remove_query else ["--hits", "9"]

    theirs = tmp_path / "theirs"
    for module in ("pyserini.search.faiss", "pyserini.search.faiss._searcher"):
        monkeypatch.setattr(importlib.import_module(module), "FaissSearcher", Canned)
    monkeypatch.setitem(pyserini.encode.query_encoder_class_map, "hypencoder", Canned)
    # In batches Pyserini compares ids as strings, as we always do; but its kilt writer knows ids as they are.
    batches = [] if output_format == "kilt" else ["--batch-size", "2"]
    line = ["--index", str(tmp_path), "--encoder", "hypencoder", "--topics", str(topics), "--output", str(theirs)]
    pyserini_bridge.run_module("search.faiss", [*line, *flags, *batches])
    if output_format == "kilt" and kind == "int":
        flags = [flag for flag in flags if flag != "--remove-query"]  # Pyserini compares a number with a docid

    ours = tmp_path / "ours"
    line = ["--index", "index", "--topics", str(topics), "--output", str(ours), "--run-tag", "Faiss"]
    args = build_parser().parse_args([*line, *flags])
    asked = load_topics(args.topics, args.topics_format)
    write_run(args, [(topic, found_for(text)[: args.hits]) for topic, text in asked.items()])

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
