# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The commands one after the other: encode, search, eval."""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from hypensearch.eval import evaluate
from hypensearch.formats.corpus import read_corpus
from hypensearch.formats.run import read_run
from hypensearch.hits import Hit
from hypensearch.search import HypencoderSearcher
from tests.commands import content, encode, refuse, run, search, succeed, write_corpus, write_topics
from tests.models.checkpoints import hypencoder_config, save_checkpoint

NUM_DOCS = 40
WORDS = ["water", "stone", "river", "storm", "north", "early", "church", "satellite"]
TEXTS = {f"D{n // 2}#{n % 2}": f"{WORDS[n % 8]} and {WORDS[n * 3 % 8]} number {n}" for n in range(NUM_DOCS - 1)}
TEXTS["12"] = "storm over the north, again"
TOPICS = {"7": "water", "12": "storm over the north", "100": "how many churches", "3": "river"}


@dataclass(frozen=True)
class Collection:
    """A small corpus, encoded, and its topics."""

    folder: Path
    index: Path
    topics: Path

    def run(self, *more: object, name: str = "run.txt") -> bytes:
        """Search and give the run's bytes."""
        succeed("search", *search(self.index, self.topics, self.folder / name, *more))
        return (self.folder / name).read_bytes()

    def hits(self, *more: object) -> dict[str, list[Hit]]:
        """Search and read the run."""
        self.run(*more)
        return read_run(self.folder / "run.txt")


