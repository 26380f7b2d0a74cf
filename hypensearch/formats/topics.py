# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Queries by topic id, from every local form that Pyserini reads, without Java.

Ids, order and texts are those of Pyserini's query iterators, down to the order of mixed ids and the leading zeros that
digit-only ids lose. Where Pyserini would lose a topic in silence, or fail without saying where, there is an error that
names the lines. Blank lines, a byte order mark and ``.gz`` are taken everywhere.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from hypensearch.errors import HypensearchError
from hypensearch.formats.files import PathLike, decode_line, numbered_lines, read_whole
from hypensearch.formats.ids import flaw_of_id

TOPICS_FORMATS = ("default", "kilt", "raw_jsonl")
SUFFIXES = (".tsv", ".txt", ".trec", ".json", ".jsonl")
FORMS = (
    ".tsv and .txt (id, tab, query), .trec, .json ({id: {title}}), .jsonl (id or qid, title), each also as .gz; "
    "--topics-format kilt (id, input) and raw_jsonl (id, query)"
)

_MAX_BYTES = 2**30
_KILT_MARKS = ("[START_ENT]", "[END_ENT]")
_RAW_JSONL_IDS = ("id", "qid", "query_id", "_id")
_JAVA_BLANKS = "".join(map(chr, range(33)))
_JAVA_SPACE = re.compile(r"[ \t\n\x0b\f\r]+")
_JAVA_INT = re.compile(r"[+-]?\d+")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_DOCNO = re.compile(r"<DOCNO>[ \t\n\x0b\f\r]*(.*?)[ \t\n\x0b\f\r]*</DOCNO>")


def is_local(path_or_name: str) -> bool:
    """Tell a path to topics from the name of one of Pyserini's topic sets.

    A path exists, has a folder in it, or ends like a file of topics.
    """
    plain = path_or_name.removesuffix(".gz")
    return os.path.exists(path_or_name) or os.sep in path_or_name or plain.endswith(SUFFIXES)


def read_topics(path: PathLike, topics_format: str = "default") -> dict[str, str]:
    """Read topics in the order in which Pyserini runs them.

    :param path: The file. As in Pyserini, "beir" anywhere in the path as it is given makes it a TSV file with string
        ids, unless it ends in ``.json``, and "cacm" one of CACM's.
    :param topics_format: ``default``, ``kilt`` or ``raw_jsonl``.
    :return: Query texts by topic id, the ids as Pyserini prints them.
    :raises HypensearchError: When there is no such file, its form is not known, it holds no topic, two topics share an
        id, or a topic is broken; naming file and line.
    """
    if topics_format == "kilt":
        return {topic: _kilt_query(datapoint["input"]) for topic, datapoint in read_kilt_topics(path).items()}
    if topics_format == "raw_jsonl":
        topics = _gather(path, _raw_jsonl_topics(path), _as_it_is)
        return {topic.printed: topic.query for topic in topics}
    if topics_format != "default":
        raise HypensearchError(f"topics format {topics_format!r} is not one of {', '.join(TOPICS_FORMATS)}: {FORMS}")
    return _read_default(path)


def read_kilt_topics(path: PathLike) -> dict[str, dict[str, Any]]:
    """Read KILT data points, as the KILT form of a run repeats them.

    :param path: A file of JSON lines with ``id`` and ``input``.
    :return: The data points by topic id, in the order of the file.
    :raises HypensearchError: As :func:`read_topics`.
    """
    datapoints: dict[int, dict[str, Any]] = {}
    topics = _gather(path, _kilt_topics(path, datapoints), _as_it_is)
    return {topic.printed: datapoints[topic.line] for topic in topics}


@dataclass(slots=True)
class _Topic:
    """A topic as it stands in the file, then with the id that is printed."""

    line: int
    raw_id: str
    query: str
    printed: str = ""


class _Flaw(Exception):
    """What is wrong with a line; the caller adds where it stands."""


