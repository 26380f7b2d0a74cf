# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Queries by topic id, from every local form that Pyserini reads and from BEIR's and TREC's own, without Java.

Order and texts are those of Pyserini's query iterators. Ids stay as they are written, leading zeros included, so that
files with the same ids match; Pyserini makes numbers of them, which is logged. Only TREC's own form (``<num>``) gives
numbers, as the qrels of the tracks have them. Where Pyserini would drop a topic or a part of a query without a word, or
fail without saying where, there is an error that names the lines. Blank lines, a byte order mark and ``.gz`` are
accepted everywhere.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from hypensearch.errors import HypensearchError
from hypensearch.formats.files import PathLike, numbered_lines, read_whole
from hypensearch.formats.ids import flaw_of_id
from hypensearch.formats.json_lines import BLANKS, decode_whole, found_in, id_of, kind_of, read_json_lines, reason_of
from hypensearch.formats.named import is_name, named_topics
from hypensearch.formats.trec_topics import parse_trec

TOPICS_FORMATS = ("default", "tsv", "trec", "json", "jsonl", "beir", "cacm", "kilt", "raw_jsonl")
TOPICS_FORMAT_HELP = f"{', '.join(TOPICS_FORMATS[1:])}; default: by name and content"
SUFFIXES = (".tsv", ".txt", ".trec", ".xml", ".json", ".jsonl")
FORMS = (
    ".tsv and .txt (id, tab, query), .trec and .xml (TREC's own), .json ({id: {title}}), .jsonl (id, qid or _id; title "
    "or text), each also as .gz; --topics-format names a form: tsv, trec, json, jsonl, beir, cacm, kilt (id, input), "
    "raw_jsonl (id, query)"
)

MAX_BYTES = 2**30
_JSONL_IDS = ("id", "qid", "query_id", "_id")
_JAVA_INT = re.compile(r"[+-]?\d+")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_MAX_DIGITS = 4000  # of what Python takes for a number
_NUMBER = re.compile("[0-9]+")
_DOCNO = re.compile(r"<DOCNO>[ \t\n\x0b\f\r]*(.*?)[ \t\n\x0b\f\r]*</DOCNO>")

logger = logging.getLogger(__name__)


def is_local(path_or_name: str, suffixes: tuple[str, ...] = SUFFIXES) -> bool:
    """Whether a path is meant, not one of Pyserini's names.

    :param path_or_name: A path exists, has a folder in it, or ends like a file; ``irds:NAME`` counts as one.
    :param suffixes: Ends of files, before ``.gz``; those of topics by default.
    """
    plain = path_or_name.removesuffix(".gz")
    is_path = os.path.exists(path_or_name) or os.sep in path_or_name or plain.endswith(suffixes)
    return is_path or is_name(path_or_name)


def read_topics(path: PathLike, topics_format: str = "default") -> dict[str, str]:
    """Read topics in the order in which Pyserini runs them.

    :param path: The file; a pipe will do, and so will the name of a data set (:mod:`hypensearch.formats.named`).
    :param topics_format: One of :data:`TOPICS_FORMATS`. ``default`` goes by the end of the name, and by the content
        where the name does not say or the content is plainly CACM's or TREC's.
    :return: Query texts by topic id, the ids as they are written; those of TREC's own form are numbers.
    :raises HypensearchError: When there is no such file, its form is not known, it holds no topic, two topics share an
        id, or a topic is broken; naming file and line.
    """
    if topics_format not in TOPICS_FORMATS:
        raise HypensearchError(f"topics format {topics_format!r} is not one of {', '.join(TOPICS_FORMATS)}: {FORMS}")
    if is_name(path):
        return named_topics(os.fspath(path))
    if not os.path.exists(path):
        raise HypensearchError(f"{path}: no such file; topics are read from {FORMS}")
    form, why = _default_form(path) if topics_format == "default" else (topics_format, "")
    try:
        topics = _checked(path, _READERS[form](path))
    except HypensearchError as error:
        if not why:
            raise
        raise HypensearchError(f"{error} (read as {form}, as {why}; --topics-format names another form)") from None
    return {topic.topic_id: topic.query for topic in _in_order(path, topics, form)}


def read_kilt_topics(path: PathLike) -> dict[str, dict[str, Any]]:
    """Read KILT data points, as the KILT form of a run repeats them.

    :param path: A file of JSON lines with ``id`` and ``input``.
    :return: The data points by topic id, in the order of the file.
    :raises HypensearchError: As :func:`read_topics`.
    """
    datapoints = dict(read_json_lines(path, dict, MAX_BYTES))
    return {topic.topic_id: datapoints[topic.line] for topic in _checked(path, _kilt_topics(path))}


@dataclass(slots=True)
class _Topic:
    """A topic as it stands in the file.

    :param line: Where it begins, 0 where that is not known.
    :param topic_id: Its id, as a run will have it.
    :param query: Its text.
    :param written: The id in the file, where that is another.
    """

    line: int
    topic_id: str
    query: str
    written: str = ""


