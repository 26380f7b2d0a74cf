# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""How far an unfinished index has come: what resumes after a kill starts from here."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from hypensearch.errors import HypensearchError
from hypensearch.flat.manifest import FORMAT, PROGRESS, CorpusFacts
from hypensearch.formats.door import read_plain
from hypensearch.formats.files import replace_when_whole
from hypensearch.formats.json_files import check_compact_signed, compact_signed_json, parse_json
from hypensearch.formats.schema import Count, Digest, Dtype, Name, Number, Size, checked


@dataclass(frozen=True)
class Progress:
    """What is on disk for good.

    :param shard: Folder that is being written.
    :param generation: The generation it will be.
    :param settings: What the vectors depend on besides the model; a resumed run must have the same.
    :param dim: Size of a document vector.
    :param dtype: Type of the stored vectors.
    :param model: The model's record.
    :param documents: The manifest's ``documents`` of the shard.
    :param num_docs: Documents written.
    :param docid_bytes: Size of the docid file.
    :param documents_bytes: Size of the stored documents.
    :param blocks: Digests of the complete blocks of vectors.
    :param digests: Digests of what else is written so far, by the file's name: a resumed run blesses no damage.
    :param resume_at: Where the source resumes; its reader's business.
    """

    shard: Name
    generation: Number
    settings: dict[str, Any]
    dim: Size
    dtype: Dtype
    model: dict[str, Any] | None
    documents: dict[str, Any] | None
    num_docs: Count = 0
    docid_bytes: Count = 0
    documents_bytes: Count = 0
    blocks: list[Digest] = field(default_factory=list)
    digests: dict[Name, str] = field(default_factory=dict)
    resume_at: dict[str, Any] | None = None

    def write(self, folder: str) -> None:
        """Put it into the index folder, at once and whole."""
        with replace_when_whole(os.path.join(folder, PROGRESS), follow_link=False) as file:
            file.write(compact_signed_json({"format": FORMAT, **asdict(self)}))


def read_progress(folder: str) -> Progress | None:
    """Read how far the index in a folder has come; None when nothing was begun.

    :raises HypensearchError: When the file is damaged.
    """
    path = os.path.join(folder, PROGRESS)
    try:
        content = read_plain(path, within=folder)
        facts = parse_json(content)
        progress = checked(facts, Progress)
        check_compact_signed(content, facts)
        if progress.documents is not None:
            checked(progress.documents, CorpusFacts)
        if facts.keys() - {"checksum"} != asdict(progress).keys() | {"format"} or facts["format"] != FORMAT:
            raise ValueError
        return progress
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        raise HypensearchError(f"{path}: damaged; encode again with --overwrite") from None


def first_difference(
    old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = ""
) -> tuple[str, object, object] | None:
    """Find the first setting that differs: its name, its old and its new value."""
    for name in dict.fromkeys([*new, *old]):
        if old.get(name) != new.get(name):
            return f"{prefix}{name}", old.get(name), new.get(name)
    return None
