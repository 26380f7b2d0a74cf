# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Fixtures that several folders of tests use."""

from __future__ import annotations

import faulthandler
import os
import shutil
import signal
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import Phase, settings

settings.register_profile("hypensearch", deadline=None)  # the first example of a test pays for imports and buffers
# Tests run a thousand times (make mutants): whether they fail is all that is asked.
_FEW = {"max_examples": 10, "phases": (Phase.explicit, Phase.generate), "report_multiple_bugs": False}
settings.register_profile("mutants", deadline=None, derandomize=True, **_FEW)
settings.load_profile("hypensearch")
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # tests never reach for the hub
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where a shell put the tests into the background

_SECONDS_TO_END = 120
_IN_MEMORY, _ENOUGH = Path("/dev/shm"), 4 << 30
if _IN_MEMORY.is_dir() and shutil.disk_usage(_IN_MEMORY).free > _ENOUGH:
    # What is written is flushed file by file, which on a disk can take most of the tests' time.
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_IN_MEMORY))

RESOURCES = Path(__file__).parent / "resources"
VARIANTS = ("a_2layer_h32", "b_6layer_h64")


def pytest_unconfigure() -> None:
    """A thread that never ends is told with what it does, and ends with the process: tests' time limit is over here."""
    if "pytest" in sys.argv[0]:  # and not in the process of another program
        faulthandler.dump_traceback_later(_SECONDS_TO_END, exit=True, file=sys.__stderr__)


@pytest.fixture(scope="session")
def parity_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The authors' outputs: HYPENSEARCH_PARITY names the full folder, else the packed copy is unpacked."""
    if given := os.environ.get("HYPENSEARCH_PARITY"):
        return Path(given)
    root = tmp_path_factory.mktemp("parity")
    for variant in VARIANTS:
        with tarfile.open(RESOURCES / "parity" / f"{variant}.tar.xz") as tar:
            tar.extractall(root / variant, filter="data")
    return root


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep notes of the tests' indexes out of the user's cache."""
    os.environ["HYPENSEARCH_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module", autouse=True)
def no_java() -> Iterator[None]:
    """Java takes over the signals of its process, and other tests with it: tests that need it start a process."""
    yield
    maps = Path("/proc/self/maps")
    assert not maps.exists() or "libjvm" not in maps.read_text(), "a test of this module started Java"


@pytest.fixture(scope="session", params=VARIANTS)
def variant(request: pytest.FixtureRequest, parity_root: Path) -> Path:
    """The folder of one variant of the authors' outputs."""
    return parity_root / request.param


@pytest.fixture(scope="session")
def tiny_checkpoint(parity_root: Path) -> Path:
    """A small untrained Hypencoder in the released layout: 2 blocks, 32 wide."""
    return parity_root / "a_2layer_h32" / "checkpoint"
