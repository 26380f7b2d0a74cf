# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Runs: hits by topic, written as Pyserini writes them and read back.

The bytes are those of ``pyserini.output_writer``, but a run takes its name only when it is complete, and what would
make a run that no tool can read is refused.
"""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from types import TracebackType
from typing import IO, Any

import numpy as np

from hypensearch.errors import HypensearchError
from hypensearch.formats.files import PathLike, columns_of, numbered_lines, read_at_most, replace_when_whole
from hypensearch.formats.ids import IdLookup, flaw_of_id
from hypensearch.hits import Hit

OUTPUT_FORMATS = ("trec", "msmarco", "kilt")
FORMS = "TREC's form (topic, Q0, docid, rank, score, tag) or MS MARCO's (topic, docid, rank)"

#: Behind the name of a run that was interrupted.
PARTIAL = ".partial"

logger = logging.getLogger(__name__)

_Ranked = list[tuple[str, int, float]]  # docids, ranks, scores
MAX_BYTES = 32 * 2**30
MAX_LINE_BYTES = 2**16


def open_run_writer(
    path: PathLike,
    output_format: str = "trec",
    *,
    tag: str = "hypensearch",
    max_hits: int = 1000,
    use_max_passage: bool = False,
    max_passage_delimiter: str | None = None,
    max_passage_hits: int = 100,
    topics: Mapping[str, Mapping[str, Any]] | None = None,
) -> RunWriter:
    """Open a run for writing; the parameters are those of Pyserini's ``get_output_writer``.

    :param path: The run. Missing folders are made; a run that is there already stays until this one is complete.
    :param output_format: ``trec``, ``msmarco`` or ``kilt``.
    :param tag: The name of the run in its last column (trec only).
    :param max_hits: How many hits of a topic are written.
    :param use_max_passage: Keep the first hit of each document only, a docid being cut at the delimiter.
    :param max_passage_delimiter: What stands between document and passage in a docid; None or empty to cut nothing.
    :param max_passage_hits: Takes the place of ``max_hits`` when ``use_max_passage`` is set.
    :param topics: The data points that are repeated (kilt only), as :func:`topics.read_kilt_topics` gives them.
    :return: The writer, to be used in a ``with`` statement.
    :raises HypensearchError: For a format that does not exist, a tag with white space, less than one hit, or the kilt
        format without data points.
    """
    datapoints = topics or {}
    forms: dict[str, Callable[[str, _Ranked], str]] = {
        "trec": lambda topic, ranked: "".join(
            f"{topic} Q0 {docid} {rank} {score:.6f} {tag}\n" for docid, rank, score in ranked
        ),
        "msmarco": lambda topic, ranked: "".join(f"{topic}\t{docid}\t{rank}\n" for docid, rank, _ in ranked),
        "kilt": partial(_kilt_line, path, datapoints, IdLookup(datapoints)),
    }
    if output_format not in forms:
        raise HypensearchError(f"output format {output_format!r} is not one of {', '.join(OUTPUT_FORMATS)}")
    if flaw := flaw_of_id(tag):
        raise HypensearchError(f"the run tag {flaw}")
    if output_format == "kilt" and topics is None:
        raise HypensearchError("output format 'kilt' repeats the topics, so it wants topics of the kilt format as well")
    hits = max_passage_hits if use_max_passage else max_hits
    if hits < 1:
        raise HypensearchError(f"a run of {hits} hits per topic was asked for; at least 1 was wanted")
    delimiter = (max_passage_delimiter or None) if use_max_passage else None
    return RunWriter(path, forms[output_format], hits, use_max_passage, delimiter)


def _kilt_line(
    path: PathLike, datapoints: Mapping[str, Mapping[str, Any]], lookup: IdLookup, topic: str, ranked: _Ranked
) -> str:
    datapoint = datapoints.get(lookup.find(topic) or topic)
    if datapoint is None:
        raise HypensearchError(f"{path}: topic {topic!r} is not among the kilt topics")
    provenance = [{"wikipedia_id": docid} for docid, _, _ in ranked]
    return json.dumps({**datapoint, "output": [{"provenance": provenance}]}) + "\n"


class RunWriter:
    """A run that is being written. Made by :func:`open_run_writer`.

    When the ``with`` block ends without an error, the run takes its name; after an error nothing of it is left. After
    an interrupt (KeyboardInterrupt) the topics done so far are kept under another name, that of the run with
    :data:`PARTIAL` behind it.
    """

    def __init__(
        self,
        path: PathLike,
        lines_of: Callable[[str, _Ranked], str],
        max_hits: int,
        use_max_passage: bool,
        delimiter: str | None,
    ) -> None:
        self.path = path
        self._lines_of = lines_of
        self._max_hits = max_hits
        self._use_max_passage = use_max_passage
        self._delimiter = delimiter
        self._written: set[str] = set()
        self._exit = ExitStack()
        self._file: IO[str] | None = None
        self._whole_bytes = 0  # of the topics that were written wholly

    def __enter__(self) -> RunWriter:
        self._file = self._exit.enter_context(replace_when_whole(self.path, "w"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        file, self._file = self._file, None
        if file is not None and kind is not None and issubclass(kind, KeyboardInterrupt) and self._written:
            self._keep_what_is_done(file)
        self._exit.__exit__(kind, error, trace)

    def write(self, topic: str, hits: Iterable[Hit]) -> None:
        """Write the hits of a topic in the order given.

        :param topic: Its id, each one once.
        :param hits: What has a docid and a score. Their order is not changed; see :func:`separate_ties`.
        :raises HypensearchError: For an id that is empty or holds white space, a score that is not a finite number, a
            document twice, or a topic twice. Nothing of the topic is written then.
        """
        if self._file is None:
            raise ValueError("the run is not open: write within a `with open_run_writer(...) as writer:` block")
        if flaw := flaw_of_id(topic):
            raise HypensearchError(f"{self.path}: the topic id {flaw}")
        if topic in self._written:
            raise HypensearchError(f"{self.path}: topic {topic!r} comes twice; give each topic its own id")
        lines = self._lines_of(topic, self._ranked(topic, hits))
        self._file.write(lines)
        self._written.add(topic)
        self._whole_bytes += len(lines.encode("utf-8"))

    def _keep_what_is_done(self, file: IO[str]) -> None:
        partial = f"{os.fspath(self.path)}{PARTIAL}"
        try:
            file.flush()
            if not isinstance(file.name, str) or not os.path.isfile(file.name):  # a pipe has had it all
                return
            with open(file.name, "rb") as written, replace_when_whole(partial) as kept:
                kept.write(read_at_most(written, self._whole_bytes))
        except (OSError, HypensearchError) as error:
            logger.warning("The topics done so far could not be kept: %s", error)
            return
        logger.warning(
            "Interrupted: %s was not written; the %s topics done so far are in %s",
            self.path,
            f"{len(self._written):,}",
            partial,
        )

    def _ranked(self, topic: str, hits: Iterable[Hit]) -> _Ranked:
        ranked: _Ranked = []
        seen: set[str] = set()
        for hit in hits:
            docid = hit.docid.split(self._delimiter)[0] if self._delimiter else hit.docid.strip()
            if docid in seen and self._use_max_passage:
                continue
            if flaw := self._flaw(docid, hit.score, seen):
                raise HypensearchError(f"{self.path}: topic {topic!r}: {flaw}")
            seen.add(docid)
            ranked.append((docid, len(seen), hit.score))
            if len(seen) == self._max_hits:
                break
        return ranked

    def _flaw(self, docid: str, score: float, seen: set[str]) -> str | None:
        if flaw := flaw_of_id(docid):
            return f"the docid {flaw}"
        if docid in seen:
            return f"document {docid!r} comes twice"
        return None if math.isfinite(score) else f"the score of document {docid!r} is {score}"


def separate_ties(hits: Iterable[Hit]) -> list[Hit]:
    """Lower tied scores by the least step that keeps the order of the hits under trec_eval.

    trec_eval sorts by the score alone, breaks ties by *descending* docid, and takes in scores as single precision
    numbers from text of six decimals. So the scores have to fall strictly after both roundings: by a millionth, and by
    one unit in the last place where single precision is coarser than that (from 16 upwards). Only hits that would tie
    with or pass the one before them are touched.

    :param hits: Hits in the order of their scores, ties in the order that is to be kept.
    :return: The same hits, some with lower scores.
    :raises HypensearchError: When a score is not a finite number of single precision.
    :raises ValueError: When a score is higher than the one before it.
    """
    hits = list(hits)
    separated: list[Hit] = []
    higher = above = math.inf
    for hit, score in zip(hits, _as_read(*(hit.score for hit in hits)), strict=True):
        _check_score(hit, score)
        if hit.score > higher:
            raise ValueError(f"hits are not in the order of their scores: {hit.docid!r} scores {hit.score} > {higher}")
        higher = hit.score
        if score >= above:
            hit = Hit(hit.docid, _next_below(above))
            (score,) = _as_read(hit.score)
            _check_score(hit, score)
        separated.append(hit)
        above = score
    return separated


def _as_read(*scores: float) -> list[float]:
    """Return scores as trec_eval reads them."""
    with np.errstate(over="ignore"):
        return np.array([float(f"{score:.6f}") for score in scores]).astype(np.float32).tolist()


def _check_score(hit: Hit, as_read: float) -> None:
    if not math.isfinite(as_read):
        raise HypensearchError(
            f"the score {hit.score} of document {hit.docid!r} is no finite number of single precision"
        )


def _next_below(above: float) -> float:
    """Return a score that is read as the next lower number."""
    millionth_less = float(f"{above - 1e-6:.6f}")
    if _as_read(millionth_less)[0] < above:
        return millionth_less
    with np.errstate(over="ignore"):
        return float(f"{np.nextafter(np.float32(above), np.float32(-math.inf)):.6f}")


def topics_of_run(path: PathLike) -> list[str]:
    """Return the topic ids of a run in their order, looking at nothing else of it.

    :raises HypensearchError: When there is no such file, or it is no text.
    """
    lines = numbered_lines(path, max_line_bytes=MAX_LINE_BYTES, max_bytes=MAX_BYTES)
    return list(dict.fromkeys(columns[0] for _, line in lines if (columns := columns_of(line))))


def read_run(path: PathLike) -> dict[str, list[Hit]]:
    """Read a run.

    :param path: A file in TREC's form or MS MARCO's, plain or ``.gz``; the first line decides which.
    :return: Hits by topic id, both in the order of the file. In MS MARCO's form a score is one over the rank, as in
        Pyserini's conversion.
    :raises HypensearchError: When there is no such file, it holds no hit, a line has another number of columns, a score
        or rank is no number, or a topic has a document twice; naming file and line.
    """
    run: dict[str, dict[str, float]] = {}
    for number, topic, docid, score in _run_lines(path):
        scores = run.setdefault(topic, {})
        if docid in scores:
            raise HypensearchError(f"{path}:{number}: topic {topic!r} has document {docid!r} twice")
        scores[docid] = score
    if not run:
        raise HypensearchError(f"{path}: holds no hits; runs are read in {FORMS}")
    return {topic: [Hit(docid, score) for docid, score in scores.items()] for topic, scores in run.items()}


def _run_lines(path: PathLike) -> Iterator[tuple[int, str, str, float]]:
    is_trec: bool | None = None
    for number, line in numbered_lines(path, max_line_bytes=MAX_LINE_BYTES, max_bytes=MAX_BYTES):
        columns = columns_of(line)
        if not columns:
            continue
        if is_trec is None and (len(columns) == 3 or len(columns) >= 6):
            is_trec = len(columns) != 3
        if is_trec is None or (len(columns) < 6 if is_trec else len(columns) != 3):
            raise HypensearchError(f"{path}:{number}: found {len(columns)} columns; runs are read in {FORMS}")
        if is_trec:
            yield number, columns[0], columns[2], _score(columns[4], path, number)
        else:
            yield number, columns[0], columns[1], 1.0 / _rank(columns[2], path, number)


def _score(text: str, path: PathLike, number: int) -> float:
    try:
        score = float(text)
    except ValueError:
        score = math.nan
    if not math.isfinite(score) or "_" in text:
        raise HypensearchError(f"{path}:{number}: the score {text[:40]!r} is not a finite number")
    return score


def _rank(text: str, path: PathLike, number: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text)):
        raise HypensearchError(f"{path}:{number}: the rank {text[:40]!r} is not a whole number of at least 1")
    return int(text)
