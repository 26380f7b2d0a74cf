# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
import gzip
import json
import math
import os
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytrec_eval
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hypensearch.errors import HypensearchError
from hypensearch.formats import run
from hypensearch.formats.run import open_run_writer, read_run, separate_ties
from hypensearch.hits import Hit, in_rank_order
from tests.formats.strategies import near_misses, outcome_of

HITS = [Hit("d1#1", 3.0), Hit("d2#0", 2.5), Hit("d1#0", 2.5), Hit("d3", -1e-7), Hit("é", -4.25)]

docids = st.text(st.characters(exclude_categories=["Z", "C"]), min_size=1, max_size=4)
scores = st.floats(width=32, allow_nan=False, allow_infinity=False, min_value=-(2.0**99), max_value=2.0**99)


def write(path: Path, hits: list[Hit], output_format: str = "trec", **flags: Any) -> str:
    with open_run_writer(path, output_format, **flags) as writer:
        writer.write("010", hits)
    return path.read_text("utf-8")


def test_trec_lines(tmp_path: Path) -> None:
    assert write(tmp_path / "runs" / "run.txt", HITS, tag="t", max_hits=4) == (
        "010 Q0 d1#1 1 3.000000 t\n010 Q0 d2#0 2 2.500000 t\n010 Q0 d1#0 3 2.500000 t\n010 Q0 d3 4 -0.000000 t\n"
    )


def test_msmarco_lines_of_the_best_passages(tmp_path: Path) -> None:
    flags = {"use_max_passage": True, "max_passage_delimiter": "#", "max_hits": 1}
    assert write(tmp_path / "run", HITS, "msmarco", **flags) == "010\td1\t1\n010\td2\t2\n010\td3\t3\n010\té\t4\n"
    assert write(tmp_path / "run", HITS, "msmarco", max_passage_hits=2, **flags) == "010\td1\t1\n010\td2\t2\n"


@pytest.mark.parametrize(("flags", "wanted"), [({}, 1000), ({"use_max_passage": True}, 100), ({"max_hits": 1}, 1)])
def test_so_many_hits_are_written_as_pyserini_writes(tmp_path: Path, flags: dict[str, Any], wanted: int) -> None:
    text = write(tmp_path / "run", [Hit(f"d{n}", -n) for n in range(1001)], "msmarco", **flags)
    assert text.count("\n") == wanted


def test_docids_are_cut_for_the_best_passages_alone(tmp_path: Path) -> None:
    text = write(tmp_path / "run", HITS[:3], "msmarco", max_passage_delimiter="#")
    assert text == "010\td1#1\t1\n010\td2#0\t2\n010\td1#0\t3\n"


def test_a_writer_is_used_in_its_block_alone(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^the run is not open: write within a `with open_run_writer\(") as caught:
        open_run_writer(tmp_path / "run").write("1", HITS)
    assert str(caught.value).endswith("(...) as writer:` block")


def test_kilt_lines_repeat_the_data_point(tmp_path: Path) -> None:
    topics = {"010": {"id": "010", "output": [1], "input": "é"}}
    text = write(tmp_path / "run", HITS[4:], "kilt", topics=topics)
    assert text == '{"id": "010", "output": [{"provenance": [{"wikipedia_id": "\\u00e9"}]}], "input": "\\u00e9"}\n'
    assert topics["010"]["output"] == [1]
    assert json.loads(write(tmp_path / "run", [], "kilt", topics=topics))["output"] == [{"provenance": []}]


def test_scores_of_numpy_and_docids_with_outer_spaces_are_taken(tmp_path: Path) -> None:
    hits = [Hit(" d ", np.float32(0.1))]
    assert write(tmp_path / "run", hits) == "010 Q0 d 1 0.100000 hypensearch\n"


def test_a_run_replaces_another_only_when_complete(tmp_path: Path) -> None:
    path = tmp_path / "run.txt"
    path.write_text("old")
    with pytest.raises(HypensearchError, match="twice"), open_run_writer(path) as writer:  # noqa: PT012
        writer.write("1", HITS)
        assert path.read_text() == "old"
        writer.write("1", HITS)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["run.txt"]
    write(path, HITS[:1])
    assert path.read_text() == "010 Q0 d1#1 1 3.000000 hypensearch\n"


@pytest.mark.parametrize(
    ("hits", "message"),
    [
        ([Hit("a b", 1.0)], "topic '010': the docid 'a b' holds white space"),
        ([Hit(" ", 1.0)], "topic '010': the docid is empty"),
        ([Hit("a", math.nan)], "topic '010': the score of document 'a' is nan"),
        ([Hit("a", math.inf)], "the score of document 'a' is inf"),
        ([Hit("a", 2.0), Hit("a ", 1.0)], "topic '010': document 'a' comes twice"),
    ],
)
def test_hits_that_would_spoil_a_run_are_refused(tmp_path: Path, hits: list[Hit], message: str) -> None:
    with pytest.raises(HypensearchError, match=message):
        write(tmp_path / "run", hits)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"output_format": "csv"}, "output format 'csv' is not one of trec, msmarco, kilt"),
        ({"tag": "my run"}, "the run tag 'my run' holds white space"),
        ({"tag": ""}, "the run tag is empty"),
        ({"max_hits": 0}, "a run of 0 hits per topic"),
        ({"use_max_passage": True, "max_passage_hits": 0}, "a run of 0 hits per topic"),
        (
            {"output_format": "kilt"},
            "^output format 'kilt' repeats the topics, so it wants topics of the kilt format as well$",
        ),
    ],
)
def test_flags_are_checked(tmp_path: Path, flags: dict[str, Any], message: str) -> None:
    with pytest.raises(HypensearchError, match=message):
        open_run_writer(tmp_path / "run", **flags)


