# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""From training records to batches: which records, in which order, with which negatives, as token ids."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Sampler

from hypensearch.models.tokenizer import tokenize
from hypensearch.train.data import Item, RecordFile

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Batch = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Example:
    """A record as one step uses it: its query and a fixed number of items, the positive first.

    :param items: Texts; None where the record has too few.
    """

    query: str
    items: tuple[Item | None, ...]


class Examples:
    """Records of several files, with other negatives drawn in each epoch. A map-style dataset for torch's loaders.

    :param files: Opened and checked.
    :param num_negatives: Negatives drawn for each query.
    :param seed: Of the draw; depends on epoch and record only, so any process and any resumed run draws the same.
    """

    def __init__(self, files: Sequence[RecordFile], *, num_negatives: int, seed: int) -> None:
        self.files = list(files)
        self.num_negatives = num_negatives
        self.seed = seed
        self.epoch = 0
        self._starts = np.concatenate([[0], np.cumsum([len(file) for file in self.files])])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def set_epoch(self, epoch: int) -> None:
        """Change what is drawn; called by the trainer."""
        self.epoch = int(epoch)

    def __getitem__(self, row: int) -> Example:
        source = int(np.searchsorted(self._starts, row, side="right")) - 1
        record = self.files[source][row - int(self._starts[source])]
        rng = np.random.default_rng((self.seed, self.epoch, row))
        positive = record.positives[rng.integers(len(record.positives))]
        count = min(self.num_negatives, len(record.negatives))
        chosen = [record.negatives[i] for i in rng.choice(len(record.negatives), size=count, replace=False)]
        return Example(record.query, (positive, *chosen, *[None] * (self.num_negatives - count)))

    def sources(self) -> list[range]:
        """Return the rows of each file."""
        return [range(int(a), int(b)) for a, b in zip(self._starts[:-1], self._starts[1:], strict=True)]


class EpochOrder(Sampler[int]):
    """The rows of an epoch, shuffled so that each batch comes from one file: its other items are then harder negatives.

    Rows at the end of a file that do not fill a batch are left out of the epoch.

    :param examples: Their epoch decides the order.
    :param batch_size: Queries of a step, of all processes together.
    """

    def __init__(self, examples: Examples, *, batch_size: int, seed: int) -> None:
        self.examples, self.batch_size, self.seed = examples, batch_size, seed

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng((self.seed, self.examples.epoch))
        batches: list[np.ndarray] = []
        for rows in self.examples.sources():
            order, size = rng.permutation(np.arange(rows.start, rows.stop)), self._size(rows)
            batches += [order[start : start + size] for start in range(0, len(order) - size + 1, size)]
        return iter([int(row) for i in rng.permutation(len(batches)) for row in batches[i]])

    def __len__(self) -> int:
        return sum(len(rows) // self._size(rows) * self._size(rows) for rows in self.examples.sources())

    def set_epoch(self, epoch: int) -> None:
        """Change the order, and what is drawn; called by the trainer."""
        self.examples.set_epoch(epoch)

    def _size(self, rows: range) -> int:
        return min(self.batch_size, len(rows))


class Tokens:
    """Turns texts into token ids and masks.

    :param query_length: Tokens kept of a query, special ones included.
    :param document_length: Tokens kept of a document.
    :param prompts: Put before every query and every document.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        *,
        query_length: int,
        document_length: int,
        prompts: tuple[str, str] = ("", ""),
    ) -> None:
        self.tokenizer = tokenizer
        self.query_length = query_length
        self.document_length = document_length
        self.prompts = prompts

    def queries(self, texts: Sequence[str]) -> Batch:
        """Return ``input_ids`` and ``attention_mask`` of queries."""
        return tokenize(self.tokenizer, [self.prompts[0] + text for text in texts], self.query_length)

    def documents(self, texts: Sequence[str]) -> Batch:
        """Return ``input_ids`` and ``attention_mask`` of documents."""
        return tokenize(self.tokenizer, [self.prompts[1] + text for text in texts], self.document_length)


class Collator:
    """Turns examples into the arguments of :class:`hypensearch.train.model.TrainingModel`.

    :param tokens: Of the model that is trained.
    :param guide_tokens: Of the frozen bi-encoder that is distilled, if any.
    :param teacher_temperature: The records' scores are divided by this.
    """

    def __init__(self, tokens: Tokens, guide_tokens: Tokens | None = None, *, teacher_temperature: float = 1.0) -> None:
        self.tokens = tokens
        self.guide_tokens = guide_tokens
        self.teacher_temperature = teacher_temperature

    def __call__(self, batch: Sequence[Example]) -> dict[str, Batch]:
        """Collate.

        :return: ``queries``, ``documents`` and ``items``; with a guide its ``guide_queries`` and ``guide_documents``.
        """
        items = [item for example in batch for item in example.items]
        filling = next(item.text for item in items if item is not None)  # encoded and then ignored
        queries = [example.query for example in batch]
        documents = [filling if item is None else item.text for item in items]
        scores = torch.tensor([float("nan") if item is None else item.score for item in items])
        shape = (len(batch), -1)
        collated = {
            "queries": self.tokens.queries(queries),
            "documents": self.tokens.documents(documents),
            "items": {
                "keys": torch.tensor([0 if item is None else _key(item.text) for item in items]).view(shape),
                "valid": torch.tensor([item is not None for item in items]).view(shape),
                "teacher": scores.view(shape) / self.teacher_temperature,
            },
        }
        if self.guide_tokens is not None:
            collated["guide_queries"] = self.guide_tokens.queries(queries)
            collated["guide_documents"] = self.guide_tokens.documents(documents)
        return collated


def _key(text: str) -> int:
    return int.from_bytes(hashlib.sha1(text.encode("utf-8", "surrogatepass")).digest()[:7], "big")
