# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Untrusted text on a terminal: shown, never obeyed."""

from __future__ import annotations

import re

# Control characters but for tab and line end; marks that turn the direction of text or end a line unseen.
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")


def visible(text: object) -> str:
    """Write control characters as escapes (``\\x1b``), so that a terminal shows them and does nothing else.

    Tabs and line ends stay.
    """
    return _UNSEEN.sub(lambda match: match[0].encode("unicode_escape").decode(), str(text))


def visible_line(text: object) -> str:
    """Do what :func:`visible` does, and turn line ends into spaces: untrusted text cannot look like a line of ours."""
    return visible(" ".join(str(text).splitlines()))
