# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from hypensearch import cli
from hypensearch import threads as threads_module
from hypensearch.threads import available_cpus, core_pool, default_threads, limited, map_on_cores, on_cores


@pytest.fixture(autouse=True)
def same_number_afterwards() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_interrupted_while_threads_are_made_none_waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C comes when one of two threads has started: the other never will, and the process must end all the same."""
    started: list[ThreadPoolExecutor] = []

    class Interrupted(ThreadPoolExecutor):
        def map(self, call: Any, *items: Any, **options: Any) -> Any:
            started.append(self)
            super().submit(call, 0)
            raise KeyboardInterrupt

    monkeypatch.setattr(threads_module, "ThreadPoolExecutor", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        core_pool(61)
    (pool,) = started
    pool.shutdown(wait=True)
    monkeypatch.undo()
    assert 61 not in threads_module._pools


def test_each_thread_computes_on_one_core() -> None:
    square = torch.ones(64, 64)

    def threads_after_a_product(_: int) -> int:
        square.mm(square)
        return torch.get_num_threads()

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert set(core_pool(5).map(threads_after_a_product, range(50))) == {1}
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_every_item_is_worked_on_once(threads: int) -> None:
    done: list[int] = []
    on_cores(threads, done.append, range(500))
    assert sorted(done) == list(range(500))


def test_an_error_ends_the_work_of_all_threads() -> None:
    done: list[int] = []

    def do(item: int) -> None:
        done.append(item)
        if item == 3:
            raise ValueError(item)

    with pytest.raises(ValueError, match="3"):
        on_cores(2, do, range(200_000))
    assert len(done) < 200_000


def test_a_forked_child_has_threads_of_its_own() -> None:
    core_pool(2)
    with threads_module._pools_lock:
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(30)
            os._exit(sum(core_pool(2).map(int, [3, 4])))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


def test_results_come_in_the_order_of_the_items() -> None:
    assert map_on_cores(3, lambda item: item * item, list(range(50))) == [item * item for item in range(50)]


@pytest.mark.parametrize("threads", [1, 3])
def test_pieces_are_computed_on_one_core_in_the_callers_modes(threads: int) -> None:
    def modes(_: int) -> tuple[object, ...]:
        autocast = torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")
        return torch.get_num_threads(), torch.is_inference_mode_enabled(), *autocast

    torch.set_num_threads(2)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert set(map_on_cores(threads, modes, range(30))) == {(1, True, True, torch.bfloat16)}
    assert set(map_on_cores(threads, modes, range(30))) == {(1, False, False, torch.bfloat16)}
    assert torch.get_num_threads() == 2


# Files of control groups -> CPUs they allow, of a process in /a/b; 0 for no bound
QUOTAS = [
    ({"cpu.max": "max 100000"}, 0),
    ({"cpu.max": "100000 100000"}, 1),
    ({"cpu.max": "1 100000"}, 1),
    ({"a/cpu.max": "max 100000", "a/b/cpu.max": "100000 100000"}, 1),
    ({"a/cpu.max": "90000 100000", "a/b/cpu.max": "max 100000"}, 1),
    ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 0),
    ({"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, 1),
    ({"cpu/a/b/cpu.cfs_quota_us": "50000", "cpu/a/b/cpu.cfs_period_us": "100000"}, 1),
    ({"cpu.max": "nonsense"}, 0),
    ({}, 0),
]


@pytest.mark.parametrize(("files", "allowed"), QUOTAS)
@pytest.mark.parametrize("line", ["0::/a/b", "3:cpuset:/x\n4:cpu,cpuacct:/a/b"])
def test_a_containers_quota_counts(files: dict[str, str], allowed: int, line: str, tmp_path: Path) -> None:
    is_version_2 = line.startswith("0::")
    for name, text in files.items():
        path = tmp_path / "groups" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    own = tmp_path / "own"
    own.write_text(line + "\n")
    of_this_version = any(name.endswith("cpu.max") == is_version_2 for name in files)
    all_cpus = available_cpus(tmp_path / "none", tmp_path / "none")
    wanted = allowed if allowed and of_this_version else all_cpus
    assert available_cpus(tmp_path / "groups", own) == min(wanted, all_cpus)


def test_cpus_are_those_of_the_process() -> None:
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
    code += "from hypensearch.threads import available_cpus; print(available_cpus())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "1\n"


def test_no_more_threads_than_cpus() -> None:
    torch.set_num_threads(1)
    assert default_threads() == 1
    torch.set_num_threads(available_cpus() + 3)
    assert default_threads() == available_cpus()


def test_a_commands_threads_are_given_back() -> None:
    torch.set_num_threads(2)
    used = []
    assert cli.run(lambda: used.append(torch.get_num_threads()), threads=1) == 0
    assert used == [1]
    assert torch.get_num_threads() == 2


def in_a_new_process(code: str, **environment: str) -> str:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("OMP_")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=inherited | environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("threads", "environment"), [("1", {}), ("1", {"OMP_NUM_THREADS": "3"}), ("None", {"OMP_NUM_THREADS": "1"})]
)
def test_threads_of_a_command_reach_all_libraries(threads: str, environment: dict[str, str]) -> None:
    code = f"from hypensearch.threads import limited\nwith limited({threads}):\n import os, torch\n"
    code += " print(os.environ['OMP_NUM_THREADS'], torch.get_num_threads())"
    assert in_a_new_process(code, **environment) == "1 1"


def test_waiting_threads_sleep_unless_the_user_says_otherwise() -> None:
    code = "import hypensearch, os; print(*map(os.environ.get, ('OMP_WAIT_POLICY', 'GOMP_SPINCOUNT')))"
    assert in_a_new_process(code) == "PASSIVE 10000"
    assert in_a_new_process(code, GOMP_SPINCOUNT="7") == "PASSIVE 7"
    assert in_a_new_process(code, OMP_WAIT_POLICY="ACTIVE") == "ACTIVE None"
    assert in_a_new_process("import torch; " + code) == "None None"  # it would come too late


@pytest.mark.parametrize("threads", [1, available_cpus(), 10**9, None])
def test_no_number_changes_what_the_user_has_set_for_torch(
    threads: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    torch.set_num_threads(1)
    with limited(threads):
        assert torch.get_num_threads() == min(threads or 1, available_cpus())
    assert torch.get_num_threads() == 1
