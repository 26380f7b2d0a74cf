# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Teachers, whose scores stand in training records: a cross-encoder, or any run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hypensearch.errors import HypensearchError
from hypensearch.formats.ids import with_ids_of
from hypensearch.mine.records import Teacher
from hypensearch.options import Options, option


@dataclass(frozen=True)
class TeacherOptions(Options):
    """The teacher."""

    teacher: str | None = option(
        "cross-encoder that scores all texts: folder or hub name of a sequence classifier", None
    )
    teacher_run: str | None = option(
        "TREC run whose scores are the teacher's; documents that it does not rank are left out", None
    )
    max_length: int = option("tokens of query and text for the teacher", 256, at_least=1)
    batch_size: int = option("texts the teacher scores at once", 32, at_least=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.teacher and self.teacher_run:
            raise HypensearchError("--teacher and --teacher-run: two teachers, wanted one")


def run_scores(path: str, topics: Mapping[str, str]) -> dict[str, dict[str, float]]:
    """Read the scores of a run, by topic id and docid."""
    from hypensearch.formats.run import read_run

    run = with_ids_of(topics, read_run(path), path)
    return {topic: {hit.docid: hit.score for hit in hits} for topic, hits in run.items()}


def cross_encoder(options: TeacherOptions, device: str) -> Teacher:
    """Load a cross-encoder, any sequence classifier of transformers with one output.

    :raises HypensearchError: When it cannot be loaded, or has more outputs.
    """
    import torch
    from transformers import AutoModelForSequenceClassification

    from hypensearch.models.tokenizer import load_tokenizer, pretrained

    assert options.teacher is not None
    source, where = options.teacher, f"--teacher {options.teacher}"
    try:
        with pretrained(source) as (name, loading):
            model = AutoModelForSequenceClassification.from_pretrained(name, **loading).to(device).eval()
        tokenizer = load_tokenizer(source)
    except Exception as error:  # transformers and the hub raise many kinds
        reason = " ".join(str(error).split())[:200]
        raise HypensearchError(f"{where}: not loadable as a sequence classifier ({reason})") from None
    if model.config.num_labels != 1:
        raise HypensearchError(f"{where}: {model.config.num_labels} outputs, a teacher has one")

    @torch.inference_mode()
    def score(query: str, texts: Sequence[str]) -> list[float]:
        scores: list[float] = []
        for start in range(0, len(texts), options.batch_size):
            block = list(texts[start : start + options.batch_size])
            batch = tokenizer(
                [query] * len(block),
                block,
                padding=True,
                truncation="longest_first",
                max_length=options.max_length,
                return_tensors="pt",
            )
            scores += model(**batch.to(device)).logits[:, 0].float().tolist()
        if not all(map(math.isfinite, scores)):
            raise HypensearchError(f"{where}: gave a score that is no finite number for {query!r}")
        return scores

    return score
