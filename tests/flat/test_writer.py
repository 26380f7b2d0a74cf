# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
import os
import resource
import signal
import subprocess
import sys
from functools import partial

import numpy as np
import pytest

from hypensearch.errors import HypensearchError
from hypensearch.flat import BadRow, FlatIndex, FlatIndexWriter
from hypensearch.formats.files import file_lock

from .crashes import content_of, dies_at_fsync
from .writing import vectors_of, write_index

DOCIDS = [f"doc{number}" for number in range(7)]


def test_killed_at_any_fsync_and_resumed_it_is_the_same_index(tmp_path):
    write_index(tmp_path / "whole", DOCIDS, to_faiss=True)
    whole = content_of(tmp_path / "whole")
    number = 1
    while dies_at_fsync(number, partial(write_index, tmp_path / str(number), DOCIDS, to_faiss=True)):
        folder = tmp_path / str(number)
        number += 1
        if (folder / "manifest.json").exists():  # died between commit and clean-up: whole for readers
            FlatIndex.open(folder).verify()
            continue
        with pytest.raises(HypensearchError, match="unfinished|not an index"):
            FlatIndex.open(folder)
        write_index(folder, DOCIDS, to_faiss=True)
        assert content_of(folder) == whole
    assert number > 20


def test_killed_at_any_fsync_an_overwrite_leaves_the_old_or_the_new(tmp_path):
    number = 1
    while True:
        folder = tmp_path / str(number)
        write_index(folder, DOCIDS)
        died = dies_at_fsync(number, partial(write_index, folder, ["x", "y", "z"], overwrite=True))
        found = list(FlatIndex.open(folder).docids())
        assert found in (DOCIDS, ["x", "y", "z"])
        if not died:
            break
        write_index(folder, ["x", "y", "z"], overwrite=True)
        assert list(FlatIndex.open(folder).docids()) == ["x", "y", "z"]
        assert len(list(folder.glob("shard-*"))) == 1
        assert not (folder / "progress.json").exists()
        number += 1
    assert found == ["x", "y", "z"]


def test_finished_blocks_are_not_written_again(tmp_path):
    with FlatIndexWriter(tmp_path, dim=3) as writer:
        writer.append(DOCIDS[:4], vectors_of(4), resume_at={"row": 4})
    with pytest.raises(HypensearchError, match=r"unfinished index, 4 documents are done; run the same"):
        FlatIndex.open(tmp_path)
    with FlatIndexWriter(tmp_path, dim=3) as writer:
        assert (writer.num_docs, writer.resume_at) == (4, {"row": 4})
        writer.append(DOCIDS[4:], vectors_of(7)[4:])
        writer.finish()
    assert list(FlatIndex.open(tmp_path).docids()) == DOCIDS


def test_digests_do_not_depend_on_the_blocks(tmp_path, monkeypatch):
    for module in ("formats.sealed", "flat.manifest", "flat.writer"):
        monkeypatch.setattr(f"hypensearch.{module}.BLOCK_ROWS", 3)
    records = []
    for block_rows in (1, 2, 3, 7):
        shard = write_index(tmp_path / str(block_rows), DOCIDS, block_rows=block_rows).shards[0]
        records.append(shard.files["vectors.npy"].sha256)
    assert len(records[0]) == 3
    assert all(record == records[0] for record in records)


@pytest.mark.parametrize("block_rows", [1, 3, 7])
def test_repeated_docids_are_found_wherever_they_stand(tmp_path, block_rows):
    with pytest.raises(BadRow, match=r"'doc1' was already given \(document 2\)"):
        write_index(tmp_path / "i", [*DOCIDS[:4], "doc1"], block_rows=block_rows)


def test_repeated_docids_are_found_after_resuming(tmp_path):
    with FlatIndexWriter(tmp_path, dim=3) as writer:
        writer.append(DOCIDS, vectors_of(7))
    with FlatIndexWriter(tmp_path, dim=3) as writer:
        assert writer.first_repeated(["new", "doc6"]) == (1, 6)
        with pytest.raises(BadRow) as error:
            writer.append(["new", "doc6"], vectors_of(2))
    assert error.value.row == 1