def _read_default(path: PathLike) -> dict[str, str]:
    name = os.fspath(path)
    plain = name.removesuffix(".gz")
    if plain.endswith(".json"):
        topics = _gather(path, _json_topics(path), _as_it_is)
        return {topic.printed: topic.query for topic in sorted(topics, key=lambda topic: topic.printed)}
    topics = _gather(path, *_default_form(path, name, plain))
    try:
        topics.sort(key=lambda topic: _as_pyserini_holds_it(topic.printed))  # type: ignore[arg-type, return-value]
    except TypeError:
        topics.sort(key=lambda topic: topic.printed)
    return {topic.printed: topic.query for topic in topics}


def _default_form(path: PathLike, name: str, plain: str) -> tuple[Iterable[_Topic], Callable[[str], str]]:
    if "beir" in name:
        return _tsv_topics(path), _without_leading_zeros
    if "cacm" in name:
        return _cacm_topics(path), _java_int
    if plain.endswith((".tsv", ".txt")):
        topics = list(_tsv_topics(path))
        all_ints = all(_is_java_int(topic.raw_id) for topic in topics)
        return topics, _java_int if all_ints else _without_leading_zeros
    if plain.endswith(".trec"):
        return _trec_topics(path), _java_int
    if plain.endswith(".jsonl"):
        return _jsonl_topics(path), _without_leading_zeros
    if not os.path.exists(path):
        raise HypensearchError(f"{path}: no such file; topics are read from {FORMS}")
    raise HypensearchError(f"{path}: its name does not tell what form of topics it holds; topics are read from {FORMS}")


def _gather(path: PathLike, topics: Iterable[_Topic], printed_id: Callable[[str], str]) -> list[_Topic]:
    """Give the topics their printed ids and check them, none of them lost."""
    by_id: dict[str, _Topic] = {}
    for topic in topics:
        try:
            topic.printed = _checked_id(printed_id(topic.raw_id))
            _check_query(topic)
        except _Flaw as flaw:
            raise HypensearchError(f"{_place(path, topic.line)}: {flaw}") from None
        first = by_id.setdefault(topic.printed, topic)
        if first is not topic:
            raise HypensearchError(f"{_place(path, topic.line)}: {_collision(first, topic)}")
    if not by_id:
        raise HypensearchError(f"{path}: holds no topics; topics are read from {FORMS}")
    return list(by_id.values())


def _place(path: PathLike, line: int) -> str:
    return f"{path}:{line}" if line else f"{path}"


def _checked_id(text: str) -> str:
    if flaw := flaw_of_id(text):
        raise _Flaw(f"the id {flaw}")
    return text


def _check_query(topic: _Topic) -> None:
    if not topic.query.strip():
        raise _Flaw(f"topic {topic.raw_id!r} has an empty query")
    if _LONE_SURROGATE.search(topic.query):
        raise _Flaw(f"the query of topic {topic.raw_id!r} holds half of a surrogate pair, which is no character")


def _collision(first: _Topic, topic: _Topic) -> str:
    where = f"on line {first.line}" if first.line else "before it"
    if first.raw_id == topic.raw_id:
        return f"topic id {topic.raw_id!r} was used already {where}; give each topic its own id"
    return (
        f"topic ids {topic.raw_id!r} and {first.raw_id!r} {where} are both printed as {topic.printed!r}, as Pyserini "
        "reads digits as a number; give each topic its own id"
    )


def _as_it_is(text: str) -> str:
    return text


def _without_leading_zeros(text: str) -> str:
    if not text.isdigit():
        return text
    try:
        return str(int(text))
    except ValueError:
        raise _Flaw(f"the id {text[:40]!r} is made of digits, but not of a number's") from None


def _as_pyserini_holds_it(printed: str) -> int | str:
    return int(printed) if printed.isdigit() else printed


def _is_java_int(text: str) -> bool:
    return len(text) < 100 and bool(_JAVA_INT.fullmatch(text)) and -(2**31) <= int(text) < 2**31


def _java_int(text: str) -> str:
    if not _is_java_int(text):
        raise _Flaw(f"the id {text[:40]!r} is not a whole number of 32 bits, which this form of topics has")
    return str(int(text))


def _lines(path: PathLike) -> Iterator[tuple[int, str]]:
    if not os.path.exists(path):
        raise HypensearchError(f"{path}: no such file; topics are read from {FORMS}")
    return numbered_lines(path, max_bytes=_MAX_BYTES)


