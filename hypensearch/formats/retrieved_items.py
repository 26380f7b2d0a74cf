# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The authors' runs, ``retrieved_items.jsonl``: a line for each query, with its items best first."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, TypedDict

from hypensearch.formats.files import PathLike
from hypensearch.formats.json_lines import read_json_lines
from hypensearch.formats.schema import Id, checked
from hypensearch.hits import Hit

_WANTED = '{"query": {"id": ..., "content": ...}, "items": [{"id": ..., "score": ...}, ...]}'


class _Query(TypedDict):
    id: Id


class _Item(TypedDict):
    id: Id
    score: float


class _Line(TypedDict):
    query: _Query
    items: list[_Item]


def read_retrieved_items(path: PathLike) -> Iterator[tuple[str, list[Hit]]]:
    """Stream a run, plain or ``.gz``; blank lines are skipped.

    :return: Pairs of a query's id and its hits.
    :raises HypensearchError: When there is no such file, a line is something else, a score is no finite number or
        higher than the one before it, or a query has a document twice; naming file and line.
    """
    return (found for _, found in read_json_lines(path, _parse))


def _parse(record: dict[str, Any]) -> tuple[str, list[Hit]]:
    try:
        line = checked(record, _Line)
    except ValueError as error:
        raise ValueError(f"{error}; a line of the authors' run is {_WANTED}") from None
    hits = [Hit(str(item["id"]), item["score"]) for item in line["items"]]
    seen: set[str] = set()
    above = math.inf
    for hit in hits:
        if not math.isfinite(hit.score):
            raise ValueError(f"document {hit.docid!r} has the score {hit.score}: a finite one was wanted")
        if hit.docid in seen:
            raise ValueError(f"document {hit.docid!r} comes twice")
        if hit.score > above:
            raise ValueError(
                f"document {hit.docid!r} has a higher score than the one before it: items are wanted best first"
            )
        seen.add(hit.docid)
        above = hit.score
    return str(line["query"]["id"]), hits
