# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The one module that knows Pyserini, 1.6 and 2.x; it is imported only when a function here needs it.

What needs Lucene but not Python (BM25 runs, indexing, trec_eval) is asked of Anserini's jar, which ships inside
Pyserini: that works in every version, without network, and starts in a second.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import importlib.metadata
import importlib.util
import logging
import os
import re
import runpy
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hypensearch.errors import HypensearchError
from hypensearch.formats.files import is_pipe
from hypensearch.formats.qrels import read_qrels
from hypensearch.formats.run import read_run
from hypensearch.hits import Hit
from hypensearch.offline import check_may_download
from hypensearch.pyserini import java

_LOCAL_TOPICS = "a file of your own: --topics topics.tsv, lines of id, TAB, query"
_LOCAL_QRELS = "a file of your own: --qrels qrels.txt, lines of topic id, 0, docid, grade"


def use_java() -> java.Jdk:
    """Make Pyserini's own classes work in this process, ``LuceneSearcher`` among them: give them the JDK that is found.

    Call it before the first import of ``pyserini``; after it is too late where the JVM that runs is too old. JAVA_HOME
    and PATH of this process, and of those it starts, then lead to that JDK.

    :return: The JDK: its folder and its version.
    :raises HypensearchError: When Pyserini or a JDK is missing, or Pyserini cannot be imported as installed.
    """
    jar = anserini_jar()
    _check_openai()
    if java.is_running():
        return java.check_running()
    jdk = java.use_jdk()
    java.quiet(jdk)
    if not jdk.has_vector_module:
        java.start_without_vector_module(jar)
    return jdk


def version() -> str:
    """Return the installed Pyserini's version, without importing it.

    :raises HypensearchError: When it is not installed.
    """
    try:
        return importlib.metadata.version("pyserini")
    except importlib.metadata.PackageNotFoundError:
        raise HypensearchError("Pyserini is not installed: pip install pyserini") from None


def anserini_jar() -> Path:
    """Return the jar with Anserini and Lucene that ships inside Pyserini, without importing Pyserini.

    :raises HypensearchError: When Pyserini or the jar is missing.
    """
    spec = importlib.util.find_spec("pyserini")
    if spec is None or not spec.submodule_search_locations:
        raise HypensearchError("Pyserini is not installed: pip install pyserini")
    folders = [Path(folder, "resources/jars") for folder in spec.submodule_search_locations]
    jars = [jar for folder in folders for jar in folder.glob("anserini-*-fatjar.jar")]
    if not jars:
        raise HypensearchError(f"no anserini-*-fatjar.jar in {folders[0]}: reinstall Pyserini")
    return max(jars, key=lambda jar: jar.stat().st_ctime)


def named_topics(name: str, topics_format: str = "default") -> dict[str, str]:
    """Fetch topics that Pyserini knows by name, such as ``dl19-passage``.

    :param name: Pyserini's name of the topics.
    :param topics_format: ``default`` or ``kilt``.
    :return: Topic id, as Pyserini prints it, to query; in the order Pyserini searches them.
    :raises HypensearchError: When it knows no such topics or cannot fetch them.
    """
    iterator, formats = _imported("query_iterator", "get_query_iterator", "TopicsFormat")
    with _fetched("topics", name, _LOCAL_TOPICS):
        return {str(topic): str(query) for topic, query in iterator(name, formats(topics_format))}


def named_qrels(name: str) -> dict[str, dict[str, int]]:
    """Fetch relevance judgements that Pyserini knows by name.

    :param name: Pyserini's name of the judgements, often that of the topics.
    :return: Topic id to docid to grade, ids written as in Pyserini's file.
    :raises HypensearchError: When it knows no such judgements or cannot fetch them.
    """
    (qrels_file,) = _imported("search", "get_qrels_file")
    with _fetched("qrels", name, _LOCAL_QRELS):
        path = qrels_file(name)
    return read_qrels(path)


def lucene_searcher(index: str | Path) -> Any:
    """Open a Lucene index with Pyserini's LuceneSearcher.

    :param index: A folder, or the name of a prebuilt index, which Pyserini downloads once.
    :raises HypensearchError: When there is no Lucene index or Pyserini cannot be imported.
    """
    is_name = not Path(index).exists() and os.sep not in str(index)
    if not is_name:
        _check_lucene_index(Path(index))
    (searcher,) = _imported("search.lucene", "LuceneSearcher")
    if not is_name:
        with _explained():
            return searcher(str(index))
    with _fetched("Lucene index", str(index), "a folder that index.lucene made"):
        found = searcher.from_prebuilt_index(str(index))
        if found is None:  # Pyserini's way to say that it knows no such name
            raise ValueError(index)
        return found


