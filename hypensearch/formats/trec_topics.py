# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Topics in TREC's own forms: ``<top>`` of the ad hoc tracks, old and new, and ``<topic>`` of the later ones' XML.

Tags count at the beginning of a line, or behind another tag; closing ones may be missing, and so may ``</top>``. The
query is the title (``<title>``, else ``<query>``) up to the next line that begins with a tag, without its label
``Topic:``. Files in which no topic has a title, as TREC-4's, have their descriptions as queries.
"""

from __future__ import annotations

import html
import logging
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from hypensearch.errors import HypensearchError
from hypensearch.formats.files import PathLike
from hypensearch.formats.json_lines import BLANKS

logger = logging.getLogger(__name__)

_TOPIC = ("top", "topic")
_IDS = ("num", "number", "id", "qid", "topicid", "topic_id")
_QUERIES = ("title", "query")
_DESCRIPTIONS = ("desc", "description")
_BODY = ""  # the name of what stands in a topic outside of any field

_TAG = re.compile(r"<(?P<close>/?)(?P<name>[A-Za-z][\w.-]*)(?P<attributes>(?:\s[^<>]*|/)?)>")
_ATTRIBUTE = re.compile(r"""([\w.-]+)\s*=\s*(?:"([^"]*)"|'([^']*)')""")
_ENTITY = re.compile(r"&(?:#\d{1,7}|#x[0-9a-fA-F]{1,6}|amp|lt|gt|quot|apos);")
_LABEL = {"title": "topic", "query": "query", "desc": "description", "description": "description"}
_LANGUAGE = re.compile("^[a-z]{2}-")  # of CLEF's tags
_NUMBER_LABEL = re.compile(r"^[A-Za-z ]*:")
_SPACE = re.compile(r"[ \t\n\x0b\f\r]+")


def parse_trec(path: PathLike, lines: Iterable[tuple[int, str]]) -> Iterator[tuple[int, str, str]]:
    """Read topics.

    :param path: The file, for messages.
    :param lines: Its lines, numbered.
    :return: For each topic its first line, its id as it is written, and its query.
    :raises HypensearchError: When a topic has no id or no query.
    """
    topics = list(_topics(lines))
    described = bool(topics) and not any(topic.first(_QUERIES) for topic in topics)
    for topic in topics:
        topic_id = topic.topic_id()
        if not topic_id:
            raise HypensearchError(f"{path}:{topic.line}: the topic that begins here has no <num>")
        query = topic.first((*_DESCRIPTIONS, _BODY) if described else _QUERIES)
        if not query:
            there = ", ".join(f"<{name}>" for name in topic.fields if name) or "nothing"
            wanted = f"{'title nor description' if described else '<title> or <query>'}, found {there}"
            raise HypensearchError(f"{path}:{topic.line}: the topic that begins here has no {wanted}")
        yield topic.line, topic_id, query
    if described:
        logger.warning("%s: its topics have no titles: their descriptions are the queries", path)


@dataclass
class _TrecTopic:
    """A topic's fields, each its first occurrence."""

    line: int
    attributes: dict[str, str]
    fields: dict[str, list[str]] = field(default_factory=lambda: {_BODY: []})
    _open: str | None = _BODY

    def open(self, name: str) -> None:
        """Begin a field, or end the one that is open when the name is empty or known already."""
        self._open = None if not name or name in self.fields else name
        if self._open is not None:
            self.fields[name] = []

    def take(self, text: str) -> str:
        """Add text to the open field, up to a closing tag; returns what stands from there."""
        if self._open is None:
            return ""
        end = re.search(rf"</(?:[a-z]{{2}}-)?(?:{re.escape(self._open)}|top|topic)\s*>", text, re.IGNORECASE)
        self.fields[self._open].append(text[: end.start()] if end else text)
        return text[end.start() :] if end else ""

    def topic_id(self) -> str:
        """Return the id as it is written, empty when there is none."""
        for name in _IDS:
            lines = [line for line in self.fields.get(name, ()) if line.strip(BLANKS)]
            text = self.attributes.get(name) or (lines[0] if lines else "")
            if text := _NUMBER_LABEL.sub("", text.strip(BLANKS), count=1).strip(BLANKS):
                return text
        return ""

    def first(self, names: Iterable[str]) -> str:
        """Return the text of the first field that has any."""
        return next((text for name in names if (text := self._text(name))), "")

    def _text(self, name: str) -> str:
        text = _SPACE.sub(" ", "\n".join(self.fields.get(name, ()))).strip(BLANKS)
        if label := _LABEL.get(name):
            text = re.sub(rf"^{label} ?:", "", text, flags=re.IGNORECASE).strip(BLANKS)
        is_xml = any(name in self.attributes for name in _IDS)
        return _ENTITY.sub(lambda entity: html.unescape(entity[0]), text) if is_xml else text


def _topics(lines: Iterable[tuple[int, str]]) -> Iterator[_TrecTopic]:
    topic: _TrecTopic | None = None
    for number, line in lines:
        rest = line.strip(BLANKS)
        while tag := _TAG.match(rest):
            rest = rest[tag.end() :].lstrip(BLANKS)
            name, closes = _LANGUAGE.sub("", tag["name"].lower()), bool(tag["close"])
            if name in _TOPIC:
                if topic is not None:
                    yield topic
                topic = None if closes else _TrecTopic(number, _attributes(tag["attributes"]))
            elif topic is not None:
                topic.open("" if closes else name)
            if topic is not None and not rest.startswith("<"):
                rest = topic.take(rest)
        if topic is not None:
            if rest.startswith("<"):  # whatever it is, what came before has ended
                topic.open("")
            topic.take(rest)
    if topic is not None:
        yield topic


def _attributes(text: str) -> dict[str, str]:
    return {name.lower(): html.unescape(double or single) for name, double, single in _ATTRIBUTE.findall(text)}
