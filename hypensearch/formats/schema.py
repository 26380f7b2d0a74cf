# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""What facts from files of others must look like, declared once for each format and checked by msgspec.

Each format's module has its schema: a dataclass or a ``TypedDict`` of these types. A right checksum says that a file is
what somebody wrote, not that it makes sense; this does.
"""

from __future__ import annotations

from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

#: More of anything than fits on a disk; numbers that large overflow somewhere.
MOST = 2**48

Count = Annotated[int, Meta(ge=0, le=MOST)]
Number = Annotated[int, Meta(ge=1, le=MOST)]
Size = Annotated[int, Meta(ge=1, le=2**24)]
Time = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
# Half characters are in no name; bytes that are not UTF-8 are, as U+DC80 to U+DCFF.
_IN_NO_NAME = r"\x00\ud800-\udc7f\udd00-\udfff"
_PATTERNS = {
    "the name of a file": rf"\A(?!\.{{1,2}}\Z)[^/{_IN_NO_NAME}]+\Z",
    "a path": rf"\A[^{_IN_NO_NAME}]+\Z",
    "a relative path": rf"\A(?!/)[^{_IN_NO_NAME}]*\Z",
    "a SHA-256": r"\A[0-9a-f]{64}\Z",
    "float32 or float16": r"\A(float32|float16)\Z",
    "l2, ip or cosine": r"\A(l2|ip|cosine)\Z",
    "index or docid": r"\A(index|docid)\Z",
}
#: A file's name inside of its folder.
Name = Annotated[str, Meta(pattern=_PATTERNS["the name of a file"], max_length=255)]
#: A path, absolute or relative.
Place = Annotated[str, Meta(pattern=_PATTERNS["a path"], max_length=4096)]
#: A path that is relative to the file that has it.
RelativePlace = Annotated[str, Meta(pattern=_PATTERNS["a relative path"], max_length=4096)]
Digest = Annotated[str, Meta(pattern=_PATTERNS["a SHA-256"])]
Dtype = Annotated[str, Meta(pattern=_PATTERNS["float32 or float16"])]
Distance = Annotated[str, Meta(pattern=_PATTERNS["l2, ip or cosine"])]
FaissFile = Annotated[str, Meta(pattern=_PATTERNS["index or docid"])]
Short = Annotated[str, Meta(max_length=4096)]
#: An id as JSON holds it.
Id = Annotated[str, Meta(min_length=1)] | int

Kind = TypeVar("Kind")


def checked(facts: object, kind: type[Kind]) -> Kind:
    """Give facts as what a schema declares; numbers, names and truth values are not taken for each other.

    :param facts: Parsed JSON.
    :param kind: A dataclass, which is made of them, or a ``TypedDict``, of which keys it does not know are left out.
    :raises ValueError: Says what is wrong, and where, in one line.
    """
    try:
        return msgspec.convert(facts, kind, strict=True)
    except (msgspec.ValidationError, RecursionError, OverflowError) as error:
        raise ValueError(_in_words(" ".join(str(error).split()))[:200] or type(error).__name__) from None


def _in_words(message: str) -> str:
    for words, pattern in _PATTERNS.items():
        message = message.replace(f"`str` matching regex {pattern!r}", words)
    return message
