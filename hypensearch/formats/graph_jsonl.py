# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The authors' neighbour graph: lines of ``{"item_id": id, "neighbors": [id, ...]}``, nearest first."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from hypensearch.errors import HypensearchError
from hypensearch.formats.files import PathLike, numbered_lines
from hypensearch.formats.ids import id_in_json


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


def read_graph_jsonl(path: PathLike) -> Iterator[NeighbourList]:
    """Stream the lines of a graph file, plain or ``.gz``; blank lines are passed over.

    :raises HypensearchError: When there is no such file, or for a line that is something else, naming it.
    """
    for number, line in numbered_lines(path):
        if line.strip():
            yield _neighbour_list(line, path, number)


def _neighbour_list(line: str, path: PathLike, number: int) -> NeighbourList:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        raise HypensearchError(f"{path}:{number}: not JSON; a line is {_WANTED}") from None
    if not isinstance(record, dict) or not isinstance(record.get("neighbors"), list) or "item_id" not in record:
        raise HypensearchError(f"{path}:{number}: a line is {_WANTED}")
    docid, *neighbours = (id_in_json(value, f"{path}:{number}") for value in (record["item_id"], *record["neighbors"]))
    return NeighbourList(number, docid, neighbours)


_WANTED = '{"item_id": docid, "neighbors": [docid, ...]}'
