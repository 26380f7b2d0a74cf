# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from hypensearch.models import DualEncoder, load_model
from hypensearch.models.weights import read_weights
from tests.commands import refuse, succeed
from tests.convert.hub_server import TOKEN, running_hub
from tests.models.checkpoints import DIM, biencoder_config, hypencoder_config, save_checkpoint

QUERIES = ["how many states", "a query"]
DOCUMENTS = ["India has 28 states", "a much longer document that is about nothing at all", "x"]


def scores(model: DualEncoder) -> torch.Tensor:
    return model.encode_queries(QUERIES)(torch.from_numpy(model.encode_documents(DOCUMENTS)))


def convert(source: Path | str, output: Path, *more: object) -> str:
    return succeed("convert", "--encoder", source, "--output", output, *more)


def test_from_the_released_layout_and_back(tiny_checkpoint: Path, tmp_path: Path) -> None:
    """The authors' own checkpoint comes back tensor by tensor, under the names of their file."""
    convert(tiny_checkpoint, tmp_path / "ours")
    convert(tmp_path / "ours", tmp_path / "theirs", "--to", "released")
    expected, _ = read_weights(tiny_checkpoint)
    found = torch.load(tmp_path / "theirs" / "pytorch_model.bin", weights_only=True)
    assert {name for name in expected if ".pooler." not in name} == set(found)
    assert all(torch.equal(found[name], expected[name]) for name in found)
    original = json.loads((tiny_checkpoint / "config.json").read_text())
    config = json.loads((tmp_path / "theirs" / "config.json").read_text())
    for key in ("architectures", "loss_type", "loss_kwargs", "shared_encoder"):
        assert config[key] == original[key]
    for model in (tmp_path / "ours", tmp_path / "theirs"):
        assert torch.equal(scores(load_model(str(model))), scores(load_model(str(tiny_checkpoint))))


@pytest.mark.parametrize("shared", [True, False])
def test_the_released_layout_holds_what_its_loader_asks_for(
    tiny_checkpoint: Path, tmp_path: Path, shared: bool
) -> None:
    from transformers import AutoModel

    folder = save_checkpoint(tmp_path, {**hypencoder_config(), "shared_encoder": shared}, tiny_checkpoint)
    convert(folder, tmp_path / "theirs", "--to", "released")
    config = json.loads((tmp_path / "theirs" / "config.json").read_text())
    weights = torch.load(tmp_path / "theirs" / "pytorch_model.bin", weights_only=True)
    for side in ("query_encoder", "passage_encoder"):
        transformer = AutoModel.from_pretrained(config[f"{side}_kwargs"]["model_name_or_path"])
        for name, tensor in transformer.state_dict().items():
            if not name.startswith("pooler."):
                assert torch.equal(weights[f"{side}.transformer.{name}"], tensor)
    assert all(loss in ("margin_mse", "cross_entropy") for loss in config["loss_type"])
    total = sum({tensor.data_ptr(): tensor.numel() * 4 for tensor in weights.values()}.values())
    assert (tmp_path / "theirs" / "pytorch_model.bin").stat().st_size < total + 100_000  # a shared one is stored once


def test_matryoshka_is_written_at_full_width(
    tiny_checkpoint: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    losses = {"loss_type": ["matryoshka"], "loss_kwargs": [{"matryoshka_dims": [4, DIM]}]}
    folder = save_checkpoint(tmp_path, {**hypencoder_config(), **losses}, tiny_checkpoint)
    convert(folder, tmp_path / "theirs", "--to", "released")
    assert "at full width" in caplog.text
    config = json.loads((tmp_path / "theirs" / "config.json").read_text())
    assert config["loss_type"] == ["cross_entropy"]
    assert config["query_encoder_kwargs"]["converter_kwargs"]["do_residual"] is False
    assert torch.equal(scores(load_model(str(tmp_path / "theirs"))), scores(load_model(str(folder))))


def test_compact_and_a_named_backbone(tiny_checkpoint: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    convert("bundled", tmp_path / "theirs", "--to", "released", "--backbone", "sentence-transformers/all-MiniLM-L6-v2")
    assert "adds up the states of padding" in caplog.text
    config = json.loads((tmp_path / "theirs" / "config.json").read_text())
    assert config["query_encoder_kwargs"]["model_name_or_path"] == "sentence-transformers/all-MiniLM-L6-v2"
    assert not (tmp_path / "theirs" / "encoder").exists()
    convert(tmp_path / "theirs", tmp_path / "ours", "--compact")
    assert [path.name for path in (tmp_path / "ours").glob("*.safetensors")] == ["weights.compact.safetensors"]
    assert torch.allclose(scores(load_model(str(tmp_path / "ours"))), scores(load_model("bundled")), atol=1e-3)
    card = (tmp_path / "ours" / "README.md").read_text()
    assert "base_model: sentence-transformers/all-MiniLM-L6-v2\n" in card
    assert "2 hidden blocks, widths 384, 384, 384, 1" in card


def test_what_the_released_code_cannot_do_is_refused(tiny_checkpoint: Path, tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path, biencoder_config(), tiny_checkpoint)
    flags = ["--encoder", folder, "--output", tmp_path / "o", "--to", "released"]
    assert "a bi-encoder, which the released code has a class for but cannot build" in refuse("convert", *flags)
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--to", "released", "--compact"], "--compact: the released code cannot read it"),
        (["--backbone", "x"], "--backbone x: our own format embeds it"),
        (["--to", "released", "--push-to-hub", "u/n"], "others need --backbone"),
        (["--push-to-hub", "u/n"], "HF_HUB_OFFLINE is set"),
        (["--push-to-hub", "nobody"], "wanted a repository on the hub, user/name"),
    ],
)
def test_bad_flags_are_one_line(tmp_path: Path, flags: list[str], message: str) -> None:
    assert message in refuse("convert", "--encoder", "bundled", "--output", tmp_path / "o", *flags)
    assert not (tmp_path / "o").exists()


