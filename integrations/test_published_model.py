# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The authors' published model gives the scores of their README."""

from __future__ import annotations

import os
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import torch

from hypensearch.errors import HypensearchError
from hypensearch.models import DualEncoder, load_model

NAME = "jfkback/hypencoder.6_layer"
QUERIES = ["how many states are there in india", "when do concussion symptoms appear"]
PASSAGES = [
    "India has 28 states and 8 union territories.",
    "Concussion symptoms can appear immediately or up to 72 hours after the injury.",
]
SCORES = [[-12.1192, -32.7046], [-34.0934, -13.5832]]
SECONDS = 5


@pytest.fixture(scope="module")
def model() -> DualEncoder:
    """The model, from the hub's cache or, 560 MB, from the hub."""
    if not _cached():
        _reach_the_hub()
    try:
        return load_model(NAME)
    except HypensearchError as error:
        pytest.skip(str(error))


def test_scores_of_the_readme(model: DualEncoder) -> None:
    """Together in padded batches, as in the README."""
    assert (model.kind, model.dim, model.q_net_config.num_blocks) == ("hypencoder", 768, 6)
    scores = model.encode_queries(QUERIES)(torch.from_numpy(model.encode_documents(PASSAGES)))
    np.testing.assert_allclose(scores, SCORES, rtol=0, atol=1e-3)


def test_our_own_format_gives_the_same(model: DualEncoder, tmp_path: Path) -> None:
    wanted = model.encode_queries(QUERIES)(torch.from_numpy(model.encode_documents(PASSAGES)))
    model.save_pretrained(tmp_path)
    again = load_model(str(tmp_path))
    assert torch.equal(again.encode_queries(QUERIES)(torch.from_numpy(again.encode_documents(PASSAGES))), wanted)


def _cached() -> bool:
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(NAME, "config.json"), str)


def _reach_the_hub() -> None:
    """Find out in seconds whether there is a hub; its own client tries for minutes."""
    if os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0"):
        pytest.skip(f"{NAME} is not in the hub's cache, and HF_HUB_OFFLINE is set")
    hub = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    try:
        urllib.request.urlopen(f"{hub}/{NAME}/resolve/main/config.json", timeout=SECONDS).close()
    except OSError as error:
        pytest.skip(f"{NAME} is not in the hub's cache, and {hub} cannot be reached ({error})")
