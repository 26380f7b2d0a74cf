# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""From texts to what scorers take: token ids, or encodings of frozen encoders looked up in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from hypensearch.train.data import Example, Examples
from hypensearch.train.embedding_cache import EmbeddingCache
from hypensearch.train.scorers import Batch

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Inputs(Protocol):
    """Prepares batches of texts for a scorer."""

    def queries(self, texts: Sequence[str]) -> Batch:
        """Prepare queries."""

    def documents(self, texts: Sequence[str]) -> Batch:
        """Prepare documents."""


class TokenInputs:
    """Token ids and masks, for scorers that hold their encoders.

    :param query_length: Tokens kept of a query, special ones included.
    :param document_length: Tokens kept of a document.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, query_length: int, document_length: int) -> None:
        self.tokenizer = tokenizer
        self.query_length = query_length
        self.document_length = document_length

    def queries(self, texts: Sequence[str]) -> Batch:
        """See :class:`Inputs`."""
        return self._tokens(texts, self.query_length)

    def documents(self, texts: Sequence[str]) -> Batch:
        """See :class:`Inputs`."""
        return self._tokens(texts, self.document_length)

    def _tokens(self, texts: Sequence[str], max_length: int) -> Batch:
        batch = self.tokenizer(list(texts), padding=True, truncation=True, max_length=max_length, return_tensors="pt")
        return {key: batch[key] for key in ("input_ids", "attention_mask")}


class FrozenInputs:
    """Encodings of frozen encoders, all of them in memory.

    :param query_cache: Of token states.
    :param document_cache: Of vectors.
    :param queries: All queries that will be asked for.
    :param documents: All documents that will be asked for.
    """

    def __init__(
        self,
        query_cache: EmbeddingCache,
        document_cache: EmbeddingCache,
        queries: Iterable[str],
        documents: Iterable[str],
    ) -> None:
        self.query_rows = {text: row for row, text in enumerate(dict.fromkeys(queries))}
        self.document_rows = {text: row for row, text in enumerate(dict.fromkeys(documents))}
        self.states = query_cache.token_states(list(self.query_rows))
        self.vectors = torch.from_numpy(document_cache.vectors(list(self.document_rows)))

    def queries(self, texts: Sequence[str]) -> Batch:
        """See :class:`Inputs`."""
        states, mask = self.states.padded([self.query_rows[text] for text in texts])
        return {"states": states, "attention_mask": mask}

    def documents(self, texts: Sequence[str]) -> Batch:
        """See :class:`Inputs`."""
        return {"vectors": self.vectors[[self.document_rows[text] for text in texts]]}


class Collator:
    """Makes of examples what :class:`hypensearch.train.scorers.LossModel` takes.

    :param examples: Where the examples come from; their source of chance draws mined negatives.
    :param mined: Texts that a first model found for a record and that are not its positives; they come after the
        record's own negatives.
    """

    def __init__(self, inputs: Inputs, examples: Examples, mined: Callable[[int], Sequence[str]] | None = None) -> None:
        self.inputs = inputs
        self.examples = examples
        self.mined = mined

    def __call__(self, batch: Sequence[Example]) -> dict[str, Batch]:
        """Collate.

        :return: ``queries``, ``documents`` and ``items``.
        """
        texts, scores = zip(*(self._filled(example) for example in batch), strict=True)
        flat = [text for of_query in texts for text in of_query]
        keys = [_key(text) for text in flat]
        shape = (len(batch), -1)
        return {
            "queries": self.inputs.queries([example.query for example in batch]),
            "documents": self.inputs.documents([text or str(flat[0]) for text in flat]),
            "items": {
                "keys": torch.tensor(keys).view(shape),
                "valid": torch.tensor([text is not None for text in flat]).view(shape),
                "teacher": torch.tensor(np.array(scores, dtype=np.float32)),
            },
        }

    def _filled(self, example: Example) -> tuple[list[str | None], list[float]]:
        items = [item for item in example.items if item is not None]
        texts: list[str | None] = [item.text for item in items]
        scores = [item.score for item in items]
        missing = len(example.items) - len(items)
        if missing and self.mined is not None:
            found = self.mined(example.row)
            rng = self.examples.rng(example.row)
            drawn = rng.choice(len(found), size=min(missing, len(found)), replace=False)
            texts += [found[i] for i in drawn]
        filling = len(example.items) - len(texts)
        scores += [float("nan")] * (len(example.items) - len(scores))
        return texts + [None] * filling, scores


def _key(text: str | None) -> int:
    return (
        0 if text is None else int.from_bytes(hashlib.sha1(text.encode("utf-8", "surrogatepass")).digest()[:7], "big")
    )
