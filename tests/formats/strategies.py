# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""What hypothesis draws for the readers: bytes that look a little like the files they are not."""

import gzip
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from hypothesis import strategies as st

from hypensearch.errors import HypensearchError


def near_misses(*pieces: bytes) -> st.SearchStrategy[bytes]:
    """Arbitrary bytes mixed with pieces of the real form."""
    common = (b"\n", b"\r\n", b"\r", b"\t", b" ", b"\xef\xbb\xbf", b"\xff", b"\x00", "\u2028é".encode(), b"1", b"a")
    piece = st.sampled_from(pieces + common) | st.binary(max_size=4)
    return st.lists(piece, max_size=30).map(b"".join)


def outcome_of(read: Callable[[Path], object], name: str, content: bytes) -> object | None:
    """Read content from a file of that name: the result, or None for an error in our words of one line."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(gzip.compress(content, 1) if name.endswith(".gz") else content)
        try:
            result = read(path)
            return list(result) if isinstance(result, Iterable) and not isinstance(result, dict) else result
        except HypensearchError as error:
            message = str(error)
    assert "\n" not in message
    assert name in message
    return None
