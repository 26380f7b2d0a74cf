# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

from hypensearch.errors import HypensearchError
from hypensearch.formats.files import file_lock
from hypensearch.formats.run import read_run
from hypensearch.mine.__main__ import main
from hypensearch.mine.records import make_records, write_records
from hypensearch.search.searcher import HypencoderSearcher
from hypensearch.train.data import RecordFile
from tests.commands import encode, piped, search, succeed


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    documents = [{"id": f"d{i}", "contents": f"text {i}"} for i in range(12)]
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps(d) + "\n" for d in documents))
    (tmp_path / "topics.tsv").write_text("1\tfirst\n2\tsecond\n3\tnot judged\n")
    (tmp_path / "qrels.txt").write_text("1 0 d0 1\n1 0 d3 2\n1 0 d5 0\n2 0 d1 1\n")
    runs = [f"{topic} Q0 d{i} {i + 1} {20 - i} x\n" for topic in (1, 2, 3) for i in range(10)]
    (tmp_path / "run.txt").write_text("".join(runs))
    return tmp_path


def mine(folder: Path, *flags: str) -> int:
    names = dict(topics="topics.tsv", qrels="qrels.txt", run="run.txt", corpus="corpus.jsonl", output="o.jsonl")
    paths = [part for flag, name in names.items() for part in (f"--{flag}", str(folder / name))]
    return main([*paths, *flags])


def test_judged_documents_are_positives_and_others_negatives(folder: Path) -> None:
    assert mine(folder, "--negatives", "20", "--skip", "1", "--depth", "6") == 0
    first, second = RecordFile(folder / "o.jsonl")
    assert first.query == "first"
    assert [item.text for item in first.positives] == ["text 0", "text 3"]
    assert [item.text for item in first.negatives] == ["text 1", "text 2", "text 4", "text 5"]
    assert [item.text for item in second.negatives] == ["text 2", "text 3", "text 4", "text 5"]


TOPICS = {"1": "first", "2": "second", "3": "third"}
CHOSEN = {topic: ([f"p{topic}"], [f"n{topic}", f"m{topic}"]) for topic in TOPICS}
TEXTS = {docid: f"text {docid}\n\u2028" for pair in CHOSEN.values() for docids in pair for docid in docids}
RECORDS = make_records(TOPICS, CHOSEN, TEXTS)


class Teacher:
    """Scores by length; stops, as a killed process does, after so many queries."""

    def __init__(self, most: int = 9) -> None:
        self.most = most
        self.queries: list[str] = []

    def __call__(self, query: str, texts: Sequence[str]) -> list[float]:
        if len(self.queries) == self.most:
            raise KeyboardInterrupt
        self.queries.append(query)
        return [len(text) + len(query) / 7 for text in texts]


def stopped(folder: Path, **options: str) -> Path:
    """Write the records of two topics out of three."""
    with pytest.raises(KeyboardInterrupt):
        write_records(str(folder / "o.jsonl"), RECORDS, Teacher(2), **options)
    assert not (folder / "o.jsonl").exists()
    return folder / "o.jsonl.partial"


def resume(folder: Path, **options: str) -> tuple[int, list[str], bytes]:
    """Write the records; gives how many were made, the queries that the teacher saw, and the file."""
    teacher = Teacher()
    made = write_records(str(folder / "o.jsonl"), RECORDS, teacher, **options)
    assert [path.name for path in folder.iterdir()] == ["o.jsonl"]
    return made, teacher.queries, (folder / "o.jsonl").read_bytes()


def test_a_stopped_command_resumes_to_the_same_file(tmp_path: Path) -> None:
    whole = resume(tmp_path)[2]
    assert len(RecordFile(tmp_path / "o.jsonl", needs_scores=True)) == 3
    (tmp_path / "o.jsonl").unlink()
    stopped(tmp_path)
    assert resume(tmp_path) == (1, ["third"], whole)


@pytest.mark.parametrize(
    ("place", "left"), [(-1, ["second", "third"]), (-30, ["second", "third"]), (100, None), (3, None)]
)
def test_what_is_not_as_it_was_written_is_made_again(tmp_path: Path, place: int, left: list[str] | None) -> None:
    whole = resume(tmp_path)[2]
    (tmp_path / "o.jsonl").unlink()
    partial = stopped(tmp_path)
    content = bytearray(partial.read_bytes())
    content[place] ^= 1
    partial.write_bytes(content)
    left = list(TOPICS.values()) if left is None else left
    assert resume(tmp_path) == (len(left), left, whole)


