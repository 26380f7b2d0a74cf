# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
import errno
import gzip
import hashlib
import os
import stat
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from hypensearch.errors import HypensearchError
from hypensearch.formats.files import (
    file_lock,
    is_pipe,
    numbered_lines,
    open_stream,
    read_whole,
    replace_when_whole,
    sha256_of,
)


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[Path]:
    """A named pipe that one writer has written three lines to."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=[b"a\nb\n\nc" + b"d" * 3_000_000])
    writer.start()
    yield path
    writer.join()


def test_a_pipe_is_read_again_from_its_start(pipe: Path) -> None:
    assert is_pipe(pipe)
    with open_stream(pipe) as first:  # read a little, as who looks for the form of a file
        assert first.readline() == b"a\n"
    assert [len(line) for _, line in numbered_lines(pipe)] == [1, 1, 0, 3_000_001]
    assert len(read_whole(pipe, 2**23)) == 3_000_006
    with pytest.raises(HypensearchError, match="larger than 100 bytes"):
        read_whole(pipe, 100)


def test_other_files_are_no_pipes(tmp_path: Path) -> None:
    assert not any(map(is_pipe, (tmp_path, tmp_path / "nothing", __file__, "a\0b")))


HOLD_LOCK = """
import sys
from hypensearch.formats.files import file_lock
with file_lock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_file_appears_only_when_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "run.txt"
    with replace_when_whole(path, "w") as file:
        file.write("é\n")
        assert not path.exists()
    assert path.read_bytes() == b"\xc3\xa9\n"
    assert os.listdir(path.parent) == ["run.txt"]


