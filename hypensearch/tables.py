# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""What runs and judgements share on their way from pandas and ir_measures: columns, checked values."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from hypensearch.errors import HypensearchError

if TYPE_CHECKING:
    from pandas import DataFrame

Value = TypeVar("Value")

# Names of columns: ir_measures' and ir_datasets' first, then PyTerrier's, then Pyserini's.
TOPICS = ("query_id", "qid", "q_id", "topic", "topic_id")
DOCIDS = ("doc_id", "docno", "docid")
SCORES = ("score",)
GRADES = ("relevance", "label", "rel", "grade")


def pandas() -> Any:
    """Import pandas.

    :raises HypensearchError: When it is not installed.
    """
    try:
        import pandas
    except ImportError:
        raise HypensearchError("pandas is not installed: pip install pandas") from None
    return pandas


def column(frame: DataFrame, names: tuple[str, ...]) -> list[Any]:
    """Return the values of a frame's column.

    :param names: What it may be called; the first one that is there is taken.
    :raises HypensearchError: When none is there.
    """
    for name in names:
        if name in frame.columns:
            return frame[name].tolist()
    found = ", ".join(map(str, frame.columns))
    raise HypensearchError(f"found a frame with the columns {found}: wanted one called {' or '.join(names)}")


def gathered(
    rows: Iterable[tuple[Any, Any, Any]], value_of: Callable[[Any, str], Value]
) -> dict[str, dict[str, Value]]:
    """Gather rows of topic id, docid and value by topic.

    :param value_of: Checks a value; gets it and what it is of, for its error.
    :raises HypensearchError: When there is no row, an id is none, or a topic has a document twice.
    """
    found: dict[str, dict[str, Value]] = {}
    for topic, docid, value in rows:
        of_topic = found.setdefault(_id(topic, "topic"), {})
        name = _id(docid, "document")
        if name in of_topic:
            raise HypensearchError(f"topic {topic!r} has document {docid!r} twice: wanted each once")
        of_topic[name] = value_of(value, f"document {name!r} of topic {topic!r}")
    if not found:
        raise HypensearchError("found no rows: wanted at least one")
    return found


def score(value: Any, of_what: str) -> float:
    """Check a score."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise HypensearchError(f"the score {value!r} of {of_what} is not a finite number")
    return number


def grade(value: Any, of_what: str) -> int:
    """Check a grade; 1.0 is 1, as frames turn whole numbers into."""
    try:
        return operator.index(int(value) if isinstance(value, float) and value.is_integer() else value)
    except TypeError:
        raise HypensearchError(f"the grade {value!r} of {of_what} is not a whole number") from None


def _id(value: Any, of_what: str) -> str:
    """Check an id: text, or a whole number, which frames make of digits."""
    if isinstance(value, str):
        return value
    try:
        return str(operator.index(value))
    except TypeError:
        raise HypensearchError(
            f"the {of_what} id {value!r} is a {type(value).__name__}: wanted text (read files with dtype=str)"
        ) from None
