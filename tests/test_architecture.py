# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Who may import whom, what a plain import may load, and what every module and command has."""

from __future__ import annotations

import argparse
import ast
import importlib
import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import hypensearch
from hypensearch.__main__ import COMMANDS

PACKAGE = Path(hypensearch.__file__).parent
BASE = {"", "errors", "hits", "offline", "options", "printing", "progress"}  # "" is hypensearch itself, for its version
HEAVY = (
    *("torch", "transformers", "pyserini", "jnius", "ir_measures", "pandas", "faiss", "scipy", "matplotlib", "tqdm"),
    *("triton", "fastapi", "prometheus_client", "uvicorn", "datasets", "ir_datasets"),
)

# Part of the package -> the parts it may import; upward never.
ALLOWED: dict[str, set[str]] = {
    "": {"threads"},
    "errors": {"printing"},
    "hits": set(),
    "options": {"errors"},
    "printing": set(),
    "progress": set(),
    "offline": {"errors", "printing"},
    "resources": set(),
    "threads": set(),
    "cli": BASE | {"threads"},
    "onednn": BASE,
    "device": BASE | {"onednn"},
    "stages": BASE,
    "pyserini.java": BASE,
    "formats": BASE,
    "tables": BASE,
    "models": BASE | {"formats", "stages", "threads"},
    "flat": BASE | {"formats", "models"},
    "scoring": BASE | {"device", "models", "onednn", "stages", "threads"},
    "exhaustive": BASE | {"flat", "models", "scoring", "stages"},
    "graph": BASE | {"flat", "formats", "models", "scoring", "stages"},
    "surrogate": BASE | {"onednn", "flat", "formats", "models", "scoring", "stages"},
    "pyserini.bridge": BASE | {"formats", "pyserini.java"},
    "topics": BASE | {"formats", "pyserini.bridge"},
    "qrels": BASE | {"formats", "pyserini.bridge", "tables"},
    "runs": BASE | {"formats", "tables"},
    "engines": BASE | {"flat", "models", "scoring", "surrogate"},
    "encode": BASE | {"cli", "device", "flat", "formats", "models", "threads", "topics"},
    "index": BASE | {"cli", "device", "flat", "formats", "graph", "surrogate", "topics"},
    "search": BASE
    | {
        "cli",
        "device",
        "engines",
        "exhaustive",
        "flat",
        "formats",
        "graph",
        "models",
        "pyserini.bridge",
        "scoring",
        "stages",
    }
    | {"surrogate", "threads", "topics"},
    "pyserini": BASE | {"cli", "device", "flat", "formats", "models", "pyserini.bridge", "search"},
    "rerank": BASE
    | {"cli", "device", "encode", "flat", "formats", "graph", "models", "scoring", "search", "stages", "topics"},
    "eval": BASE | {"cli", "formats", "qrels"},
    "bench": BASE
    | {"cli", "device", "eval", "exhaustive", "flat", "formats", "graph", "models", "onednn", "scoring", "search"}
    | {"stages", "surrogate", "topics"},
    "serve": BASE | {"cli", "flat", "scoring", "search"},
    "export": BASE | {"cli", "engines", "flat", "formats", "progress", "surrogate", "topics"},
    "adapters": BASE | {"device", "encode", "flat", "formats", "models", "rerank", "search"},
    "mine": BASE | {"cli", "formats", "models", "pyserini.bridge", "search", "topics"},
    "train": BASE | {"cli", "device", "eval", "formats", "models", "scoring", "threads"},
    "reproductions": BASE | {"cli", "eval", "formats", "pyserini.bridge"},
    "2cr": BASE | {"reproductions"},
    "convert": BASE | {"cli", "formats", "models"},
    "demo": BASE | {"cli", "encode", "eval", "flat", "formats", "models", "pyserini", "pyserini.bridge", "search"},
    "verify": BASE | {"cli", "device", "encode", "flat", "formats", "graph", "models", "surrogate"},
    "__main__": BASE | {"cli"},
}
# Library -> the parts that may import it, wherever in a module.
LIBRARIES = {
    "torch": {
        *(
            "adapters",
            "bench",
            "convert",
            "demo",
            "device",
            "encode",
            "engines",
            "exhaustive",
            "export",
            "flat",
            "graph",
            "index",
            "mine",
            "models",
            "onednn",
            "pyserini",
            "rerank",
            "scoring",
            "search",
            "surrogate",
            "threads",
            "train",
            "verify",
        ),
    },
    "transformers": {"models", "train", "mine"},
    "huggingface_hub": {"models"},
    "ir_measures": {"eval", "qrels", "runs"},
    "pandas": {"adapters", "tables"},
    "pytrec_eval": {"eval"},
    "pyserini": {"pyserini.bridge"},
    "jnius": {"pyserini.java"},
    "jnius_config": {"pyserini.java"},
    "google": {"formats"},
    "faiss": {"formats", "flat", "graph", "surrogate", "bench"},
    "datasets": {"formats"},
    "haystack": {"adapters"},
    "langchain_core": {"adapters"},
    "llama_index": {"adapters"},
    "mteb": {"adapters"},
    "pyterrier": {"adapters"},
    "sentence_transformers": {"adapters"},
    "ir_datasets": {"formats"},
    "fastapi": {"serve"},
    "prometheus_client": {"serve"},
    "uvicorn": {"serve"},
    "psycopg": {"engines"},
    "pymilvus": {"engines"},
    "matplotlib": {"train", "bench"},
    "triton": {"scoring"},
}
# What parts that work with tensors may load when they are imported. All else waits until it is needed.
MAY_LOAD = {
    "adapters": {"pandas", "torch"},
    "onednn": {"torch"},
    "models": {"torch"},
    "scoring": {"torch", "triton"},
    "engines": {"torch", "psycopg", "pymilvus"},
    "exhaustive": {"torch"},
    "graph": {"torch"},
    "surrogate": {"torch"},
    "flat": {"torch"},
    "search": {"torch"},
    "serve": {"fastapi", "prometheus_client"},
    "rerank": {"torch"},
    "bench": {"torch"},
    "train": {"torch", "transformers"},
}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    parts = ["hypensearch", *path.relative_to(PACKAGE).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def part_of(module: str) -> str:
    """The first name below hypensearch, a folder or a module; what comes from Pyserini is not what goes to it."""
    names = [*module.split("."), ""]
    return ".".join(names[1:3]) if names[1:3] in (["pyserini", "java"], ["pyserini", "bridge"]) else names[1]


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(node: ast.AST, module: str, is_package: bool) -> Iterator[str]:
    """Full names of the modules that one statement imports."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        above = module.split(".")[: len(module.split(".")) - node.level + is_package] if node.level else []
        base = ".".join([*above, *([node.module] if node.module else [])])
        for alias in node.names:
            inner = f"{base}.{alias.name}"
            yield inner if inner.startswith("hypensearch") and _is_module(inner) else base


@cache
def _is_module(name: str) -> bool:
    path = PACKAGE.joinpath(*name.split(".")[1:])
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def imports_of(path: Path) -> set[str]:
    """All that a module imports, those for type checkers only left out."""
    return {name for node in _running(tree(path)) for name in imported(node, name_of(path), path.stem == "__init__")}


def imports_when_loaded(path: Path) -> set[str]:
    """What importing a module imports at once."""
    nodes = [node for node in _running(tree(path), into_functions=False)]
    return {name for node in nodes for name in imported(node, name_of(path), path.stem == "__init__")}


def _running(node: ast.AST, *, into_functions: bool = True) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if not into_functions and isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        yield child
        yield from _running(child, into_functions=into_functions)


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_imports_go_downwards(path: Path) -> None:
    own = part_of(name_of(path))
    assert own in ALLOWED, f"{own} is new: say here what it may import"
    others = {part_of(name) for name in imports_of(path) if name.split(".")[0] == "hypensearch"} - {own}
    allowed = ALLOWED[own]
    assert others <= allowed, f"{name_of(path)} imports {sorted(others - allowed)}"


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_only_commands_import_cli(path: Path) -> None:
    of_commands = {module for module, _ in COMMANDS.values()}
    is_command = path.stem in ("__main__", "command", "flags") or name_of(path) in of_commands
    assert is_command or "hypensearch.cli" not in imports_of(path)


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_libraries_stay_where_they_belong(path: Path) -> None:
    own = part_of(name_of(path))
    for library in {name.split(".")[0] for name in imports_of(path)} & set(LIBRARIES):
        assert own in LIBRARIES[library], f"{name_of(path)} imports {library}"


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_heavy_libraries_wait_until_they_are_needed(path: Path) -> None:
    found = {name.split(".")[0] for name in imports_when_loaded(path)} & set(HEAVY)
    allowed = MAY_LOAD.get(part_of(name_of(path)), set()) if path.stem != "__main__" else set()
    assert found <= allowed


def test_no_import_cycles() -> None:
    """Over what is imported at once: a module's own package comes before it and does not count."""
    graph = {
        name_of(path): {
            name for name in imports_when_loaded(path) if _is_module(name) and not name_of(path).startswith(f"{name}.")
        }
        for path in modules()
    }
    done: set[str] = set()

    def visit(module: str, above: tuple[str, ...]) -> None:
        assert module not in above, " -> ".join([*above[above.index(module) :], module])
        if module not in done:
            for other in sorted(graph.get(module, ())):
                visit(other, (*above, module))
            done.add(module)

    for module in graph:
        visit(module, ())


def test_parts_do_not_import_each_other() -> None:
    """The table above has no cycle either."""
    order: list[str] = []
    while len(order) < len(ALLOWED):
        ready = [part for part, below in ALLOWED.items() if part not in order and below <= set(order)]
        assert ready, f"a cycle among {sorted(set(ALLOWED) - set(order))}"
        order += ready


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_every_module_has_licence_and_docstring(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").split("\n")
    assert lines[:2] == ["# Copyright 2026 The hypensearch authors", "# SPDX-License-Identifier: Apache-2.0"]
    assert ast.get_docstring(tree(path)) or not tree(path).body


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_no_pickle_and_no_seeding_of_the_world(path: Path) -> None:
    assert not {"pickle", "dill", "joblib", "shelve"} & {name.split(".")[0] for name in imports_of(path)}
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in ("torch.manual_seed", "random.seed", "np.random.seed", "torch.cuda.manual_seed_all")
            if called == "torch.load":
                assert "weights_only=True" in ast.unparse(node)
            if called == "np.load":
                assert "allow_pickle=True" not in ast.unparse(node)


# Commands


def existing(command: str) -> str:
    """The command's module; those that are still to come are skipped."""
    module = COMMANDS[command][0]
    if not _is_module(module):
        pytest.skip(f"{module} is not there yet")
    return module


def loaded_by(code: str) -> set[str]:
    """The heavy libraries that a fresh interpreter has loaded after some code."""
    code += f"\nimport sys; print(*({set(HEAVY)!r} & set(sys.modules)), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stderr.split())


def test_plain_import_loads_nothing() -> None:
    parts = [
        "errors",
        "hits",
        "cli",
        "device",
        "topics",
        "pyserini.java",
        "pyserini.bridge",
        "formats.run",
        "search",
        "eval",
    ]
    parts += ["qrels", "runs", "pyserini"]
    assert loaded_by("import " + ", ".join(["hypensearch", *(f"hypensearch.{part}" for part in parts)])) == set()


@pytest.mark.parametrize("command", COMMANDS)
def test_help_loads_nothing(command: str) -> None:
    code = (
        f"import runpy, sys\nsys.argv = ['x', '--help']\ntry: runpy.run_module({existing(command)!r}, None, '__main__')"
    )
    assert loaded_by(f"{code}\nexcept SystemExit as end: assert end.code == 0, end.code") == set()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_flag_has_help(command: str) -> None:
    parser = importlib.import_module(existing(command)).build_parser()
    for part in [parser, *getattr(parser, "groups", [])]:
        for action in part._actions:
            if isinstance(action, argparse._SubParsersAction):
                continue  # the groups of flags, which are gone through themselves
            assert action.help, f"{part.prog}: {action.option_strings or action.dest}"
            hidden = action.help == argparse.SUPPRESS
            assert hidden or action.help == action.help.strip()


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_are_packages_with_a_main(command: str) -> None:
    module = importlib.import_module(existing(command))
    spec = importlib.util.find_spec(module.__name__)
    assert spec is not None
    assert spec.origin is not None
    assert Path(spec.origin).read_text(encoding="utf-8").endswith("\n    raise SystemExit(main())\n")
    assert module.build_parser().prog == f"python -m hypensearch.{command}"
