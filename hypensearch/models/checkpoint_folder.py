# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""A checkpoint's folder, changed from one checkpoint to another by one rename.

A new checkpoint is written whole into a hidden folder inside. In an empty folder its files move out, ``config.json``
last. In place of an older one, ``config.json`` first becomes one that names the hidden folder: from this rename on,
readers find the new checkpoint, and its files take the places of the older ones behind their backs. A kill in between
leaves the hidden folder in use, until the next save.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from hypensearch.formats.door import root_of_checkpoint
from hypensearch.formats.files import (
    file_lock,
    fsync_file,
    fsync_folder,
    replace_when_whole,
    set_usual_permissions,
    write_errors,
)
from hypensearch.formats.json_files import read_json

CONFIG = "config.json"
LOCK = ".lock"
_LIES_IN = "checkpoint_lies_in"
_HIDDEN = re.compile(r"\.checkpoint-[0-9a-f]{8}")


def checkpoint_folder(folder: Path) -> Path:
    """Return the folder that a checkpoint's files are in: the given one, or the hidden one its config.json names."""
    try:
        facts = read_json(folder / CONFIG, within=root_of_checkpoint(folder))
    except (OSError, ValueError):  # reported by the reader of the configuration
        return folder
    name = facts.get(_LIES_IN) if isinstance(facts, dict) else None
    return folder / name if isinstance(name, str) and _HIDDEN.fullmatch(name) else folder


def write_whole(folder: Path, write: Callable[[Path], object], names: Sequence[str]) -> None:
    """Write a checkpoint in place of what a folder holds of one; a reader finds the old one or the new one.

    :param folder: The folder; made when it is not there. Other files in it are left alone.
    :param write: Writes all files into an empty folder, ``config.json`` among them.
    :param names: Files that no older checkpoint may leave, where the new one has none of that name.
    :raises HypensearchError: When another process is writing a checkpoint there, or it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with file_lock(folder / LOCK):
        hidden = folder / f".checkpoint-{secrets.token_hex(4)}"
        try:
            hidden.mkdir()
            with write_errors(folder):
                write(hidden)
                set_usual_permissions(hidden)
            _sync(hidden)
            if (folder / CONFIG).exists():
                with replace_when_whole(folder / CONFIG, "w", follow_link=False) as file:
                    json.dump({_LIES_IN: hidden.name}, file)
            _move_out(hidden, folder, names)
        finally:
            for path in folder.iterdir():
                if _HIDDEN.fullmatch(path.name) and path != checkpoint_folder(folder):
                    shutil.rmtree(path, ignore_errors=True)


def _sync(folder: Path) -> None:
    for path in folder.rglob("*"):
        (fsync_folder if path.is_dir() else fsync_file)(path)
    fsync_folder(folder)


def _move_out(hidden: Path, folder: Path, names: Sequence[str]) -> None:
    """Put the new files, which readers use where they are, into the places of the older ones; config.json last."""
    for name in names:
        if not (hidden / name).exists():
            (folder / name).unlink(missing_ok=True)
    for path in sorted(hidden.rglob("*")):
        if path.is_file() and path != hidden / CONFIG:
            target = folder / path.relative_to(hidden)
            target.parent.mkdir(parents=True, exist_ok=True)
            _link(path, target)
    fsync_folder(folder)
    _link(hidden / CONFIG, folder / CONFIG)
    fsync_folder(folder)


def _link(source: Path, target: Path) -> None:
    """Give a file a second name, in place of what has it, or a copy where the file system has no links."""
    other = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")
    try:
        try:
            os.link(source, other)
        except PermissionError:
            shutil.copyfile(source, other)
            fsync_file(other)
        os.replace(other, target)
    finally:
        with suppress(FileNotFoundError):
            other.unlink()
