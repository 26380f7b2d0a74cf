# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The flags that say which text of a document is encoded."""

from __future__ import annotations

import argparse

from hypensearch.formats.corpus import TextRule


def add_text_flags(group: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add the flags of :func:`text_rule`."""
    add = group.add_argument
    add(
        "--fields", nargs="+", default=["text"], help="fields to encode, or what the parts of 'contents' are (in order)"
    )
    add("--docid-field", help="field that holds the id, if it is not id, _id or docid")
    add("--delimiter", default="\\n", help="what separates the fields within 'contents'")
    add("--no-title", action="store_true", help="do not put a document's title before its text")


def text_rule(args: argparse.Namespace) -> TextRule:
    """Return the rule that the flags ask for.

    :raises HypensearchError: When the delimiter is empty.
    """
    delimiter = args.delimiter.replace("\\n", "\n")  # a shell passes \n as two letters
    return TextRule(tuple(args.fields), args.docid_field, delimiter, None if args.no_title else "title")
