# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypensearch.errors import HypensearchError
from hypensearch.formats import topics
from hypensearch.formats.topics import is_local, read_kilt_topics, read_topics
from tests.formats.strategies import near_misses, outcome_of
from tests.formats.topic_files import READ_BY_BOTH, READ_BY_US, TREC, TopicFile, write


@pytest.mark.parametrize("file", READ_BY_BOTH + READ_BY_US, ids=lambda file: file.name)
def test_ids_order_and_texts(tmp_path: Path, file: TopicFile) -> None:
    path = write(tmp_path, file.name, file.content)
    assert list(read_topics(path, file.topics_format).items()) == file.topics


def test_kilt_topics_keep_their_data_points(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", '{"id": 7, "input": "x", "meta": {"a": 1}}\n{"id": "3", "input": "y"}\n')
    assert read_kilt_topics(path) == {"7": {"id": 7, "input": "x", "meta": {"a": 1}}, "3": {"id": "3", "input": "y"}}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.tsv", "", "a.tsv: holds no topics; topics are read from .tsv and .txt"),
        ("a.json", "{}", "a.json: holds no topics"),
        ("a.tsv", "x\tb\n\ny\tc\nx\tb\n", "a.tsv:4: topic id 'x' was used already on line 1"),
        ("a.tsv", "1\ta\n2 b\n", "a.tsv:2: an id, a tab and a query were wanted, found '2 b'"),
        ("a.tsv", "x\t\n", "a.tsv:1: an id, a tab and a query"),
        ("a.tsv", "x\t\tb\n", "a.tsv:1: an id, a tab and a query were wanted, found 2 tabs"),
        ("a.tsv", "1\tfind files\tby a pattern\n", "a.tsv:1: .* found 2 tabs: Pyserini drops what stands behind"),
        ("a.jsonl", '{"id": "x", "title": " "}', "a.jsonl:1: topic 'x' has an empty query"),
        ("a.tsv", "x \tb\n", "a.tsv:1: the id 'x ' holds white space"),
        ("a.tsv", b"1\ta\n2\t\xe9\n", "a.tsv:2: byte 0xe9 at column 3 is not UTF-8"),
        ("a.csv", "1,a\n", "a.csv: neither its name nor its first line shows what form"),
        ("beir/a.dat", "1\ta\n2\n", r"a.dat:2: an id, .*'2' \(read as beir, as its path has 'beir' in it; --topics-f"),
        ("a", "1\ta\n2\n", r"a:2: .*'2' \(read as tsv, as its content looks like that; --topics-format names another"),
        ("a.json", "[1]", "a.json: a JSON object .* was wanted, found a list; CAsT"),
        ("a.json", '{"1": "a"}', "a.json: topic '1' is not of the form"),
        ("a.json", '{"1": {"text": "a"}}', "a.json: topic '1' is not of the form"),
        ("a.json", '{"1": {"title": 5}}', "a.json: topic '1' is not of the form"),
        ("a.json", '{"1": {"title": "a"}, "1": {"title": "b"}}', "a.json: topic id '1' was used already before it"),
        ("a.json", '{\n"1": x}', r"a.json:2: not JSON: Expecting value \(column 6\)"),
        ("a.json", "[" * 100_000, "a.json:1: not JSON: nested too deeply"),
        ("a.json", b'{"1":\n {"title": "\xff"}}', "a.json:2: byte 0xff at column 13 is not UTF-8"),
        ("a.jsonl", '{"docid": "1", "text": "a"}', r"a.jsonl:1: an id .* under 'id' or 'qid' or .*, found 'docid'"),
        (
            "a.jsonl",
            '{"id": "1", "body": "a"}',
            r"a.jsonl:1: the query \(a string\) was wanted under 'title' or 'text'",
        ),
        ("a.jsonl", '{"id": null, "title": "a"}', r"found 'id' \(null\), 'title' \(a string\)"),
        ("a.jsonl", '{"id": 1.5, "title": "a"}', "an id"),
        ("a.jsonl", '{"id": true, "title": "a"}', "an id"),
        ("a.jsonl", '{"id": "1", "title": null}', r"under 'title' or .*, found .*'title' \(null\)"),
        ("a.jsonl", '{"id": "1", "title": "a"} junk', r"a.jsonl:1: not JSON: Extra data \(column 27\)"),
        ("a.jsonl", '{"id": "1", "title": "a\\ud800"}', "half of a surrogate pair"),
        ("a.jsonl", '{"id": "1\\ud800", "title": "a"}', "the id '1\\\\ud800' holds"),
        ("a.jsonl", "[1]", "a.jsonl:1: a JSON object was wanted, found a list"),
        ("a.trec", "nothing", "a.trec: holds no topics"),
        ("a.trec", "<top>\n<num> 1\n<title> a\n</top>\n<top>", "a.trec:5: the topic that begins here has no <num>"),
        (
            "a.trec",
            "<top>\n<num> 1\n<title> a\n</top>\n<top>\n<num> 2\n<desc> b\n</top>\n",
            "a.trec:5: the topic that begins here has no <title> or <query>, found <num>, <desc>",
        ),
        ("a.xml", '<topic number="1"><gene>a</gene></topic>', "no title nor description, found <gene>"),
        ("a.trec", "<top>\n<num> 07\n<title> a\n<top>\n<num> MB7\n<title> b", "a.trec:4: topic ids 'MB7' and '07' on"),
        ("a.trec", TREC + TREC, "a.trec:29: topic id '301' was used already on line 2"),
        ("cacm.txt", "<DOC>\n<DOCNO>1\n", "cacm.txt:2: <DOCNO>id</DOCNO> was wanted, found '<DOCNO>1'"),
        ("cacm.txt", "<DOC>\nx\n</DOC>\n", "cacm.txt:1: the topic that begins here has no <DOCNO>"),
        ("cacm.txt", "<DOC>\n<DOCNO>1</DOCNO>\nx\n<DOC>\n", "cacm.txt:1: the topic that begins here has no </DOC>"),
    ],
)
def test_flaws_are_reported_with_file_and_line(tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    with pytest.raises(HypensearchError, match=message) as caught:
        read_topics(write(tmp_path, name, content))
    assert "\n" not in str(caught.value)


KINDS = '{"a": null, "b": true, "c": {}, "d": [], "e": "x", "f": 1.5, "g": 2, "h": 3, "i": 4, "%s": 5}'
SHOWN = (
    "'a' (null), 'b' (true or false), 'c' (an object), 'd' (a list), 'e' (a string), 'f' (a number), 'g' (a number), "
    "'h' (a number)"
)
AN_ID, QUERY = "an id (a string or a whole number) was wanted under ", "the query (a string) was wanted under "
WANTED = AN_ID + "'id' or 'qid' or 'query_id' or '_id', "
OBJECT = 'a JSON object {"id": {"title": "query"}} was wanted, '
CONVERT = "convert the file to UTF-8"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.trec",
            "<top>\n<num> 010\n<title> b\n<top>\n<num> 10\n<title> a",
            ":4: topic ids '10' and '010' on line 1 are both the number '10'; give each topic its own number",
        ),
        ("a.tsv", "x" * 60, f":1: an id, a tab and a query were wanted, found {'x' * 60!r}"),
        ("a.tsv", "x" * 61, f":1: an id, a tab and a query were wanted, found {'x' * 57 + '...'!r}"),
        ("a.jsonl", KINDS % "j", f":1: {WANTED}found {SHOWN}"),
        ("a.jsonl", "{}", f":1: {WANTED}found no fields"),
        ("a.jsonl", '{"%s": 1}' % ("k" * 41), f":1: {WANTED}found {'k' * 40!r} (a number)"),
        ("a.jsonl", '{"id": "1", "title": "a"}\n\n{"id": "2", "title": " "}', ":3: topic '2' has an empty query"),
        ("a.jsonl", '{"id": %s}' % ("9" * 5000), ":1: not JSON: a number with too many digits"),
        ("a.jsonl", '\u00a0{"id": "1", "title": "a"}', ":1: not JSON: Expecting value (column 1)"),
        ("a.json", "null", f": {OBJECT}found null"),
        ("a.json", "true", f": {OBJECT}found true or false"),
        ("a.json", '"x"', f": {OBJECT}found a string"),
        ("a.json", "1.5", f": {OBJECT}found a number"),
        ("a.json", '\n{"1": {"title": "\xff"}}\n\n', ":2: byte 0xff at column 18 is not UTF-8; " + CONVERT),
    ],
)
def test_what_is_found_is_reported_word_by_word(tmp_path: Path, name: str, content: str, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content.encode("latin1" if "\xff" in content else "utf-8"))
    with pytest.raises(HypensearchError) as caught:
        read_topics(path)
    assert str(caught.value) == f"{path}{message}"


