# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path

import pytest

from hypensearch.errors import HypensearchError
from hypensearch.models import load_model


@pytest.fixture
def saved(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    load_model(str(tiny_checkpoint)).save_pretrained(tmp_path / "saved")
    return tmp_path / "saved"


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_a_changed_file_is_refused(saved: Path, name: str) -> None:
    content = bytearray((saved / name).read_bytes())
    content[-9] ^= 1
    (saved / name).write_bytes(content)
    with pytest.raises(HypensearchError, match=f"{name}: has changed since the checkpoint was written"):
        load_model(str(saved))


def test_a_changed_setting_is_refused_unless_it_is_meant(saved: Path) -> None:
    path = saved / "config.json"
    facts = json.loads(path.read_text())
    facts["note"] = "mine"
    path.write_text(json.dumps(facts))
    with pytest.raises(
        HypensearchError, match=r"config\.json: has changed .* remove 'checksums' from its config\.json"
    ):
        load_model(str(saved))
    del facts["checksums"]
    path.write_text(json.dumps(facts))
    assert load_model(str(saved)).dim


def test_loaded_and_saved_again_it_is_the_same(saved: Path, tmp_path: Path) -> None:
    load_model(str(saved)).save_pretrained(tmp_path / "again")
    for path in saved.iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()
