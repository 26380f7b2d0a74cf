# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypensearch.errors import HypensearchError
from hypensearch.formats.q_nets import BLOCK_QUERIES, COMPACT, MANIFEST, open_q_nets, write_q_nets
from tests.commands import content, disk_full_after

ARCHITECTURE = {"dims": [2, 2, 1]}
MODEL = {"name": "toy", "fingerprint": "f00d"}


def blocks(num_topics: int, offset: float = 0) -> Iterator[dict[str, np.ndarray]]:
    """The q-net of topic number n has n everywhere."""
    for start in range(0, num_topics, BLOCK_QUERIES):
        numbers = np.arange(start, min(start + BLOCK_QUERIES, num_topics), dtype=np.float32) + offset
        shapes = {"weight_0": (2, 2), "weight_1": (2, 1), "bias_0": (2,)}
        yield {name: np.multiply.outer(numbers, np.ones(shape, np.float32)) for name, shape in shapes.items()}


def write(folder: Path, topics: Mapping[str, str], offset: float = 0) -> None:
    write_q_nets(folder, ARCHITECTURE, MODEL, topics, blocks(len(topics), offset))


def numbers(folder: Path, topic_ids: list[str]) -> list[float]:
    found = open_q_nets(folder).read(topic_ids)
    return [float(found[topic]["weight_0"][0, 0]) for topic in topic_ids]


def numbered(count: int) -> dict[str, str]:
    return {f"t{number}": f"query {number}" for number in range(count)}


@given(topics=st.dictionaries(st.text(min_size=1), st.text(), min_size=1, max_size=5))
def test_what_is_written_is_read(topics: dict[str, str]) -> None:
    if any("\ud800" <= char <= "\udfff" for text in (*topics, *topics.values()) for char in text):
        return
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), topics)
        stored = open_q_nets(folder)
        assert (stored.architecture, stored.model) == (ARCHITECTURE, MODEL)
        assert list(stored.topics.items()) == list(topics.items())
        assert numbers(Path(folder), list(topics)) == list(range(len(topics)))


def test_topics_of_several_files_in_any_order(tmp_path: Path) -> None:
    write(tmp_path, numbered(2 * BLOCK_QUERIES + 3))
    assert len(list(tmp_path.glob("*.safetensors"))) == 3
    assert numbers(tmp_path, ["t130", "t0", "t64", "t63", "t127"]) == [130, 0, 64, 63, 127]


def test_arrays_have_no_query_axis(tmp_path: Path) -> None:
    write(tmp_path, numbered(1))
    shapes = {name: array.shape for name, array in open_q_nets(tmp_path).read(["t0"])["t0"].items()}
    assert shapes == {"weight_0": (2, 2), "weight_1": (2, 1), "bias_0": (2,)}


def states_of(num_topics: int, **changes: Any) -> dict[str, np.ndarray]:
    """Topic number n has n % 3 + 1 tokens, whose states are n everywhere."""
    counts = np.arange(num_topics) % 3 + 1
    states = np.repeat(np.arange(num_topics, dtype=np.float32), counts)[:, None] * np.ones((1, 5), np.float32)
    return {"states": states, "num_tokens": counts, **changes}


def write_states(folder: Path, num_topics: int, **changes: Any) -> None:
    tensors = states_of(num_topics, **changes)
    write_q_nets(folder, ARCHITECTURE, MODEL, numbered(num_topics), [tensors], form=COMPACT)


