# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""``hypensearch search --interactive``, in a process of its own: piped, at a terminal, interrupted."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import hypensearch
from hypensearch.search import HypencoderSearcher
from tests.commands import encode, refuse, succeed, write_corpus

TEXTS = {"a": "water of the river", "b": "stones of the church", "c": "a storm over the north", "d": "the satellite"}
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(hypensearch.__file__).parents[1]), "COLUMNS": "80"}
_PATIENCE = 120  # seconds


@pytest.fixture(scope="module")
def index(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("interactive")
    succeed("encode", *encode(write_corpus(folder / "corpus.jsonl", TEXTS), folder / "index", tiny_checkpoint))
    return folder / "index"


def command(index: Path, *more: object) -> list[str]:
    return [sys.executable, "-m", "hypensearch.search", "--index", str(index), *map(str, more)]


def test_piped_queries(index: Path) -> None:
    argv = command(index, "--interactive", 2)
    done = subprocess.run(argv, input="river\n\n  church \n", capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    with HypencoderSearcher(index) as searcher:
        wanted = [hit for query in ("river", "church") for hit in searcher.search(query, 2)]
    shown = re.findall(r"(\d)\. +(-?\d+\.\d{3})  (\w)\n +(.*)", done.stdout)
    assert shown == [(str(n % 2 + 1), f"{hit.score:.3f}", hit.docid, TEXTS[hit.docid]) for n, hit in enumerate(wanted)]
    assert len(re.findall(r"\n2 of 4 documents in \d+ ms\n", done.stdout)) == 2
    assert "query>" not in done.stdout


def test_ten_hits_unless_said_otherwise_and_no_query_at_all(index: Path) -> None:
    argv = command(index, "--interactive")
    done = subprocess.run(argv, input="storm", capture_output=True, text=True, env=ENVIRONMENT)
    assert "4 of 4 documents in" in done.stdout
    nothing = subprocess.run(argv, input="", capture_output=True, text=True, env=ENVIRONMENT)
    assert (nothing.returncode, nothing.stdout) == (0, "")


def test_without_its_text(index: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus.jsonl", TEXTS)
    succeed("encode", *encode(corpus, tmp_path / "index", tiny_checkpoint))
    corpus.unlink()
    argv = command(tmp_path / "index", "--interactive", 3)
    done = subprocess.run(argv, input="storm\nriver\n", capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode == 0
    assert done.stdout.count("3 of 4 documents") == 2
    assert done.stderr.count("Hits are shown without text: ") == 1


@pytest.mark.parametrize("end", ["end of file", "interrupt"])
def test_at_a_terminal(index: Path, end: str) -> None:
    """A prompt is shown; Ctrl-D and Ctrl-C end it with exit code 0 and no word of it."""
    mine, its = pty.openpty()
    argv = command(index, "--interactive", 1)
    process = subprocess.Popen(argv, stdin=its, stdout=its, stderr=its, env=ENVIRONMENT, start_new_session=True)
    os.close(its)
    shown = _read_until(mine, "query> ")
    os.write(mine, b"river\n")
    shown += _read_until(mine, "ms\r\n\r\nquery> ")
    leave = (lambda: process.send_signal(signal.SIGINT)) if end == "interrupt" else (lambda: os.write(mine, b"\x04"))
    leave()
    shown += _read_until(mine, None, again=leave, silence=1 if end == "end of file" else 20)
    assert process.wait(30) == 0, shown
    os.close(mine)
    assert "4 documents in" in shown
    assert "Traceback" not in shown
    assert "interrupted" not in shown


def _read_until(terminal: int, text: str | None, again: Callable[[], object] | None = None, silence: float = 1) -> str:
    """Read what is shown until a text comes, or until the other side has closed.

    :param again: What to do once more when nothing has come for a while: keys get lost while a terminal changes mode,
        and a signal that comes before readline waits is seen with the next one.
    :param silence: How many seconds make a while; a second signal must not meet a process that is about to end.
    """
    raw, until = b"", time.monotonic() + _PATIENCE
    while text is None or text not in _without_escapes(raw):
        assert time.monotonic() < until, f"waited for {text!r}, found {raw!r}"
        if not select.select([terminal], [], [], silence)[0]:
            if again is not None:
                again()
            continue
        try:
            part = os.read(terminal, 4096)
        except OSError:  # Linux' way to say that the other side is closed
            part = b""
        if not part:
            assert text is None, raw
            break
        raw += part
    return _without_escapes(raw)


def _without_escapes(raw: bytes) -> str:
    return re.sub(r"\x1b\[[?0-9;]*[a-zA-Z]", "", raw.decode(errors="replace"))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--interactive", "--topics", "t"], "--topics and --interactive exclude each other"),
        (["--interactive", "--output", "o"], "--output and --interactive exclude each other"),
        (["--interactive", "--encoded-queries", "q"], "--encoded-queries and --interactive exclude each other"),
        (["--output", "o"], "--topics is missing (or --interactive, to type queries)"),
        (["--topics", "t"], "--output is missing"),
        (["--topics", "t", "--output", "o", "--sparse-index", "s"], "--sparse-index gives the texts"),
    ],
)
def test_flags_that_exclude_each_other(index: Path, flags: list[str], message: str) -> None:
    assert message in refuse("search", "--index", index, *flags)
