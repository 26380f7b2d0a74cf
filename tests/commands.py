# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Running the commands within the test's process, and looking at what they leave behind."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import resource
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from hypensearch.__main__ import COMMANDS


@dataclass(frozen=True)
class Done:
    """What a command ended with."""

    code: int | str | None
    out: str
    err: str


def run(command: str, *argv: object) -> Done:
    """Run a command of :data:`COMMANDS` to its end."""
    main = importlib.import_module(COMMANDS[command][0]).main
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main([str(word) for word in argv])
        except SystemExit as end:  # argparse's way
            code = end.code
    return Done(code, out.getvalue(), err.getvalue())


def succeed(command: str, *argv: object) -> str:
    """Run a command that must succeed; gives what it printed."""
    done = run(command, *argv)
    assert done.code == 0, done.err
    return done.out


def refuse(command: str, *argv: object) -> str:
    """Run a command that must be refused, in one line and with exit code 2; gives the line without "error: "."""
    done = run(command, *argv)
    assert done.code == 2, f"ended with {done.code}: {done.out}{done.err}"
    *before, last = done.err.rstrip("\n").split("\n")
    assert last.startswith("error: ")
    assert not any(line.startswith(("error", "Traceback")) for line in before)
    return last.removeprefix("error: ")


def encode(corpus: object, index: object, model: object, *more: object) -> list[object]:
    """The arguments of an encode command; ``more`` goes to the group ``encoder``."""
    return ["input", "--corpus", corpus, "output", "--embeddings", index, "encoder", "--encoder", model, *more]


def search(index: object, topics: object, output: object, *more: object) -> list[object]:
    """The arguments of a search command."""
    return ["--index", index, "--topics", topics, "--output", output, *more]


def write_corpus(path: Path, texts: Mapping[str, str]) -> Path:
    """Write texts by docid as a corpus."""
    lines = [json.dumps({"id": docid, "contents": text}) + "\n" for docid, text in texts.items()]
    path.write_text("".join(lines))
    return path


def write_topics(path: Path, topics: Mapping[str, str]) -> Path:
    """Write queries by topic id as a TSV file."""
    path.write_text("".join(f"{topic}\t{query}\n" for topic, query in topics.items()))
    return path


def content(folder: Path) -> dict[str, bytes]:
    """All files below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@contextlib.contextmanager
def disk_full_after(num_bytes: int) -> Iterator[None]:
    """Let no file grow beyond a size: what a full disk is to who writes it."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)


@contextlib.contextmanager
def piped(content: str) -> Iterator[str]:
    """A pipe's name as the shell's ``<(command)`` gives it; it holds less than 64 KiB."""
    reader, writer = os.pipe()
    try:
        os.write(writer, content.encode())
        os.close(writer)
        yield f"/dev/fd/{reader}"
    finally:
        os.close(reader)
