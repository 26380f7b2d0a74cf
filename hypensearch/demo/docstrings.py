# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Real text that every machine has: the documentation strings of Python and of the packages beside us.

Source files are parsed, never imported or run. The summary line of a held-out sample of documented objects becomes a
topic whose only relevant document is the rest of that object's documentation (known-item search). What is held out is
decided file by file, by a hash of the file's path inside its package, so that no file gives both training pairs and
topics, on no machine.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import inspect
import json
import re
import sysconfig
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from hypensearch.errors import HypensearchError
from hypensearch.formats.files import PathLike, replace_when_whole

Split = Literal["train", "validation", "test"]
HeldOut = Literal["validation", "test"]

STANDARD_LIBRARY = "stdlib"

# What hypensearch needs, and what that needs in turn. Those that are not installed are left out.
PACKAGES = tuple(
    f"""{STANDARD_LIBRARY} numpy torch transformers tokenizers safetensors huggingface_hub tqdm ir_measures jsonlines
    pyserini scipy pandas sklearn joblib networkx sympy mpmath jinja2 fsspec requests urllib3 packaging yaml regex
    onnxruntime openai httpx pydantic flask werkzeug click dateutil""".split()
)

TEST_BUCKETS = range(0, 10)
VALIDATION_BUCKETS = range(10, 15)
NUM_BUCKETS = 100

MAX_TOPICS = 500
MAX_TOPICS_PER_FILE = 10
SUMMARY_WORDS = range(4, 41)
TOPIC_BODY_WORDS = 15
PAIR_BODY_WORDS = 8
SHINGLE_WORDS = 4
DISTINCT_SHARE = 0.5

_SKIPPED_FOLDERS = frozenset(
    ("tests", "test", "testing", "benchmarks", "examples")
    + ("site-packages", "dist-packages", "vendor", "vendored", "third_party", "extern", "externals", "node_modules")
    + ("pip", "ensurepip", "idlelib", "lib2to3", "turtledemo", "pydoc_data")
)
_ADD_DOCUMENTATION = frozenset(["add_docstr", "add_newdoc", "add_newdoc_ufunc"])

_WORD = re.compile(r"[^\W_]+")
_PUBLIC_NAME = re.compile(r"\w+(\.(?!_)\w+)+")
_ROLE = re.compile(r":[\w:+.-]+:`[~!]?([^`<]*?)(?:\s*<[^`]*>)?`")
_TICKS = re.compile(r"`{1,2}([^`]*)`{1,2}_{0,2}")
_SENTENCE_END = re.compile(r"(?<=[.!?])(?<!e\.g\.)(?<!i\.e\.)(?<!etc\.)(?<!vs\.)\s+(?=[A-Z\"'(\[`:])")
_SIGNATURE_LINE = re.compile(r"^[\w.]+ ?\(.*\)( *->.*)?$|->|^[\w.]+\(")
_GENERIC = re.compile(r"^(see|same as|alias|deprecated|inherit|internal|private|todo|note|warning|wrapper)\b", re.I)


@dataclass(frozen=True, slots=True)
class Entry:
    """The documentation of one module, class, function or method.

    :param docid: Its qualified name, such as ``datetime.datetime.strptime``.
    :param signature: Its name and parameters.
    :param summary: The first sentence, on one line, without markup.
    :param body: The rest of the documentation; may be empty.
    :param file: The source file, from its package on: ``stdlib/datetime.py``.
    """

    docid: str
    signature: str
    summary: str
    body: str
    file: str

    @property
    def text(self) -> str:
        """The document without its summary: what a known-item topic has to find."""
        return f"{self.signature}\n{self.body}".strip()

    @property
    def full_text(self) -> str:
        """The document with its summary."""
        return "\n".join(part for part in (self.signature, self.summary, self.body) if part)


