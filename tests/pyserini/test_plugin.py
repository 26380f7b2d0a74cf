# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Our encoders and index type within a stand-in for Pyserini; the real ones are in ``integrations/``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hypensearch.pyserini.plugin import plug_in
from tests.pyserini.test_bridge import Machine, machine

__all__ = ["machine"]

ENCODE = """
class DocumentEncoder:
    def encode(self, texts, **kwargs): pass
class QueryEncoder:
    def __init__(self, encoded_query_dir=None): self.has_model = False
    def encode(self, query): pass
class Other(DocumentEncoder): pass
document_encoder_class_map = {"ance": Other, "auto": Other}
query_encoder_class_map = {"ance": Other, "auto": Other}
"""
COMMAND = """
import json, sys
from pyserini.encode import document_encoder_class_map, query_encoder_class_map, DocumentEncoder, QueryEncoder
words = sys.argv[1:]
name = words[words.index("--encoder") + 1]
def choose(classes): return next(classes[key] for key in classes if key in name.lower())
document, query = choose(document_encoder_class_map), choose(query_encoder_class_map)
print(json.dumps({"words": words, "classes": [document.__name__, query.__name__],
                  "ours": [issubclass(document, DocumentEncoder), issubclass(query, QueryEncoder)],
                  "keys": list(document_encoder_class_map)}))
"""
OURS = ["HypencoderDocumentEncoder", "HypencoderQueryEncoder"]


def run_encode(machine: Machine, *words: str) -> dict[str, object]:
    machine.install_pyserini(files={"encode/__init__.py": ENCODE, "encode/__main__.py": COMMAND})
    machine.write(machine.site / "pyserini/encode/__init__.py", ENCODE)
    done = machine.python("-m", "hypensearch.pyserini", "encode", *words)
    assert done.returncode == 0, done.stderr
    said: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return said


@pytest.mark.parametrize("flag", [["--encoder-class", "hypencoder"], ["--encoder-class=biencoder"]])
def test_a_path_that_pyserini_would_take_for_another_class(machine: Machine, flag: list[str]) -> None:
    said = run_encode(machine, "encoder", "--encoder", "/data/Finance/model", *flag, "--fp16")

    assert said["classes"] == OURS
    assert said["ours"] == [True, True]
    assert said["words"] == ["encoder", "--encoder", "/data/Finance/model", "--fp16"]
    assert said["keys"] == ["/data/finance/model", "hypencoder", "ance", "auto"]


def test_released_models_need_no_class(machine: Machine) -> None:
    said = run_encode(machine, "encoder", "--encoder", "jfkback/hypencoder.2_layer")

    assert said["classes"] == OURS


def test_other_encoders_stay_pyserinis(machine: Machine) -> None:
    words = ["encoder", "--encoder", "castorini/ance", "--encoder-class", "ance"]

    said = run_encode(machine, *words)

    assert said["classes"] == ["Other", "Other"]
    assert said["words"] == words
    assert said["keys"] == ["ance", "auto"]


def test_commands_without_encoders_load_nothing() -> None:
    assert plug_in("eval.trec_eval", ["-c", "--encoder", "hypencoder"]) == ["-c", "--encoder", "hypencoder"]