def stored_documents(
    searcher: Any, docids: Sequence[str], threads: int = 1
) -> dict[str, tuple[str | None, str | None]]:
    """Read documents from a Lucene index.

    :param searcher: From :func:`lucene_searcher`.
    :param docids: Which ones; those that the index does not have are left out.
    :return: ``raw`` and ``contents`` of each, None for what is not stored.
    """
    found = searcher.batch_doc(list(docids), threads)
    return {str(docid): (document.raw(), document.contents()) for docid, document in found.items()}


def hybrid_searcher(dense: Any, sparse: Any) -> Any:
    """Join a dense and a sparse searcher in Pyserini's HybridSearcher.

    :param dense: Anything with ``search(query, k)`` and ``batch_search(queries, q_ids, k, threads)``, such as
        HypencoderSearcher.
    :param sparse: A searcher such as :func:`lucene_searcher` gives.
    :raises HypensearchError: When Pyserini cannot be imported, or faiss is missing, which it needs for this.
    """
    (searcher,) = _imported("search.hybrid", "HybridSearcher")
    return searcher(dense, sparse)


def index_lucene(corpus_dir: str | Path, index_dir: str | Path, threads: int = 1) -> int:
    """Index a folder of JSONL documents (``id``, ``contents``) for BM25, with texts stored.

    The index appears under its name when it is whole.

    :param corpus_dir: A folder of ``.jsonl`` or ``.json`` files, plain or gzipped, or one such file.
    :param index_dir: The folder to make; it must not hold anything yet.
    :param threads: How many files are indexed at once.
    :return: The number of documents in the index.
    :raises HypensearchError: When the corpus is missing, empty or broken, the folder taken, or indexing fails.
    """
    corpus, index = Path(corpus_dir), Path(index_dir)
    if is_pipe(corpus):
        raise HypensearchError(f"corpus {corpus} is a pipe, which Anserini does not read: write it to a file")
    if not corpus.exists():
        raise HypensearchError(f"corpus {corpus} does not exist: give a folder of .jsonl files or one file")
    if index.exists() and any(index.iterdir()):
        raise HypensearchError(f"{index} is not empty: delete it or choose another folder for the Lucene index")
    index.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=index.parent, prefix=f".{index.name}.") as work:
        made = Path(work, "index")
        options = ["-collection", "JsonCollection", "-input", str(_as_folder(corpus, work)), "-index", str(made)]
        options += [
            "-storePositions",
            "-storeDocvectors",
            "-storeRaw",
            "-threads",
            str(threads),
            "-memoryBuffer",
            "256",
        ]
        indexed = _count_indexed(_run_anserini("io.anserini.index.IndexCollection", options), corpus)
        os.replace(made, index)
        return indexed


def bm25_run(index_dir: str | Path, topics: Mapping[str, str], k: int = 1000, threads: int = 1) -> dict[str, list[Hit]]:
    """Search a Lucene index with BM25 (k1 0.9, b 0.4, as Pyserini's default).

    :param index_dir: A Lucene index, such as :func:`index_lucene` makes.
    :param topics: Topic id to query.
    :param k: How many hits per topic, at most.
    :param threads: How many topics are searched at once.
    :return: Topic id to hits, best first, in the order of ``topics``; a topic without hits has an empty list.
    :raises HypensearchError: When there is no Lucene index or searching fails.
    """
    _check_lucene_index(Path(index_dir))
    hits: dict[str, list[Hit]] = {topic: [] for topic in topics}
    asked = {topic: " ".join(query.split()) for topic, query in topics.items() if query.strip()}
    if not asked:
        return hits
    if _numbers(version()) >= (2, 0):
        return hits | _search_in_process(Path(index_dir), asked, k, threads)
    with tempfile.TemporaryDirectory() as work:
        topics_file, run_file = Path(work, "topics.tsv"), Path(work, "run.txt")
        topics_file.write_text("".join(f"{topic}\t{query}\n" for topic, query in asked.items()), encoding="utf-8")
        options = ["-index", str(index_dir), "-topics", str(topics_file), "-topicReader", "TsvString"]
        options += ["-output", str(run_file), "-bm25", "-hits", str(k), "-threads", str(threads)]
        _run_anserini("io.anserini.search.SearchCollection", options)
        return hits | (read_run(run_file) if run_file.stat().st_size else {})


