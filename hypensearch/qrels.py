# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Relevance judgements: read from a file or, by name, from Pyserini; written; to and from pandas and ir_measures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hypensearch import tables
from hypensearch.formats.qrels import read_qrels, write_qrels
from hypensearch.formats.topics import is_local

if TYPE_CHECKING:
    from ir_measures import Qrel
    from pandas import DataFrame

__all__ = [
    "from_ir_measures",
    "from_pandas",
    "load_qrels",
    "read_qrels",
    "to_ir_measures",
    "to_pandas",
    "write_qrels",
]

Qrels = Mapping[str, Mapping[str, int]]

_SUFFIXES = (".txt", ".tsv", ".trec", ".qrels", ".qrel")


def load_qrels(path_or_name: str) -> dict[str, dict[str, int]]:
    """Read judgements; only named ones need Pyserini, Java and, the first time, the network.

    :param path_or_name: A file in TREC's form or BEIR's, ``irds:NAME`` for a data set of ir_datasets, or a name known
        to Pyserini, such as ``dl19-passage``.
    :return: Grades by docid by topic id.
    :raises HypensearchError: When there is no such file or name.
    """
    if is_local(path_or_name, _SUFFIXES):
        return read_qrels(path_or_name)
    from hypensearch.pyserini.bridge import named_qrels

    return named_qrels(path_or_name)


def to_pandas(qrels: Qrels) -> DataFrame:
    """Return judgements as a frame of ir_measures': columns ``query_id``, ``doc_id``, ``relevance``."""
    pandas = tables.pandas()
    rows = [(topic, docid, grade) for topic, grades in qrels.items() for docid, grade in grades.items()]
    return pandas.DataFrame(rows, columns=["query_id", "doc_id", "relevance"])


def from_pandas(frame: DataFrame) -> dict[str, dict[str, int]]:
    """Read judgements from a frame of ir_measures, PyTerrier, Pyserini or ir_datasets, by the names of its columns.

    :param frame: Has columns ``query_id`` (or ``qid``, ``topic``), ``doc_id`` (``docno``, ``docid``) and ``relevance``
        (``label``, ``rel``, ``grade``); others are ignored.
    :raises HypensearchError: When a column is missing, a value is no id or no whole number, or a topic has a document
        twice.
    """
    columns = [tables.column(frame, names) for names in (tables.TOPICS, tables.DOCIDS, tables.GRADES)]
    return tables.gathered(zip(*columns, strict=True), tables.grade)


def to_ir_measures(qrels: Qrels) -> list[Qrel]:
    """Return judgements as ir_measures' records."""
    from ir_measures import Qrel

    return [Qrel(topic, docid, grade) for topic, grades in qrels.items() for docid, grade in grades.items()]


def from_ir_measures(qrels: Any) -> dict[str, dict[str, int]]:
    """Read judgements in any form that ir_measures does: its records, those of ir_datasets, dicts of dicts, frames.

    :raises HypensearchError: As :func:`from_pandas`.
    """
    from ir_measures.util import QrelsConverter

    records = QrelsConverter(qrels).as_namedtuple_iter()
    return tables.gathered(((record.query_id, record.doc_id, record.relevance) for record in records), tables.grade)


def __dir__() -> list[str]:
    return __all__
