# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from hypensearch.hits import Hit
from hypensearch.search.interactive import readable_hits

TEXTS = {"a.parse": "Read a   date\nfrom text.", "b": "", "long": "word " * 100}


def test_rank_score_docid_and_text() -> None:
    hits = [Hit("a.parse", 12.5), Hit("b", -1.25)]
    assert readable_hits(hits, TEXTS.__getitem__) == (
        "1. 12.500  a.parse\n           Read a date from text.\n\n2. -1.250  b"
    )


def test_long_texts_are_wrapped_and_cut_after_three_lines() -> None:
    lines = readable_hits([Hit("long", 1.0)], TEXTS.__getitem__, width=40).splitlines()
    assert len(lines) == 4
    assert max(map(len, lines)) <= 40
    assert lines[-1].endswith(" ...")


def test_a_very_narrow_terminal_still_shows_text() -> None:
    assert "word" in readable_hits([Hit("long", 1.0)], TEXTS.__getitem__, width=5)


def test_no_hits() -> None:
    assert readable_hits([], TEXTS.__getitem__) == ""
