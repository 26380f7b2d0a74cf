# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Relevance grades by topic and docid, in TREC's form or BEIR's."""

from __future__ import annotations

import operator
import os
import re
from collections.abc import Iterator, Mapping

from hypensearch.errors import HypensearchError
from hypensearch.formats.files import PathLike, columns_of, numbered_lines, replace_when_whole
from hypensearch.formats.ids import flaw_of_id
from hypensearch.formats.named import is_name, named_qrels

FORMS = "TREC's form (topic, iteration, docid, grade) or BEIR's (query-id, corpus-id, score; with a header line)"
# trec_eval counts documents by grade in an array of that length.
MAX_GRADE = 1_000_000

MAX_BYTES = 4 * 2**30
MAX_LINE_BYTES = 2**16
_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,20}")


def read_qrels(path: PathLike) -> dict[str, dict[str, int]]:
    """Read relevance judgements.

    :param path: A file in TREC's form (four columns) or BEIR's (three, with or without its header line), plain or
        ``.gz``; the first line decides which. Columns are separated by any white space. Or the name of a data set
        (:mod:`hypensearch.formats.named`).
    :return: Grades by docid by topic id, in the order of the file. Negative grades are kept: they are "not judged".
    :raises HypensearchError: When there is no such file, it holds no judgement, a line has another number of columns, a
        grade is no whole number, or a document is judged twice with different grades; naming file and line.
    """
    if is_name(path):
        return named_qrels(os.fspath(path))
    qrels: dict[str, dict[str, int]] = {}
    for number, topic, docid, grade in _judgements(path):
        grades = qrels.setdefault(topic, {})
        if grades.setdefault(docid, grade) != grade:
            raise HypensearchError(
                f"{path}:{number}: topic {topic!r} judges document {docid!r} as {grade}, but before as "
                f"{grades[docid]}; keep one of them"
            )
    if not qrels:
        raise HypensearchError(f"{path}: holds no judgements; qrels are read in {FORMS}")
    return qrels


def write_qrels(path: PathLike, qrels: Mapping[str, Mapping[str, int]]) -> None:
    """Write relevance judgements in TREC's form.

    :param path: The file; one that is there is replaced when the new one is whole.
    :param qrels: Grades by docid by topic id.
    :raises HypensearchError: When there are none, for an id that the file cannot carry and a grade that is no whole
        number. Nothing is written then.
    """
    lines = [
        f"{topic} 0 {docid} {_checked_grade(topic, docid, grade, path)}\n"
        for topic, grades in qrels.items()
        for docid, grade in grades.items()
    ]
    if not lines:
        raise HypensearchError(f"{path}: there are no judgements to write")
    with replace_when_whole(path, "w") as file:
        file.writelines(lines)


def _checked_grade(topic: str, docid: str, grade: int, path: PathLike) -> int:
    for what, text in (("topic", topic), ("document", docid)):
        if flaw := flaw_of_id(text):
            raise HypensearchError(f"{path}: the {what} id {flaw}")
    try:
        number = operator.index(grade)
    except TypeError:
        number = MAX_GRADE + 1
    if abs(number) > MAX_GRADE:
        raise HypensearchError(
            f"{path}: topic {topic!r}: the grade {grade!r} of document {docid!r} is not a whole number between "
            f"-{MAX_GRADE:,} and {MAX_GRADE:,}"
        )
    return number


def _judgements(path: PathLike) -> Iterator[tuple[int, str, str, int]]:
    width = 0
    for number, line in numbered_lines(path, max_line_bytes=MAX_LINE_BYTES, max_bytes=MAX_BYTES):
        columns = columns_of(line)
        if not columns:
            continue
        if not width and len(columns) in (3, 4):
            width = len(columns)
            if width == 3 and not _WHOLE_NUMBER.fullmatch(columns[2]):
                continue
        if len(columns) != width:
            wanted = f"{width} columns were wanted as on the first line" if width else f"wanted {FORMS}"
            raise HypensearchError(f"{path}:{number}: found {len(columns)} columns, {wanted}")
        yield number, columns[0], columns[-2], _grade(columns[-1], path, number)


def _grade(text: str, path: PathLike, number: int) -> int:
    if not _WHOLE_NUMBER.fullmatch(text) or abs(int(text)) > MAX_GRADE:
        raise HypensearchError(
            f"{path}:{number}: the grade {text[:40]!r} is not a whole number between -{MAX_GRADE:,} and {MAX_GRADE:,}"
        )
    return int(text)
