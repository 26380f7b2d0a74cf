# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Models in folders whose names are not UTF-8, which libraries in Rust and C++ do not take."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertModel

from hypensearch.formats.files import name_for_libraries
from hypensearch.models import load_model
from hypensearch.models.dual_encoder import DualEncoder
from hypensearch.models.new_model import load_backbone
from hypensearch.models.released_layout import save_released


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / os.fsdecode(b"caf\xe9") / os.fsdecode(b"mod\xe8le")


@pytest.fixture
def model(tiny_checkpoint: Path) -> DualEncoder:
    return load_model(str(tiny_checkpoint))


@pytest.mark.parametrize("form", ["own", "compact", "released"])
def test_checkpoints_are_written_and_loaded(model: DualEncoder, folder: Path, form: str) -> None:
    if form == "released":
        save_released(model, folder)
    else:
        model.save_pretrained(folder, compact=form == "compact")
        model.save_pretrained(folder, compact=form == "compact")  # in place of the older one
    loaded = load_model(str(folder))
    close = 0.3 if form == "compact" else 1e-6
    np.testing.assert_allclose(loaded.encode_documents(["water"]), model.encode_documents(["water"]), atol=close)


def test_parts_with_such_names_are_read(model: DualEncoder, folder: Path) -> None:
    model.save_pretrained(folder)
    weights = load_file(_plain_link(folder) / "model.safetensors")
    (folder / "model.safetensors").unlink()
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(config.replace('"checksums"', '"unchecked"'))
    parts = {name: f"model-{number:05}-of-{len(weights):05}.safetensors" for number, name in enumerate(weights, 1)}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": parts}))
    for name, file in parts.items():
        with name_for_libraries(folder / file) as part:
            save_file({name: weights[name]}, part)
    assert load_model(str(folder)).fingerprint == model.fingerprint


def test_backbones_are_loaded(tiny_checkpoint: Path, model: DualEncoder, folder: Path) -> None:
    config = BertConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
    folder.mkdir(parents=True)
    BertModel(config).save_pretrained(_plain_link(folder))
    assert model.tokenizer is not None
    model.tokenizer.save_pretrained(_plain_link(folder))
    transformer, tokenizer = load_backbone(str(folder))
    assert transformer.config.hidden_size == 32  # type: ignore[union-attr]
    assert tokenizer.get_vocab() == model.tokenizer.get_vocab()


def test_a_name_for_libraries_is_the_files_own_where_it_can_be(tmp_path: Path) -> None:
    for raw in (b"plain", b"caf\xe9", "caf\u00e9".encode()):
        path = tmp_path / os.fsdecode(raw)
        with name_for_libraries(path) as name:
            Path(name).write_bytes(raw)
            name.encode("utf-8")
            assert (name == str(path)) == (raw != b"caf\xe9")
        assert path.read_bytes() == raw
        assert path.is_symlink() is False


def _plain_link(folder: Path) -> Path:
    link = folder.parent.parent / "link"
    if not link.is_symlink():
        link.symlink_to(folder)
    return link
