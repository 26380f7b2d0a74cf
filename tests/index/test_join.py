# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from hypensearch.errors import HypensearchError
from hypensearch.flat import FlatIndex
from hypensearch.flat.join import join_indexes
from hypensearch.index.join import main
from tests.flat.crashes import content_of
from tests.flat.writing import MODEL, vectors_of, write_index


@pytest.fixture
def folders(tmp_path):
    write_index(tmp_path / "a", ["n", "b"])
    write_index(tmp_path / "c", ["z", "m", "a"], scale=10)
    return [tmp_path / "a", tmp_path / "c"]


def test_joined_index_counts_rows_through(tmp_path, folders, capsys):
    assert main(["--output", str(tmp_path / "all"), *map(str, folders)]) == 0
    assert "5 document vectors of 2 indexes" in capsys.readouterr().out
    with FlatIndex.open(tmp_path / "all") as index:
        assert list(index.docids()) == ["n", "b", "z", "m", "a"]
        assert [index.docid(row) for row in range(5)] == ["n", "b", "z", "m", "a"]
        assert [index.row_of(docid) for docid in "nbzma"] == [0, 1, 2, 3, 4]
        assert index.rows_of("amxb").tolist() == [4, 3, -1, 1]
        np.testing.assert_array_equal(index.shards[1].vectors, vectors_of(3) * 10)
        index.verify()


def test_joined_with_its_shards_it_can_be_moved(tmp_path, folders):
    (tmp_path / "all").mkdir()
    join_indexes(folders, tmp_path / "all")
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("a", "c", "all"):
        (tmp_path / name).rename(moved / name)
    assert FlatIndex.open(moved / "all").num_docs == 5


def test_a_shard_encoded_again_is_missed(tmp_path, folders):
    join_indexes(folders, tmp_path / "all")
    write_index(folders[0], overwrite=True)
    with pytest.raises(HypensearchError, match="not there; copy the index again"):
        FlatIndex.open(tmp_path / "all")


def test_replacing_a_joined_index_leaves_the_others_alone(tmp_path, folders):
    join_indexes(folders, tmp_path / "all")
    before = [content_of(folder) for folder in folders]
    with pytest.raises(HypensearchError, match="--overwrite"):
        join_indexes(folders[:1], tmp_path / "all")
    join_indexes(folders[:1], tmp_path / "all", overwrite=True)
    write_index(tmp_path / "all", overwrite=True)
    assert [content_of(folder) for folder in folders] == before


def test_a_docid_in_two_indexes(tmp_path, folders):
    write_index(tmp_path / "d", ["q", "m"])
    with pytest.raises(HypensearchError, match=r"d: holds docid 'm', which is also in .*c"):
        join_indexes([*folders, tmp_path / "d"], tmp_path / "all")
    assert not (tmp_path / "all").exists()


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"model": {**MODEL, "fingerprint": "beef"}}, "model fingerprint is 'beef', but 'f00d'"),
        ({"model": None}, "model fingerprint"),
        ({"dtype": "float16"}, "dtype is 'float16', but 'float32'"),
    ],
)
def test_indexes_that_do_not_belong_together(tmp_path, folders, other, said):
    write_index(tmp_path / "d", ["q"], **other)
    with pytest.raises(HypensearchError, match=said):
        join_indexes([*folders, tmp_path / "d"], tmp_path / "all")


def test_output_among_the_inputs(tmp_path, folders):
    with pytest.raises(HypensearchError, match="is one of the indexes"):
        join_indexes(folders, folders[0], overwrite=True)
