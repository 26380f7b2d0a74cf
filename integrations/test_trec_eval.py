# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Every measure and count is trec_eval's, to the last digit it prints: random runs and judgements, every flag.

trec_eval itself is the program inside Anserini's jar, or the one that HYPENSEARCH_TREC_EVAL names, such as one
built from its source (``make`` there). HYPENSEARCH_TREC_EVAL_PAIRS is the number of pairs.
"""

from __future__ import annotations

import os
import platform
import random
import subprocess
import zipfile
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest

from hypensearch.errors import HypensearchError
from hypensearch.eval import evaluate, resolve_measures
from hypensearch.eval.__main__ import main
from hypensearch.formats.qrels import read_qrels
from hypensearch.formats.run import read_run
from hypensearch.pyserini import bridge as pyserini_bridge

PAIRS = int(os.environ.get("HYPENSEARCH_TREC_EVAL_PAIRS", "20"))
COUNTS = ("num_q", "num_ret", "num_rel", "num_rel_ret")

Values = dict[str, dict[str, str]]


@pytest.fixture(scope="module")
def trec_eval(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program."""
    if given := os.environ.get("HYPENSEARCH_TREC_EVAL"):
        return Path(given)
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        pytest.skip("the jar has trec_eval for Linux on x86-64: name one in HYPENSEARCH_TREC_EVAL")
    try:
        jar = pyserini_bridge.anserini_jar()
    except HypensearchError as error:
        pytest.skip(str(error))
    program = tmp_path_factory.mktemp("trec_eval") / "trec_eval"
    with zipfile.ZipFile(jar) as archive:
        program.write_bytes(archive.read("trec_eval/trec_eval-linux-amd64"))
    program.chmod(0o755)
    return program


@pytest.mark.parametrize("seed", range(PAIRS))
def test_no_difference_in_any_measure_or_count(trec_eval: Path, tmp_path: Path, seed: int) -> None:
    qrels, run = random_pair(random.Random(seed), tmp_path)
    judged, hits = read_qrels(qrels), read_run(run)
    if not set(judged) & set(hits):
        pytest.skip("no topic in common")
    for complete, level, most in product((False, True), (1, 2, 3), (None, 1, 7)):
        flags = ["-q", "-m", "all_trec", f"-l{level}", *(["-c"] if complete else []), *([f"-M{most}"] if most else [])]
        theirs = values_of(trec_eval, *flags, qrels, run)
        ours = evaluate(judged, hits, list(theirs["all"]), relevance_level=level, complete=complete, max_hits=most)
        assert set(COUNTS) < set(theirs["all"])
        assert len(theirs["all"]) > 90
        for theirs_name in theirs["all"]:
            (name,) = resolve_measures([theirs_name], level)
            assert as_printed(theirs_name, ours.values[name]) == theirs["all"][theirs_name], (flags, name)
            by_topic = {topic: values[theirs_name] for topic, values in theirs.items() if theirs_name in values}
            del by_topic["all"]
            found = {topic: as_printed(theirs_name, ours.per_topic[name][topic]) for topic in by_topic}
            assert found == by_topic, (flags, name)


def test_the_command_prints_trec_evals_figures(
    trec_eval: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    qrels, run = random_pair(random.Random(11), tmp_path)
    measures = ["-m", "ndcg_cut.10", "-m", "map", "-m", "num_rel", "-m", "set_recall", "-m", "gm_map"]
    line = ["-c", "-M", "9", "-l", "2", *measures, str(qrels), str(run)]
    assert main([*line, "--output-format", "tsv"]) == 0
    printed = [row.split("\t")[2] for row in capsys.readouterr().out.splitlines()[1:]]
    theirs = values_of(trec_eval, *line)["all"]
    names = ["ndcg_cut_10", "map", "num_rel", "set_recall", "gm_map"]
    assert [as_printed(name, float(value)) for name, value in zip(names, printed, strict=True)] == [
        theirs[name] for name in names
    ]


@pytest.mark.usefixtures("anserini")
def test_judged_documents_as_pyserini_counts_them(tmp_path: Path, command) -> None:
    qrels, run = random_pair(random.Random(3), tmp_path)
    for flags in ([], ["-remove-unjudged"]):
        asked = ["-c", "-m", "judged.3,10", "-m", "map", "-m", "num_ret"]
        said = command("hypensearch.pyserini", "eval.trec_eval", *asked, qrels, run, *flags).stdout
        theirs = {line.split()[0]: line.split()[2] for line in said.splitlines() if "\tall\t" in line}
        ours = evaluate(
            read_qrels(qrels), read_run(run), ["judged.3,10", "map", "num_ret"], remove_unjudged=bool(flags)
        )
        assert [
            as_printed(name, value)
            for name, value in zip(["judged_3", "judged_10", "map", "num_ret"], ours.values.values(), strict=True)
        ] == [theirs[name] for name in ("judged_3", "judged_10", "map", "num_ret")]


def random_pair(rng: random.Random, folder: Path) -> tuple[Path, Path]:
    """Write judgements and a run in random order: tied scores, some in single precision only, topics on one side only.

    A topic's judgements have at least one grade of 0 or more: without any, trec_eval itself ends with an error.
    """
    docids = [f"{rng.choice('dDé0')}{number}" for number in range(rng.choice([5, 40, 300]))]
    docids = list(dict.fromkeys(docids))
    topics = [str(topic) for topic in range(rng.choice([2, 5, 40]))]
    rng.shuffle(topics)
    qrels, run = folder / "qrels.txt", folder / "run.txt"
    qrels.write_text("".join(_judgements(rng, topics, docids)), encoding="utf-8")
    run.write_text("".join(_hits(rng, topics, docids)), encoding="utf-8")
    return qrels, run


def _judgements(rng: random.Random, topics: list[str], docids: list[str]) -> Iterator[str]:
    for topic in topics[1:]:
        grades = [-1, -1, *range(rng.choice([0, 1, 1, 2, 3, 7]) + 1)]
        for docid in rng.sample(docids, rng.randint(1, len(docids))):
            yield f"{topic} 0 {docid} {rng.choice(grades)}\n"
        yield f"{topic} 0 nowhere {rng.choice([0, 0, 1, 2])}\n"


def _hits(rng: random.Random, topics: list[str], docids: list[str]) -> Iterator[str]:
    for topic in topics:
        if topic != topics[1] or len(topics) < 3:
            for docid in rng.sample(docids, rng.randint(1, len(docids))):
                tied = rng.choice([rng.randrange(4), 1e5 + rng.randrange(4) * 1e-6, -rng.random(), 99 * rng.random()])
                yield f"{topic} Q0 {docid} 1 {tied:.6f} random\n"


def values_of(trec_eval: Path, *args: object) -> Values:
    """Run trec_eval; gives what it printed: topic to measure to value."""
    done = subprocess.run([trec_eval, *map(str, args)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    values: Values = {}
    for line in done.stdout.splitlines():
        measure, topic, value = (part.strip() for part in line.split("\t"))
        if measure not in ("runid", "relstring"):
            values.setdefault(topic, {})[measure] = value
    return values


def as_printed(name: str, value: float) -> str:
    """Print a value as trec_eval does."""
    return f"{value:.0f}" if name.startswith("num_") else f"{value:.4f}"
