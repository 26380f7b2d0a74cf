# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import sys
from pathlib import Path

import pytest

from hypensearch.demo import docstrings
from hypensearch.demo.docstrings import Docstrings, Entry, collect, read_entries, split_of
from hypensearch.errors import HypensearchError
from hypensearch.formats.corpus import TextRule, read_corpus

DATES = '''
"""Dates and times."""

def parse(text, *formats, strict=False, **options):
    """Read a :class:`~when.Date` from a text. Also of ISO 8601.

    Months may be ``names``.
    """
    def inner():
        """Nobody sees this."""

def _hidden():
    """Nobody sees this either."""

def bare(): pass

class Date:
    """A day of the calendar."""

    def __init__(self, year, month): ...

    def weekday(self):
        """weekday() -> int

        Give the number of the day.
        """

    @property
    def year(self):
        """Give the year, first said."""

    @year.setter
    def year(self, value):
        """Set the year, said later."""

if True:
    async def now(zone):
        """Tell the time."""
'''


def folder_of(tmp_path: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return tmp_path


def entries_of(tmp_path: Path, source: str | bytes) -> dict[str, Entry]:
    folder_of(tmp_path, {"dates.py": source})
    entries: dict[str, Entry] = {}
    for entry in read_entries(tmp_path / "dates.py", "when/dates.py"):
        entries.setdefault(entry.docid, entry)
    return entries


def function(name: str, number: int) -> str:
    """Source of a function whose documentation no other number shares."""
    words = " ".join(f"w{number}x{position}" for position in range(20))
    return f'def {name}():\n    """Do thing number {number} of many.\n\n    {words}\n    """\n\n'


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    files = {f"fakedocs/m{i}.py": function("f", 2 * i) + function("g", 2 * i + 1) for i in range(60)}
    files["fakedocs/__init__.py"] = 'raise SystemExit("this was run")\n'
    files["fakedocs/tests/t.py"] = function("in_tests", 1000)
    files["fakedocs/_vendor/v.py"] = function("vendored", 1001)
    folder_of(tmp_path, dict(files))
    monkeypatch.syspath_prepend(str(tmp_path))
    return "fakedocs"


def test_names_signatures_and_summaries(tmp_path: Path) -> None:
    entries = entries_of(tmp_path, DATES)
    assert list(entries) == [
        "when.dates",
        "when.dates.parse",
        "when.dates.Date",
        "when.dates.Date.weekday",
        "when.dates.Date.year",
        "when.dates.now",
    ]
    parse = entries["when.dates.parse"]
    assert parse.signature == "when.dates.parse(text, *formats, strict, **options)"
    assert parse.summary == "Read a when.Date from a text."
    assert parse.body == "Also of ISO 8601.\n\nMonths may be ``names``."
    assert entries["when.dates.Date"].signature == "when.dates.Date(year, month)"
    assert entries["when.dates.Date.weekday"].summary == "Give the number of the day."
    assert entries["when.dates.Date.year"].summary == "Give the year, first said."


def test_documentation_added_to_c_functions(tmp_path: Path) -> None:
    source = (
        'add_docstr(torch.abs, r"""abs(input) -> Tensor\n\nComputes {input}s.""".format(**args))\n'
        'add_docstr(torch._secret, "Nobody sees this.")\n'
        'add_newdoc("numpy._core.multiarray", "array", "Create an array.")\n'
        'add_newdoc("numpy._core.multiarray", "ndarray", ("sort", "Sort in place."))\n'
        'add_newdoc("expit", "Logistic sigmoid.")\n'
    )
    entries = entries_of(tmp_path, source)
    assert {docid: entry.summary for docid, entry in entries.items()} == {
        "torch.abs": "Computes {input}s.",
        "numpy.array": "Create an array.",
        "numpy.ndarray.sort": "Sort in place.",
        "when.expit": "Logistic sigmoid.",
    }


@pytest.mark.parametrize(
    "source", ["def broken(:\n", b"\xff\xfe\x00", b"# coding: no-such-codec\nx = 1\n", b"x = 1\0", "(" * 5000]
)
def test_what_cannot_be_parsed_is_passed_over(tmp_path: Path, source: str | bytes) -> None:
    assert entries_of(tmp_path, source) == {}


def test_other_encodings_and_lone_surrogates(tmp_path: Path) -> None:
    source = '# coding: latin-1\ndef f():\n    """Größe of a thing \\ud800 here."""\n'.encode("latin-1")
    assert entries_of(tmp_path, source)["when.dates.f"].summary == "Größe of a thing ? here."


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("stdlib/os/path.py", "os.path"),
        ("stdlib/_pydatetime.py", "datetime"),
        ("stdlib/json/__init__.py", "json"),
        ("numpy/linalg.py", "numpy.linalg"),
    ],
)
def test_modules_are_named_as_they_are_imported(tmp_path: Path, file: str, name: str) -> None:
    (path := tmp_path / "source.py").write_text('"""Something to read."""\n')
    assert [entry.docid for entry in read_entries(path, file)] == [name]


