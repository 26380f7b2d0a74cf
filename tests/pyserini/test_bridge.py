# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The bridge beside stand-ins on disk: a Pyserini of a few lines and a JDK whose java is a shell script."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hypensearch.errors import HypensearchError
from hypensearch.hits import Hit
from hypensearch.pyserini import bridge

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the stand-in for java is a shell script")


class Machine:
    """A folder with a JDK and a site-packages folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.site = folder / "site"
        self.jdk = folder / "jdk"
        self.write(self.jdk / "release", 'JAVA_VERSION="21.0.1"\nMODULES="java.base jdk.incubator.vector"\n')
        self.write(self.jdk / "lib/server/libjvm.so", "")
        self.java("exit 1")

    def write(self, path: Path, text: str) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def java(self, script: str) -> None:
        self.write(self.jdk / "bin/java", f"#!/bin/sh\n{script}\n").chmod(0o755)

    def install(self, name: str, version: str, files: dict[str, str]) -> None:
        self.write(self.site / f"{name}-{version}.dist-info/METADATA", f"Name: {name}\nVersion: {version}\n")
        for path, text in {"__init__.py": "", **files}.items():
            self.write(self.site / name / path, text)

    def install_pyserini(self, version: str = "1.6.0", files: dict[str, str] | None = None) -> None:
        files = files or {}
        packages = {str(Path(path).parent / "__init__.py"): "" for path in files}
        self.install("pyserini", version, {"resources/jars/anserini-1-fatjar.jar": "", **packages, **files})

    def python(self, *args: str) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join([str(self.site), str(ROOT)])
        env = {**os.environ, "PYTHONPATH": path, "JAVA_HOME": str(self.jdk), "OPENAI_API_KEY": "none"}
        return subprocess.run([sys.executable, *args], capture_output=True, text=True, env=env)

    def bridge_error(self, call: str) -> str:
        imports = "from hypensearch import cli; from hypensearch.pyserini import bridge"
        done = self.python("-c", f"{imports}\nraise SystemExit(cli.run(lambda: bridge.{call}))")
        assert done.returncode == 2, done.stderr
        assert "Traceback" not in done.stderr
        return done.stderr.splitlines()[-1]


@pytest.fixture
def machine(tmp_path, monkeypatch):
    made = Machine(tmp_path)
    monkeypatch.syspath_prepend(str(made.site))
    monkeypatch.setenv("JAVA_HOME", str(made.jdk))
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    return made


def test_the_newest_jar_is_found_without_importing_pyserini(machine):
    machine.install("pyserini", "1.6.0", {"__init__.py": "raise RuntimeError('imported')"})
    with pytest.raises(HypensearchError, match="no anserini-.*reinstall"):
        bridge.anserini_jar()

    machine.write(machine.site / "pyserini/resources/jars/anserini-1.0-fatjar.jar", "")

    assert bridge.anserini_jar().name == "anserini-1.0-fatjar.jar"
    assert bridge.version() == "1.6.0"


def test_pyserini_missing(machine, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(machine.site)])

    for function in (bridge.anserini_jar, bridge.version, bridge.use_java):
        with pytest.raises(HypensearchError, match="pip install pyserini"):
            function()


@pytest.mark.parametrize(
    ("pyserini", "openai", "fits"),
    [("1.6.0", "2.33.0", True), ("1.6.0", "2.34.0", False), ("2.0.0", "3.54.0", False), ("2.1.0", "3.54.0", True)],
)
def test_openai_that_breaks_pyserini(machine, pyserini, openai, fits):
    machine.install_pyserini(pyserini)
    machine.install("openai", openai, {})

    if fits:
        done = machine.python(
            "-c",
            "import os; del os.environ['OPENAI_API_KEY']\n"
            "from hypensearch.pyserini import bridge; print(bridge.use_java().home)",
        )
        assert done.stdout == f"{machine.jdk}\n", done.stderr
    else:
        with pytest.raises(HypensearchError, match=f"openai {openai}: pip install 'openai<2.34'"):
            bridge.use_java()


def test_trec_eval_values(machine, tmp_path):
    machine.install_pyserini()
    machine.java(r"printf 'runid   \tall\thyp\nmap     \t1\t0.5000\nmap     \tall\t0.2500\nP_10   \tall\t0.1000\n'")
    files = [str(machine.write(tmp_path / name, "")) for name in ("qrels", "run")]

    assert bridge.trec_eval(["-q", *files]) == {"1": {"map": 0.5}, "all": {"map": 0.25, "P_10": 0.1}}


def test_trec_eval_complaint(machine, tmp_path):
    machine.install_pyserini()
    machine.java("echo 'trec_eval: illegal measure' >&2; exit 0")
    files = [str(machine.write(tmp_path / name, "")) for name in ("qrels", "run")]

    with pytest.raises(HypensearchError, match="trec_eval failed: trec_eval: illegal measure"):
        bridge.trec_eval(files)
    with pytest.raises(HypensearchError, match="nowhere is not a file"):
        bridge.trec_eval([files[0], "nowhere"])


def test_bm25_run(machine, tmp_path):
    machine.install_pyserini()
    machine.java('while [ "$1" != -output ]; do shift; done\necho "7 Q0 d1 1 2.5 Anserini" > "$2"; echo done')
    machine.write(tmp_path / "index/segments_1", "")

    run = bridge.bm25_run(tmp_path / "index", {"8": "x", "7": "a\tb\nc", "9": " "})

    assert list(run.items()) == [("8", []), ("7", [Hit("d1", 2.5)]), ("9", [])]


def test_index_lucene_appears_when_whole(machine, tmp_path):
    machine.install_pyserini()
    machine.java(
        'while [ "$1" != -index ]; do shift; done\nmkdir "$2"; touch "$2/segments_1"\n'
        "echo Total 1,200 documents indexed"
    )
    corpus = machine.write(tmp_path / "corpus.jsonl", "")

    assert bridge.index_lucene(corpus, tmp_path / "deep/index") == 1200

    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["index"]
    with pytest.raises(HypensearchError, match="not empty"):
        bridge.index_lucene(corpus, tmp_path / "deep/index")


@pytest.mark.parametrize(
    ("log", "message"),
    [
        ("Total 0 documents indexed", "no documents in"),
        ("12:00 ERROR [pool] index.Thread: Unexpected end-of-input", "Unexpected end-of-input"),
    ],
)
def test_index_lucene_of_a_broken_corpus(machine, tmp_path, log, message):
    machine.install_pyserini()
    machine.java(f'echo "{log}"')

    with pytest.raises(HypensearchError, match=message):
        bridge.index_lucene(machine.write(tmp_path / "c.jsonl", ""), tmp_path / "index")
    assert not (tmp_path / "index").exists()


def test_no_lucene_index(tmp_path):
    for function in (bridge.lucene_searcher, lambda path: bridge.bm25_run(path, {"1": "x"})):
        with pytest.raises(HypensearchError, match="not a Lucene index"):
            function(tmp_path)


@pytest.mark.parametrize("name", ["eval.trec_eval", "pyserini.eval.trec_eval"])
def test_the_launcher_runs_a_module_under_the_jdk(machine, name):
    machine.install_pyserini(
        files={"eval/trec_eval.py": "import os, sys\nprint(sys.argv[1:], os.environ['PATH'], __name__)"}
    )

    done = machine.python("-m", "hypensearch.pyserini", name, "-c", "--help", "run.txt")

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"['-c', '--help', 'run.txt'] {machine.jdk}/bin:")
    assert done.stdout.endswith("__main__\n")


def test_the_launcher_passes_exit_codes_on(machine):
    machine.install_pyserini(files={"broken.py": "raise SystemExit(7)"})

    assert machine.python("-m", "hypensearch.pyserini", "broken").returncode == 7


@pytest.mark.parametrize("name", ["eval", "eval.trec_evl", "no.such.module"])
def test_the_launcher_knows_no_such_command(machine, name):
    machine.install_pyserini(files={"eval/trec_eval.py": ""})

    assert f"has no command pyserini.{name}" in machine.bridge_error(f"run_module('{name}', [])")


OFFLINE = "from urllib.error import URLError\nraise URLError('no route to host')"


def test_pyserini_that_needs_the_network_to_start(machine):
    machine.install_pyserini("2.4.0", {"search/lucene.py": OFFLINE, "query_iterator.py": OFFLINE})

    for call in ("run_module('search.lucene', [])", "named_topics('dl19-passage')"):
        message = machine.bridge_error(call)
        assert "Pyserini 2.4.0 needs the network" in message
        assert "no route to host" in message


def test_faiss_missing(machine):
    machine.install_pyserini(files={"search/hybrid.py": "import faiss"})
    machine.write(machine.site / "faiss.py", "raise ModuleNotFoundError('No module named faiss', name='faiss')")

    assert "pip install faiss-cpu" in machine.bridge_error("hybrid_searcher(None, None)")


TOPICS = """
class TopicsFormat:
    def __init__(self, name): pass
