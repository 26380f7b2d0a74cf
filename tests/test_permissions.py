# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Colleagues read what a command writes as they read its neighbours: the umask decides, and no library."""

from __future__ import annotations

import json
import os
import stat
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hypensearch.__main__ import COMMANDS
from hypensearch.flat.prebuilt import REGISTRY_VARIABLE, find_prebuilt_index
from hypensearch.formats.files import replace_when_whole, sha256_of
from tests.commands import encode, run, search, succeed, write_corpus, write_topics
from tests.train.toy import make_backbone, make_data

TEXTS = {f"d{n}": f"water and stone number {n}" for n in range(30)}
TOPICS = {"1": "water", "2": "stone five"}
# Runs the commands of others; writes nothing; writes to a database; needs onnx.
NOT_RUN = {"pyserini", "serve", "export", "convert.onnx"}


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_backbone(tmp_path_factory.mktemp("backbone"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("data"))


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077])
def test_everything_that_commands_write(
    umask: int, tiny_checkpoint: Path, backbone: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: set[str] = set()

    def ok(command: str, *argv: object) -> None:
        succeed(command, *argv)
        ran.add(command)

    with umask_of(umask):
        folder = tmp_path / "made"
        folder.mkdir()
        monkeypatch.chdir(folder)
        corpus, topics = write_corpus(folder / "c.jsonl", TEXTS), write_topics(folder / "t.tsv", TOPICS)
        (folder / "qrels").write_text("1 0 d1 1\n2 0 d5 1\n")
        index, other = folder / "new" / "index", folder / "other"
        parts = ["output", "--embeddings", index, "--to-faiss", "--store-documents"]
        ok("encode", "input", "--corpus", corpus, *parts, "encoder", "--encoder", tiny_checkpoint)
        more = write_corpus(folder / "more.jsonl", {f"e{n}": text for n, text in enumerate(TEXTS.values())})
        ok("encode", *encode(more, other, tiny_checkpoint))
        ok("index.join", "--output", folder / "joined", index, other)
        ok("index", "--index", index, "--degree", "4")
        ok("index", "--index", index, "--surrogate")
        ok("encode.query", "--topics", topics, "--encoder", tiny_checkpoint, "--output", folder / "q")
        ok("search", *search(index, topics, folder / "runs" / "r", "--report", folder / "report.json"))
        to_texts = ["--corpus", corpus, "--encoder", tiny_checkpoint, "--cache", folder / "cache"]
        ok("rerank", "--run", "runs/r", "--topics", topics, "--output", folder / "reranked", *to_texts)
        ok("eval", "--qrels", "qrels", "--run", "runs/r")
        ok("bench", "--index", index, "--topics", topics, "--searches", "exhaustive", "--output", "bench.json")
        judged = ["--topics", topics, "--qrels", "qrels", "--corpus", corpus]
        ok("mine", *judged, "--run", "runs/r", "--output", folder / "mined" / "m.jsonl")
        training = ["--train", data / "train.jsonl", "--backbone", backbone]
        short = ["--max-steps", "2", "--eval-steps", "1", "--batch-size", "2", "--num-negatives", "1"]
        short += ["--losses", "cross_entropy"]
        ok("train", *training, *short, "--output", folder / "trained", "--num-blocks", "1", "--pooling", "mean")
        for name, flags in {"ours": [], "compact": ["--compact"], "theirs": ["--to", "released"]}.items():
            ok("convert", "--encoder", tiny_checkpoint, "--output", folder / name, *flags)
            ok("convert", "--encoder", tiny_checkpoint, "--output", folder / name, *flags)  # in place of the first
        theirs = '{"query": {"id": "1"}, "items": [{"id": "d", "score": 1}]}\n'
        (folder / "theirs.jsonl").write_text(theirs)
        ok("convert.run", "--input", "theirs.jsonl", "--output", folder / "converted")
        ok("verify", index, "--full")
        (vectors,) = index.glob("*/vectors.npy")
        vectors.write_bytes(vectors.read_bytes()[:-4] + b"spam")
        run("verify", index, "--repair")
        ran.add("verify")
        ok("demo", "--no-bm25", "--max-docs", "60", "--encoder", tiny_checkpoint, "--output", folder / "demo")
        ok("2cr", "--collection", "tot", "--generate-report", "--output", folder / "matrix.html")
    assert ran == COMMANDS.keys() - NOT_RUN
    assert unusual(folder, umask) == {}


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077])
def test_prebuilt_indexes(umask: int, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive may hold the permissions of who packed it."""
    corpus = write_corpus(tmp_path / "c.jsonl", TEXTS)
    succeed("encode", *encode(corpus, tmp_path / "index", tiny_checkpoint))
    for path in (tmp_path / "index").rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)
    with tarfile.open(tmp_path / "index.tar", "w") as tar:
        tar.add(tmp_path / "index", "index")
    archive = tmp_path / "index.tar"
    records = {"x": {"urls": [archive.as_uri()], "sha256": sha256_of(archive)}}
    (tmp_path / "records.json").write_text(json.dumps(records))
    monkeypatch.setenv(REGISTRY_VARIABLE, str(tmp_path / "records.json"))
    monkeypatch.setenv("HYPENSEARCH_CACHE", str(tmp_path / "cache"))
    with umask_of(umask):
        find_prebuilt_index("x")
    assert unusual(tmp_path / "cache", umask) == {}


def test_a_file_that_was_private_stays_so(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    path.chmod(0o600)
    with replace_when_whole(path, "w") as file:
        file.write("new")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@contextmanager
def umask_of(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def unusual(folder: Path, umask: int) -> dict[str, str]:
    """Give the permissions that are not what the umask leaves, by path."""
    found = {}
    for path in [folder, *folder.rglob("*")]:
        usual = (0o777 if path.is_dir() else 0o666) & ~umask
        if (mode := stat.S_IMODE(path.lstat().st_mode)) != usual and not path.is_symlink():
            found[str(path.relative_to(folder))] = oct(mode)
    return found
