# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from hypensearch.encode import EncodingOptions, OutputOptions, encode_corpus
from hypensearch.flat import FlatIndex
from hypensearch.formats.corpus import TextRule
from hypensearch.formats.q_nets import write_q_nets
from hypensearch.graph.builder import build_graph
from hypensearch.graph.options import GraphBuildOptions
from hypensearch.models import load_model
from tests.commands import content, encode, refuse, run, succeed, write_corpus
from tests.formats.test_q_nets import blocks, numbered

NUM_DOCS = 11


@pytest.fixture
def index(tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An index of blocks of four rows, encoded in batches of two and windows of four, with a graph."""
    for module in ("formats.sealed", "flat.manifest", "flat.writer", "flat.faiss_copy"):
        monkeypatch.setattr(f"hypensearch.{module}.BLOCK_ROWS", 4)
    corpus = write_corpus(tmp_path / "corpus.jsonl", {f"d{n}": f"a text on river number {n}" for n in range(NUM_DOCS)})
    folder = tmp_path / "index"
    encode_corpus(
        corpus,
        folder,
        lambda: load_model(str(tiny_checkpoint)),
        text=TextRule(fields=("contents",)),
        encoding=EncodingOptions(batch_size=2, window_rows=4, model_facts={"precision": "float32"}),
        out=OutputOptions(store_documents=True, to_faiss=True),
    )
    with FlatIndex.open(folder) as opened:
        build_graph(opened, torch.device("cpu"), GraphBuildOptions(degree=2, name="g"))
    return folder


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 8
    path.write_bytes(data)


def damaged(folder: Path, *flags: str) -> list[str]:
    """Verify a damaged folder; gives what is said."""
    done = run("verify", folder, *flags)
    assert done.code == 1, done
    return [line for line in done.out.split("\n") if line]


def shard_of(index: Path) -> Path:
    (shard,) = index.glob("shard-*")
    return shard


def test_sound(index: Path) -> None:
    assert "sound, by its manifest and all sizes" in succeed("verify", index)
    assert "sound, every byte" in succeed("verify", index, "--full")


def test_vectors_are_found_by_block_with_rows_and_docids(index: Path) -> None:
    flip(shard_of(index) / "vectors.npy", -1)
    succeed("verify", index)  # a quick look sees sizes
    said = damaged(index, "--full")
    assert "vectors of rows 8 to 10 have changed" in said[0]
    assert "(docids d8 to d10, 3 documents)" in said[0]
    assert said[1].startswith("to do: repair it: python -m hypensearch.verify")


@pytest.mark.parametrize(
    "name",
    ["vectors.npy", "docid", "docid.offsets.npy", "docid.rank.npy", "document.positions.npy", "documents.jsonl"],
)
@pytest.mark.parametrize("how", ["flip", "header", "cut", "gone"])
def test_whatever_is_damaged_is_found_and_repaired(index: Path, name: str, how: str) -> None:
    before = {path.name: path.read_bytes() for path in shard_of(index).iterdir()}
    path = shard_of(index) / name
    if how == "cut":
        path.write_bytes(path.read_bytes()[:-5])
    elif how == "gone":
        path.unlink()
    else:
        flip(path, 0 if how == "header" else path.stat().st_size // 2)
    assert f"{name}: " in damaged(index, "--full")[0]
    out = succeed("verify", index, "--repair")
    assert "repaired: 11 documents" in out
    assert "byte for byte what it was" in out
    assert {path.name: path.read_bytes() for path in shard_of(index).iterdir()} == before
    assert "sound, every byte" in succeed("verify", index, "--full")


def test_sound_rows_are_not_encoded_again(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = sys.modules["hypensearch.encode.encode_corpus"]
    encoded: list[int] = []
    really = module.encode_texts

    def counting(texts, *args):  # type: ignore[no-untyped-def]
        encoded.append(len(texts))
        return really(texts, *args)

    monkeypatch.setattr(module, "encode_texts", counting)
    flip(shard_of(index) / "vectors.npy", 200 + 5 * 32 * 4)
    succeed("verify", index, "--repair")
    assert encoded == [4]


def test_repair_wants_the_corpus_that_was_encoded(index: Path, tmp_path: Path) -> None:
    flip(shard_of(index) / "vectors.npy", -1)
    corpus = tmp_path / "corpus.jsonl"
    moved = corpus.rename(tmp_path / "moved.jsonl")
    assert "the corpus of" in refuse("verify", index, "--repair")
    other = write_corpus(tmp_path / "other.jsonl", {"x": "something else"})
    before = content(index)
    assert "its docids are not those of" in refuse("verify", index, "--repair", "--corpus", other)
    assert content(index) == before
    succeed("verify", index, "--repair", "--corpus", moved)


def test_repair_wants_the_model_that_made_the_vectors(index: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    flip(shard_of(index) / "vectors.npy", -1)
    from hypensearch.flat.manifest import read_manifest

    manifest = read_manifest(str(index))
    assert manifest.model is not None
    manifest.model["fingerprint"] = "other"
    manifest.write(str(index))
    assert "is no longer the model that made the vectors" in refuse("verify", index, "--repair")


def test_a_damaged_graph(index: Path) -> None:
    flip(index / "graphs" / "g" / "neighbours.npy", -1)
    said = damaged(index, "--full")
    assert len(said) == 1
    assert "neighbours.npy: its content has changed" in said[0]
    assert "make it again: python -m hypensearch.index" in said[0]


def test_a_graph_with_flaws_is_found_even_with_the_right_checksum(index: Path) -> None:
    with FlatIndex.open(index) as opened:
        from hypensearch.formats.sealed import FileRecord
        from hypensearch.graph.builder import GraphWriter
        from hypensearch.graph.store import GraphManifest

        manifest = GraphManifest(NUM_DOCS, 2, "l2", "imported", opened.vectors_digest, FileRecord(0, ""))
        with GraphWriter(opened, "own", manifest) as writer:
            writer.append(np.array([[row, 0] for row in range(NUM_DOCS)], np.int32))
            writer.finish()
    assert "has itself, a row twice or a row outside" in damaged(index, "--full")[0]


def test_a_graph_of_other_vectors(index: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    words = encode(tmp_path / "corpus.jsonl", other, FlatIndex.open(index).model["name"], "--max-length", 3)  # type: ignore[index]
    succeed("encode", *words)
    shutil.copytree(index / "graphs", other / "graphs")
    assert "other vectors" in damaged(other)[0]


def test_pyserinis_copy(index: Path) -> None:
    flip(index / "index", -1)
    succeed("verify", index)
    assert "its vectors are not those of the index" in damaged(index, "--full")[0]


def test_damaged_manifest(index: Path) -> None:
    path = index / "manifest.json"
    path.write_bytes(path.read_bytes()[:-9])
    assert "manifest.json: damaged" in damaged(index)[0]


def test_q_nets(tmp_path: Path) -> None:
    write_q_nets(tmp_path / "q", {"dims": [2, 2, 1]}, {"name": "toy"}, numbered(70), blocks(70))
    assert "sound" in succeed("verify", tmp_path / "q", "--full")
    path = sorted((tmp_path / "q").glob("*.safetensors"))[1]
    flip(path, -1)
    succeed("verify", tmp_path / "q")
    assert "its content has changed since it was written (topics t64 to t69)" in damaged(tmp_path / "q", "--full")[0]
    path.unlink()
    assert "is not there" in damaged(tmp_path / "q")[0]


def test_checkpoints(tiny_checkpoint: Path, tmp_path: Path) -> None:
    assert "carries no checksums" in refuse("verify", tiny_checkpoint, "--full")
    load_model(str(tiny_checkpoint)).save_pretrained(tmp_path / "own")
    assert "sound, every byte" in succeed("verify", tmp_path / "own", "--full")
    flip(tmp_path / "own" / "model.safetensors", -3)
    assert "has changed since the checkpoint was written" in damaged(tmp_path / "own", "--full")[0]
    config = tmp_path / "own" / "config.json"
    config.write_text(config.read_text().replace("model.safetensors", 300 * "9"))
    assert "999: is not there" in damaged(tmp_path / "own")[0]


def test_folders_that_are_something_else(tmp_path: Path) -> None:
    assert "no such folder" in refuse("verify", tmp_path / "nowhere")
    assert "not an index" in refuse("verify", tmp_path)