@pytest.mark.parametrize(
    ("topics_format", "line", "message"),
    [
        ("raw_jsonl", '{"query": "x"}', AN_ID),
        (
            "raw_jsonl",
            '{"id": "1"}',
            "the query (a string) was wanted under 'query' or 'text', found 'id' (a string); topics are ",
        ),
        ("raw_jsonl", '{"id": "1", "query": " "}', "topic '1' has an empty query"),
        (
            "kilt",
            '{"input": "x"}',
            "an id (a string or a whole number) was wanted under 'id', found 'input' (a string)",
        ),
        (
            "kilt",
            '{"id": "1"}',
            "the query (a string) was wanted under 'input', found 'id' (a string); topics are read",
        ),
    ],
)
def test_flaws_in_lines_of_the_named_formats_are_reported(
    tmp_path: Path, topics_format: str, line: str, message: str
) -> None:
    path = write(tmp_path, "a.jsonl", f"\n{line}\n")
    with pytest.raises(HypensearchError) as caught:
        read_topics(path, topics_format)
    assert str(caught.value).startswith(f"{path}:2: {message}")


def test_blanks_are_those_of_java(tmp_path: Path) -> None:
    """Control characters count among them, the no-break space does not."""
    lines = '\x00{"id": "1", "title": "a"}\x1f\n \n\x01{"id": "2", "title": "b"}\n'
    assert read_topics(write(tmp_path, "a.jsonl", lines)) == {"1": "a", "2": "b"}
    cacm = "\x00<DOC>\n<DOCNO>1</DOCNO>\na\n</DOC>\n\u00a0<DOC>\n<DOC>\n<DOCNO>2</DOCNO>\nb\n</DOC>\n"
    assert read_topics(write(tmp_path, "cacm.txt", cacm)) == {"1": "a\n", "2": "b\n"}
    cut = "<DOC>\n\u00a0<DOC>\n\u00a0</DOC>\n<DOCNO>3</DOCNO>\nc\n</DOC>\n"
    assert read_topics(write(tmp_path, "cacm.query", cut)) == {"3": "c\n"}
    trec = "<top>\n<num> 1\n<title> \u00a0a\u00a0 </title>\n<desc>\n"
    assert read_topics(write(tmp_path, "a.trec", trec)) == {"1": "\u00a0a\u00a0"}


