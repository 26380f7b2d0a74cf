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
from hypensearch.formats.ids import IdLookup
from hypensearch.hits import Hit

if TYPE_CHECKING:
    import torch

    from hypensearch.models import DualEncoder
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

    @property
    def device(self) -> torch.device:
        """Where scores are computed."""

    def check_made_by(self, model: Mapping[str, Any], what: str) -> None:
        """Refuse q-nets of another model than the one that made the vectors."""

    def given_encoder(self) -> DualEncoder | None:
        """Return the query encoder that was named or loaded before; None where only the index names one."""


class StoredQueries:
    """Q-nets read from disk by topic id.

    :param folder: Where ``python -m hypensearch.encode.query`` put them.
    :param topics: The topics that are asked, query texts by id.
    :param searcher: What is searched with them.
    :raises HypensearchError: When they are of other topics or of another model, or are token states whose model is not
        there.
    """

    def __init__(self, folder: str, topics: Mapping[str, str], searcher: HasVectors) -> None:
        from hypensearch.formats.q_nets import COMPACT, open_q_nets

        self._stored = open_q_nets(folder)
        lookup = IdLookup(self._stored.topics)
        self._names = {topic: lookup.find(topic) or topic for topic in topics}
        changed = [topic for topic, text in topics.items() if self._stored.topics.get(self._names[topic]) != text]
        if changed:
            raise HypensearchError(
                f"--encoded-queries {folder}: {len(changed)} topics are not those that were encoded, {changed[0]!r} "
                "for one; encode the topics again"
            )
        searcher.check_made_by(self._stored.model, f"--encoded-queries {folder}")
        logger.info("The q-nets are those in %s, made by %s", folder, self._stored.model.get("name"))
        self._model = self._finisher(searcher) if self._stored.form == COMPACT else None

    def __call__(self, topic_ids: Sequence[str]) -> QNets:
        """Give the q-nets of some topics."""
        from hypensearch.models.stored import from_arrays, from_states

        names = [self._names[topic_id] for topic_id in topic_ids]
        found = self._stored.read(names)
        arrays = [found[name] for name in names]
        if self._model is None:
            return from_arrays(self._stored.architecture, arrays)
        return from_states(self._stored.architecture, arrays, self._model, self._stored.model.get("width"))

    def _finisher(self, searcher: HasVectors) -> DualEncoder:
        """Return the model that makes q-nets of the stored token states."""
        from hypensearch.models import load_model
        from hypensearch.models.stored import check_can_finish

        made_by, where = self._stored.model, f"--encoded-queries {self._stored.folder}"
        model = searcher.given_encoder()
        if model is None:
            config, revision = made_by.get("backbone_config"), made_by.get("revision")
            try:
                name = str(made_by.get("name"))
                model = load_model(
                    name, backbone_config=config, revision=revision, device=searcher.device, network=False
                )
            except HypensearchError as error:
                raise HypensearchError(
                    f"{where} holds token states, and the model to make q-nets of them cannot be loaded ({error}); if "
                    "it has moved, name it with --encoder"
                ) from None
        check_can_finish(model, made_by, where)
        return model


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
