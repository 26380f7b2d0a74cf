# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
import gzip
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypensearch.errors import HypensearchError
from hypensearch.formats import corpus, json_lines
from hypensearch.formats.corpus import CorpusPosition, Document, TextRule, read_corpus
from tests.formats.strategies import near_misses, outcome_of

DOCUMENTS = [{"id": str(i), "text": f"text {i} é\u2028\U0001f600"} for i in range(7)]
FORMS = ["corpus.jsonl", "corpus.jsonl.gz", "corpus.json", "corpus.json.gz", "array.json", "array.json.gz"]


def write(path: Path, *lines: Any) -> Path:
    text = "".join((line if isinstance(line, str) else json.dumps(line, ensure_ascii=False)) + "\n" for line in lines)
    if path.name.startswith("array"):
        text = json.dumps(lines, ensure_ascii=False, indent=1)
    content = text.encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def pairs(documents: Any) -> list[tuple[str, str]]:
    return [(document.docid, document.text) for document in documents]


EXPECTED = [(document["id"], document["text"].strip()) for document in DOCUMENTS]


@pytest.mark.parametrize("name", FORMS)
def test_every_form_gives_the_same_documents(tmp_path: Path, name: str) -> None:
    assert pairs(read_corpus(write(tmp_path / name, *DOCUMENTS))) == EXPECTED


@pytest.mark.parametrize("name", FORMS)
def test_offset_and_length_point_at_the_document(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, *DOCUMENTS)
    content = gzip.decompress(path.read_bytes()) if name.endswith(".gz") else path.read_bytes()
    for document in read_corpus(path):
        cut = content[document.offset : document.offset + document.length]
        assert json.loads(cut)["id"] == document.docid
        assert document.line == content[: document.offset].count(b"\n") + 1
        assert cut.endswith(b"\n") or name.startswith("array")


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("shard_num", [1, 2, 9])
def test_shards_part_the_corpus(tmp_path: Path, name: str, shard_num: int) -> None:
    path = write(tmp_path / name, *DOCUMENTS)
    shards = [pairs(read_corpus(path, shard_id=i, shard_num=shard_num)) for i in range(shard_num)]
    assert sorted(sum(shards, [])) == EXPECTED
    assert shards[0] == EXPECTED[::shard_num]


def test_shards_part_a_folder_of_small_files_evenly(tmp_path: Path) -> None:
    for i in range(6):
        write(tmp_path / f"{i}.jsonl", DOCUMENTS[i])
    assert pairs(read_corpus(tmp_path)) == EXPECTED[:6]
    sizes = [len(list(read_corpus(tmp_path, shard_id=i, shard_num=3))) for i in range(3)]
    assert sizes == [2, 2, 2]


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("shard_num", [1, 3])
def test_reading_resumes_behind_any_document(tmp_path: Path, name: str, shard_num: int) -> None:
    folder = tmp_path / "corpus"
    folder.mkdir()
    for prefix in ("", "x-"):
        write(folder / name, *DOCUMENTS).rename(folder / f"{prefix}{name}")
    whole = list(read_corpus(folder, shard_id=1 % shard_num, shard_num=shard_num))
    moved = folder.rename(tmp_path / "moved")
    for i, document in enumerate(whole):
        rest = read_corpus(moved, shard_id=1 % shard_num, shard_num=shard_num, start=document.position)
        assert pairs(rest) == pairs(whole[i + 1 :])
    last = list(read_corpus(moved, shard_id=1 % shard_num, shard_num=shard_num, start=whole[-2].position))[-1]
    assert (last.line, last.offset, last.length) == (whole[-1].line, whole[-1].offset, whole[-1].length)


