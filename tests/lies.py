# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Lies: honest folders with one rule broken, and every size and checksum made to fit, as one would who means harm.

Where :mod:`tests.fuzzing` damages bytes, a liar knows the format. It changes one fact (its type, its size, its name),
the content, type or shape of one array, one line of a text, one tensor of a safetensors file, or puts a pipe, a link or
a device in the place of a file. What reads the folder may use it or raise :class:`HypensearchError` in one line, within
five seconds and 200 MB above the honest folder, and may change nothing outside. ``python -m integrations.lies`` tells
ten thousand lies a format, ``test_lies.py`` a small share.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import shutil
import signal
import struct
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hypensearch.errors import HypensearchError
from tests.fuzzing import memory_bounded, quiet

SECONDS = 5.0  # of the processor
WAITED_SECONDS = 60.0  # for what never comes
MEMORY_BYTES = 200 * 10**6
HEADER_BYTES = 192

Facts = dict[str, Any]


@dataclass(frozen=True)
class Format:
    """Something that strangers may hand over.

    :param make: Writes an honest folder.
    :param use: Does with it all that a user's command would.
    :param sign: Gives the content of a file of facts that fits its checksum.
    """

    make: Callable[[Path], object]
    use: Callable[[Path], object]
    sign: Callable[[Facts], bytes]


@dataclass
class Outcome:
    """What became of the lies.

    :param findings: What was neither used nor refused as it should be, with the first lie that did it.
    """

    count: int = 0
    used: int = 0
    refused: int = 0
    slowest: float = 0.0
    findings: dict[str, str] = field(default_factory=dict)


class TooLong(BaseException):
    """Nothing catches it."""


def tell_lies(of: Format, folder: Path, count: int, seed: int = 0) -> Outcome:
    """Tell lies, one at a time, and have each of them read.

    :param folder: An empty folder.
    """
    honest, copy, outside = folder / "honest", folder / "copy", folder / "outside"
    honest.mkdir()
    outside.mkdir()
    (outside / "victim").write_text("private")
    of.make(honest)
    before = _content(outside)
    liar, outcome = Liar(honest, outside / "victim", of.sign, random.Random(seed)), Outcome()
    shutil.copytree(honest, copy)
    of.use(copy)  # what is loaded once is loaded
    with _printed_to(folder / "printed") as printed, memory_bounded(MEMORY_BYTES), quiet():
        for _ in range(count):
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(honest, copy)
            lie = liar.tell(copy)
            outcome.count += 1
            _read(of, copy, lie, outcome)
            if b"\x1b" in (said := printed()):
                outcome.findings.setdefault(f"control characters on the terminal: {said[:120]!r}", lie)
            if _content(outside) != before or {path.name for path in folder.iterdir()} != _THERE:
                outcome.findings.setdefault("something outside was changed", lie)
                return outcome
    return outcome


_THERE = {"honest", "copy", "outside", "printed"}


@contextmanager
def _printed_to(path: Path) -> Iterator[Callable[[], bytes]]:
    """Let all that is printed go to a file, libraries' output too; gives a function that returns what is new."""
    sys.stdout.flush()
    sys.stderr.flush()
    with open(path, "w+b", buffering=0) as file:
        old = [os.dup(stream) for stream in (1, 2)]
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)

        def new() -> bytes:
            os.lseek(file.fileno(), 0, os.SEEK_SET)
            said = file.read()
            os.ftruncate(file.fileno(), 0)
            os.lseek(file.fileno(), 0, os.SEEK_SET)
            return said

        try:
            yield new
        finally:
            for stream, before in zip((1, 2), old, strict=True):
                os.dup2(before, stream)
                os.close(before)


