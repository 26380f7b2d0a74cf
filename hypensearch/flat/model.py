# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The model that made an index: found by the name that the index has, or by yours, and held against its fingerprint."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from hypensearch.errors import HypensearchError
from hypensearch.flat import FlatIndex
from hypensearch.models.dual_encoder import DEFAULT_MAX_LENGTH, DualEncoder
from hypensearch.models.loading import load_model
from hypensearch.models.q_net import QNets

logger = logging.getLogger(__name__)


class IndexModel:
    """Turns queries into q-nets for the vectors of an index.

    :param index: The index.
    :param given: A loaded model, or a checkpoint's folder or hub name; None for the one that the index names.
    :param device: Where the model computes.
    :param max_length: Tokens kept of a query, special ones included.
    :param width: Hidden width to cut q-nets to (Matryoshka checkpoints).
    :param backbone_config: The transformer's configuration, where it cannot be found.
    :param revision: Branch, tag or commit on the hub.
    :raises HypensearchError: When a loaded model did not make the index, or cannot encode queries.
    """

    def __init__(
        self,
        index: FlatIndex,
        given: object = None,
        *,
        device: torch.device,
        max_length: int = DEFAULT_MAX_LENGTH,
        width: int | None = None,
        backbone_config: str | None = None,
        revision: str | None = None,
    ) -> None:
        self.index = index
        self.max_length = max_length
        self._device = device
        self._width, self._backbone_config, self._revision = width, backbone_config, revision
        self._loading = threading.Lock()
        if isinstance(of_encoder := getattr(given, "model", None), DualEncoder):
            given = of_encoder  # of a HypencoderQueryEncoder
        self._loaded = given if isinstance(given, DualEncoder) else None
        self._name = _checkpoint_name(given)
        if self._loaded is not None:
            self._check_fits(self._loaded)

    @property
    def name(self) -> str | None:
        """The name of the model that is or would be loaded; None where nobody knows."""
        return self._name or getattr(self._loaded, "name", None) or self._made_by.get("name")

    @property
    def model(self) -> DualEncoder:
        """The model, loaded on first use.

        :raises HypensearchError: When it cannot be loaded, or did not make the index.
        """
        with self._loading:
            if self._loaded is None:
                model = self._load()
                self._check_fits(model)
                self._loaded = model
        return self._loaded

    def given(self) -> DualEncoder | None:
        """Return the model that was named or loaded before; None where only the index names one."""
        return None if self._loaded is None and self._name is None else self.model

    def encode(self, texts: Sequence[str]) -> QNets:
        """Return the q-nets of queries."""
        return self.model.encode_queries(list(texts), max_length=self.max_length)

    def check_made_by(self, model: Mapping[str, Any], what: str) -> None:
        """Refuse q-nets of another model than the one that made the vectors.

        :param model: Name and fingerprint of the q-nets' model.
        :param what: Who has them, for the message.
        :raises HypensearchError: When the document encoders differ.
        """
        folder, wanted, found = self.index.folder, self._made_by.get("fingerprint"), model.get("fingerprint")
        if wanted is None:
            logger.info("%s does not say which model made its vectors: trusting %s", folder, what)
        elif wanted != found:
            raise HypensearchError(
                f"document vectors in {folder} were made by {self._made_by.get('name')} (document encoder "
                f"{str(wanted)[:8]}), but {what} is {model.get('name')} ({str(found)[:8]}): encode the corpus with it, "
                "or name the right --encoder"
            )

    @property
    def _made_by(self) -> Mapping[str, Any]:
        return self.index.model or {}

    def _check_fits(self, model: DualEncoder) -> None:
        if model.dim != self.index.dim:
            raise HypensearchError(
                f"document vectors in {self.index.folder} have {self.index.dim} dimensions, but {model.name} makes "
                f"vectors of {model.dim}: encode the corpus with it, or name the right --encoder"
            )
        self.check_made_by({"name": model.name, "fingerprint": model.fingerprint}, "the query encoder")

    def _load(self) -> DualEncoder:
        made_by = self._made_by if self._name is None else {}
        name = self._name or made_by.get("name")
        if not name:
            raise HypensearchError(
                f"{self.index.folder} does not say which model made its vectors: name it with --encoder"
            )
        try:
            return load_model(
                name,
                backbone_config=self._backbone_config or made_by.get("backbone_config"),
                revision=self._revision or made_by.get("revision"),
                width=self._width,
                count_padding=bool(self._made_by.get("count_padding")),
                device=self._device,
                network=self._name is not None,  # a name that the user gave, and no index
            )
        except HypensearchError as error:
            if self._name is not None:
                raise
            raise HypensearchError(
                f"the model that {self.index.folder} names cannot be loaded ({error}); if it has moved, name it with "
                "--encoder"
            ) from None


def _checkpoint_name(given: object) -> str | None:
    if given is None or isinstance(given, DualEncoder):
        return None
    if isinstance(given, (str, os.PathLike)):
        return os.fspath(given)
    raise HypensearchError(
        f"the query encoder is a {type(given).__name__}: wanted a checkpoint's folder or hub name, or what "
        "hypensearch.models.load_model gives; other encoders make no q-nets"
    )
