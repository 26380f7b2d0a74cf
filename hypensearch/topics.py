# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Topics: read from a file or, by name, from Pyserini; written to a file."""

from __future__ import annotations

from hypensearch.formats.topics import is_local, read_topics
from hypensearch.formats.write_topics import write_topics

__all__ = ["load_topics", "read_topics", "write_topics"]


def load_topics(path_or_name: str, topics_format: str = "default") -> dict[str, str]:
    """Read topics; only named ones need Pyserini, Java and, the first time, the network.

    :param path_or_name: A topics file, ``irds:NAME`` for a data set of ir_datasets, or the name of a set known to
        Pyserini.
    :param topics_format: ``default``, ``kilt`` or ``raw_jsonl``.
    :return: Query texts by topic id, in Pyserini's order.
    :raises HypensearchError: When there is no such file or set.
    """
    if is_local(path_or_name):
        return read_topics(path_or_name, topics_format)
    from hypensearch.pyserini.bridge import named_topics

    return named_topics(path_or_name, topics_format)


def __dir__() -> list[str]:
    return __all__