def test_nothing_is_run_and_tests_and_vendored_copies_are_skipped(package: str) -> None:
    found = collect([package])
    assert len(found) == 120
    assert package not in sys.modules


def test_topics_come_from_test_files_only_and_lose_their_summary(package: str) -> None:
    found = collect([package])
    topics, qrels = found.topics("test"), found.qrels("test")
    assert topics
    assert topics.keys() == qrels.keys()
    files = {entry.docid: entry.file for entry in found.entries}
    for topic_id, topic in topics.items():
        ((docid, grade),) = qrels[topic_id].items()
        assert grade == 1
        assert split_of(files[docid]) == "test"
        assert topic not in found.corpus[docid]
        assert found.corpus[docid].startswith(docid)


def test_splits_share_neither_files_nor_texts(package: str) -> None:
    found = collect([package])
    splits = {split: set(found.topics(split).values()) for split in ("validation", "test")}
    queries = {query for query, _ in found.pairs()}
    assert queries
    assert splits["validation"]
    assert splits["test"]
    assert not queries & splits["test"]
    assert not queries & splits["validation"]
    assert len(queries) + len(splits["test"]) + len(splits["validation"]) == 120
    assert {split_of(entry.file) for entry in found.entries if entry.summary in queries} == {"train"}


def test_the_split_depends_on_the_path_alone() -> None:
    assert [split_of(file) for file in ("stdlib/datetime.py", "stdlib/json/encoder.py", "numpy/__init__.py")] == [
        split_of("stdlib/datetime.py"),
        split_of("stdlib/json/encoder.py"),
        split_of("numpy/__init__.py"),
    ]
    splits = [split_of(f"p/m{number}.py") for number in range(2000)]
    assert 150 < splits.count("test") < 250
    assert 60 < splits.count("validation") < 140


def test_a_smaller_corpus_is_part_of_the_larger_and_keeps_test_files(package: str) -> None:
    small, large = collect([package], max_docs=30), collect([package])
    assert len(small) == 30
    assert {entry.docid for entry in small.entries} < {entry.docid for entry in large.entries}
    assert small.topics("test") == large.topics("test")
    assert collect([package], max_docs=30).corpus == small.corpus


def item(docid: str, summary: str, body: str, file: str) -> Entry:
    return Entry(docid, f"{docid}()", summary, body, file)


@pytest.fixture(scope="module")
def test_file() -> str:
    return next(file for file in (f"p/m{number}.py" for number in range(100)) if split_of(file) == "test")


BODY = " ".join(f"word{position}" for position in range(30))


def test_a_topic_is_made_of_a_summary_that_says_what_is_wanted(test_file: str) -> None:
    found = Docstrings([item("a", "Parse a date from text.", BODY, test_file)])
    assert found.topics() == {"1": "Parse a date from text."}


@pytest.mark.parametrize(
    ("summary", "body"),
    [
        ("Parse a date.", BODY),
        ("Parse a date from text.", "Too short a body."),
        ("See also the other function.", BODY),
        ("Parse one of these texts:", BODY),
        ("Parse a date from text.", f"{BODY} It will parse a date, from text."),
    ],
    ids=["short summary", "short body", "generic", "breaks off", "said again in the body"],
)
def test_poor_summaries_make_no_topics(test_file: str, summary: str, body: str) -> None:
    assert Docstrings([item("a", summary, body, test_file)]).topics() == {}


def test_repeated_summaries_and_bodies_make_no_topics(test_file: str) -> None:
    twice = [item("a", "Parse a date from text.", BODY, test_file), item("b", "Parse a DATE from text", "x", test_file)]
    copied = [item("a", "Parse a date from text.", BODY, test_file), item("b", "Read a day.", BODY + " x", test_file)]
    assert Docstrings(twice).topics() == {} == Docstrings(copied).topics()


def test_no_topic_sample_is_larger_than_asked_nor_from_one_file_only(package: str, test_file: str) -> None:
    assert len(collect([package], max_topics=3).topics()) == 3
    bodies = [" ".join(f"w{number}x{place}" for place in range(20)) for number in range(30)]
    many = [item(f"d{number}", f"Do thing number {number} now.", body, test_file) for number, body in enumerate(bodies)]
    assert len(Docstrings(many).topics()) == docstrings.MAX_TOPICS_PER_FILE


def test_the_corpus_is_read_back_by_our_own_reader(package: str, tmp_path: Path) -> None:
    found = collect([package])
    docstrings.write_corpus(found, tmp_path / "corpus.jsonl")
    documents = read_corpus(tmp_path / "corpus.jsonl", TextRule(("contents",)))
    assert {document.docid: document.text for document in documents} == found.corpus


def test_no_source_files_is_an_error() -> None:
    with pytest.raises(HypensearchError, match="no_such_package"):
        collect(["no_such_package"])


def test_the_real_standard_library_is_documented() -> None:
    found = collect(["stdlib"], max_docs=300)
    assert len(found) == 300
    assert all(docid.isprintable() and not set(docid) & set(" \t\n") for docid in found.corpus)
    assert len(found.topics()) > 20
