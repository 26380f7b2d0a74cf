# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Builds the documentation: make docs. The reference of flags and of modules is made from the code itself."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import hypensearch  # noqa: E402
from hypensearch.__main__ import COMMANDS  # noqa: E402

project = "hypensearch"
author = "The hypensearch authors"
copyright = f"2026, {author}"
release = hypensearch.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
exclude_patterns = ["_build"]
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence", "dollarmath"]
html_theme = "furo"
html_title = f"hypensearch {release}"
autodoc_typehints = "description"
autodoc_member_order = "bysource"
autodoc_class_signature = "separated"


def write_command_pages(folder: Path) -> None:
    """Write one page of flags for each command."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (module, _) in COMMANDS.items():
        parser = importlib.import_module(module).build_parser()
        (folder / f"{name}.md").write_text("\n".join(command_page(name, parser)) + "\n", encoding="utf-8")


def command_page(name: str, parser: argparse.ArgumentParser) -> Iterator[str]:
    """Yield the lines of a command's page."""
    yield f"# {name}"
    yield ""
    yield f"`python -m hypensearch.{name}`, or `hypensearch {name}`"
    yield ""
    yield escaped(parser.description or "")
    for part in [parser, *getattr(parser, "groups", [])]:
        if part is not parser:
            yield from ["", f"## Group `{part.prog.split()[-1]}`"]
        for group in part._action_groups:
            rows = [row for action in group._group_actions for row in flag_row(action)]
            if rows:
                yield from ["", f"{'##' if part is parser else '###'} {(group.title or '').capitalize()}", ""]
                yield from ["| flag | meaning | default |", "|---|---|---|", *rows]


def flag_row(action: argparse.Action) -> Iterator[str]:
    """Yield the row of a flag, nothing for hidden ones."""
    if action.help == argparse.SUPPRESS or isinstance(action, argparse._HelpAction | argparse._SubParsersAction):
        return
    names = " ".join(f"`{name}`" for name in action.option_strings) or f"`{action.metavar or action.dest}`"
    choices = f" ({', '.join(map(str, action.choices))})" if action.choices else ""
    shown = action.default not in (None, False, "", argparse.SUPPRESS) and action.default != []
    default = "required" if action.required else f"`{action.default}`" if shown else ""
    yield f"| {names} | {escaped((action.help or '') + choices)} | {default} |"


def escaped(text: str) -> str:
    """Return plain text as Markdown."""
    for mark in "\\`*_{}[]<>|":
        text = text.replace(mark, "\\" + mark)
    return text.replace("%%", "%")


def write_module_page(path: Path) -> None:
    """Write the page of all public names."""
    lines = ["# Python interface", "", hypensearch.__doc__.split("\n")[0], ""]
    for name in hypensearch.__all__:
        module = importlib.import_module(f"hypensearch.{name}")
        lines += [f"## hypensearch.{name}", "", "```{eval-rst}"]
        lines += [f".. automodule:: hypensearch.{name}", "   :no-members:", ""]
        for public in module.__all__:
            kind = "autoclass" if isinstance(getattr(module, public), type) else "autofunction"
            if not callable(getattr(module, public)):
                kind = "autodata"
            lines += [f".. {kind}:: hypensearch.{name}.{public}"]
            lines += ["   :members:"] if kind == "autoclass" else []
            lines += [""]
        lines += ["```", ""]
    path.write_text("\n".join(lines), encoding="utf-8")


write_command_pages(HERE / "reference" / "commands")
write_module_page(HERE / "reference" / "python.md")
