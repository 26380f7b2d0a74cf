# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Q-nets on disk, so that a query is encoded once and searched often.

A folder holds ``manifest.json`` (written last, with one rename) and ``q_nets-00000.safetensors``, ... with the
q-nets of up to :data:`BLOCK_QUERIES` queries each. In the compact form (version 2) these files hold what the model's
hyper head makes the q-nets of: the queries' token states, one below the other, and how many tokens each query has.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from hypensearch.errors import HypensearchError
from hypensearch.formats.door import read_plain
from hypensearch.formats.files import replace_when_whole
from hypensearch.formats.schema import Digest, Name, Short, Size, checked
from hypensearch.formats.sealed import LOCK, SealedFormat

FORMAT = "hypensearch q-nets"
WHOLE, COMPACT = "q-nets", "token states"
_VERSIONS = {WHOLE: 1, COMPACT: 2}  # q-nets themselves are what older versions of hypensearch read
STATES, NUM_TOKENS = "states", "num_tokens"
MANIFEST = "manifest.json"
MAX_BLOCK_BYTES = 2**34
BLOCK_QUERIES = 64
_OUR_FILE = r"q_nets-\d{5,}-[0-9a-f]{8}\.safetensors|\..*\.partial"


class _Model(TypedDict, total=False):
    """What is read of the model's facts."""

    name: Short | None
    fingerprint: Short | None
    max_length: Size | None


class _Facts(TypedDict):
    """What is read of the manifest."""

    version: int
    files: list[tuple[Name, Digest]]
    topics: list[tuple[str, str]]
    architecture: dict[str, Any]
    model: dict[str, Any]