def test_topics_are_checked(tmp_path: Path) -> None:
    for topic, message in [("a b", "the topic id 'a b' holds"), ("", "the topic id is empty")]:
        with pytest.raises(HypensearchError, match=message), open_run_writer(tmp_path / "run") as writer:
            writer.write(topic, HITS)
    with (
        pytest.raises(HypensearchError, match="'x' is not among the kilt topics"),
        open_run_writer(tmp_path / "run", "kilt", topics={}) as writer,
    ):
        writer.write("x", HITS)
    with pytest.raises(ValueError, match="not open"):
        open_run_writer(tmp_path / "run").write("1", HITS)


# -- ties


def under_trec_eval(hits: list[Hit]) -> list[str]:
    """Sort as trec_eval does what our writer prints."""
    as_read = [(np.float32(float(f"{hit.score:.6f}")), hit.docid.encode()) for hit in hits]
    return [docid.decode() for _, docid in sorted(as_read, key=lambda pair: (pair[0], pair[1]), reverse=True)]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([1.0, 1.0, 1.0, 0.5], [1.0, 0.999999, 0.999998, 0.5]),
        ([0.909, 0.909, 0.9089999], [0.909, 0.908999, 0.908998]),
        ([1e-7, 0.0, -1e-7], [1e-7, -1e-6, -2e-6]),
        ([-2.0, -2.0], [-2.0, -2.000001]),
        ([16.0, 16.0, 16.0], [16.0, 15.999999, 15.999998]),
        ([17.0, 17.0], [17.0, 16.999999]),
        ([1e5, 1e5, 99999.99], [1e5, 99999.992188, 99999.984375]),
        ([3.0000001, 3.0, 2.0], [3.0000001, 2.999999, 2.0]),
        ([3.0, 2.0, 1.0], [3.0, 2.0, 1.0]),
        ([], []),
    ],
)
def test_ties_step_down_as_little_as_possible(before: list[float], after: list[float]) -> None:
    hits = [Hit(str(i), score) for i, score in enumerate(before)]
    assert [hit.score for hit in separate_ties(hits)] == after


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(docids, scores | st.sampled_from([0.0, 1.0, 16.0, 1e5, -1e7]) | scores.map(lambda s: s % 1e-5)))
@example({str(i): 1e5 for i in range(2000)})
@example({str(i): 15.9999 for i in range(300)} | {str(i): 16.0001 for i in range(300, 600)})
@example({str(i): -(2.0**24) for i in range(500)})
def test_our_order_holds_under_trec_eval(by_docid: dict[str, float]) -> None:
    hits = in_rank_order(Hit(docid, score) for docid, score in by_docid.items())
    separated = separate_ties(hits)
    assert under_trec_eval(separated) == [hit.docid for hit in hits]
    assert separate_ties(separated) == separated
    assert all(new.score <= old.score for new, old in zip(separated, hits, strict=True))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(-50, 50, width=32), max_size=20, unique_by=lambda score: round(score, 4)))
