# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Options declared once: a frozen dataclass whose fields become flags, with their defaults, limits and help.

::

    @dataclass(frozen=True)
    class GraphOptions(Options):
        max_iter: int = option("iterations, at most", 16, at_least=1)

    add_flags(parser.add_argument_group("graph search"), GraphOptions)    # adds --max-iter
    options = from_args(GraphOptions, parser.parse_args())
    options = from_mapping(GraphOptions, {"max_iter": 16}, "options.yaml")
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import reprlib
import types
import typing
from collections.abc import Collection, Mapping, Sequence
from dataclasses import MISSING, dataclass, field
from typing import Any, TypeVar

from hypensearch.errors import HypensearchError

T = TypeVar("T", bound="Options")


def option(
    help: str,
    default: Any = MISSING,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    above: float | None = None,
    choices: Sequence[str] = (),
    metavar: str | None = None,
    group: str | None = None,
    aliases: Sequence[str] = (),
) -> Any:
    """Declare a field of an :class:`Options` class.

    :param help: The flag's help, without the default.
    :param default: A list or dict is copied for each instance. The option is required without one.
    :param at_least: Smallest value.
    :param at_most: Largest value.
    :param above: Values have to be greater than this.
    :param choices: Known values of a text.
    :param metavar: Stands for the value in the help.
    :param group: Title in the help, above this field and those that follow.
    :param aliases: Other names of the flag, such as ``-l``.
    """
    metadata = {
        "help": help,
        "at_least": at_least,
        "at_most": at_most,
        "above": above,
        "choices": tuple(choices),
        "metavar": metavar,
        "group": group,
        "aliases": tuple(aliases),
    }
    if isinstance(default, list | dict):
        return field(default_factory=default.copy, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Options:
    """Base class of option dataclasses: checks every value against its limits.

    :raises HypensearchError: Names the flag, what was found and what was wanted.
    """

    def __post_init__(self) -> None:
        for one in dataclasses.fields(self):
            if (problem := _problem(one, getattr(self, one.name))) is not None:
                raise HypensearchError(f"{flag_of(one.name)} {getattr(self, one.name)}: wanted {problem}")


def flag_of(name: str) -> str:
    """Return the flag of a field: ``--max-iter`` of ``max_iter``."""
    return "--" + name.replace("_", "-")


def default_of(options: type[Options], name: str) -> Any:
    """Return a field's default."""
    one = next(one for one in dataclasses.fields(options) if one.name == name)
    return one.default if one.default_factory is MISSING else one.default_factory()


def add_flags(
    parser: argparse.ArgumentParser | argparse._ArgumentGroup,
    options: type[Options],
    *,
    only: Collection[str] | None = None,
    leave_out: Collection[str] = (),
    given_only: bool = False,
) -> None:
    """Add a flag for each field.

    A ``bool`` becomes a switch, with a ``--no-`` form where the default is True; a list takes several values; a dict of
    numbers takes ``NAME=NUMBER``, or ``NAME`` alone for 1.

    :param only: Fields to add; all by default.
    :param leave_out: Fields that have no flag.
    :param given_only: Whether parsing returns only the flags that were given: the others may be in a file, and go
        through :func:`from_mapping` together.
    """
    hints = typing.get_type_hints(options)
    group = parser
    for one in dataclasses.fields(options):
        if one.name in leave_out or (only is not None and one.name not in only):
            continue
        default, hint = default_of(options, one.name), hints[one.name]
        settings: dict[str, Any] = {"help": one.metadata["help"]}
        if given_only:
            settings |= {"default": argparse.SUPPRESS, "help": one.metadata["help"] + _shown_default(default)}
        elif default is MISSING:
            settings["required"] = True
        else:
            settings["default"] = default
        if hint is bool:
            settings["action"] = argparse.BooleanOptionalAction if default or given_only else "store_true"
        elif typing.get_origin(hint) is dict:
            settings |= {"nargs": "+", "action": _NamedNumbers, "metavar": "NAME[=NUMBER]"}
        else:
            if typing.get_origin(hint) is list:
                settings["nargs"] = "*" if given_only else "+"
            settings |= {"type": _parser_of(one, _kind(hint)), "metavar": one.metadata["metavar"]}
            if one.metadata["choices"]:
                settings["choices"] = one.metadata["choices"]
        if one.metadata["group"] and isinstance(parser, argparse.ArgumentParser):
            group = parser.add_argument_group(one.metadata["group"])
        group.add_argument(*one.metadata["aliases"], flag_of(one.name), **settings)


def from_args(options: type[T], args: argparse.Namespace, **others: Any) -> T:
    """Fill options from parsed flags; fields without a flag keep their defaults.

    :param others: Values of fields that come from elsewhere.
    :raises HypensearchError: When a value is out of its limits.
    """
    names = {one.name for one in dataclasses.fields(options)}
    return options(**{name: value for name, value in vars(args).items() if name in names} | others)


def from_mapping(options: type[T], values: Mapping[str, Any], where: str) -> T:
    """Fill options from a mapping, such as a YAML file's; fields that are not in it keep their defaults.

    :param values: By field name. One text stands for a list of one, a list of names for a dict of weights of 1.
    :param where: The file, for messages.
    :raises HypensearchError: For an unknown key (with the nearest known one), a missing one, a value of another type or
        out of its limits.
    """
    fields = [one.name for one in dataclasses.fields(options)]
    for key in values:
        if key not in fields:
            near = difflib.get_close_matches(str(key), fields, n=1)
            raise HypensearchError(f"{where}: unknown key {key!r}{f', did you mean {near[0]!r}?' if near else ''}")
    if missing := [name for name in fields if name not in values and default_of(options, name) is MISSING]:
        raise HypensearchError(f"missing settings: {', '.join(missing)} (in {where} or as flags)")
    hints = typing.get_type_hints(options)
    return options(**{key: _converted(value, hints[key], f"{where}: {key}") for key, value in values.items()})


def _converted(value: Any, hint: Any, where: str) -> Any:
    """Check a value's type; numbers, texts and truth values are not taken for each other."""
    import msgspec

    origin = typing.get_origin(hint)
    if origin is list and isinstance(value, str):
        value = [value]
    try:
        if origin is dict and isinstance(value, list):
            value = _named_numbers(value)
        # YAML reads 5e-5 as text
        return msgspec.convert(value, hint, strict=float not in (hint, *typing.get_args(hint)))
    except (msgspec.ValidationError, ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        raise HypensearchError(f"{where}: wanted {_words(hint)}, found {reprlib.repr(value)}") from None


def _words(hint: Any) -> str:
    if typing.get_origin(hint) is list:
        return f"a list, each {_words(_kind(hint))}"
    if typing.get_origin(hint) is dict:
        return "names with numbers"
    return {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}[_kind(hint)]


class _NamedNumbers(argparse.Action):
    """Reads ``NAME=NUMBER`` and ``NAME`` into a dict."""

    def __call__(self, parser: Any, namespace: argparse.Namespace, values: Any, flag: str | None = None) -> None:
        try:
            setattr(namespace, self.dest, _named_numbers(values))
        except ValueError:
            raise argparse.ArgumentError(self, f"{' '.join(values)!r} is not NAME=NUMBER or NAME") from None


def _named_numbers(texts: Sequence[str]) -> dict[str, float]:
    pairs = (text.partition("=") for text in texts)
    return {name: float(number or 1) for name, _, number in pairs}


def _shown_default(default: Any) -> str:
    if default in ("", []) or any(default is nothing for nothing in (MISSING, None, False)):
        return ""
    if isinstance(default, dict):
        default = " ".join(f"{name}={number:g}" for name, number in default.items())
    elif isinstance(default, list):
        default = " ".join(map(str, default))
    return f" (default: {'yes' if default is True else default})"


def _kind(hint: Any) -> Any:
    """Return the type of one value: int of ``int``, ``int | None`` and ``list[int]``."""
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        hint = next(kind for kind in typing.get_args(hint) if kind is not types.NoneType)
    return typing.get_args(hint)[0] if typing.get_origin(hint) is list else hint


def _parser_of(one: dataclasses.Field[Any], kind: Any) -> Any:
    wanted = _wanted(one, {int: "a whole number", float: "a number"}.get(kind, ""))

    def parse(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not {wanted}") from None
        if not one.metadata["choices"] and _problem(one, value) is not None:
            raise argparse.ArgumentTypeError(f"{text!r} is not {wanted}")
        return value

    return parse if kind in (int, float) else kind


def _problem(one: dataclasses.Field[Any], value: Any) -> str | None:
    """Say what is wanted in place of a value, None if nothing is."""
    limits = one.metadata
    if limits.get("choices") and value is not None and value not in limits["choices"]:
        *most, last = limits["choices"]
        return f"{', '.join(most)} or {last}" if most else str(last)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    too_small = limits.get("at_least") is not None and not value >= limits["at_least"]
    too_large = limits.get("at_most") is not None and not value <= limits["at_most"]
    not_above = limits.get("above") is not None and not value > limits["above"]
    return _wanted(one, "") if too_small or too_large or not_above else None


def _wanted(one: dataclasses.Field[Any], kind: str) -> str:
    limits = [
        f"{words} {one.metadata[name]:g}"
        for name, words in (("at_least", "at least"), ("above", "more than"), ("at_most", "at most"))
        if one.metadata.get(name) is not None
    ]
    return f"{kind} of {' and '.join(limits)}" if kind and limits else kind or " and ".join(limits)
