# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The history of a run: what was logged, one JSON object a line, brought to disk line by line."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from hypensearch.formats.files import fsync_folder
from hypensearch.formats.json_files import parse_json

HISTORY = "history.jsonl"
_KINDS = ("loss", "eval_mean")

Entry = Mapping[str, Any]


def append_history(folder: Path, entry: Entry) -> None:
    """Write an entry behind the last line, which a kill may have cut, and bring it to disk.

    A resumed run reads the validation before its first step there.

    :param folder: The run's, which exists.
    """
    path = folder / HISTORY
    is_new = not path.exists()
    with open(path, "ab+") as file:
        cut = file.seek(0, os.SEEK_END) and (file.seek(-1, os.SEEK_END), file.read(1))[1] != b"\n"
        file.write(b"\n" * bool(cut) + json.dumps(entry).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    if is_new:
        fsync_folder(str(folder))


def read_history(folder: Path) -> list[Entry]:
    """Read a run's history; a resumed run's steps count once, as they were done last.

    Lines that are no entries are left out: a kill may have cut one.
    """
    entries: dict[tuple[int, int], Entry] = {}
    path = folder / HISTORY
    for line in path.read_bytes().split(b"\n") if path.is_file() else []:
        with suppress(ValueError):
            entry = parse_json(line)
            if isinstance(entry, dict) and type(entry.get("step")) is int:
                kind = next((number for number, key in enumerate(_KINDS) if key in entry), len(_KINDS))
                entries[entry["step"], kind] = entry
    return [entries[key] for key in sorted(entries)]
