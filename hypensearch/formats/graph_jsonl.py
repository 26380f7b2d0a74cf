# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The authors' neighbour graph: lines of ``{"item_id": id, "neighbors": [id, ...]}``, nearest first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypedDict

from hypensearch.formats.files import PathLike
from hypensearch.formats.json_lines import read_json_lines
from hypensearch.formats.schema import Id, checked


@dataclass(frozen=True, slots=True)
class NeighbourList:
    """The neighbours of one document.

    :param line: Where it stands in the file, from 1.
    :param docid: The document.
    :param neighbours: Docids of its neighbours, nearest first.
    """

    line: int
    docid: str
    neighbours: list[str]


class _Line(TypedDict):
    item_id: Id
    neighbors: list[Id]


def read_graph_jsonl(path: PathLike) -> Iterator[NeighbourList]:
    """Stream the lines of a graph file, plain or ``.gz``; blank lines are skipped.

    :raises HypensearchError: When there is no such file, or for a line that is something else, naming it.
    """
    for number, line in read_json_lines(path, _checked):
        yield NeighbourList(number, str(line["item_id"]), [str(docid) for docid in line["neighbors"]])


def _checked(record: dict[str, Any]) -> _Line:
    try:
        return checked(record, _Line)
    except ValueError as error:
        raise ValueError(f'{error}; a line is {{"item_id": docid, "neighbors": [docid, ...]}}') from None