@dataclass(frozen=True)
class StoredQNets:
    """What a folder of q-nets holds.

    :param folder: The folder.
    :param architecture: Keyword arguments of :class:`hypensearch.models.config.QNetConfig`.
    :param model: What made them: name, fingerprint of the document side, and so on.
    :param topics: Query texts by topic id, in the order they were stored.
    :param files: Name and SHA-256 of each block's file.
    :param form: :data:`WHOLE`, or :data:`COMPACT`: token states, of which the model has still to make q-nets.
    """

    folder: Path
    architecture: Mapping[str, Any]
    model: Mapping[str, Any]
    topics: Mapping[str, str]
    files: Sequence[tuple[str, str]]
    form: str = WHOLE

    def read(self, topic_ids: Iterable[str]) -> dict[str, dict[str, np.ndarray]]:
        """Read the tensors of some q-nets.

        :param topic_ids: Which ones.
        :return: By topic id, tensors by name: ``weight_0`` .. ``weight_L``, *Shape:* ``(in, out)``, and ``bias_0`` ..,
            *Shape:* ``(out,)``. In the compact form: ``states``, *Shape:* ``(num_tokens, hidden_size)``.
        :raises HypensearchError: When a topic is not stored or a file is damaged.
        """
        place = {topic_id: position for position, topic_id in enumerate(self.topics)}
        wanted: dict[int, list[str]] = {}
        for topic_id in topic_ids:
            if topic_id not in place:
                raise HypensearchError(f"{self.folder}: no q-net of topic {topic_id!r}; encode the topics again")
            wanted.setdefault(place[topic_id] // BLOCK_QUERIES, []).append(topic_id)
        found: dict[str, dict[str, np.ndarray]] = {}
        for block, ids in wanted.items():
            tensors = self._read_block(block)
            for topic_id in ids:
                found[topic_id] = {name: array[place[topic_id] % BLOCK_QUERIES] for name, array in tensors.items()}
        return found

    def flaw(self, block: int) -> str | None:
        """Say what is wrong with a block's file, None when it can be read."""
        try:
            self._read_block(block)
        except HypensearchError as error:
            return str(error)
        return None

    def _read_block(self, block: int) -> Mapping[str, Sequence[np.ndarray] | np.ndarray]:
        """Read a file's tensors, by name, one a query."""
        from safetensors import SafetensorError
        from safetensors.numpy import load

        name, digest = self.files[block]
        rows = min(len(self.topics) - block * BLOCK_QUERIES, BLOCK_QUERIES)
        try:
            content = read_plain(self.folder / name, MAX_BLOCK_BYTES, self.folder)
            if hashlib.sha256(content).hexdigest() != digest:
                raise ValueError("its content has changed since it was written")
            tensors: dict[str, np.ndarray] = load(content)
            if self.form == COMPACT:
                return {STATES: _divided(tensors, rows)}
            if any(array.shape[:1] != (rows,) for array in tensors.values()):
                raise ValueError(f"not the q-nets of {rows} topics")
            return tensors
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise HypensearchError(f"{self.folder / name}: {reason}; encode the topics again") from None


def _divided(tensors: Mapping[str, np.ndarray], rows: int) -> list[np.ndarray]:
    """Return each query's token states."""
    states, num_tokens = tensors.get(STATES), tensors.get(NUM_TOKENS)
    if states is not None and num_tokens is not None and states.ndim == 2 and num_tokens.shape == (rows,):
        counts = num_tokens.tolist()
        if (
            states.dtype == np.float32
            and num_tokens.dtype == np.int64
            and min(counts) > 0
            and sum(counts) == len(states)
        ):
            return np.split(states, np.cumsum(counts)[:-1])
    raise ValueError(f"not the token states of {rows} topics")


def write_q_nets(
    folder: str | os.PathLike[str],
    architecture: Mapping[str, Any],
    model: Mapping[str, Any],
    topics: Mapping[str, str],
    blocks: Iterable[Mapping[str, np.ndarray]],
    *,
    form: str = WHOLE,
) -> None:
    """Write q-nets; the folder holds its old ones, if any, until the new ones are complete.

    :param blocks: Tensors by name for each :data:`BLOCK_QUERIES` topics, *Shape:* ``(num_queries, ...)``; for the
        compact form ``states``, *Shape:* ``(num_tokens, hidden_size)``, one query's below the other's, and
        ``num_tokens``, *Shape:* ``(num_queries,)``.
    :param form: :data:`WHOLE` or :data:`COMPACT`.
    :raises HypensearchError: When the folder cannot be written, or another process is writing there.
    """
    path = Path(folder)
    check_may_write(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HypensearchError(f"{path}: cannot be written: {error.strerror}") from error
    facts = {
        "architecture": dict(architecture),
        "model": dict(model),
        "topics": [[topic_id, text] for topic_id, text in topics.items()],
    }
    try:
        with _FORMAT.replacing(path, _OUR_FILE):
            files = _write_blocks(path, blocks)
            _FORMAT.write(path, {**facts, "files": files}, version=_VERSIONS[form])
    finally:
        with suppress(OSError):
            path.rmdir()  # only when there is nothing in it


def _write_blocks(path: Path, blocks: Iterable[Mapping[str, np.ndarray]]) -> list[tuple[str, str]]:
    from safetensors.numpy import save

    files = []
    for number, tensors in enumerate(blocks):
        content = save({name: np.ascontiguousarray(array) for name, array in tensors.items()})
        digest = hashlib.sha256(content).hexdigest()
        name = f"q_nets-{number:05d}-{digest[:8]}.safetensors"
        with replace_when_whole(path / name, follow_link=False) as file:
            file.write(content)
        files.append((name, digest))
    return files


def check_may_write(folder: str | os.PathLike[str]) -> None:
    """Refuse a folder that q-nets must not be written to, before they are made.

    :raises HypensearchError: When it is a file, or holds something else than q-nets: an index has a manifest too.
    """
    path = Path(folder)
    if path.exists() and not path.is_dir():
        raise HypensearchError(f"{path}: is a file; q-nets want a folder")
    names = {entry.name for entry in path.iterdir()} if path.exists() else set()
    others = sorted(name for name in names - {MANIFEST, LOCK} if not re.fullmatch(_OUR_FILE, name))
    if others:
        raise HypensearchError(
            f"{path}: holds {others[0]!r}, which is no part of a folder of q-nets; name a new folder"
        )
    if MANIFEST in names:
        _FORMAT.read(path)


def open_q_nets(folder: str | os.PathLike[str]) -> StoredQNets:
    """Open a folder of q-nets.

    :raises HypensearchError: When it is not one, or of a newer format.
    """
    path = Path(folder)
    try:
        facts = _FORMAT.read(path)
    except FileNotFoundError:
        raise HypensearchError(
            f"{path}: no folder of q-nets (no {MANIFEST}); python -m hypensearch.encode.query makes one"
        ) from None
    form = COMPACT if facts["version"] == _VERSIONS[COMPACT] else WHOLE
    return StoredQNets(path, facts["architecture"], facts["model"], dict(facts["topics"]), facts["files"], form)


def _check(facts: _Facts) -> None:
    checked(facts["model"], _Model)
    if len(facts["files"]) != -(-len(facts["topics"]) // BLOCK_QUERIES):
        raise ValueError("files and topics do not fit together")
    if len(dict(facts["topics"])) != len(facts["topics"]):
        raise ValueError("a topic comes twice")


def _again(folder: str) -> str:
    return "encode the topics again"


_FORMAT = SealedFormat(FORMAT, MANIFEST, _Facts, _again, newest=2, check=_check, compact=True)
