# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Training records: a query with relevant texts, and with others that are not, perhaps with a teacher's scores.

One JSON object a line, in any of these forms, told apart by their keys:

- ``{"query": .., "positive": .., "negatives": [..]}``; ``positive`` (or ``positives``, ``pos``) is a text or a list,
  so are ``negatives`` (``negative``, ``neg``), which may be absent;
- sentence-transformers' columns: ``anchor`` (``question``, ``sentence1``) stands for ``query``, ``answer`` or
  ``sentence2`` for ``positive``, ``negative_1``, ``negative_2`` and so on for ``negatives``; its teachers' scores are
  one list under the label key, ``label``, ``labels`` or ``scores``: of the positive and all negatives, or, one number
  less, the margins between them. Lines that are lists, ``["query", "positive", "negative", ..]``, are of the same form,
  and ``{"set": [..]}`` is a query and its paraphrases;
- FlagEmbedding's ``pos``, ``neg``, ``pos_scores``, ``neg_scores``;
- the released code's ``{"query": {"id", "content"}, "items": [{"id", "content", "score", "type"}, ..]}``, the first
  item being the positive;
- Tevatron's ``{"query": .., "positive_passages": [{"title", "text"}], "negative_passages": [..]}``.

Texts may be strings, or objects with ``content`` or ``title`` and ``text``; objects may have a ``score``. Files are
checked whole before training starts, then read record by record: only line positions are kept in memory.
"""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hypensearch.errors import HypensearchError
from hypensearch.formats.files import is_pipe
from hypensearch.formats.json_files import parse_json

MAX_PROBLEMS = 20

_QUERY_KEYS = ("query", "anchor", "question", "sentence1")
_POSITIVE_KEYS = ("positive", "positives", "pos", "positive_passages", "answer", "answers", "sentence2")
_NEGATIVE_KEYS = ("negatives", "negative", "neg", "negative_passages")
_NUMBERED_NEGATIVE = re.compile(r"negative_(\d+)")
_LIST_LABEL_KEYS = ("label", "labels", "scores")


@dataclass(frozen=True, slots=True)
class Item:
    """A text and its score by a teacher; NaN without one."""

    text: str
    score: float = math.nan


@dataclass(frozen=True, slots=True)
class Record:
    """A query, the texts that answer it, and texts that do not."""

    query: str
    positives: tuple[Item, ...]
    negatives: tuple[Item, ...]


def parse_record(line: str | bytes, *, label_key: str = "score") -> Record:
    """Read one line.

    :param label_key: Key of the teacher's scores in items that are objects.
    :raises ValueError: Says what is wrong with it.
    """
    try:
        raw = parse_json(line)
    except ValueError as error:
        raise ValueError(f"not JSON ({error})") from None
    raw = _as_columns(raw)
    query = _text(next((raw[key] for key in _QUERY_KEYS if raw.get(key) is not None), None), "query")
    if "items" in raw:
        items = _items(raw["items"], "items", label_key)
        if not items:
            raise ValueError("no positive: items is empty, wanted the positive and then negatives")
        return Record(query, items[:1], items[1:])
    positives = _first_of(raw, _POSITIVE_KEYS, label_key)
    if not positives:
        raise ValueError(f"no positive: wanted one of the keys {', '.join(_POSITIVE_KEYS)}, or items")
    record = Record(query, positives, (*_first_of(raw, _NEGATIVE_KEYS, label_key), *_numbered(raw, label_key)))
    return _with_listed_scores(record, raw, label_key)


class RecordFile:
    """A file of training records, checked when opened.

    :param path: JSON lines.
    :param label_key: Key of the teacher's scores.
    :param least_negatives: Negatives that each record must have.
    :param needs_scores: Whether each item must have a score.
    :raises HypensearchError: Lists all bad lines at once (the first twenty in words).
    """

    def __init__(
        self, path: str | Path, *, label_key: str = "score", least_negatives: int = 0, needs_scores: bool = False
    ) -> None:
        self.path = Path(path)
        self.label_key = label_key
        offsets, problems, bad = array("q"), [], 0
        for number, offset, line in _lines(self.path):
            try:
                record = parse_record(line, label_key=label_key)
                _check(record, label_key, least_negatives, needs_scores)
                offsets.append(offset)
            except ValueError as error:
                bad += 1
                if bad <= MAX_PROBLEMS:
                    problems.append(f"line {number}: {error}")
        if bad:
            raise HypensearchError(_summary(self.path, problems, bad))
        if not offsets:
            raise HypensearchError(f"{self.path}: no training record in it")
        self._offsets = np.frombuffer(offsets, dtype=np.int64)

    def __len__(self) -> int:
        return len(self._offsets)

    def __getitem__(self, row: int) -> Record:
        with open(self.path, "rb") as file:
            file.seek(int(self._offsets[row]))
            return parse_record(file.readline(), label_key=self.label_key)

    def __iter__(self) -> Iterator[Record]:
        return (parse_record(line, label_key=self.label_key) for _, _, line in _lines(self.path))


def _as_columns(raw: Any) -> Mapping[str, Any]:
    """Give the texts of lists, and of sets, the names of columns."""
    if isinstance(raw, Mapping) and isinstance(raw.get("set"), list):
        return {**dict(zip(("query",), raw["set"], strict=False)), "positives": raw["set"][1:]}
    if isinstance(raw, list) and len(raw) > 1:
        return {"query": raw[0], "positive": raw[1], "negatives": raw[2:]}
    if not isinstance(raw, Mapping):
        raise ValueError(f"wanted a JSON object, or a list of at least two texts, found {type(raw).__name__}")
    return raw


def _numbered(raw: Mapping[str, Any], label_key: str) -> tuple[Item, ...]:
    """Return the texts under ``negative_1``, ``negative_2`` and so on."""
    found = sorted((int(match[1]), key) for key in raw if (match := _NUMBERED_NEGATIVE.fullmatch(key)))
    return tuple(item for _, key in found if raw[key] is not None for item in _items(raw[key], key, label_key))


def _with_listed_scores(record: Record, raw: Mapping[str, Any], label_key: str) -> Record:
    """Give items the scores that stand in lists beside them."""
    record = replace(
        record,
        positives=_with_scores_of(record.positives, raw, "pos_scores"),
        negatives=_with_scores_of(record.negatives, raw, "neg_scores"),
    )
    key = next((key for key in (label_key, *_LIST_LABEL_KEYS) if raw.get(key) is not None), None)
    if key is None:
        return record
    scores, negatives = _numbers(raw[key], key), record.negatives
    if "sentence2" in raw and not negatives:
        if scores != [1.0]:
            raise ValueError(f"a pair of {key} {raw[key]!r}: only pairs that belong together (1) can be trained on")
        return record
    if len(record.positives) != 1 or len(scores) not in (len(negatives), len(negatives) + 1):
        raise ValueError(
            f"{key} has {len(scores)} numbers for {len(record.positives)} positives and {len(negatives)} negatives: "
            "wanted the scores of one positive and all negatives, or the margins between them"
        )
    if len(scores) == len(negatives):
        scores = [0.0, *(-margin for margin in scores)]
    return replace(record, positives=_scored(record.positives, scores[:1]), negatives=_scored(negatives, scores[1:]))


def _with_scores_of(items: tuple[Item, ...], raw: Mapping[str, Any], key: str) -> tuple[Item, ...]:
    if raw.get(key) is None:
        return items
    scores = _numbers(raw[key], key)
    if len(scores) != len(items):
        raise ValueError(f"{key} has {len(scores)} numbers for {len(items)} texts")
    return _scored(items, scores)


def _numbers(raw: Any, key: str) -> list[float]:
    try:
        return [float(value) for value in (raw if isinstance(raw, list) else [raw])]
    except (TypeError, ValueError):
        raise ValueError(f"{key} {raw!r} is not a number or a list of numbers") from None


def _scored(items: Sequence[Item], scores: Sequence[float]) -> tuple[Item, ...]:
    return tuple(Item(item.text, score) for item, score in zip(items, scores, strict=True))


def _first_of(raw: Mapping[str, Any], keys: Sequence[str], label_key: str) -> tuple[Item, ...]:
    key = next((key for key in keys if raw.get(key) is not None), None)
    return () if key is None else _items(raw[key], key, label_key)


def _items(raw: Any, key: str, label_key: str) -> tuple[Item, ...]:
    raws = raw if isinstance(raw, list) else [raw]
    return tuple(Item(_text(item, f"{key}[{i}]"), _score(item, label_key)) for i, item in enumerate(raws))


def _text(raw: Any, key: str) -> str:
    if isinstance(raw, Mapping):
        title, text = raw.get("title") or "", raw.get("content", raw.get("text"))
        raw = f"{title} {text}".strip() if isinstance(text, str) and isinstance(title, str) else None
    if not isinstance(raw, str):
        raise ValueError(f"{key} is not a text")
    if not raw.strip():
        raise ValueError(f"{key} is empty")
    return raw


def _score(raw: Any, label_key: str) -> float:
    if not isinstance(raw, Mapping) or raw.get(label_key) is None:
        return math.nan
    try:
        return float(raw[label_key])
    except (TypeError, ValueError):
        raise ValueError(f"{label_key} {raw[label_key]!r} is not a number") from None


def _check(record: Record, label_key: str, least_negatives: int, needs_scores: bool) -> None:
    if len(record.negatives) < least_negatives:
        raise ValueError(f"{len(record.negatives)} negatives, the losses need at least {least_negatives}")
    items = (*record.positives, *record.negatives)
    if needs_scores and any(not math.isfinite(item.score) for item in items):
        raise ValueError(f"an item has no {label_key!r}, which the losses need (see --label-key)")


def _lines(path: Path) -> Iterator[tuple[int, int, bytes]]:
    if is_pipe(path):
        raise HypensearchError(
            f"{path}: a pipe, but training reads records in random order, again in each epoch: write them to a file"
        )
    if not path.is_file():
        raise HypensearchError(f"{path}: no such file of training records")
    offset = 0
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield number, offset, line
            offset += len(line)


def _summary(path: Path, problems: list[str], bad: int) -> str:
    more = f"; and {bad - len(problems)} more" if bad > len(problems) else ""
    return f"{path}: {bad} bad lines: {'; '.join(problems)}{more}"
