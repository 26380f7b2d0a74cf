# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Put our encoders and our index type among Pyserini's before one of its commands runs, and accept what they do not.

Pyserini has no entry points for that; what it looks up are module-level dictionaries, and those are added to.
"""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Sequence
from itertools import combinations
from typing import Any

from hypensearch.errors import HypensearchError
from hypensearch.formats.files import is_pipe
from hypensearch.formats.ids import IdLookup
from hypensearch.formats.run import topics_of_run
from hypensearch.pyserini import bridge as pyserini_bridge

LOGGER = logging.getLogger(__name__)

#: Commands that make an encoder from ``--encoder``.
ENCODER_COMMANDS = ("pyserini.encode", "pyserini.search.faiss", "pyserini.search.hybrid")

#: Commands that open the indexes of a configuration file.
SERVER_COMMANDS = ("pyserini.server.rest", "pyserini.server.mcp")

#: The command that indexes a folder for BM25; here it takes a file as well.
LUCENE_INDEXING = "pyserini.index.lucene"

#: The command that fuses run files.
FUSION = "pyserini.fusion"

#: Values of ``--encoder-class`` that mean ours; Pyserini's parsers do not know them.
OUR_CLASSES = ("hypencoder", "biencoder")

INDEX_TYPE = "hypencoder"


def plug_in(module: str, args: Sequence[str]) -> list[str]:
    """Make a Pyserini command know us.

    :param module: The command, with or without ``pyserini.`` before it.
    :param args: Its arguments.
    :return: The arguments, as Pyserini's own parser takes them.
    :raises HypensearchError: When Pyserini cannot be imported.
    """
    name = pyserini_bridge.full_name(module)
    if name in SERVER_COMMANDS:
        _plug_in_index_type()
    elif name in ENCODER_COMMANDS:
        return _plug_in_encoders(args)
    elif name == LUCENE_INDEXING:
        return _with_folder(args)
    elif name == FUSION:
        warn_of_other_ids(_taken(args, "--runs", nargs="+")[0])
    return list(args)


def warn_of_other_ids(runs: Sequence[str]) -> None:
    """Log where runs that are fused have topic ids that differ in leading zeros alone, and what becomes of those.

    Pyserini reads a run's topic ids as numbers where all of them are, and compares them as they stand otherwise.

    :param runs: Files. What cannot be read twice, or not at all, is left for Pyserini to read, or to refuse.
    """
    ids = {path: found for path in runs if (found := _topics_of(path))}
    are_numbers = all(topic.isascii() and topic.isdigit() for found in ids.values() for topic in found)
    for (one, theirs), (other, found) in combinations(ids.items(), 2):
        lookup = IdLookup(theirs)
        pairs = [(match, topic) for topic in found if (match := lookup.find(topic)) not in (None, topic)]
        if pairs:
            fused = f"as one topic, {int(pairs[0][1])}" if are_numbers else "as two topics that have nothing in common"
            LOGGER.warning(
                "%d topic ids differ in leading zeros alone, as %r of %s and %r of %s: Pyserini fuses them %s; "
                "have both runs made with the same ids",
                len(pairs),
                pairs[0][0],
                one,
                pairs[0][1],
                other,
                fused,
            )
            return
    zeros = [topic for found in ids.values() for topic in found if are_numbers and topic != str(int(topic))]
    if zeros:
        LOGGER.warning("Pyserini's fusion reads topic ids as numbers: %r is %d in its run", zeros[0], int(zeros[0]))


def _topics_of(path: str) -> list[str]:
    if is_pipe(path):
        return []
    try:
        return topics_of_run(path)
    except HypensearchError:
        return []


def _plug_in_encoders(args: Sequence[str]) -> list[str]:
    classes, others = _taken(args, "--encoder-class", action="append")
    encoders = [encoder.lower() for encoder in _taken(args, "--encoder", action="append")[0]]
    is_ours = bool(set(classes) & set(OUR_CLASSES))
    if is_ours or any("hypencoder" in encoder for encoder in encoders):
        from hypensearch.pyserini.encoders import HypencoderDocumentEncoder, HypencoderQueryEncoder

        keys = [*(encoders if is_ours else []), "hypencoder"]
        pyserini_bridge.register_encoders(HypencoderDocumentEncoder, HypencoderQueryEncoder, keys)
    return others if is_ours else list(args)


def _with_folder(args: Sequence[str]) -> list[str]:
    """Name a folder with nothing but the corpus in it, where the corpus is a file."""
    files, others = _taken(args, "--input", action="append")
    if len(files) != 1 or not os.path.isfile(files[0]):
        return list(args)
    return [*others, "--input", pyserini_bridge.folder_of(files[0])]


def _plug_in_index_type() -> None:
    from hypensearch.flat.prebuilt import prebuilt_indexes
    from hypensearch.search import HypencoderSearcher

    known = pyserini_bridge.register_index_type(
        INDEX_TYPE, HypencoderSearcher, HypencoderSearcher.from_prebuilt_index, prebuilt_indexes()
    )
    if not known:
        LOGGER.warning(
            "index_type %s is not available in the servers of Pyserini %s: 2.1 or later, for Python 3.12, has it",
            INDEX_TYPE,
            pyserini_bridge.version(),
        )


def _taken(args: Sequence[str], flag: str, **settings: Any) -> tuple[list[str], list[str]]:
    """Return a flag's values, and the arguments without the flag."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument(flag, dest="values", default=[], **settings)
    found, others = parser.parse_known_args(args)
    return found.values, others
