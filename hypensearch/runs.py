# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Runs, hits by topic id as ``batch_search`` gives them: read and written, to and from pandas and ir_measures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hypensearch import tables
from hypensearch.formats.files import PathLike
from hypensearch.formats.run import open_run_writer, read_run, separate_ties
from hypensearch.hits import Hit

if TYPE_CHECKING:
    from ir_measures import ScoredDoc
    from pandas import DataFrame

__all__ = [
    "Hit",
    "from_ir_measures",
    "from_pandas",
    "open_run_writer",
    "read_run",
    "separate_ties",
    "to_ir_measures",
    "to_pandas",
    "write_run",
]

Run = Mapping[str, Sequence[Hit]]


def write_run(
    path: PathLike,
    run: Mapping[str, Sequence[Any]],
    output_format: str = "trec",
    *,
    tag: str = "hypensearch",
    max_hits: int | None = None,
    keep_ties: bool = False,
) -> None:
    """Write a run with the bytes that ``python -m hypensearch.search`` writes for the same hits.

    :param path: The file; one that is there is replaced when the new one is whole.
    :param run: Hits by topic id, of ours or of Pyserini's searchers: what has a docid and a score. They are written by
        score, equal scores in the order given.
    :param output_format: ``trec`` or ``msmarco``.
    :param tag: The last column of a TREC run.
    :param max_hits: How many hits of a topic are written, at most; None for all.
    :param keep_ties: Whether equal scores are written as they are. Else each is lowered by the least step that keeps
        trec_eval, which ranks equal scores by descending docid, in the order given.
    :raises HypensearchError: For ids and scores that a run file cannot carry, a document twice, and what cannot be
        written there.
    """
    most = max_hits or max([1, *map(len, run.values())])
    with open_run_writer(path, output_format, tag=tag, max_hits=most) as writer:
        for topic, hits in run.items():
            ranked = _ranked([Hit(str(hit.docid), float(hit.score)) for hit in hits])[:most]
            writer.write(topic, ranked if keep_ties else separate_ties(ranked))


def to_pandas(run: Run) -> DataFrame:
    """Return a run as a frame of ir_measures': columns ``query_id``, ``doc_id``, ``score``, and ``rank`` from 1."""
    pandas = tables.pandas()
    rows = [
        (topic, hit.docid, hit.score, rank) for topic, hits in run.items() for rank, hit in enumerate(hits, start=1)
    ]
    return pandas.DataFrame(rows, columns=["query_id", "doc_id", "score", "rank"])


def from_pandas(frame: DataFrame) -> dict[str, list[Hit]]:
    """Read a run from a frame of ir_measures, PyTerrier or Pyserini, by the names of its columns.

    :param frame: Has columns ``query_id`` (or ``qid``, ``topic``), ``doc_id`` (``docno``, ``docid``) and ``score``;
        others are ignored.
    :return: Hits by topic id, by score, equal scores in the order of the frame.
    :raises HypensearchError: When a column is missing, a value is no id or no finite number, or a topic has a document
        twice.
    """
    columns = [tables.column(frame, names) for names in (tables.TOPICS, tables.DOCIDS, tables.SCORES)]
    return _as_run(tables.gathered(zip(*columns, strict=True), tables.score))


def to_ir_measures(run: Run) -> list[ScoredDoc]:
    """Return a run as ir_measures' records."""
    from ir_measures import ScoredDoc

    return [ScoredDoc(topic, hit.docid, hit.score) for topic, hits in run.items() for hit in hits]


def from_ir_measures(run: Any) -> dict[str, list[Hit]]:
    """Read a run in any form that ir_measures does: its records, dicts of dicts, frames.

    :return: As :func:`from_pandas`.
    :raises HypensearchError: As :func:`from_pandas`.
    """
    from ir_measures.util import RunConverter

    records = RunConverter(run).as_namedtuple_iter()
    return _as_run(
        tables.gathered(((record.query_id, record.doc_id, record.score) for record in records), tables.score)
    )


def _as_run(scores: Mapping[str, Mapping[str, float]]) -> dict[str, list[Hit]]:
    return {topic: _ranked([Hit(*scored) for scored in of_topic.items()]) for topic, of_topic in scores.items()}


def _ranked(hits: list[Hit]) -> list[Hit]:
    return sorted(hits, key=lambda hit: -hit.score)


def __dir__() -> list[str]:
    return __all__
