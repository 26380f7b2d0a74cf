# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""What a docid or a topic id must be, so that a run file can carry it."""

from __future__ import annotations

import json
import re

from hypensearch.errors import HypensearchError

_BREAKS_A_RUN_FILE = re.compile(r"[\s\x00-\x1f\x7f\ud800-\udfff]")


def id_in_json(value: object, where: str) -> str:
    """Take an id as JSON holds it, whole numbers included.

    :param where: What stands before an error: file and line.
    :raises HypensearchError: When it is something else, or empty.
    """
    if isinstance(value, str) and value:
        return value
    if type(value) is int:
        return str(value)
    raise HypensearchError(f"{where}: found {json.dumps(value)[:40]} where an id was wanted")


def flaw_of_id(text: str) -> str | None:
    """Tell why a run file cannot carry an id.

    :param text: A docid or a topic id.
    :return: What is wrong, to stand after "the id", or None when it is fine.
    """
    if not text:
        return "is empty"
    if _BREAKS_A_RUN_FILE.search(text):
        return f"{text!r} holds white space or control characters, which run files cannot carry"
    return None
