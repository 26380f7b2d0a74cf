# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The examples of docs/frameworks.md, word for word on the README's own corpus, each in a process of its own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from integrations.test_docs import blocks, run, toy

__all__ = ["toy"]  # a fixture

PAGE = "docs/frameworks.md"


def example(heading: str) -> str:
    """The only code of a section that runs."""
    ((code,),) = blocks(PAGE, heading).values()
    return code


def test_ir_datasets(toy: Path) -> None:
    pytest.importorskip("ir_datasets", reason="ir_datasets is not installed")
    printed = run(["bash", "-euc", example("ir_datasets and Hugging Face's datasets")], toy)
    assert ["RR(rel=1)@10", "1.0000"] in [line.split() for line in printed.splitlines()]


def printed_by(toy: Path, heading: str) -> list[str]:
    return run([sys.executable, "-c", example(heading)], toy).splitlines()
