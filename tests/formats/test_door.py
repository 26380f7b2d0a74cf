# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Files of others are opened as plain files of their folder, and nothing is written through what they planted."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest

from hypensearch.errors import HypensearchError
from hypensearch.formats.door import NotPlain, make_folder, open_plain, open_to_write, read_plain
from hypensearch.formats.files import CACHE_VARIABLE, cache_folder, file_lock, replace_when_whole
from hypensearch.formats.npy import GrowingFile, map_bytes, map_npy


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "victim").write_bytes(b"private")
    (tmp_path / "folder" / "deeper").mkdir(parents=True)
    (tmp_path / "folder" / "own").write_bytes(b"own")
    return tmp_path / "folder"


def plant(path: Path, kind: str, victim: Path) -> None:
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "chain":
        path.with_name("next").symlink_to(victim)
        path.symlink_to("next")
    else:
        path.symlink_to(victim)


PLANTED = ("pipe", "folder", "device", "link", "chain")


@pytest.mark.parametrize("kind", PLANTED)
def test_what_is_no_plain_file_of_its_folder_is_not_opened(kind: str, folder: Path) -> None:
    plant(folder / "planted", kind, folder.parent / "victim")
    for read in (open_plain, map_npy, map_bytes):
        with pytest.raises(NotPlain):
            read(folder / "planted", folder)
    with pytest.raises(NotPlain):
        open_plain(folder / "deeper" / ".." / ".." / "victim", folder)


def test_links_are_followed_within_the_folder(folder: Path) -> None:
    (folder / "deeper" / "link").symlink_to("../own")
    assert read_plain(folder / "deeper" / "link", 3, folder) == b"own"
    with pytest.raises(ValueError, match="larger than 2 bytes"):
        read_plain(folder / "own", 2, folder)
    for name in ("none", "x" * 300, "a\0b"):
        with pytest.raises(FileNotFoundError):
            read_plain(folder / name, 3, folder)


@pytest.mark.parametrize("kind", PLANTED)
def test_nothing_is_written_through_what_was_planted(kind: str, folder: Path) -> None:
    victim = folder.parent / "victim"
    for write in (lock, grow, replace, open_for_more):
        plant(folder / "planted", kind, victim)
        with contextlib.suppress(OSError, HypensearchError):
            write(folder / "planted")
        assert victim.read_bytes() == b"private"
        for path in (folder / "planted", folder / "next"):
            if path.is_dir() and not path.is_symlink():
                path.rmdir()
            else:
                path.unlink(missing_ok=True)


def lock(path: Path) -> None:
    with file_lock(path):
        pass


def grow(path: Path) -> None:
    file = GrowingFile(str(path))
    file.append(b"ours")
    file.close()


def replace(path: Path) -> None:
    with replace_when_whole(path, follow_link=False) as file:
        file.write(b"ours")


def open_for_more(path: Path) -> None:
    os.close(open_to_write(path, os.O_WRONLY | os.O_APPEND))


def test_a_lock_that_is_another_name_of_a_file_is_refused(folder: Path) -> None:
    os.link(folder.parent / "victim", folder / ".lock")
    with pytest.raises(HypensearchError, match=r"\.lock: cannot be written: is another name of some other file"):
        lock(folder / ".lock")
    assert (folder.parent / "victim").read_bytes() == b"private"


def test_folders_are_not_made_behind_links(folder: Path) -> None:
    (folder / "graphs").symlink_to(folder.parent)
    with pytest.raises(NotPlain, match="is a link, a folder was wanted"):
        make_folder(folder / "graphs")
    make_folder(folder / "deeper")
    make_folder(folder / "new")
    assert (folder / "new").is_dir()


def test_a_cache_that_others_may_write_to_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    assert cache_folder() == tmp_path / "cache"
    (tmp_path / "cache").mkdir()
    assert cache_folder() == tmp_path / "cache"
    (tmp_path / "cache").chmod(0o777)
    with pytest.raises(HypensearchError, match="cannot be trusted; set HYPENSEARCH_CACHE to a folder of your own"):
        cache_folder()


def test_without_a_home_the_cache_is_of_this_user_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CACHE_VARIABLE, raising=False)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))

    def nobody(self: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", nobody)
    folder = cache_folder()
    assert (folder.parent, folder.stat().st_mode & 0o777) == (tmp_path, 0o700)
    folder.rmdir()
    (tmp_path / "planted").mkdir(mode=0o700)
    folder.symlink_to(tmp_path / "planted")
    with pytest.raises(HypensearchError, match="cannot be trusted"):
        cache_folder()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
def test_a_cache_of_another_user_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    os.chown(tmp_path / "cache", 54321, 54321)
    with pytest.raises(HypensearchError, match="belongs to another user"):
        cache_folder()