def test_hits_without_ties_are_left_alone(values: list[float]) -> None:
    hits = [Hit(str(score), score) for score in sorted(values, reverse=True)]
    assert separate_ties(hits) == hits


def test_every_real_trec_eval_order_is_ours() -> None:
    hits = [Hit(f"d{i:03}", score) for score in (1e6, 1e5, 300.0, 16.0, 1.0, 0.0, -7e4) for i in range(int(score) % 97)]
    hits = [Hit(f"{rank:04}-{hit.docid}", hit.score) for rank, hit in enumerate(hits)]
    printed = {hit.docid: float(f"{hit.score:.6f}") for hit in separate_ties(hits)}
    for rank in range(1, len(hits) + 1, 7):
        judged = {"q": {hits[rank - 1].docid: 1}}
        measured = pytrec_eval.RelevanceEvaluator(judged, {"recip_rank"}).evaluate({"q": printed})
        assert measured["q"]["recip_rank"] == pytest.approx(1 / rank)


def test_scores_that_cannot_be_separated() -> None:
    for score in (math.nan, math.inf, -math.inf, 1e39, -1e300):
        with pytest.raises(HypensearchError, match="of document 'b' is no finite number of single precision"):
            separate_ties([Hit("a", 3e38), Hit("b", score)])
    with pytest.raises(HypensearchError, match="no finite number"):
        separate_ties([Hit("a", -3.4028234663852886e38), Hit("b", -3.4028234663852886e38)])
    with pytest.raises(ValueError, match="'b' scores 2.0 > 1.0"):
        separate_ties([Hit("a", 1.0), Hit("b", 2.0)])


# -- reading


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(docids, st.dictionaries(docids, scores, min_size=1), min_size=1),
    st.sampled_from(["trec", "msmarco"]),
    st.booleans(),
)
def test_what_is_written_is_read(run: dict[str, dict[str, float]], output_format: str, packed: bool) -> None:
    hits = {topic: [Hit(*pair) for pair in by_docid.items()] for topic, by_docid in run.items()}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "run.txt")
        with open_run_writer(path, output_format) as writer:
            for topic in hits:
                writer.write(topic, hits[topic])
        if packed:
            path = Path(folder, "run.txt.gz")
            path.write_bytes(gzip.compress(Path(folder, "run.txt").read_bytes(), 1))
        read = read_run(path)
    for topic in hits:
        expected = [
            Hit(hit.docid, float(f"{hit.score:.6f}") if output_format == "trec" else 1 / rank)
            for rank, hit in enumerate(hits[topic], 1)
        ]
        assert read[topic] == expected
    assert list(read) == list(hits)


def test_runs_of_others_are_read(tmp_path: Path) -> None:
    path = tmp_path / "run"
    path.write_text("\ufeff1\tQ0\td1  0\t1e2 a tag\n\n2 Q0 x 1 -3 t\r\n1 0 d\u00a02 7 0.5 t\n")
    assert read_run(path) == {"1": [Hit("d1", 100.0), Hit("d\u00a02", 0.5)], "2": [Hit("x", -3.0)]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a.txt: holds no hits; runs are read in TREC's form"),
        ("q Q0 d 1 2.0 t\n\nq Q0 d 2 1.0 t\n", "a.txt:3: topic 'q' has document 'd' twice"),
        ("q d 1\nq d 2\n", "a.txt:2: topic 'q' has document 'd' twice"),
        ("q 0 d 1\n", "a.txt:1: found 4 columns; runs are read in"),
        ("q Q0 d 1 2.0 t\nq d 1\n", "a.txt:2: found 3 columns"),
        ("q d 1\nq Q0 d 1 2.0 t\n", "a.txt:2: found 6 columns"),
        ("q Q0 d 1 x t\n", "a.txt:1: the score 'x' is not a finite number"),
        ("q Q0 d 1 nan t\n", "a.txt:1: the score 'nan' is not a finite number"),
        ("q Q0 d 1 1_0 t\n", "a.txt:1: the score '1_0' is not a finite number"),
        ("q d 0\n", "a.txt:1: the rank '0' is not a whole number of at least 1"),
        ("q d x\n", "a.txt:1: the rank 'x' is not a whole number"),
    ],
)
def test_flaws_are_reported_with_file_and_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(HypensearchError, match=message):
        read_run(tmp_path / "a.txt")


