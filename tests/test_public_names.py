# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""What a user sees who types ``hypensearch.`` and the tab key."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

import hypensearch

MODULES = [name for name in hypensearch.__all__]
# In a process of its own: Pyserini's encoders start Java, which takes over the signals of its process.
LOOK = """
import importlib, inspect, json
import hypensearch

def shown(name):
    module = importlib.import_module(f"hypensearch.{name}".rstrip("."))
    names = [shown for shown in dir(module) if not shown.startswith("_")]
    things = {shown: getattr(module, shown) for shown in names}
    code = {shown: thing for shown, thing in things.items() if inspect.isclass(thing) or inspect.isfunction(thing)}
    return {
        "names": names,
        "all": sorted(module.__all__),
        "modules": [shown for shown, thing in things.items() if inspect.ismodule(thing)],
        "described": bool(inspect.getdoc(module)),
        "undescribed": [shown for shown, thing in code.items() if not inspect.getdoc(thing)],
        "private": [shown for shown, thing in code.items() if thing.__module__.startswith("hypensearch._")],
    }

print(json.dumps({name: shown(name) for name in ["", *hypensearch.__all__]}))
"""


@pytest.fixture(scope="module")
def seen() -> dict[str, dict[str, Any]]:
    done = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("name", ["", *MODULES])
def test_dir_is_the_public_names_and_no_others(seen: dict[str, dict[str, Any]], name: str) -> None:
    assert seen[name]["names"] == seen[name]["all"]
    assert seen[name]["modules"] == (MODULES if name == "" else [])


@pytest.mark.parametrize("name", MODULES)
def test_public_names_are_described(seen: dict[str, dict[str, Any]], name: str) -> None:
    assert seen[name]["described"]
    assert seen[name]["undescribed"] == []
    assert seen[name]["private"] == []


def test_names_are_there_after_a_plain_import() -> None:
    code = "import hypensearch\nprint(hypensearch.search.HypencoderSearcher, hypensearch.pyserini.use_java)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("<class 'hypensearch.search.searcher.HypencoderSearcher'> <function use_java")


@pytest.mark.parametrize("name", ["serch", "np", "os"])
def test_what_is_not_there_is_an_attribute_error(name: str) -> None:
    with pytest.raises(AttributeError, match=f"module 'hypensearch' has no attribute '{name}'"):
        getattr(hypensearch, name)
