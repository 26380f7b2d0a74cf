# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Collections by name where nothing can be had; integrations/test_named.py is the rest."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from hypensearch.errors import HypensearchError
from hypensearch.formats.named import is_name, relevance_level
from hypensearch.formats.qrels import read_qrels
from hypensearch.formats.topics import read_topics
from tests.commands import encode, refuse


def test_names_are_told_from_paths() -> None:
    assert is_name("irds:beir/scifact")
    assert is_name("hf:BeIR/scifact:corpus")
    assert not is_name("data/irds:x")
    assert not is_name(Path("irds:x"))
    assert relevance_level("qrels.txt") == 1


@pytest.mark.parametrize(("name", "library"), [("irds:toy", "ir_datasets"), ("hf:toy", "datasets")])
def test_a_missing_library_is_one_line(
    name: str, library: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    said = refuse("encode", *encode(name, tmp_path / "index", "bundled"))
    assert said == f"{library} is not installed: pip install 'hypensearch[{name.partition(':')[0]}]'"


@pytest.mark.parametrize("read", [read_topics, read_qrels])
def test_only_corpora_come_from_the_hub(read: object) -> None:
    with pytest.raises(HypensearchError, match="hf:toy: only a corpus comes from hf:"):
        read("hf:toy")  # type: ignore[operator]
