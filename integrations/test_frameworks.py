# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The examples of docs/frameworks.md, word for word on the README's own corpus, each in a process of its own."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from integrations.test_docs import blocks, run, toy

__all__ = ["toy"]  # a fixture

PAGE = "docs/frameworks.md"


@pytest.mark.parametrize(
    ("heading", "library", "shown"),
    [
        ("ir_datasets and Hugging Face's datasets", "ir_datasets", r"RR\(rel=1\)@10 +1\.0000"),
        ("PyTerrier", "pyterrier", r"1\.0 +1\.0"),
        ("MTEB", "mteb", r"\n[01]\.\d+\n|^[01]\.\d+\n"),
        ("sentence-transformers", "sentence_transformers", r"1\.0"),
        ("LangChain", "langchain_core", r"strptime datetime\.strptime\("),
        ("LlamaIndex", "llama_index.core", r"strptime datetime\.strptime\("),
        ("Haystack", "haystack", r"strptime"),
        ("ONNX", "onnxruntime", r"\[\[ *\d+\.\d+ +-?\d+\.\d+ *\]\]"),
    ],
)
def test_the_examples_run(toy: Path, heading: str, library: str, shown: str) -> None:
    pytest.importorskip(library, reason=f"{library} is not installed")
    ((language, (code,)),) = blocks(PAGE, heading).items()
    printed = run(["bash", "-euc", code] if language == "bash" else [sys.executable, "-c", code], toy)
    assert re.search(shown, printed), printed


def test_the_examples_are_short() -> None:
    examples = [code for codes in blocks(PAGE).values() for code in codes]
    assert all(len([line for line in code.splitlines() if line.strip()]) <= 12 for code in examples)
