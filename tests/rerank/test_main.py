# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The command, held against exhaustive search of the same documents."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from hypensearch.flat import FlatIndex
from hypensearch.formats.corpus import TextRule
from hypensearch.formats.run import open_run_writer, read_run
from hypensearch.graph.store import GraphIndex
from hypensearch.hits import Hit, in_rank_order
from hypensearch.models import load_model
from hypensearch.rerank import Reranker, RerankOptions
from hypensearch.rerank.texts import CorpusTexts
from hypensearch.search import HypencoderSearcher
from tests.commands import content, encode, piped, refuse, succeed, write_corpus, write_topics
from tests.rerank import reference

NUM_DOCS = 40
WORDS = ["water", "stone", "river", "storm", "north", "early", "church", "satellite"]
TEXTS = {f"D{n}": f"{WORDS[n % 8]} and {WORDS[n * 3 % 8]} number {n}" for n in range(NUM_DOCS - 1)}
TEXTS["12"] = "storm over the north, again"
TOPICS = {"7": "water", "12": "storm over the north", "100": "how many churches", "3": "river"}
CANDIDATES = 12


@dataclass(frozen=True)
class Collection:
    """A small corpus, encoded, with a graph, its topics and a first stage's run that is not in rank order."""

    folder: Path
    corpus: Path
    index: Path
    topics: Path
    run: Path
    model: Path

    def rerank(self, *more: object, source: Sequence[object] | None = None) -> dict[str, list[Hit]]:
        """Rerank and read the new run."""
        output = self.folder / "reranked.txt"
        source = ["--index", self.index] if source is None else source
        argv = ["--run", self.run, "--topics", self.topics, *source, "--output", output]
        succeed("rerank", *argv, *more)
        return read_run(output)

    def refuse(self, *more: object, source: Sequence[object] | None = None, **given: object) -> str:
        """Rerank in a way that is refused; gives the error."""
        output = self.folder / "refused.txt"
        source = ["--index", self.index] if source is None else source
        run, topics = given.get("run", self.run), given.get("topics", self.topics)
        said = refuse("rerank", "--run", run, "--topics", topics, *source, "--output", output, *more)
        assert not output.exists()
        return said


