# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints that a run is resumed from: sealed with the digests of their files, so that a damaged one is noticed."""

from __future__ import annotations

import logging
from pathlib import Path

from hypensearch.errors import HypensearchError
from hypensearch.formats.door import read_plain
from hypensearch.formats.files import fsync_file, replace_when_whole, sha256_of
from hypensearch.formats.json_files import check_signed, parse_json, read_json, signed_json

SEAL = "checksums.json"

logger = logging.getLogger(__name__)


def last_checkpoint(folder: Path) -> Path | None:
    """Return the newest checkpoint of a run that is as it was written; log those that are not."""
    found = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]), reverse=True)
    for path in found:
        if _is_whole(path):
            return path
        logger.warning("%s: not whole or damaged, left out", path)
    return None


def seal(checkpoint: Path) -> None:
    """Bring a checkpoint to disk and write the digests of its files beside them."""
    digests = {}
    for path in sorted(checkpoint.iterdir()):
        fsync_file(path)
        digests[path.name] = sha256_of(path)
    with replace_when_whole(checkpoint / SEAL, follow_link=False) as file:
        file.write(signed_json({"files": digests}))


def _is_whole(checkpoint: Path) -> bool:
    """Whether files have the digests of the seal; without a seal, whether the file before it is complete."""
    try:
        if not (checkpoint / SEAL).exists():
            return bool(read_json(checkpoint / "trainer_state.json"))
        content = read_plain(checkpoint / SEAL)
        facts = parse_json(content)
        check_signed(content, facts)
        return all(sha256_of(checkpoint / name) == digest for name, digest in facts["files"].items())
    except (OSError, ValueError, KeyError, AttributeError, HypensearchError):
        return False
