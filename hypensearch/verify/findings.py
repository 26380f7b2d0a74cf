# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""What is damaged in a folder that hypensearch wrote, whatever kind of folder it is."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from hypensearch.errors import HypensearchError, as_typed
from hypensearch.flat.docids import Docids
from hypensearch.flat.faiss_copy import FAISS_FILES
from hypensearch.flat.index import FlatIndex
from hypensearch.flat.manifest import DOCID, DOCID_OFFSETS, MANIFEST, Manifest, ShardRecord, read_manifest
from hypensearch.flat.shard import check_folder, shard_damages
from hypensearch.formats import q_nets
from hypensearch.formats.door import is_plain, read_plain, root_of_checkpoint, stat_plain
from hypensearch.formats.json_files import read_json
from hypensearch.formats.npy import map_bytes, map_npy
from hypensearch.formats.sealed import Done, FileRecord, damages_of, reason_of
from hypensearch.graph.store import GraphIndex, graph_names
from hypensearch.models.checkpoint_folder import checkpoint_folder
from hypensearch.surrogate.store import open_surrogate

_COPY_ROWS = 65536
_COPY = "copy the checkpoint again"


@dataclass(frozen=True)
class Finding:
    """A line for the user.

    :param text: What is damaged.
    :param advice: What to do; "" where the damage before says it.
    :param shard: Number of the shard, where a part of an index itself is damaged.
    :param rows: Its damaged rows, for vectors.
    """

    text: str
    advice: str = ""
    shard: int | None = None
    rows: range | None = None


def kind_of(folder: str) -> str:
    """Say what a folder is: "index", "q-nets" or "checkpoint".

    :raises HypensearchError: When it is nothing that can be verified.
    """
    if not os.path.isdir(folder):
        raise HypensearchError(f"{folder}: no such folder; wanted an index, q-nets or a checkpoint")
    manifest = Path(folder) / MANIFEST
    if os.path.lexists(manifest):
        try:
            content = read_plain(manifest, within=folder)
        except (OSError, ValueError) as error:
            raise HypensearchError(f"{manifest}: {reason_of(error)}; cannot tell what {folder} is") from None
        return "q-nets" if q_nets.FORMAT.encode() in content else "index"
    if (Path(folder) / "config.json").is_file():
        return "checkpoint"
    FlatIndex.open(folder)  # its message says what else the folder is
    raise HypensearchError(f"{folder}: wanted an index, q-nets or a checkpoint")


def findings_of(folder: str, *, full: bool, done: Done = lambda count: None) -> Iterator[Finding]:
    """Find what is damaged in a folder.

    :param folder: An index (with its graphs and codes), a folder of q-nets, or a checkpoint.
    :param full: Whether to read every byte, or manifests and sizes alone.
    :param done: Called with the number of bytes read.
    """
    kind = kind_of(folder)
    if kind == "index":
        yield from _index_findings(folder, full, done)
    elif kind == "q-nets":
        yield from _q_nets_findings(folder, full, done)
    else:
        yield from _checkpoint_findings(folder, full, done)


def size_of(folder: str) -> int:
    """Give how many bytes lie in a folder that a full look may read."""
    roots = [folder]
    if kind_of(folder) == "index":
        with suppress(HypensearchError):
            roots += [os.path.join(folder, shard.folder) for shard in read_manifest(folder).shards]
    sizes = {os.path.realpath(path): _size(path) for root in roots for path in Path(root).rglob("*")}
    return sum(sizes.values())


def _size(path: Path) -> int:
    try:
        return stat_plain(path).st_size
    except OSError:
        return 0


def _index_findings(folder: str, full: bool, done: Done) -> Iterator[Finding]:
    try:
        manifest = read_manifest(folder)
    except HypensearchError as error:
        yield Finding(str(error))
        return
    damaged = False
    for number, record in enumerate(manifest.shards):
        for finding in _shard_findings(folder, number, record, manifest, full, done):
            damaged = True
            yield finding
    if not damaged:  # what lies beside vectors is compared with sound ones only
        yield from _beside(folder, manifest, full, done)


def _shard_findings(
    folder: str, number: int, record: ShardRecord, manifest: Manifest, full: bool, done: Done
) -> Iterator[Finding]:
    if elsewhere := list(_errors_of(partial(check_folder, folder, record.folder))):
        yield from elsewhere
        return
    shard = os.path.join(folder, record.folder)
    advice = f"repair it: {as_typed('hypensearch.verify', folder, '--repair')}; or copy it again"
    for damage in shard_damages(shard, record, manifest.dim, manifest.dtype, full=full, done=done):
        docids = "" if damage.rows is None else _docids_of(shard, record, damage.rows)
        yield Finding(f"{damage}{docids}", advice, number, damage.rows)


