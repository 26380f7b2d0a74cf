# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""What SECURITY.md says."""

from __future__ import annotations

import ast
import json
import os
import pickle
import random
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import hypensearch
from hypensearch.errors import HypensearchError
from hypensearch.flat import FlatIndex
from hypensearch.flat.manifest import read_manifest
from hypensearch.formats.json_files import signed_json
from hypensearch.hits import Hit
from hypensearch.models import QNetConfig
from hypensearch.models.weights import read_weights
from hypensearch.search import HypencoderSearcher
from hypensearch.search.interactive import readable_hits
from hypensearch.surrogate.builder import build_surrogate
from hypensearch.train.config import read_config
from tests.commands import encode, run, succeed, write_corpus, write_topics
from tests.fuzzing import memory_bounded
from tests.liars import FORMATS
from tests.lies import Liar
from tests.search.strategies import random_q_nets, random_vectors, save_index

PACKAGE = Path(hypensearch.__file__).parent
RUNS_CODE = ("eval", "exec", "compile", "__import__", "os.system", "os.popen", "yaml.load", "yaml.unsafe_load")
READS_PICKLE = ("pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal")


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_that_is_read_is_run(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for name, call in calls(tree):
        options = {option.arg: ast.unparse(option.value) for option in call.keywords}
        assert name not in RUNS_CODE
        assert options.get("trust_remote_code", "False") == "False"
        assert options.get("shell", "False") == "False"
        assert name != "torch.load" or options.get("weights_only") == "True"
        assert options.get("allow_pickle", "False") == "False"
        assert not name.endswith(".extractall") or options.get("filter") == "'data'"
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            assert not {name.split(".")[0] for name in names} & set(READS_PICKLE)


class Harmful:
    """What makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("old_format", [False, True])
def test_code_in_weights_is_not_run(old_format: bool, tmp_path: Path) -> None:
    torch.save(
        {"a": Harmful(tmp_path / "done")},
        tmp_path / "pytorch_model.bin",
        _use_new_zipfile_serialization=not old_format,
    )
    with pytest.raises(HypensearchError, match="not a file of plain tensors"):
        read_weights(tmp_path)
    assert not (tmp_path / "done").exists()
    (tmp_path / "pytorch_model.bin").write_bytes(pickle.dumps(Harmful(tmp_path / "done")))
    with pytest.raises(HypensearchError, match="not a file of plain tensors"):
        read_weights(tmp_path)
    assert not (tmp_path / "done").exists()


def test_code_in_yaml_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(f"output: !!python/object/apply:os.mkdir ['{tmp_path}/done']\n")
    with pytest.raises(HypensearchError, match="not readable as YAML"):
        read_config(str(tmp_path / "a.yaml"), {})
    assert not (tmp_path / "done").exists()


def test_aliases_that_multiply_are_not_written_out(tmp_path: Path) -> None:
    levels = ["&a0 [x, x]", *(f"&a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60))]
    (tmp_path / "a.yaml").write_text(f"output: [{', '.join(levels)}]\ntrain: x\nbackbone: x\n")
    with pytest.raises(HypensearchError, match="output: wanted a text") as refused:
        read_config(str(tmp_path / "a.yaml"), {})
    assert len(str(refused.value)) < 1000


SECURITY = Path(__file__).parent.parent / "SECURITY.md"
TESTED = re.compile(r"\[(tests/[\w/]+\.py)::(test_\w+)\]")


@pytest.mark.skipif(not SECURITY.exists(), reason="the package is tested without its checkout")
def test_every_sentence_of_the_threat_model_names_its_test() -> None:
    model = SECURITY.read_text(encoding="utf-8").split("## Threat model")[1].split("## Not defended")[0]
    sentences = [line for line in model.replace("\n  ", " ").split("\n") if line.startswith("- ")]
    assert len(sentences) > 15
    for sentence in sentences:
        assert TESTED.search(sentence), sentence
        for file, name in TESTED.findall(sentence):
            assert f"def {name}(" in (SECURITY.parent / file).read_text(encoding="utf-8"), name


def small_index(folder: Path) -> Path:
    save_index(folder / "index", random_vectors(40, 32)).close()
    return folder / "index"


def change_manifest(index: Path, **changes: object) -> None:
    facts = json.loads((index / "manifest.json").read_text())
    del facts["checksum"]
    facts["model"] = {**(facts["model"] or {}), **changes}
    (index / "manifest.json").write_bytes(signed_json(facts))


def test_an_index_never_reaches_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HYPENSEARCH_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket.socket, "connect", lambda self, where: asked.append(where))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *where, **options: asked.append(where))
    index = small_index(tmp_path)
    change_manifest(index, name="attacker/x", backbone_config="attacker/y", revision="main")
    with HypencoderSearcher(index, device="cpu") as searcher, pytest.raises(HypensearchError, match="name it with"):
        searcher.search("a query")
    assert not asked


@pytest.mark.parametrize("planted", [".lock", "surrogate", "surrogate/.sample.partial", "surrogate/surrogate.json"])
def test_codes_are_not_written_through_what_was_planted(planted: str, tmp_path: Path) -> None:
    index, victim = small_index(tmp_path), tmp_path / "victim"
    place = index / ("surrogate/.lock" if planted == ".lock" else planted)
    if planted == "surrogate":
        victim.mkdir()
        (victim / "precious.npy").write_text("private")
    else:
        (index / "surrogate").mkdir()
        victim.write_text("private")
    place.symlink_to(victim)
    with FlatIndex.open(index) as opened:
        try:
            build_surrogate(opened, random_q_nets(QNetConfig(dims=(32, 32, 1)), 9), torch.device("cpu"))
        except (HypensearchError, OSError) as error:
            assert "is a link" in str(error)  # noqa: PT017
    assert (victim / "precious.npy" if planted == "surrogate" else victim).read_text() == "private"
    assert planted != "surrogate" or [path.name for path in victim.iterdir()] == ["precious.npy"]


@pytest.mark.parametrize("planted", [".lock", "manifest.json", "progress.json", "shard-000-gen-0002", "index", "docid"])
def test_an_index_is_not_replaced_through_what_was_planted(planted: str, tiny_checkpoint: Path, tmp_path: Path) -> None:
    corpus, victim = write_corpus(tmp_path / "c.jsonl", {"d1": "a text"}), tmp_path / "victim"
    arguments = [
        "input",
        "--corpus",
        corpus,
        "--fields",
        "contents",
        *encode(corpus, tmp_path / "i", tiny_checkpoint)[3:],
    ]
    succeed("encode", *arguments)
    if planted == "shard-000-gen-0002":
        victim.mkdir()
    else:
        victim.write_text("private")
    (tmp_path / "i" / planted).unlink(missing_ok=True)
    (tmp_path / "i" / planted).symlink_to(victim)
    place = arguments.index("encoder")
    done = run("encode", *arguments[:place], "--overwrite", "--to-faiss", *arguments[place:])
    assert done.code in (0, 2)
    assert "Traceback" not in done.err
    assert list(victim.iterdir()) == [] if victim.is_dir() else victim.read_text() == "private"


@pytest.mark.parametrize("text", ["root:x:0:0\n", '{"id": "other", "contents": "private"}\n', '["d0"]\n', "\x00\xff"])
def test_texts_are_those_of_the_index_or_of_the_corpus_that_was_encoded(
    text: str, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    corpus = write_corpus(tmp_path / "c.jsonl", {"d0": "a text"})
    index = tmp_path / "i"
    words = ["input", "--corpus", corpus, "--fields", "contents", *encode(corpus, index, tiny_checkpoint)[3:]]
    succeed("encode", *words)
    with FlatIndex.open(index) as opened:
        document = opened.document("d0")
        assert document is not None
        assert document.contents() == "a text"
    secret = tmp_path / "secret"
    secret.write_text(text)
    found = secret.stat()
    manifest = read_manifest(str(index))
    assert manifest.shards[0].documents is not None
    for file in (
        {"path": str(secret), "bytes": found.st_size, "mtime_ns": found.st_mtime_ns},
        {"path": str(secret)},
        {"path": "../../secret", "bytes": found.st_size, "mtime_ns": found.st_mtime_ns},
        {"path": "/dev/zero", "bytes": 0, "mtime_ns": os.stat("/dev/zero").st_mtime_ns},
    ):
        manifest.shards[0].documents["files"] = [file]
        manifest.write(str(index))
        with FlatIndex.open(index) as opened, memory_bounded(2**27), pytest.raises(HypensearchError) as refused:
            opened.document("d0")
        assert "private" not in str(refused.value)


def test_texts_and_names_of_others_are_shown_without_control_characters() -> None:
    shown = readable_hits([Hit("d\x1b[2J1", 1.0)], lambda docid: "a \x1b]0;owned\x07 text \u202e", 80)
    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert "d\\x1b[2J1" in shown


@pytest.mark.parametrize("name", [name for name in FORMATS if "checked" not in name])
def test_verify_ends_with_0_1_or_2_on_anything(name: str, tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("private")
    for number in range(12):
        honest, told = tmp_path / f"h{number}", tmp_path / f"h{number}"
        honest.mkdir()
        FORMATS[name].make(honest)
        Liar(honest, tmp_path / "victim", FORMATS[name].sign, random.Random(number)).tell(told)
        for folder in [told, *(path for path in told.iterdir() if path.is_dir())]:
            done = run("verify", folder, "--full")
            assert done.code in (0, 1, 2)
            assert done.out or done.err.startswith("error: ") or "\nerror: " in done.err.replace("\r", "\n")
    for junk in ("pipe", "socket", "file"):
        if junk == "pipe":
            os.mkfifo(tmp_path / junk)
        elif junk == "file":
            (tmp_path / junk).write_bytes(np.random.default_rng(0).bytes(99))
        assert run("verify", tmp_path / junk, "--full").code == 2


def test_a_shared_topics_file_shows_no_escapes(tiny_checkpoint: Path, tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "c.jsonl", {"d1": "a text \x1b[2J"})
    index = tmp_path / "i"
    words = ["input", "--corpus", corpus, "--fields", "contents", *encode(corpus, index, tiny_checkpoint)[3:]]
    succeed("encode", *words)
    topics = write_topics(tmp_path / "t.tsv", {"1": "q \x1b[31m", "2": "\x07 b"})
    (tmp_path / "qrels.txt").write_text("1 0 d1 1\n\x1b[2J 0 d1 1\n")
    done = run("search", "--index", index, "--topics", topics, "--output", tmp_path / "run.txt")
    measured = run("eval", "-q", "--qrels", tmp_path / "qrels.txt", "--run", tmp_path / "run.txt")
    bad = write_topics(tmp_path / "bad.tsv", {"1\x1b[2J": "q"})
    refused = run("search", "--index", index, "--topics", bad, "--output", tmp_path / "run2.txt")
    assert (done.code, measured.code) == (0, 0)
    assert refused.code in (0, 2)
    for said in (done, measured, refused):
        assert "\x1b" not in said.out + said.err
        assert "\x07" not in said.out + said.err