@pytest.mark.parametrize("bad", ["", "two words", "tab\t", "line\n", "nul\0", "\ud800"])
def test_docids_that_no_run_can_carry_are_refused(tmp_path, bad):
    with FlatIndexWriter(tmp_path / "i", dim=3) as writer, pytest.raises(BadRow, match="docid"):
        writer.append(["fine", bad], vectors_of(2))
    assert not (tmp_path / "i").exists()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_vectors_that_are_not_finite_are_refused(tmp_path, bad):
    vectors = vectors_of(3)
    vectors[1, 2] = bad
    with (
        FlatIndexWriter(tmp_path / "i", dim=3) as writer,
        pytest.raises(BadRow, match="vector of document 'b' holds NaN or infinity"),
    ):
        writer.append(["a", "b", "c"], vectors)


def test_too_large_for_float16(tmp_path):
    vectors = vectors_of(2)
    vectors[1, 0] = 7e4
    with (
        FlatIndexWriter(tmp_path / "i", dim=3, dtype="float16") as writer,
        pytest.raises(BadRow, match=r"document 'b' holds 70000, too large for float16; store float32"),
    ):
        writer.append(["a", "b"], vectors)


def test_vectors_of_another_size(tmp_path):
    with (
        FlatIndexWriter(tmp_path / "i", dim=4) as writer,
        pytest.raises(HypensearchError, match="3 dimensions, the index 4"),
    ):
        writer.append(["a"], vectors_of(1))


def test_no_documents(tmp_path):
    with FlatIndexWriter(tmp_path / "i", dim=4) as writer, pytest.raises(HypensearchError, match="no documents"):
        writer.finish()
    assert not (tmp_path / "i").exists()


def test_a_complete_index_is_not_replaced_unasked(tmp_path):
    write_index(tmp_path)
    before = content_of(tmp_path)
    with pytest.raises(HypensearchError, match="holds a complete index of 5 documents; give --overwrite"):
        write_index(tmp_path)
    assert content_of(tmp_path) == before


def test_a_folder_of_other_things_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("all of it")
    for overwrite in (False, True):
        with pytest.raises(HypensearchError, match=r"holds 'thesis\.tex', which is no part of an index"):
            write_index(tmp_path, overwrite=overwrite)
    assert content_of(tmp_path) == {"thesis.tex": b"all of it"}