class Docstrings:
    """A corpus of documentation with known-item topics and training pairs. Made by :func:`collect`.

    :param entries: Documented objects, each docid once.
    :param max_topics: The most topics of each held-out split; the sample depends on docids alone.
    """

    def __init__(self, entries: Sequence[Entry], *, max_topics: int = MAX_TOPICS) -> None:
        self.entries = list(entries)
        self.max_topics = max_topics

    def __len__(self) -> int:
        return len(self.entries)

    @cached_property
    def corpus(self) -> dict[str, str]:
        """Texts by docid. The documents that topics look for lack their summary."""
        known = {entry.docid for items in self._known_items.values() for entry in items}
        return {entry.docid: entry.text if entry.docid in known else entry.full_text for entry in self.entries}

    def topics(self, split: HeldOut = "test") -> dict[str, str]:
        """Return the summaries held out, by topic id, counted from 1."""
        return {str(number): entry.summary for number, entry in enumerate(self._known_items[split], 1)}

    def qrels(self, split: HeldOut = "test") -> dict[str, dict[str, int]]:
        """Return the judgements: for each topic the one document that its summary was taken from."""
        return {str(number): {entry.docid: 1} for number, entry in enumerate(self._known_items[split], 1)}

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Return training pairs: summaries, and the documents that they were taken from.

        Only of files of the training split; nothing that stands in a held-out file as well.
        """
        held_out = {_normal(entry.summary) for entry in self.entries if split_of(entry.file) != "train"}
        for entry in self.entries:
            seen_elsewhere = split_of(entry.file) != "train" or _normal(entry.summary) in held_out
            if not seen_elsewhere and self._is_item(entry, PAIR_BODY_WORDS):
                yield entry.summary, entry.text

    @cached_property
    def _known_items(self) -> dict[HeldOut, list[Entry]]:
        samples: dict[HeldOut, list[Entry]] = {"validation": [], "test": []}
        taken: Counter[str] = Counter()
        for entry in sorted(self.entries, key=lambda entry: _sha1(entry.docid)):
            split = split_of(entry.file)
            if split != "train" and self._is_item(entry, TOPIC_BODY_WORDS):
                taken[entry.file] += 1
                if taken[entry.file] <= MAX_TOPICS_PER_FILE:
                    samples[split].append(entry)
        return {
            split: sorted(sample[: self.max_topics], key=lambda entry: entry.docid) for split, sample in samples.items()
        }

    def _is_item(self, entry: Entry, least_words: int) -> bool:
        """Return whether an entry's summary says which document is wanted, and no other."""
        words = _WORD.findall(entry.summary)
        body = _WORD.findall(entry.body)
        if len(words) not in SUMMARY_WORDS or len(body) < least_words or _GENERIC.match(entry.summary):
            return False
        summary = _normal(entry.summary)
        if entry.summary.endswith((":", "...")) or self._summaries[summary] > 1 or summary in _normal(entry.body):
            return False
        shingles = _shingles(entry.body)  # at least half of them must be in no other document
        alone = sum(self._shingle_counts[shingle] == 1 for shingle in shingles)
        return alone >= DISTINCT_SHARE * len(shingles)

    @cached_property
    def _summaries(self) -> Counter[str]:
        return Counter(_normal(entry.summary) for entry in self.entries)

    @cached_property
    def _shingle_counts(self) -> Counter[int]:
        return Counter(shingle for entry in self.entries for shingle in _shingles(entry.body))


def collect(
    packages: Sequence[str] = PACKAGES, *, max_docs: int | None = None, max_topics: int = MAX_TOPICS
) -> Docstrings:
    """Read the documentation strings of installed packages from their source files.

    Files are read in the order of their hash, those of the standard library first, so a smaller corpus is the beginning
    of a larger one and has the test files in it.

    :param packages: Names as in ``import``; ``"stdlib"`` is the standard library. Missing ones are left out.
    :param max_docs: Stop after this many documents; all of them when left out.
    :param max_topics: The most topics of each held-out split.
    :raises HypensearchError: When nothing documented is found.
    """
    entries: dict[str, Entry] = {}
    for file, path in sorted(_source_files(packages), key=_reading_order):
        for entry in read_entries(path, file):
            entries.setdefault(entry.docid, entry)
        if max_docs is not None and len(entries) >= max_docs:
            break
    if not entries:
        raise HypensearchError(
            f"found no documentation strings in {', '.join(packages)}: is this a Python without source files?"
        )
    kept = list(entries.values())[:max_docs]
    return Docstrings(sorted(kept, key=lambda entry: entry.docid), max_topics=max_topics)


def sources_digest(packages: Sequence[str] = PACKAGES) -> str:
    """Sum up which source files there are, so that a corpus can be told from one of other versions.

    :return: Hex digest of all files' names and sizes.
    """
    sources = sorted((file, path.stat().st_size) for file, path in _source_files(packages))
    return _sha1(repr(sources))


def split_of(file: str) -> Split:
    """Return which split a source file belongs to.

    :param file: Its path from the package on, with forward slashes.
    """
    bucket = _bucket(file)
    if bucket in TEST_BUCKETS:
        return "test"
    return "validation" if bucket in VALIDATION_BUCKETS else "train"


def write_corpus(docstrings: Docstrings, path: PathLike) -> None:
    """Write the documents as Pyserini's JSON lines, ``{"id": ..., "contents": ...}``."""
    records = ({"id": docid, "contents": text} for docid, text in docstrings.corpus.items())
    with replace_when_whole(path, "w") as file:
        file.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def read_entries(path: Path, file: str) -> list[Entry]:
    """Read what one source file documents; nothing when it cannot be read or parsed.

    :param path: The file.
    :param file: Its path from the package on, ``package/folder/module.py``.
    """
    try:
        with warnings.catch_warnings(action="ignore"):
            tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    return [
        Entry(name, signature, *parts, file)
        for name, signature, docstring in _documented(tree, _module_name(file))
        if (parts := _summary_and_body(docstring)) is not None
    ]


def _source_files(packages: Iterable[str]) -> Iterator[tuple[str, Path]]:
    for package in packages:
        for root in _roots(package):
            for path in _python_files(root):
                yield f"{package}/{path.relative_to(root).as_posix()}", path


def _reading_order(source: tuple[str, Path]) -> tuple[bool, int, str]:
    file, _ = source
    return not file.startswith(f"{STANDARD_LIBRARY}/"), _bucket(file), _sha1(file)