def get_query_iterator(name, topics_format):
    print("Using pre-defined topic order")
    {body}
"""


def test_named_topics(machine):
    machine.install_pyserini(files={"query_iterator.py": TOPICS.format(body="return [(2, 'two'), ('1a', 'one')]")})

    done = machine.python(
        "-c", "from hypensearch.pyserini import bridge as b; print(list(b.named_topics('x').items()))"
    )

    assert done.stdout == "[('2', 'two'), ('1a', 'one')]\n"


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("raise ValueError(name)", "knows no topics of that name"),
        ("raise IOError('JVM exception occurred: Error downloading topics from x')", "cannot download topics"),
        ("from urllib.error import URLError; raise URLError('no route')", "cannot download topics"),
    ],
)
def test_named_topics_that_cannot_be_had(machine, body, found):
    machine.install_pyserini(files={"query_iterator.py": TOPICS.format(body=body)})

    message = machine.bridge_error("named_topics('dl19-passage')")

    assert found in message
    assert "--topics topics.tsv" in message


def test_named_qrels(machine, tmp_path):
    qrels = machine.write(tmp_path / "qrels.txt", "010 0 007 2\n")
    machine.install_pyserini(files={"search/__init__.py": f"def get_qrels_file(name): return {str(qrels)!r}"})

    done = machine.python("-c", "from hypensearch.pyserini import bridge as b; print(b.named_qrels('x'))")

    assert done.stdout == "{'010': {'007': 2}}\n", done.stderr
