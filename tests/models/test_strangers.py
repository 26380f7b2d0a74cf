# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of strangers: none runs code, reaches the network, takes memory for claims or ends in a traceback."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from hypensearch.errors import HypensearchError
from hypensearch.flat.manifest import read_manifest
from hypensearch.models import load_model
from hypensearch.models.new_model import load_backbone
from hypensearch.models.weights import read_weights
from tests.commands import encode, succeed, write_corpus
from tests.fuzzing import memory_bounded

HARM = "import pathlib\npathlib.Path({done!r}).write_text('ran')\nclass Tokenizer: pass\nclass Model: pass\n"
RUN = "import sys; from hypensearch.__main__ import main; sys.exit(main(sys.argv[1:]))"


@pytest.fixture
def checkpoint(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    """A checkpoint that may be changed: no checksums in it."""
    folder = tmp_path / "checkpoint"
    load_model(str(tiny_checkpoint)).save_pretrained(folder)
    change_json(folder / "config.json", checksums=None)
    return folder


def change_json(path: Path, **changes: Any) -> None:
    facts = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in facts.items() if value is not None}))


def bring_code(folder: Path, done: Path) -> None:
    """Let a folder bring code for its model and its tokenizer, and nothing that would do without it."""
    (folder / "harm.py").write_text(HARM.format(done=str(done)))
    code = {"AutoConfig": "harm.Model", "AutoModel": "harm.Model", "AutoTokenizer": ["harm.Tokenizer", None]}
    change_json(folder / "tokenizer_config.json", auto_map=code, tokenizer_class="Tokenizer")
    change_json(folder / "config.json", auto_map=code)