def _content(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _read(of: Format, copy: Path, lie: str, outcome: Outcome) -> None:
    try:
        with _at_most(SECONDS):
            of.use(copy)
        outcome.used += 1
    except HypensearchError as error:
        outcome.refused += 1
        if len(str(error).splitlines()) != 1:
            outcome.findings.setdefault(f"an error of several lines: {str(error)[:200]!r}", lie)
    except (Exception, TooLong) as error:
        frames = traceback.extract_tb(error.__traceback__)
        ours = [frame for frame in frames if "hypensearch/" in frame.filename] or frames
        where = " from ".join(f"{os.path.basename(at.filename)}:{at.lineno}" for at in (frames[-1], ours[-1]))
        outcome.findings.setdefault(f"{type(error).__name__} in {where}: {str(error)[:120]}", lie)


@contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    """Stop what computes for longer than that, or waits, however busy the machine is."""

    def stop(number: int, frame: object) -> None:
        raise TooLong(f"more than {seconds} s")

    timers = ((signal.SIGPROF, signal.ITIMER_PROF, seconds), (signal.SIGALRM, signal.ITIMER_REAL, WAITED_SECONDS))
    old = [signal.signal(number, stop) for number, _, _ in timers]
    for _, timer, limit in timers:
        signal.setitimer(timer, limit)
    try:
        yield
    finally:
        for (number, timer, _), handler in zip(timers, old, strict=True):
            signal.setitimer(timer, 0)
            signal.signal(number, handler)


class Liar:
    """Knows an honest folder, and breaks one rule of it.

    :param victim: A file that the folder should not be able to reach.
    """

    def __init__(self, honest: Path, victim: Path, sign: Callable[[Facts], bytes], rng: random.Random) -> None:
        self._victim, self._sign, self._rng = victim, sign, rng
        self._files = sorted(path.relative_to(honest) for path in honest.rglob("*") if path.is_file())

    def tell(self, folder: Path) -> str:
        """Break a rule; says which."""
        path = folder / self._rng.choice(self._files)
        if self._rng.random() < 0.08:
            return self._plant(path)
        if path.suffix == ".json":
            return self._change_facts(path)
        old = path.read_bytes()
        change = {".npy": self._change_array, ".safetensors": self._change_tensors}.get(path.suffix, self._change_text)
        new, lie = change(old)
        path.unlink()
        path.write_bytes(new)
        if self._rng.random() < 0.9:
            self._make_fit(folder, old, new)
        return f"{path.name}: {lie}"

    def _plant(self, path: Path) -> str:
        path.unlink()
        kind = self._rng.choice(["pipe", "folder", "device", "link", "link out", "nothing", "loop"])
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "folder":
            path.mkdir()
        elif kind != "nothing":
            targets = {"device": "/dev/zero", "link": self._victim, "link out": "../../../../../etc/hostname"}
            path.symlink_to(targets.get(kind, path.name))
        return f"{path.name}: a {kind} in its place"

    def _change_facts(self, path: Path) -> str:
        facts = json.loads(path.read_bytes())
        holder, key = self._rng.choice(list(_places(facts)) or [(facts, "new")])
        lie = self._change(holder, key)
        try:
            content = self._sign({name: value for name, value in facts.items() if name != "checksum"})
        except (ValueError, UnicodeError, RecursionError):
            content = json.dumps(facts).encode()
        path.unlink()
        path.write_bytes(content)
        return f"{path.name}: {lie}"

    def _change(self, holder: Any, key: Any) -> str:
        """Change one value of facts."""
        old, how = (holder[key] if key in holder or isinstance(holder, list) else None), self._rng.random()
        if how < 0.1:
            del holder[key]
            return f"{key!r} is left out"
        if how < 0.2 and isinstance(holder, dict):
            holder[self._rng.choice(NAMES)] = holder.pop(key) if self._rng.random() < 0.5 else old
            return f"{key!r} under another name"
        if how < 0.25 and isinstance(old, list) and old:
            holder[key] = old * self._rng.choice([2, 3, 1000])
            return f"{key!r} repeated"
        holder[key] = self._instead_of(old)
        return f"{key!r} is {str(holder[key])[:60]!r} and not {str(old)[:60]!r}"

    def _instead_of(self, old: Any) -> Any:
        how = self._rng.random()
        if type(old) is int and how < 0.6:
            return self._rng.choice([old + 1, old - 1, -old, 2 * old, old + 8192, *NUMBERS])
        if isinstance(old, float) and how < 0.6:
            return self._rng.choice([-old, old * 1e9, 0.0, 1e-300, 1e300, float("nan"), float("inf")])
        if isinstance(old, str) and how < 0.6:
            return self._rng.choice([old + "x", old[:-1], old.upper(), f"../{old}", f"/{old}", *NAMES])
        if isinstance(old, list) and how < 0.6:
            return self._rng.choice(
                [old[:-1], old[::-1], [*old, None], [old], old + old[:1], dict(enumerate(map(str, old)))]
            )
        if isinstance(old, bool) and how < 0.6:
            return self._rng.choice([not old, 1, 0, "true"])
        return self._rng.choice([None, True, 0, 1, "", "1", [], {}, [1], ["a"], {"a": 1}, *NUMBERS, *NAMES])

    def _change_array(self, old: bytes) -> tuple[bytes, str]:
        """Change an array's content, type or shape."""
        array, how = np.load(io.BytesIO(old)), self._rng.random()
        if how < 0.6 and array.size:
            array, lie = self._changed_values(array), "other values"
        elif how < 0.75:
            rows = self._rng.choice([0, 1, len(array) - 1, len(array) + 1, 2 * len(array)])
            array, lie = np.resize(array, (max(rows, 0), *array.shape[1:])), "other rows"
        elif how < 0.9:
            types = [np.int8, np.uint8, np.int64, np.float16, np.float64, ">f4", ">u8", np.bool_, np.complex64, "S4"]
            kind = self._rng.choice(types)
            try:
                array, lie = array.astype(kind), f"the type {np.dtype(kind)}"
            except (TypeError, ValueError):
                array, lie = np.zeros(array.shape, kind), f"zeros of the type {np.dtype(kind)}"
        else:
            shape = self._rng.choice([(array.size,), (1, array.size), (array.size, 1), (1, 1, array.size), ()])
            array, lie = (array.reshape(shape) if shape else np.zeros((), array.dtype)), f"the shape {shape}"
        return _npy(array, self._rng.choice(["C", "C", "C", "F"])), lie

    def _changed_values(self, array: np.ndarray) -> np.ndarray:
        array, rng = array.copy(), self._rng
        flat = array.reshape(-1)
        if array.dtype.names:
            flat = flat[rng.choice(array.dtype.names)]
        some = rng.sample(range(len(flat)), min(len(flat), rng.choice([1, 1, 3])))
        if flat.dtype.kind == "f":
            limits: Any = np.finfo(flat.dtype)
            values = [0, -1, np.nan, np.inf, -np.inf, limits.max, limits.tiny]
        else:
            limits = np.iinfo(flat.dtype)
            rows = min(len(flat), limits.max)
            values = [limits.min, limits.max, 0, 1, rows, rows - 1, limits.max // 2, limits.max - 1]
        flat[slice(None) if rng.random() < 0.3 else some] = rng.choice(values)
        return array

    def _change_text(self, old: bytes) -> tuple[bytes, str]:
        """Change a line, or the order of lines."""
        lines, rng = old.split(b"\n"), self._rng
        place = rng.randrange(len(lines))
        how = rng.choice(["other", "other", "other", "twice", "gone", "swapped", "no end", "empty"])
        if how == "other":
            lines[place] = rng.choice(TEXTS)
        elif how == "twice":
            lines.insert(place, lines[place])
        elif how == "gone":
            del lines[place]
        elif how == "swapped":
            other = rng.randrange(len(lines))
            lines[place], lines[other] = lines[other], lines[place]
        new = b"" if how == "empty" else b"\n".join(lines).rstrip(b"\n") if how == "no end" else b"\n".join(lines)
        return new, f"line {place}: {how} {lines[min(place, len(lines) - 1)][:40]!r}" if lines else how

    def _change_tensors(self, old: bytes) -> tuple[bytes, str]:
        """Change one tensor's name, type, shape or values, with a header that fits."""
        size = struct.unpack("<Q", old[:8])[0]
        header, data, rng = json.loads(old[8 : 8 + size]), bytearray(old[8 + size :]), self._rng
        name = rng.choice([name for name in header if name != "__metadata__"])
        fact, how = header[name], rng.choice(["name", "type", "shape", "values", "metadata", "gone", "offsets"])
        if how == "name":
            header[rng.choice([*NAMES, "new", name.upper()])] = header.pop(name)
        elif how == "type":
            fact["dtype"] = rng.choice(["F16", "BF16", "I32", "U8", "F8_E4M3", "F64", "BOOL", "I64", "C64", "X"])
        elif how == "shape":
            fact["shape"] = rng.choice(
                [[], fact["shape"][::-1], [1, *fact["shape"]], [0], [2**62, 4], [-1], [*fact["shape"], 1]]
            )
        elif how == "values":
            start, end = fact["data_offsets"]
            value = rng.choice([b"\xff", b"\x00", b"\x7f", b"\x80"])
            data[start:end] = value * (end - start)
        elif how == "metadata" and "__metadata__" in header:
            self._change(*rng.choice(list(_places(header["__metadata__"])) or [(header, name)]))
            header["__metadata__"] = {str(key): str(value) for key, value in header["__metadata__"].items()}
        elif how == "offsets":
            fact["data_offsets"] = rng.choice([[0, 2**63], [0, 0], [len(data), len(data)], [8, 0]])
        else:
            del header[name]
        text = json.dumps(header).encode()
        return struct.pack("<Q", len(text)) + text + bytes(data), f"tensor {name}: {how}"

    def _make_fit(self, folder: Path, old: bytes, new: bytes) -> None:
        """Give every file of facts the sizes and digests of the new content."""
        digests = {_sha256(old): _sha256(new), _sha256(old[HEADER_BYTES:]): _sha256(new[HEADER_BYTES:])}
        for path in folder.rglob("*.json"):
            facts = json.loads(path.read_bytes())
            for holder, key in list(_places(facts)):
                value = holder[key]
                if isinstance(value, str) and value in digests:
                    holder[key] = digests[value]
                elif key == "bytes" and value == len(old):
                    holder[key] = len(new)
                elif key == "shape" and value == _shape(old) and self._rng.random() < 0.5:
                    holder[key] = _shape(new)
            path.unlink()
            path.write_bytes(self._sign({name: value for name, value in facts.items() if name != "checksum"}))


NUMBERS = (
    0,
    -1,
    1,
    2,
    255,
    8191,
    8193,
    2**31 - 1,
    2**31,
    2**32,
    2**40,
    2**53,
    2**63 - 1,
    2**63,
    2**64,
    2**80,
    1.5,
    -0.0,
)
NAMES = (
    *("", ".", "..", "../../outside/victim", "/dev/zero", "/etc/passwd", "a\0b", "x" * 300, "x" * 70_000, "attacker/x"),
    *("\x1b]0;owned\x07", "two\nlines", "\ud800", "vectors.npy", "docid", "é", "float64", "cuda", "__class__", "%s{0}"),
)
TEXTS = (
    *(b"", b" ", b"\xff\xfe", b"\xed\xa0\x80", b"\x00", b"a\tb", b"a b", b"{}", b"[]", b"null", b'{"id": "d1"}', b"\r"),
    *(b"x" * 70_000, b"[" * 3000, b'{"id": 1e999}', b'{"id": "\\ud800"}', b"\x1b[2J", b"9" * 5000, b"NaN"),
)


def _places(facts: Any) -> Iterator[tuple[Any, Any]]:
    """Go through all places of a JSON value: who holds it, and under which key."""
    items = (
        list(facts.items()) if isinstance(facts, dict) else list(enumerate(facts)) if isinstance(facts, list) else []
    )
    for key, value in items:
        yield facts, key
        yield from _places(value)


def _shape(data: bytes) -> list[int] | None:
    return list(np.load(io.BytesIO(data)).shape) if data[:6] == b"\x93NUMPY" else None


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _npy(array: np.ndarray, order: str) -> bytes:
    """Write an array with a header of our length."""
    facts = {"descr": np.lib.format.dtype_to_descr(array.dtype), "fortran_order": order == "F", "shape": array.shape}
    magic = b"\x93NUMPY\x01\x00" + (HEADER_BYTES - 10).to_bytes(2, "little")
    return magic + repr(facts).encode().ljust(HEADER_BYTES - len(magic) - 1) + b"\n" + array.tobytes(order)  # type: ignore[arg-type]
