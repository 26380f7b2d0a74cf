# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""``python -m hypensearch.demo``: the whole pipeline on text that every machine has, offline, in minutes."""

from __future__ import annotations

import argparse
import importlib
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from hypensearch import cli
from hypensearch.errors import HypensearchError, as_typed

if TYPE_CHECKING:
    from hypensearch.demo.folder import DemoFolder
    from hypensearch.models import DualEncoder

EXAMPLE_QUERY = "how do I parse a date"
RUN_HITS = 100
BATCH_SIZE = 16
MAX_LENGTH = 128
MEASURES = ("nDCG@10", "RR@10", "R@10", f"R@{RUN_HITS}")
WIDEST = 100


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    :param argv: Arguments without the program's name; those of the process when left out.
    :return: The exit code.
    """
    args = build_parser().parse_args(argv)
    return cli.run(lambda: run_demo(args), threads=cli.threads_of(args))


def build_parser() -> argparse.ArgumentParser:
    """Make the parser of the command's flags."""
    parser = cli.CommandParser(
        prog="python -m hypensearch.demo",
        description="Run the whole pipeline offline: make a corpus of the documentation strings of Python and of the "
        "packages installed beside hypensearch, encode it, search it, and evaluate the run. What is there already is "
        "used again, so run it again after an interruption.",
    )
    parser.add_argument("--output", default="demo", metavar="FOLDER", help="folder for all that is made")
    parser.add_argument("--query", help="answer this query instead of the demo's topics")
    parser.add_argument(
        "--encoder",
        metavar="MODEL",
        help="checkpoint: folder or hub name (default: the one the index in the folder was made with, else the model "
        "inside the package)",
    )
    parser.add_argument("--hits", type=cli.positive_int, default=10, help="hits shown of a query")
    parser.add_argument(
        "--max-docs",
        type=cli.positive_int,
        metavar="N",
        help="documents in the corpus, at most (default: as many as it has, 7000 when it is made)",
    )
    cli.add_threads_flag(parser)
    parser.add_argument("--no-bm25", action="store_true", help="leave BM25 out")
    cli.add_offline_argument(parser)
    return parser


def run_demo(args: argparse.Namespace) -> None:
    """Make what is missing, then answer a query or run the topics."""
    from hypensearch.demo.folder import DemoFolder

    started = time.monotonic()
    folder = DemoFolder(args.output)
    name = args.encoder or folder.known_model()
    from hypensearch.models import load_model

    model = load_model(shown(name) if name else "bundled")  # before anything is written
    make_ready(args, folder, model)
    if args.query is not None:
        answer(folder, model, args.query, args.hits)
        return
    search_topics(folder, model)
    runs = [folder.run]
    if not args.no_bm25 and run_bm25(folder):
        runs.insert(0, folder.bm25_run)
    evaluate(folder, runs)
    show_example(args, folder, model)
    say_what_next(folder, model, time.monotonic() - started)


def make_ready(args: argparse.Namespace, folder: DemoFolder, model: DualEncoder) -> None:
    """Make corpus and index where they are missing or of something else."""
    if folder.has_corpus(args.max_docs) and folder.index_state(model.fingerprint) == "whole":
        if args.query is None:
            print(f"{corpus_line(folder)}\nIts index is there already: {shown(folder.index)}", flush=True)
        return
    with folder.lock():
        with step("The corpus: documentation strings of Python and of the packages beside hypensearch"):
            if not folder.has_corpus(args.max_docs):
                folder.make_corpus(args.max_docs)
            print(corpus_line(folder), flush=True)
        with step("Encode: documents to vectors"):
            encode(folder, model)


def encode(folder: DemoFolder, model: DualEncoder) -> None:
    """Encode the corpus, or resume that."""
    state = folder.index_state(model.fingerprint)
    if state == "other":
        folder.forget_begun_index()
    output = ["output", "--embeddings", shown(folder.index)]
    output += ["--overwrite"] if folder.must_replace_index() else []
    source = ["input", "--corpus", shown(folder.corpus), "--fields", "contents"]
    encoder = ["encoder", "--encoder", model.name, "--max-length", str(MAX_LENGTH)]
    run("hypensearch.encode", [*source, *output, *encoder])


def search_topics(folder: DemoFolder, model: DualEncoder) -> None:
    """Search the index with all topics, into a run; one that is there already is kept."""
    with step("Search: a q-net for every topic, every document scored"):
        where = ["--index", shown(folder.index), "--topics", shown(folder.topics), "--output", shown(folder.run)]
        arguments = [*where, "--hits", str(RUN_HITS), "--batch-size", str(BATCH_SIZE)]
        if os.path.abspath(model.name) != folder.known_model() != model.name:
            arguments += ["--encoder", model.name]
        if folder.has_run(model.query_fingerprint):
            show("hypensearch.search", arguments)
            print(f"The run is there already: {shown(folder.run)}", flush=True)
            return
        run("hypensearch.search", arguments)
        folder.note_run(model.query_fingerprint)