def _roots(package: str) -> list[Path]:
    if package == STANDARD_LIBRARY:
        return [Path(sysconfig.get_path("stdlib"))]
    try:
        # Of a top-level name this only looks, it runs nothing.
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        spec = None
    return [Path(root) for root in (spec and spec.submodule_search_locations) or []]


def _python_files(folder: Path) -> Iterator[Path]:
    try:
        children = sorted(folder.iterdir())
    except OSError:
        return
    for child in children:
        if child.is_dir():
            if _is_wanted_folder(child.name) and not child.is_symlink():
                yield from _python_files(child)
        elif child.suffix == ".py" and not child.name.startswith(("test_", "conftest")):
            yield child


def _is_wanted_folder(name: str) -> bool:
    return name == "_core" or (name not in _SKIPPED_FOLDERS and name.isidentifier() and not name.startswith("_"))


def _module_name(file: str) -> str:
    package, *parts = file.removesuffix(".py").split("/")
    if package != STANDARD_LIBRARY:
        parts = [package, *parts]
    elif parts[0].startswith("_py"):
        # The Python twin of a module written in C: _pydatetime documents datetime.
        parts[0] = parts[0].removeprefix("_py")
    if parts[-1] == "__init__":
        parts.pop()
    return ".".join(parts)


def _documented(parent: ast.AST, scope: str) -> Iterator[tuple[str, str, str]]:
    """Return (qualified name, signature, docstring) of all that is public and documented."""
    if isinstance(parent, ast.Module) and scope and (docstring := ast.get_docstring(parent)):
        yield scope, scope, docstring
    for node in ast.iter_child_nodes(parent):
        if isinstance(node, (ast.If, ast.Try, ast.With)):
            yield from _documented(node, scope)
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            yield from _added(node.value, scope)
        elif isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and not node.name.startswith("_"):
            name = f"{scope}.{node.name}"
            if docstring := ast.get_docstring(node):
                yield name, f"{name}{_parameters(node)}", docstring
            if isinstance(node, ast.ClassDef):
                yield from _documented(node, name)


def _added(call: ast.Call, module: str) -> Iterator[tuple[str, str, str]]:
    """Find documentation that is given to objects written in C, as torch and numpy do."""
    function = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if function not in _ADD_DOCUMENTATION or len(call.args) < 2:
        return
    *names, documentation = call.args
    if isinstance(documentation, ast.Tuple) and len(documentation.elts) == 2:
        names.append(documentation.elts[0])
        documentation = documentation.elts[1]
    name = _object_name(names, module)
    docstring = inspect.cleandoc(max(_strings(ast.walk(documentation)), key=len, default=""))
    if _PUBLIC_NAME.fullmatch(name) and docstring:
        yield name, name, docstring


def _object_name(arguments: Sequence[ast.expr], module: str) -> str:
    if not isinstance(arguments[0], ast.Constant):
        return ast.unparse(arguments[0])
    words = _strings(arguments)
    if len(words) == 1:
        words.insert(0, module.rpartition(".")[0])
    return ".".join(words).replace("numpy._core.multiarray.", "numpy.").replace("numpy._core.umath.", "numpy.")


def _strings(nodes: Iterable[ast.AST]) -> list[str]:
    return [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]


def _parameters(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    if isinstance(node, ast.ClassDef):
        makers = [item for item in node.body if isinstance(item, ast.FunctionDef) and item.name == "__init__"]
        return _parameters(makers[0]) if makers else ""
    args = node.args
    names = [arg.arg for arg in (*args.posonlyargs, *args.args) if arg.arg not in ("self", "cls")]
    names += [f"*{args.vararg.arg}"] if args.vararg else []
    names += [arg.arg for arg in args.kwonlyargs]
    names += [f"**{args.kwarg.arg}"] if args.kwarg else []
    return f"({', '.join(names)})"


def _summary_and_body(docstring: str) -> tuple[str, str] | None:
    paragraphs = re.split(r"\n\s*\n", docstring.strip())
    if len(paragraphs) > 1 and _SIGNATURE_LINE.search(paragraphs[0]):
        paragraphs.pop(0)
    first, *rest = _SENTENCE_END.split(_TICKS.sub(r"\1", _ROLE.sub(r"\1", paragraphs[0])), maxsplit=1)
    summary = " ".join(first.split())
    body = "\n\n".join([*rest, *paragraphs[1:]]).strip()
    if not _WORD.search(summary):
        return None
    summary, body = (text.encode("utf-8", "replace").decode("utf-8") for text in (summary, body))
    return summary, body


def _normal(text: str) -> str:
    return " ".join(_WORD.findall(text.lower()))


def _shingles(text: str) -> set[int]:
    words = _WORD.findall(text.lower())
    starts = range(max(1, len(words) - SHINGLE_WORDS + 1))
    return {hash(tuple(words[start : start + SHINGLE_WORDS])) for start in starts}


def _bucket(file: str) -> int:
    return int(_sha1(file), 16) % NUM_BUCKETS


def _sha1(text: str) -> str:
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