def _default_form(path: PathLike) -> tuple[str, str]:
    """Return the form that a file is read in, and why, where the end of its name does not say."""
    name = os.fspath(path)
    plain = name.removesuffix(".gz")
    looks_like = _form_by_content(path)
    if plain.endswith(".json"):
        return ("jsonl", "its first line is a topic") if looks_like == "jsonl" else ("json", "")
    if plain.endswith((".jsonl", ".trec", ".xml")):
        return "jsonl" if plain.endswith(".jsonl") else "trec", ""
    if looks_like in ("trec", "cacm"):
        return looks_like, "its content looks like that"
    if "beir" in name and looks_like in ("tsv", None):
        return "beir", "its path has 'beir' in it"
    if "cacm" in name and looks_like is None:
        return "cacm", "its path has 'cacm' in it"
    if plain.endswith((".tsv", ".txt")):
        return "tsv", ""
    if looks_like is None:
        raise HypensearchError(
            f"{path}: neither its name nor its first line shows what form of topics it holds; topics are read from "
            f"{FORMS}"
        )
    return looks_like, "its content looks like that"


def _form_by_content(path: PathLike) -> str | None:
    """Guess the form by the first line that is not blank."""
    stripped = (line.strip(BLANKS) for _, line in _lines(path))
    first = next(filter(None, stripped), "")
    for begin, form in (("<DOC>", "cacm"), ("<", "trec"), ("[", "json")):
        if first.startswith(begin) and "\t" not in first:
            return form
    if first.startswith("{"):
        return "jsonl" if _is_topic_record(first) else "json"
    return "tsv" if "\t" in first else None


def _is_topic_record(line: str) -> bool:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(record, dict) and any(isinstance(record.get(name), str | int) for name in _JSONL_IDS)


def _checked(path: PathLike, topics: Iterable[_Topic]) -> list[_Topic]:
    by_id: dict[str, _Topic] = {}
    for topic in topics:
        first = by_id.setdefault(topic.topic_id, topic)
        if flaw := _flaw(topic, first):
            raise HypensearchError(f"{path}:{topic.line}: {flaw}" if topic.line else f"{path}: {flaw}")
    if not by_id:
        raise HypensearchError(f"{path}: holds no topics; topics are read from {FORMS}")
    return list(by_id.values())


def _flaw(topic: _Topic, first: _Topic) -> str | None:
    """Say what is wrong with a topic, the first of its id being another or itself."""
    if flaw := flaw_of_id(topic.topic_id):
        return f"the id {flaw}"
    if not topic.query.strip():
        return f"topic {topic.topic_id!r} has an empty query"
    if _LONE_SURROGATE.search(topic.query):
        return f"the query of topic {topic.topic_id!r} holds half of a surrogate pair, which is no character"
    if first is topic:
        return None
    where = f"on line {first.line}" if first.line else "before it"
    if first.written == topic.written:
        return f"topic id {topic.topic_id!r} was used already {where}; give each topic its own id"
    return (
        f"topic ids {topic.written!r} and {first.written!r} {where} are both the number {topic.topic_id!r}; give each "
        "topic its own number"
    )


def _in_order(path: PathLike, topics: list[_Topic], form: str) -> list[_Topic]:
    """Sort topics as Pyserini does, and log where a run of Pyserini's has other ids."""
    for topic in topics:
        if topic.written not in ("", topic.topic_id):
            logger.warning(
                "%s: topic ids are the numbers in them, as in the tracks' qrels and in Pyserini: %r is %r in the run",
                path,
                topic.written,
                topic.topic_id,
            )
            break
    if form in ("kilt", "raw_jsonl"):
        return topics
    if form == "json":
        return sorted(topics, key=lambda topic: topic.topic_id)
    ids = [topic.topic_id for topic in topics]
    are_ints = form == "tsv" and all(map(_is_java_int, ids))
    theirs = {text: str(int(text)) if are_ints or _is_number(text) else text for text in ids}
    for text, printed in theirs.items():
        if text != printed:
            logger.info(
                "%s: topic ids are kept as they are, leading zeros included; Pyserini's runs have %r for %r",
                path,
                printed,
                text,
            )
            break
    if all(map(_is_number, theirs.values())):
        return sorted(topics, key=lambda topic: int(topic.topic_id))
    return sorted(topics, key=lambda topic: theirs[topic.topic_id])


def _is_number(text: str) -> bool:
    return text.isdecimal() and len(text) < _MAX_DIGITS


def _is_java_int(text: str) -> bool:
    return len(text) < 100 and bool(_JAVA_INT.fullmatch(text)) and -(2**31) <= int(text) < 2**31


def _lines(path: PathLike) -> Iterator[tuple[int, str]]:
    return numbered_lines(path, max_bytes=MAX_BYTES)