@pytest.mark.parametrize("name", ["a.tsv", "a.json", "a.jsonl", "a.trec", "cacm.txt"])
def test_larger_files_than_topics_ever_are_get_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(topics, "MAX_BYTES", 20)
    with pytest.raises(HypensearchError, match="20 bytes"):
        read_topics(write(tmp_path, name, " \n" * 11))


@pytest.mark.parametrize(
    ("topics_format", "content", "message"),
    [
        ("kilt", '{"id": 1, "input": "x"}\n{"id": "1", "input": "y"}', ":2: topic id '1' was used already on line 1"),
        ("kilt", '{"qid": "1", "input": "x"}', ":1: an id .* under 'id', found 'qid'"),
        ("kilt", '{"id": "1", "query": "x"}', ":1: the query .* under 'input'"),
        ("kilt", '{"id": "1", "input": "[START_ENT] "}', ":1: topic '1' has an empty query"),
        ("raw_jsonl", '{"_id": "1", "body": "x"}', ":1: the query .* under 'query'"),
        ("raw_jsonl", '{"id": null, "qid": "1", "query": "x"}', ":1: an id"),
        ("raw_jsonl", '{"id": "1", "query": 4}', ":1: the query"),
        ("raw_jsonl", "", "holds no topics"),
        ("mbeir", "", "topics format 'mbeir' is not one of default, tsv, .*, raw_jsonl: .tsv and .txt"),
    ],
)
def test_flaws_of_the_named_formats(tmp_path: Path, topics_format: str, content: str, message: str) -> None:
    with pytest.raises(HypensearchError, match=message):
        read_topics(write(tmp_path, "a.jsonl", content), topics_format)