def run_bm25(folder: DemoFolder) -> bool:
    """Make a BM25 run to compare with, where Java and Pyserini are there.

    :return: Whether it was made; when not, a line has said why.
    """
    with step("The baseline: BM25, by the jar inside Pyserini; by Pyserini itself it is"):
        from hypensearch.formats.run import open_run_writer, separate_ties
        from hypensearch.formats.topics import read_topics
        from hypensearch.pyserini import bridge as pyserini_bridge

        corpus, lucene = shown(folder.corpus), shown(folder.lucene)
        try:
            if not folder.lucene.exists():
                flags = ["--collection", "JsonCollection", "--input", corpus, "--index", lucene]
                flags += ["--generator", "DefaultLuceneDocumentGenerator", "--threads", "1", "--storeRaw"]
                show("hypensearch.pyserini", ["index.lucene", *flags])
                pyserini_bridge.index_lucene(folder.corpus, folder.lucene)
            where = ["--index", lucene, "--topics", shown(folder.topics), "--output", shown(folder.bm25_run)]
            show("hypensearch.pyserini", ["search.lucene", *where, "--bm25", "--hits", str(RUN_HITS)])
            found = pyserini_bridge.bm25_run(folder.lucene, read_topics(folder.topics), RUN_HITS)
        except HypensearchError as error:
            print(f"BM25 is left out: {error}", flush=True)
            return False
        with open_run_writer(folder.bm25_run, tag="bm25", max_hits=RUN_HITS) as writer:
            for topic_id, hits in found.items():
                writer.write(topic_id, separate_ties(hits))
        return True


def evaluate(folder: DemoFolder, runs: Sequence[Path]) -> None:
    """Print the table of results."""
    with step("Evaluate: does the document come back that the topic was taken from?"):
        run("hypensearch.eval", ["--qrels", shown(folder.qrels), "--run", *map(shown, runs), "--metrics", *MEASURES])


def show_example(args: argparse.Namespace, folder: DemoFolder, model: DualEncoder) -> None:
    """Answer the example query."""
    with step("Ask"):
        output = [] if args.output == "demo" else ["--output", args.output]
        show("hypensearch.demo", [*output, "--query", EXAMPLE_QUERY])
        answer(folder, model, EXAMPLE_QUERY, min(args.hits, 3))


def answer(folder: DemoFolder, model: DualEncoder, query: str, num_hits: int) -> None:
    """Print the hits of one query.

    :raises HypensearchError: When the query is blank.
    """
    if not query.strip():
        raise HypensearchError("--query is empty: give a question, such as --query 'how do I parse a date'")
    from hypensearch.search import HypencoderSearcher
    from hypensearch.search.interactive import readable_hits

    with HypencoderSearcher(folder.index, model, device="cpu") as searcher:
        hits = searcher.search(query, num_hits)
        width = min(shutil.get_terminal_size().columns, WIDEST)

        def text_of(docid: str) -> str:
            document = searcher.doc(docid)
            return document.contents().partition("\n")[2] if document else ""  # without the document's name

        print(f"\n{query}\n\n{readable_hits(hits, text_of, width)}\n", flush=True)


def say_what_next(folder: DemoFolder, model: DualEncoder, seconds: float) -> None:
    """Say where everything lies and what to try."""
    heading(f"Done in {int(seconds) // 60} min {int(seconds) % 60} s")
    output = [] if str(folder.root) == "demo" else ["--output", shown(folder.root)]
    again = as_typed("hypensearch.demo", *output, "--query", "remove duplicates from a list")
    encode = ["input", "--corpus", "my.jsonl", "output", "--embeddings", "indexes/my"]
    search = ["--index", "indexes/my", "--topics", "my-topics.tsv", "--output", "runs/my.txt"]
    print(
        f"Model: {model.name}\n\n"
        f"Ask it something else:\n  {again}\n\n"
        'Your own corpus, one document a line such as {"id": "d1", "text": "..."}, and topics, id TAB query:\n'
        f"  {as_typed('hypensearch.encode', *encode, 'encoder', '--encoder', model.name)}\n"
        f"  {as_typed('hypensearch.search', *search)}\n\n"
        f"Corpus, topics.tsv, qrels.txt, index and runs are in {shown(folder.root)}{os.sep}",
        flush=True,
    )


def corpus_line(folder: DemoFolder) -> str:
    """Say how large the corpus is and where it lies."""
    facts = folder.facts
    others = len(facts["packages"]) - 1
    where = ", ".join(shown(path) for path in (folder.documents, folder.topics, folder.qrels))
    return (
        f"{facts['num_docs']:,} documents of the standard library{f' and {others} packages' if others else ''}; "
        f"{facts['num_topics']} topics, summary lines taken out of their documents: {where}"
    )


@contextmanager
def step(title: str) -> Iterator[None]:
    """Print a heading, and how long what stands below took."""
    heading(title)
    started = time.monotonic()
    yield
    print(f"({time.monotonic() - started:.1f} s)", flush=True)


def heading(title: str) -> None:
    """Print a heading."""
    print(f"\n== {title}", flush=True)


def run(module: str, arguments: Sequence[str]) -> None:
    """Print a command as one types it, and run it.

    :raises SystemExit: With the command's exit code, when it fails; it has said why.
    """
    show(module, arguments)
    command: Callable[[Sequence[str]], int] = importlib.import_module(f"{module}.__main__").main
    code = command(arguments)
    sys.stdout.flush()
    if code != cli.EXIT_OK:
        raise SystemExit(code)


def show(module: str, arguments: Sequence[str]) -> None:
    """Print a command as one types it."""
    print(f"$ {as_typed(module, *arguments)}", flush=True)


def shown(path: str | Path) -> str:
    """Return a path as one types it: relative where it lies below the working folder."""
    if not os.path.isabs(path):
        return str(path)
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


if __name__ == "__main__":
    raise SystemExit(main())
