# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
import os
import shutil
from pathlib import Path

import pytest

from hypensearch.formats import sealed
from hypensearch.formats.files import sha256_of
from hypensearch.formats.sealed import check_once

HOUR_NS = 3600 * 10**9


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two files that are settled: a negative time to settle stands for waiting."""
    monkeypatch.setattr(sealed, "_SETTLED_NS", -HOUR_NS)
    monkeypatch.setenv("HYPENSEARCH_CACHE", str(tmp_path / "cache"))
    (tmp_path / "f").mkdir()
    for name in ("one", "two"):
        (tmp_path / "f" / name).write_text(name)
    return tmp_path / "f"


def look(folder: Path, digests: dict[str, str]) -> bool:
    """Check a folder's files; gives whether they were read."""

    def check() -> None:
        for path, digest in digests.items():
            if sha256_of(path) != digest:
                raise ValueError(path)

    return check_once(folder, digests, check)


def digests_of(folder: Path) -> dict[str, str]:
    return {str(path): sha256_of(path) for path in sorted(folder.iterdir())}


def test_files_are_read_once(folder: Path) -> None:
    digests = digests_of(folder)
    assert [look(folder, digests) for _ in range(3)] == [True, False, False]


def test_other_digests_are_another_check(folder: Path) -> None:
    digests = digests_of(folder)
    look(folder, digests)
    with pytest.raises(ValueError, match="one"):
        look(folder, {**digests, str(folder / "one"): "other"})


@pytest.mark.parametrize("same_times", [False, True])
def test_what_was_touched_is_read_again(folder: Path, same_times: bool) -> None:
    digests = digests_of(folder)
    look(folder, digests)
    path = folder / "two"
    before = path.stat()
    path.write_text("owt")
    if same_times:  # the time of the last change of the inode cannot be set back
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(ValueError, match="two"):
        look(folder, digests)


def test_a_damaged_file_is_never_marked_as_sound(folder: Path) -> None:
    digests = digests_of(folder)
    (folder / "one").write_text("eno")
    for _ in range(2):
        with pytest.raises(ValueError, match="one"):
            look(folder, digests)


def test_a_copy_is_read_again(folder: Path) -> None:
    look(folder, digests_of(folder))
    copy = folder.with_name("copy")
    shutil.copytree(folder, copy)
    assert look(copy, digests_of(copy))


def test_what_was_written_a_moment_ago_is_not_marked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealed, "_SETTLED_NS", HOUR_NS)
    assert [look(folder, digests_of(folder)) for _ in range(2)] == [True, True]


def test_without_a_cache_files_are_read_each_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYPENSEARCH_CACHE", str(folder / "one"))  # a file
    assert [look(folder, digests_of(folder)) for _ in range(2)] == [True, True]


def test_one_mark_is_kept_for_a_folder(folder: Path) -> None:
    for content in ("one", "eno", "neo"):
        (folder / "one").write_text(content)
        assert look(folder, digests_of(folder))
    assert len(list((folder.parent / "cache" / "checked").iterdir())) == 1


def test_a_clock_set_back_spares_no_check(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files seem to come from the future then: they may be written again within the same tick, unseen."""
    monkeypatch.setattr(sealed, "_SETTLED_NS", 2 * 10**9)
    digests, now = digests_of(folder), sealed.time.time_ns()
    monkeypatch.setattr(sealed.time, "time_ns", lambda: now - 24 * HOUR_NS)
    assert [look(folder, digests) for _ in range(3)] == [True, True, True]
    monkeypatch.setattr(sealed.time, "time_ns", lambda: now + HOUR_NS)
    assert [look(folder, digests) for _ in range(3)] == [True, False, False]
    monkeypatch.setattr(sealed.time, "time_ns", lambda: now - 24 * HOUR_NS)
    assert not look(folder, digests)  # what was found sound was not touched
    (folder / "two").write_text("owt")
    os.utime(folder / "two", ns=(0, 0))  # and a file that is written while the clock is wrong is read again
    with pytest.raises(ValueError, match="two"):
        look(folder, digests)
