# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""What a user sees who types ``hypensearch.`` and the tab key."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys

import pytest

import hypensearch

MODULES = [name for name in hypensearch.__all__]


@pytest.mark.parametrize("name", ["", *MODULES])
def test_dir_is_the_public_names_and_no_others(name: str) -> None:
    module = importlib.import_module(f"hypensearch.{name}".rstrip("."))
    shown = [shown for shown in dir(module) if not shown.startswith("_")]
    assert shown == sorted(module.__all__)
    for shown_name in shown:
        shown_thing = getattr(module, shown_name)  # all that is shown is there
        assert inspect.ismodule(shown_thing) == (name == "")


@pytest.mark.parametrize("name", MODULES)
def test_public_names_are_described(name: str) -> None:
    module = getattr(hypensearch, name)
    assert inspect.getdoc(module)
    for shown in module.__all__:
        thing = getattr(module, shown)
        if inspect.isclass(thing) or inspect.isfunction(thing):
            assert inspect.getdoc(thing), f"hypensearch.{name}.{shown}"
            assert not thing.__module__.startswith("hypensearch._")


def test_names_are_there_after_a_plain_import() -> None:
    code = "import hypensearch\nprint(hypensearch.search.HypencoderSearcher, hypensearch.pyserini.use_java)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("<class 'hypensearch.search.searcher.HypencoderSearcher'> <function use_java")


@pytest.mark.parametrize("name", ["serch", "np", "os"])
def test_what_is_not_there_is_an_attribute_error(name: str) -> None:
    with pytest.raises(AttributeError, match=f"module 'hypensearch' has no attribute '{name}'"):
        getattr(hypensearch, name)