def test_a_checkpoint_is_not_written_over_itself(tiny_checkpoint: Path, tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path, hypencoder_config(), tiny_checkpoint)
    assert "is --encoder itself" in refuse("convert", "--encoder", folder, "--output", folder)


# The hub, through its real client in a process of its own: the client reads its settings once.


def client(url: str, home: Path, code: str, *arguments: object, token: str = TOKEN) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HF_ENDPOINT": url, "HF_HUB_OFFLINE": "0", "HF_HOME": str(home), "HF_TOKEN": token}
    environment["HF_HUB_DISABLE_XET"] = "1"
    if not token:
        del environment["HF_TOKEN"]
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


COMMAND = "import sys; from hypensearch.convert.__main__ import main; raise SystemExit(main(sys.argv[1:]))"
PUSH_TWICE = """
import sys
from hypensearch.models import load_model, publish
model = load_model(sys.argv[1])
publish(model, "user/again")
publish(model, "user/again", compact=True)
print(load_model("user/again").query_fingerprint)
"""


def test_a_checkpoint_goes_to_the_hub_and_comes_back(tiny_checkpoint: Path, tmp_path: Path) -> None:
    source = save_checkpoint(tmp_path, hypencoder_config(), tiny_checkpoint)
    with running_hub() as hub:
        flags = ["--encoder", source, "--output", tmp_path / "ours", "--push-to-hub", "user/model"]
        done = client(hub.url, tmp_path / "home", COMMAND, *flags)
        assert done.returncode == 0, done.stderr
        files = hub.files["user/model"]
        assert {"config.json", "model.safetensors", "README.md", "tokenizer.json"} <= set(files)
        assert files["model.safetensors"] == (tmp_path / "ours" / "model.safetensors").read_bytes()
        assert b"encoder --encoder user/model" in files["README.md"]
        code = (
            "import sys; from hypensearch.models import load_model; print(load_model('user/model').query_fingerprint)"
        )
        shutil.rmtree(source)
        loaded = client(hub.url, tmp_path / "other home", code)
        assert loaded.stdout.split()[-1:] == [load_model(str(tmp_path / "ours")).query_fingerprint], loaded.stderr


def test_a_second_upload_replaces_the_weights_and_keeps_the_card(tiny_checkpoint: Path, tmp_path: Path) -> None:
    source = save_checkpoint(tmp_path, hypencoder_config(), tiny_checkpoint)
    with running_hub() as hub:
        hub.files["user/again"] = {"README.md": b"# Mine\n"}
        done = client(hub.url, tmp_path / "home", PUSH_TWICE, source)
        assert done.returncode == 0, done.stderr
        assert hub.files["user/again"]["README.md"] == b"# Mine\n"
        weights = [name for name in hub.files["user/again"] if name.endswith(".safetensors")]
        assert weights == ["weights.compact.safetensors"]


@pytest.mark.parametrize(
    ("token", "message"), [("", "no token of the hub here: set HF_TOKEN"), ("hf_wrong", "Invalid user token")]
)
def test_without_a_token_or_with_a_wrong_one(tmp_path: Path, token: str, message: str) -> None:
    with running_hub() as hub:
        flags = ["--encoder", "bundled", "--output", tmp_path / "o", "--push-to-hub", "user/model"]
        done = client(hub.url, tmp_path / "home", COMMAND, *flags, token=token)
    assert done.returncode == 2
    assert message in done.stderr.splitlines()[-1]


def test_a_hub_that_does_not_answer(tmp_path: Path) -> None:
    with running_hub() as hub:
        url = hub.url  # closed from here on
    flags = ["--encoder", "bundled", "--output", tmp_path / "o", "--push-to-hub", "user/model"]
    done = client(url, tmp_path / "home", COMMAND, *flags)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: --push-to-hub user/model: the hub did not take it")
