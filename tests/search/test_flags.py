# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The flags of ``pyserini.search.faiss``, all of them known, some of them refused."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence

import pytest

from hypensearch.errors import HypensearchError
from hypensearch.search.flags import build_parser, check, precision

PYSERINI_DEFAULTS = {
    "hits": 1000,
    "topics_format": "default",
    "output_format": "trec",
    "batch_size": 1,
    "max_passage": False,
    "max_passage_hits": 100,
    "max_passage_delimiter": "#",
    "remove_query": False,
    "encoder": None,
    "encoder_class": None,
    "encoded_queries": None,
    "max_length": 256,
    "fp16": False,
    "explicit_truncate": False,
}
_NAMES = """
    --index --topics --output --hits --topics-format --output-format --batch-size --threads --max-passage
    --max-passage-hits --max-passage-delimiter --remove-query --encoder --encoder-class --tokenizer --encoded-queries
    --device --faiss-device --query-prefix --pooling --l2-norm --max-length --fp16 --explicit-truncate
    --instruction-config --multimodal --pca-model --searcher --binary-hits --rerank --prf-depth --prf-method
    --rocchio-alpha --rocchio-beta --rocchio-gamma --rocchio-topk --rocchio-bottomk --ance-prf-encoder
    --ef-search --normalize-distances
"""
PYSERINI_FLAGS = _NAMES.split()
REQUIRED = ["--index", "i", "--topics", "t.tsv", "--output", "o"]


def parse(*more: str) -> argparse.Namespace:
    return build_parser().parse_args([*REQUIRED, *more])


def action_of(flag: str) -> argparse.Action | None:
    """The flag that argparse takes a word for, None when it refuses it."""
    parser = build_parser()
    found = [action for action in parser._actions if flag in action.option_strings]
    found = found or [option[0] for option in parser._get_option_tuples(flag)]
    return found[0] if len(found) == 1 else None


def test_defaults_are_pyserinis() -> None:
    args = vars(parse())
    assert {name: args[name] for name in PYSERINI_DEFAULTS} == PYSERINI_DEFAULTS


def test_every_flag_of_pyserini_is_known() -> None:
    known = {name for action in build_parser()._actions for name in action.option_strings}
    assert set(PYSERINI_FLAGS) <= known


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        (["--batch", "8"], "batch_size", 8),
        (["--thread", "2"], "threads", 2),
        (["--hit", "5"], "hits", 5),
        (["--output-f", "msmarco"], "output_format", "msmarco"),
        (["--max-passage-h", "7"], "max_passage_hits", 7),
        (["--remove"], "remove_query", True),
        (["--encoded", "q"], "encoded_queries", "q"),
    ],
)
def test_abbreviations_of_pyserinis_documentation(words: list[str], name: str, value: object) -> None:
    assert getattr(parse(*words), name) == value


def test_our_own_flags_take_no_abbreviation_away() -> None:
    lost = set()
    for flag in PYSERINI_FLAGS:
        for end in range(3, len(flag)):
            prefix = flag[:end]
            meant = [other for other in [*PYSERINI_FLAGS, "--help"] if other.startswith(prefix)]
            action = action_of(prefix)
            if meant == [flag] and (action is None or flag not in action.option_strings):
                lost.add(prefix)
    assert {prefix for prefix in lost if len(prefix) > len("--ba")} == set()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--tokenizer", "bert"], "has its own tokenizer"),
        (["--query-prefix", "query: "], "own prompt is put before every query"),
        (["--l2-norm"], "the checkpoint knows"),
        (["--faiss-device", "cuda"], "use --device"),
        (["--ef-search", "100"], "not an HNSW index"),
        (["--normalize-distances"], "is unbounded"),
        (["--binary-hits", "10"], "binary passage retrieval"),
        (["--rerank"], "binary passage retrieval"),
        (["--prf-depth", "3"], "the query is a q-net"),
        (["--prf-method", "rocchio"], "the query is a q-net"),
        (["--rocchio-alpha", "0.5"], "the query is a q-net"),
        (["--rocchio-beta", "0.5"], "the query is a q-net"),
        (["--rocchio-gamma", "0.5"], "the query is a q-net"),
        (["--rocchio-topk", "3"], "the query is a q-net"),
        (["--rocchio-bottomk", "3"], "the query is a q-net"),
        (["--ance-prf-encoder", "e"], "the query is a q-net"),
        (["--multimodal"], "encodes text"),
        (["--instruction-config", "c"], "without instructions"),
        (["--pca-model", "p"], "do not fit the q-nets"),
    ],
)
def test_flags_without_meaning_are_refused_with_the_reason(
    words: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse(*words)
    assert re.match(f"error: {words[0]} has no meaning here: .*{reason}", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--encoder-class", "ance"], "--encoder-class ance: wanted one of auto, hypencoder, biencoder"),
        (["--topics-format", "multimodal"], "--topics-format multimodal: wanted default, tsv, .*, kilt or raw_jsonl"),
        (["--topics-format", "mbeir"], "--topics-format mbeir: wanted"),
        (["--output-format", "kilt"], "--output-format kilt .* needs --topics-format kilt"),
        (["--searcher", "bpr"], "--searcher bpr: wanted auto, simple, exhaustive, graph, surrogate or engine"),
        (["--fp16", "--bf16"], "--fp16 and --bf16 exclude each other"),
        (["--fp16", "--precision", "bf16"], "--precision bf16 and --fp16 exclude each other"),
        (["--run-tag", "my run"], "--run-tag: the tag 'my run' holds white space"),
        (["--run-tag", ""], "--run-tag: the tag is empty"),
        (["--encoded-queries", "q", "--width", "8"], "--width 8: the q-nets in q have the width"),
    ],
)
def test_values_that_cannot_be(words: list[str], said: str) -> None:
    with pytest.raises(HypensearchError, match=said):
        check(parse(*words))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--precision", "fp8"], "argument --precision: invalid choice: 'fp8'"),
        (["--scorer", "fast"], "argument --scorer: invalid choice: 'fast'"),
        (["--target-recall", "0"], "argument --target-recall: '0' is not a number of more than 0 and at most 1"),
        (["--target-recall", "1.1"], "argument --target-recall: '1.1' is not a number of more than 0 and at most 1"),
        (["--max-scored", "0"], "argument --max-scored: '0' is not a whole number of at least 1"),
        (["--num-entry-points", "-1"], "argument --num-entry-points: '-1' is not a whole number of at least 0"),
    ],
)
def test_values_out_of_their_limits(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        parse(*words)
    assert end.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["--prf-depth", "0"],
        ["--searcher", "simple"],
        ["--encoder-class", "auto"],
        ["--explicit-truncate"],
        ["--query-prefix", ""],
        ["--output-format", "kilt", "--topics-format", "kilt"],
    ],
)
def test_pyserinis_harmless_values_are_taken(words: Sequence[str]) -> None:
    check(parse(*words))


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ([], None),
        (["--bf16"], "bf16"),
        (["--fp16"], "fp16"),
        (["--precision", "int8"], "int8"),
        (["--precision", "bf16", "--bf16"], "bf16"),
    ],
)
def test_precision_and_its_short_forms(words: Sequence[str], meant: str) -> None:
    assert precision(parse(*words)) == meant


@pytest.mark.parametrize(
    "flag", ["--hits", "--batch-size", "--threads", "--block-rows", "--max-passage-hits", "--width"]
)
@pytest.mark.parametrize("value", ["0", "-1", "many"])
def test_counts_are_positive(flag: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        parse(flag, value)
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith(f"error: argument {flag}: '{value}' is not a whole number of at least 1")
