# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Fuzzing: damaged and random files, each read under a bound on memory.

A reader may give a result or raise :class:`HypensearchError` in one line; anything else is a finding.
``python -m integrations.fuzz`` feeds each reader ten million bytes, ``test_fuzzing.py`` a small share.
"""

from __future__ import annotations

import logging
import os
import random
import resource
import struct
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from hypensearch.errors import HypensearchError

MEMORY_BYTES = 2**30
TOKENS = (b"\n", b"\r\n", b"\t", b" ", b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"{", b"}", b"[", b"]")
TOKENS += (b'"', b"\\u", b"\\ud800", b",", b":", b"-", b"1e999", b"NaN", b"Infinity", b"null", b"true", b"[" * 3000)
TOKENS += (b"9" * 5000, b"-1", b"0", b"1152921504606846976", b"18446744073709551616", b"../../x", b"/etc/passwd")
TOKENS += (b'"' + b"x" * 300 + b'"', b'{"a":' * 2000, b"!!python/object/apply:os.getcwd []", b"&a [*a]", b"\x80\x02")
_NUMBERS = (0, 1, -1, 2**31 - 1, 2**31, 2**32 - 1, 2**60, 2**63 - 1, 2**64 - 1)


@dataclass(frozen=True)
class Example:
    """A valid file, which is damaged and read again.

    :param path: The file; what stands beside it stays whole.
    :param content: Its bytes, before ``wrap``.
    :param wrap: What is done to the damaged bytes: packing, signing anew.
    """

    path: Path
    content: bytes
    wrap: Callable[[bytes], bytes] = bytes


@dataclass(frozen=True)
class Reader:
    """Something that reads files from strangers.

    :param make: Writes valid files into a folder.
    :param read: Reads such a file wholly.
    """

    make: Callable[[Path], Sequence[Example]]
    read: Callable[[Path], object]


@dataclass
class Outcome:
    """What a reader did with what it was fed.

    :param num_bytes: Bytes fed to it.
    :param num_files: Files fed to it.
    :param read: Files that it read.
    :param refused: Files that it refused with a :class:`HypensearchError`.
    :param findings: Everything else: where it happened, and the bytes of the first file that did it.
    """

    num_bytes: int = 0
    num_files: int = 0
    read: int = 0
    refused: int = 0
    findings: dict[str, bytes] = field(default_factory=dict)


def fuzz(reader: Reader, folder: Path, num_bytes: int, seed: int = 0) -> Outcome:
    """Feed a reader damaged and random files.

    :param folder: An empty folder for the files.
    :param num_bytes: How much, at least.
    :param seed: Of the damages.
    """
    outcome = Outcome()
    examples = whole_examples(reader, folder)
    rng = random.Random(seed)
    with memory_bounded(MEMORY_BYTES), quiet():
        while outcome.num_bytes < num_bytes:
            example = rng.choice(examples)
            feed(reader, example, damaged(example.content, rng), outcome)
    return outcome


def whole_examples(reader: Reader, folder: Path) -> Sequence[Example]:
    """Write a reader's examples, and read them as they are."""
    examples = reader.make(folder)
    for example in examples:
        example.path.write_bytes(example.wrap(example.content))
        reader.read(example.path)
    return examples


def feed(reader: Reader, example: Example, content: bytes, outcome: Outcome) -> None:
    """Put other content in an example's place, let it be read, and put the example back."""
    data = example.wrap(content)
    example.path.unlink()  # never changed in place: an older one may still be mapped
    example.path.write_bytes(data)
    outcome.num_files += 1
    outcome.num_bytes += max(1, len(data))
    _read(reader, example.path, data, outcome)
    example.path.unlink()
    example.path.write_bytes(example.wrap(example.content))


def _read(reader: Reader, path: Path, data: bytes, outcome: Outcome) -> None:
    try:
        reader.read(path)
        outcome.read += 1
    except HypensearchError as error:
        outcome.refused += 1
        if "\n" in str(error):
            outcome.findings.setdefault(f"an error of several lines: {str(error)[:200]!r}", data)
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        ours = [frame for frame in frames if "hypensearch/" in frame.filename] or frames
        where = " called from ".join(f"{os.path.basename(at.filename)}:{at.lineno}" for at in (frames[-1], ours[-1]))
        outcome.findings.setdefault(f"{type(error).__name__} in {where}: {str(error)[:120]}", data)


def damaged(content: bytes, rng: random.Random) -> bytes:
    """Damage a file: one to eight changes, or bytes that have nothing to do with it."""
    if rng.random() < 0.05:
        return rng.randbytes(rng.randrange(2000))
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        rng.choice(_DAMAGES)(data, rng)
    return bytes(data)


def _flip(data: bytearray, rng: random.Random) -> None:
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _insert(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data) + 1)
    data[at:at] = rng.choice(TOKENS) if rng.random() < 0.7 else rng.randbytes(rng.randrange(1, 9))


def _overwrite(data: bytearray, rng: random.Random) -> None:
    token, at = rng.choice(TOKENS)[:40], rng.randrange(len(data) + 1)
    data[at : at + len(token)] = token


def _number(data: bytearray, rng: random.Random) -> None:
    """A size that claims too much, in binary."""
    number = struct.pack(rng.choice("<>") + "q", rng.choice(_NUMBERS) & (2**63 - 1))[: rng.choice((2, 4, 8))]
    at = rng.randrange(min(len(data), 256) + 1)
    data[at : at + len(number)] = number


def _digits(data: bytearray, rng: random.Random) -> None:
    """A size that claims too much, in text."""
    places = [at for at in range(len(data)) if 48 <= data[at] < 58]
    if places:
        start = end = rng.choice(places)
        while end < len(data) and 48 <= data[end] < 58:
            end += 1
        data[start:end] = str(rng.choice(_NUMBERS)).encode()


def _cut(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data) + 1) :]


def _drop(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data) + 1)
    del data[at : at + rng.randrange(1, 40)]


def _repeat(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data) + 1)
    data[at:at] = data[at : at + rng.randrange(1, 200)]


_DAMAGES = (_flip, _flip, _insert, _insert, _overwrite, _number, _digits, _cut, _drop, _repeat)


@contextmanager
def quiet() -> Iterator[None]:
    """Leave out what readers warn of and log."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.disable(logging.NOTSET)


@contextmanager
def memory_bounded(num_bytes: int) -> Iterator[None]:
    """Let the process take so much more memory and no more: what asks for it gets a MemoryError."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    old = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + num_bytes, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, old)
