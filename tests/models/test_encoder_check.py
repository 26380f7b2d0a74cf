# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""What is loaded as an encoder is one, and its vectors do not depend on the batch."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hypensearch.errors import HypensearchError
from hypensearch.models import load_model
from hypensearch.models.new_model import load_backbone
from tests.models.checkpoints import DIM, biencoder_config, save_checkpoint

SIZES = {"hidden_size": DIM, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
SMALL = {**SIZES, "vocab_size": 2000}
T5 = {"d_model": DIM, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2, "vocab_size": 2000}
GROUPS = [f"{part}_groups" for part in ("q", "k", "v", "post_attention", "intermediate", "output")]
TEXTS = ["water", "the river and the stone, and all that is north of the church in a storm", "a stone"]

Save = Callable[..., Path]


@pytest.fixture
def save(tmp_path: Path, tiny_checkpoint: Path) -> Save:
    def write(backbone: dict[str, Any], *, pooling: str = "cls") -> Path:
        raw = biencoder_config()
        for side in ("query", "passage"):
            raw[f"{side}_encoder_kwargs"]["pooling_type"] = pooling
        return save_checkpoint(tmp_path, raw, tiny_checkpoint, backbones={"base_encoder": backbone})

    return write


def change(folder: Path, **facts: Any) -> None:
    """Change a tokenizer's configuration; None removes a fact."""
    path = folder / "tokenizer_config.json"
    changed = {**json.loads(path.read_text()), **facts}
    path.write_text(json.dumps({key: value for key, value in changed.items() if value is not None}))


@pytest.mark.parametrize("pooling", ["cls", "mean"])
@pytest.mark.parametrize(
    "backbone",
    [
        {"model_type": "bert", **SMALL},
        {"model_type": "roberta", **SMALL, "max_position_embeddings": 100, "pad_token_id": 0},
        {"model_type": "modernbert", **SMALL, "pad_token_id": 0, "local_attention": 8},
        {"model_type": "electra", **SMALL, "embedding_size": 8},
        {"model_type": "squeezebert", **SMALL, "embedding_size": DIM, **dict.fromkeys(GROUPS, 2)},
        {"model_type": "layoutlm", **SMALL},
        {"model_type": "t5", **T5},
        {"model_type": "xlnet", "d_model": DIM, "n_layer": 1, "n_head": 2, "d_inner": 32, "vocab_size": 2000},
    ],
    ids=lambda backbone: backbone["model_type"],
)
def test_vectors_are_those_of_the_text_alone(save: Save, backbone: dict[str, Any], pooling: str) -> None:
    folder = save(backbone, pooling=pooling)
    change(folder, padding_side="left")
    model = load_model(str(folder))
    together = model.encode_documents(TEXTS, max_length=64)
    alone = np.concatenate([model.encode_documents([text], max_length=64) for text in TEXTS])
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("backbone", "reason"),
    [
        (
            {"model_type": "convbert", **SMALL, "embedding_size": DIM, "head_ratio": 1},
            "see padding: its states change",
        ),
        ({"model_type": "canine", **SIZES}, "see padding: its states change"),
        ({"model_type": "nystromformer", **SMALL}, "see padding: its states change"),
        ({"model_type": "fnet", **SMALL}, "model_type 'fnet' takes no attention_mask"),
        (
            {"model_type": "bart", "d_model": DIM, "encoder_layers": 1, "decoder_layers": 1},
            "model_type 'bart' has an encoder and a decoder: wanted an encoder alone",
        ),
        ({"model_type": "vit", **SIZES}, "model_type 'vit' takes no input_ids"),
        ({"model_type": "clip"}, "model_type 'clip' has no .*hidden_size"),
        (
            {"model_type": "gpt2", "n_embd": DIM, "n_layer": 1, "n_head": 2, "vocab_size": 2000},
            "cls pooling takes the first token's state, .* does not depend on the tokens behind it, as in a decoder",
        ),
    ],
    ids=lambda value: value["model_type"] if isinstance(value, dict) else "",
)
def test_what_is_no_such_encoder_is_refused_in_one_line(save: Save, backbone: dict[str, Any], reason: str) -> None:
    with pytest.raises(HypensearchError, match=reason) as caught:
        load_model(str(save(backbone)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["bert", "qwen2", "t5"])
def test_the_last_tokens_state_whatever_the_padding(save: Save, kind: str) -> None:
    sizes = T5 if kind == "t5" else {**SMALL, "num_key_value_heads": 2}
    folder = save({"model_type": kind, **sizes}, pooling="last")
    model = load_model(str(folder))
    together = model.encode_documents(TEXTS, max_length=64)
    assert model.tokenizer is not None
    for text, vector in zip(TEXTS, together, strict=True):
        ids = model.tokenizer(text, return_tensors="pt")["input_ids"]
        with torch.inference_mode():
            states = model.passage_encoder.transformer(input_ids=ids).last_hidden_state
        np.testing.assert_allclose(vector, states[0, -1], rtol=1e-4, atol=1e-4)
    model.save_pretrained(folder.parent / "saved")
    saved = load_model(str(folder.parent / "saved"))
    np.testing.assert_array_equal(saved.encode_documents(TEXTS, max_length=64), together)


def test_a_tokenizer_without_a_pad_token_is_refused(save: Save) -> None:
    folder = save({"model_type": "bert", **SMALL})
    change(folder, pad_token=None, tokenizer_class="PreTrainedTokenizerFast")
    with pytest.raises(HypensearchError, match="checkpoint: its tokenizer has no pad token.*: name one as pad_token"):
        load_model(str(folder))


def test_a_tokenizer_that_puts_cls_last_is_refused_for_cls_pooling(save: Save) -> None:
    folder = save({"model_type": "bert", **SMALL})
    path = folder / "tokenizer.json"
    facts = json.loads(path.read_text())
    sep, cls = ({"SpecialToken": {"id": name, "type_id": 0}} for name in ("[SEP]", "[CLS]"))
    ids = {token["content"]: token["id"] for token in facts["added_tokens"]}
    facts["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"Sequence": {"id": "A", "type_id": 0}}, sep, cls],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}, sep, cls],
        "special_tokens": {name: {"id": name, "ids": [ids[name]], "tokens": [name]} for name in ("[SEP]", "[CLS]")},
    }
    path.write_text(json.dumps(facts))
    change(folder, tokenizer_class="PreTrainedTokenizerFast")
    with pytest.raises(HypensearchError, match=r"the tokenizer puts \[CLS\] last"):
        load_model(str(folder))


@pytest.mark.parametrize("kind", ["squeezebert", "layoutlm", "bert"])
def test_a_backbone_to_train_may_call_its_pooler(tmp_path: Path, tiny_checkpoint: Path, kind: str) -> None:
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    groups = {**dict.fromkeys(GROUPS, 2), "embedding_size": DIM} if kind == "squeezebert" else {}
    AutoModel.from_config(AutoConfig.for_model(kind, **SMALL, **groups)).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(tiny_checkpoint).save_pretrained(tmp_path)
    transformer, _ = load_backbone(str(tmp_path))
    assert not any("pooler" in name for name in transformer.state_dict())


def test_a_backbone_to_train_is_checked_as_well(tmp_path: Path, tiny_checkpoint: Path) -> None:
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    config = AutoConfig.for_model("convbert", **SMALL, embedding_size=DIM, head_ratio=1)
    AutoModel.from_config(config).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(tiny_checkpoint).save_pretrained(tmp_path)
    with pytest.raises(HypensearchError, match="--backbone .*: the layers of .* 'convbert' see padding"):
        load_backbone(str(tmp_path))