def trec_eval(args: Sequence[str]) -> dict[str, dict[str, float]]:
    """Run the trec_eval that ships inside Pyserini on local files.

    :param args: Its arguments, such as ``["-c", "-m", "ndcg_cut.10", qrels, run]``.
    :return: Topic id to measure (trec_eval's name, ``ndcg_cut_10``) to value. The topic ``all`` holds the values
        over all topics; the others are there with ``-q``.
    :raises HypensearchError: When no JDK fits or trec_eval refuses its input.
    """
    for path in args[-2:]:
        if not Path(path).is_file():
            raise HypensearchError(f"{path} is not a file: trec_eval's last two arguments are the qrels and the run")
    output = _run_anserini("trec_eval", args)
    values: dict[str, dict[str, float]] = {}
    for line in output.splitlines():
        measure, topic, value = (part.strip() for part in line.split("\t"))
        if measure not in ("runid", "relstring"):
            values.setdefault(topic, {})[measure] = float(value)
    return values


def encoder_bases() -> tuple[type, type]:
    """Return Pyserini's classes ``DocumentEncoder`` and ``QueryEncoder``."""
    documents, queries = _imported("encode", "DocumentEncoder", "QueryEncoder")
    return documents, queries


def register_encoders(document_encoder: type, query_encoder: type, keys: Sequence[str]) -> None:
    """Make Pyserini's commands choose encoders for some names, before its own rules for names apply.

    Pyserini takes the class of the first key that is a part of the lower-case name, whatever its meaning: a path with
    "finance" in it is an ANCE. So ours come first.

    :param document_encoder: For ``pyserini.encode``.
    :param query_encoder: For ``pyserini.search.faiss`` and ``pyserini.search.hybrid``.
    :param keys: Parts of names, in lower case.
    """
    maps = _imported("encode", "document_encoder_class_map", "query_encoder_class_map")
    for classes, encoder in zip(maps, (document_encoder, query_encoder), strict=True):
        others = {key: known for key, known in classes.items() if key not in keys}
        classes.clear()
        classes.update({**dict.fromkeys(keys, encoder), **others})


def register_index_type(
    name: str, open_index: Callable[..., Any], open_prebuilt: Callable[..., Any], prebuilt: Mapping[str, Any]
) -> bool:
    """Add a type of index to the REST and MCP servers of Pyserini 2.1 and later.

    :param name: The ``index_type`` in the servers' configuration.
    :param open_index: Opens a folder, with the keyword ``query_encoder``.
    :param open_prebuilt: The same for a registered name.
    :param prebuilt: Records of the registered names.
    :return: False when the installed Pyserini is older.
    """
    if _numbers(version()) < (2, 1):
        return False
    factories, known_types = _imported("server.utils", "SEARCHER_FACTORIES", "INDEX_TYPE")
    records = _IndexRecords(prebuilt)

    def options(config: Any) -> dict[str, Any]:
        records.texts[config.name] = config.base_index
        return {"query_encoder": config.encoder or None}

    factories[name] = (open_index, open_prebuilt, options)
    known_types[name] = records
    return True


class _IndexRecords(dict[str, Any]):
    """Records of prebuilt indexes; those of other opened indexes say where their texts are.

    The servers look that up for every index that is not Lucene's, also for those that their configuration names.
    """

    def __init__(self, prebuilt: Mapping[str, Any]) -> None:
        super().__init__(prebuilt)
        self.texts: dict[str, str | None] = {}

    def __missing__(self, name: str) -> dict[str, str | None]:
        return {"texts": self.texts[name]}


def full_name(module: str) -> str:
    """Return a Pyserini module's name with ``pyserini.`` before it."""
    return module if module.split(".")[0] == "pyserini" else f"pyserini.{module}"


def run_module(module: str, args: Sequence[str]) -> None:
    """Run one of Pyserini's commands in this process, as ``python -m`` would.

    :param module: Its name, with or without ``pyserini.`` before it.
    :param args: The command's arguments.
    :raises HypensearchError: When there is no such command or Pyserini cannot be imported.
    """
    name = full_name(module)
    use_java()
    logging.getLogger("faiss").setLevel(logging.WARNING)
    sys.argv = [name, *args]
    with _explained():
        if not _is_command(name):
            raise HypensearchError(f"Pyserini {version()} has no command {name}: try search.lucene or eval.trec_eval")
        runpy.run_module(name, run_name="__main__", alter_sys=True)


def _is_command(name: str) -> bool:
    try:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.submodule_search_locations:
            spec = importlib.util.find_spec(f"{name}.__main__")
    except ModuleNotFoundError as error:
        if error.name and name.startswith(error.name):
            return False
        raise
    return spec is not None


def _imported(module: str, *names: str) -> list[Any]:
    """Import names from one of Pyserini's modules."""
    use_java()
    with _explained():
        found = importlib.import_module(full_name(module))
        return [getattr(found, name) for name in names]