def run_with_yes(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command that would find `y` wherever it asks."""
    return subprocess.run(
        [sys.executable, "-c", RUN, *words],
        input="y\n" * 50,
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )


def test_code_of_a_checkpoint_is_never_run_and_nobody_is_asked(checkpoint: Path, tmp_path: Path) -> None:
    corpus, index, done = write_corpus(tmp_path / "c.jsonl", {"d1": "a text"}), tmp_path / "index", tmp_path / "done"
    succeed("encode", "input", "--corpus", corpus, "--fields", "contents", *encode(corpus, index, checkpoint)[3:])
    inside = index / "model"
    shutil.copytree(checkpoint, inside)
    bring_code(inside, done)
    manifest = read_manifest(str(index))
    assert manifest.model is not None
    manifest.model["name"] = str(inside)
    manifest.write(str(index))
    (tmp_path / "t.tsv").write_text("1\ta text\n")
    searched = ["search", "--index", str(index), "--topics", "t.tsv", "--output", "run.txt"]
    for words in (searched, ["encode.query", "--topics", "t.tsv", "--encoder", str(inside), "--output", "q"]):
        ended = run_with_yes(*words, cwd=tmp_path)
        assert not done.exists()
        assert "[y/N]" not in ended.stdout + ended.stderr
        assert "Traceback" not in ended.stderr


def test_code_of_a_backbone_is_never_run(tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builtins.input", lambda *prompt: pytest.fail("asked"))
    bring_code(checkpoint, tmp_path / "done")
    (checkpoint / "config.json").write_text(json.dumps({"auto_map": {"AutoConfig": "harm.Model"}, "model_type": "x"}))
    with pytest.raises(HypensearchError, match="cannot be loaded as a transformer"):
        load_backbone(str(checkpoint))
    assert not (tmp_path / "done").exists()


def test_a_folder_never_reaches_the_network(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def download(*names: object, local_files_only: bool = False, **options: object) -> str:
        asked.extend([] if local_files_only else [names])
        raise OSError("not here")

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("TRANSFORMERS_OFFLINE", raising=False)
    monkeypatch.setattr("socket.socket.connect", lambda *where: asked.append(where))
    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    facts = json.loads((checkpoint / "config.json").read_text())
    for side in ("query_encoder_kwargs", "passage_encoder_kwargs"):
        facts[side]["model_name_or_path"] = "attacker/x"
    del facts["backbone_configs"]
    (checkpoint / "config.json").write_text(json.dumps(facts))
    with pytest.raises(HypensearchError, match="the hub itself is asked only for checkpoints that are named by"):
        load_model(str(checkpoint))
    assert not asked
    for path in checkpoint.glob("*token*"):
        path.unlink()
    (checkpoint / "vocab.txt").unlink(missing_ok=True)
    with pytest.raises(HypensearchError):
        load_model(str(checkpoint), backbone_config=str(checkpoint / "config.json"))
    with pytest.raises(HypensearchError, match="not asked offline, or for a name out of a file"):
        load_model("attacker/x", network=False)
    assert not asked


def odd_tensors() -> dict[str, Any]:
    dense = torch.ones(4, 4)
    return {
        "sparse": {"a": dense.to_sparse()},
        "CSR": {"a": dense.to_sparse_csr()},
        "float8": {"a": dense.to(torch.float8_e4m3fn)},
        "complex": {"a": dense.to(torch.complex64)},
        "integers": {"a": dense.to(torch.int8)},
        "quantised": {"a": torch.quantize_per_tensor(dense, 0.1, 0, torch.qint8)},
        "meta": {"a": torch.ones(4, 4, device="meta")},
        "integer keys": {1: dense},
        "far larger than stored": {"a": torch.ones(1).expand(2**20, 2**20)},
        "nested": {"a": {"b": dense}},
    }


@pytest.mark.parametrize("kind", odd_tensors())
def test_odd_tensors_are_refused(kind: str, checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").unlink()
    torch.save(odd_tensors()[kind], checkpoint / "pytorch_model.bin")
    with memory_bounded(2**28), pytest.raises(HypensearchError, match="plain tensors|dense tensors|named tensors"):
        load_model(str(checkpoint))


def test_packed_weights_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    (checkpoint / "model.safetensors").unlink()
    torch.save({"a": torch.zeros(2**22)}, tmp_path / "whole.bin")
    with (
        zipfile.ZipFile(tmp_path / "whole.bin") as whole,
        zipfile.ZipFile(checkpoint / "pytorch_model.bin", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for entry in whole.infolist():
            packed.writestr(entry.filename, whole.read(entry))
    with pytest.raises(HypensearchError, match="packed, which torch never does"):
        read_weights(checkpoint)


def test_compact_weights_take_no_more_than_they_hold(tmp_path: Path) -> None:
    facts = {"a": {"bits": 8, "shape": [1, 40_000]}}
    stored = {"a": torch.zeros(40_000, dtype=torch.uint8), "a.scale": torch.zeros(40_000)}
    save_file(stored, tmp_path / "weights.compact.safetensors", metadata={"hypensearch_compact": json.dumps(facts)})
    with memory_bounded(2**28), pytest.raises(HypensearchError, match="no compact tensor of the shape"):
        read_weights(tmp_path)


@pytest.mark.parametrize(
    ("where", "changes"),
    [
        ("query", {"vocab_size": 2**26}),
        ("query", {"num_hidden_layers": 10**9}),
        ("query", {"num_hidden_layers": 255}),
        ("query", {"hidden_size": 2**25, "num_attention_heads": 1}),
        ("query", {"max_position_embeddings": 2**40}),
        ("query", {"type_vocab_size": 0}),
        ("query", {"hidden_act": "no such function"}),
        ("query", {"intermediate_size": -1}),
        ("converter", {"vector_dimensions": [4] * 100_000 + [1]}),
        ("converter", {"vector_dimensions": [65_536] * 20 + [1]}),
        ("converter", {"vector_dimensions": "many"}),
    ],
)
def test_sizes_that_weights_do_not_have_take_no_memory(where: str, changes: dict[str, Any], checkpoint: Path) -> None:
    facts = json.loads((checkpoint / "config.json").read_text())
    if where == "query":
        for side in facts["backbone_configs"].values():
            side |= changes
    else:
        facts["query_encoder_kwargs"]["converter_kwargs"] |= changes
    (checkpoint / "config.json").write_text(json.dumps(facts))
    with memory_bounded(2**29), pytest.raises(HypensearchError) as refused:
        load_model(str(checkpoint))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("kind", ["beyond", "empty"])
def test_a_vocabulary_of_another_model_is_one_line(kind: str, checkpoint: Path) -> None:
    path = checkpoint / "tokenizer.json"
    facts = json.loads(path.read_text())
    words = facts["model"]["vocab"]
    facts["model"]["vocab"] = {word: number + 10**6 for word, number in words.items()} if kind == "beyond" else {}
    facts["added_tokens"] = []
    facts["post_processor"] = None
    path.write_text(json.dumps(facts))
    with pytest.raises(HypensearchError, match="token"):
        load_model(str(checkpoint)).encode_documents(["a text"])


NAMED = {"\x1b]0;harm\x07": True}
TOKEN = {"content": "[PAD]", **NAMED}


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("tokenizer_config.json", {"added_tokens_decoder": {"0": TOKEN}}),
        ("tokenizer_config.json", {"pad_token": TOKEN}),
        ("special_tokens_map.json", {"pad_token": TOKEN}),
        ("tokenizer.json", {"added_tokens": [{"id": 0, **TOKEN}]}),
    ],
)
def test_names_of_a_tokenizers_settings_do_not_reach_the_terminal(
    name: str, changes: dict[str, Any], checkpoint: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """tokenizers prints settings of a token that it does not know to the standard output, as they are."""
    path = checkpoint / name
    path.exists() or path.write_text("{}")
    change_json(path, **changes)
    if name != "tokenizer_config.json":
        change_json(checkpoint / "tokenizer_config.json", added_tokens_decoder=None)
    with pytest.raises(HypensearchError, match=r"a setting is called '\\x1b|unknown field `.x1b") as refusal:
        load_model(str(checkpoint))
    assert "\x1b" not in "".join(capfd.readouterr()) + str(refusal.value)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("tokenizer.json", {"model": {"type": "WordPiece", "vocab": "{pipe}"}}),
        ("tokenizer.json", {"model": {"type": "BPE", "vocab": "{pipe}", "merges": "{pipe}"}}),
        ("tokenizer_config.json", {"vocab": "{pipe}"}),
        ("tokenizer_config.json", {"merges": "{pipe}"}),
        ("tokenizer_config.json", {"init_inputs": ["{pipe}"]}),
        ("special_tokens_map.json", {"vocab": "{pipe}"}),
        ("model.safetensors.index.json", {"weight_map": {"a": "../{pipe}"}}),
    ],
)
def test_a_tokenizer_names_no_other_file(name: str, changes: dict[str, Any], checkpoint: Path, tmp_path: Path) -> None:
    """Whoever opened the pipe would wait for ever."""
    os.mkfifo(tmp_path / "pipe")
    changes = json.loads(json.dumps(changes).replace("{pipe}", str(tmp_path / "pipe")))
    path = checkpoint / name
    path.exists() or path.write_text("{}")
    change_json(path, **changes)
    with pytest.raises(HypensearchError, match=rf"{name}: (not a tokenizer's|names)"):
        load_model(str(checkpoint))


@pytest.mark.parametrize("name", ["tokenizer_config.json", "special_tokens_map.json"])
def test_paths_that_older_versions_wrote_are_left_out(name: str, checkpoint: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    path = checkpoint / name
    path.exists() or path.write_text("{}")
    wanted = load_model(str(checkpoint)).encode_documents(["a bad cafe"])
    paths = ("vocab_file", "tokenizer_file", "special_tokens_map_file", "merges_file", "source_spm")
    change_json(path, **dict.fromkeys(paths, str(tmp_path / "pipe")))
    model = load_model(str(checkpoint))
    assert (model.encode_documents(["a bad cafe"]) == wanted).all()
    assert model.tokenizer.name_or_path == str(checkpoint)


@pytest.mark.parametrize("name", ["tokenizer.json", "model.safetensors", "config.json", "vocab.txt"])
@pytest.mark.parametrize("kind", ["pipe", "/dev/zero", "/etc/hostname"])
def test_pipes_devices_and_links_in_a_checkpoint_are_refused(name: str, kind: str, checkpoint: Path) -> None:
    (checkpoint / name).unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(checkpoint / name)
    else:
        (checkpoint / name).symlink_to(kind)
    with memory_bounded(2**28), pytest.raises(HypensearchError):
        load_model(str(checkpoint))


def test_the_hubs_cache_is_read_with_its_links(checkpoint: Path, tmp_path: Path) -> None:
    snapshot, blobs = tmp_path / "models--a--b" / "snapshots" / "0123", tmp_path / "models--a--b" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for number, path in enumerate(sorted(checkpoint.iterdir())):
        if path.is_file():
            shutil.move(path, blobs / str(number))
            (snapshot / path.name).symlink_to(f"../../blobs/{number}")
    assert load_model(str(snapshot)).encode_documents(["a text"]).shape[0] == 1
