# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from hypensearch.device import resolve_device
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
