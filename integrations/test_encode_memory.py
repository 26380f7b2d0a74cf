# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Encoding a million short documents takes no more memory than ten thousand, but for what each docid costs."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hypensearch.flat import FlatIndex

MEGABYTE = 2**20
SLACK = 300 * MEGABYTE

RUN = """
import resource, sys
from hypensearch.encode.__main__ import main
code = main(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
raise SystemExit(code)
"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random bi-encoder whose transformer does next to nothing: what is measured is everything around it."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from hypensearch.models.config import parse_config
    from hypensearch.models.loading import build_model

    folder = tmp_path_factory.mktemp("checkpoint")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "doc", *map(str, range(10)), *[f"##{n}" for n in range(10)]]
    (folder / "vocab.txt").write_text("".join(word + "\n" for word in words))
    bert = transformers.BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=16,
        max_position_embeddings=32,
    )
    bert.save_pretrained(folder / "backbone")
    side = {"model_name_or_path": str(folder / "backbone"), "pooling_type": "cls"}
    raw = {"query_encoder_kwargs": side, "passage_encoder_kwargs": side, "shared_encoder": True}
    model = build_model(parse_config(raw, "raw"), folder)
    chance = torch.Generator().manual_seed(0)
    for weights in model.parameters():
        torch.nn.init.normal_(weights, generator=chance)
    model.tokenizer = transformers.BertTokenizerFast(vocab_file=str(folder / "vocab.txt"))
    model.save_pretrained(folder / "checkpoint")
    return folder / "checkpoint"


def write_corpus(path: Path, num_docs: int) -> Path:
    with open(path, "w") as file:
        file.writelines(f'{{"id": "doc{row}", "contents": "doc {row}"}}\n' for row in range(num_docs))
    return path


def peak_of(arguments: list[object]) -> int:
    """Run the command in a process of its own and give the most memory it held, in bytes."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", RUN, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    return int(done.stdout.split()[-1])


@pytest.mark.parametrize("extra", [[], ["--store-documents", "--to-faiss"]])
def test_memory_does_not_grow_with_the_corpus(tmp_path: Path, checkpoint: Path, extra: list[str]) -> None:
    peaks = {}
    for num_docs in (10_000, 1_000_000):
        corpus = write_corpus(tmp_path / f"{num_docs}.jsonl", num_docs)
        index = tmp_path / f"i{num_docs}"
        encoder = ["encoder", "--encoder", checkpoint, "--batch-size", 512, "--max-length", 8, "--device", "cpu"]
        begun = time.monotonic()
        peaks[num_docs] = peak_of(["input", "--corpus", corpus, "output", "--embeddings", index, *extra, *encoder])
        print(f"{num_docs:,} documents: {peaks[num_docs] / MEGABYTE:.0f} MB, {time.monotonic() - begun:.0f} s")
        assert FlatIndex.open(index).num_docs == num_docs
    assert peaks[1_000_000] - peaks[10_000] < SLACK
