# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Collections by name, from ir_datasets and Hugging Face's datasets, through the real packages and without network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hypensearch.errors import HypensearchError
from hypensearch.formats.corpus import read_corpus
from hypensearch.formats.named import named_corpus, named_qrels, named_topics, relevance_level
from hypensearch.formats.run import read_run
from integrations.conftest import ROOT, TEXTS, TOPICS

QRELS = "1 0 d1 2\n1 0 d4 1\n2 0 d2 2\n2 0 d5 1\n"

# A module that registers data sets with ir_datasets, as its extension packages do.
REGISTERS = """
import ir_datasets, pathlib
from typing import NamedTuple

here = pathlib.Path(__file__).parent
toy = ir_datasets.create_dataset(here / "docs.tsv", here / "queries.tsv", here / "qrels.txt")
ir_datasets.registry.register("toy", toy)
ir_datasets.registry.register("toy/gone", ir_datasets.create_dataset(here / "gone.tsv"))

class Official:
    def documentation(self):
        return {"official_measures": ["nDCG@10", "RR(rel=2)"]}

graded = ir_datasets.Dataset(toy.docs_handler(), toy.queries_handler(), toy.qrels_handler(), Official())
ir_datasets.registry.register("toy/graded", graded)

class Page(NamedTuple):
    doc_id: str
    title: str
    body: str
    year: int
    def default_text(self):
        "title body"
        return f"{self.title}\\n{self.body}"

class Paper(NamedTuple):
    doc_id: str
    title: str
    text: str
    def default_text(self):
        return f"{self.title} {self.text}"

class Abstract(NamedTuple):
    doc_id: str
    title: str
    text: str
    def default_text(self):
        return self.text

class Docs(ir_datasets.formats.BaseDocs):
    def __init__(self, kind, *rows):
        self.kind, self.rows = kind, rows
    def docs_cls(self):
        return self.kind
    def docs_iter(self):
        return iter([self.kind(*row) for row in self.rows])

ir_datasets.registry.register("toy/pages", ir_datasets.Dataset(Docs(Page, ("p1", "A title", "two\\nlines", 1999))))
ir_datasets.registry.register("toy/papers", ir_datasets.Dataset(Docs(Paper, ("p1", "A title", "a text"))))
ir_datasets.registry.register("toy/abstracts", ir_datasets.Dataset(Docs(Abstract, ("p1", "A title", "a text"))))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a module ``registers`` of local data sets, and their files."""
    folder = tmp_path_factory.mktemp("named")
    (folder / "registers.py").write_text(REGISTERS)
    (folder / "docs.tsv").write_text("".join(f"{docid}\t{text}\n" for docid, text in TEXTS.items()))
    (folder / "queries.tsv").write_text("".join(f"{topic}\t{text}\n" for topic, text in TOPICS.items()))
    (folder / "qrels.txt").write_text(QRELS)
    return folder


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HYPENSEARCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def irds(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ir_datasets", reason="ir_datasets is not installed")
    monkeypatch.syspath_prepend(folder)


def commands(folder: Path, *lines: list[str]) -> subprocess.CompletedProcess[str]:
    """Run commands one after the other, and return the last; all but it must succeed."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "HF_DATASETS_OFFLINE": "1"}
    for line in lines:
        done = subprocess.run([sys.executable, "-m", *line], cwd=folder, env=env, capture_output=True, text=True)
        assert line is lines[-1] or done.returncode == 0, done.stderr
    return done


def texts_of(name: str) -> dict[str, str]:
    return {document.docid: document.text for document in read_corpus(name)}


@pytest.mark.usefixtures("irds")
def test_a_data_set_of_ir_datasets_from_name_to_figures_by_three_commands(folder: Path) -> None:
    encode = ["hypensearch.encode", "input", "--corpus", "irds:registers:toy", "output", "--embeddings", "index"]
    search = ["hypensearch.search", "--index", "index", "--topics", "irds:registers:toy", "--output", "run.txt"]
    evaluate = ["hypensearch.eval", "--qrels", "irds:registers:toy", "--run", "run.txt", "-m", "RR@10"]

    done = commands(folder, [*encode, "encoder", "--encoder", "bundled"], search, evaluate)

    assert done.returncode == 0, done.stderr
    assert list(read_run(folder / "run.txt")) == list(TOPICS)
    assert "RR(rel=1)@10  1.0000" in done.stdout


@pytest.mark.usefixtures("irds")
def test_reranking_reads_candidates_of_a_named_corpus(folder: Path) -> None:
    (folder / "run.first.txt").write_text("1 Q0 d2 1 2 x\n1 Q0 d1 2 1 x\n")
    name = "irds:registers:toy"
    line = ["hypensearch.rerank", "--run", "run.first.txt", "--topics", name, "--corpus", name]

    done = commands(folder, [*line, "--encoder", "bundled", "--output", "run.reranked.txt"])

    assert done.returncode == 0, done.stderr
    assert [hit.docid for hit in read_run(folder / "run.reranked.txt")["1"]] == ["d1", "d2"]


@pytest.mark.usefixtures("irds")
def test_binary_measures_follow_the_data_sets_official_level(folder: Path) -> None:
    assert relevance_level("irds:msmarco-passage/trec-dl-2019/judged") == 2
    assert relevance_level("irds:msmarco-document/trec-dl-2019/judged") == 1
    assert relevance_level("irds:registers:toy") == relevance_level("qrels.txt") == 1
    (folder / "run.graded.txt").write_text("1 Q0 d4 1 2 x\n1 Q0 d1 2 1 x\n2 Q0 d2 1 1 x\n")
    line = ["hypensearch.eval", "--qrels", "irds:registers:toy/graded", "--run", "run.graded.txt", "-m", "RR"]

    own, asked = commands(folder, line), commands(folder, [*line, "--relevance-level", "1"])

    assert ["RR(rel=2)", "0.7500"] in [line.split() for line in own.stdout.splitlines()]
    assert "grade 2 and above is relevant, as in its official measures nDCG@10 RR(rel=2)" in own.stderr
    assert ["RR(rel=1)", "1.0000"] in [line.split() for line in asked.stdout.splitlines()]


@pytest.mark.usefixtures("irds")
def test_what_is_encoded_is_default_text(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    assert texts_of("irds:registers:toy") == TEXTS
    assert texts_of("irds:registers:toy/papers") == {"p1": "A title a text"}
    assert texts_of("irds:registers:toy/abstracts") == {"p1": "a text"}
    assert texts_of("irds:registers:toy/pages") == {"p1": "A title two lines"}
    assert "irds:registers:toy/pages: documents are default_text() of Page: title body" in caplog.messages
    record = json.loads(Path(named_corpus("irds:registers:toy/pages")).read_text())
    assert record == {"id": "p1", "body": "two\nlines", "contents": "A title two lines"}


@pytest.mark.usefixtures("irds")
def test_training_validates_on_a_named_data_set() -> None:
    from hypensearch.train.validation import read_collection

    collection = read_collection("irds:registers:toy/graded")
    assert dict(zip(collection.docids, collection.documents, strict=True)) == TEXTS
    assert collection.topics == TOPICS
    assert collection.relevance_level == 2


@pytest.mark.usefixtures("irds")
def test_mining_takes_names(folder: Path) -> None:
    (folder / "run.mined.txt").write_text("".join(f"{topic} Q0 d3 1 1 x\n" for topic in TOPICS))
    name = "irds:registers:toy"
    line = ["hypensearch.mine", "--run", "run.mined.txt", "--topics", name, "--qrels", name, "--corpus", name]

    done = commands(folder, [*line, "--output", "mined.jsonl"])

    assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in (folder / "mined.jsonl").read_text().splitlines()]
    assert [record["query"] for record in records] == list(TOPICS.values())


@pytest.mark.usefixtures("irds")
def test_topics_and_judgements() -> None:
    assert named_topics("irds:registers:toy") == TOPICS
    assert named_qrels("irds:registers:toy") == {"1": {"d1": 2, "d4": 1}, "2": {"d2": 2, "d5": 1}}


@pytest.mark.usefixtures("irds")
def test_what_cannot_be_had_is_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    search = ["hypensearch.search", "--index", "index", "--output", "x", "--topics"]
    for name, said in {
        "irds:no/such": "ir_datasets knows no such data set",
        "irds:registers:toy/pages": "this data set has no queries",
        "irds:no_module:toy": "cannot be had (ModuleNotFoundError: No module named 'no_module')",
        "hf:toy": "only a corpus comes from hf:",
    }.items():
        done = commands(folder, [*search, name])
        assert done.returncode == 2
        assert done.stderr.splitlines()[-1].startswith(f"error: {name}: {said}")
    with pytest.raises(HypensearchError, match=r"toy/gone: cannot be had \(FileNotFoundError"):
        named_corpus("irds:registers:toy/gone")
    monkeypatch.setenv("HYPENSEARCH_OFFLINE", "1")
    monkeypatch.setenv("IR_DATASETS_HOME", str(folder / "home"))
    with pytest.raises(HypensearchError, match="nothing is downloaded with --offline"):
        named_topics("irds:vaswani")


def parquet(path: Path, rows: list[dict[str, object]]) -> Path:
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    datasets.Dataset.from_list(rows).to_parquet(path)
    return path


def test_a_parquet_corpus_from_name_to_figures_by_three_commands(folder: Path) -> None:
    rows = [{"_id": docid, "title": "", "text": text, "year": 1.5} for docid, text in TEXTS.items()]
    parquet(folder / "corpus.parquet", rows)
    encode = ["hypensearch.encode", "input", "--corpus", "hf:corpus.parquet", "output", "--embeddings", "hf-index"]
    search = ["hypensearch.search", "--index", "hf-index", "--topics", "queries.tsv", "--output", "run.hf.txt"]
    evaluate = ["hypensearch.eval", "--qrels", "qrels.txt", "--run", "run.hf.txt", "-m", "RR@10"]

    done = commands(folder, [*encode, "encoder", "--encoder", "bundled"], search, evaluate)

    assert "RR(rel=1)@10  1.0000" in done.stdout, done.stderr


def test_a_folder_of_parquet_files_has_splits(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    parquet(tmp_path / "data/train-00000.parquet", [{"id": "a", "title": "t", "text": "x"}])
    assert texts_of(f"hf:{tmp_path}/data") == {"a": "t x"}
    parquet(tmp_path / "data/test-00000.parquet", [{"id": "b", "title": None, "text": "y"}])
    assert texts_of(f"hf:{tmp_path}/data::test") == {"b": "y"}
    with pytest.raises(HypensearchError, match=r"has the splits train, test: wanted hf:.*/data::SPLIT"):
        named_corpus(f"hf:{tmp_path}/data")


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", [{"id": "a", "text": "x"}])
    assert texts_of(f"hf:{path}") == {"a": "x"}
    parquet(path, [{"id": "a", "text": "changed"}])
    assert texts_of(f"hf:{path}") == {"a": "changed"}
