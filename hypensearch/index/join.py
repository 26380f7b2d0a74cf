# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""``python -m hypensearch.index.join``: name the shards of several indexes in one manifest. Nothing is copied."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from hypensearch import cli
from hypensearch.errors import HypensearchError, as_typed
from hypensearch.flat.docids import SeenDocids
from hypensearch.flat.index import FlatIndex
from hypensearch.flat.manifest import BLOCK_ROWS, LOCK, Manifest
from hypensearch.flat.progress import first_difference
from hypensearch.flat.writer import check_may_write, clean_up, next_generation, readable_manifest
from hypensearch.formats.files import FileLock


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    :param argv: Arguments without the program's name; those of the process when left out.
    :return: The exit code.
    """
    args = build_parser().parse_args(argv)
    return cli.run(lambda: join(args))


def build_parser() -> argparse.ArgumentParser:
    """Make the parser of the command's flags."""
    parser = cli.CommandParser(
        prog="python -m hypensearch.index.join",
        description="Make one index of several: encoded shards of a corpus, say. Its manifest names their folders, "
        "which have to stay where they are.",
    )
    suppress = argparse.SUPPRESS
    parser.add_argument("--output", required=True, default=suppress, help="folder of the index that names the others")
    parser.add_argument("--overwrite", action="store_true", help="replace an index there")
    parser.add_argument("indexes", nargs="+", metavar="INDEX", help="index folders, in the order of their documents")
    return parser


def join(args: argparse.Namespace) -> None:
    """Join, and say where the index lies."""
    num_docs = join_indexes(args.indexes, args.output, overwrite=args.overwrite).num_docs
    search = as_typed("hypensearch.search", "--index", args.output, "--topics", "TOPICS", "--output", "RUN")
    sys.stdout.write(
        f"{num_docs:,} document vectors of {len(args.indexes)} indexes are in {args.output}; search them: {search}\n"
    )


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
    for index in indexes[1:]:
        _check_same(indexes[0], index)
    for index in indexes:
        if os.path.realpath(index.folder) == os.path.realpath(output):
            raise HypensearchError(f"--output {output}: is one of the indexes to join; name another folder")
    _check_docids(indexes)
    os.makedirs(output, exist_ok=True)
    with FileLock(os.path.join(output, LOCK)):
        return _write(indexes, output, overwrite)


def _check_same(first: FlatIndex, other: FlatIndex) -> None:
    """Check that two indexes may stand beside each other."""
    wanted, found = ({"dim": index.dim, "dtype": index.dtype, **_model_facts(index)} for index in (first, other))
    difference = first_difference(wanted, found)
    if difference is not None:
        name, one, two = difference
        raise HypensearchError(
            f"{other.folder}: {name} is {two!r}, but {one!r} in {first.folder}; only indexes of one model and one "
            "kind of encoding can be joined"
        )


def _model_facts(index: FlatIndex) -> dict[str, Any]:
    # The same weights may lie in different places.
    kept = {key: value for key, value in (index.model or {}).items() if key not in ("name", "backbone_config")}
    return {f"model {key}": value for key, value in kept.items()}


def _check_docids(indexes: Sequence[FlatIndex]) -> None:
    """Check that no docid is in two indexes; eight bytes of memory for each document."""
    seen = SeenDocids()
    for number, index in enumerate(indexes):
        for docids in _docid_blocks(index):
            for position in seen.suspects(docids):
                _refuse_repeated(docids[position], index, indexes[:number])
        for docids in _docid_blocks(index):
            seen.add(docids)


def _docid_blocks(index: FlatIndex) -> Iterator[list[str]]:
    for shard in index.shards:
        for start in range(0, shard.num_docs, BLOCK_ROWS):
            yield shard.docids[start : start + BLOCK_ROWS]


def _refuse_repeated(docid: str, index: FlatIndex, earlier: Sequence[FlatIndex]) -> None:
    for other in earlier:
        if other.row_of(docid) is not None:
            raise HypensearchError(f"{index.folder}: holds docid {docid!r}, which is also in {other.folder}")


def _write(indexes: Sequence[FlatIndex], output: str, overwrite: bool) -> Manifest:
    check_may_write(output, overwrite=overwrite)
    old = readable_manifest(output)
    first = indexes[0]
    manifest = Manifest(
        dim=first.dim,
        dtype=first.dtype,
        num_docs=sum(index.num_docs for index in indexes),
        model=first.model,
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


if __name__ == "__main__":
    raise SystemExit(main())