def test_a_folder_that_cannot_be_made_is_reported_at_once(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(HypensearchError, match=r"file: is a file, so no folder"):
        FlatIndexWriter(tmp_path / "file" / "deep" / "index", dim=3)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_to_is_reported_at_once(tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    for folder in ("locked", "locked/index"):
        with pytest.raises(HypensearchError, match="locked: may not be written to"):
            FlatIndexWriter(tmp_path / folder, dim=3)


def test_a_foreign_manifest_is_never_replaced(tmp_path):
    (tmp_path / "manifest.json").write_text('{"name": "a PWA"}')
    with pytest.raises(HypensearchError, match="not a manifest of the format 'hypensearch flat index'"):
        write_index(tmp_path, overwrite=True)


def test_a_damaged_index_can_be_overwritten(tmp_path):
    write_index(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(HypensearchError, match="damaged"):
        write_index(tmp_path)
    assert write_index(tmp_path, overwrite=True).generation == 2
    assert FlatIndex.open(tmp_path).num_docs == 5


def unfinished(folder, **settings):
    with FlatIndexWriter(folder, settings=settings, dim=3, model={"fingerprint": "aa"}) as writer:
        writer.append(["a"], vectors_of(1))


def test_resuming_with_other_settings_is_refused(tmp_path):
    unfinished(tmp_path, batch_size=64, fields=["text"])
    with pytest.raises(
        HypensearchError, match=r"\(1 documents\) begun with batch_size 64, now it is 32; run it as before"
    ):
        FlatIndexWriter(tmp_path, dim=3, settings={"batch_size": 32, "fields": ["text"]})
    with FlatIndexWriter(tmp_path, dim=3, settings={"batch_size": 32}, overwrite=True) as writer:
        assert writer.num_docs == 0
        writer.append(["z"], vectors_of(1))
        writer.finish()
    assert list(FlatIndex.open(tmp_path).docids()) == ["z"]


@pytest.mark.parametrize("changed", [{"model": {"fingerprint": "bb"}}, {"dtype": "float16"}, {"dim": 4}])
def test_resuming_with_another_model_is_refused(tmp_path, changed):
    unfinished(tmp_path)
    before = content_of(tmp_path)
    with pytest.raises(HypensearchError, match="begun with"):
        FlatIndexWriter(tmp_path, **{"dim": 3, "model": {"fingerprint": "aa"}, **changed})
    assert content_of(tmp_path) == before


def test_files_that_lost_data_are_refused(tmp_path):
    unfinished(tmp_path)
    (path,) = tmp_path.glob("shard-*/vectors.npy")
    path.write_bytes(b"")
    with pytest.raises(HypensearchError, match=r"vectors\.npy.*start again"):
        FlatIndexWriter(tmp_path, dim=3, model={"fingerprint": "aa"})
    assert not (tmp_path / ".lock").exists()


def test_damaged_progress(tmp_path):
    unfinished(tmp_path)
    (tmp_path / "progress.json").write_text("{")
    with pytest.raises(HypensearchError, match="damaged"):
        FlatIndexWriter(tmp_path, dim=3)
    write_index(tmp_path, overwrite=True)


def test_two_writers(tmp_path):
    with FlatIndexWriter(tmp_path / "i", dim=3) as one:
        with pytest.raises(HypensearchError, match=f"locked by process {os.getpid()}"):
            FlatIndexWriter(tmp_path / "i", dim=3)
        one.append(["a"], vectors_of(1))
        one.finish()
        with pytest.raises(HypensearchError, match="complete index"):
            FlatIndexWriter(tmp_path / "i", dim=3)
    FlatIndex.open(tmp_path / "i").verify()


def test_a_stale_lock_locks_nobody_out(tmp_path):
    tmp_path.joinpath(".lock").write_text("999999\n")
    write_index(tmp_path)
    with file_lock(tmp_path / ".lock"):
        pass


FULL_DISK = """
import resource, signal, sys
from tests.flat.writing import write_index
from hypensearch import cli
from pathlib import Path
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (6_000, 6_000))
raise SystemExit(cli.run(lambda: write_index(Path(sys.argv[1]), [str(n) for n in range(1000)], block_rows=100)))
"""


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="no limit on file sizes here")
@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="no limit on file sizes here")
def test_a_full_disk_is_one_line_and_keeps_what_is_done(tmp_path):
    done = subprocess.run([sys.executable, "-c", FULL_DISK, tmp_path / "i"], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "documents are kept, run the same command again" in done.stderr
    assert done.stderr.count("\n") == 1
    docids = [str(number) for number in range(1000)]
    write_index(tmp_path / "i", docids, block_rows=100)
    assert list(FlatIndex.open(tmp_path / "i").docids()) == docids


def test_faiss_copy_is_what_faiss_writes(tmp_path):
    faiss = pytest.importorskip("faiss")
    write_index(tmp_path / "i", to_faiss=True)
    index = faiss.IndexFlatIP(3)
    index.add(vectors_of(5))
    faiss.write_index(index, str(tmp_path / "index"))
    assert (tmp_path / "i" / "index").read_bytes() == (tmp_path / "index").read_bytes()
    assert (tmp_path / "i" / "docid").read_text() == "a\nb\nc\nd\ne\n"


def test_faiss_copy_goes_with_its_index(tmp_path):
    write_index(tmp_path, dtype="float16", to_faiss=True)
    write_index(tmp_path, overwrite=True)
    assert not (tmp_path / "index").exists()
    assert not (tmp_path / "docid").exists()


@pytest.mark.parametrize("name", ["vectors.npy", "docid", "docid.offsets.npy"])
def test_resuming_never_blesses_damage(tmp_path, name):
    with FlatIndexWriter(tmp_path, dim=3) as writer:
        writer.append(DOCIDS[:4], vectors_of(4), resume_at={"row": 4})
    (path,) = tmp_path.glob(f"shard-*/{name}")
    content = bytearray(path.read_bytes())
    content[-3] ^= 4
    path.write_bytes(content)
    with pytest.raises(HypensearchError, match=f"{name}: its content has changed since it was written; delete"):
        FlatIndexWriter(tmp_path, dim=3)


def test_damage_before_the_end_is_not_blessed(tmp_path):
    with FlatIndexWriter(tmp_path, dim=3) as writer:
        writer.append(DOCIDS, vectors_of(7))
        (path,) = tmp_path.glob("shard-*/docid")
        path.write_bytes(path.read_bytes().replace(b"doc3", b"doc8"))
        with pytest.raises(HypensearchError, match="docid: its content has changed since it was written"):
            writer.finish()
    with pytest.raises(HypensearchError, match="unfinished index"):
        FlatIndex.open(tmp_path)


def test_one_wrong_byte_of_the_progress_is_refused(tmp_path):
    unfinished(tmp_path)
    path = tmp_path / "progress.json"
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(HypensearchError, match="damaged"):
            FlatIndexWriter(tmp_path, dim=3, overwrite=False)
