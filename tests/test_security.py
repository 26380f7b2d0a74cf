# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""What SECURITY.md says."""

from __future__ import annotations

import ast
import os
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import hypensearch
from hypensearch.errors import HypensearchError
from hypensearch.models.checkpoint import read_weights
from hypensearch.train.config import read_config

PACKAGE = Path(hypensearch.__file__).parent
RUNS_CODE = ("eval", "exec", "compile", "__import__", "os.system", "os.popen", "yaml.load", "yaml.unsafe_load")
READS_PICKLE = ("pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal")


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_that_is_read_is_run(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for name, call in calls(tree):
        options = {option.arg: ast.unparse(option.value) for option in call.keywords}
        assert name not in RUNS_CODE
        assert options.get("trust_remote_code", "False") == "False"
        assert options.get("shell", "False") == "False"
        assert name != "torch.load" or options.get("weights_only") == "True"
        assert options.get("allow_pickle", "False") == "False"
        assert not name.endswith(".extractall") or options.get("filter") == "'data'"
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            assert not {name.split(".")[0] for name in names} & set(READS_PICKLE)


class Harmful:
    """What makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("old_format", [False, True])
def test_code_in_weights_is_not_run(old_format: bool, tmp_path: Path) -> None:
    torch.save(
        {"a": Harmful(tmp_path / "done")},
        tmp_path / "pytorch_model.bin",
        _use_new_zipfile_serialization=not old_format,
    )
    with pytest.raises(HypensearchError, match="not a file of plain tensors"):
        read_weights(tmp_path)
    assert not (tmp_path / "done").exists()
    (tmp_path / "pytorch_model.bin").write_bytes(pickle.dumps(Harmful(tmp_path / "done")))
    with pytest.raises(HypensearchError, match="not a file of plain tensors"):
        read_weights(tmp_path)
    assert not (tmp_path / "done").exists()


def test_code_in_yaml_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(f"output: !!python/object/apply:os.mkdir ['{tmp_path}/done']\n")
    with pytest.raises(HypensearchError, match="not readable as YAML"):
        read_config(str(tmp_path / "a.yaml"), {})
    assert not (tmp_path / "done").exists()


def test_aliases_that_multiply_are_not_written_out(tmp_path: Path) -> None:
    levels = ["&a0 [x, x]", *(f"&a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60))]
    (tmp_path / "a.yaml").write_text(f"output: [{', '.join(levels)}]\ntrain: x\nbackbone: x\n")
    with pytest.raises(HypensearchError, match="output: wanted str") as refused:
        read_config(str(tmp_path / "a.yaml"), {})
    assert len(str(refused.value)) < 1000