def test_token_states(tmp_path: Path) -> None:
    write_states(tmp_path, 7)
    stored = open_q_nets(tmp_path)
    found = stored.read(["t5", "t0"])
    assert stored.form == COMPACT
    assert {topic: arrays["states"].tolist() for topic, arrays in found.items()} == {
        "t5": [[5.0] * 5] * 3,
        "t0": [[0.0] * 5],
    }
    write(tmp_path, numbered(2))
    assert numbers(tmp_path, ["t1"]) == [1]
    assert len(list(tmp_path.glob("*.safetensors"))) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"num_tokens": np.array([1, 2, 4])},
        {"num_tokens": np.array([1, 5])},
        {"num_tokens": np.array([7, -3, 2])},
        {"num_tokens": np.array([3, 0, 3])},
        {"num_tokens": np.array([1.0, 2.0, 3.0])},
        {"states": np.zeros((6, 2), np.float64)},
        {"states": np.zeros(6, np.float32)},
    ],
)
def test_token_states_of_another_form(tmp_path: Path, changes: dict[str, Any]) -> None:
    write_states(tmp_path, 3, **changes)
    with pytest.raises(
        HypensearchError, match=r"safetensors: not the token states of 3 topics; encode the topics again"
    ):
        open_q_nets(tmp_path).read(["t0"])


def test_q_nets_in_place_of_token_states(tmp_path: Path) -> None:
    write_q_nets(tmp_path, ARCHITECTURE, MODEL, numbered(2), blocks(2), form=COMPACT)
    with pytest.raises(HypensearchError, match="not the token states of 2 topics"):
        open_q_nets(tmp_path).read(["t0"])


def test_q_nets_are_what_older_versions_read(tmp_path: Path) -> None:
    write(tmp_path / "whole", numbered(1))
    write_states(tmp_path / "compact", 1)
    versions = {name: json.loads((tmp_path / name / MANIFEST).read_text())["version"] for name in ("whole", "compact")}
    assert versions == {"whole": 1, "compact": 2}


def test_new_q_nets_replace_all_files_of_the_old(tmp_path: Path) -> None:
    write(tmp_path, numbered(BLOCK_QUERIES + 1))
    write(tmp_path, numbered(2), offset=10)
    assert numbers(tmp_path, ["t0", "t1"]) == [10, 11]
    assert len(list(tmp_path.iterdir())) == 2


def test_old_q_nets_stay_when_the_new_ones_fail(tmp_path: Path) -> None:
    write(tmp_path, numbered(2))

    def failing() -> Iterator[dict[str, np.ndarray]]:
        yield from blocks(BLOCK_QUERIES, 10)
        raise HypensearchError("no more")

    with pytest.raises(HypensearchError, match="no more"):
        write_q_nets(tmp_path, ARCHITECTURE, MODEL, numbered(BLOCK_QUERIES + 1), failing())
    assert numbers(tmp_path, ["t0", "t1"]) == [0, 1]


def test_full_disk_leaves_the_old_q_nets(tmp_path: Path) -> None:
    write(tmp_path, numbered(2))
    before = content(tmp_path)
    with disk_full_after(500), pytest.raises(HypensearchError, match="cannot be written: File too large"):
        write(tmp_path, numbered(BLOCK_QUERIES), offset=10)
    assert content(tmp_path) == before


def test_a_topic_that_is_not_stored(tmp_path: Path) -> None:
    write(tmp_path, numbered(2))
    with pytest.raises(HypensearchError, match=r"no q-net of topic 't2'; encode the topics again"):
        open_q_nets(tmp_path).read(["t0", "t2"])


def test_a_folder_of_something_else_is_not_written_to(tmp_path: Path) -> None:
    from tests.flat.writing import write_index

    write_index(tmp_path / "index")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / MANIFEST).write_text("{}")
    (tmp_path / "file").touch()
    before = content(tmp_path)
    for name, said in (
        ("index", "no part of a folder of q-nets"),
        ("notes", "not a manifest of the format"),
        ("file", "is a file"),
    ):
        with pytest.raises(HypensearchError, match=said):
            write(tmp_path / name, numbered(1))
    assert content(tmp_path) == before