def _tsv_topics(path: PathLike) -> Iterator[_Topic]:
    for number, line in _lines(path):
        line = line.strip(BLANKS)
        if not line:
            continue
        columns = line.split("\t")
        if len(columns) < 2:
            raise HypensearchError(f"{path}:{number}: an id, a tab and a query were wanted, found {_shown(line)}")
        if len(columns) > 2:
            raise HypensearchError(
                f"{path}:{number}: an id, a tab and a query were wanted, found {len(columns) - 1} tabs: Pyserini drops "
                "what stands behind the second; make the query's tabs spaces, or drop the other columns (cut -f1,2)"
            )
        yield _Topic(number, columns[0], columns[1].strip(BLANKS))


def _shown(line: str) -> str:
    return repr(line if len(line) <= 60 else line[:57] + "...")


class _Pairs(list[tuple[str, Any]]):
    """A JSON object with its repeated keys."""


def _json_topics(path: PathLike) -> Iterator[_Topic]:
    text = decode_whole(read_whole(path, MAX_BYTES), path)
    try:
        pairs = json.loads(text, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError) as error:
        line = error.lineno if isinstance(error, json.JSONDecodeError) else 1
        raise HypensearchError(f"{path}:{line}: not JSON: {reason_of(error)}") from None
    if not isinstance(pairs, _Pairs):
        hint = "; CAsT has several texts of a query: write those you want as TSV" if isinstance(pairs, list) else ""
        wanted = 'a JSON object {"id": {"title": "query"}} was wanted'
        raise HypensearchError(f"{path}: {wanted}, found {kind_of(pairs)}{hint}")
    for topic_id, fields in pairs:
        title = dict(fields).get("title") if isinstance(fields, _Pairs) else None
        if not isinstance(title, str):
            raise HypensearchError(f'{path}: topic {topic_id!r} is not of the form {{"title": "query"}}')
        yield _Topic(0, topic_id, title)


def _jsonl_topics(path: PathLike) -> Iterator[_Topic]:
    return _topics_of_lines(path, _JSONL_IDS, ("title", "text", "query"))


def _raw_jsonl_topics(path: PathLike) -> Iterator[_Topic]:
    return _topics_of_lines(path, _JSONL_IDS, ("query", "text"))


def _kilt_topics(path: PathLike) -> Iterator[_Topic]:
    for topic in _topics_of_lines(path, ("id",), ("input",)):
        topic.query = topic.query.replace("[START_ENT]", "").replace("[END_ENT]", "").strip()
        yield topic


def _topics_of_lines(path: PathLike, ids: tuple[str, ...], queries: tuple[str, ...]) -> Iterator[_Topic]:
    def parse(record: dict[str, Any]) -> tuple[str, str]:
        return id_of(record, *ids), _query_of(record, queries)

    for number, (topic_id, query) in read_json_lines(path, parse, MAX_BYTES):
        yield _Topic(number, topic_id, query)


def _query_of(record: dict[str, Any], names: tuple[str, ...]) -> str:
    query = next((record[name] for name in names if record.get(name) not in (None, "")), record.get(names[0]))
    # Jackson gives a number its digits, and whole numbers are queries that people make.
    if type(query) is int and names[0] == "title":
        return str(query)
    if isinstance(query, str):
        return query
    raise ValueError(
        f"the query (a string) was wanted under {' or '.join(map(repr, names))}, {found_in(record)}; topics are read "
        f"from {FORMS}"
    )


def _beir_topics(path: PathLike) -> Iterator[_Topic]:
    """Read BEIR's queries as they are published (JSON lines) or as Anserini has them (TSV)."""
    is_json = (_form_by_content(path) or "").startswith("json")
    return _jsonl_topics(path) if is_json else _tsv_topics(path)


def _trec_topics(path: PathLike) -> Iterator[_Topic]:
    return (_numbered(*topic) for topic in parse_trec(path, _lines(path)))


def _numbered(line: int, written: str, query: str) -> _Topic:
    """Take the number in an id, ``12`` of ``MB012``; ids of several numbers stay as they are."""
    numbers = _NUMBER.findall(written)
    topic_id = numbers[0].lstrip("0") or "0" if len(numbers) == 1 else written
    return _Topic(line, topic_id, query, written)


def _cacm_topics(path: PathLike) -> Iterator[_Topic]:
    lines = _lines(path)
    for number, line in lines:
        if line.strip(BLANKS).startswith("<DOC>"):
            written = _cacm_id(path, number, lines)
            yield _numbered(number, written, _cacm_text(path, number, lines))


def _cacm_id(path: PathLike, begin: int, lines: Iterator[tuple[int, str]]) -> str:
    for number, line in lines:
        if line.startswith("<DOCNO>"):
            match = _DOCNO.search(line)
            if match is None:
                raise HypensearchError(f"{path}:{number}: <DOCNO>id</DOCNO> was wanted, found {_shown(line)}")
            return match[1]
        if line.strip(BLANKS).startswith(("<DOC>", "</DOC>")):
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


_READERS: dict[str, Callable[[PathLike], Iterable[_Topic]]] = {
    "tsv": _tsv_topics,
    "trec": _trec_topics,
    "json": _json_topics,
    "jsonl": _jsonl_topics,
    "beir": _beir_topics,
    "cacm": _cacm_topics,
    "kilt": _kilt_topics,
    "raw_jsonl": _raw_jsonl_topics,
}
