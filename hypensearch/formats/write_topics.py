# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Topics written in the forms that are read, and refused where reading would give something else."""

from __future__ import annotations

import gzip
import json
import os
import tempfile
from collections.abc import Mapping

from hypensearch.errors import HypensearchError
from hypensearch.formats.files import PathLike, is_gzip_name, replace_when_whole
from hypensearch.formats.topics import read_topics

FORMS = ".tsv, .txt, .json or .jsonl, each also with .gz behind it"


def write_topics(path: PathLike, topics: Mapping[str, str]) -> None:
    """Write topics, so that :func:`hypensearch.formats.topics.read_topics` gives the same ids and texts.

    :param path: The file, its form by its end: ``.tsv`` and ``.txt`` (id, tab, query), ``.json`` ({id: {title}}) or
        ``.jsonl`` (id, title), each also with ``.gz``. A file that is there is replaced when the new one is whole.
    :param topics: Query texts by topic id.
    :raises HypensearchError: When the form is not known, there is no topic, or the form cannot hold one as it is: a tab
        in a TSV file, say, or an id with leading zeros, which Pyserini reads as a number.
    """
    content = _content(os.fspath(path), topics)
    _check_read_as_meant(os.path.basename(path), content, path, topics)
    with replace_when_whole(path) as file:
        file.write(content)


def _content(path: str, topics: Mapping[str, str]) -> bytes:
    plain = path.removesuffix(".gz")
    if plain.endswith((".tsv", ".txt")):
        text = "".join(f"{topic}\t{query}\n" for topic, query in topics.items())
    elif plain.endswith(".jsonl"):
        text = "".join(json.dumps({"id": topic, "title": query}) + "\n" for topic, query in topics.items())
    elif plain.endswith(".json"):
        text = json.dumps({topic: {"title": query} for topic, query in topics.items()}, indent=1) + "\n"
    else:
        raise HypensearchError(f"{path}: its name does not say in which form topics are to be written; wanted {FORMS}")
    content = text.encode("utf-8", "surrogatepass")
    return gzip.compress(content, mtime=0) if is_gzip_name(path) else content


def _check_read_as_meant(name: str, content: bytes, path: PathLike, topics: Mapping[str, str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        copy = os.path.join(folder, name)
        with open(copy, "wb") as file:
            file.write(content)
        try:
            read = read_topics(copy)
        except HypensearchError as error:
            why = str(error).replace(copy, os.fspath(path))
            raise HypensearchError(f"these topics cannot be written: {why}") from None
    if read == dict(topics):
        return
    topic = next((topic for topic, query in topics.items() if read.get(topic) != query), next(iter(read)))
    raise HypensearchError(
        f"{path}: topic {topic!r} would not be read as it is from this form of file: change its id or text, or write "
        "a .json file, which keeps all of both"
    )
