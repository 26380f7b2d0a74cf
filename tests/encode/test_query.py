# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from hypensearch.encode.query import readable_size
from hypensearch.errors import HypensearchError
from hypensearch.formats.q_nets import BLOCK_QUERIES, open_q_nets
from hypensearch.models import DualEncoder, QNets, load_model
from hypensearch.models.stored import check_can_finish, from_arrays, from_states
from tests.commands import content, disk_full_after, encode, refuse, run, succeed, write_corpus, write_topics
from tests.models.checkpoints import biencoder_config, hypencoder_config, save_checkpoint

TOPICS = {"1": "water", "2": "stone and storm", "3": "how many churches are in the north"}


@pytest.fixture
def topics(tmp_path: Path) -> Path:
    return write_topics(tmp_path / "topics.tsv", TOPICS)


def stored(folder: Path) -> QNets:
    found = open_q_nets(folder)
    arrays = found.read(found.topics)
    return from_arrays(found.architecture, [arrays[topic] for topic in found.topics])


def argv(topics: Path, model: object, output: Path, *more: object) -> list[object]:
    return ["--topics", topics, "--encoder", model, "--output", output, *more]


def assert_same(found: QNets, wanted: QNets) -> None:
    assert found.config == wanted.config
    assert all(torch.equal(a, b) for a, b in zip(found.weights, wanted.weights, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(found.biases, wanted.biases, strict=True))


def test_stores_the_models_q_nets(topics: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    assert "3 q-nets are in" in succeed("encode.query", *argv(topics, tiny_checkpoint, tmp_path / "q"))
    model = load_model(str(tiny_checkpoint))
    assert_same(stored(tmp_path / "q"), model.encode_queries(list(TOPICS.values())))
    found = open_q_nets(tmp_path / "q")
    assert found.topics == TOPICS
    assert found.model == {"name": str(tiny_checkpoint), "fingerprint": model.fingerprint, "max_length": 256}


def test_more_topics_than_a_file_holds(tiny_checkpoint: Path, tmp_path: Path) -> None:
    many = {str(number): f"water {number}" for number in range(BLOCK_QUERIES + 3)}
    path = write_topics(tmp_path / "topics.tsv", many)
    succeed("encode.query", *argv(path, tiny_checkpoint, tmp_path / "q"))
    assert len(list((tmp_path / "q").glob("*.safetensors"))) == 2
    model = load_model(str(tiny_checkpoint))
    assert_same(stored(tmp_path / "q")[BLOCK_QUERIES:], model.encode_queries(list(many.values())[BLOCK_QUERIES:]))


def test_max_length(topics: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    succeed("encode.query", *argv(topics, tiny_checkpoint, tmp_path / "q", "--max-length", 3))
    wanted = load_model(str(tiny_checkpoint)).encode_queries(list(TOPICS.values()), max_length=3)
    assert_same(stored(tmp_path / "q"), wanted)


def test_width_and_bi_encoders(topics: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    raw = {"loss_type": ["matryoshka_margin_mse"], "loss_kwargs": [{"matryoshka_dims": [4, 16]}]}
    nested = save_checkpoint(tmp_path / "m", hypencoder_config() | raw, tiny_checkpoint)
    succeed("encode.query", *argv(topics, nested, tmp_path / "narrow", "--width", 4))
    assert stored(tmp_path / "narrow").config.dims == (16, 4, 4, 1)
    plain = save_checkpoint(tmp_path / "b", biencoder_config(), tiny_checkpoint)
    succeed("encode.query", *argv(topics, plain, tmp_path / "vectors"))
    assert stored(tmp_path / "vectors").config.dims == (16, 1)


def test_again_is_the_same_and_other_topics_replace(topics: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    succeed("encode.query", *argv(topics, tiny_checkpoint, tmp_path / "q"))
    before = content(tmp_path / "q")
    succeed("encode.query", *argv(topics, tiny_checkpoint, tmp_path / "q"))
    assert content(tmp_path / "q") == before
    succeed("encode.query", *argv(write_topics(topics, {"9": "early"}), tiny_checkpoint, tmp_path / "q"))
    assert list(open_q_nets(tmp_path / "q").topics) == ["9"]
    assert len(content(tmp_path / "q")) == 2


def test_an_index_is_never_written_over(topics: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus.jsonl", {"d": "water"})
    succeed("encode", *encode(corpus, tmp_path / "index", tiny_checkpoint))
    before = content(tmp_path)
    said = refuse("encode.query", *argv(topics, tiny_checkpoint, tmp_path / "index"))
    assert "is no part of a folder of q-nets; name a new folder" in said
    assert content(tmp_path) == before


def test_q_nets_are_never_written_over_by_an_index(topics: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus.jsonl", {"d": "water"})
    succeed("encode.query", *argv(topics, tiny_checkpoint, tmp_path / "q"))
    before = content(tmp_path)
    for more in ([], ["--overwrite"]):
        parts = ["input", "--corpus", corpus, "output", "--embeddings", tmp_path / "q", *more]
        assert str(tmp_path / "q") in refuse("encode", *parts, "encoder", "--encoder", tiny_checkpoint)
    assert content(tmp_path) == before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"--topics": "nowhere.tsv"}, "nowhere.tsv: no such file"),
        ({"--encoder": "./nowhere"}, "./nowhere: no such folder"),
        ({"--device": "gpu"}, "--device gpu: wanted"),
        ({"--max-length": "513"}, "--max-length 513: wanted 2 to 512"),
        ({"--max-length": "0"}, "argument --max-length: '0' is not"),
        ({"--width": "8"}, "residual needs equal widths"),
        ({"--topics-format": "mbeir"}, "argument --topics-format: invalid choice"),
        ({"--output": "topics.tsv"}, "topics.tsv: is a file; q-nets want a folder"),
        ({"--pooling": "mean"}, "--pooling has no meaning here: the checkpoint knows"),
        ({"--prefix": "query:"}, "--prefix has no meaning here: the checkpoint"),
        ({"--prefx": "query:"}, "--prefx has no meaning here"),
        ({"--weight-range": "5"}, "--weight-range has no meaning here"),
        ({"--output": "topics.tsv/q"}, "topics.tsv"),
    ],
)
def test_what_cannot_be(
    topics: Path,
    tiny_checkpoint: Path,
    tmp_path: Path,
    change: dict[str, str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    flags = {"--topics": topics, "--encoder": tiny_checkpoint, "--output": "q", **change}
    before = content(tmp_path)
    assert said in refuse("encode.query", *[word for pair in flags.items() for word in pair])
    assert content(tmp_path) == before


def test_full_disk(topics: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    succeed("encode.query", *argv(topics, tiny_checkpoint, tmp_path / "q"))
    before = content(tmp_path / "q")
    other = write_topics(tmp_path / "other.tsv", {"8": "satellite", "9": "early"})
    with disk_full_after(2000):
        assert "cannot be written: File too large" in refuse(
            "encode.query", *argv(other, tiny_checkpoint, tmp_path / "q")
        )
    assert content(tmp_path / "q") == before


def test_folders_whose_names_are_not_utf8(topics: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "q\udcff"
    done = run("encode.query", *argv(topics, tiny_checkpoint, folder))
    assert done.code == 0
    assert list(open_q_nets(folder).topics) == list(TOPICS)


def test_extreme_queries(tiny_checkpoint: Path, tmp_path: Path) -> None:
    model: DualEncoder = load_model(str(tiny_checkpoint))
    extreme = {"1": "water " * 200_000, "2": "wa\0ter", "3": "\u2028", "4": "🙂" * 1000}
    path = tmp_path / "topics.tsv"
    path.write_text("".join(f"{topic}\t{query}\n" for topic, query in extreme.items() if query.strip()))
    succeed("encode.query", *argv(path, tiny_checkpoint, tmp_path / "q"))
    found = open_q_nets(tmp_path / "q")
    assert_same(stored(tmp_path / "q"), model.encode_queries(list(found.topics.values())))
    assert all(np.isfinite(array).all() for arrays in found.read(found.topics).values() for array in arrays.values())


def compact(topics: Path, model: object, output: Path, *more: object) -> Path:
    succeed("encode.query", *argv(topics, model, output, "--compact", *more))
    return output


def test_the_compact_form_gives_the_same_bits(tiny_checkpoint: Path, tmp_path: Path) -> None:
    words = "how many churches are in the north and do they stand beside water or stone".split()  # noqa: SIM905
    many = {str(number): " ".join(words[: number % 15 + 1]) for number in range(BLOCK_QUERIES + 20)}
    topics = write_topics(tmp_path / "topics.tsv", many)
    folder = compact(topics, tiny_checkpoint, tmp_path / "q")
    model = load_model(str(tiny_checkpoint))
    found = open_q_nets(folder)
    assert (found.form, list(found.topics)) == ("token states", list(many))
    order = list(many)[::-1]
    arrays = found.read(order)
    q_nets = from_states(found.architecture, [arrays[topic] for topic in order], model, None)
    assert_same(q_nets, model.encode_queries([many[topic] for topic in order]))
    with pytest.raises(HypensearchError, match="do not fit"):
        from_states(found.architecture, [{"states": np.zeros((3, 7), np.float32)}], model, None)
    assert sum(map(len, content(folder).values())) < 0.3 * 4 * len(many) * sum(
        array[0].numel() for array in (*q_nets.weights, *q_nets.biases)
    )


def test_the_compact_form_names_its_model(topics: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    model = load_model(str(tiny_checkpoint))
    raw = {"loss_type": ["matryoshka_margin_mse"], "loss_kwargs": [{"matryoshka_dims": [4, 16]}]}
    nested = save_checkpoint(tmp_path / "m", hypencoder_config() | raw, tiny_checkpoint)
    found = open_q_nets(compact(topics, nested, tmp_path / "narrow", "--width", 4))
    assert (found.model["name"], found.model["width"]) == (str(nested), 4)
    narrow = load_model(str(nested), width=4)
    assert found.model["query_fingerprint"] == narrow.query_fingerprint
    arrays = found.read(TOPICS)
    for finisher in (narrow, load_model(str(nested))):
        check_can_finish(finisher, found.model, "q")
        q_nets = from_states(found.architecture, [arrays[topic] for topic in TOPICS], finisher, 4)
        assert_same(q_nets, narrow.encode_queries(list(TOPICS.values())))
    with pytest.raises(HypensearchError, match="q holds token states of .* name the right --encoder"):
        check_can_finish(model, found.model, "q")


def test_a_bi_encoders_queries_have_no_smaller_form(
    topics: Path, tiny_checkpoint: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    plain = save_checkpoint(tmp_path / "b", biencoder_config(), tiny_checkpoint)
    compact(topics, plain, tmp_path / "q")
    assert "0.2 kB of query vectors will be written (0.1 kB a topic); a bi-encoder's queries are" in caplog.text
    assert open_q_nets(tmp_path / "q").form == "q-nets"
    assert_same(stored(tmp_path / "q"), load_model(str(plain)).encode_queries(list(TOPICS.values())))


def test_sizes_are_logged_before_anything_is_written(
    topics: Path, tiny_checkpoint: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    for more, pattern in (
        ([], r"(\S+) kB of q-nets will be written \(8.6 kB a topic\); with --compact (\S+) kB \((\S+) kB a topic\)"),
        (["--compact"], r"(\S+) kB of token states will be written \(\S+ kB a topic\)"),
    ):
        caplog.clear()
        succeed("encode.query", *argv(topics, tiny_checkpoint, tmp_path / "q", *more))
        (said,) = re.findall(pattern, caplog.text)
        first = float(said if isinstance(said, str) else said[0])
        (block,) = (tmp_path / "q").glob("*.safetensors")
        assert 0 < block.stat().st_size - 1000 * first < 1000  # the names of its tensors


@pytest.mark.parametrize(
    ("num_bytes", "shown"),
    [(98.04e9, "98 GB"), (1_184_256, "1.18 MB"), (14.2e6, "14.2 MB"), (49152, "49.2 kB"), (1234.5e9, "1,230 GB")],
)
def test_sizes_are_readable(num_bytes: float, shown: str) -> None:
    assert readable_size(num_bytes) == shown
