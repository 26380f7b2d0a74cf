# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""A small share of ``python -m integrations.faults``, and proof that it finds what careless writing does."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from hypensearch import cli
from tests.faults.campaign import AGAIN, ERROR, NEW, OLD, Campaign, Outcome
from tests.faults.jobs import JOBS, Job

SHARE = ("kill -9 within a write", "power cut", "disk full", "bits flipped", "file cut")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("inputs")


@pytest.mark.parametrize("fault", SHARE)
@pytest.mark.parametrize(
    "name",
    ["encode, in place of an older one", "index, graph, new", "index, surrogate, in place of older ones", "mine, new"],
)
def test_every_fault_leaves_the_old_state_the_new_one_or_a_clear_error(
    name: str, fault: str, inputs: Path, tmp_path: Path
) -> None:
    job = dict(JOBS[name.split(",")[0]](inputs))[name]
    found = Campaign(job, tmp_path, most=2).inject(fault)
    assert not found.wrong, found.wrong
    assert found.injected or not job.checked


def test_damage_to_an_unfinished_index_is_seen(inputs: Path, tmp_path: Path) -> None:
    found = Campaign(dict(JOBS["encode"](inputs))["encode, new"], tmp_path, most=3).inject(
        "bits flipped, then going on"
    )
    assert not found.wrong, found.wrong
    assert found.injected == 3


# Jobs that write as one should not.


def in_place(work: Path) -> None:
    with open(work / "out" / "file", "w") as file:
        for _ in range(3):
            file.write("new\n")
            file.flush()


def without_sync(work: Path) -> None:
    (work / "out" / "file.new").write_text("new\n" * 3)
    os.replace(work / "out" / "file.new", work / "out" / "file")
    (work / "log").write_text("done")


def with_traceback(work: Path) -> None:
    try:
        without_sync(work)
    except OSError as error:
        raise ZeroDivisionError from error


def half_and_half(work: Path) -> None:
    """Goes on where it was stopped, and does not look at what is there."""
    with open(work / "out" / "file.half", "a") as file:
        file.write("new\n" * (3 - Path(file.name).read_text().count("\n")))
        file.flush()
        os.fsync(file.fileno())
        file.flush()
    os.replace(work / "out" / "file.half", work / "out" / "file")


def careless(write: Callable[[Path], None]) -> Job:
    def old(work: Path) -> None:
        (work / "out").mkdir()
        (work / "out" / "file").write_text("old\n")

    def act(work: Path) -> int:
        return cli.run(lambda: write(work))

    def read(work: Path) -> object:
        return (work / "out" / "file").read_bytes()

    return Job(old, act, read, resumes=True)


@pytest.mark.parametrize(
    ("write", "fault", "word"),
    [
        (in_place, "kill -9 within a write", "finds something else"),
        (in_place, "disk full", "finds something else"),
        (without_sync, "power cut", "finds something else"),
        (with_traceback, "I/O error", "Traceback"),
        (half_and_half, "bits flipped, then going on", "ended with 0"),
        (without_sync, "bits flipped", "finds WRONG"),
    ],
)
def test_careless_writing_is_found(write: Callable[[Path], None], fault: str, word: str, tmp_path: Path) -> None:
    found = Campaign(careless(write), tmp_path, most=12).inject(fault)
    assert any(word in words for words in found.wrong), found


def test_what_can_be_told_is_told() -> None:
    outcome = Outcome()
    outcome.counts.update({OLD: 1, NEW: 2, ERROR: 3, AGAIN: 6})
    outcome.wrong.append("something")
    assert outcome.injected == 7
