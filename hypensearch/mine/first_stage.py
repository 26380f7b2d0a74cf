# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""What finds candidates for hard negatives: a search of our own, or BM25; finished topics outlive a stopped command."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hypensearch.errors import HypensearchError
from hypensearch.formats.files import PathLike
from hypensearch.formats.named import is_name, named_corpus
from hypensearch.hits import Hit
from hypensearch.mine.kept_lines import KeptLines
from hypensearch.progress import progress_bar

logger = logging.getLogger(__name__)

Search = Callable[[Mapping[str, str]], Mapping[str, Sequence[Hit]]]


def bm25_search(lucene_index: PathLike, corpus: str | None, *, hits: int, threads: int) -> Search:
    """Search with BM25 (k1 0.9, b 0.4) through Pyserini, in an index that is made where there is none.

    :param lucene_index: A folder.
    :param corpus: What the index is made of; may be None when it is there.
    :raises HypensearchError: When there is neither, and when Pyserini or a JDK is missing.
    """
    from hypensearch.pyserini import bridge

    folder = Path(lucene_index)
    if not (folder.is_dir() and any(folder.iterdir())):
        if corpus is None:
            raise HypensearchError(f"--sparse-index {folder}: no Lucene index there; --corpus says what to make it of")
        logger.info("indexing %s for BM25 into %s", corpus, folder)
        bridge.index_lucene(named_corpus(corpus) if is_name(corpus) else corpus, folder, threads)
    return lambda topics: bridge.bm25_run(folder, topics, hits, threads)


def search_topics(
    topics: Mapping[str, str], search: Search, kept: Path, *, described: Mapping[str, Any], batch_size: int
) -> dict[str, list[Hit]]:
    """Search all topics, resuming where an earlier call of the same description was stopped.

    :param kept: File that keeps what was found; the caller removes it when it is of no more use.
    :param described: What decides the hits, as JSON; a file of another description is not resumed.
    :param batch_size: Topics searched, and kept, at once.
    :return: Hits by topic id, best first.
    """
    with KeptLines(kept, {**described, "topics": topics}) as lines:
        found = {topic: [Hit(*pair) for pair in pairs] for topic, pairs in map(json.loads, lines)}
        todo = [topic for topic in topics if topic not in found]
        with progress_bar(len(todo), unit="topic", description="search") as bar:
            for start in range(0, len(todo), batch_size):
                batch = todo[start : start + batch_size]
                hits = search({topic: topics[topic] for topic in batch})
                for topic in batch:
                    found[topic] = list(hits.get(topic, []))
                    lines.append([topic, [(hit.docid, hit.score) for hit in found[topic]]])
                bar.update(len(batch))
    return found
