# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""What is wrong with the input is one line that names file, line or flag; exit code 2; nothing is lost.

Every refusal is by a command, and is compared with what lay there before: see :class:`Place`.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from hypensearch.flat import FlatIndex, FlatIndexWriter
from tests.commands import content, disk_full_after, encode, refuse, run, search, succeed, write_corpus, write_topics

TEXTS = {f"d{n}": f"water and stone number {n}" for n in range(30)}
TOPICS = {"1": "water", "2": "stone five"}
GARBAGE = np.random.default_rng(0).bytes(5000)


class Place:
    """A folder with a corpus, topics, an index, q-nets and a run, all of them good."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.folder = folder
        self.model = model
        self.corpus = write_corpus(folder / "corpus.jsonl", TEXTS)
        self.topics = write_topics(folder / "topics.tsv", TOPICS)
        self.index = folder / "index"
        self.q_nets = folder / "q-nets"
        self.run = folder / "run.txt"
        succeed("encode", *encode(self.corpus, self.index, model))
        succeed("encode.query", "--topics", self.topics, "--encoder", model, "--output", self.q_nets)
        succeed("search", *search(self.index, self.topics, self.run))

    def refused(self, command: str, *argv: object) -> str:
        """Run a command that must leave everything as it is; gives its error."""
        before = content(self.folder)
        said = refuse(command, *argv)
        assert content(self.folder) == before
        return said

    def encode_refused(self, corpus: object, *more: object, model: object = None) -> str:
        """Encode to a new folder and over the old index; gives the error, which is the same."""
        model = model or self.model
        new = self.refused("encode", *encode(corpus, self.folder / "new", model, *more))
        output = ["output", "--embeddings", self.index, "--overwrite"]
        over = self.refused("encode", "input", "--corpus", corpus, *output, "encoder", "--encoder", model, *more)
        assert new == over
        return new

    def search_refused(self, *more: object, index: object = None, topics: object = None) -> str:
        """Search to a new run and over the old one; gives the error, which is the same."""
        index, topics = index or self.index, topics or self.topics
        new = self.refused("search", *search(index, topics, self.folder / "new.txt", *more))
        assert new == self.refused("search", *search(index, topics, self.run, *more))
        return new

    def file(self, name: str, text: str | bytes) -> Path:
        """Put a file there."""
        path = self.folder / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path


@pytest.fixture(scope="module")
def made(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("place"), tiny_checkpoint)


@pytest.fixture
def place(made: Place) -> Place:
    """The good place, whatever a test left there before taken away."""
    kept = {"corpus.jsonl", "topics.tsv", "index", "q-nets", "run.txt"}
    for path in made.folder.iterdir():
        if path.name not in kept:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return made


GOOD = '{"id": "a", "contents": "water"}\n'


# Corpora


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD + "water\n", "bad.jsonl:2: not JSON"),
        (GOOD + '{"id": "b", "contents": "wat', "bad.jsonl:2: not JSON"),
        (GOOD + '["b", "water"]\n', "bad.jsonl:2: a JSON object was wanted"),
        (GOOD + '{"contents": "water"}\n', "bad.jsonl:2: an id (a string or a whole number) was wanted"),
        (GOOD + GOOD, "bad.jsonl:2: the id 'a' was already given to line 1"),
        (GOOD + '{"id": "", "contents": "water"}\n', "bad.jsonl:2: the id is empty"),
        (GOOD + '{"id": "b c", "contents": "water"}\n', "bad.jsonl:2: the id 'b c' holds white space"),
        (GOOD + '{"id": "b\\u0000", "contents": "water"}\n', "bad.jsonl:2: the id 'b\\x00' holds white space or"),
        (
            GOOD + '{"id": 1.5, "contents": "water"}\n',
            "bad.jsonl:2: an id (a string or a whole number) was wanted under 'id'",
        ),
        (GOOD + '{"id": "b", "body": "water"}\n', "bad.jsonl:2: no field 'text' and no 'contents'"),
        (GOOD + '{"id": "b", "contents": 5}\n', "bad.jsonl:2: field 'contents' is a number"),
        (GOOD + '{"id": "b", "contents": " "}\n', "bad.jsonl:2:"),
        (GOOD + "[" * 100_000 + "\n", "bad.jsonl:2: not JSON: nested too deeply"),
        ("", "bad.jsonl: holds no documents"),
        ("\n\n", "bad.jsonl: holds no documents"),
        (GARBAGE, "bad.jsonl:1: byte 0x"),
        (b"\x1f\x8b" + GARBAGE, "bad.jsonl: holds gzip data"),
    ],
)
def test_corpus(place: Place, text: str | bytes, said: str) -> None:
    assert said in place.encode_refused(place.file("bad.jsonl", text))


@pytest.mark.parametrize(
    ("name", "raw", "said"),
    [
        ("bad.jsonl.gz", GARBAGE, "bad.jsonl.gz: not gzip data"),
        ("bad.jsonl.gz", b"", "bad.jsonl.gz: empty"),
        ("bad.jsonl.gz", b"\x1f\x8b\x08\x00" + GARBAGE, "bad.jsonl.gz: gzip data"),
        ("bad.json", GARBAGE, "bad.json:1: byte 0x"),
        ("bad.json", b'[{"id": "a", "contents": "water"}, 5]', "bad.json"),
    ],
)
def test_corpus_of_other_forms(place: Place, name: str, raw: bytes, said: str) -> None:
    assert said in place.encode_refused(place.file(name, raw))


def test_no_corpus(place: Place) -> None:
    assert "nowhere: no such file or folder" in place.encode_refused("nowhere")
    (place.folder / "empty").mkdir()
    assert "empty" in place.encode_refused(place.folder / "empty")


def test_a_line_far_into_the_corpus(place: Place) -> None:
    """The line is named, and the old index stays while the blocks before it wait to be gone on with."""
    lines = [json.dumps({"id": f"x{n}", "contents": "water"}) + "\n" for n in range(8400)]
    lines[8300] = "oops\n"
    bad = place.file("bad.jsonl", "".join(lines))
    copy = Path(shutil.copytree(place.index, place.folder / "copy"))
    before = content(place.folder)
    output = ["output", "--embeddings", copy, "--overwrite"]
    line = ["input", "--corpus", bad, *output, "encoder", "--encoder", place.model]
    assert "bad.jsonl:8301: not JSON" in refuse("encode", *line)
    assert before.items() <= content(place.folder).items()
    with FlatIndex.open(copy) as index:
        assert sorted(index.docids()) == sorted(TEXTS)


# Vectors


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_vectors_that_are_no_numbers(place: Place, value: str) -> None:
    line = '{"id": "%s", "contents": "x", "vector": [1, %s]}\n'
    folder = place.folder / "vectors"
    folder.mkdir()
    (folder / "embeddings.jsonl").write_text(line % ("a", "2") + line % ("b", value))
    said = place.refused("encode", "input", "--vectors", folder, "output", "--embeddings", place.folder / "new")
    assert "embeddings.jsonl:2" in said


def test_vectors_too_large_for_half_precision(place: Place) -> None:
    folder = place.folder / "vectors"
    folder.mkdir()
    (folder / "embeddings.jsonl").write_text('{"id": "a", "contents": "x", "vector": [1, 70000]}\n')
    output = ["output", "--embeddings", place.folder / "new", "--dtype", "float16"]
    assert "embeddings.jsonl:1" in place.refused("encode", "input", "--vectors", folder, *output)


def test_vectors_of_another_size_than_the_models(place: Place) -> None:
    folder = place.folder / "vectors"
    folder.mkdir()
    (folder / "embeddings.jsonl").write_text('{"id": "a", "contents": "x", "vector": [1, 2]}\n')
    groups = ["input", "--vectors", folder, "output", "--embeddings", place.folder / "new"]
    said = place.refused("encode", *groups, "encoder", "--encoder", place.model)
    assert "vectors of 2 dimensions, but those of" in said


# Topics


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("bad.tsv", "", "bad.tsv: holds no topics"),
        ("bad.tsv", "\n \n", "bad.tsv: holds no topics"),
        ("bad.tsv", "1 water\n", "bad.tsv:1: an id, a tab and a query were wanted"),
        ("bad.tsv", "1\twater\n1\tstone\n", "bad.tsv:2: topic id '1' was used already on line 1"),
        ("bad.tsv", "1\t \n", "bad.tsv:1:"),
        ("bad.tsv", GARBAGE, "bad.tsv:1: byte 0x"),
        ("bad.json", "{", "bad.json:1: not JSON"),
        ("bad.json", "[]", "bad.json: a JSON object"),
        ("bad.jsonl", '{"id": "1", "body": "water"}\n', "bad.jsonl:1: the query (a string) was wanted under 'title'"),
        ("bad.jsonl", '{"id": "1", "title": "a\\ud800"}\n', "bad.jsonl:1: the query of topic '1' holds half"),
        ("bad.trec", "<top>\n<num> 1\n", "bad.trec:1: the topic that begins here has no title nor description"),
        ("bad.xml", "<topics/>", "bad.xml: holds no topics"),
        ("bad", GARBAGE, "bad:1: byte 0x"),
    ],
)
def test_topics(place: Place, name: str, text: str | bytes, said: str) -> None:
    assert said in place.search_refused(topics=place.file(name, text))
    argv = ["--topics", place.folder / name, "--encoder", place.model, "--output", place.folder / "new"]
    assert said in place.refused("encode.query", *argv)


def test_no_topics(place: Place) -> None:
    assert "nowhere.tsv: no such file" in place.search_refused(topics="nowhere.tsv")
    (place.folder / "folder.tsv").mkdir()
    assert "folder.tsv: is a folder" in place.search_refused(topics=place.folder / "folder.tsv")
    assert "--topics-format mbeir: wanted" in place.search_refused("--topics-format", "mbeir")


# Indexes


def test_no_index(place: Place) -> None:
    assert "nowhere: no such index folder" in place.search_refused(index=place.folder / "nowhere")
    assert "nowhere: no such index folder, and no prebuilt index" in place.search_refused(index="nowhere")
    assert "topics.tsv: is a file" in place.search_refused(index=place.topics)
    assert "not an index (no manifest.json in it)" in place.search_refused(index=place.folder)
    assert "not a manifest of the format 'hypensearch flat index'" in place.search_refused(index=place.q_nets)


def test_half_written_index(place: Place) -> None:
    with FlatIndexWriter(place.folder / "half", dim=2) as writer:
        writer.append(["a", "b"], np.ones((2, 2), np.float32))
    said = place.search_refused(index=place.folder / "half")
    assert "half: unfinished index, 2 documents are done; run the same python -m hypensearch.encode" in said


@pytest.mark.parametrize("name", ["manifest.json", "vectors.npy", "docid", "docid.rank.npy"])
def test_index_cut_off(place: Place, name: str) -> None:
    copy = Path(shutil.copytree(place.index, place.folder / "copy"))
    (path,) = copy.rglob(name)
    path.write_bytes(path.read_bytes()[:-9])
    assert f"{name}: " in place.search_refused(index=copy)
    path.write_bytes(GARBAGE)
    assert f"{name}: " in place.search_refused(index=copy)
    path.unlink()
    assert str(copy) in place.search_refused(index=copy)


def test_index_of_a_newer_version(place: Place) -> None:
    copy = Path(shutil.copytree(place.index, place.folder / "copy"))
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps({**manifest, "version": 2}))
    assert "manifest.json: format version 2, made by a newer hypensearch" in place.search_refused(index=copy)


def test_index_of_another_model(place: Place, other_model: Path, parity_root: Path) -> None:
    assert "were made by" in place.search_refused("--encoder", other_model)
    wider = parity_root / "b_6layer_h64" / "checkpoint"
    assert "have 32 dimensions, but" in place.search_refused("--encoder", wider)


def test_queries_encoded_by_another_model(place: Place, other_model: Path) -> None:
    folder = place.folder / "other-q-nets"
    succeed("encode.query", "--topics", place.topics, "--encoder", other_model, "--output", folder)
    said = place.search_refused("--encoded-queries", folder)
    assert "were made by" in said
    assert f"--encoded-queries {folder}" in said


def test_model_of_the_index_is_gone(place: Place) -> None:
    copy = Path(shutil.copytree(place.model.parent, place.folder / "models"))
    succeed("encode", *encode(place.corpus, place.folder / "index2", copy / "checkpoint"))
    shutil.rmtree(copy)
    said = place.search_refused(index=place.folder / "index2")
    assert "cannot be loaded" in said
    assert said.endswith("if it has moved, name it with --encoder")


def test_an_index_is_not_replaced_by_accident(place: Place) -> None:
    said = place.refused("encode", *encode(place.corpus, place.index, place.model))
    assert "--overwrite" in said
    said = place.refused("encode", *encode(place.corpus, place.folder, place.model))
    assert "is no part of an index" in said


# Models


@pytest.fixture
def change_weights(place: Place) -> Callable[..., Path]:
    """Copy the model with some weights changed."""

    def changed(change: Callable[[dict[str, torch.Tensor]], None]) -> Path:
        shutil.copytree(place.model.parent / "base_encoder", place.folder / "m/base_encoder")
        copy = Path(shutil.copytree(place.model, place.folder / "m/checkpoint"))
        weights = load_file(copy / "model.safetensors")
        change(weights)
        save_file(weights, copy / "model.safetensors")
        return copy

    return changed


@pytest.fixture
def other_model(change_weights: Callable[..., Path]) -> Path:
    """Another document encoder of the same size."""
    name = "passage_encoder.transformer.embeddings.LayerNorm.weight"
    return change_weights(lambda weights: weights.update({name: weights[name] * 2}))


NAME = "query_encoder.hyper_base_vectors.1"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda weights: weights.pop(NAME), f"1 missing: {NAME}"),
        (lambda weights: weights.update({NAME: torch.zeros(3)}), f"1 misshapen: {NAME} (3,) instead of (1, 32)"),
        (lambda weights: weights.update(odd=torch.zeros(1)), "1 unknown: odd"),
        (lambda weights: weights.update({NAME: torch.full((1, 32), torch.nan)}), f"NaN or infinity in {NAME}"),
    ],
)
def test_weights(place: Place, change_weights: Callable[..., Path], change: Callable, said: str) -> None:
    model = change_weights(change)
    for error in (place.encode_refused(place.corpus, model=model), place.search_refused("--encoder", model)):
        assert "model.safetensors: " in error
        assert said in error


def test_no_model(place: Place) -> None:
    (place.folder / "empty").mkdir()
    for model, said in {
        "./nowhere": "./nowhere: no such folder",
        "nobody/nothing": "nobody/nothing: no such folder here, and the hub does not give it",
        place.topics: "is a file: wanted the folder of a checkpoint",
        place.folder / "empty": "no config.json in this folder",
        place.index: "no config.json in this folder",
    }.items():
        assert said in place.encode_refused(place.corpus, model=model)
        assert said in place.search_refused("--encoder", model)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_model_files_of_garbage(place: Place, name: str) -> None:
    shutil.copytree(place.model.parent / "base_encoder", place.folder / "m/base_encoder")
    copy = Path(shutil.copytree(place.model, place.folder / "m/checkpoint"))
    (copy / name).write_bytes(GARBAGE)
    said = place.search_refused("--encoder", copy)
    assert str(copy) in said
    assert name in said


# Outputs


def test_outputs_that_cannot_be_written(place: Place) -> None:
    place.file("file", "x")
    below, folder = place.folder / "file" / "below", place.folder / "folder"
    folder.mkdir()
    assert "below: cannot be written" in place.refused("search", *search(place.index, place.topics, below))
    assert "is a folder" in place.refused("search", *search(place.index, place.topics, folder))
    for output in (below, place.folder / "file"):
        assert "file: is a file" in place.refused("encode", *encode(place.corpus, output, place.model))
        argv = ["--topics", place.topics, "--encoder", place.model, "--output", output]
        assert str(output) in place.refused("encode.query", *argv)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_folder(place: Place) -> None:
    folder = place.folder / "locked"
    folder.mkdir(mode=0o500)
    assert "Permission denied" in place.refused("search", *search(place.index, place.topics, folder / "run"))
    assert "Permission denied" in place.refused("encode", *encode(place.corpus, folder / "index", place.model))


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_full_disk(place: Place) -> None:
    said = place.refused("search", *search(place.index, place.topics, "/dev/full"))
    assert said == "/dev/full: cannot be written: No space left on device"


def test_disk_that_gets_full(place: Place) -> None:
    before = content(place.folder)
    with disk_full_after(200):
        said = refuse("search", *search(place.index, place.topics, place.run))
    assert said == f"{place.run}: cannot be written: File too large"
    assert content(place.folder) == before
    output = ["output", "--embeddings", place.index, "--overwrite"]
    line = ["input", "--corpus", place.corpus, *output, "encoder", "--encoder", place.model]
    with disk_full_after(3000):
        assert str(place.index) in refuse("encode", *line)
    assert before.items() <= content(place.folder).items()
    succeed("encode", *line)  # there is room again
    with FlatIndex.open(place.index) as index:
        assert sorted(index.docids()) == sorted(TEXTS)
        index.verify()
    succeed("search", *search(place.index, place.topics, place.folder / "again.txt"))
    assert (place.folder / "again.txt").read_bytes() == place.run.read_bytes()


# Flags


@pytest.mark.parametrize("value", ["0", "-5", "ten"])
def test_hits(place: Place, value: str) -> None:
    assert f"argument --hits: '{value}' is not a whole number of at least 1" in place.search_refused("--hits", value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_cuda_without_cuda(place: Place) -> None:
    said = "--device cuda: this machine has no CUDA device; use --device cpu or auto"
    assert place.search_refused("--device", "cuda") == said
    assert place.encode_refused(place.corpus, "--device", "cuda") == said


def test_missing_and_unknown_flags(place: Place) -> None:
    assert "the following arguments are required: --index" in place.refused("search")
    assert "unrecognized arguments: --depth 5" in place.search_refused("--depth", "5")
    assert "was trained with 'cls'; leave the flag out" in place.search_refused("--pooling", "mean")


# Evaluation


@pytest.mark.parametrize(
    ("qrels", "lines", "said"),
    [
        ("", "1 Q0 d 1 2.0 x\n", "qrels.txt: holds no judgements"),
        ("1 0 d 1\n1 0 d\n", "1 Q0 d 1 2.0 x\n", "qrels.txt:2:"),
        ("1 0 d 1\n", "", "run: holds no hits"),
        ("1 0 d 1\n", "1 Q0 d 1 nan x\n", "run:1: the score 'nan' is not a finite number"),
        ("1 0 d 1\n", "1 Q0 d 1 2.0 x\n1 Q0 d 2 1.0 x\n", "run:2: topic '1' has document 'd' twice"),
        ("1 0 d 1\n", "2 Q0 d 1 2.0 x\n", "no topic of the run is judged"),
        ("1 0 d 1\n", GARBAGE, "run:1: byte 0x"),
    ],
)
def test_eval(place: Place, qrels: str, lines: str | bytes, said: str) -> None:
    argv = ["--qrels", place.file("qrels.txt", qrels), "--run", place.file("run", lines)]
    assert said in place.refused("eval", *argv)


# What looks wrong but is not


def test_extremes_that_are_fine(place: Place) -> None:
    topics = write_topics(place.folder / "long.tsv", {"1": "water " * 170_000, "2": "wa\0ter"})
    flags = ["--hits", 10**30, "--batch-size", 10**30, "--threads", 10**9, "--block-rows", 10**30]
    succeed("search", *search(place.index, topics, place.folder / "new.txt", *flags))
    assert len((place.folder / "new.txt").read_text().splitlines()) == 2 * len(TEXTS)


def test_names_that_are_not_utf8(place: Place) -> None:
    """File names are bytes; what cannot be shown is escaped."""
    odd = place.folder / "odd\udcff.tsv"
    shutil.copy(place.topics, odd)
    done = run("search", *search(place.index, odd, place.folder / "run\udcff.txt"))
    assert done.code == 0
    assert (place.folder / "run\udcff.txt").read_bytes() == place.run.read_bytes()
    assert "cannot be written" in refuse("search", *search(place.index, odd, odd / "run"))
