# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path

import pytest

from hypensearch.formats.json_files import check_signed, parse_json, read_json, signed_json


def test_a_file_is_read_up_to_a_size(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"a": [1, "\u00e9"]}')
    size = path.stat().st_size
    assert read_json(path) == {"a": [1, "\u00e9"]}
    assert read_json(path, size) == {"a": [1, "\u00e9"]}
    with pytest.raises(ValueError, match=f"^larger than {size - 1} bytes$"):
        read_json(path, size - 1)
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
