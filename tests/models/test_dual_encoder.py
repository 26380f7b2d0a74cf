# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from hypensearch.errors import HypensearchError
from hypensearch.models import load_model
from tests.models.checkpoints import DIM, bert_config, biencoder_config, hypencoder_config, save_checkpoint

TEXTS = ["water", "how many rivers are in the north", "storm over the water of the early river, and more"]


@pytest.fixture
def save(tmp_path: Path, tiny_checkpoint: Path) -> Callable[..., Path]:
    """Write a random checkpoint of a configuration into this test's folder."""
    return lambda raw, **options: save_checkpoint(tmp_path, raw, tiny_checkpoint, **options)


def scores(model: Any) -> np.ndarray:
    vectors = np.concatenate([model.encode_documents([text]) for text in TEXTS])
    return model.encode_queries(TEXTS)(torch.from_numpy(vectors)).numpy()


def test_bi_encoder_scores_are_inner_products(save: Callable[..., Path]) -> None:
    model = load_model(str(save(biencoder_config())))
    assert (model.kind, model.dim) == ("biencoder", DIM)
    queries = np.stack([_states(model.query_encoder, model.tokenizer, text)[0] for text in TEXTS])
    documents = np.stack([_states(model.passage_encoder, model.tokenizer, text)[0] for text in TEXTS])
    np.testing.assert_allclose(scores(model), queries @ documents.T, rtol=1e-4, atol=1e-4)


def test_shared_bi_encoder_has_one_side(save: Callable[..., Path]) -> None:
    model = load_model(str(save(biencoder_config(shared=True))))
    np.testing.assert_allclose(scores(model), scores(model).T, rtol=1e-4, atol=1e-4)


def test_matryoshka_checkpoint_has_widths_and_no_residual(save: Callable[..., Path]) -> None:
    raw = hypencoder_config() | {
        "loss_type": ["matryoshka_dim_margin_mse"],
        "loss_kwargs": [{"matryoshka_dims": [8, 4, 16]}],
    }
    folder = str(save(raw))
    assert load_model(folder).config.widths == (4, 8, 16)
    narrow = load_model(folder, width=4).encode_queries(TEXTS)
    full = load_model(folder).encode_queries(TEXTS)
    assert narrow.config.dims == (DIM, 4, 4, 1)
    assert not full.config.residual
    torch.testing.assert_close(narrow.weights[1], full.weights[1][:, :4, :4])
    torch.testing.assert_close(narrow.biases[0], full.biases[0][:, :4])


@pytest.mark.parametrize(("width", "message"), [(17, "does not fit"), (8, "residual needs equal widths")])
def test_width_that_cannot_be_is_refused(save: Callable[..., Path], width: int, message: str) -> None:
    with pytest.raises(HypensearchError, match=message):
        load_model(str(save(hypencoder_config())), width=width)


def test_sides_of_different_widths(save: Callable[..., Path]) -> None:
    raw = hypencoder_config(vector_dimensions=[24, 24, 12, 1])
    raw["passage_encoder_kwargs"]["model_name_or_path"] = "wide"
    folder = save(raw, backbones={"base_encoder": bert_config(), "wide": bert_config(24, heads=3)})
    assert load_model(str(folder)).dim == 24


def test_no_block_at_all(save: Callable[..., Path]) -> None:
    model = load_model(str(save(hypencoder_config(vector_dimensions=[DIM, 1]))))
    assert model.encode_queries(TEXTS).biases == []
    assert np.isfinite(scores(model)).all()


def test_mean_pooling_counts_real_tokens_only(save: Callable[..., Path]) -> None:
    raw = hypencoder_config()
    raw["passage_encoder_kwargs"]["pooling_type"] = "mean"
    folder = str(save(raw))
    alone, padded = (load_model(folder).encode_documents(texts)[0] for texts in (TEXTS[:1], TEXTS))
    np.testing.assert_allclose(alone, padded, atol=1e-5)
    released = load_model(folder, count_padding=True)
    assert np.abs(released.encode_documents(TEXTS[:1])[0] - released.encode_documents(TEXTS)[0]).max() > 1e-2
    assert released.fingerprint != load_model(folder).fingerprint