@pytest.fixture(scope="module")
def collection(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Collection:
    folder = tmp_path_factory.mktemp("collection")
    corpus = write_corpus(folder / "corpus.jsonl", TEXTS)
    succeed("encode", *encode(corpus, folder / "index", tiny_checkpoint))
    return Collection(folder, folder / "index", write_topics(folder / "topics.tsv", TOPICS))


def test_run_holds_the_searchers_hits(collection: Collection) -> None:
    found = collection.hits("--hits", 10)
    assert list(found) == ["3", "7", "12", "100"]  # Pyserini's order: by number
    with HypencoderSearcher(collection.index) as searcher:
        for topic, hits in found.items():
            wanted = searcher.search(TOPICS[topic], 10)
            assert [hit.docid for hit in hits] == [hit.docid for hit in wanted]
            assert [hit.score for hit in hits] == pytest.approx([hit.score for hit in wanted], abs=2e-6)


def test_lines_are_pyserinis(collection: Collection) -> None:
    first = collection.run("--hits", 2).decode().splitlines()[0].split(" ")
    assert (first[0], first[1], first[3], first[5]) == ("3", "Q0", "1", "hypensearch")
    assert len(first[4].partition(".")[2]) == 6
    tagged = collection.run("--hits", 2, "--run-tag", "mine").decode().splitlines()
    assert {line.rpartition(" ")[2] for line in tagged} == {"mine"}
    trec, marco = collection.hits("--hits", 3), collection.run("--output-format", "msmarco", "--hits", 3)
    wanted = [f"{t}\t{hit.docid}\t{rank}\n" for t, hits in trec.items() for rank, hit in enumerate(hits, 1)]
    assert marco.decode() == "".join(wanted)


def test_kilt(collection: Collection, tmp_path: Path) -> None:
    points = [{"id": topic, "input": query, "output": [], "meta": {"n": 1}} for topic, query in TOPICS.items()]
    topics = tmp_path / "topics.jsonl"
    topics.write_text("".join(json.dumps(point) + "\n" for point in points))
    flags = ["--topics-format", "kilt", "--output-format", "kilt", "--hits", 3]
    succeed("search", *search(collection.index, topics, tmp_path / "run", *flags))
    written = [json.loads(line) for line in (tmp_path / "run").read_text().splitlines()]
    trec = collection.hits("--hits", 3)
    for point, found in zip(points, written, strict=True):
        provenance = [{"wikipedia_id": hit.docid} for hit in trec[str(point["id"])]]
        assert found == {**point, "output": [{"provenance": provenance}]}


def test_neither_batches_nor_threads_nor_blocks_change_a_byte(collection: Collection) -> None:
    plain = collection.run()
    for flags in (["--batch", 3], ["--batch-size", 100], ["--threads", 2, "--batch-size", 2], ["--block-rows", 7]):
        assert collection.run(*flags) == plain, flags


@pytest.mark.parametrize("flag", ["--fp16", "--bf16"])
def test_half_precision_scans_change_no_byte_of_a_small_run(collection: Collection, flag: str) -> None:
    assert collection.run(flag, "--hits", 10) == collection.run("--hits", 10)


def test_encoded_queries_change_no_byte(collection: Collection, tiny_checkpoint: Path, tmp_path: Path) -> None:
    q_nets = tmp_path / "q-nets"
    said = succeed("encode.query", "--topics", collection.topics, "--encoder", tiny_checkpoint, "--output", q_nets)
    assert said == f"4 q-nets are in {q_nets}: search them with --encoded-queries {q_nets}\n"
    for flags in ([], ["--batch-size", 3], ["--remove-query"]):
        assert collection.run("--encoded-queries", q_nets, *flags) == collection.run(*flags)


def test_stored_token_states_change_no_byte(collection: Collection, tiny_checkpoint: Path, tmp_path: Path) -> None:
    argv = ["--topics", collection.topics, "--encoder", tiny_checkpoint, "--output"]
    said = succeed("encode.query", *argv, tmp_path / "my q", "--compact")
    wanted = (
        f"4 queries' token states are in {tmp_path / 'my q'}: search them with --encoded-queries '{tmp_path / 'my q'}'"
    )
    assert said == f"{wanted}\n"
    succeed("encode.query", *argv, tmp_path / "whole")
    for flags in ([], ["--batch-size", 3], ["--encoder", tiny_checkpoint], ["--remove-query", "--hits", 9]):
        run_bytes = collection.run("--encoded-queries", tmp_path / "my q", *flags)
        assert run_bytes == collection.run("--encoded-queries", tmp_path / "whole", *flags) == collection.run(*flags)


def test_stored_token_states_at_a_width(tiny_checkpoint: Path, tmp_path: Path) -> None:
    raw = {"loss_type": ["matryoshka_margin_mse"], "loss_kwargs": [{"matryoshka_dims": [4, 16]}]}
    model = save_checkpoint(tmp_path / "m", hypencoder_config() | raw, tiny_checkpoint)
    corpus, topics = write_corpus(tmp_path / "c.jsonl", TEXTS), write_topics(tmp_path / "t.tsv", TOPICS)
    succeed("encode", *encode(corpus, tmp_path / "index", model))
    succeed(
        "encode.query", *["--topics", topics, "--encoder", model, "--output", tmp_path / "q", "--width", 4, "--compact"]
    )
    succeed("search", *search(tmp_path / "index", topics, tmp_path / "text", "--width", 4))
    succeed("search", *search(tmp_path / "index", topics, tmp_path / "states", "--encoded-queries", tmp_path / "q"))
    assert (tmp_path / "states").read_bytes() == (tmp_path / "text").read_bytes()


def test_stored_token_states_of_another_query_encoder(
    collection: Collection, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    """Two Hypencoders over one document encoder may share an index; their token states want their own hyper head."""
    other = tmp_path / "other"
    succeed("convert", "--encoder", tiny_checkpoint, "--output", other)
    weights = load_file(other / "model.safetensors")
    name = next(name for name in weights if "value_projections" in name)
    save_file({**weights, name: weights[name] + 1}, other / "model.safetensors", {"format": "pt"})
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({key: config[key] for key in config if key != "checksums"}))
    encode_query = ["--topics", collection.topics, "--encoder", other, "--output", tmp_path / "q"]
    succeed("encode.query", *encode_query, "--compact")
    stored = ["--encoded-queries", tmp_path / "q"]

    found = collection.run(*stored)
    assert found == collection.run("--encoder", other) != collection.run()
    argv = search(collection.index, collection.topics, tmp_path / "run")
    said = refuse("search", *argv, *stored, "--encoder", tiny_checkpoint)
    assert f"--encoded-queries {tmp_path / 'q'} holds token states of {other} (query encoder" in said
    assert f"but the model is {tiny_checkpoint}" in said
    other.rename(tmp_path / "moved")
    said = refuse("search", *argv, *stored)
    assert "the model to make q-nets of them cannot be loaded" in said
    assert said.endswith("if it has moved, name it with --encoder")
    assert collection.run(*stored, "--encoder", tmp_path / "moved") == found


def test_encoded_queries_of_other_topics(collection: Collection, tiny_checkpoint: Path, tmp_path: Path) -> None:
    topics = write_topics(tmp_path / "topics.tsv", {**TOPICS, "7": "stone"})
    succeed("encode.query", "--topics", topics, "--encoder", tiny_checkpoint, "--output", tmp_path / "q")
    argv = search(collection.index, collection.topics, tmp_path / "run", "--encoded-queries", tmp_path / "q")
    assert "1 topics are not those that were encoded, '7' for one" in refuse("search", *argv)


def test_remove_query_still_gives_all_hits(collection: Collection) -> None:
    everything = collection.hits("--hits", NUM_DOCS)
    rank = [hit.docid for hit in everything["12"]].index("12")
    hits = rank + 2  # so that topic 12 finds document 12
    removed = collection.hits("--hits", hits, "--remove-query")
    for topic, found in removed.items():
        others = [hit for hit in everything[topic] if hit.docid != topic]
        assert len(found) == hits
        assert [hit.docid for hit in found] == [hit.docid for hit in others[:hits]]


def test_seed_variant_and_entry_points_reach_graph_search(collection: Collection) -> None:
    if not (collection.index / "graphs").exists():
        succeed("index", "--index", collection.index, "--degree", 6)

    def walk(*flags: object) -> bytes:
        few = ("--searcher", "graph", "--num-entry-points", 5, "--max-iter", 1, "--hits", 50, "--ncandidates", 2)
        return collection.run(*few, *flags)

    assert walk("--entry-seed", 1) != walk("--entry-seed", 2)
    assert len(walk("--variant", "released").splitlines()) == 5 * len(TOPICS)
    assert len(walk("--variant", "paper").splitlines()) == 2 * len(TOPICS)  # no more are offered


def test_max_passage(collection: Collection) -> None:
    flags = ["--max-passage", "--max-passage-hits", 5]
    everything = collection.hits("--hits", NUM_DOCS)
    for topic, found in collection.hits(*flags).items():
        documents = list(dict.fromkeys(hit.docid.split("#")[0] for hit in everything[topic]))
        assert [hit.docid for hit in found] == documents[:5]
    assert len(collection.hits("--max-passage", "--max-passage-delimiter", "@")["7"]) == NUM_DOCS


def test_hits(collection: Collection) -> None:
    everything = collection.hits()
    assert {len(hits) for hits in everything.values()} == {NUM_DOCS}
    for topic, hits in collection.hits("--hits", 7).items():
        assert [hit.docid for hit in hits] == [hit.docid for hit in everything[topic][:7]]


def test_what_is_printed(collection: Collection) -> None:
    output = collection.folder / "new" / "folder" / "run.txt"
    said = succeed("search", *search(collection.index, collection.topics, output)).splitlines()
    assert said[0] == f"Running {collection.topics} topics, saving to {output}..."
    assert said[-1].startswith(f"4 topics by exhaustive search, {NUM_DOCS} of {NUM_DOCS} documents scored for each ")
    assert said[-1].endswith(f"the run is {output}")


def test_named_encoder_and_class(collection: Collection, tiny_checkpoint: Path, tmp_path: Path) -> None:
    wanted = collection.run()
    assert collection.run("--encoder", tiny_checkpoint, "--encoder-class", "hypencoder") == wanted
    argv = search(collection.index, collection.topics, tmp_path / "run", "--encoder-class", "biencoder")
    assert "--encoder-class biencoder: " in refuse("search", *argv)
    assert collection.run("--pooling", "cls") == wanted
    argv = search(collection.index, collection.topics, tmp_path / "run", "--pooling", "mean")
    assert "was trained with 'cls'; leave the flag out" in refuse("search", *argv)
    assert content(tmp_path) == {}


def test_eval_takes_the_run(collection: Collection, tmp_path: Path) -> None:
    best = {topic: hits[0].docid for topic, hits in collection.hits("--hits", 5).items()}
    qrels = tmp_path / "qrels.txt"
    qrels.write_text("".join(f"{topic} 0 {docid} 1\n" for topic, docid in best.items()))
    argv = ["--qrels", qrels, "--run", collection.folder / "run.txt", "--metrics", "RR@10", "nDCG@10"]
    assert "1.0000" in succeed("eval", *argv)


# The authors' retrieval


def authors_hits(variant: Path, name: str) -> dict[str, list[Hit]]:
    lines = (variant / name / "retrieved_items.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    return {record["query"]["id"]: [Hit(item["id"], item["score"]) for item in record["items"]] for record in records}


def queries(variant: Path) -> dict[str, str]:
    lines = (variant / "queries.jsonl").read_text(encoding="utf-8").split("\n")
    return {record["id"]: record["text"] for record in map(json.loads, filter(None, lines))}


def assert_same_ranking(ours: Sequence[Hit], theirs: Sequence[Hit], atol: float) -> None:
    """Compare rank by rank; documents whose scores differ by less than the tolerance may change places."""
    assert [hit.score for hit in ours] == pytest.approx([hit.score for hit in theirs], abs=atol)
    scores, last = {hit.docid: hit.score for hit in theirs}, theirs[-1].score
    for hit in ours:
        assert scores.get(hit.docid, last) == pytest.approx(hit.score, abs=2 * atol), hit


def atol_of(variant: Path) -> float:
    manifest: Mapping[str, Mapping[str, float]] = json.loads((variant / "manifest.json").read_text())
    return manifest["suggested_atol"]["scores_end_to_end"]


@pytest.fixture(scope="module", params=["encoded by us", "encoded by the authors"])
def authors_index(request: pytest.FixtureRequest, variant: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The authors' documents, encoded from their text or imported from their ``encoded_items.docs``."""
    index = tmp_path_factory.mktemp("authors") / "index"
    model = ["encoder", "--encoder", variant / "checkpoint", "--max-length", 512]
    if request.param == "encoded by us":
        source = ["input", "--corpus", variant / "documents.jsonl", "--allow-empty"]
    else:
        source = ["input", "--vectors", variant / "encoded_items.docs"]
    succeed("encode", *source, "output", "--embeddings", index, *model)
    return index


@pytest.fixture(scope="module")
def found(variant: Path, authors_index: Path) -> dict[str, list[Hit]]:
    """Our hits of the authors' queries, the empty one included."""
    texts = queries(variant)
    with HypencoderSearcher(authors_index, max_length=64) as searcher:
        return searcher.batch_search(list(texts.values()), list(texts), 50)


def test_retrieval_of_the_authors(variant: Path, found: dict[str, list[Hit]]) -> None:
    wanted = authors_hits(variant, "retrieval_top50")
    assert list(found) == list(wanted)
    for topic, theirs in wanted.items():
        assert_same_ranking(found[topic], theirs, atol_of(variant))


def test_metrics_of_the_authors(variant: Path, found: dict[str, list[Hit]]) -> None:
    folder = variant / "retrieval_top50/metrics"
    aggregated, per_query = (
        json.loads((folder / f"{name}_metrics.json").read_text()) for name in ("aggregated", "per_query")
    )
    evaluation = evaluate(json.loads((variant / "qrels.json").read_text()), found, list(aggregated))
    assert {_plain(name): value for name, value in evaluation.values.items()} == pytest.approx(aggregated, abs=1e-6)
    for topic, theirs in per_query.items():
        ours = {_plain(name): values[topic] for name, values in evaluation.per_topic.items()}
        assert ours == pytest.approx(theirs, abs=1e-6), topic


def test_authors_run_by_the_commands(variant: Path, authors_index: Path, tmp_path: Path) -> None:
    """Ignoring documents with the query's id, the authors give 19 hits of 20 to such a query; we give 20."""
    topics = {topic: text for topic, text in queries(variant).items() if text.strip()}  # an empty topic is an error
    path = tmp_path / "topics.jsonl"
    path.write_text("".join(json.dumps({"id": topic, "title": text}) + "\n" for topic, text in topics.items()))
    flags = ["--max-length", 64, "--hits", 20, "--remove-query", "--batch-size", 7]
    succeed("search", *search(authors_index, path, tmp_path / "run", *flags))
    found, fewer = read_run(tmp_path / "run"), 0
    for topic, theirs in authors_hits(variant, "retrieval_top20_ignore_same_id").items():
        if topic in topics:
            assert len(found[topic]) == 20
            assert_same_ranking(found[topic][: len(theirs)], theirs, atol_of(variant))
            fewer += len(theirs) < 20
    assert fewer == 1
    argv = ["--qrels", variant / "qrels.trec", "--run", tmp_path / "run", "--metrics", "RR@10"]
    assert "RR(rel=1)@10" in succeed("eval", *argv)


def test_documents_of_the_authors_are_found_again(variant: Path, authors_index: Path) -> None:
    texts = {document.docid: document.text for document in read_corpus(variant / "documents.jsonl", allow_empty=True)}
    with HypencoderSearcher(authors_index) as searcher:
        assert sorted(searcher.index.docids()) == sorted(texts)


def _plain(measure: str) -> str:
    return measure.replace("(rel=1)", "")


@pytest.mark.parametrize("size", [1, 3])
def test_report_says_what_was_done(collection: Collection, size: int) -> None:
    told = collection.folder / "report.json"
    collection.run("--hits", 5, "--report", told, "--batch-size", size)
    report = json.loads(told.read_text())
    assert (report["searcher"], report["queries"], report["documents_scored"]) == ("exhaustive", 4, 4 * NUM_DOCS)
    assert set(report["seconds"]) == {"encode", "generate", "search", "score", "output"}
    assert all(seconds > 0 for seconds in report["seconds"].values())
    assert set(report["topics"]) == set(TOPICS)
    assert report["topics"]["7"] == {"documents_scored": NUM_DOCS, "rounds": 1, "estimated_recall": None}


@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "term")]
)
def test_interrupt_keeps_what_is_done(
    number: signal.Signals,
    code: int,
    word: str,
    collection: Collection,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wanted = collection.run("--batch-size", 1).splitlines(keepends=True)
    find, calls = HypencoderSearcher.find, iter(range(3))

    def interrupted(*args: Any, **options: Any) -> Any:
        if next(calls) == 2:
            signal.raise_signal(number)
        return find(*args, **options)

    monkeypatch.setattr(HypencoderSearcher, "find", interrupted)
    done = run("search", *search(collection.index, collection.topics, tmp_path / "run", "--batch-size", 1))
    assert done.code == code
    assert word in done.err.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["run.partial"]
    assert (tmp_path / "run.partial").read_bytes().splitlines(keepends=True) == [
        line for line in wanted if line.split()[0] in (b"3", b"7")
    ]
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_query_of_a_million_characters_is_cut(collection: Collection, tmp_path: Path) -> None:
    text = "storm over the north " * 50_000
    topics = write_topics(tmp_path / "topics.tsv", {"1": text[:1_000_000], "2": text[:10_000]})
    succeed("search", *search(collection.index, topics, tmp_path / "run", "--hits", 5))
    run = read_run(tmp_path / "run")
    assert len(run["1"]) == 5
    assert run["1"] == run["2"]


@pytest.mark.parametrize("docid", ["a b", "a\tb", "a\nb", "a\u00a0b", "a\u2028b", "", "\x00"])
def test_docids_that_a_run_cannot_carry_are_refused(docid: str, tiny_checkpoint: Path, tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus.jsonl", {docid: "water"})
    assert "corpus.jsonl:1: the id" in refuse("encode", *encode(corpus, tmp_path / "index", tiny_checkpoint))


def test_docids_that_are_not_ascii_are_carried(tiny_checkpoint: Path, tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus.jsonl", {"é": "water", "\U0001f600": "stone", "文": "river"})
    succeed("encode", *encode(corpus, tmp_path / "index", tiny_checkpoint))
    topics = write_topics(tmp_path / "topics.tsv", {"1": "water"})
    succeed("search", *search(tmp_path / "index", topics, tmp_path / "run"))
    assert {hit.docid for hit in read_run(tmp_path / "run")["1"]} == {"é", "\U0001f600", "文"}
