# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
import gzip
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from hypensearch.encode import EncodingOptions, OutputOptions, TextRule, encode_corpus, import_vectors
from hypensearch.encode.encode_corpus import bytes_to_read
from hypensearch.errors import HypensearchError
from hypensearch.flat import FlatIndex
from hypensearch.formats.corpus import CorpusPosition
from hypensearch.index.join import join_indexes
from tests.encode.hash_encoder import HashEncoder
from tests.flat.crashes import content_of

SMALL = EncodingOptions(batch_size=4, window_rows=8)


def documents(number: int) -> list[dict[str, str]]:
    words = random.Random(7)
    return [
        {"id": f"d{row}", "title": f"Title {row}", "text": " ".join(f"w{words.randrange(99)}" for _ in range(row % 13))}
        for row in range(number)
    ]


def write_corpus(path: Path, records: list[dict[str, str]]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


@pytest.fixture
def corpus(tmp_path):
    return write_corpus(tmp_path / "corpus.jsonl", documents(50))


def refuse_to_load():
    raise AssertionError("the model is loaded before the corpus is checked")


def test_vectors_stand_in_corpus_order(corpus, tmp_path):
    encoder = HashEncoder()
    manifest = encode_corpus(corpus, tmp_path / "i", lambda: encoder, encoding=SMALL)
    assert manifest.num_docs == 50
    with FlatIndex.open(tmp_path / "i") as index:
        assert list(index.docids()) == [f"d{row}" for row in range(50)]
        wanted = [encoder.vector(f"{record['title']} {record['text']}") for record in documents(50)]
        np.testing.assert_array_equal(index.shards[0].vectors, wanted)
        assert index.model["fingerprint"] == "abc"
        assert index.model["max_length"] == 256


def test_batches_hold_texts_of_one_length(corpus, tmp_path):
    encoder = HashEncoder()
    encode_corpus(corpus, tmp_path / "i", lambda: encoder, encoding=SMALL)
    assert [len(batch) for batch in encoder.batches] == [4] * 12 + [2]
    for first, second in zip(encoder.batches[0:12:2], encoder.batches[1:12:2], strict=True):
        lengths = [len(text) for text in first + second]
        assert lengths == sorted(lengths, reverse=True)


def test_batches_as_the_released_code_has_them(corpus, tmp_path):
    encoder = HashEncoder()
    released = EncodingOptions(batch_size=3, window_rows=8, sort_by_length=False)
    encode_corpus(
        corpus, tmp_path / "i", lambda: encoder, text=TextRule(title_field=None), encoding=released, allow_empty=True
    )
    texts = [record["text"] for record in documents(50)]
    assert encoder.batches == [texts[start : start + 3] for start in range(0, 50, 3)]


def test_prefix_and_max_length_reach_the_encoder(corpus, tmp_path):
    encoder = HashEncoder()
    options = EncodingOptions(prefix="passage:", max_length=2)
    encode_corpus(corpus, tmp_path / "i", lambda: encoder, encoding=options)
    assert all(text.startswith("passage: Title") for batch in encoder.batches for text in batch)
    np.testing.assert_array_equal(FlatIndex.open(tmp_path / "i").shards[0].vectors[9], encoder.vector("passage: Title"))


def test_a_batch_too_large_for_the_device_is_halved(corpus, tmp_path):
    class SmallDevice(HashEncoder):
        def encode_documents(self, texts, *, max_length=256):
            if len(texts) > 3:
                raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
            return super().encode_documents(texts, max_length=max_length)

    encode_corpus(corpus, tmp_path / "small", lambda: SmallDevice())
    encode_corpus(corpus, tmp_path / "large", lambda: HashEncoder())
    assert content_of(tmp_path / "small") == content_of(tmp_path / "large")


def test_a_text_too_large_for_the_device(corpus, tmp_path):
    class NoDevice(HashEncoder):
        def encode_documents(self, texts, *, max_length=256):
            raise RuntimeError("out of memory")

    with pytest.raises(HypensearchError, match="out of memory on a batch of 1 texts"):
        encode_corpus(corpus, tmp_path / "i", lambda: NoDevice())
    assert not (tmp_path / "i").exists()


KILLED = """
import sys
from hypensearch.encode import encode_corpus
from tests.encode.hash_encoder import HashEncoder
from tests.encode.test_encode_corpus import SMALL, OutputOptions
encode_corpus(sys.argv[1], sys.argv[2], HashEncoder, encoding=SMALL, out=OutputOptions(store_documents=True))
"""


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz"])
def test_killed_at_a_random_block_it_goes_on_to_the_same_index(tmp_path, suffix):
    corpus = tmp_path / f"corpus{suffix}"
    lines = "".join(json.dumps(record) + "\n" for record in documents(600)).encode()
    corpus.write_bytes(gzip.compress(lines) if suffix.endswith("gz") else lines)
    out = OutputOptions(store_documents=True)
    encode_corpus(corpus, tmp_path / "whole", HashEncoder, encoding=SMALL, out=out)
    done = kill_between(corpus, tmp_path / "i", random.randrange(8, 400))
    encoder = HashEncoder()
    encode_corpus(corpus, tmp_path / "i", lambda: encoder, encoding=SMALL, out=out)
    assert sum(map(len, encoder.batches)) == 600 - done
    assert content_of(tmp_path / "i") == content_of(tmp_path / "whole")
    assert FlatIndex.open(tmp_path / "i").document("d577").get("title") == "Title 577"


def kill_between(corpus: Path, folder: Path, num_docs: int) -> int:
    """Encode in a process that is killed once this many documents are done; give how many really were."""
    command = [sys.executable, "-c", KILLED, str(corpus), str(folder)]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[2])
    progress = folder / "progress.json"
    while process.poll() is None and done_in(progress) < num_docs:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    return done_in(progress)


