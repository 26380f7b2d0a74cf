# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from hypensearch.errors import HypensearchError
from hypensearch.formats.files import FileLock
from hypensearch.models.dual_encoder import token_states
from hypensearch.models.new_model import load_backbone
from hypensearch.train.embedding_cache import EmbeddingCache

TEXTS = ["w1 f1 f2", "w3", "w8 w9 f4 f5 f6 f7"]


def make_cache(backbone: Path, folder: Path, pooling: str | None) -> EmbeddingCache:
    return EmbeddingCache(folder, *load_backbone(str(backbone)), pooling=pooling, max_length=16)


@torch.no_grad()
def alone(cache: EmbeddingCache, text: str) -> np.ndarray:
    batch = cache.tokenizer(text, return_tensors="pt")
    return token_states(cache.transformer, batch["input_ids"], batch["attention_mask"])[0].numpy()


def test_vectors_are_the_encoders(backbone: Path, tmp_path: Path) -> None:
    cache = make_cache(backbone, tmp_path, "mean")
    expected = np.stack([alone(cache, text).mean(axis=0) for text in TEXTS])
    np.testing.assert_allclose(cache.vectors(TEXTS), expected, atol=1e-5)
    reopened = make_cache(backbone, tmp_path, "mean")
    np.testing.assert_allclose(reopened.vectors([TEXTS[2], "f9", TEXTS[0]])[[0, 2]], expected[[2, 0]], atol=1e-5)


def test_token_states_are_the_encoders(backbone: Path, tmp_path: Path) -> None:
    cache = make_cache(backbone, tmp_path, None)
    states, mask = cache.token_states(TEXTS).padded([2, 0])
    for i, row in enumerate((2, 0)):
        np.testing.assert_allclose(states[i][mask[i].bool()].numpy(), alone(cache, TEXTS[row]), atol=2e-3)


def test_what_a_killed_run_left_half_written_is_dropped(backbone: Path, tmp_path: Path) -> None:
    cache = make_cache(backbone, tmp_path, "mean")
    first = cache.vectors(TEXTS)
    for name in ("states", "lengths", "sums", "keys"):
        with open(cache.folder / name, "ab") as file:
            file.write(b"\x01" * 5)
    reopened = make_cache(backbone, tmp_path, "mean")
    assert np.array_equal(reopened.vectors(TEXTS), first)
    again = reopened.vectors(["f1 f2", *TEXTS])
    assert np.array_equal(again[1:], first)
    np.testing.assert_allclose(again[0], alone(reopened, "f1 f2").mean(axis=0), atol=1e-5)


def test_two_processes_cannot_add_at_once(backbone: Path, tmp_path: Path) -> None:
    cache = make_cache(backbone, tmp_path, "mean")
    with FileLock(cache.folder / "lock"), pytest.raises(HypensearchError, match="lock"):
        cache.vectors(TEXTS)


@pytest.mark.parametrize(
    ("name", "pooling"),
    [*((name, pooling) for name in ("states", "sums", "keys") for pooling in ("mean", None)), ("lengths", None)],
)
def test_changed_bits_are_told(backbone: Path, tmp_path: Path, name: str, pooling: str | None) -> None:
    def read(cache: EmbeddingCache) -> np.ndarray:
        return cache.vectors(TEXTS) if pooling else cache.token_states(TEXTS).padded([0, 1, 2])[0].numpy()

    cache = make_cache(backbone, tmp_path, pooling)
    read(cache)
    content = bytearray((cache.folder / name).read_bytes())
    content[-3] ^= 1
    (cache.folder / name).write_bytes(content)
    with pytest.raises(HypensearchError, match="damaged cache of encodings: remove the folder"):
        read(make_cache(backbone, tmp_path, pooling))


def repeat_a_key(files: dict[str, bytearray]) -> None:
    files["keys"][:16] = files["keys"][16:32]


def cut_the_states(files: dict[str, bytearray]) -> None:
    del files["states"][-8:]


def length_of(tokens: int) -> Callable[[dict[str, bytearray]], None]:
    def change(files: dict[str, bytearray]) -> None:
        files["lengths"][:4] = np.int32(tokens).tobytes()

    return change


@pytest.mark.parametrize("harm", [repeat_a_key, cut_the_states, length_of(-1), length_of(2**31 - 1)])
@pytest.mark.parametrize("texts", [TEXTS, ["new", *TEXTS]])
def test_damage_is_told(
    backbone: Path, tmp_path: Path, harm: Callable[[dict[str, bytearray]], None], texts: list[str]
) -> None:
    whole = make_cache(backbone, tmp_path, None)
    whole.token_states(TEXTS)
    folder = whole.folder
    files = {path.name: bytearray(path.read_bytes()) for path in folder.iterdir()}
    harm(files)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    with pytest.raises(HypensearchError, match="damaged cache of encodings: remove the folder"):
        make_cache(backbone, tmp_path, None).token_states(texts)
    assert (folder / "states").stat().st_size == len(files["states"])
