# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""CPU threads: how many there are for us, and work in pieces that each compute on one core.

A matrix product that several threads share may add up in another order than one thread does, and all its threads wait
for the slowest. So work is cut into pieces that do not depend on the number of threads, and each piece is computed on
one core: the results are the same to the last bit for any number of threads, and on a busy machine no thread waits for
one that has no core at the moment.
"""

from __future__ import annotations

import functools
import math
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUPS = Path("/proc/self/cgroup")
_WAITING, _NUMBER = "OMP_WAIT_POLICY", "OMP_NUM_THREADS"
_SPINS = "10000"  # a fraction of a millisecond


def wait_passively() -> None:
    """Make OpenMP's threads sleep, not spin, while they wait for work: beside other programs spinning is very slow.

    Threads of GNU's OpenMP, which torch has on Linux, spin for a moment first: training, which gives them work again
    and again, takes longer without (docs/threads.md). Has no effect once torch is loaded, or where the user has chosen.
    """
    if "torch" not in sys.modules and _WAITING not in os.environ:
        os.environ[_WAITING] = "PASSIVE"
        os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)


@functools.cache
def available_cpus(cgroups: Path = _CGROUPS, own_cgroups: Path = _OWN_CGROUPS) -> int:
    """Return how many CPUs this process may use: those of its affinity, or fewer where a container's quota says so.

    :param cgroups: Where control groups are mounted.
    :param own_cgroups: The file that names those of this process.
    """
    get_affinity = getattr(os, "sched_getaffinity", None)  # only on Linux
    cpus = len(get_affinity(0)) if get_affinity else os.cpu_count() or 1
    return max(1, min([cpus, *(math.ceil(quota) for quota in _quotas(cgroups, own_cgroups))]))


def default_threads() -> int:
    """Return how many threads to compute with: torch's number, which the user may have set, or the CPUs if fewer."""
    import torch

    return min(torch.get_num_threads(), available_cpus())


@contextmanager
def limited(threads: int | None) -> Iterator[None]:
    """Let all libraries of a command use so many CPU threads.

    Those that are loaded within read it from the environment, where it stays; torch, if it is loaded already, is set
    for the time.

    :param threads: None for as many as there are CPUs for the process, unless ``OMP_NUM_THREADS`` is set or torch is
        loaded already, whose number stays; more than there are CPUs are taken for as many.
    """
    if threads is None and _NUMBER in os.environ:
        yield
        return
    if "torch" in sys.modules:
        # Where nothing is asked for, torch keeps its number: more would hang in a forked child.
        with torch_threads(min(threads, available_cpus()) if threads else default_threads()):
            yield
        return
    number = min(threads or available_cpus(), available_cpus())  # more never help
    os.environ[_NUMBER] = str(number)
    yield


@contextmanager
def torch_threads(threads: int | None) -> Iterator[None]:
    """Let torch use so many CPU threads within, in the thread that calls; None for as many as before."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def on_cores(threads: int, do: Callable[[Item], object], items: Iterable[Item]) -> None:
    """Do something with every item, on so many cores; the caller takes part, which spares waking one more thread.

    :param do: Computes on one core, in the caller's inference mode and autocast.
    """
    items = list(items)
    left = iter(items)  # taking the next one is atomic

    def work() -> None:
        try:
            for item in left:
                do(item)
        finally:
            for _ in left:  # after an error, or Ctrl-C, no thread continues
                pass

    helpers = min(threads, len(items)) - 1
    with torch_threads(1):
        if helpers < 1:
            work()
            return
        as_caller = _modes_of_caller(work)
        others = [core_pool(threads).submit(as_caller) for _ in range(helpers)]
        try:
            work()
        finally:
            waited = [other for other in others if not other.cancel()]  # those that have not begun are not needed
            wait(waited)
    for other in waited:
        other.result()


def map_on_cores(threads: int, call: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """Return what a function gives for each item; see :func:`on_cores`."""
    results: dict[int, Result] = {}

    def keep(place: int) -> None:
        results[place] = call(items[place])

    on_cores(threads, keep, range(len(items)))
    return [results[place] for place in range(len(items))]


def core_pool(threads: int) -> ThreadPoolExecutor:
    """Return threads that each compute on one core; torch's own number of threads is left as it is."""
    import torch

    with _pools_lock:
        if threads not in _pools:
            before = torch.get_num_threads()
            everyone = threading.Barrier(threads)
            pool = ThreadPoolExecutor(threads, "core", initializer=_compute_on_one_core)
            try:
                list(pool.map(lambda _: everyone.wait(), range(threads)))
            except BaseException:  # Ctrl-C: a thread that waits for the others would wait for ever
                everyone.abort()
                raise
            finally:
                torch.set_num_threads(before)  # what threads made later start with
            _pools[threads] = pool
        return _pools[threads]


_pools: dict[int, ThreadPoolExecutor] = {}
_pools_lock = threading.Lock()


def _forget_threads() -> None:
    """Prepare a forked child: it has none of the threads, and the lock may never be released.

    OpenMP would wait for its threads for ever, so torch computes on one core there.
    """
    global _pools_lock
    _pools_lock = threading.Lock()
    _pools.clear()
    if (torch := sys.modules.get("torch")) is not None and hasattr(torch, "set_num_threads"):
        torch.set_num_threads(1)


os.register_at_fork(after_in_child=_forget_threads)


def _compute_on_one_core() -> None:
    import torch

    torch.get_num_threads()  # without it torch sets its usual number at the thread's first operation
    torch.set_num_threads(1)


def _modes_of_caller(work: Callable[[], None]) -> Callable[[], None]:
    """Return the same work for another thread; inference mode and autocast are each thread's own."""
    import torch

    inference = torch.is_inference_mode_enabled()
    autocast, dtype = torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")

    def as_caller() -> None:
        with torch.inference_mode(inference), torch.autocast("cpu", dtype, enabled=autocast):
            work()

    return as_caller


def _quotas(cgroups: Path, own_cgroups: Path) -> Iterator[float]:
    """Give the CPUs that quotas allow: those of the process's control groups and of all groups above them."""
    for line in _read(own_cgroups).splitlines():
        _, controllers, path = (line.split(":", 2) + ["", ""])[:3]
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for group in ("/".join(parts[:end]) for end in range(len(parts) + 1)):
            texts = []
            if not controllers:  # version 2
                texts = [_read(cgroups / folder / group / "cpu.max") for folder in ("", "unified")]
            elif "cpu" in controllers.split(","):
                names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
                texts = [" ".join(_read(cgroups / "cpu" / group / name) for name in names)]
            for text in texts:  # the quota may be "max", -1 or nothing
                numbers = [int(part) for part in text.split() if part.isdecimal()]
                if len(numbers) == 2 and all(numbers):
                    yield numbers[0] / numbers[1]


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