def done_in(progress: Path) -> int:
    return json.loads(progress.read_text())["num_docs"] if progress.exists() else 0


def test_shards_join_to_the_whole(corpus, tmp_path):
    for shard in range(3):
        encode_corpus(corpus, tmp_path / f"s{shard}", HashEncoder, encoding=SMALL, shard_id=shard, shard_num=3)
    join_indexes([tmp_path / f"s{shard}" for shard in range(3)], tmp_path / "all")
    encode_corpus(corpus, tmp_path / "i", HashEncoder, encoding=SMALL)
    with FlatIndex.open(tmp_path / "all") as joined, FlatIndex.open(tmp_path / "i") as whole:
        assert sorted(joined.docids()) == sorted(whole.docids())
        for docid in whole.docids():
            row = joined.row_of(docid)
            shard = next(shard for shard in reversed(joined.shards) if shard.start <= row)
            np.testing.assert_array_equal(
                shard.vectors[row - shard.start], whole.shards[0].vectors[whole.row_of(docid)]
            )


def test_documents_are_read_back_from_the_corpus(corpus, tmp_path):
    encode_corpus(corpus, tmp_path / "i", HashEncoder)
    document = FlatIndex.open(tmp_path / "i").document("d5")
    record = documents(50)[5]
    assert document.docid() == document.id() == "d5"
    assert json.loads(document.raw()) == record
    assert document.contents() == f"{record['title']}\n{record['text']}"
    assert document.get("title") == "Title 5"
    assert document.get("author") is None
    assert FlatIndex.open(tmp_path / "i").document("nope") is None


