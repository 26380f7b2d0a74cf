# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Hard negatives by BM25 through Pyserini."""

from __future__ import annotations

from pathlib import Path

from hypensearch.mine.__main__ import main
from hypensearch.pyserini import bridge as pyserini_bridge
from hypensearch.train.data import RecordFile
from tests.commands import write_corpus, write_topics


def test_bm25_finds_the_negatives(pyserini: None, tmp_path: Path) -> None:
    texts = {f"d{n}": f"a river of {'cold ' * n} water" for n in range(6)} | {"other": "nothing alike"}
    write_corpus(tmp_path / "corpus.jsonl", texts)
    write_topics(tmp_path / "topics.tsv", {"1": "cold water in a river"})
    (tmp_path / "qrels.txt").write_text("1 0 d2 1\n")
    names = {"topics": "topics.tsv", "qrels": "qrels.txt", "corpus": "corpus.jsonl", "output": "o.jsonl"}
    given = [part for flag, name in names.items() for part in (f"--{flag}", str(tmp_path / name))]
    for _ in range(2):  # the second time the index is there
        assert main([*given, "--sparse-index", str(tmp_path / "lucene"), "--negatives", "9"]) == 0
        (record,) = RecordFile(tmp_path / "o.jsonl")
        found = pyserini_bridge.bm25_run(tmp_path / "lucene", {"1": "cold water in a river"}, 100)["1"]
        assert [item.text for item in record.negatives] == [texts[hit.docid] for hit in found if hit.docid != "d2"]
        assert "nothing alike" not in {item.text for item in record.negatives}