def _docids_of(folder: str, record: ShardRecord, rows: range) -> str:
    """Name the documents of some rows, where the docids themselves are sound."""
    try:
        if any(list(damages_of(os.path.join(folder, name), record.files[name])) for name in (DOCID, DOCID_OFFSETS)):
            return " (their docids are damaged too)"
        offsets = map_npy(os.path.join(folder, DOCID_OFFSETS), folder)
        docids = Docids(map_bytes(os.path.join(folder, DOCID), folder), offsets)
        first, last = docids[rows.start], docids[rows[-1]]
    except (OSError, ValueError, LookupError, HypensearchError):
        return ""
    return f" (docids {first} to {last}, {len(rows):,} documents)"


def _beside(folder: str, manifest: Manifest, full: bool, done: Done) -> Iterator[Finding]:
    """Look at graphs, codes and Pyserini's copy."""
    try:
        index = FlatIndex.open(folder)
    except HypensearchError as error:
        yield Finding(str(error))
        return
    with index:
        if full:
            for damage in (damage for shard in index.shards for damage in shard.nonsense()):
                yield Finding(str(damage), "take the index from where you trust, or encode again with --overwrite")
        for name in graph_names(index):
            yield from _errors_of(partial(_check_graph, index, name, full, done))
        again = f"make them again: {as_typed('hypensearch.index', '--index', index.folder, '--surrogate')}"
        yield from _errors_of(partial(_check_codes, index, full, done), again)
        if manifest.extra_files:
            yield from _faiss_findings(index, full, done)


def _errors_of(check: Callable[[], object], advice: str = "") -> Iterator[Finding]:
    try:
        check()
    except HypensearchError as error:
        yield Finding(str(error), advice)


def _check_graph(index: FlatIndex, name: str, full: bool, done: Done) -> None:
    graph = GraphIndex.open(index, name)
    if full:
        graph.verify()
        done(graph.neighbours.nbytes)


def _check_codes(index: FlatIndex, full: bool, done: Done) -> None:
    codes = open_surrogate(index)
    if codes is not None and full:
        codes.verify(done)


def _faiss_findings(index: FlatIndex, full: bool, done: Done) -> Iterator[Finding]:
    """Compare Pyserini's copy with the index."""
    from hypensearch.formats.embeddings import faiss_flat_header

    vectors, docids = (os.path.join(index.folder, name) for name in FAISS_FILES)
    header = faiss_flat_header(index.num_docs, index.dim)
    wanted = FileRecord(len(header) + index.num_docs * index.dim * 4, "")
    advice = "encode again with --to-faiss --overwrite, or remove both files"
    damages = list(damages_of(vectors, wanted, full=False))
    shard = index.shards[0]
    damages += damages_of(docids, shard.record.files[DOCID], full=full, done=done)
    yield from (Finding(str(damage), advice) for damage in damages)
    if full and not damages:
        copy = map_bytes(vectors, index.folder)[len(header) :].view(np.float32).reshape(index.num_docs, index.dim)
        for start in range(0, index.num_docs, _COPY_ROWS):
            block = slice(start, start + _COPY_ROWS)
            if not np.array_equal(copy[block], shard.vectors[block]):
                yield Finding(f"{vectors}: its vectors are not those of the index", advice)
                break
            done(copy[block].nbytes)


def _q_nets_findings(folder: str, full: bool, done: Done) -> Iterator[Finding]:
    advice = "encode the topics again: python -m hypensearch.encode.query"
    try:
        stored = q_nets.open_q_nets(folder)
    except HypensearchError as error:
        yield Finding(str(error), advice)
        return
    for number, (name, digest) in enumerate(stored.files):
        path = stored.folder / name
        topics = list(stored.topics)[number * q_nets.BLOCK_QUERIES : (number + 1) * q_nets.BLOCK_QUERIES]
        found = [str(damage) for damage in damages_of(str(path), FileRecord(_size(path), digest), full=full, done=done)]
        if full and not found:
            found = list(filter(None, [stored.flaw(number)]))
        yield from (Finding(f"{text} (topics {topics[0]} to {topics[-1]})", advice) for text in found)


def _checkpoint_findings(folder: str, full: bool, done: Done) -> Iterator[Finding]:
    """Compare our own format's files with their checksums; released checkpoints have none."""
    path = checkpoint_folder(Path(folder)) / "config.json"
    try:
        facts: Any = read_json(path, within=root_of_checkpoint(path.parent))
        if not isinstance(facts, dict):
            raise ValueError("no JSON object")
    except (OSError, ValueError) as error:
        yield Finding(f"{path}: damaged ({reason_of(error)})", _COPY)
        return
    checksums = facts.get("checksums")
    if checksums is None:
        raise HypensearchError(f"{folder}: this checkpoint carries no checksums, as our own format does; cannot tell")
    for name in checksums if isinstance(checksums, dict) else ():
        if not is_plain(path.parent / os.path.basename(name), root_of_checkpoint(path.parent)):
            yield Finding(f"{path.parent / name}: is not there", _COPY)
    if full:
        from hypensearch.models.checkpoint import check_files

        yield from _errors_of(partial(check_files, facts, path.parent))
        done(sum(map(_size, path.parent.iterdir())))