@pytest.mark.parametrize("form", ["jsonl", "gz", "folder", "array"])
def test_stored_documents_need_no_corpus(tmp_path, form):
    records = [{**record, "text": record["text"] + " line\u2028separator Ünïcode"} for record in documents(30)]
    lines = [json.dumps(record, ensure_ascii=False) for record in records]
    path = tmp_path / {"jsonl": "c.jsonl", "gz": "c.jsonl.gz", "folder": "c", "array": "c.json"}[form]
    if form == "folder":
        path.mkdir()
        (path / "a.jsonl").write_text("\n".join(lines[:11]), encoding="utf-8")
        (path / "b.json").write_text("\ufeff" + "\n".join(lines[11:]), encoding="utf-8")
    elif form == "gz":
        path.write_bytes(gzip.compress("\n".join(lines).encode()))
    else:
        content = json.dumps(records, indent=2, ensure_ascii=False) if form == "array" else "\n".join(lines)
        path.write_text(content, encoding="utf-8")
    encode_corpus(path, tmp_path / "i", HashEncoder, encoding=SMALL, out=OutputOptions(store_documents=True))
    path.rename(tmp_path / "gone")
    index = FlatIndex.open(tmp_path / "i")
    assert [json.loads(index.document(record["id"]).raw()) for record in records] == records
    (stored,) = (tmp_path / "i").glob("shard-*/documents.jsonl")
    assert [json.loads(line) for line in stored.read_bytes().splitlines()] == records


@pytest.mark.parametrize("form", ["folder", "array"])
def test_documents_are_read_back_from_every_form(tmp_path, form):
    records = documents(30)
    path = tmp_path / "c.json"
    if form == "folder":
        path = tmp_path / "c"
        path.mkdir()
        write_corpus(path / "a.jsonl", records[:11])
        write_corpus(path / "b.jsonl", records[11:])
    else:
        path.write_text(json.dumps(records, indent=2))
    encode_corpus(path, tmp_path / "i", HashEncoder, encoding=SMALL)
    index = FlatIndex.open(tmp_path / "i")
    assert [json.loads(index.document(record["id"]).raw()) for record in records] == records


def test_documents_that_cannot_be_read_back(corpus, tmp_path):
    packed = tmp_path / "c.jsonl.gz"
    packed.write_bytes(gzip.compress(corpus.read_bytes()))
    encode_corpus(packed, tmp_path / "packed", HashEncoder)
    encode_corpus(corpus, tmp_path / "i", HashEncoder)
    with pytest.raises(HypensearchError, match="gzipped corpus; encode it again with --store-documents"):
        FlatIndex.open(tmp_path / "packed").document("d1")
    os.utime(corpus, (1, 1))
    with pytest.raises(HypensearchError, match=r"corpus\.jsonl: the corpus has changed since"):
        FlatIndex.open(tmp_path / "i").document("d1")
    corpus.unlink()
    with pytest.raises(HypensearchError, match=r"corpus\.jsonl: the encoded corpus is not there"):
        FlatIndex.open(tmp_path / "i").document("d1")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", r"c\.jsonl:3: not JSON"),
        ('{"text": "no id"}', r"c\.jsonl:3: an id .* was wanted under"),
        ('{"id": "", "text": "x"}', r"c\.jsonl:3: the id is empty"),
        ('{"id": "z"}', r"c\.jsonl:3: no field 'text'"),
        ('{"id": "z", "text": ""}', r"c\.jsonl:3: .*--allow-empty"),
        ('{"id": "d1", "text": "again"}', r"c\.jsonl:3: the id 'd1' was already given to line 2 of .*c\.jsonl"),
    ],
)
def test_bad_lines_are_told_before_the_model_is_loaded(tmp_path, line, said):
    path = write_corpus(tmp_path / "c.jsonl", documents(2))
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(HypensearchError, match=said):
        encode_corpus(path, tmp_path / "i", refuse_to_load)
    assert not (tmp_path / "i").exists()


def test_an_id_repeated_in_a_later_window(tmp_path):
    path = write_corpus(tmp_path / "c.jsonl", [*documents(20), {"id": "d3", "text": "again"}])
    with pytest.raises(HypensearchError, match=r"c\.jsonl:21: the id 'd3' was already given to document number 4;"):
        encode_corpus(path, tmp_path / "i", HashEncoder, encoding=SMALL)
    with pytest.raises(HypensearchError, match="unfinished index, 16 documents are done"):
        FlatIndex.open(tmp_path / "i")


def test_a_bad_vector_names_its_line(corpus, tmp_path):
    class BadEncoder(HashEncoder):
        def vector(self, text, max_length=256):
            return super().vector(text, max_length) * (np.nan if "Title 6" in text else 1)

    with pytest.raises(HypensearchError, match=r"corpus\.jsonl:7: the vector of document 'd6' holds NaN"):
        encode_corpus(corpus, tmp_path / "i", BadEncoder)
    assert not (tmp_path / "i").exists()


