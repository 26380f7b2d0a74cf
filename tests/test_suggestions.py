# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Commands that messages suggest can be pasted into a shell, whatever folders are called."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import pytest

import hypensearch
from hypensearch.errors import as_typed
from tests.commands import encode, refuse, run, search, succeed, write_corpus, write_topics

PACKAGE = Path(hypensearch.__file__).parent
ODD = "it's $HOME & more"


def test_names_are_quoted() -> None:
    words = ["--index", ODD, "--output", "RUN", "--name", "plain-name_1.0"]
    line = as_typed("hypensearch.search", *words)
    assert shlex.split(line) == ["python", "-m", "hypensearch.search", *words]
    assert line.endswith("--output RUN --name plain-name_1.0")


def test_no_command_line_is_put_together_by_hand() -> None:
    """An f-string may end with a command line, but nothing may be put into one except by ``shlex``."""
    found = [
        f"{path.relative_to(PACKAGE)}:{string.lineno}"
        for path in PACKAGE.rglob("*.py")
        for string in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(string, ast.JoinedStr) and _fills_a_command_line(string)
    ]
    assert found == []


def _fills_a_command_line(string: ast.JoinedStr) -> bool:
    command = False
    for part in string.values:
        if isinstance(part, ast.Constant):
            command = "python -m" in str(part.value) or (command and ";" not in str(part.value))
        elif command and "shlex." not in ast.unparse(part) and "as_typed(" not in ast.unparse(part):
            return True
    return False


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path) -> Path:
    folder = tmp_path_factory.mktemp("odd") / ODD
    folder.mkdir()
    corpus = write_corpus(folder / "corpus.jsonl", {f"d{n}": f"water and stone {n}" for n in range(20)})
    write_topics(folder / "topics.tsv", {"1": "water"})
    succeed("encode", *encode(corpus, folder / "index", tiny_checkpoint))
    return folder


def suggested(said: str) -> list[str]:
    """Give the words of the command that a message suggests, up to a semicolon outside of quotes."""
    (command,) = re.findall(r"(python -m hypensearch\S*|--encoded-queries) (.*)", said)
    lexer = shlex.shlex(command[1], posix=True, punctuation_chars=";")
    lexer.whitespace_split = True
    words = list(lexer)
    return words[: words.index(";")] if ";" in words else words


def test_what_commands_suggest(folder: Path, tiny_checkpoint: Path) -> None:
    index, topics = str(folder / "index"), folder / "topics.tsv"
    searching = search(index, topics, folder / "run", "--searcher")
    lines = {
        "encode": succeed("encode", *encode(folder / "corpus.jsonl", folder / "other", tiny_checkpoint)),
        "graph": refuse("search", *searching, "graph"),
        "codes": refuse("search", *searching, "surrogate"),
        "join": succeed("index.join", "--output", folder / "joined", index),
        "made graph": succeed("index", "--index", index, "--degree", 3),
        "another graph": refuse(
            "search", *search(index, topics, folder / "run", "--searcher", "graph", "--graph", "x")
        ),
        "surrogate": succeed("index", "--index", index, "--surrogate"),
        "q-nets": succeed(
            "encode.query", "--topics", topics, "--encoder", tiny_checkpoint, "--output", folder / "q", "--compact"
        ),
    }
    places = {"encode": "other", "join": "joined", "q-nets": "q"}
    for name, said in lines.items():
        assert str(folder / places.get(name, "index")) in suggested(said), said


def test_what_verify_suggests(folder: Path, tiny_checkpoint: Path) -> None:
    succeed("encode", *encode(folder / "corpus.jsonl", folder / "broken", tiny_checkpoint))
    (vectors,) = (folder / "broken").glob("*/vectors.npy")
    vectors.write_bytes(vectors.read_bytes()[:-4])
    assert suggested(run_lines("verify", folder / "broken")) == [str(folder / "broken"), "--repair"]


def run_lines(command: str, *argv: object) -> str:
    done = run(command, *argv)
    return "\n".join(line for line in (done.out + done.err).splitlines() if "python -m" in line)
