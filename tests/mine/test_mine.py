# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

from hypensearch.mine.__main__ import main
from hypensearch.train.data import RecordFile


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


def test_a_stopped_command_goes_on_to_the_same_file(folder: Path) -> None:
    assert mine(folder, "--negatives", "3") == 0
    whole = (folder / "o.jsonl").read_bytes()
    (folder / "o.jsonl").unlink()
    (folder / "o.jsonl.partial").write_bytes(whole[: whole.index(b"\n") + 9])
    assert mine(folder, "--negatives", "3") == 0
    assert (folder / "o.jsonl").read_bytes() == whole
    assert not (folder / "o.jsonl.partial").exists()


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


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--skip", "9", "--depth", "9"], "--skip 9 leaves nothing"),
        (["--relevance-level", "5"], "no topic has a relevant document"),
        (["--teacher", "/no/such"], "--teacher /no/such: not loadable"),
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
