# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""MTEB: a checkpoint as a search model of its retrieval and reranking tasks.

::

    tasks = mteb.get_tasks(["SciFact", "Core17InstructionRetrieval"])
    mteb.evaluate(HypencoderModel("jfkback/hypencoder.6_layer"), tasks)
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

from mteb._create_dataloaders import create_dataloader  # what MTEB's own search models read queries with
from mteb.models import ModelMeta
from mteb.models.model_meta import ScoringFunction
from mteb.types import PromptType

from hypensearch.adapters.base import Encoder, TextSearch, index_texts, loaded
from hypensearch.encode import EncodingOptions
from hypensearch.formats.run import separate_ties

__all__ = ["HypencoderModel"]


class HypencoderModel:
    """A Hypencoder or a bi-encoder of ours, as MTEB's ``SearchProtocol`` wants one.

    A task's instructions stand behind its queries, as MTEB joins them; its prompts for instruction-tuned embedding
    models are not used.

    :param encoder: A loaded model, or a checkpoint's folder or hub name.
    :param device: "auto" (CUDA if there is one), "cpu", "cuda" or "cuda:N".
    :param query_length: Tokens kept of a query, instructions included.
    :param max_length: Tokens kept of a document.
    :param index_folder: Where a task's index is kept, for other processes to search; None to forget it.
    :param options: Of the search, as :class:`~hypensearch.search.HypencoderSearcher` takes them.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        device: str = "auto",
        query_length: int = 256,
        max_length: int = 256,
        index_folder: str | os.PathLike[str] | None = None,
        **options: Any,
    ) -> None:
        self._model = loaded(encoder, device)
        self._device = device
        self._max_length = max_length
        self._options = {**options, "device": device, "max_length": query_length}
        self._index_folder = index_folder
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._search: TextSearch | None = None

    def index(
        self,
        corpus: Any,
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        encode_kwargs: Mapping[str, Any],
        num_proc: int | None = None,
        **kwargs: Any,
    ) -> None:
        """Encode a task's documents, title and text."""
        self.close()
        self._temporary = None if self._index_folder else tempfile.TemporaryDirectory(prefix="hypensearch-mteb-")
        parent = self._temporary.name if self._temporary else os.fspath(self._index_folder or "")
        folder = os.path.join(parent, "-".join([task_metadata.name, hf_subset, hf_split]).replace("/", "_"))
        encoding = EncodingOptions(batch_size=encode_kwargs.get("batch_size", 64), max_length=self._max_length)
        index_texts(_documents(corpus), folder, self._model, device=self._device, encoding=encoding, overwrite=True)
        self._search = TextSearch(folder, self._model, **self._options)

    def search(
        self,
        queries: Any,
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        top_k: int,
        encode_kwargs: Mapping[str, Any],
        top_ranked: Mapping[str, list[str]] | None = None,
        num_proc: int | None = None,
        **kwargs: Any,
    ) -> dict[str, dict[str, float]]:
        """Search with a task's queries, or rerank what is given of each.

        :return: Scores by docid by query id. Equal scores are moved apart by the least step, so that MTEB's measures
            rank as ours do.
        """
        assert self._search is not None, "index() comes first"
        batches = create_dataloader(queries, task_metadata=task_metadata, prompt_type=PromptType.query)
        texts = [text for batch in batches for text in batch["text"]]
        asked = dict(zip(queries["id"], texts, strict=True))
        search = self._search
        found = search.search(asked, top_k) if top_ranked is None else search.rerank(asked, top_ranked)
        return {query: {hit.docid: hit.score for hit in separate_ties(hits[:top_k])} for query, hits in found.items()}

    @property
    def mteb_model_meta(self) -> ModelMeta:
        """What MTEB's results say of the model; the revision is a hash of its weights where it is of no hub."""
        model = self._model
        weights = hashlib.sha256(f"{model.fingerprint} {model.query_fingerprint}".encode()).hexdigest()[:16]
        base = os.path.basename(os.path.abspath(model.name))
        is_hub_name = model.name.count("/") == 1 and not os.path.exists(model.name)
        parameters = sum(parameter.numel() for parameter in model.parameters())
        is_hypencoder = model.kind == "hypencoder"
        return ModelMeta.create_empty(
            {
                "name": model.name if is_hub_name else f"hypensearch/{base}",
                "revision": model.revision or weights,
                "n_parameters": parameters,
                "memory_usage_mb": round(parameters * 4 / 2**20),
                "max_tokens": self._max_length,
                "embed_dim": model.dim,
                "framework": ["PyTorch"],
                "similarity_fn_name": ScoringFunction.CUSTOM if is_hypencoder else ScoringFunction.DOT_PRODUCT,
                "use_instructions": False,
                "open_weights": True,
            }
        )

    def close(self) -> None:
        """Let go of the index of the last task."""
        if self._search is not None:
            self._search.close()
            self._search = None
        if self._temporary is not None:
            self._temporary.cleanup()
            self._temporary = None


def _documents(corpus: Any) -> Iterator[dict[str, str]]:
    for document in corpus:
        yield {"id": document["id"], "title": document.get("title") or "", "text": document["text"]}
