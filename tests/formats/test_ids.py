# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
import logging

import pytest

from hypensearch.formats.ids import IdLookup, flaw_of_id, with_ids_of


def test_ids_are_found_as_they_are_written_or_by_their_number() -> None:
    lookup = IdLookup(["001", "2", "02", "0", "x07", "\u0661"])
    found = {
        text: lookup.find(text) for text in ("001", "1", "0001", "2", "02", "002", "00", "x7", "x07", "3", "", "1.0")
    }
    assert found == {
        **{"001": "001", "1": "001", "0001": "001", "2": "2", "02": "02", "002": None, "00": "0", "x7": None},
        **{"x07": "x07", "3": None, "": None, "1.0": None},
    }


def test_values_get_the_ids_of_the_other_file(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert with_ids_of(["001", "002", "100", "q"], {"1": "a", "2": "b", "100": "c", "q": "d", "4": "e"}, "run") == {
        **{"001": "a", "002": "b", "100": "c", "q": "d", "4": "e"}
    }
    assert caplog.messages == ["run: 2 topic ids have other leading zeros, as '1' for '001': taken as the same topics"]


def test_nothing_is_lost_where_two_ids_have_one_number(caplog: pytest.LogCaptureFixture) -> None:
    assert with_ids_of(["001"], {"1": "a", "01": "b"}, "run") == {"1": "a", "01": "b"}
    assert with_ids_of(["001"], {"1": "a", "001": "b"}, "run") == {"1": "a", "001": "b"}
    assert with_ids_of(["1", "01"], {"001": "a"}, "run") == {"001": "a"}
    assert not caplog.messages


@pytest.mark.parametrize("text", ["a", "a-b", "\u00e9", "\u4e2d", "D1|2", "\U0001f600"])
def test_ids_that_a_run_file_can_carry(text: str) -> None:
    assert flaw_of_id(text) is None


@pytest.mark.parametrize(
    "text", ["a b", "a\tb", "a\n", "\r", "\x00", "\x7f", "\x1f", "\u00a0", "\u2028", "\udc80", "a\u3000"]
)
def test_ids_that_a_run_file_cannot_carry(text: str) -> None:
    assert flaw_of_id(text) == f"{text!r} holds white space or control characters, which run files cannot carry"


def test_an_empty_id() -> None:
    assert flaw_of_id("") == "is empty"