@pytest.mark.parametrize(("content", "shards"), [("", 1), ("\n\n", 1), ('{"id": "a", "text": "b"}\n', 2)])
def test_no_documents(tmp_path, content, shards):
    path = tmp_path / "c.jsonl"
    path.write_text(content)
    with pytest.raises(HypensearchError, match="holds no documents"):
        encode_corpus(path, tmp_path / "i", refuse_to_load, shard_id=shards - 1, shard_num=shards)
    assert not (tmp_path / "i").exists()


def test_a_complete_index_is_refused_before_the_model_is_loaded(corpus, tmp_path):
    encode_corpus(corpus, tmp_path / "i", HashEncoder)
    with pytest.raises(HypensearchError, match="complete index"):
        encode_corpus(corpus, tmp_path / "i", refuse_to_load)


def begin(corpus, folder):
    """Encode two windows and stop there."""

    class Stops(HashEncoder):
        def encode_documents(self, texts, *, max_length=256):
            if len(self.batches) == 4:
                raise KeyboardInterrupt
            return super().encode_documents(texts, max_length=max_length)

    with pytest.raises(KeyboardInterrupt):
        encode_corpus(corpus, folder, Stops, encoding=SMALL)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"encoding": EncodingOptions(batch_size=2, window_rows=8)}, "begun with batch_size 4, now it is 2"),
        ({"encoding": EncodingOptions(batch_size=4, window_rows=8, max_length=9)}, "begun with max_length 256"),
        ({"text": TextRule(fields=("title",))}, r'begun with fields \["text"\], now it is \["title"\]'),
        ({"out": OutputOptions(dtype="float16")}, 'begun with dtype "float32", now it is "float16"'),
    ],
)
def test_going_on_differently_is_refused(corpus, tmp_path, changed, said):
    begin(corpus, tmp_path / "i")
    with pytest.raises(HypensearchError, match=said):
        encode_corpus(corpus, tmp_path / "i", refuse_to_load, **{"encoding": SMALL, **changed})


def test_going_on_with_another_model_is_refused(corpus, tmp_path):
    begin(corpus, tmp_path / "i")
    with pytest.raises(HypensearchError, match='model fingerprint "abc", now it is "xyz"'):
        encode_corpus(corpus, tmp_path / "i", lambda: HashEncoder(fingerprint="xyz"), encoding=SMALL)


def test_going_on_with_a_changed_corpus_is_refused(corpus, tmp_path):
    begin(corpus, tmp_path / "i")
    write_corpus(corpus, documents(51))
    with pytest.raises(HypensearchError, match=r"begun with size and time of .*corpus\.jsonl \[.*now it is \["):
        encode_corpus(corpus, tmp_path / "i", refuse_to_load, encoding=SMALL)


# Vectors made elsewhere.


def write_embeddings(folder: Path, number: int = 20) -> np.ndarray:
    folder.mkdir()
    vectors = np.arange(number * 3, dtype=np.float32).reshape(number, 3) / 7
    records = [
        {"id": f"d{row}", "contents": f"text {row}", "vector": vector.tolist()} for row, vector in enumerate(vectors)
    ]
    write_corpus(folder / "embeddings.jsonl", records)
    return vectors


def test_import_keeps_vectors_and_text(tmp_path):
    vectors = write_embeddings(tmp_path / "e")
    manifest = import_vectors(tmp_path / "e", tmp_path / "i")
    assert manifest.model is None
    index = FlatIndex.open(tmp_path / "i")
    np.testing.assert_array_equal(index.shards[0].vectors, vectors)
    assert index.document("d7").contents() == "text 7"


