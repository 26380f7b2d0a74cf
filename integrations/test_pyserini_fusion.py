# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""``pyserini.fusion`` takes our runs as they are."""

from __future__ import annotations

import pytest

from hypensearch.formats.run import read_run
from hypensearch.hits import Hit
from integrations.conftest import write_run


@pytest.fixture
def runs(tmp_path):
    first = {"1": [Hit("a", 3.0), Hit("b", 2.0), Hit("c", 2.0)], "x2": [Hit("d", -1.5)]}
    second = {"1": [Hit("b", 0.5), Hit("a", 0.25)], "x2": [Hit("e", 7.0), Hit("d", 7.0)]}
    return [write_run(tmp_path / f"run.{name}.txt", run) for name, run in {"first": first, "second": second}.items()]


@pytest.mark.usefixtures("anserini")
@pytest.mark.parametrize(
    ("method", "fused"),
    [
        (
            "rrf",
            {"1": {"a": 1 / 61 + 1 / 62, "b": 1 / 62 + 1 / 61, "c": 1 / 63}, "x2": {"d": 1 / 61 + 1 / 62, "e": 1 / 61}},
        ),
        ("average", {"1": {"a": 1.625, "b": 1.25, "c": 0.9999995}, "x2": {"d": 2.75, "e": 3.5}}),
    ],
)
def test_fusion(runs, tmp_path, command, method, fused):
    command("hypensearch.pyserini", "fusion", "--method", method, "--runs", *runs, "--output", tmp_path / "fused.txt")

    found = {topic: {hit.docid: hit.score for hit in hits} for topic, hits in read_run(tmp_path / "fused.txt").items()}

    assert found.keys() == fused.keys()
    for topic in fused:
        assert found[topic] == pytest.approx(fused[topic], abs=1e-6)


def test_fusing_a_run_with_itself_changes_nothing(scifact, tmp_path, command):
    fused = tmp_path / "fused.txt"
    command("hypensearch.pyserini", "fusion", "--runs", scifact.run_path, scifact.run_path, "--output", fused)

    ours, theirs = read_run(scifact.run_path), read_run(fused)
    assert {topic: [hit.docid for hit in hits] for topic, hits in theirs.items()} == {
        topic: [hit.docid for hit in hits] for topic, hits in ours.items()
    }
