# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""What a docid or a topic id must be, so that a run file can carry it, and which ids are the same."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from typing import TypeVar

Value = TypeVar("Value")

logger = logging.getLogger(__name__)

#: A docid of an index; they are compared many at a time.
MAX_ID_BYTES = 2**16

_BREAKS_A_RUN_FILE = re.compile(r"[\s\x00-\x1f\x7f\ud800-\udfff]")


def flaw_of_id(text: str) -> str | None:
    """Say why a run file cannot carry an id.

    :param text: A docid or a topic id.
    :return: What is wrong, to stand after "the id", or None when it is fine.
    """
    if not text:
        return "is empty"
    if _BREAKS_A_RUN_FILE.search(text):
        return f"{text!r} holds white space or control characters, which run files cannot carry"
    return None


class IdLookup:
    """Finds ids of one file among those of another.

    Ids are compared as they are written. Pyserini reads them as numbers and drops leading zeros; so an id that is not
    there stands for the only one of the same number, ``1`` for ``001``.

    :param ids: Those to look in.
    """

    def __init__(self, ids: Iterable[str]) -> None:
        self._ids = set(ids)
        self._by_number: dict[str, str | None] = {}
        for text in self._ids:
            if number := _number_of(text):
                self._by_number[number] = None if number in self._by_number else text

    def find(self, text: str) -> str | None:
        """Return an id as it is written here, None when it is not here or could be several."""
        return text if text in self._ids else self._by_number.get(_number_of(text))


def with_ids_of(other: Iterable[str], values: Mapping[str, Value], where: str) -> dict[str, Value]:
    """Write the ids of values by topic as another file writes them, see :class:`IdLookup`; values with other ids stay.

    :param other: The other file's ids.
    :param values: By topic id.
    :param where: The values' file, for the log line that says so.
    """
    lookup, own = IdLookup(other), IdLookup(values)
    renamed = {topic: lookup.find(topic) or topic for topic in values if own.find(lookup.find(topic) or topic) == topic}
    changed = [(topic, name) for topic, name in renamed.items() if topic != name]
    if changed:
        logger.warning(
            "%s: %d topic ids have other leading zeros, as %r for %r: taken as the same topics",
            where,
            len(changed),
            *changed[0],
        )
    return {renamed.get(topic, topic): value for topic, value in values.items()}


def _number_of(text: str) -> str:
    """Return an id of digits without its leading zeros, empty for other ids."""
    return text.lstrip("0") or "0" if text.isascii() and text.isdigit() else ""