def test_import_goes_on(tmp_path):
    blocks_of_six = EncodingOptions(window_rows=6)
    vectors = write_embeddings(tmp_path / "e")
    path = tmp_path / "e" / "embeddings.jsonl"
    whole, stat = path.read_bytes(), path.stat()
    path.write_bytes(whole.replace(b'"d15"', b'"d 5"'))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with pytest.raises(HypensearchError, match=r"embeddings\.jsonl:16: the id 'd 5'"):
        import_vectors(tmp_path / "e", tmp_path / "i", encoding=blocks_of_six)
    assert done_in(tmp_path / "i" / "progress.json") == 12
    path.write_bytes(whole)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    import_vectors(tmp_path / "e", tmp_path / "i", encoding=blocks_of_six)
    np.testing.assert_array_equal(FlatIndex.open(tmp_path / "i").shards[0].vectors, vectors)


def test_import_of_our_own_faiss_copy(corpus, tmp_path):
    encode_corpus(corpus, tmp_path / "i", HashEncoder, out=OutputOptions(to_faiss=True))
    pyserinis = tmp_path / "pyserinis"
    pyserinis.mkdir()
    for name in ("index", "docid"):
        (tmp_path / "i" / name).rename(pyserinis / name)
    import_vectors(pyserinis, tmp_path / "again", HashEncoder)
    one, other = FlatIndex.open(tmp_path / "i"), FlatIndex.open(tmp_path / "again")
    assert list(one.docids()) == list(other.docids())
    np.testing.assert_array_equal(one.shards[0].vectors, other.shards[0].vectors)
    assert other.model["fingerprint"] == "abc"
    with pytest.raises(HypensearchError, match="knows no text"):
        other.document("d1")


def test_import_of_the_authors_items(variant, tmp_path):
    stored = OutputOptions(store_documents=True)
    import_vectors(variant / "encoded_items.docs", tmp_path / "i", out=stored)
    wanted = np.load(variant / "documents.npz")
    with FlatIndex.open(tmp_path / "i") as index:
        assert list(index.docids()) == wanted["ids"].tolist()
        np.testing.assert_array_equal(index.shards[0].vectors, wanted["embeddings"])
        assert index.document("doc-003").contents() == "日本語 の 文書 and 中文 water 山川"


def test_import_with_the_wrong_model(tmp_path):
    write_embeddings(tmp_path / "e")
    with pytest.raises(HypensearchError, match="vectors of 3 dimensions, but those of hash-encoder have 8"):
        import_vectors(tmp_path / "e", tmp_path / "i", HashEncoder)
    assert not (tmp_path / "i").exists()


@pytest.mark.parametrize(("number", "said"), [("NaN", "holds NaN"), ("1e39", "holds NaN or infinity")])
def test_import_of_what_is_no_number(tmp_path, number, said):
    write_embeddings(tmp_path / "e", 2)
    with open(tmp_path / "e" / "embeddings.jsonl", "a") as file:
        file.write(f'{{"id": "bad", "contents": "", "vector": [1, 2, {number}]}}\n')
    with pytest.raises(HypensearchError, match=rf"embeddings\.jsonl:3: .*{said}"):
        import_vectors(tmp_path / "e", tmp_path / "i")


def test_text_of_a_faiss_index_cannot_be_stored(corpus, tmp_path):
    encode_corpus(corpus, tmp_path / "i", HashEncoder, out=OutputOptions(to_faiss=True))
    with pytest.raises(HypensearchError, match="holds no text"):
        import_vectors(tmp_path / "i" / "index", tmp_path / "j", out=OutputOptions(store_documents=True))


def test_progress_knows_what_is_left_of_a_gzipped_corpus(tmp_path: Path) -> None:
    lines = "".join(json.dumps({"id": f"d{i}", "contents": "water " * 20}) + "\n" for i in range(50)).encode()
    path = tmp_path / "corpus.jsonl.gz"
    path.write_bytes(gzip.compress(lines))
    file = {"path": str(path), "bytes": path.stat().st_size}
    assert bytes_to_read([file], 1, None) == len(lines)
    assert bytes_to_read([file], 1, CorpusPosition(str(path), 3, 100)) == len(lines) - 100
    path.write_bytes(gzip.compress(b""))
    assert bytes_to_read([{"path": str(path), "bytes": path.stat().st_size}], 1, None) is None
