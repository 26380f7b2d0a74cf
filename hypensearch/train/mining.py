# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Hard negatives by a first model: texts of other records that it ranks high for a query."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import torch

from hypensearch.train.data import Record
from hypensearch.train.inputs import Inputs
from hypensearch.train.scorers import Scorer

T = TypeVar("T")

_BLOCK = 1024


class MinedNegatives:
    """For each record, texts of its own file that are no answer to it and that a first model ranks high.

    A text whose score comes within ``margin`` of the positive's may well be an answer nobody marked: it is left out.

    :param scorer: The first model; a bi-encoder.
    :param sources: The records of each file, in the order of the training examples.
    :param depth: Texts kept for a record.
    :param margin: Highest score of a negative, as a share of the positive's.
    """

    def __init__(
        self, scorer: Scorer, inputs: Inputs, sources: Sequence[Sequence[Record]], *, depth: int, margin: float
    ) -> None:
        self._texts: list[list[str]] = []
        self._rows: list[np.ndarray] = []
        self._source_of: list[int] = []
        self._starts: list[int] = []
        start = 0
        for number, records in enumerate(sources):
            texts = list(dict.fromkeys(item.text for r in records for item in (*r.positives, *r.negatives)))
            self._texts.append(texts)
            self._rows.append(_mine(scorer, inputs, records, texts, depth, margin))
            self._source_of += [number] * len(records)
            self._starts.append(start)
            start += len(records)

    def __call__(self, row: int) -> list[str]:
        """Return a record's negatives, hardest first."""
        source = self._source_of[row]
        rows = self._rows[source][row - self._starts[source]]
        return [self._texts[source][i] for i in rows if i >= 0]


@torch.inference_mode()
def _mine(
    scorer: Scorer, inputs: Inputs, records: Sequence[Record], texts: list[str], depth: int, margin: float
) -> np.ndarray:
    """Return rows of ``texts`` for each record, hardest first, -1 where there are no more."""
    row_of = {text: row for row, text in enumerate(texts)}
    answers: dict[str, set[int]] = defaultdict(set)
    for record in records:
        answers[record.query].update(row_of[item.text] for item in record.positives)
    vectors = torch.cat([scorer.document_vectors(inputs.documents(block)) for block in _blocks(texts)])
    count = min(len(texts), 3 * depth + 8)
    mined = np.full((len(records), depth), -1, dtype=np.int32)
    for start, block in zip(range(0, len(records), _BLOCK), _blocks(records), strict=True):
        q_nets = scorer.q_nets(inputs.queries([record.query for record in block]))
        scores = q_nets.weights[0].squeeze(2) @ vectors.T
        top = scores.topk(count)
        for i, record in enumerate(block):
            wanted = answers[record.query]
            limit = margin * float(max(scores[i, row] for row in wanted))
            rows, values = top.indices[i].tolist(), top.values[i].tolist()
            kept = [row for row, value in zip(rows, values, strict=True) if value <= limit and row not in wanted]
            mined[start + i, : len(kept[:depth])] = kept[:depth]
    return mined


def _blocks(items: Sequence[T]) -> list[Sequence[T]]:
    return [items[start : start + _BLOCK] for start in range(0, len(items), _BLOCK)]