def test_prompts_are_put_before_every_text(save: Callable[..., Path], tmp_path: Path) -> None:
    folder = save(hypencoder_config())
    plain = load_model(str(folder))
    raw = hypencoder_config() | {"prompts": {"query": "query: ", "document": "passage: "}}
    (folder / "config.json").write_text(json.dumps(raw))
    prompted = load_model(str(folder))
    queries, documents = [f"query: {text}" for text in TEXTS], [f"passage: {text}" for text in TEXTS]
    np.testing.assert_array_equal(prompted.encode_documents(TEXTS), plain.encode_documents(documents))
    wanted = plain.encode_queries(queries)
    from_states = prompted.generate_q_nets(prompted.encode_query_states(TEXTS))
    for found in (prompted.encode_queries(TEXTS), from_states):
        torch.testing.assert_close(found.weights, wanted.weights, rtol=0, atol=0)
        torch.testing.assert_close(found.biases, wanted.biases, rtol=0, atol=0)
    assert prompted.count_query_tokens(TEXTS) == plain.count_query_tokens(queries)
    assert prompted.fingerprint != plain.fingerprint
    assert prompted.query_fingerprint != plain.query_fingerprint
    prompted.save_pretrained(tmp_path / "saved")
    assert load_model(str(tmp_path / "saved")).fingerprint == prompted.fingerprint


@pytest.mark.parametrize("token", ["cls", "last"])
def test_a_final_weight_of_one_token(save: Callable[..., Path], token: str) -> None:
    raw = hypencoder_config()
    raw["query_encoder_kwargs"]["final_token"] = token
    model = load_model(str(save(raw)))
    head, ids = model.query_encoder.hyper_head, _ids(model.tokenizer, TEXTS[1])
    with torch.inference_mode():
        states = model.query_encoder.transformer(**ids).last_hidden_state
        alone = states[:, :1] if token == "cls" else states[:, -1:]
        wanted = head.generate_weight(2, alone, torch.ones(1, 1).long())
    torch.testing.assert_close(model.encode_queries(TEXTS)[1].weights[2], wanted, rtol=1e-4, atol=1e-5)


def test_own_format_needs_no_other_file(save: Callable[..., Path], tmp_path: Path) -> None:
    folder = save(hypencoder_config() | {"shared_encoder": True})
    model = load_model(str(folder))
    own = tmp_path / "elsewhere" / "own"
    model.save_pretrained(own)
    _remove_backbones(folder)
    again = load_model(str(own))
    np.testing.assert_array_equal(scores(again), scores(model))
    assert (again.fingerprint, again.query_fingerprint) == (model.fingerprint, model.query_fingerprint)


def test_one_changed_value_or_word_is_another_model(tiny_checkpoint: Path) -> None:
    wanted = load_model(str(tiny_checkpoint)).fingerprint
    model = load_model(str(tiny_checkpoint))
    model.passage_encoder.transformer.embeddings.word_embeddings.weight.data[1234, 5] += 1
    assert model.fingerprint != wanted
    model = load_model(str(tiny_checkpoint))
    model.tokenizer.add_tokens(["hypencoder"])
    assert model.fingerprint != wanted


def test_loading_leaves_the_callers_random_state(tiny_checkpoint: Path) -> None:
    state = torch.random.get_rng_state()
    load_model(str(tiny_checkpoint))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_queries_do_not_depend_on_their_neighbours_or_on_threads(tiny_checkpoint: Path) -> None:
    model = load_model(str(tiny_checkpoint))
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(model.encode_queries(TEXTS))
    finally:
        torch.set_num_threads(before)
    results.append(type(results[0]).concat([model.encode_queries([text]) for text in TEXTS]))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0].weights, other.weights, strict=True))
        assert all(torch.equal(a, b) for a, b in zip(results[0].biases, other.biases, strict=True))


def test_max_length_beyond_the_positions_is_refused(tiny_checkpoint: Path) -> None:
    with pytest.raises(HypensearchError, match="--max-length 513: wanted 2 to 512"):
        load_model(str(tiny_checkpoint)).encode_queries(["water"], max_length=513)