def test_reading_resumes_from_the_very_beginning_and_behind_an_open_last_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"id": 1, "text": "x"}')
    (only,) = read_corpus(path, start=CorpusPosition("a.jsonl", 0, 0))
    assert list(read_corpus(path, start=only.position)) == []


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
@pytest.mark.parametrize("offset", [3, 10**6])
def test_a_changed_corpus_is_noticed_when_resuming(tmp_path: Path, name: str, offset: int) -> None:
    path = write(tmp_path / name, *DOCUMENTS)
    with pytest.raises(HypensearchError, match=f"{name}: has changed since byte"):
        list(read_corpus(path, start=CorpusPosition(name, 1, offset)))
    with pytest.raises(HypensearchError, match="'b.jsonl', where reading was to resume, is gone"):
        read_corpus(path, start=CorpusPosition("b.jsonl", 1, 10))


@pytest.mark.parametrize(
    ("record", "flags", "docid", "text"),
    [
        ({"id": 7, "contents": " whole "}, {}, "7", "whole"),
        ({"_id": "d", "docid": "e", "text": "x"}, {}, "d", "x"),
        ({"docid": "e", "text": "x"}, {}, "e", "x"),
        ({"id": "d", "pmid": "e", "text": "x"}, {"docid_field": "pmid"}, "e", "x"),
        ({"id": "d", "title": " T ", "text": " x\ny "}, {}, "d", "T x\ny"),
        ({"id": "d", "title": "", "text": "x"}, {}, "d", "x"),
        ({"id": "d", "title": None, "text": "x"}, {}, "d", "x"),
        ({"id": "d", "title": "T", "text": ""}, {}, "d", "T"),
        ({"id": "d", "title": "T", "text": "x"}, {"title_field": None}, "d", "x"),
        ({"id": "d", "title": "T", "text": "x"}, {"fields": ("title", "text")}, "d", "T x"),
        ({"id": "d", "title": "T", "text": "x"}, {"fields": ("text", "title")}, "d", "x T"),
        ({"id": "d", "headline": "T", "body": "x"}, {"fields": ("body",), "title_field": "headline"}, "d", "T x"),
        ({"id": "d", "title": "T", "contents": "T\nx"}, {"fields": ("title", "text")}, "d", "T x"),
        ({"id": "d", "title": "T", "contents": "all of it"}, {}, "d", "all of it"),
        ({"id": "d", "contents": "x\n"}, {}, "d", "x"),
        ({"id": "d", "contents": "T\n"}, {"fields": ("title", "text")}, "d", "T"),
        ({"id": "d", "contents": "T|x|"}, {"fields": ("title", "text"), "delimiter": "|"}, "d", "T x"),
        ({"id": "d", "contents": "x\ny\nz"}, {"fields": ("contents",)}, "d", "x\ny\nz"),
        ({"id": "d", "text": " "}, {"allow_empty": True}, "d", ""),
        ({"id": "d", "text": None}, {"allow_empty": True}, "d", ""),
    ],
)
def test_ids_and_texts(tmp_path: Path, record: dict[str, Any], flags: dict[str, Any], docid: str, text: str) -> None:
    rule = TextRule(**{name: value for name, value in flags.items() if name != "allow_empty"})
    path = write(tmp_path / "a.jsonl", record)
    assert pairs(read_corpus(path, rule, allow_empty="allow_empty" in flags)) == [(docid, text)]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "not JSON: Expecting property name"),
        ('{"id": 1} {"id": 2}', r"not JSON: Extra data \(column 11\)"),
        ("[" * 100_000, "not JSON: nested too deeply"),
        ("9" * 5000, "not JSON: a number with too many digits"),
        ("[]", "a JSON object was wanted, found a list"),
        ({"text": "x"}, r"an id .* was wanted under 'id' or '_id' or 'docid', found 'text' .*; --docid-field"),
        ({"id": None, "text": "x"}, "an id .* was wanted"),
        ({"id": "", "text": "x"}, "the id is empty"),
        ({"id": "a b", "text": "x"}, "the id 'a b' holds white space"),
        ({"id": "a\u00a0b", "text": "x"}, "the id .* holds white space"),
        ({"id": "a\x00", "text": "x"}, r"the id 'a\\x00' holds white space or control"),
        ('{"id": "a\\ud800", "text": "x"}', "the id .* holds white space or control"),
        ({"id": 1.5, "text": "x"}, r"an id .*, found \'id\' \(a number\)"),
        ({"id": True, "text": "x"}, r"an id .*, found \'id\' \(true or false\)"),
        ({"id": "d", "body": "x"}, "no field 'text' and no 'contents', found 'id' .*, 'body' .*; --fields"),
        ({"id": "d", "text": ["x"]}, "field 'text' is a list, a string was wanted"),
        ({"id": "d", "title": 3, "text": "x"}, "field 'title' is a number"),
        ({"id": "d", "contents": "x\ny\nz"}, r"'contents' splits into 3 parts at '\\n', but --fields names 1 \(text\)"),
        ({"id": "d", "text": " \n"}, "document 'd' has no text; --allow-empty"),
    ],
)
@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_flaws_are_reported_with_file_and_line(tmp_path: Path, name: str, line: Any, message: str) -> None:
    path = write(tmp_path / name, DOCUMENTS[0], "", line, DOCUMENTS[1])
    documents = read_corpus(path)
    assert next(documents).docid == "0"
    with pytest.raises(HypensearchError, match=rf"{name}:3: {message}") as caught:
        next(documents)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[\n{"id": 1, "text": "x"},\n{"id": 2}]', "a.json:3: no field 'text'"),
        ('[\n{"id": 1, "text": "x"},\n]', "a.json:3: not JSON: Expecting value"),
        ('[\n{"id": 1, "text": "x"}', "a.json:2: ']' was wanted in the JSON array, found 'its end'"),
        ('[\n{"id": 1, "text": "x"}\n{', "a.json:3: ']' was wanted in the JSON array, found '{'"),
        ('[\n{"id": 1, "text": "x"}, {"id"', "a.json:2: not JSON"),
        ('[\n{"id": 1, "text": "x"}]\n\n{}', "a.json:4: more text behind the end"),
        ("[1", "a.json:1: a JSON object was wanted, found a number"),
        ("[" * 100_000, "a.json:1: not JSON: nested too deeply"),
    ],
)
def test_flaws_of_arrays(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(HypensearchError, match=message):
        list(read_corpus(tmp_path / "a.json"))


def test_an_array_may_be_empty_and_has_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(" [ ]\n")
    assert list(read_corpus(path)) == []
    path.write_text('[{"id": "1", "text": "é"}]', encoding="utf-8-sig")
    (document,) = read_corpus(path)
    assert path.read_bytes()[document.offset :][: document.length].decode() == '{"id": "1", "text": "é"}'


@pytest.mark.parametrize("name", ["corpus.jsonl", "array.json"])
def test_lone_surrogates_of_a_text_are_replaced(tmp_path: Path, name: str) -> None:
    line = '{"id": "1", "text": "a\\ud83d\\ude00b\\ud800c"}'
    (tmp_path / name).write_text(line if name == "corpus.jsonl" else f"[{line}]")
    assert pairs(read_corpus(tmp_path / name)) == [("1", "a\U0001f600b\ufffdc")]


def test_only_newlines_end_lines_and_a_byte_order_mark_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes('\ufeff{"id": "1", "text": "a\u2028b\x85c"}\r\n\r\n{"id": "2", "text": "x"}'.encode())
    assert pairs(read_corpus(path)) == [("1", "a\u2028b\x85c"), ("2", "x")]


def test_bytes_that_are_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"id": "1", "text": "a"}\n{"id": "2", "text": "\xe9"}\n')
    with pytest.raises(HypensearchError, match=r"a\.jsonl:2: byte 0xe9 at column 22 is not UTF-8"):
        list(read_corpus(path))
    path.write_bytes(b'[{"id": "2", "text": "\xe9"}]\n')
    with pytest.raises(HypensearchError, match=r"a\.jsonl:1: byte 0xe9 at column 23 is not UTF-8"):
        list(read_corpus(path))


