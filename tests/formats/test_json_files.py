# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path

import pytest

from hypensearch.errors import HypensearchError
from hypensearch.formats.ids import flaw_of_id, id_in_json
from hypensearch.formats.json_files import check_signed, parse_json, read_bounded, read_json, signed_json


def test_a_file_is_read_up_to_a_size(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"a": [1, "\u00e9"]}')
    size = path.stat().st_size
    assert read_json(path) == {"a": [1, "\u00e9"]}
    assert read_bounded(path, size) == path.read_bytes()
    with pytest.raises(ValueError, match=f"^larger than {size - 1} bytes$"):
        read_bounded(path, size - 1)
    with pytest.raises(ValueError, match="^larger than 1 bytes$"):
        read_json(path, 1)
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "none")


def test_what_is_no_json_is_a_value_error() -> None:
    for content in (b"{", b"\xff", b"", "[1,"):
        with pytest.raises(ValueError, match="."):
            parse_json(content)
    with pytest.raises(ValueError, match="^nested too deeply$"):
        parse_json("[" * 100_000)


def test_signed_facts_carry_a_digest_of_themselves() -> None:
    facts = {"z": "\u00e9", "a": [1, 2]}
    content = signed_json(facts)
    assert content.endswith(b"\n}\n")
    assert "\u00e9".encode() in content
    read = json.loads(content)
    assert list(read) == ["z", "a", "checksum"]
    assert read["checksum"] == "6bf807f31f35a1936a3e35064cb2c57b37b950a746683708becf88d94fcdfe5d"
    check_signed(content, read)
    for other in (content[:-1], content.replace(b"1", b"3"), content.replace(b'"z"', b'"y"'), content + b" "):
        with pytest.raises(ValueError, match="^its content does not match its checksum$"):
            check_signed(other, json.loads(other))
    odd = signed_json({"path": "\udcff"})  # a byte of a name that is not UTF-8
    assert json.loads(odd.decode("utf-8"))["path"] == "\udcff"
    check_signed(odd, json.loads(odd))


@pytest.mark.parametrize("text", ["a", "a-b", "\u00e9", "\u4e2d", "D1|2", "\U0001f600"])
def test_ids_that_a_run_file_can_carry(text: str) -> None:
    assert flaw_of_id(text) is None


@pytest.mark.parametrize(
    "text", ["a b", "a\tb", "a\n", "\r", "\x00", "\x7f", "\x1f", "\u00a0", "\u2028", "\udc80", "a\u3000"]
)
def test_ids_that_a_run_file_cannot_carry(text: str) -> None:
    assert flaw_of_id(text) == f"{text!r} holds white space or control characters, which run files cannot carry"


def test_an_empty_id() -> None:
    assert flaw_of_id("") == "is empty"


@pytest.mark.parametrize(("value", "taken"), [("a", "a"), ("007", "007"), (7, "7"), (0, "0"), (-1, "-1")])
def test_ids_in_json(value: object, taken: str) -> None:
    assert id_in_json(value, "a.jsonl:3") == taken


@pytest.mark.parametrize("value", ["", 1.5, True, None, [], {"a": "x" * 50}])
def test_what_is_no_id_in_json(value: object) -> None:
    with pytest.raises(HypensearchError) as caught:
        id_in_json(value, "a.jsonl:3")
    assert str(caught.value) == f"a.jsonl:3: found {json.dumps(value)[:40]} where an id was wanted"