def test_what_takes_the_name_was_brought_to_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a library has put another file in the place of the open one, as safetensors does."""
    on_disk: set[int] = set()
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        on_disk.add(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    with replace_when_whole(tmp_path / "weights") as file:
        save_file({"x": torch.zeros(3)}, file.name)
    assert (tmp_path / "weights").stat().st_ino in on_disk


def test_an_error_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    path = tmp_path / "run.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), replace_when_whole(path) as file:  # noqa: PT012
        file.write(b"half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["run.txt"]


def test_permissions_follow_the_umask_or_the_file_replaced(tmp_path: Path) -> None:
    plain, kept = tmp_path / "plain", tmp_path / "kept"
    plain.touch()
    kept.touch()
    kept.chmod(0o640)
    new = tmp_path / "new"
    for path in (kept, new):
        with replace_when_whole(path):
            pass
    assert stat.S_IMODE(kept.stat().st_mode) == 0o640
    assert new.stat().st_mode == plain.stat().st_mode


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with replace_when_whole(tmp_path / "link") as file:
        file.write(b"x")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"x"


def test_a_pipe_is_written_and_stays_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()), daemon=True)
    reader.start()
    with replace_when_whole(pipe) as file:
        file.write(b"through")
    reader.join(30)
    assert read == [b"through"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_what_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(HypensearchError, match="is a folder"), replace_when_whole(tmp_path):
        pass
    with (
        pytest.raises(HypensearchError, match="file/run.txt: cannot be written"),
        replace_when_whole(tmp_path / "file" / "run.txt"),
    ):
        pass


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_names_the_file() -> None:
    with (
        pytest.raises(HypensearchError, match="/dev/full: cannot be written: No space"),
        replace_when_whole("/dev/full") as file,
    ):
        file.write(b"x" * 2**21)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (Exception("File too large (os error 27)"), ": File too large"),
        (RuntimeError("[enforce fail at inline_container.cc:603] . unexpected pos 64"), "is the disk full"),
    ],
)
def test_what_libraries_cannot_write_names_the_file(tmp_path: Path, error: Exception, words: str) -> None:
    with pytest.raises(HypensearchError, match=f"x: cannot be written.*{words}"), replace_when_whole(tmp_path / "x"):
        raise error
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("error", [OSError(errno.EIO, "other"), FileNotFoundError(errno.ENOENT, "none", "other file")])
def test_other_errors_of_the_block_pass_through(tmp_path: Path, error: OSError) -> None:
    with pytest.raises(OSError, match="other") as caught, replace_when_whole(tmp_path / "x"):
        raise error
    assert caught.value is error
    assert os.listdir(tmp_path) == []


def test_a_held_lock_names_its_holder(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD_LOCK, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(HypensearchError, match=rf"{path}: locked by process {holder.pid}"), file_lock(path):
            pass
        holder.kill()
    assert path.exists()
    with file_lock(path):
        assert path.read_text() == f"{os.getpid()}\n"
    assert not path.exists()


def test_a_lock_excludes_within_a_process_and_can_be_taken_again(tmp_path: Path) -> None:
    for _ in range(2):
        with (
            file_lock(tmp_path / "lock"),
            pytest.raises(HypensearchError, match=f"locked by process {os.getpid()}"),
            file_lock(tmp_path / "lock"),
        ):
            pass


def test_a_lock_in_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(HypensearchError, match="No such file"), file_lock(tmp_path / "none" / "lock"):
        pass


def test_plain_and_gzip_read_the_same(tmp_path: Path) -> None:
    content = b"one\ntwo\n" * 1000
    plain, packed = tmp_path / "a.txt", tmp_path / "a.txt.gz"
    plain.write_bytes(content)
    packed.write_bytes(gzip.compress(content[:80]) + gzip.compress(content[80:]))
    for path in (plain, packed):
        with open_stream(path) as stream:
            assert stream.readline() == b"one\n"
            assert stream.read() == content[4:]
    assert sha256_of(plain) == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.gz", b"plain text", "not gzip data, though"),
        ("a.gz", b"", "empty, though"),
        ("a.txt", gzip.compress(b"x", mtime=0), r"rename it to .*a\.txt\.gz"),
        ("a.gz", gzip.compress(os.urandom(5000), mtime=0)[:2000], "breaks off"),
        ("a.gz", gzip.compress(b"x" * 100, mtime=0)[:-8] + b"12345678", "damaged"),
        ("a.gz", gzip.compress(b"x" * 100, mtime=0) + b"rubbish", "damaged"),
    ],
)
def test_damaged_files(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(HypensearchError, match=message):
        read_whole(tmp_path / name, 10**6)


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(HypensearchError, match="none: no such file"):
        open_stream(tmp_path / "none")
    with pytest.raises(HypensearchError, match="is a folder"):
        open_stream(tmp_path)
    with pytest.raises(HypensearchError, match="cannot be read"):
        open_stream("a\0b")


def test_read_whole_refuses_more_than_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(b"x" * 10))
    assert read_whole(path, 10) == b"x" * 10
    with pytest.raises(HypensearchError, match="larger than 9 bytes"):
        read_whole(path, 9)


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"", []),
        (b"\n", [""]),
        (b"a\nb", ["a", "b"]),
        (b"\xef\xbb\xbfa\r\nb\rc\r\n\r\nd\r", ["a", "b", "c", "", "d"]),
        ("a\u2028b\x0bc\x85\n".encode(), ["a\u2028b\x0bc\x85"]),
        (b"a\r\r\nb", ["a", "", "b"]),
    ],
)
def test_lines_end_as_in_python_and_java(tmp_path: Path, content: bytes, lines: list[str]) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    assert [line for _, line in numbered_lines(path)] == lines
    assert [number for number, _ in numbered_lines(path)] == list(range(1, len(lines) + 1))
    with open(path, encoding="utf-8-sig") as file:
        assert [line.rstrip("\n") for line in file] == lines


def test_lines_too_long_or_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"ok\nab\xff\n")
    with pytest.raises(HypensearchError, match=r"a\.txt:2: byte 0xff at column 3 is not UTF-8"):
        list(numbered_lines(path))
    with pytest.raises(HypensearchError, match=r"a\.txt:2: line is longer than 3 bytes"):
        list(numbered_lines(path, max_line_bytes=3))
    with pytest.raises(HypensearchError, match=r"a\.txt: larger than 4 bytes"):
        list(numbered_lines(path, max_bytes=4))


def test_memory_is_taken_for_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "small.json"
    path.write_text("{}")
    tracemalloc.start()
    assert read_whole(path, 2**32) == b"{}"
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**24
