# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path

import pytest

from hypensearch.errors import HypensearchError
from hypensearch.formats.files import file_lock
from hypensearch.models.checkpoint_folder import checkpoint_folder, write_whole

NAMES = ("weights", "old-weights")


def save(folder: Path, word: str, *, weights: str = "weights") -> None:
    def write(hidden: Path) -> None:
        (hidden / weights).write_text(word)
        (hidden / "encoder").mkdir()
        (hidden / "encoder" / "part").write_text(word)
        (hidden / "config.json").write_text(json.dumps({"word": word}))

    write_whole(folder, write, NAMES)


def content(folder: Path) -> dict[str, str]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_text() for path in paths}


def test_a_new_checkpoint_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    save(tmp_path, "old", weights="old-weights")
    (tmp_path / "mine.txt").write_text("stays")
    save(tmp_path, "new")
    assert content(tmp_path) == {
        "weights": "new",
        "encoder/part": "new",
        "config.json": '{"word": "new"}',
        "mine.txt": "stays",
    }
    assert checkpoint_folder(tmp_path) == tmp_path


def test_stopped_at_any_rename_readers_find_the_old_or_the_new_one_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for stop in range(1, 9):
        folder = tmp_path / str(stop)
        save(folder, "old")
        replace, calls = os.replace, iter(range(stop))

        def dying(source: Path, target: Path, replace=replace, calls=calls) -> None:
            if next(calls, None) is None:
                raise KeyboardInterrupt
            replace(source, target)

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", dying)
            with suppress(KeyboardInterrupt):
                save(folder, "new")
        words = set(content(checkpoint_folder(folder)).values())
        found.append(sorted(words))
        assert words in ({"old", '{"word": "old"}'}, {"new", '{"word": "new"}'}), stop
        save(folder, "newest")
        assert set(content(folder).values()) == {"newest", '{"word": "newest"}'}
    assert found[-1][0] == "new"


def test_nothing_is_changed_where_writing_fails(tmp_path: Path) -> None:
    save(tmp_path, "old")
    before = content(tmp_path)

    def fail(hidden: Path) -> None:
        (hidden / "weights").write_text("new")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_whole(tmp_path, fail, NAMES)
    assert content(tmp_path) == before


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    with file_lock(tmp_path / ".lock"), pytest.raises(HypensearchError, match="locked by process"):
        save(tmp_path, "new")


def test_a_file_system_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", refuse)
    save(tmp_path, "old")
    save(tmp_path, "new")
    assert set(content(tmp_path).values()) == {"new", '{"word": "new"}'}


@pytest.mark.parametrize("facts", ['{"checkpoint_lies_in": "../elsewhere"}', '{"checkpoint_lies_in": 3}', "[]", "{"])
def test_only_a_hidden_folder_inside_is_followed(tmp_path: Path, facts: str) -> None:
    (tmp_path / "config.json").write_text(facts)
    assert checkpoint_folder(tmp_path) == tmp_path