@pytest.mark.parametrize("name", ["a.tsv", "a.json", "a.trec", "a.odd", "beir/a", "cacm"])
def test_missing_files_list_the_forms(tmp_path: Path, name: str) -> None:
    with pytest.raises(HypensearchError, match=f"{name}: no such file; topics are read from .tsv"):
        read_topics(tmp_path / name)


def test_paths_and_names_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("topics.tsv", "topics.jsonl.gz", "no/such/file"):
        assert is_local(name)
    for name in ("msmarco-passage-dev-subset", "rag24.test", "msmarco-v1-passage.dev"):
        assert not is_local(name)
    Path("dl19-passage").touch()
    assert is_local("dl19-passage")


@settings(max_examples=200, deadline=None)
@given(
    near_misses(
        b"<top>",
        b"<num> Number: 1",
        b"<title> ",
        b"<desc>",
        b"<narr>",
        b"</top>",
        b"<DOC>",
        b"<DOCNO>1</DOCNO>",
        b"</DOC>",
        b'{"id": "1", "title": "x", "input": "y", "query": "z"}',
        b'{"1": {"title": "',
        b'"}}',
        b"x\ty\n",
    ),
    st.sampled_from(["a.tsv", "a.txt.gz", "a.json", "a.jsonl", "a.trec", "cacm.gz", "beir.txt"]),
    st.sampled_from(["default", "default", "kilt", "raw_jsonl"]),
)
def test_any_bytes_give_topics_or_one_line_of_error(content: bytes, name: str, topics_format: str) -> None:
    topics = outcome_of(lambda path: read_topics(path, topics_format), name, content)
    assert topics is None or all(isinstance(text, str) for pair in topics.items() for text in pair)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("topic", "order"),
    [
        ("2147483647", ["4", "+30", "2147483647"]),
        ("2147483648", ["+30", "2147483648", "4"]),
        ("-2147483648", ["-2147483648", "+30", "4"]),
        ("-2147483649", ["+30", "-2147483649", "4"]),
        ("9" * 99, ["+30", "4", "9" * 99]),
        ("1".zfill(99), ["1".zfill(99), "4", "+30"]),
        ("1".zfill(100), ["+30", "1".zfill(100), "4"]),
    ],
)
def test_ids_are_sorted_as_numbers_where_java_reads_all_of_them_as_such(
    tmp_path: Path, topic: str, order: list[str]
) -> None:
    path = write(tmp_path, "a.tsv", "".join(f"{one}\tq\n" for one in ("+30", "4", topic)))
    assert list(read_topics(path)) == order


@pytest.mark.parametrize("end", ["<DOC>", "</DOC>", "  <DOC> ", ""])
def test_a_cacm_topic_without_an_id(tmp_path: Path, end: str) -> None:
    path = tmp_path / "cacm.query"
    path.write_text(f"<DOC>\nwords\n{end}\n<DOCNO>1</DOCNO>\nmore\n</DOC>\n" if end else "<DOC>\nwords\n")
    with pytest.raises(HypensearchError, match=":1: the topic that begins here has no <DOCNO>"):
        read_topics(path)


def test_a_cacm_topic_without_an_end(tmp_path: Path) -> None:
    path = tmp_path / "cacm.query"
    path.write_text("<DOC>\n<DOCNO>1</DOCNO>\nwords\n<DOC>\n<DOCNO>2</DOCNO>\nmore\n</DOC>\n")
    with pytest.raises(HypensearchError, match=":1: the topic that begins here has no </DOC>"):
        read_topics(path)


def test_many_topics_with_numbers_for_ids(tmp_path: Path) -> None:
    """Once each id was compared with all others: this took half an hour."""
    path = write(tmp_path, "a.tsv", "".join(f"{number}\tq\n" for number in range(50_000)))
    assert list(read_topics(path)) == [str(number) for number in range(50_000)]
