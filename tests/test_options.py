# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Option dataclasses: their flags, defaults and limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from hypensearch.cli import CommandParser
from hypensearch.errors import HypensearchError
from hypensearch.options import Options, add_flags, default_of, from_args, from_mapping, option


@dataclass(frozen=True)
class Walk(Options):
    corpus: str = option("what to walk through")
    max_iter: int = option("iterations, at most", 16, at_least=1)
    share: float = option("a share", 0.5, above=0, at_most=1)
    limit: int | None = option("documents, at most", None, at_least=1, aliases=["-l"])
    variant: str = option("which one", "paper", choices=("paper", "released"))
    early_stop: bool = option("stop early", True)
    quiet: bool = option("say nothing", False)
    fields: list[str] = option("fields to read", ["text"])
    weights: dict[str, float] = option("weights of the parts", {"head": 1.0}, group="weighing")


def parsed(*flags: str) -> Walk:
    parser = CommandParser(prog="walk")
    add_flags(parser.add_argument_group("walking"), Walk)
    return from_args(Walk, parser.parse_args(["--corpus", "c", *flags]))


def test_flags_left_out_take_the_defaults() -> None:
    assert parsed() == Walk(corpus="c")
    assert parsed().fields is not parsed().fields


@pytest.mark.parametrize(
    ("flags", "name", "value"),
    [
        (["--max-iter", "3"], "max_iter", 3),
        (["--share", "1"], "share", 1.0),
        (["--limit", "7"], "limit", 7),
        (["-l", "7"], "limit", 7),
        (["--variant", "released"], "variant", "released"),
        (["--no-early-stop"], "early_stop", False),
        (["--quiet"], "quiet", True),
        (["--fields", "title", "text"], "fields", ["title", "text"]),
        (["--weights", "head=0.5", "tail"], "weights", {"head": 0.5, "tail": 1.0}),
    ],
)
def test_flags_give_values(flags: list[str], name: str, value: Any) -> None:
    assert getattr(parsed(*flags), name) == value


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--max-iter", "0"], "argument --max-iter: '0' is not a whole number of at least 1"),
        (["--max-iter", "x"], "argument --max-iter: 'x' is not a whole number of at least 1"),
        (["--limit", "-1"], "argument -l/--limit: '-1' is not a whole number of at least 1"),
        (["--share", "0"], "argument --share: '0' is not a number of more than 0 and at most 1"),
        (["--share", "nan"], "argument --share: 'nan' is not a number of more than 0 and at most 1"),
        (["--variant", "x"], "argument --variant: invalid choice: 'x' (choose from"),
        (["--weights", "a=b"], "argument --weights: 'a=b' is not NAME=NUMBER or NAME"),
    ],
)
def test_bad_flags_are_one_line(flags: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        parsed(*flags)
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith(f"error: {message}")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"max_iter": 0}, "--max-iter 0: wanted at least 1"),
        ({"share": 0.0}, "--share 0.0: wanted more than 0 and at most 1"),
        ({"share": float("nan")}, "--share nan: wanted more than 0 and at most 1"),
        ({"variant": "x"}, "--variant x: wanted paper or released"),
    ],
)
def test_bad_values_are_refused_in_python_as_well(values: dict[str, Any], message: str) -> None:
    with pytest.raises(HypensearchError, match=f"^{message}$"):
        Walk(corpus="c", **values)


def test_a_field_without_a_default_is_a_required_flag(capsys: pytest.CaptureFixture[str]) -> None:
    parser = CommandParser(prog="walk")
    add_flags(parser, Walk)
    with pytest.raises(SystemExit):
        parser.parse_args([])
    assert "--corpus" in capsys.readouterr().err


def test_a_command_may_offer_some_of_the_fields_only() -> None:
    parser = CommandParser(prog="walk")
    add_flags(parser, Walk, only=["max_iter"])
    assert from_args(Walk, parser.parse_args(["--max-iter", "2"]), corpus="d") == Walk(corpus="d", max_iter=2)


def test_defaults_can_be_asked_for() -> None:
    assert (default_of(Walk, "max_iter"), default_of(Walk, "fields")) == (16, ["text"])


@pytest.mark.parametrize(
    ("values", "name", "value"),
    [
        ({"share": "5e-1"}, "share", 0.5),  # YAML reads this as text
        ({"share": 1}, "share", 1.0),
        ({"fields": "title"}, "fields", ["title"]),
        ({"weights": ["head", "tail=2"]}, "weights", {"head": 1.0, "tail": 2.0}),
        ({"weights": {"head": 3}}, "weights", {"head": 3.0}),
        ({"limit": None}, "limit", None),
        ({}, "max_iter", 16),
    ],
)
def test_a_mapping_gives_values(values: dict[str, Any], name: str, value: Any) -> None:
    found = getattr(from_mapping(Walk, {"corpus": "c", **values}, "w.yaml"), name)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"max_itr": 3}, "w.yaml: unknown key 'max_itr', did you mean 'max_iter'?"),
        ({"max_iter": 2.5}, "w.yaml: max_iter: wanted a whole number, found 2.5"),
        ({"max_iter": True}, "w.yaml: max_iter: wanted a whole number, found True"),
        ({"share": True}, "w.yaml: share: wanted a number, found True"),
        ({"quiet": 1}, "w.yaml: quiet: wanted true or false, found 1"),
        ({"corpus": ["c"]}, r"w.yaml: corpus: wanted a text, found \['c'\]"),
        ({"fields": [1]}, r"w.yaml: fields: wanted a list, each a text, found \[1\]"),
        ({"weights": {"head": "x"}}, "w.yaml: weights: wanted names with numbers, found {'head': 'x'}"),
        ({"max_iter": 0}, "--max-iter 0: wanted at least 1"),
    ],
)
def test_a_bad_mapping_is_one_line(values: dict[str, Any], message: str) -> None:
    with pytest.raises(HypensearchError, match=f"^{message}$".replace("?$", r"\?$")):
        from_mapping(Walk, {"corpus": "c", **values}, "w.yaml")


def test_what_a_mapping_lacks_is_listed() -> None:
    with pytest.raises(HypensearchError, match=r"^missing settings: corpus \(in w.yaml or as flags\)$"):
        from_mapping(Walk, {}, "w.yaml")


def test_flags_that_were_given_go_over_a_mapping() -> None:
    parser = CommandParser(prog="walk")
    add_flags(parser, Walk, given_only=True)
    given = vars(parser.parse_args(["--no-quiet", "--share", "0.25"]))
    assert given == {"quiet": False, "share": 0.25}
    assert from_mapping(Walk, {"corpus": "c", "quiet": True} | given, "w.yaml") == Walk(corpus="c", share=0.25)


def test_the_help_has_titles_and_defaults() -> None:
    parser = CommandParser(prog="walk")
    add_flags(parser, Walk, given_only=True)
    text = parser.format_help()
    assert "\nweighing:\n" in text
    for default in ("(default: 16)", "(default: yes)", "(default: head=1)", "(default: text)"):
        assert default in text
