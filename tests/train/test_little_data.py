# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Training on poor data that keeps what the backbone knows: distillation of it, and averaging with the start.

The backbone is a bi-encoder that finds the document with a query's word. Shuffled records teach that it is another one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from hypensearch.errors import HypensearchError
from hypensearch.models import DualEncoder, load_model
from hypensearch.train.run import train
from tests.train.toy import WORDS, make_settings

TEXTS = [f"{word} f1 f2" for word in WORDS]
NOISE: dict[str, Any] = {"start": "warm", "train_file": "shuffled", "max_steps": 60, "validation": []}
DISTIL: dict[str, Any] = {"losses": {"cross_entropy": 1.0, "distil": 3.0}, "distil_from": "backbone"}
STILL = {"max_steps": 1, "learning_rate": 1e-30}


@pytest.fixture(scope="module")
def skilled(backbone: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("skilled")
    kind = {"architecture": "biencoder", "start": "warm", "learning_rate": 3e-3, "max_steps": 100, "validation": []}
    train(make_settings(backbone, data, folder, **kind))
    return folder / "model"


@pytest.fixture
def trained(settings: Any, skilled: Path, tmp_path: Path) -> Any:
    """Train on noise from the skilled backbone."""

    def run(name: str, **changes: Any) -> DualEncoder:
        return train(settings(**{**NOISE, "backbone": str(skilled), "output": str(tmp_path / name), **changes}))

    return run


def scores(model: DualEncoder) -> torch.Tensor:
    return model.encode_queries(TEXTS)(torch.from_numpy(model.encode_documents(TEXTS)))


def distance(model: DualEncoder, other: DualEncoder) -> float:
    """The Kullback-Leibler divergence from another model's distribution over documents."""
    mine, theirs = (scores(of).log_softmax(dim=1) for of in (model, other))
    return float((theirs.exp() * (theirs - mine)).sum(dim=1).mean())


@pytest.mark.parametrize("architecture", ["hypencoder", "biencoder"])
def test_distilling_the_backbone_keeps_its_scores(trained: Any, tmp_path: Path, architecture: str) -> None:
    start = trained("start", architecture=architecture, **STILL)
    plain = trained("plain", architecture=architecture)
    distilled = trained("distilled", architecture=architecture, **DISTIL)
    assert distance(distilled, start) < 0.4 * distance(plain, start)
    assert load_model(str(tmp_path / "distilled")).fingerprint == distilled.fingerprint


def test_a_biencoders_checkpoint_is_distilled(settings: Any, skilled: Path, tmp_path: Path) -> None:
    """What is trained has another backbone, and sees no label."""
    options = {"losses": {"distil": 1.0}, "distil_from": str(skilled), "start": "warm", "validation": []}
    before = train(settings(**options, **STILL, output=str(tmp_path / "before")))
    after = train(settings(**options, max_steps=100, learning_rate=3e-3, output=str(tmp_path / "after")))

    def found(model: DualEncoder) -> float:
        return float((scores(model).argmax(dim=1) == torch.arange(len(TEXTS))).float().mean())

    guide = load_model(str(skilled))
    assert found(guide) > 0.95
    assert distance(after, guide) < 0.5 * distance(before, guide)


def test_only_a_biencoder_is_distilled(settings: Any, tmp_path: Path) -> None:
    train(settings(max_steps=1, validation=[], output=str(tmp_path / "hypencoder")))
    options = {"losses": {"distil": 1.0}, "distil_from": str(tmp_path / "hypencoder")}
    with pytest.raises(HypensearchError, match="hypencoder: a hypencoder: wanted a bi-encoder's checkpoint"):
        train(settings(**options))
    with pytest.raises(HypensearchError, match="with --start-from name a checkpoint"):
        settings(**options | {"distil_from": "backbone", "backbone": "", "start_from": str(tmp_path / "hypencoder")})


def test_weights_are_averaged_with_the_start(trained: Any) -> None:
    start, last, mixed = trained("start", **STILL), trained("last"), trained("mixed", mix_with_start=0.75)
    for name, tensor in mixed.state_dict().items():
        wanted = 0.75 * start.state_dict()[name] + 0.25 * last.state_dict()[name]
        assert torch.allclose(tensor, wanted, atol=1e-5), name
    assert distance(mixed, start) < 0.4 * distance(last, start)


def test_another_share_is_tried_without_another_step(trained: Any) -> None:
    """Resuming a finished run mixes its trained weights, not those that were mixed before."""
    start, last = trained("start", **STILL), trained("run", max_steps=4)
    half, whole, again = (trained("run", max_steps=4, mix_with_start=share, resume=True) for share in (0.5, 1.0, 0.0))
    for name, tensor in again.state_dict().items():
        assert torch.equal(tensor, last.state_dict()[name])
        assert torch.allclose(whole.state_dict()[name], start.state_dict()[name], atol=1e-20)
        assert torch.allclose(half.state_dict()[name], (tensor + start.state_dict()[name]) / 2, atol=1e-6)


def test_teachers_scores_are_divided_by_the_temperature(settings: Any, tmp_path: Path) -> None:
    """A hotter teacher's distribution is flatter, and so is that of what learns from it."""
    options = {"train_file": "scored", "losses": {"kl": 1.0}, "start": "warm", "max_steps": 30, "validation": []}
    spread = [
        float(scores(train(settings(**options, teacher_temperature=t, output=str(tmp_path / f"{t}")))).std())
        for t in (1.0, 20.0)
    ]
    assert spread[1] < 0.7 * spread[0]