def _tsv_topics(path: PathLike) -> Iterator[_Topic]:
    for number, line in _lines(path):
        line = line.strip(_JAVA_BLANKS)
        if not line:
            continue
        columns = line.split("\t")
        if len(columns) < 2:
            raise HypensearchError(f"{path}:{number}: an id, a tab and a query were wanted, found {_shown(line)}")
        yield _Topic(number, columns[0], columns[1].strip(_JAVA_BLANKS))


def _json_topics(path: PathLike) -> Iterator[_Topic]:
    if not os.path.exists(path):
        raise HypensearchError(f"{path}: no such file; topics are read from {FORMS}")
    text = decode_whole(read_whole(path, _MAX_BYTES), path)
    try:
        pairs = json.loads(text, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError) as error:
        line = error.lineno if isinstance(error, json.JSONDecodeError) else 1
        raise HypensearchError(f"{path}:{line}: not JSON: {_reason(error)}") from None
    if not isinstance(pairs, _Pairs):
        raise HypensearchError(f'{path}: a JSON object {{"id": {{"title": "query"}}}} was wanted, found {_kind(pairs)}')
    for topic_id, fields in pairs:
        title = dict(fields).get("title") if isinstance(fields, _Pairs) else None
        if not isinstance(title, str):
            raise HypensearchError(f'{path}: topic {topic_id!r} is not of the form {{"title": "query"}}')
        yield _Topic(0, topic_id, title)


class _Pairs(list[tuple[str, Any]]):
    """A JSON object with its repeated keys."""


def decode_whole(content: bytes, path: PathLike) -> str:
    """Decode a whole file from UTF-8, dropping a byte order mark.

    :raises HypensearchError: When it is not UTF-8, naming file, line and the first bad byte.
    """
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = content.count(b"\n", 0, error.start)
        return decode_line(content.split(b"\n")[number], path, number + 1)


def _jsonl_topics(path: PathLike) -> Iterator[_Topic]:
    for number, record in _records(path):
        raw_id = _id_of(path, number, record, ("id", "qid"))
        yield _Topic(number, raw_id, _query_of(path, number, record, "title"))


def _raw_jsonl_topics(path: PathLike) -> Iterator[_Topic]:
    for number, record in _records(path):
        raw_id = _id_of(path, number, record, _RAW_JSONL_IDS)
        yield _Topic(number, raw_id, _query_of(path, number, record, "query"))


def _kilt_topics(path: PathLike, datapoints: dict[int, dict[str, Any]]) -> Iterator[_Topic]:
    for number, record in _records(path):
        raw_id = _id_of(path, number, record, ("id",))
        datapoints[number] = record
        yield _Topic(number, raw_id, _kilt_query(_query_of(path, number, record, "input")))


def _kilt_query(text: str) -> str:
    for mark in _KILT_MARKS:
        text = text.replace(mark, "")
    return text.strip()


def _records(path: PathLike) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in _lines(path):
        line = line.strip(_JAVA_BLANKS)
        if not line:
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise HypensearchError(f"{path}:{number}: not JSON: {_reason(error)}") from None
        if not isinstance(record, dict):
            raise HypensearchError(f"{path}:{number}: a JSON object was wanted, found {_kind(record)}")
        yield number, record


def _id_of(path: PathLike, number: int, record: dict[str, Any], names: tuple[str, ...]) -> str:
    topic_id = next((record[name] for name in names if name in record), None)
    if type(topic_id) is int:
        return str(topic_id)
    if isinstance(topic_id, str):
        return topic_id
    raise HypensearchError(
        f"{path}:{number}: an id (a string or a whole number) was wanted under {' or '.join(map(repr, names))}, "
        f"{_fields(record)}"
    )


def _query_of(path: PathLike, number: int, record: dict[str, Any], name: str) -> str:
    query = record.get(name)
    # Jackson gives a number its digits, and whole numbers are queries that people make.
    if type(query) is int and name == "title":
        return str(query)
    if isinstance(query, str):
        return query
    raise HypensearchError(
        f"{path}:{number}: the query (a string) was wanted under {name!r}, {_fields(record)}; topics are read from "
        f"{FORMS}"
    )


