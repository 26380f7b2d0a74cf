# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Faults injected into every job, and what a reader finds behind each: the old state, the new one, or a clear error.

``python -m integrations.faults`` injects thousands, ``test_faults.py`` a small share.
"""

from __future__ import annotations

import os
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import torch

from hypensearch.errors import HypensearchError
from hypensearch.verify.findings import findings_of
from tests.faults import machine
from tests.faults.jobs import Job
from tests.faults.machine import End, Fail, Writes

OLD, NEW, ERROR = "old state", "new state", "clear error"
AGAIN = "then again: same files"
REMADE = "then again: made from nothing"
REFUSED = "then again: refused, nothing changed"
WRONG = "WRONG"
_MESSAGE_BYTES = 2048  # what the process says goes into a file as well
_LEFT = (".lock", "lock", ".partial", "progress.json")  # what a killed writer may leave, and no reader looks at

AT_WRITES: dict[str, Fail] = {
    "kill -9 before a write": machine.die,
    "kill -9 within a write": machine.die_within,
    "power cut": machine.power_cut,
    "disk full": machine.disk_full,
    "I/O error": machine.disk_error,
}
FAULTS = (
    *AT_WRITES,
    "kill -9 at a random time",
    "limit on the size of files",
    "read-only folder",
    "manifest cut",
    "bits flipped",
    "file cut",
    "file missing",
    "bits flipped, then going on",
)
_Answer = tuple[str, object]
T = TypeVar("T")


@dataclass
class Outcome:
    """What came of the faults of one kind.

    :param counts: By outcome.
    :param wrong: What was neither, in words.
    """

    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    @property
    def injected(self) -> int:
        """How many faults."""
        return sum(self.counts[name] for name in (OLD, NEW, ERROR)) + len(self.wrong)


class Campaign:
    """Injects faults into one job.

    :param job: The job.
    :param folder: An empty folder for it.
    :param most: Faults of a kind, at most; those at writes and cuts are drawn where there are more places.
    :param seed: Of what is drawn.
    """

    def __init__(self, job: Job, folder: Path, most: int, seed: int = 0) -> None:
        torch.set_num_threads(1)  # a forked child has none of its parent's threads, and OpenMP would wait for them
        self.job = job
        self.most = max(2, round(most * job.share))
        self.rng = random.Random(seed)
        self.before, self.after, self.work = (folder / name for name in ("before", "after", "work"))
        self.work.mkdir(parents=True)
        job.old(self.work)
        self.work.rename(self.before)
        self._fresh(self.before)
        self.old = self._read()
        self.seconds, end = self._timed()
        assert end.code == 0, end.stderr
        self.num_writes = end.writes
        self.new = self._read()
        assert self.new[0] == "found", self.new
        assert self.new != self.old
        shutil.copytree(self.work, self.after, symlinks=True)
        self.whole = _content(self.after / job.output.split("/")[0], job.same)

    def inject(self, fault: str) -> Outcome:
        """Inject faults of one of :data:`FAULTS`."""
        outcome = Outcome()
        if fault in AT_WRITES:
            for number in self._drawn(range(1, self.num_writes + 1)):
                self._at_write(number, AT_WRITES[fault], f"{fault} {number} of {self.num_writes}", outcome)
        elif fault == "kill -9 at a random time":
            for _ in range(self.most):
                seconds = self.rng.uniform(0, 1.1 * self.seconds)
                self._fresh(self.before)
                end = machine.killed_after(seconds, self._act)
                self._judge(end, f"{fault}, {seconds:.4f} s", outcome)
        elif fault == "limit on the size of files":
            sizes = sorted(path.stat().st_size for path in self.after.rglob("*") if path.is_file())
            for size in self._drawn(range(_MESSAGE_BYTES, max(sizes[-1], 2 * _MESSAGE_BYTES))):
                self._failing(machine.small_files(size), f"{fault}, {size} bytes", outcome)
        elif fault == "read-only folder":
            for folder in self._folders():
                self._failing(machine.read_only(folder), f"{fault} {folder}", outcome)
        elif fault == "bits flipped, then going on":
            for _ in range(self.most if self.job.resumes else 0):
                self._damaged_half(fault, outcome)
        elif self.job.checked:
            self._damage(fault, outcome)
        return outcome

    # Writing that fails.

    def _at_write(self, number: int, fail: Fail, what: str, outcome: Outcome) -> None:
        self._fresh(self.before)
        end = machine.in_child(self._act, Writes(self.work, number, fail))
        self._judge(end, what, outcome)

    def _failing(self, prepare: Callable[[], object], what: str, outcome: Outcome) -> None:
        self._fresh(self.before)
        end = machine.in_child(self._act, prepare=prepare)
        for path in (self.work, *self.work.rglob("*")):
            os.chmod(path, 0o755 if path.is_dir() else 0o644)
            os.chown(path, os.getuid(), os.getgid())
        self._judge(end, what, outcome)

    def _judge(self, end: End, what: str, outcome: Outcome) -> None:
        """Look at what a job left, whatever its end; then let it do its work again."""
        state = self._state()
        if state == WRONG:
            outcome.wrong.append(f"{what}: a reader finds something else: {_short(self._read())}")
        elif not (end.killed or end.refused or (end.code == 0 and state == NEW)):
            outcome.wrong.append(f"{what}: ended with {end.code}, {_short(end.stderr)}")
        else:
            outcome.counts[state] += 1
            self._again(what, state, outcome)

    def _again(self, what: str, state: str, outcome: Outcome) -> None:
        left = self._content()
        end = machine.in_child(self._act)
        found = self._content()
        if end.code == 0 and found == self.whole:
            outcome.counts[AGAIN] += 1
        elif end.code == 0 and state == self._state() == NEW:
            outcome.counts[REMADE] += 1
        elif end.refused and state == NEW and _without_leftovers(left) == self.whole == _without_leftovers(found):
            outcome.counts[REFUSED] += 1
        else:
            differ = sorted(name for name in {*found, *self.whole} if found.get(name) != self.whole.get(name))
            outcome.counts[state] -= 1
            outcome.wrong.append(
                f"{what}: {state}; again: ended with {end.code}, {_short(end.stderr)}, {differ} differ"
            )

    # Damage to what is written.

    def _damage(self, fault: str, outcome: Outcome) -> None:
        for path, content in self._damages(fault):
            self._fresh(self.after)
            if content is None:
                (self.work / path).unlink()
            else:
                (self.work / path).write_bytes(content)
            state = self._seen_by_all()
            if state not in (NEW, ERROR):
                outcome.wrong.append(f"{fault} {path}: a reader finds {state}: {_short(self._read())}")
            else:
                outcome.counts[state] += 1

    def _damages(self, fault: str) -> Iterator[tuple[Path, bytes | None]]:
        top = self.after / self.job.output.split("/")[0]
        files = [path for path in sorted(top.rglob("*")) if path.is_file() and path.stat().st_size]
        files = [path for path in files if path.name not in _LEFT and any(path.match(one) for one in self.job.same)]
        if fault == "manifest cut":
            for pattern in self.job.manifests:
                for path in top.glob(pattern):
                    for content in machine.cut(path.read_bytes()):
                        yield path.relative_to(self.after), content
        elif fault == "file missing":
            yield from ((path.relative_to(self.after), None) for path in files)
        else:
            for path in self._drawn(files * -(-self.most // len(files))):
                content = path.read_bytes()
                cut = content[: self.rng.randrange(len(content))]
                yield (
                    path.relative_to(self.after),
                    cut if fault == "file cut" else machine.flipped(content, self.rng),
                )

    def _seen_by_all(self) -> str:
        """Say what a reader finds, or, where it does not read the file, what ``verify --full`` says of it."""
        state = self._state(ERROR)
        top = self.work / self.job.output.split("/")[0]
        if state != NEW:
            return state
        try:
            return ERROR if list(findings_of(os.fspath(top), full=True)) else NEW
        except HypensearchError:
            return ERROR

    def _damaged_half(self, what: str, outcome: Outcome) -> None:
        """Stop the job, damage what it left, and let it resume: to the same files or an error."""
        self._fresh(self.before)
        number = self.rng.randint(1, self.num_writes)
        machine.in_child(self._act, Writes(self.work, number, machine.die))
        files = [path for path in sorted(self.work.rglob("*")) if path.is_file() and path.stat().st_size]
        files = [path for path in files if path.name not in (".lock", "lock") and not path.name.endswith(".partial")]
        if not files:
            outcome.counts[OLD] += 1
            return
        path = self.rng.choice(files)
        path.write_bytes(machine.flipped(path.read_bytes(), self.rng))
        end = machine.in_child(self._act)
        state = self._state(ERROR)
        what = f"{what}: stopped at write {number}, {path.relative_to(self.work)}"
        if end.code == 0 and state in (NEW, ERROR):
            outcome.counts[state] += 1
        elif end.refused and state != WRONG:
            outcome.counts[ERROR] += 1
        else:
            outcome.wrong.append(f"{what}: ended with {end.code}, {_short(end.stderr)}; {state}")

    # What all have in common.

    def _act(self) -> int:
        return self.job.act(self.work)

    def _timed(self) -> tuple[float, End]:
        began = time.monotonic()
        end = machine.in_child(self._act, Writes(self.work, 0, machine.no_failure))
        return time.monotonic() - began, end

    def _fresh(self, template: Path) -> None:
        shutil.rmtree(self.work, ignore_errors=True)
        shutil.copytree(template, self.work, symlinks=True)

    def _read(self) -> _Answer:
        try:
            return "found", self.job.read(self.work)
        except HypensearchError as error:
            if "\n" in str(error):
                raise AssertionError("an error of several lines") from error
            return "refused", str(error)

    def _state(self, refused: str | None = None) -> str:
        """Say which state a reader finds.

        :param refused: What it is when there is none; by default the old one where there was none before.
        """
        found = self._read()
        if found[0] == "refused":
            return refused or (OLD if self.old[0] == "refused" else ERROR)
        return NEW if found == self.new else OLD if found == self.old else WRONG

    def _content(self) -> dict[str, bytes]:
        return _content(self.work / self.job.output.split("/")[0], self.job.same)

    def _folders(self) -> list[Path]:
        top = self.before / self.job.output.split("/")[0]
        inside = [path for path in (top, *top.rglob("*")) if path.is_dir()]
        return [self.work / path.relative_to(self.before) for path in (self.before, *inside)]

    def _drawn(self, places: Sequence[T]) -> list[T]:
        return list(places) if len(places) <= self.most else sorted(self.rng.sample(places, self.most))


def _short(words: object) -> str:
    text = str(words)
    return text if len(text) < 500 else f"{text[:100]} ... {text[-400:]}"


def _content(folder: Path, patterns: Sequence[str]) -> dict[str, bytes]:
    paths = {path for pattern in patterns for path in folder.glob(pattern) if path.is_file()}
    kept = (path for path in paths if path.name != "lock" and path.suffix != ".lock" and path.name != ".lock")
    found = {str(path.relative_to(folder)): path.read_bytes() for path in kept}
    return {name: content for name, content in found.items() if not _is_scratch(name)}


def _is_scratch(name: str) -> bool:
    """Whether it is what a killed writer of a single file leaves: nobody may remove what another may be writing."""
    base = os.path.basename(name)
    return base.startswith(".") and base.endswith(".partial")


def _without_leftovers(content: dict[str, bytes]) -> dict[str, bytes]:
    unfinished = (name for name in content if any(part.endswith(".partial") for part in Path(name).parts))
    left = {*unfinished, *(name for name in content if os.path.basename(name) in _LEFT)}
    return {name: data for name, data in content.items() if name not in left}
