# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Weights in several files, as transformers writes those of large models."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from hypensearch.errors import HypensearchError
from hypensearch.models import load_model
from tests.models.checkpoints import biencoder_config, save_checkpoint

INDEXES = {"safetensors": "model.safetensors.index.json", "bin": "pytorch_model.bin.index.json"}


@pytest.fixture
def whole(tmp_path: Path, tiny_checkpoint: Path) -> Path:
    return save_checkpoint(tmp_path, biencoder_config(), tiny_checkpoint)


def split(folder: Path, kind: str) -> dict[str, Any]:
    """Divide a checkpoint's weights among two files; returns the weight map."""
    weights = torch.load(folder / "pytorch_model.bin", weights_only=True)
    (folder / "pytorch_model.bin").unlink()
    names = sorted(weights)
    stem = "model" if kind == "safetensors" else "pytorch_model"
    files = [f"{stem}-0000{number}-of-00002.{kind}" for number in (1, 2)]
    weight_map = {name: files[place % 2] for place, name in enumerate(names)}
    for file in files:
        write(folder / file, {name: weights[name] for name in names if weight_map[name] == file})
    (folder / INDEXES[kind]).write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}))
    return weight_map


def write(path: Path, weights: Mapping[str, Tensor]) -> None:
    copies = {name: tensor.clone().contiguous() for name, tensor in weights.items()}
    if path.suffix == ".bin":
        torch.save(copies, path)
    else:
        save_file(copies, path)


@pytest.mark.parametrize("kind", INDEXES)
def test_parts_make_the_same_model(whole: Path, kind: str) -> None:
    expected = load_model(str(whole)).state_dict()
    split(whole, kind)
    found = load_model(str(whole)).state_dict()
    assert list(found) == list(expected)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def lose_a_part(folder: Path, weight_map: dict[str, Any]) -> None:
    (folder / max(weight_map.values())).unlink()


def lead_out(folder: Path, weight_map: dict[str, Any]) -> None:
    first, outside = min(weight_map), folder.parent / "outside.safetensors"
    (folder / weight_map[first]).rename(outside)
    redo(folder, {name: "../outside.safetensors" for name in weight_map})


def lead_out_absolutely(folder: Path, weight_map: dict[str, Any]) -> None:
    redo(folder, {name: str(folder / file) for name, file in weight_map.items()})


def name_a_tensor_elsewhere(folder: Path, weight_map: dict[str, Any]) -> None:
    first, last = min(weight_map), max(weight_map)
    redo(folder, {**weight_map, first: next(file for file in weight_map.values() if file != weight_map[first])})
    assert first != last


def leave_a_tensor_out(folder: Path, weight_map: dict[str, Any]) -> None:
    redo(folder, {name: file for name, file in weight_map.items() if name != min(weight_map)})


def redo(folder: Path, weight_map: object) -> None:
    (folder / INDEXES["safetensors"]).write_text(json.dumps({"weight_map": weight_map}))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lose_a_part, "index.json: 1 of its 2 files are not there, such as model-00002-of-00002.safetensors"),
        (lead_out, r"is said to be in '../outside.safetensors': wanted a .safetensors file beside it"),
        (lead_out_absolutely, "wanted a .safetensors file beside it"),
        (name_a_tensor_elsewhere, "does not hold just the weights that model.safetensors.index.json says"),
        (leave_a_tensor_out, "does not hold just the weights that .* 1 differ"),
        (lambda folder, weight_map: redo(folder, {}), "its weight_map names no weights"),
        (lambda folder, weight_map: redo(folder, {"a": 5}), "a is said to be in 5"),
        (lambda folder, weight_map: redo(folder, {"a": "config.json"}), "a is said to be in 'config.json'"),
        (
            lambda folder, weight_map: (folder / INDEXES["safetensors"]).write_text("["),
            "no index of a split checkpoint",
        ),
        (
            lambda folder, weight_map: (folder / INDEXES["safetensors"]).write_text("[]"),
            "no index of a split checkpoint",
        ),
    ],
)
def test_an_index_that_is_wrong_is_refused(
    whole: Path, spoil: Callable[[Path, dict[str, Any]], object], said: str
) -> None:
    spoil(whole, split(whole, "safetensors"))
    with pytest.raises(HypensearchError, match=said):
        load_model(str(whole))