def test_every_flaw_of_the_weights_is_listed_at_once(save: Callable[..., Path]) -> None:
    folder = save(hypencoder_config())
    weights = torch.load(folder / "pytorch_model.bin", weights_only=True)
    del weights["query_encoder.hyper_base_vectors.1"]
    weights["query_encoder.surprise"] = torch.zeros(2)
    weights["query_encoder.key_projections.0.bias"] = torch.zeros(3)
    torch.save(weights, folder / "pytorch_model.bin")
    with pytest.raises(HypensearchError) as error:
        load_model(str(folder))
    for part in (
        "pytorch_model.bin",
        "1 missing: query_encoder.hyper_base_vectors.1",
        "1 unknown: query_encoder.surprise",
        "1 misshapen: query_encoder.key_projections.0.bias (3,) instead of (16,)",
    ):
        assert part in str(error.value)


def test_weights_that_are_no_numbers_are_named(save: Callable[..., Path]) -> None:
    folder = save(hypencoder_config())
    weights = torch.load(folder / "pytorch_model.bin", weights_only=True)
    weights["query_encoder.hyper_base_vectors.0"][0, 3] = float("nan")
    torch.save(weights, folder / "pytorch_model.bin")
    with pytest.raises(HypensearchError, match=r"NaN or infinity in query_encoder.hyper_base_vectors.0"):
        load_model(str(folder))


def test_safetensors_with_one_name_for_a_shared_encoder(save: Callable[..., Path]) -> None:
    folder = save(hypencoder_config() | {"shared_encoder": True})
    wanted = scores(load_model(str(folder)))
    weights = torch.load(folder / "pytorch_model.bin", weights_only=True)
    for side in ("query_encoder", "passage_encoder"):
        (folder / "model.safetensors").unlink(missing_ok=True)
        kept = {name: t.clone() for name, t in weights.items() if not name.startswith(f"{side}.transformer.")}
        save_file(kept, folder / "model.safetensors")
        np.testing.assert_array_equal(scores(load_model(str(folder))), wanted)


def test_shared_encoder_with_two_contents_is_refused(save: Callable[..., Path]) -> None:
    folder = save(hypencoder_config() | {"shared_encoder": True})
    weights = torch.load(folder / "pytorch_model.bin", weights_only=True)
    name = "passage_encoder.transformer.embeddings.word_embeddings.weight"
    weights[name] = weights[name] + 1
    torch.save(weights, folder / "pytorch_model.bin")
    with pytest.raises(HypensearchError, match="encoder is shared, but"):
        load_model(str(folder))


class _Evil:
    def __reduce__(self) -> tuple:
        return (Path.touch, (Path("evil-was-here"),))


def test_pickle_that_runs_code_is_refused(
    save: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = save(hypencoder_config())
    torch.save({"query_encoder.x": _Evil()}, folder / "pytorch_model.bin")
    with pytest.raises(HypensearchError, match="not a file of plain tensors"):
        load_model(str(folder))
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(_Evil()))
    with pytest.raises(HypensearchError, match="not a file of plain tensors"):
        load_model(str(folder))
    assert not list(tmp_path.rglob("evil-was-here"))


@pytest.mark.parametrize("keep", [0, 9, 500])
def test_truncated_weights_are_refused(tiny_checkpoint: Path, tmp_path: Path, keep: int) -> None:
    folder = shutil.copytree(tiny_checkpoint, tmp_path / "checkpoint")
    (folder / "model.safetensors").write_bytes((tiny_checkpoint / "model.safetensors").read_bytes()[:keep])
    with pytest.raises(HypensearchError, match=r"model.safetensors: damaged"):
        load_model(str(folder))


def test_unknown_backbone_names_the_flag(save: Callable[..., Path]) -> None:
    raw = hypencoder_config()
    for side in ("query_encoder_kwargs", "passage_encoder_kwargs"):
        raw[side]["model_name_or_path"] = "somebody/unheard-of"
    folder = save(raw, backbones={"somebody/unheard-of": bert_config()})
    _remove_backbones(folder)
    with pytest.raises(HypensearchError, match=r"'somebody/unheard-of'.*--backbone-config"):
        load_model(str(folder))
    config = _write(folder, "given.json", bert_config())
    assert load_model(str(folder), backbone_config=config).dim == DIM