def test_changed_or_missing_file(tmp_path: Path) -> None:
    write(tmp_path, numbered(1))
    (path,) = tmp_path.glob("*.safetensors")
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(HypensearchError, match=f"{path.name}: its content has changed"):
        open_q_nets(tmp_path).read(["t0"])
    path.unlink()
    with pytest.raises(HypensearchError, match=f"{path.name}: No such file or directory; encode"):
        open_q_nets(tmp_path).read(["t0"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"files": []}, "files and topics do not fit together"),
        ({"files": [["../evil", "0"]]}, "Expected the name of a file - at"),
        ({"files": [["a\0b", "0"]]}, "Expected the name of a file - at"),
        ({"files": 5}, "damaged"),
        ({"topics": {"topic": "x"}}, "damaged"),
        ({"topics": [["t0", "x"], ["t0", "y"]]}, "a topic comes twice"),
        ({"architecture": [1]}, "damaged"),
        ({"model": 5}, "damaged"),
    ],
)
def test_flawed_manifests(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    write(tmp_path, numbered(1))
    _change_manifest(tmp_path, lambda facts: facts.update(change))
    with pytest.raises(HypensearchError, match=f"{MANIFEST}: .*{said}"):
        open_q_nets(tmp_path)


@pytest.mark.parametrize("raw", [b"x" * 100, None])
def test_a_manifest_that_names_another_file(tmp_path: Path, raw: bytes | None) -> None:
    write(tmp_path / "other", numbered(2))
    write(tmp_path / "q", numbered(1))
    (tmp_path / "q" / "x").write_bytes(raw or next((tmp_path / "other").glob("*.safetensors")).read_bytes())
    digest = hashlib.sha256((tmp_path / "q" / "x").read_bytes()).hexdigest()
    _change_manifest(tmp_path / "q", lambda facts: facts.update(files=[["x", digest]]))
    with pytest.raises(HypensearchError, match="x: (Error while deserializing|not the q-nets of 1 topics)"):
        open_q_nets(tmp_path / "q").read(["t0"])


def test_one_wrong_byte_of_the_manifest_is_never_another_content(tmp_path: Path) -> None:
    write(tmp_path, numbered(2))
    path = tmp_path / MANIFEST
    whole, good = path.read_bytes(), open_q_nets(tmp_path)
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with suppress(HypensearchError):
            assert open_q_nets(tmp_path) == good


def test_a_failed_write_leaves_the_old_q_nets_and_nothing_else(tmp_path: Path) -> None:
    write(tmp_path / "q", numbered(3))
    before = content(tmp_path / "q")

    def failing() -> Iterator[dict[str, np.ndarray]]:
        yield from blocks(BLOCK_QUERIES, 1.0)
        raise HypensearchError("the encoder failed")

    for folder in ("q", "new"):
        with pytest.raises(HypensearchError, match="the encoder failed"):
            write_q_nets(tmp_path / folder, ARCHITECTURE, MODEL, numbered(BLOCK_QUERIES + 1), failing())
    assert content(tmp_path / "q") == before
    assert not (tmp_path / "new").exists()


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    write(tmp_path, numbered(1))
    (tmp_path / "q_nets-00007-0123abcd.safetensors").write_bytes(b"half")
    (tmp_path / ".q_nets-00008.0123abcd.partial").write_bytes(b"half")
    write(tmp_path, numbered(2), offset=1)
    assert len(content(tmp_path)) == 2


def test_two_writers(tmp_path: Path) -> None:
    def and_another() -> Iterator[dict[str, np.ndarray]]:
        with pytest.raises(HypensearchError, match="locked by process"):
            write(tmp_path, numbered(1))
        yield from blocks(1)

    write_q_nets(tmp_path, ARCHITECTURE, MODEL, numbered(1), and_another())
    assert numbers(tmp_path, ["t0"]) == [0]


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(HypensearchError, match=r"nowhere: no folder of q-nets .*encode.query makes one"):
        open_q_nets(tmp_path / "nowhere")


def _change_manifest(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    facts = json.loads((folder / MANIFEST).read_text())
    del facts["checksum"]  # as the first version wrote it
    change(facts)
    (folder / MANIFEST).write_text(json.dumps(facts))
