# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""How a backbone makes vectors is read from the files of sentence-transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from hypensearch.errors import HypensearchError
from hypensearch.models.new_model import load_backbone, new_biencoder
from hypensearch.models.recipe import Recipe, read_recipe
from tests.models.families import make_backbone

STEPS = {"": "Transformer", "1_Pooling": "Pooling", "2_Normalize": "Normalize"}
MEAN = {"word_embedding_dimension": 48, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}
LAST = {"pooling_mode_mean_tokens": False, "pooling_mode_lasttoken": True, "include_prompt": True}


@pytest.fixture
def tokenizer(tiny_checkpoint: Path) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(tiny_checkpoint)


def write(
    folder: Path,
    *,
    steps: dict[str, str] | None = None,
    pooling: dict[str, Any] | None = None,
    settings: dict[str, Any] | None = None,
    text: dict[str, Any] | None = None,
    code: dict[str, Any] | None = None,
) -> str:
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for number, (path, kind) in enumerate((steps or STEPS).items())
    ]
    files = {
        "modules.json": modules,
        "1_Pooling/config.json": pooling or MEAN,
        "config_sentence_transformers.json": settings or {},
        "sentence_bert_config.json": {"max_seq_length": 512, **(text or {})},
        "config.json": {"model_type": "bert", **(code or {})},
    }
    for name, facts in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(facts))
    return str(folder)


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({}, Recipe("mean", "cosine")),
        ({"pooling": LAST}, Recipe("last", "cosine")),
        ({"pooling": {"pooling_mode": "lasttoken"}}, Recipe("last", "cosine")),
        ({"pooling": {"pooling_mode": ["cls"]}}, Recipe("cls", "cosine")),
        ({"pooling": {"pooling_mode_cls_token": True}}, Recipe("cls", "cosine")),
        ({"settings": {"similarity_fn_name": "dot"}}, Recipe("mean", "cosine")),  # of normalised vectors
        (
            {"steps": {"": "Transformer", "1_Pooling": "Pooling"}, "settings": {"similarity_fn_name": "dot"}},
            Recipe("mean", "dot"),
        ),
        (
            {"settings": {"prompts": {"query": "q: ", "passage": "p: "}}},
            Recipe("mean", "cosine", "q: ", "p: "),
        ),
        (
            {"settings": {"prompts": {"query": "q: ", "document": "", "x": "x: "}, "default_prompt_name": "x"}},
            Recipe("mean", "cosine", "q: ", ""),
        ),
        (
            {"settings": {"prompts": {"x": "x: "}, "default_prompt_name": "x"}},
            Recipe("mean", "cosine", "x: ", "x: "),
        ),
        ({"text": {"do_lower_case": True}}, Recipe("mean", "cosine")),  # the tokenizer does so as well
    ],
)
def test_what_the_files_say(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase, options: dict[str, Any], wanted: Recipe
) -> None:
    recipe = read_recipe(write(tmp_path, **options), tokenizer)
    assert recipe == wanted
    recipe.check_supported("it")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"steps": {**STEPS, "3_Dense": "Dense"}}, "its vectors go through Transformer, Pooling, Normalize, Dense"),
        ({"pooling": {"pooling_mode_weightedmean_tokens": True}}, "it pools by weightedmean"),
        ({"pooling": {**MEAN, "pooling_mode_cls_token": True}}, "it pools by cls and mean"),
        (
            {"steps": {"": "Transformer", "1_Pooling": "Pooling"}, "settings": {"similarity_fn_name": "euclidean"}},
            "it compares vectors by euclidean",
        ),
        (
            {"pooling": {**MEAN, "include_prompt": False}, "settings": {"prompts": {"query": "q: "}}},
            "it leaves the prompt's tokens out when it pools",
        ),
        ({"code": {"auto_map": {"AutoModel": "modeling.Model"}}}, "code of its own makes its vectors"),
    ],
)
def test_what_a_hypencoder_cannot_do_is_refused_with_the_reason(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase, options: dict[str, Any], reason: str
) -> None:
    recipe = read_recipe(write(tmp_path, **options), tokenizer)
    assert recipe is not None
    with pytest.raises(HypensearchError, match=rf"it: {reason}.*: start cold") as caught:
        recipe.check_supported("it")
    assert "\n" not in str(caught.value)


def test_a_plain_transformer_does_not_say(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    assert read_recipe(str(tmp_path), tokenizer) is None
    assert read_recipe("somebody/unheard-of", tokenizer) is None


@pytest.mark.parametrize("content", ["{", '{"a": 1}', '[{"path": ""}]', '[{"type": "x", "path": 3}]'])
def test_a_damaged_file_is_one_line(tmp_path: Path, tokenizer: PreTrainedTokenizerBase, content: str) -> None:
    write(tmp_path)
    (tmp_path / "modules.json").write_text(content)
    with pytest.raises(HypensearchError, match=r"modules\.json: not a file of sentence-transformers") as caught:
        read_recipe(str(tmp_path), tokenizer)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_of_ours_says(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    model = new_biencoder(make_backbone("bert"), tokenizer, pooling="mean", prompts=("q: ", "p: "))
    model.save_pretrained(tmp_path)
    assert read_recipe(str(tmp_path), tokenizer) == Recipe("mean", "dot", "q: ", "p: ")


def test_a_transformer_in_a_folder_of_its_own(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    write(tmp_path, steps={"0_Transformer": "Transformer", "1_Pooling": "Pooling"})
    (tmp_path / "config.json").unlink()
    make_backbone("bert").save_pretrained(tmp_path / "0_Transformer")  # type: ignore[operator]
    tokenizer.save_pretrained(tmp_path / "0_Transformer")
    transformer, _ = load_backbone(str(tmp_path))
    assert transformer.config.hidden_size == 48  # type: ignore[union-attr]
    assert read_recipe(str(tmp_path), tokenizer) == Recipe("mean", "cosine")