def test_a_cut_line_is_made_again(tmp_path: Path) -> None:
    partial = stopped(tmp_path)
    for size in (len(partial.read_bytes()) - 1, 90, 10, 0):
        partial.write_bytes(partial.read_bytes()[:size])
        assert resume(tmp_path)[0] == (2 if size > 90 else 3)
        (tmp_path / "o.jsonl").unlink()
        partial = stopped(tmp_path)


def test_a_stopped_command_with_other_input_starts_over(tmp_path: Path) -> None:
    stopped(tmp_path, scored_by="one")
    assert resume(tmp_path, scored_by="other")[:2] == (3, list(TOPICS.values()))


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    with (
        file_lock(tmp_path / "o.jsonl.lock"),
        pytest.raises(HypensearchError, match="locked by process"),
    ):
        write_records(str(tmp_path / "o.jsonl"), RECORDS)


def test_a_teacher_scores_all_texts(folder: Path) -> None:
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "text", "first", "second", *map(str, range(12))]
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder / "teacher")
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    config.num_labels = 1
    with torch.random.fork_rng(devices=[]):
        BertForSequenceClassification(config).save_pretrained(folder / "teacher")
    assert mine(folder, "--negatives", "2", "--teacher", str(folder / "teacher")) == 0
    RecordFile(folder / "o.jsonl", least_negatives=2, needs_scores=True)


def test_a_runs_scores_are_the_teachers(folder: Path) -> None:
    """Documents that the teacher does not rank are left out, and so are topics without a positive that it ranks."""
    (folder / "teacher.txt").write_text(
        "".join(f"1 Q0 d{i} {rank} {9.5 - rank} x\n" for rank, i in enumerate((7, 0, 2, 4, 11), 1)) + "2 Q0 d4 1 1 x\n"
    )
    assert mine(folder, "--teacher-run", str(folder / "teacher.txt")) == 0
    (record,) = RecordFile(folder / "o.jsonl", needs_scores=True)
    assert record.query == "first"
    assert [(item.text, item.score) for item in record.positives] == [("text 0", 7.5)]
    assert [(item.text, item.score) for item in record.negatives] == [("text 2", 6.5), ("text 4", 5.5), ("text 7", 8.5)]


@pytest.fixture
def index(folder: Path, tiny_checkpoint: Path) -> Path:
    succeed("encode", *encode(folder / "corpus.jsonl", folder / "index", tiny_checkpoint))
    return folder / "index"


def mine_index(folder: Path, index: Path, *flags: str) -> int:
    names = dict(topics="topics.tsv", qrels="qrels.txt", output="o.jsonl")
    paths = [part for flag, name in names.items() for part in (f"--{flag}", str(folder / name))]
    return main([*paths, "--index", str(index), "--negatives", "3", "--depth", "6", *flags])


def test_an_index_gives_the_records_of_its_run(folder: Path, index: Path) -> None:
    """Texts come from the corpus that was encoded, whether it is named or not."""
    assert mine_index(folder, index) == 0
    records = (folder / "o.jsonl").read_text()
    succeed("search", *search(index, folder / "topics.tsv", folder / "run.txt", "--hits", 6))
    assert set(read_run(folder / "run.txt")) == {"1", "2", "3"}
    assert mine(folder, "--negatives", "3", "--depth", "6") == 0
    assert (folder / "o.jsonl").read_text() == records
    assert mine_index(folder, index, "--corpus", str(folder / "corpus.jsonl")) == 0
    assert (folder / "o.jsonl").read_text() == records


