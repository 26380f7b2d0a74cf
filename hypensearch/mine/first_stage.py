# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""What finds candidates for hard negatives: a search of our own, or BM25; what was found is kept as it goes on."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypensearch.errors import HypensearchError
from hypensearch.formats.files import PathLike, whole_lines
from hypensearch.hits import Hit
from hypensearch.progress import progress_bar

if TYPE_CHECKING:
    from hypensearch.search.searcher import HypencoderSearcher

logger = logging.getLogger(__name__)

Found = Mapping[str, Sequence[Hit]]
Search = Callable[[Mapping[str, str]], Found]


def index_search(searcher: HypencoderSearcher, *, hits: int) -> Search:
    """Search with an index's own model, a Hypencoder or a bi-encoder.

    :param searcher: Of the index.
    :param hits: Documents found for a topic.
    """
    return lambda topics: searcher.batch_search(list(topics.values()), list(topics), hits)


def bm25_search(lucene_index: PathLike, corpus: str | None, *, hits: int, threads: int | None) -> Search:
    """Search with BM25 (k1 0.9, b 0.4) through Pyserini, in an index that is made where there is none.

    :param lucene_index: A folder.
    :param corpus: What the index is made of; may be None when it is there.
    :raises HypensearchError: When there is neither, and when Pyserini or a JDK is missing.
    """
    from hypensearch.pyserini import bridge as pyserini_bridge

    folder = Path(lucene_index)
    if not (folder.is_dir() and any(folder.iterdir())):
        if corpus is None:
            raise HypensearchError(f"--sparse-index {folder}: no Lucene index there; --corpus says what to make it of")
        logger.info("indexing %s for BM25 into %s", corpus, folder)
        pyserini_bridge.index_lucene(corpus, folder, threads or 1)
    return lambda topics: pyserini_bridge.bm25_run(folder, topics, hits, threads or 1)


def search_topics(
    topics: Mapping[str, str], search: Search, kept: Path, *, described: Mapping[str, Any], batch_size: int
) -> dict[str, list[Hit]]:
    """Search all topics, going on where an earlier call of the same description was stopped.

    :param kept: File that keeps what was found; the caller removes it when it is of no more use.
    :param described: What decides the hits, as JSON; a file of another description is not gone on with.
    :param batch_size: Topics searched, and kept, at once.
    :return: Hits by topic id, best first.
    """
    head = _json_line({**described, "topics": topics}, sort_keys=True)
    lines = [line.decode() for line in whole_lines(kept)]
    if lines and lines[0] != head:
        logger.info("%s is of another search: searching anew", kept)
    if not lines or lines[0] != head:
        lines = [head]
        kept.write_text(head + "\n", encoding="utf-8")
    found = {topic: [Hit(*pair) for pair in pairs] for topic, pairs in map(json.loads, lines[1:])}
    if found:
        logger.info("%d topics were searched before", len(found))
    todo = [topic for topic in topics if topic not in found]
    with (
        open(kept, "a", encoding="utf-8") as file,
        progress_bar(len(todo), unit="topic", description="search") as bar,
    ):
        for start in range(0, len(todo), batch_size):
            batch = {topic: topics[topic] for topic in todo[start : start + batch_size]}
            hits = search(batch)
            for topic in batch:
                found[topic] = list(hits.get(topic, []))
                pairs = [(hit.docid, hit.score) for hit in found[topic]]
                file.write(_json_line([topic, pairs]) + "\n")
            file.flush()
            os.fsync(file.fileno())
            bar.update(len(batch))
    return found


def _json_line(value: object, *, sort_keys: bool = False) -> str:
    """Give a line of JSON in UTF-8; other bytes of names are lone surrogates, which JSON has as \\udcXX."""
    line = json.dumps(value, ensure_ascii=False, sort_keys=sort_keys)
    return line.encode("utf-8", "backslashreplace").decode("utf-8")