@pytest.fixture(scope="module")
def collection(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Collection:
    folder = tmp_path_factory.mktemp("rerank")
    corpus = write_corpus(folder / "corpus.jsonl", TEXTS)
    succeed("encode", *encode(corpus, folder / "index", tiny_checkpoint))
    succeed("index", "--index", folder / "index", "--degree", 5)
    chance = np.random.default_rng(7)
    hits = {
        topic: [
            (docid, score)
            for docid, score in zip(
                chance.permutation(list(TEXTS))[:CANDIDATES], chance.integers(0, 9, CANDIDATES) / 2, strict=True
            )
        ]
        for topic in TOPICS
    }
    hits["12"][3] = ("12", 2.25)
    lines = [f"{topic} Q0 {docid} 1 {score} bm25\n" for topic, found in hits.items() for docid, score in found]
    (folder / "run.txt").write_text("".join(lines))
    topics = write_topics(folder / "topics.tsv", TOPICS)
    return Collection(folder, corpus, folder / "index", topics, folder / "run.txt", tiny_checkpoint)


@pytest.fixture(scope="module")
def exact(collection: Collection) -> dict[str, dict[str, float]]:
    """The score of every document for every topic."""
    with HypencoderSearcher(collection.index) as searcher:
        return {
            topic: {hit.docid: hit.score for hit in searcher.search(query, NUM_DOCS)} for topic, query in TOPICS.items()
        }


def first_stage(collection: Collection) -> dict[str, list[Hit]]:
    """Candidates, best first; of equal ones, the one that comes first in the file."""
    return {topic: sorted(hits, key=lambda hit: -hit.score) for topic, hits in read_run(collection.run).items()}


def ranked(scores: Mapping[str, float]) -> list[str]:
    return [hit.docid for hit in in_rank_order(Hit(docid, score) for docid, score in scores.items())]


def docids(run: Mapping[str, Sequence[Hit]]) -> dict[str, list[str]]:
    return {topic: [hit.docid for hit in hits] for topic, hits in run.items()}


@pytest.mark.parametrize("depth", [1000, 5])
def test_scores_are_those_of_exhaustive_search(
    collection: Collection, exact: dict[str, dict[str, float]], depth: int
) -> None:
    found = collection.rerank("--depth", depth)
    assert list(found) == ["3", "7", "12", "100"]
    for topic, candidates in first_stage(collection).items():
        wanted = {hit.docid: exact[topic][hit.docid] for hit in candidates[:depth]}
        assert [hit.docid for hit in found[topic]] == ranked(wanted)
        assert [hit.score for hit in found[topic]] == pytest.approx(sorted(wanted.values(), reverse=True), abs=2e-6)


def test_neither_batches_nor_threads_nor_stored_queries_change_a_byte(collection: Collection, tmp_path: Path) -> None:
    collection.rerank()
    plain = (collection.folder / "reranked.txt").read_bytes()
    argv = ["--topics", collection.topics, "--encoder", collection.model, "--output"]
    succeed("encode.query", *argv, tmp_path / "q")
    succeed("encode.query", *argv, tmp_path / "states", "--compact")
    stored = [["--encoded-queries", tmp_path / name, "--batch-size", 2] for name in ("q", "states")]
    for flags in (["--batch-size", 3], ["--threads", 2], *stored):
        collection.rerank(*flags)
        assert (collection.folder / "reranked.txt").read_bytes() == plain, flags


@pytest.mark.parametrize("normalization", ["min-max", "z", "none"])
def test_interpolation(collection: Collection, exact: dict[str, dict[str, float]], normalization: str) -> None:
    found = collection.rerank("--alpha", 0.25, "--normalization", normalization, "--depth", 8)
    for topic, candidates in first_stage(collection).items():
        first = {hit.docid: hit.score for hit in candidates[:8]}
        second = {docid: exact[topic][docid] for docid in first}
        wanted = reference.interpolate(first, second, 0.25, normalization)
        assert {hit.docid: hit.score for hit in found[topic]} == pytest.approx(wanted, abs=1e-5)
        assert [hit.docid for hit in found[topic]] == ranked(wanted)


def test_alpha_of_one_is_the_first_stage(collection: Collection) -> None:
    found = docids(collection.rerank("--alpha", 1))
    for topic, candidates in first_stage(collection).items():
        assert found[topic] == ranked({hit.docid: hit.score for hit in candidates})


def test_gar_goes_along_the_graph(collection: Collection, exact: dict[str, dict[str, float]]) -> None:
    flags = ["--gar", "--gar-batch", 3, "--gar-neighbours", 4, "--depth", 15]
    found = collection.rerank(*flags)
    with FlatIndex.open(collection.index) as index:
        graph, names = GraphIndex.open(index), list(index.docids())
        for topic, candidates in first_stage(collection).items():
            rows = reference.adaptive(
                [names.index(hit.docid) for hit in candidates],
                [graph.neighbours_of(row)[:4].tolist() for row in range(NUM_DOCS)],
                [exact[topic][docid] for docid in names],
                budget=15,
                batch=3,
            )
            assert len(rows) == 15
            assert [hit.docid for hit in found[topic]] == ranked({names[row]: exact[topic][names[row]] for row in rows})
            assert {names[row] for row in rows} - {hit.docid for hit in candidates}
    mixed = collection.rerank(*flags, "--alpha", 0.5)
    assert {topic: set(hits) for topic, hits in docids(mixed).items()} == {t: set(h) for t, h in docids(found).items()}


def test_backfill_keeps_the_rest_in_its_order(collection: Collection) -> None:
    short, filled = collection.rerank("--depth", 4), collection.rerank("--depth", 4, "--backfill")
    for topic, candidates in first_stage(collection).items():
        rest = [hit.docid for hit in candidates[4:]]
        assert docids(filled)[topic] == docids(short)[topic] + rest


def test_documents_that_are_missing(collection: Collection, tmp_path: Path) -> None:
    strange = tmp_path / "run.txt"
    strange.write_text(collection.run.read_text() + "7 Q0 nowhere 1 99 bm25\n3 Q0 elsewhere 1 98 bm25\n")
    other = Collection(**{**collection.__dict__, "run": strange})
    said = other.refuse()
    assert "2 candidates of 2 topics are not in" in said
    assert "'elsewhere' of topic '3' for one: was the run made of another corpus?" in said
    plain = docids(collection.rerank())
    assert docids(other.rerank("--missing", "drop")) == plain
    kept = docids(other.rerank("--missing", "keep"))
    assert kept == {**plain, "7": [*plain["7"], "nowhere"], "3": [*plain["3"], "elsewhere"]}
    assert "argument --missing: invalid choice: 'maybe'" in other.refuse("--missing", "maybe")


def test_only_missing_documents(collection: Collection, tmp_path: Path) -> None:
    (tmp_path / "run.txt").write_text("7 Q0 nowhere 1 9 bm25\n7 Q0 elsewhere 2 8 bm25\n")
    other = Collection(**{**collection.__dict__, "run": tmp_path / "run.txt"})
    assert docids(other.rerank("--missing", "keep", "--alpha", 0.5)) == {"7": ["nowhere", "elsewhere"]}


def test_forms_of_runs(collection: Collection, tmp_path: Path) -> None:
    """MS MARCO's form is read and written, and its ranks are the first stage's order."""
    with open_run_writer(tmp_path / "run.tsv", "msmarco") as writer:
        for topic, hits in first_stage(collection).items():
            writer.write(topic, hits)
    other = Collection(**{**collection.__dict__, "run": tmp_path / "run.tsv"})
    assert docids(other.rerank("--depth", 5)) == docids(collection.rerank("--depth", 5))
    marco = other.rerank("--output-format", "msmarco", "--hits", 3)
    assert docids(marco) == {topic: hits[:3] for topic, hits in docids(collection.rerank()).items()}


def test_flags_of_the_run(collection: Collection) -> None:
    plain = docids(collection.rerank())
    assert docids(collection.rerank("--hits", 2)) == {topic: hits[:2] for topic, hits in plain.items()}
    removed = docids(collection.rerank("--remove-query"))
    assert removed == {topic: [docid for docid in hits if docid != topic] for topic, hits in plain.items()}
    assert removed != plain


def test_topics_and_run_need_not_be_the_same(collection: Collection, tmp_path: Path) -> None:
    topics = write_topics(tmp_path / "topics.tsv", {"3": TOPICS["3"], "55": "nobody searched this"})
    other = Collection(**{**collection.__dict__, "topics": topics})
    assert docids(other.rerank()) == {"3": docids(collection.rerank())["3"]}
    alien = write_topics(tmp_path / "alien.tsv", {"x1": "water"})
    assert "has none of the 1 topics" in collection.refuse(topics=alien)


def test_what_is_printed(collection: Collection) -> None:
    output = collection.folder / "printed.txt"
    argv = ["--run", collection.run, "--topics", collection.topics, "--index", collection.index, "--output", output]
    said = succeed("rerank", *argv, "--depth", 6).splitlines()
    assert said[0] == f"Reranking {collection.run}, saving to {output}..."
    assert re.fullmatch(
        r"4 topics, 6 documents scored for each: .*\(\d+% scoring\); the run is .*printed.txt", said[-1]
    )


# Without an index


def from_corpus(collection: Collection, *more: object) -> list[object]:
    return ["--corpus", collection.corpus, "--encoder", collection.model, *more]


def assert_same(found: Mapping[str, Sequence[Hit]], wanted: Mapping[str, Sequence[Hit]]) -> None:
    """Vectors do not depend on what they were encoded with but for rounding."""
    for topic, hits in wanted.items():
        scores = {hit.docid: hit.score for hit in hits}
        assert {hit.docid: hit.score for hit in found[topic]} == pytest.approx(scores, abs=1e-3)


def test_candidates_encoded_on_the_fly(collection: Collection, tmp_path: Path) -> None:
    wanted = collection.rerank("--depth", 8)
    assert_same(collection.rerank("--depth", 8, source=from_corpus(collection)), wanted)
    cached = from_corpus(collection, "--cache", tmp_path / "cache")
    shallow = collection.rerank("--depth", 3, source=cached)
    some = content(tmp_path / "cache")
    first = collection.rerank("--depth", 8, source=cached)
    assert_same(first, wanted)
    more = content(tmp_path / "cache")
    assert more["docids"].startswith(some["docids"])
    assert len(more["docids"]) > len(some["docids"])
    assert collection.rerank("--depth", 8, source=cached) == first
    assert content(tmp_path / "cache") == more  # nothing was encoded again
    assert collection.rerank("--depth", 3, source=cached) == shallow


def test_cache_of_another_corpus(collection: Collection, tmp_path: Path) -> None:
    collection.rerank(source=from_corpus(collection, "--cache", tmp_path / "cache"))
    corpus = write_corpus(tmp_path / "corpus.jsonl", {**TEXTS, "D0": "changed"})
    source = ["--corpus", corpus, "--encoder", collection.model, "--cache", tmp_path / "cache"]
    assert "its vectors were made with another texts" in collection.refuse(source=source)
    source = from_corpus(collection, "--cache", tmp_path / "cache", "--doc-max-length", 32)
    assert "its vectors were made with another max_length (256, now it is 32)" in collection.refuse(source=source)


def test_documents_that_the_corpus_lacks(collection: Collection, tmp_path: Path) -> None:
    run = tmp_path / "run.txt"
    run.write_text(collection.run.read_text() + "7 Q0 nowhere 1 99 bm25\n")
    assert "1 candidates of 1 topics are not in" in collection.refuse(run=run, source=from_corpus(collection))


def test_fields_of_a_corpus(collection: Collection, tmp_path: Path) -> None:
    """Title and text are joined as in ``hypensearch.encode``."""
    corpus = tmp_path / "corpus.jsonl"
    records = [{"_id": docid, "title": text.split()[0], "text": text} for docid, text in TEXTS.items()]
    corpus.write_text("".join(json.dumps(record) + "\n" for record in records))
    succeed("encode", *encode(corpus, tmp_path / "index", collection.model))
    source = ["--corpus", corpus, "--encoder", collection.model]
    assert_same(collection.rerank(source=source), collection.rerank(source=["--index", tmp_path / "index"]))


def test_a_document_that_comes_twice(collection: Collection, tmp_path: Path) -> None:
    twice = tmp_path / "corpus.jsonl"
    twice.write_text(collection.corpus.read_text() * 2)
    said = collection.refuse(source=["--corpus", twice, "--encoder", collection.model])
    assert "comes twice; every document wants an id of its own" in said


@pytest.mark.parametrize(
    ("flags", "source", "message"),
    [
        ([], [], "one of --index, --corpus and --sparse-index: found none of them"),
        ([], ["--corpus", "c", "--index", "i"], "found --index and --corpus"),
        ([], ["--corpus", "c"], "--encoder is missing"),
        (["--cache", "x"], None, "--cache keeps the vectors of candidates that are encoded"),
        (["--alpha", "1.5"], None, "argument --alpha: '1.5' is not a number of at least 0 and at most 1"),
        (["--normalization", "softmax"], None, "argument --normalization: invalid choice: 'softmax'"),
        (["--output-format", "kilt"], None, "--output-format kilt repeats the topics' data points"),
        (["--encoder-class", "biencoder"], None, "--encoder-class biencoder: "),
        (["--gar", "--graph", "none"], None, "no such graph"),
    ],
)
def test_flags_that_make_no_sense(
    collection: Collection, flags: Sequence[str], source: Sequence[object] | None, message: str
) -> None:
    assert message in collection.refuse(*flags, source=source)


def test_gar_without_an_index(collection: Collection) -> None:
    assert "--gar walks the graph of an index" in collection.refuse("--gar", source=from_corpus(collection))


# From Python


@dataclass
class PyseriniHit:
    """A hit as Pyserini's searchers give it: any object with these two."""

    docid: str
    score: np.float32


def test_reranker_from_python(collection: Collection) -> None:
    wanted = docids(collection.rerank("--depth", 7))
    candidates = {
        topic: [PyseriniHit(hit.docid, np.float32(hit.score)) for hit in hits]
        for topic, hits in read_run(collection.run).items()
    }
    with Reranker.from_index(collection.index, options=RerankOptions(depth=7)) as reranker:
        for topic, query in TOPICS.items():
            assert [hit.docid for hit in reranker.rerank(query, candidates[topic])] == wanted[topic]
        found = reranker.batch_rerank(list(TOPICS.values()), list(TOPICS), candidates, k=3)
        assert docids(found) == {topic: wanted[topic][:3] for topic in TOPICS}
        q_net = reranker.query_encoder.encode_queries([TOPICS["7"]])
        assert [hit.docid for hit in reranker.rerank(q_net, candidates["7"])] == wanted["7"]
        assert reranker.rerank("water", []) == []
        assert (reranker.stats.queries, reranker.stats.documents_scored) == (10, 9 * 7)
        assert 0 < reranker.stats.share_scoring < 1


def test_reranker_encodes_a_document_once(collection: Collection) -> None:
    model = load_model(str(collection.model))
    candidates = read_run(collection.run)
    with Reranker.from_texts(CorpusTexts(collection.corpus, TextRule(fields=("contents",))), model) as reranker:
        for _ in range(2):
            for topic, query in TOPICS.items():
                reranker.rerank(query, candidates[topic])
        assert reranker.stats.documents_encoded == len({hit.docid for hits in candidates.values() for hit in hits})


def test_ids_with_leading_zeros_match_those_without(collection: Collection, tmp_path: Path) -> None:
    """Pyserini's first stages drop them; the new run has the ids of the run that it is made of."""
    padded = write_topics(tmp_path / "topics.tsv", {topic.zfill(4): text for topic, text in TOPICS.items()})
    expected = collection.rerank()
    output = tmp_path / "reranked.txt"
    flags = ["--run", collection.run, "--topics", padded, "--index", collection.index, "--output", output]
    succeed("rerank", *flags)
    assert read_run(output) == expected

    stored = tmp_path / "q-nets"
    succeed("encode.query", "--topics", collection.topics, "--encoder", collection.model, "--output", stored)
    succeed("rerank", *flags, "--encoded-queries", stored)
    assert read_run(output) == expected

    text = "".join(f"0{line}" for line in collection.run.read_text().splitlines(keepends=True))
    (tmp_path / "run.txt").write_text(text)
    succeed("rerank", "--run", tmp_path / "run.txt", *flags[2:])
    assert read_run(output) == {f"0{topic}": expected[topic] for topic in expected}


def test_kilt_topics_with_leading_zeros_are_repeated_as_they_are(collection: Collection, tmp_path: Path) -> None:
    points = {topic: {"id": topic.zfill(4), "input": text, "meta": [1]} for topic, text in TOPICS.items()}
    topics, output = tmp_path / "topics.jsonl", tmp_path / "kilt.jsonl"
    topics.write_text("".join(json.dumps(point) + "\n" for point in points.values()))
    flags = ["--run", collection.run, "--topics", topics, "--index", collection.index, "--output", output]
    succeed("rerank", *flags, "--topics-format", "kilt", "--output-format", "kilt")
    written = [json.loads(line) for line in output.read_text().splitlines()]
    expected = collection.rerank()
    assert written == [
        {**point, "output": [{"provenance": [{"wikipedia_id": hit.docid} for hit in expected[topic]]}]}
        for topic, point in points.items()
    ]


def test_run_and_topics_may_be_pipes(collection: Collection, tmp_path: Path) -> None:
    output = tmp_path / "reranked.txt"
    with piped(collection.run.read_text()) as run, piped(collection.topics.read_text()) as topics:
        succeed("rerank", "--run", run, "--topics", topics, "--index", collection.index, "--output", output)
    assert read_run(output) == collection.rerank()
