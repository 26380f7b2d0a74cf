# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Put our encoders and our index type among Pyserini's before one of its commands runs, and take what they do not.

Pyserini has no entry points for that; what it looks up are module-level dictionaries, and those are added to.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from itertools import combinations

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
        warn_of_other_ids(_all_values(args, "--runs"))
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
    classes, others = _take(args, "--encoder-class")
    encoders = [encoder.lower() for encoder in _values(args, "--encoder")]
    is_ours = bool(set(classes) & set(OUR_CLASSES))
    if is_ours or any("hypencoder" in encoder for encoder in encoders):
        from hypensearch.pyserini.encoders import HypencoderDocumentEncoder, HypencoderQueryEncoder

        keys = [*(encoders if is_ours else []), "hypencoder"]
        pyserini_bridge.register_encoders(HypencoderDocumentEncoder, HypencoderQueryEncoder, keys)
    return others if is_ours else list(args)


def _with_folder(args: Sequence[str]) -> list[str]:
    """Name a folder with nothing but the corpus in it, where the corpus is a file."""
    files, others = _take(args, "--input")
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


def _all_values(args: Sequence[str], flag: str) -> list[str]:
    """Return the values of a flag that takes several."""
    values: list[str] = []
    takes = False
    for word in args:
        if word.startswith("-"):
            takes = word == flag
            values = [] if takes else values  # a flag given again counts alone
            if word.startswith(f"{flag}="):
                values = [word.partition("=")[2]]
        elif takes:
            values.append(word)
    return values


def _take(args: Sequence[str], flag: str) -> tuple[list[str], list[str]]:
    """Return a flag's values, and the arguments without the flag."""
    values, others = [], []
    rest = iter(args)
    for word in rest:
        if word == flag:
            values.append(next(rest, ""))
        elif word.startswith(f"{flag}="):
            values.append(word.partition("=")[2])
        else:
            others.append(word)
    return values, others


def _values(args: Sequence[str], flag: str) -> list[str]:
    return _take(args, flag)[0]