def _check_openai() -> None:
    """Refuse the pairs of Pyserini and openai that cannot be imported, before that takes seconds."""
    if _numbers(version()) >= (2, 1) or os.environ.get("OPENAI_API_KEY"):
        return
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        openai = importlib.metadata.version("openai")
        if _numbers(openai) < (2, 34):
            return
        raise HypensearchError(
            f"Pyserini {version()} cannot be imported beside openai {openai}: pip install 'openai<2.34' "
            "(or set OPENAI_API_KEY to anything)"
        )


def _numbers(release: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", release)[:2])


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Turn known ways in which Pyserini fails to start into one-line errors."""
    try:
        yield
    except Exception as error:
        if isinstance(error, ImportError) and error.name == "faiss":
            raise HypensearchError("Pyserini needs faiss for this: pip install faiss-cpu") from error
        if _is_network_trouble(error):
            raise HypensearchError(
                f"Pyserini {version()} needs the network here, and it cannot be reached ({_first_line(error)}): "
                "Pyserini 2.4 reads its lists from GitHub whenever it starts, 1.6 to 2.3 do not"
            ) from error
        if "UnsupportedClassVersionError" in str(error):
            java.check_running()
        raise


@contextlib.contextmanager
def _fetched(kind: str, name: str, instead: str) -> Iterator[None]:
    """Say what to do when a named set cannot be fetched; what Pyserini prints goes to stderr."""
    check_may_download(f"{kind} {name}")
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except Exception as error:
        if _is_network_trouble(error):
            found = f"no file is called {name}, and Pyserini cannot download {kind} of that name ({_first_line(error)})"
        elif isinstance(error, (ValueError, KeyError, FileNotFoundError)):
            found = f"no file is called {name}, and Pyserini {version()} knows no {kind} of that name"
        else:
            raise
        raise HypensearchError(f"{found}: give {instead}") from error


def _is_network_trouble(error: BaseException) -> bool:
    from urllib.error import URLError

    return isinstance(error, (URLError, ConnectionError, TimeoutError)) or "Error downloading" in str(error)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _check_lucene_index(index: Path) -> None:
    if not any(index.glob("segments_*")):
        raise HypensearchError(f"{index} is not a Lucene index (no segments file in it): make one with index.lucene")


def folder_of(corpus: str | Path) -> str:
    """Return a folder with a corpus that is one file, as Anserini wants it; it is removed when this process ends."""
    work = tempfile.mkdtemp(prefix="hypensearch-")
    atexit.register(shutil.rmtree, work, ignore_errors=True)
    return str(_as_folder(Path(corpus), work))


def _as_folder(corpus: Path, work: str) -> Path:
    if corpus.is_dir():
        return corpus
    folder = Path(work, "corpus")
    folder.mkdir()
    (folder / corpus.name).symlink_to(corpus.resolve())
    return folder


def _count_indexed(log: str, corpus: Path) -> int:
    """Read the number of documents from Anserini's log; a broken file is only an error there."""
    if broken := re.search(r" (?:ERROR|FATAL) .*?: (.*)", log):
        raise HypensearchError(f"Anserini cannot index {corpus}: {broken[1].strip()}")
    total = re.search(r"Total (\S+) documents indexed", log)
    indexed = int(re.sub(r"\D", "", total[1])) if total else 0
    if not indexed:
        raise HypensearchError(f"no documents in {corpus}: give .jsonl files whose lines have id and contents")
    return indexed


def _search_in_process(index: Path, topics: Mapping[str, str], k: int, threads: int) -> dict[str, list[Hit]]:
    """Search with the class below ``LuceneSearcher``: Anserini 2's command first asks the network for lists."""
    java_class, to_java = _imported("pyclass", "autoclass", "JString")
    queries, ids = java_class("java.util.ArrayList")(), java_class("java.util.ArrayList")()
    for topic, query in topics.items():
        queries.add(to_java(query.encode("utf-8")))
        ids.add(to_java(topic.encode("utf-8")))
    searcher = java_class("io.anserini.search.SimpleSearcher")(str(index))
    try:
        found = searcher.batch_search(queries, ids, k, threads)
        java_hits = {topic: found.get(topic) for topic in topics}
        return {topic: [Hit(hit.docid, float(hit.score)) for hit in of_topic] for topic, of_topic in java_hits.items()}
    finally:
        searcher.close()


def _run_anserini(main_class: str, args: Sequence[str]) -> str:
    """Run a class of the jar in a process of its own; returns its stdout, and fails when that is empty."""
    jdk = java.find_jdk()
    command = [str(jdk.java), "-cp", str(anserini_jar()), main_class, *(str(arg) for arg in args)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if done.returncode != 0 or not done.stdout.strip():
        said = [line.strip() for line in (done.stderr or done.stdout).splitlines() if not line.startswith("\tat ")]
        raise HypensearchError(f"{main_class} failed: {'; '.join(said[-3:]) or f'exit code {done.returncode}'}")
    return done.stdout
