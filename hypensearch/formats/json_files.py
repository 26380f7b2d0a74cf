# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""JSON from strangers: of bounded size, with one kind of error for all that can be wrong; and facts that are signed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from hypensearch.formats.door import MAX_BYTES, PathLike, read_plain


def read_json(path: PathLike, max_bytes: int = MAX_BYTES, within: PathLike | None = None) -> Any:
    """Read a plain file of one JSON value.

    :param max_bytes: Larger files are refused before they are taken into memory.
    :param within: The folder that it must lie in, links followed; None for a path that the user gave.
    :raises OSError: When the file cannot be read.
    :raises ValueError: When it is too large, or not JSON in UTF-8.
    """
    return parse_json(read_plain(path, max_bytes, within))


def parse_json(content: bytes | str) -> Any:
    """Parse JSON.

    :raises ValueError: When it is not JSON, or nested too deeply.
    """
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def signed_json(facts: Mapping[str, Any]) -> bytes:
    """Give the content of a file of facts that carries a digest of itself."""
    return _dump({**facts, "checksum": hashlib.sha256(_dump(facts)).hexdigest()})


def check_signed(content: bytes, facts: Mapping[str, Any]) -> None:
    """Compare a file's bytes with the digest among its facts.

    :raises ValueError: When it is not what :func:`signed_json` wrote.
    """
    if signed_json({key: value for key, value in facts.items() if key != "checksum"}) != content:
        raise ValueError("its content does not match its checksum")


def _dump(facts: Mapping[str, Any]) -> bytes:
    # Bytes of names that are not UTF-8 are lone surrogates in Python, which JSON has as \\udcXX.
    return (json.dumps(facts, indent=1, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")


def digest_of_facts(facts: Mapping[str, Any]) -> str:
    """Give the SHA-256 of facts in whatever order they stand."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def compact_signed_json(facts: Mapping[str, Any]) -> bytes:
    """Give facts as a line of ASCII, with their :func:`digest_of_facts`: the form of q-nets and unfinished indexes."""
    return json.dumps({**facts, "checksum": digest_of_facts(facts)}).encode()


def check_compact_signed(content: bytes, facts: Mapping[str, Any]) -> None:
    """Compare facts with the digest among them, if they have one: version 0.1 wrote none.

    :raises ValueError: When it is another one.
    """
    others = {key: value for key, value in facts.items() if key != "checksum"}
    if facts.get("checksum") not in (None, digest_of_facts(others)):
        raise ValueError("its content does not match its checksum")
