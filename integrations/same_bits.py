# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The same command, run in many ways, compared byte for byte: ``python -m integrations.same_bits --folder FOLDER``.

Makes a corpus of documentation strings in the folder, then encodes and searches it by the commands, each in a new
process: while Numba compiles, with what it kept, and where it may keep nothing; with other numbers of threads; with
other batches of topics; with q-nets from text and stored ones. Prints a line for each way; the exit code is 1 if any
differs.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hypensearch.demo.folder import DemoFolder

# Runs a command as an installation does in which Numba finds no folder to keep what it compiles.
WITHOUT_CACHE = """
import runpy, sys
import numba
usual = numba.njit
def njit(*given, cache=False, **options):
    if cache:
        raise RuntimeError("cannot cache function: no locator available")
    return usual(*given, **options)
numba.njit = njit
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


@dataclass(frozen=True)
class Way:
    """One way to run a command.

    :param flags: Added to the command's.
    :param numba: "fresh" (it compiles), "kept" (it loads what the process before compiled) or "none" (no cache).
    :param environment: Added to the environment.
    """

    name: str
    flags: Sequence[object] = ()
    numba: str = "kept"
    environment: dict[str, str] = field(default_factory=dict)


ENCODE = [
    Way("1 thread", ["--threads", 1]),
    Way("2 threads", ["--threads", 2]),
    Way("3 threads", ["--threads", 3]),
    Way("OMP_NUM_THREADS=1", environment={"OMP_NUM_THREADS": "1"}),
    Way("spinning", environment={"OMP_WAIT_POLICY": "ACTIVE"}),
]
SEARCH = [
    Way("Numba compiles, 1 thread", ["--threads", 1], "fresh"),
    Way("Numba has kept it, 1 thread", ["--threads", 1]),
    Way("Numba may keep nothing, 1 thread", ["--threads", 1], "none"),
    Way("Numba compiles, 2 threads", ["--threads", 2], "fresh"),
    Way("2 threads", ["--threads", 2]),
    Way("3 threads", ["--threads", 3]),
    Way("OMP_NUM_THREADS=1", environment={"OMP_NUM_THREADS": "1"}),
    Way("spinning", environment={"OMP_WAIT_POLICY": "ACTIVE"}),
    Way("64 topics at a time, 1 thread", ["--batch-size", 64, "--threads", 1]),
    Way("64 topics at a time, 2 threads", ["--batch-size", 64, "--threads", 2]),
]


def main(argv: Sequence[str] | None = None) -> int:
    """Compare and print.

    :return: The exit code: 1 if any way wrote other bytes.
    """
    parser = argparse.ArgumentParser(prog="python -m integrations.same_bits", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="where the corpus and all that is made lie")
    parser.add_argument("--documents", type=int, default=7000, help="documents of the corpus (7000)")
    parser.add_argument("--hits", type=int, default=1000, help="hits of each topic (1000)")
    parser.add_argument("--encoder", default="bundled", help="checkpoint (bundled)")
    args = parser.parse_args(argv)
    same = True
    for line, is_same in compare(args.folder, args.documents, args.hits, args.encoder):
        print(line, flush=True)
        same &= is_same
    return 0 if same else 1


def compare(folder: Path, documents: int, hits: int, encoder: str) -> Iterator[tuple[str, bool]]:
    """Give a line for each way, and whether it wrote the bytes of the first way of its command."""
    demo = DemoFolder(folder / "corpus")
    if not demo.has_corpus(documents):
        demo.make_corpus(documents)
    with tempfile.TemporaryDirectory(dir=folder) as name:
        out = Path(name)
        index = out / "index"

        def encode(way: Way) -> bytes:
            parts = [
                "input",
                "--corpus",
                demo.corpus,
                "--fields",
                "contents",
                "output",
                "--embeddings",
                index,
                "--overwrite",
            ]
            run("encode", [*parts, "encoder", "--encoder", encoder, *way.flags], way, out)
            return b"".join(path.read_bytes() for path in sorted(index.rglob("vectors.npy")))

        yield from differences("encode", encode, ENCODE)
        run("index", ["--index", index, "--surrogate"], Way(""), out)
        run("index", ["--index", index, "--degree", 32], Way(""), out)
        run("encode.query", ["--topics", demo.topics, "--encoder", encoder, "--output", out / "queries"], Way(""), out)
        for searcher in ("exhaustive", "surrogate", "graph"):

            def search(way: Way, searcher: str = searcher) -> bytes:
                flags = ["--index", index, "--topics", demo.topics, "--output", out / "run", "--hits", hits]
                run("search", [*flags, "--searcher", searcher, *way.flags], way, out)
                return (out / "run").read_bytes()

            stored = Way("stored q-nets, 2 threads", ["--encoded-queries", out / "queries", "--threads", 2])
            yield from differences(f"search --searcher {searcher}", search, [*SEARCH, stored])


def differences(command: str, write, ways: Sequence[Way]) -> Iterator[tuple[str, bool]]:  # type: ignore[no-untyped-def]
    """Give a line for each way: the digest of what it wrote, and what of it differs from the first."""
    first: bytes | None = None
    for way in ways:
        written = write(way)
        first = written if first is None else first
        verdict = "same" if written == first else f"DIFFERS in {_differing(first, written)}"
        digest = hashlib.sha256(written).hexdigest()[:12]
        yield f"{command}, {way.name}: {len(written):,} bytes, {digest}, {verdict}", written == first


def run(command: str, flags: Sequence[object], way: Way, out: Path) -> None:
    """Run a command in a new process."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "NUMBA_"))}
    kept = tempfile.mkdtemp(dir=out) if way.numba == "fresh" else str(out / "numba")
    environment |= {"NUMBA_CACHE_DIR": kept, **way.environment}
    how = ["-c", WITHOUT_CACHE] if way.numba == "none" else ["-m"]
    arguments = [sys.executable, *how, f"hypensearch.{command}", *map(str, flags)]
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{command}: {done.stderr[-2000:]}")


def _differing(first: bytes, other: bytes) -> str:
    if first[:6] == b"\x93NUMPY":
        return f"{sum(a != b for a, b in zip(first, other, strict=False)):,} bytes"
    lines = [one.splitlines() for one in (first, other)]
    return f"{sum(a != b for a, b in zip(*lines, strict=False)):,} of {len(lines[0]):,} lines"


if __name__ == "__main__":
    raise SystemExit(main())
