# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The authors' runs, ``retrieved_items.jsonl``: a line for each query, with its items best first."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass

from hypensearch.errors import HypensearchError
from hypensearch.formats.files import PathLike, numbered_lines
from hypensearch.formats.ids import id_in_json
from hypensearch.formats.json_files import parse_json
from hypensearch.hits import Hit

_WANTED = '{"query": {"id": ..., "content": ...}, "items": [{"id": ..., "score": ...}, ...]}'


@dataclass(frozen=True, slots=True)
class RetrievedItems:
    """What was found for one query.

    :param line: Where it stands in the file, from 1.
    :param topic: The query's id.
    :param query: Its text, empty where the file has none.
    :param hits: What was found, in the order of the file.
    """

    line: int
    topic: str
    query: str
    hits: list[Hit]


def read_retrieved_items(path: PathLike) -> Iterator[RetrievedItems]:
    """Stream a run, plain or ``.gz``; blank lines are passed over.

    :raises HypensearchError: When there is no such file, a line is something else, a score is no finite number or
        higher than the one before it, or a query has a document twice; naming file and line.
    """
    for number, line in numbered_lines(path):
        if line.strip():
            yield _retrieved(line, path, number)


def _retrieved(line: str, path: PathLike, number: int) -> RetrievedItems:
    try:
        record = parse_json(line)
    except ValueError:
        record = None
    query, items = (record.get("query"), record.get("items")) if isinstance(record, dict) else (None, None)
    if not isinstance(query, dict) or not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise HypensearchError(f"{path}:{number}: a line of the authors' run is {_WANTED}")
    hits = [
        Hit(id_in_json(item.get("id"), f"{path}:{number}"), _score(item.get("score"), path, number)) for item in items
    ]
    _check(hits, path, number)
    text = query.get("content")
    return RetrievedItems(
        number, id_in_json(query.get("id"), f"{path}:{number}"), text if isinstance(text, str) else "", hits
    )


def _check(hits: list[Hit], path: PathLike, number: int) -> None:
    seen: set[str] = set()
    above = math.inf
    for hit in hits:
        if hit.docid in seen:
            raise HypensearchError(f"{path}:{number}: document {hit.docid!r} comes twice")
        if hit.score > above:
            raise HypensearchError(
                f"{path}:{number}: document {hit.docid!r} has a higher score than the one before it: items are wanted "
                "best first"
            )
        seen.add(hit.docid)
        above = hit.score


def _score(value: object, path: PathLike, number: int) -> float:
    if type(value) in (int, float) and math.isfinite(value):  # type: ignore[arg-type]
        return float(value)  # type: ignore[arg-type]
    raise HypensearchError(f"{path}:{number}: found {json.dumps(value)[:40]} where a finite score was wanted")
