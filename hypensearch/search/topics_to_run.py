# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""What commands from topics to a run share: q-nets read from disk, and the run written."""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from hypensearch.errors import HypensearchError
from hypensearch.hits import Hit

if TYPE_CHECKING:
    from hypensearch.models.q_net import QNets

logger = logging.getLogger(__name__)


def check_output(path: str) -> None:
    """Find out before the search whether its result can be written.

    :raises HypensearchError: When it cannot.
    """
    if os.path.isdir(path):
        raise HypensearchError(f"--output {path} is a folder: wanted the run file to write")


class HasVectors(Protocol):
    """What scores document vectors, and knows the model that made them."""

    def check_made_by(self, model: Mapping[str, Any], what: str) -> None:
        """Refuse q-nets of another model than the one that made the vectors."""


class StoredQueries:
    """Q-nets read from disk by topic id.

    :param folder: Where ``python -m hypensearch.encode.query`` put them.
    :param topics: The topics that are asked, query texts by id.
    :param searcher: What is searched with them.
    :raises HypensearchError: When they are of other topics or of another model.
    """

    def __init__(self, folder: str, topics: Mapping[str, str], searcher: HasVectors) -> None:
        from hypensearch.formats.q_nets import open_q_nets

        self._stored = open_q_nets(folder)
        changed = [topic for topic, text in topics.items() if self._stored.topics.get(topic) != text]
        if changed:
            raise HypensearchError(
                f"--encoded-queries {folder}: {len(changed)} topics are not those that were encoded, {changed[0]!r} "
                "for one; encode the topics again"
            )
        searcher.check_made_by(self._stored.model, f"--encoded-queries {folder}")
        logger.info("The q-nets are those in %s, made by %s", folder, self._stored.model.get("name"))

    def __call__(self, topic_ids: Sequence[str]) -> QNets:
        """Give the q-nets of some topics."""
        from hypensearch.models.stored import from_arrays

        arrays = self._stored.read(topic_ids)
        return from_arrays(self._stored.architecture, [arrays[topic_id] for topic_id in topic_ids])


def write_run(args: argparse.Namespace, found: Iterable[tuple[str, Sequence[Hit]]]) -> None:
    """Write a run by the flags of a command; it takes its name when it is whole.

    :param args: The flags of :func:`hypensearch.search.flags.add_run_flags`, ``output`` and ``topics``.
    :param found: Topic ids and their hits, best first.
    """
    from hypensearch.formats.run import open_run_writer, separate_ties
    from hypensearch.formats.topics import read_kilt_topics

    datapoints = read_kilt_topics(args.topics) if args.output_format == "kilt" else None
    with open_run_writer(
        args.output,
        args.output_format,
        tag=args.run_tag,
        max_hits=args.hits,
        use_max_passage=args.max_passage,
        max_passage_delimiter=args.max_passage_delimiter,
        max_passage_hits=args.max_passage_hits,
        topics=datapoints,
    ) as writer:
        for topic_id, hits in found:
            if args.remove_query:
                hits = [hit for hit in hits if hit.docid != topic_id]
            writer.write(topic_id, separate_ties(hits[: args.hits]))
