# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Our figures are trec_eval's."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from hypensearch.eval import evaluate
from hypensearch.formats.qrels import read_qrels
from hypensearch.formats.run import read_run
from hypensearch.pyserini import bridge as pyserini_bridge
from integrations.conftest import write_run

#: Our measure, trec_eval's flags, trec_eval's name.
MEASURES = [
    ("nDCG@10", ["-m", "ndcg_cut.10"], "ndcg_cut_10"),
    ("nDCG", ["-m", "ndcg"], "ndcg"),
    ("P(rel=1)@10", ["-m", "P.10"], "P_10"),
    ("P(rel=2)@10", ["-l", "2", "-m", "P.10"], "P_10"),
    ("RR(rel=1)", ["-m", "recip_rank"], "recip_rank"),
    ("RR(rel=1)@10", ["-M", "10", "-m", "recip_rank"], "recip_rank"),
    ("RR(rel=2)@10", ["-l", "2", "-M", "10", "-m", "recip_rank"], "recip_rank"),
    ("R(rel=1)@100", ["-m", "recall.100"], "recall_100"),
    ("R(rel=2)@100", ["-l", "2", "-m", "recall.100"], "recall_100"),
    ("AP(rel=1)", ["-m", "map"], "map"),
    ("AP(rel=2)", ["-l", "2", "-m", "map"], "map"),
    ("Rprec(rel=1)", ["-m", "Rprec"], "Rprec"),
    ("Bpref(rel=1)", ["-m", "bpref"], "bpref"),
    ("Success(rel=1)@5", ["-m", "success.5"], "success_5"),
    ("NumRet", ["-m", "num_ret"], "num_ret"),
]

ROUNDING = 0.5001e-4


def as_trec_eval(qrels: Path, run: Path, flags: list[str], name: str) -> dict[str, float]:
    values = pyserini_bridge.trec_eval(["-q", *flags, str(qrels), str(run)])
    return {topic: measured[name] for topic, measured in values.items()}


@pytest.fixture(scope="module", params=[1, 2, 3])
def tied(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Make judgements and a run in random order whose scores are mostly tied, some in single precision only.

    Topics 0 to 3 are not judged, 4 to 6 have no relevant document, 30 to 33 no hits.
    """
    chance = random.Random(request.param)
    docids = [f"{kind}{number}" for kind in ("d", "D", "é", "0") for number in range(60)]
    folder = tmp_path_factory.mktemp("tied")
    with (folder / "qrels.txt").open("w", encoding="utf-8") as qrels:
        for topic in range(4, 34):
            for docid in chance.sample(docids, 50):
                grade = 0 if topic < 7 else chance.choice([-1, 0, 0, 0, 1, 1, 2, 3])
                qrels.write(f"{topic} 0 {docid} {grade}\n")
    with (folder / "run.txt").open("w", encoding="utf-8") as run:
        for topic in range(30):
            for docid in chance.sample(docids, chance.randrange(1, 200)):
                score = chance.choice([chance.randrange(4), 1e5 + chance.randrange(4) * 1e-6, -chance.random()])
                run.write(f"{topic} Q0 {docid} 1 {score:.6f} tied\n")
    return folder / "qrels.txt", folder / "run.txt"


@pytest.mark.usefixtures("anserini")
@pytest.mark.parametrize("complete", [True, False])
def test_runs_full_of_ties(tied, complete):
    qrels, run = tied
    evaluation = evaluate(read_qrels(qrels), read_run(run), [ours for ours, _, _ in MEASURES], complete=complete)

    assert len(evaluation.unjudged) == len(evaluation.missing) == 4
    for ours, flags, name in MEASURES:
        theirs = as_trec_eval(qrels, run, ["-c", *flags] if complete else flags, name)
        assert evaluation.values[ours] == pytest.approx(theirs.pop("all"), abs=ROUNDING), ours
        zeros = dict.fromkeys(evaluation.missing, 0.0) if complete else {}
        assert evaluation.per_topic[ours] == pytest.approx({**zeros, **theirs}, abs=ROUNDING), ours


def test_bm25_on_scifact(scifact):
    evaluation = evaluate(scifact.qrels, scifact.run, [ours for ours, _, _ in MEASURES])

    assert evaluation.values["nDCG@10"] == pytest.approx(0.6789, abs=1e-4)
    assert evaluation.values["R(rel=1)@100"] == pytest.approx(0.9253, abs=1e-4)
    for ours, flags, name in MEASURES:
        theirs = as_trec_eval(scifact.qrels_path, scifact.run_path, ["-c", *flags], name)
        assert evaluation.values[ours] == pytest.approx(theirs["all"], abs=ROUNDING), ours


def test_the_command_accepts_our_run(scifact, command):
    line = ["-c", "-m", "ndcg_cut.10", scifact.qrels_path, scifact.run_path]

    assert command("hypensearch.pyserini", "eval.trec_eval", *line).stdout.split() == ["ndcg_cut_10", "all", "0.6789"]


@pytest.mark.usefixtures("anserini")
def test_our_order_survives_trec_evals_tie_rule(tmp_path):
    """Three hits with equal scores: ours rank by ascending docid, trec_eval alone would turn that round."""
    from hypensearch.hits import Hit

    run = write_run(tmp_path / "run.txt", {"1": [Hit("a", 99999.0), Hit("b", 99999.0), Hit("c", 99999.0)]})
    (tmp_path / "qrels.txt").write_text("1 0 b 1\n")

    values = as_trec_eval(tmp_path / "qrels.txt", run, ["-m", "recip_rank"], "recip_rank")

    assert values["1"] == 0.5
    assert evaluate({"1": {"b": 1}}, read_run(run), ["RR"]).values == {"RR(rel=1)": 0.5}