def test_backbone_of_another_size_is_refused(save: Callable[..., Path]) -> None:
    folder = save(hypencoder_config())
    config = _write(folder, "other.json", bert_config(24, heads=3))
    with pytest.raises(HypensearchError, match="the query backbone's states have 24 dimensions"):
        load_model(str(folder), backbone_config=config)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw: raw.pop("query_encoder_kwargs"), "no 'query_encoder_kwargs' object"),
        (lambda raw: raw["passage_encoder_kwargs"].update(pooling_type="max"), "unknown pooling_type 'max'"),
        (
            lambda raw: raw["query_encoder_kwargs"]["converter_kwargs"].update(do_magic=1),
            "unknown field `do_magic`",
        ),
        (
            lambda raw: raw["query_encoder_kwargs"]["converter_kwargs"].pop("vector_dimensions"),
            "required field `vector_dim",
        ),
        (lambda raw: raw["query_encoder_kwargs"].update(base_encoder_output_dim="x"), "unusable value"),
        (
            lambda raw: raw["query_encoder_kwargs"]["converter_kwargs"].update(vector_dimensions=[10**30, 1]),
            "wanted at",
        ),
        (lambda raw: raw.update(loss_kwargs=5), "at `[$].loss_kwargs`"),
        (lambda raw: raw.update(loss_type=["matryoshka"], loss_kwargs=[{"matryoshka_dims": 5}]), "unusable value"),
    ],
)
def test_flawed_configurations_are_refused(save: Callable[..., Path], change: Callable, message: str) -> None:
    folder = save(hypencoder_config())
    raw = hypencoder_config()
    change(raw)
    (folder / "config.json").write_text(json.dumps(raw))
    with pytest.raises(HypensearchError, match=message) as error:
        load_model(str(folder))
    assert "config.json" in str(error.value)


@pytest.mark.parametrize(
    "change",
    [{"hidden_size": "x"}, {"hidden_size": -1}, {"num_attention_heads": 0}, {"dtype": "x"}],
)
def test_flawed_backbone_configurations_are_refused(save: Callable[..., Path], change: dict[str, Any]) -> None:
    folder = save(hypencoder_config())
    (folder.parent / "base_encoder" / "config.json").write_text(json.dumps(bert_config() | change))
    with pytest.raises(HypensearchError, match=r"that transformers does not take|no transformer can be built") as error:
        load_model(str(folder))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("key", ["dtype", "torch_dtype"])
def test_a_backbones_precision_is_not_ours(save: Callable[..., Path], key: str) -> None:
    folder = save(hypencoder_config(), backbones={"base_encoder": bert_config() | {key: "float16"}})
    assert {parameter.dtype for parameter in load_model(str(folder)).parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("/no/such/folder", "no such folder, and not a hub name"),
        ("./missing", "no such folder, and not a hub name"),
        ("somebody/unheard-of", "no such folder here, and the hub does not give it"),
    ],
)
def test_missing_checkpoints(name: str, message: str) -> None:
    with pytest.raises(HypensearchError, match=message):
        load_model(name)


def test_folder_without_weights_or_tokenizer(save: Callable[..., Path]) -> None:
    folder = save(hypencoder_config())
    (folder / "tokenizer.json").unlink()
    with pytest.raises(HypensearchError, match="no tokenizer"):
        load_model(str(folder))
    (folder / "pytorch_model.bin").unlink()
    with pytest.raises(HypensearchError, match=r"no weights, wanted model.safetensors or pytorch_model.bin"):
        load_model(str(folder))


def test_half_precision_files_are_loaded_as_float32(tiny_checkpoint: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_checkpoint, tmp_path / "checkpoint")
    shutil.copytree(tiny_checkpoint.parent / "base_encoder", tmp_path / "base_encoder")
    weights = {name: tensor.half() for name, tensor in load_file(tiny_checkpoint / "model.safetensors").items()}
    save_file(weights, folder / "model.safetensors")
    model = load_model(str(folder))
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def _states(encoder: Any, tokenizer: Any, text: str) -> np.ndarray:
    with torch.inference_mode():
        return encoder.transformer(**_ids(tokenizer, text)).last_hidden_state[0].numpy()


def _ids(tokenizer: Any, text: str) -> dict[str, torch.Tensor]:
    batch = tokenizer([text], return_tensors="pt")
    return {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}


def _remove_backbones(checkpoint: Path) -> None:
    for path in checkpoint.parent.iterdir():
        if path.is_dir() and path != checkpoint and not (path / "own").exists():
            shutil.rmtree(path)


def _write(folder: Path, name: str, config: dict[str, Any]) -> str:
    path = folder.parent / name
    path.write_text(json.dumps(config))
    return str(path)