@settings(max_examples=100, deadline=None)
@given(near_misses(b"q Q0 d 1 2.0 t\n", b"q\td\t1\n", b"q Q0 ", b"1e999", b"-"), st.sampled_from(["a.txt", "a.gz"]))
def test_any_bytes_give_a_run_or_one_line_of_error(content: bytes, name: str) -> None:
    run = outcome_of(read_run, name, content)
    assert run is None or all(math.isfinite(hit.score) for hits in run.values() for hit in hits)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (f"1 Q0 d 1 {'x' * 50} t", f"the score {'x' * 40!r} is not a finite number"),
        (f"1\td\t{'9' * 50}", f"the rank {'9' * 40!r} is not a whole number of at least 1"),
        ("1\td\t1234567890", "the rank '1234567890' is not a whole number of at least 1"),
    ],
)
def test_what_is_no_number_is_shown(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "run").write_text(line)
    with pytest.raises(HypensearchError) as caught:
        read_run(tmp_path / "run")
    assert str(caught.value) == f"{tmp_path / 'run'}:1: {message}"


def test_the_last_rank_that_is_read(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("1\td\t999999999")
    assert read_run(tmp_path / "run") == {"1": [Hit("d", 1 / 999_999_999)]}


@pytest.mark.parametrize("limit", ["MAX_BYTES", "MAX_LINE_BYTES"])
def test_larger_runs_than_there_are_get_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    monkeypatch.setattr(run, limit, 30)
    (tmp_path / "run").write_text("1 Q0 d 1 2.5 a-tag-of-many-letters\n")
    with pytest.raises(HypensearchError, match="30 bytes"):
        read_run(tmp_path / "run")


def test_scores_beyond_single_precision_are_refused_without_a_warning() -> None:
    with (
        warnings.catch_warnings(action="error"),
        pytest.raises(HypensearchError, match="the score 1e[+]39 of document"),
    ):
        separate_ties([Hit("d", 1e39)])
    lowest = float(np.finfo(np.float32).min)
    with warnings.catch_warnings(action="error"), pytest.raises(HypensearchError, match="of document 'e'"):
        separate_ties([Hit("d", lowest), Hit("e", lowest)])


def interrupted(path: Path, topics: dict[str, list[Hit]], rest: str = "", **flags: Any) -> None:
    """Write topics, and be interrupted within the write of another one."""
    with open_run_writer(path, **flags) as writer:
        for topic, hits in topics.items():
            writer.write(topic, hits)
        assert writer._file is not None
        writer._file.write(rest)
        raise KeyboardInterrupt


@pytest.mark.parametrize("output_format", ["trec", "msmarco"])
def test_an_interrupted_run_is_kept_as_partial(
    output_format: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "run.txt"
    path.write_text("the old run")
    with pytest.raises(KeyboardInterrupt):
        interrupted(path, {"1": HITS, "2": HITS[:2]}, "3 Q0 half", output_format=output_format)
    assert path.read_text() == "the old run"
    kept = read_run(tmp_path / "run.txt.partial")
    assert {topic: [hit.docid for hit in hits] for topic, hits in kept.items()} == {
        "1": [hit.docid for hit in HITS],
        "2": [hit.docid for hit in HITS[:2]],
    }
    assert sorted(found.name for found in tmp_path.iterdir()) == ["run.txt", "run.txt.partial"]
    assert caplog.messages == [f"Interrupted: {path} was not written; the 2 topics done so far are in {path}.partial"]


def test_what_cannot_be_kept_of_an_interrupted_run_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "run.txt"
    (tmp_path / "run.txt.partial").mkdir()
    with pytest.raises(KeyboardInterrupt):
        interrupted(path, {"1": HITS}, "2 Q0 half")
    why = f"{path}.partial: is a folder, a file name was wanted"
    assert caplog.messages == [f"The topics done so far could not be kept: {why}"]
    assert [found.name for found in tmp_path.iterdir()] == ["run.txt.partial"]


def test_an_interrupt_before_the_first_topic_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        interrupted(tmp_path / "run.txt", {}, "1 Q0 half")
    assert not list(tmp_path.iterdir())