@pytest.mark.parametrize("name", ["corpus.jsonl", "array.json"])
def test_documents_over_the_limit_are_refused(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (corpus, json_lines):
        monkeypatch.setattr(module, "MAX_LINE_BYTES", 2**21)
    path = write(tmp_path / name, {"id": "1", "text": "x"}, {"id": "2", "text": "y" * 2**23})
    with pytest.raises(
        HypensearchError, match=f"{name}:[2-6]: (line is longer than|a document of more than) 2,097,152 bytes"
    ):
        list(read_corpus(path))


def test_memory_does_not_grow_with_the_corpus(tmp_path: Path) -> None:
    path = write(tmp_path / "corpus.jsonl", *({"id": str(i), "text": "x" * 10_000} for i in range(2000)))
    tracemalloc.start()
    assert sum(1 for _ in read_corpus(path)) == 2000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12 * 2**20 < path.stat().st_size


def test_arrays_too_large_to_be_read_whole_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "array.json", *DOCUMENTS)
    monkeypatch.setattr(corpus, "MAX_ARRAY_BYTES", path.stat().st_size)
    assert pairs(read_corpus(path)) == EXPECTED
    monkeypatch.setattr(corpus, "MAX_ARRAY_BYTES", path.stat().st_size - 1)
    with pytest.raises(HypensearchError, match=r"array.json: a JSON array of more than .*; write one document a line"):
        list(read_corpus(path))