@pytest.mark.parametrize("name", [b"index", b"ind\xe9x"], ids=["utf-8", "other"])
def test_a_stopped_search_resumes(folder: Path, index: Path, monkeypatch: pytest.MonkeyPatch, name: bytes) -> None:
    index = index.rename(folder / os.fsdecode(name))
    assert mine_index(folder, index) == 0
    whole = (folder / "o.jsonl").read_bytes()
    (folder / "o.jsonl").unlink()
    usual, asked = HypencoderSearcher.batch_search, []

    def stopping(self: HypencoderSearcher, queries: list[str], ids: list[str], *more: object) -> object:
        asked.append(ids)
        if ids == ["2"] and asked.count(ids) == 1:
            raise KeyboardInterrupt
        return usual(self, queries, ids, *more)

    monkeypatch.setattr(HypencoderSearcher, "batch_search", stopping)
    one_by_one = ("--search-batch-size", "1")
    assert mine_index(folder, index, *one_by_one) != 0
    kept = folder / "o.jsonl.hits"
    kept.write_bytes(kept.read_bytes() + b'["2", [["d1"')  # as a kill in the middle of a line would leave it
    assert mine_index(folder, index, *one_by_one) == 0
    assert asked == [["1"], ["2"], ["2"]]
    assert (folder / "o.jsonl").read_bytes() == whole
    assert not kept.exists()


def test_hits_of_another_search_are_not_used(folder: Path, index: Path) -> None:
    (folder / "o.jsonl.hits").write_text('{"depth": 3}\n["1", [["d9", 1.0]]]\n')
    assert mine_index(folder, index) == 0
    (first, _) = RecordFile(folder / "o.jsonl")
    assert len(first.negatives) == 3


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--run", "r", "--index", "i"], "one of --index, --sparse-index and --run: found --index, --run"),
        ([], "one of --index, --sparse-index and --run: found none"),
        (["--run", "r"], "--corpus is missing"),
        (["--index", "/no/such"], "/no/such"),
    ],
)
def test_one_first_stage_is_wanted(
    folder: Path, capsys: pytest.CaptureFixture[str], flags: list[str], message: str
) -> None:
    given = ["--topics", folder / "topics.tsv", "--qrels", folder / "qrels.txt", "--output", folder / "o.jsonl", *flags]
    assert main([str(word) for word in given]) == 2
    assert message in capsys.readouterr().err
    assert not (folder / "o.jsonl").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--skip", "9", "--depth", "9"], "--skip 9 leaves nothing"),
        (["--relevance-level", "5"], "no topic has a relevant document"),
        (["--teacher", "/no/such"], "--teacher /no/such: not loadable"),
        (["--teacher", "t", "--teacher-run", "r"], "--teacher and --teacher-run: two teachers, wanted one"),
        (["--teacher-run", "/no/such"], "/no/such"),
    ],
)
def test_bad_input_is_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], flags: list[str], message: str
) -> None:
    assert mine(folder, *flags) == 2
    assert message in capsys.readouterr().err


def test_documents_that_are_not_in_the_corpus_are_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "corpus.jsonl").write_text('{"id": "d0", "contents": "text"}\n')
    assert mine(folder) == 2
    assert "lacks" in capsys.readouterr().err


def test_ids_with_leading_zeros_match_those_without(folder: Path) -> None:
    assert mine(folder) == 0
    expected = (folder / "o.jsonl").read_text()
    (folder / "topics.tsv").write_text("001\tfirst\n002\tsecond\n003\tnot judged\n")
    assert mine(folder) == 0
    assert [record.query for record in RecordFile(folder / "o.jsonl")] == ["first", "second"]
    assert len((folder / "o.jsonl").read_text().splitlines()) == len(expected.splitlines())


def test_beirs_files_and_pipes(folder: Path) -> None:
    documents = [{"_id": f"d{i}", "title": f"t{i}", "text": f"text {i}"} for i in range(12)]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(d) + "\n" for d in documents))
    queries = '{"_id": "1", "text": "first", "metadata": {}}\n{"_id": "2", "text": "second"}\n'
    qrels = "query-id\tcorpus-id\tscore\n1\td0\t1\n2\td1\t1\n"
    with piped(queries) as topics, piped(qrels) as judged, piped((folder / "run.txt").read_text()) as run:
        paths = ["--topics", topics, "--qrels", judged, "--run", run, "--corpus", str(folder / "corpus.jsonl")]
        succeed("mine", *paths, "--output", folder / "o.jsonl")
    assert [[item.text for item in record.positives] for record in RecordFile(folder / "o.jsonl")] == [
        ["t0 text 0"],
        ["t1 text 1"],
    ]
