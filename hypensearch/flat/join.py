# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Name the shards of several indexes in one manifest. Nothing is copied."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace

from hypensearch.errors import HypensearchError
from hypensearch.flat.docids import SeenDocids
from hypensearch.flat.index import FlatIndex
from hypensearch.flat.manifest import Manifest, readable_manifest
from hypensearch.flat.progress import first_difference
from hypensearch.flat.writer import check_may_write, clean_up, next_generation
from hypensearch.formats.files import file_lock
from hypensearch.formats.sealed import BLOCK_ROWS, LOCK


def join_indexes(
    folders: Sequence[str | os.PathLike[str]], output: str | os.PathLike[str], *, overwrite: bool = False
) -> Manifest:
    """Write an index that names the shards of others.

    :param folders: Index folders, in the order of their documents.
    :param output: Its folder; made when it is not there.
    :param overwrite: Replace an index there.
    :return: Its manifest.
    :raises HypensearchError: When the indexes do not belong together: another model, size or type of vectors, or a
        docid in two of them.
    """
    output = os.path.abspath(output)
    check_may_write(output, overwrite=overwrite)
    indexes = [FlatIndex.open(folder) for folder in folders]
    for index in indexes:
        _check_same(indexes[0], index)
        if os.path.realpath(index.folder) == os.path.realpath(output):
            raise HypensearchError(f"--output {output}: is one of the indexes to join; name another folder")
    _check_docids(indexes)
    os.makedirs(output, exist_ok=True)
    with file_lock(os.path.join(output, LOCK)):
        check_may_write(output, overwrite=overwrite)
        old = readable_manifest(output)
        manifest = Manifest(
            dim=indexes[0].dim,
            dtype=indexes[0].dtype,
            num_docs=sum(index.num_docs for index in indexes),
            model=indexes[0].model,
            shards=[
                replace(shard.record, folder=os.path.relpath(shard.folder, output))
                for index in indexes
                for shard in index.shards
            ],
            generation=next_generation(output),
        )
        manifest.write(output)
        clean_up(output, manifest, old)
        return manifest


def _check_same(first: FlatIndex, other: FlatIndex) -> None:
    """Check that two indexes may stand beside each other; the same weights may lie in different places."""
    wanted, found = (
        {"dim": index.dim, "dtype": index.dtype}
        | {f"model {name}": of for name, of in (index.model or {}).items() if name not in ("name", "backbone_config")}
        for index in (first, other)
    )
    if difference := first_difference(wanted, found):
        name, one, two = difference
        raise HypensearchError(
            f"{other.folder}: {name} is {two!r}, but {one!r} in {first.folder}; only indexes of one model and one "
            "kind of encoding can be joined"
        )


def _check_docids(indexes: Sequence[FlatIndex]) -> None:
    """Check that no docid is in two indexes; eight bytes of memory for each document."""
    seen = SeenDocids()
    for number, index in enumerate(indexes):
        for docids in _docid_blocks(index):
            for docid in (docids[position] for position in seen.suspects(docids)):
                if other := next((earlier for earlier in indexes[:number] if earlier.row_of(docid) is not None), None):
                    raise HypensearchError(f"{index.folder}: holds docid {docid!r}, which is also in {other.folder}")
        for docids in _docid_blocks(index):
            seen.add(docids)


def _docid_blocks(index: FlatIndex) -> Iterator[list[str]]:
    for shard in index.shards:
        for start in range(0, shard.num_docs, BLOCK_ROWS):
            yield shard.docids[start : start + BLOCK_ROWS]