def test_folders_hold_corpus_files_only(tmp_path: Path) -> None:
    with pytest.raises(HypensearchError, match="holds no files"):
        read_corpus(tmp_path)
    write(tmp_path / "b.jsonl", DOCUMENTS[1])
    write(tmp_path / "a.json.gz", DOCUMENTS[0])
    (tmp_path / ".hidden").touch()
    assert pairs(read_corpus(tmp_path)) == EXPECTED[:2]
    (tmp_path / "qrels").mkdir()
    with pytest.raises(HypensearchError, match="holds 'qrels', but a corpus folder holds"):
        read_corpus(tmp_path)
    with pytest.raises(HypensearchError, match="none: no such file or folder"):
        read_corpus(tmp_path / "none")


@pytest.mark.parametrize(
    ("rule", "message"), [({"fields": ()}, "--fields wants at least one"), ({"delimiter": ""}, "delimiter is empty")]
)
def test_rules_that_make_no_sense_are_refused(rule: dict[str, Any], message: str) -> None:
    with pytest.raises(HypensearchError, match=message):
        TextRule(**rule)


def test_shards_that_do_not_exist_are_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(HypensearchError, match="shard 2 of 2 does not exist; shards are 0 to 1"):
        read_corpus(write(tmp_path / "a.jsonl"), shard_id=2, shard_num=2)


@settings(max_examples=150, deadline=None)
@given(
    near_misses(b'{"id": "1", "text": "x"}', b'{"_id": 2, "contents": "', b'"}', b"[", b"]", b",", b"{}", b"\\ud800"),
    st.sampled_from(["a.jsonl", "a.json", "a.jsonl.gz"]),
)
def test_any_bytes_give_documents_or_one_line_of_error(content: bytes, name: str) -> None:
    documents = outcome_of(read_corpus, name, content)
    assert documents is None or all(isinstance(document, Document) for document in documents)  # type: ignore[attr-defined]


def test_contents_stand_for_title_and_text_where_there_are_none(tmp_path: Path) -> None:
    """BEIR's documents, where a command takes contents by default."""
    path = write(
        tmp_path / "corpus.jsonl",
        {"_id": "a", "title": " t ", "text": "x\n\ny"},
        {"_id": "b", "title": "", "text": "z"},
        {"_id": "c", "text": "z", "contents": "c\nd"},
    )
    assert pairs(read_corpus(path, TextRule(("contents",)))) == [("a", "t x\n\ny"), ("b", "z"), ("c", "c\nd")]
    assert pairs(read_corpus(path, TextRule(("contents",), title_field=None)))[0] == ("a", "x\n\ny")