def _fields(record: dict[str, Any]) -> str:
    shown = ", ".join(f"{name[:40]!r} ({_kind(value)})" for name, value in list(record.items())[:8])
    return f"found {shown or 'no fields'}"


def _kind(value: Any) -> str:
    names = {type(None): "null", bool: "true or false", dict: "an object", list: "a list", str: "a string"}
    return names.get(type(value), "a number")


def _reason(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} (column {error.colno})"
    return "nested too deeply" if isinstance(error, RecursionError) else "a number with too many digits"


def _shown(line: str) -> str:
    return repr(line if len(line) <= 60 else line[:57] + "...")


def _cacm_topics(path: PathLike) -> Iterator[_Topic]:
    lines = _lines(path)
    for number, line in lines:
        if line.strip(_JAVA_BLANKS).startswith("<DOC>"):
            raw_id = _cacm_id(path, number, lines)
            yield _Topic(number, raw_id, _cacm_text(path, number, lines))


def _cacm_id(path: PathLike, begin: int, lines: Iterator[tuple[int, str]]) -> str:
    for number, line in lines:
        if line.startswith("<DOCNO>"):
            match = _DOCNO.search(line)
            if match is None:
                raise HypensearchError(f"{path}:{number}: <DOCNO>id</DOCNO> was wanted, found {_shown(line)}")
            return match[1]
        if line.strip(_JAVA_BLANKS).startswith(("<DOC>", "</DOC>")):
            break
    raise HypensearchError(f"{path}:{begin}: the topic that begins here has no <DOCNO>")


def _cacm_text(path: PathLike, begin: int, lines: Iterator[tuple[int, str]]) -> str:
    text: list[str] = []
    for _, line in lines:
        if line.startswith("</DOC>"):
            return "".join(text)
        if line.startswith("<DOC>"):
            break
        text.append(line + "\n")
    raise HypensearchError(f"{path}:{begin}: the topic that begins here has no </DOC>")


def _trec_topics(path: PathLike) -> Iterator[_Topic]:
    lines = _lines(path)
    for number, line in lines:
        if line.startswith("<top"):
            yield _trec_topic(_TrecLines(path, number, lines))


def _trec_topic(lines: _TrecLines) -> _Topic:
    raw_id = _behind_label(lines.up_to("<num>")[-1])
    title_lines = [lines.up_to("<title>")[-1], *lines.up_to("<desc>")[:-1]]
    title = _JAVA_SPACE.sub(" ", _behind_label("\n".join(title_lines))).strip(_JAVA_BLANKS)
    narrative = lines.up_to("<narr>", may_end=True)[-1]
    if not narrative.endswith("</narr>"):
        lines.up_to("</top>", may_end=True)
    digits = re.sub("[^0-9]", "", raw_id)
    return _Topic(lines.begin, digits, title.replace("</title>", "").strip(_JAVA_BLANKS))


def _behind_label(text: str) -> str:
    """Cut off what stands before the query: up to a colon as in ``<num> Number: 301``, else up to the tag's end."""
    label, colon, rest = text.partition(":")
    return rest if colon else label.partition(">")[2]


class _TrecLines:
    """The lines of one TREC topic.

    Anserini's reader runs over the end of a topic that lacks a part and so loses the next one; here that is an error.
    """

    def __init__(self, path: PathLike, begin: int, lines: Iterator[tuple[int, str]]) -> None:
        self.begin = begin
        self._path = path
        self._lines = lines

    def up_to(self, tag: str, may_end: bool = False) -> list[str]:
        """Give the lines up to the one that begins with the tag, that one included."""
        passed = []
        for number, line in self._lines:
            passed.append(line)
            if line.startswith(tag):
                return passed
            if line.startswith("<top"):
                raise HypensearchError(
                    f"{self._path}:{number}: a topic begins, but the one of line {self.begin} has no line {tag} yet"
                )
        if may_end:
            return passed or [""]
        raise HypensearchError(f"{self._path}:{self.begin}: the topic that begins here has no line {tag}")