def test_a_corpus_of_one_file_is_indexed_as_a_folder(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text('{"id": "d", "contents": "x"}')

    words = plug_in("index.lucene", ["--collection", "JsonCollection", "--input", str(corpus), "--index", "lucene"])

    folder = Path(words[words.index("--input") + 1])
    assert [path.read_text() for path in folder.iterdir()] == [corpus.read_text()]
    assert [word for word in words if word not in ("--input", str(folder))] == [
        *("--collection", "JsonCollection", "--index", "lucene")
    ]
    as_it_is = ["--input", str(tmp_path), "--index", "lucene"]
    assert plug_in("pyserini.index.lucene", as_it_is) == as_it_is


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        (["1", "2"], ["2", "001"], "'1' of A and '001' of B: Pyserini fuses them as one topic, 1;"),
        (["001", "q"], ["1", "q"], "'001' of A and '1' of B: Pyserini fuses them as two topics that"),
        (["007"], ["007"], "Pyserini's fusion reads topic ids as numbers: '007' is 7 in its run"),
        (["1", "q2"], ["1", "q2"], None),
        (["1", "01", "x"], ["001", "x"], None),  # which of the two it could be is not known
        (["001", "q"], ["001"], None),
    ],
)
def test_topics_that_fusion_would_take_apart_are_named(
    machine: Machine, tmp_path: Path, first: list[str], second: list[str], said: str | None
) -> None:
    paths = {name: tmp_path / name for name in "AB"}
    for path, topics in zip(paths.values(), (first, second), strict=True):
        path.write_text("".join(f"{topic} Q0 d{n} {n} {9 - n} x\n" for topic in topics for n in (1, 2)))
    machine.install_pyserini(files={"fusion/__main__.py": "import sys; print(sys.argv[1:])"})

    words = ["--method", "rrf", "--runs", *map(str, paths.values()), "--output", "fused"]
    done = machine.python("-m", "hypensearch.pyserini", "fusion", *words)

    assert done.stdout == f"{words}\n"
    warnings = [line for line in done.stderr.splitlines() if "Pyserini" in line]
    assert len(warnings) == (said is not None), done.stderr
    for name, path in paths.items():
        said = said and said.replace(f"of {name}", f"of {path}")
    assert not said or said in warnings[0]


@pytest.mark.parametrize("second", ["", "\xff\xfe", None])
def test_runs_that_cannot_be_read_are_pyserinis_to_refuse(tmp_path: Path, second: str | None) -> None:
    (tmp_path / "a").write_text("1 Q0 d 1 1 x\n")
    if second is not None:
        (tmp_path / "b").write_text(second, encoding="latin-1")
    words = ["--runs", str(tmp_path / "a"), str(tmp_path / "b"), "--output", "fused"]
    assert plug_in("fusion", words) == words


SERVER_UTILS = "SEARCHER_FACTORIES = {}\nINDEX_TYPE = {}\n"
SERVER = """
import json
from types import SimpleNamespace
from pyserini.server.utils import SEARCHER_FACTORIES, INDEX_TYPE
open_index, open_prebuilt, options = SEARCHER_FACTORIES["hypencoder"]
config = SimpleNamespace(name="mine", base_index="texts", encoder="")
print(json.dumps([open_index.__name__, options(config), "mine" in INDEX_TYPE["hypencoder"],
                  INDEX_TYPE["hypencoder"]["mine"], list(INDEX_TYPE["hypencoder"]),
                  INDEX_TYPE["hypencoder"]["published"]]))
"""


def test_index_type_of_the_servers(machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = machine.write(tmp_path / "registry.json", '{"published": {"md5": "0", "texts": "theirs"}}')
    monkeypatch.setenv("HYPENSEARCH_PREBUILT_INDEXES", str(registry))
    files = {"server/utils.py": SERVER_UTILS, "server/rest/__main__.py": SERVER}
    machine.install_pyserini("2.4.0", files)

    done = machine.python("-m", "hypensearch.pyserini", "server.rest")

    assert json.loads(done.stdout) == [
        "HypencoderSearcher",
        {"query_encoder": None},
        False,  # or the servers would take it for a prebuilt one
        {"texts": "texts"},
        ["published"],
        {"md5": "0", "texts": "theirs"},
    ], done.stderr


def test_servers_that_take_no_other_types(machine: Machine) -> None:
    machine.install_pyserini("1.6.0", {"server/rest/__main__.py": "print('started')"})

    done = machine.python("-m", "hypensearch.pyserini", "server.rest")

    assert done.stdout == "started\n"
    assert "index_type hypencoder is not available in the servers of Pyserini 1.6.0" in done.stderr
