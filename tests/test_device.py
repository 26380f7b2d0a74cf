# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from hypensearch import device
from hypensearch.device import autocast, computes_in, resolve_device, usable_dtype
from hypensearch.errors import HypensearchError

needs_no_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")


def test_cpu() -> None:
    assert resolve_device("cpu") == torch.device("cpu")


@needs_no_cuda
def test_auto_is_the_cpu_without_a_gpu() -> None:
    assert resolve_device("auto") == torch.device("cpu")


@needs_no_cuda
@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:3"])
def test_a_gpu_that_is_asked_for_is_never_replaced(name: str) -> None:
    with pytest.raises(HypensearchError, match=f"--device {name}: this machine has no CUDA device; use --device cpu"):
        resolve_device(name)


@needs_cuda
def test_auto_is_the_gpu() -> None:
    assert resolve_device("auto").type == "cuda"


@needs_cuda
def test_a_gpu_that_is_not_there() -> None:
    with pytest.raises(HypensearchError, match=r"--device cuda:99: this machine has \d+ CUDA devices"):
        resolve_device("cuda:99")


@pytest.mark.parametrize("name", ["", "gpu", "meta", "mps", "CPU", "cuda:", "cuda:x", "cuda:99999999999", "cpu\n"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(HypensearchError, match="wanted auto, cpu, cuda or cuda:N"):
        resolve_device(name)


def test_everything_computes_in_float32() -> None:
    assert all(computes_in(torch.device(name), torch.float32) for name in ("cpu", "cuda"))


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="needs Linux to say what the processor can")
def test_bfloat16_needs_avx_512_on_x86() -> None:
    flags = Path("/proc/cpuinfo").read_text().split()
    if "avx2" in flags and not {"avx512bw", "avx_ne_convert"} & set(flags):
        assert not computes_in(torch.device("cpu"), torch.bfloat16)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_type_without_instructions_gives_way_to_float32_and_says_so_once(
    dtype: torch.dtype, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "_logged", set())
    cpu = torch.device("cpu")
    found = {usable_dtype(cpu, dtype) for _ in range(2)}
    assert found == {dtype if computes_in(cpu, dtype) else torch.float32}
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * (found == {torch.float32})
    with autocast(cpu, dtype, enabled=True):
        assert torch.is_autocast_enabled("cpu") == computes_in(cpu, dtype)
    with autocast(cpu, dtype, enabled=False):
        assert not torch.is_autocast_enabled("cpu")
