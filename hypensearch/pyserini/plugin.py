# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Put our encoders and our index type among Pyserini's before one of its commands runs, and take what they do not.

Pyserini has no entry points for that; what it looks up are module-level dictionaries, and those are added to.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence

from hypensearch import pyserini_bridge

LOGGER = logging.getLogger(__name__)

#: Commands that make an encoder from ``--encoder``.
ENCODER_COMMANDS = ("pyserini.encode", "pyserini.search.faiss", "pyserini.search.hybrid")

#: Commands that open the indexes of a configuration file.
SERVER_COMMANDS = ("pyserini.server.rest", "pyserini.server.mcp")

#: The command that indexes a folder for BM25; here it takes a file as well.
LUCENE_INDEXING = "pyserini.index.lucene"

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
    return list(args)


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
    from hypensearch.index.prebuilt import prebuilt_indexes
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
