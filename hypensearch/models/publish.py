# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints to the hub, with a model card."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hypensearch.errors import HypensearchError, as_typed
from hypensearch.formats.files import replace_when_whole
from hypensearch.models.weights import SPLIT_FILES, WEIGHT_FILES

if TYPE_CHECKING:
    from hypensearch.models.dual_encoder import DualEncoder

CARD = "README.md"
NOT_UPLOADED = ["training/*", "*.partial", ".*"]
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


def publish(model: DualEncoder, repository: str, *, compact: bool = False, private: bool = False) -> str:
    """Upload a model in our own format to the hub, with a model card where the repository has none yet.

    :param repository: ``user/name``.
    :param compact: See :func:`hypensearch.models.checkpoint.save_model`.
    :param private: Whether a new repository is private.
    :return: Address of the commit.
    :raises HypensearchError: Without a token, or when the hub refuses or cannot be reached.
    """
    from huggingface_hub import HfApi

    check_may_upload(repository)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder, compact=compact)
        try:
            has_card = HfApi(library_name="hypensearch").file_exists(repository, CARD)
        except Exception as error:  # the hub's client raises many kinds
            raise _refusal(repository, "the hub does not answer", error) from None
        if not has_card:
            write_missing_card(folder, model, repository)
        return upload(folder, repository, private=private)


def check_may_upload(repository: str) -> None:
    """Refuse what would fail after hours of training: a bad name, no token, no network wanted.

    :param repository: ``user/name``.
    :raises HypensearchError: Says what to do.
    """
    from huggingface_hub import constants, get_token

    if not _REPOSITORY.fullmatch(repository):
        raise HypensearchError(f"--push-to-hub {repository}: wanted a repository on the hub, user/name")
    if constants.HF_HUB_OFFLINE:
        raise HypensearchError(f"--push-to-hub {repository}: HF_HUB_OFFLINE is set, so nothing goes to the hub")
    if not get_token():
        raise HypensearchError(
            f"--push-to-hub {repository}: no token of the hub here: set HF_TOKEN, or log in once with hf auth login"
        )


def upload(folder: str | Path, repository: str, *, private: bool = False) -> str:
    """Upload a checkpoint's folder, in one commit, and drop weight files of other kinds there.

    :param folder: A checkpoint; what a training run keeps in its folder ``training`` stays here.
    :param repository: ``user/name``, made when there is none.
    :param private: Whether a new repository is private.
    :return: Address of the commit.
    :raises HypensearchError: Without a token, or when the hub refuses or cannot be reached.
    """
    from huggingface_hub import HfApi

    check_may_upload(repository)
    api = HfApi(library_name="hypensearch")
    try:
        api.create_repo(repository, private=private or None, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repository,
            folder_path=str(folder),
            ignore_patterns=NOT_UPLOADED,
            delete_patterns=[*WEIGHT_FILES, *SPLIT_FILES, *SPLIT_FILES.values()],
            commit_message="Upload a checkpoint of hypensearch",
        )
    except Exception as error:  # the hub's client raises many kinds
        raise _refusal(repository, "the hub did not take it", error) from None
    return str(commit.commit_url)


def write_missing_card(folder: str | Path, model: DualEncoder, name: str) -> None:
    """Write a card with the facts of a checkpoint, unless there is one.

    :param name: What to load it as.
    """
    if not (Path(folder) / CARD).exists():
        with replace_when_whole(Path(folder) / CARD, "w", follow_link=False) as file:
            file.write(card([*_facts(model, name), *usage(name)], model.config.query_backbone))


def card(lines: Sequence[str], backbone: str) -> str:
    """Return a model card with the header that the hub reads.

    :param lines: What it says, in Markdown.
    :param backbone: The transformer's name; it is given as the base model where it can be a hub name.
    """
    from huggingface_hub import ModelCard, ModelCardData

    facts = ModelCardData(
        base_model=backbone if _REPOSITORY.fullmatch(backbone) else None,
        library_name="hypensearch",
        pipeline_tag="feature-extraction",
        tags=["hypencoder", "passage-retrieval"],
    )
    return str(ModelCard("\n".join(["---", facts.to_yaml(), "---", "", *lines])))


def usage(name: str) -> list[str]:
    """Return the lines of a card that say how a checkpoint is used.

    :param name: What to load it as.
    """
    encode = ["input", "--corpus", "CORPUS", "output", "--embeddings", "INDEX"]
    return [
        "Use it with hypensearch:",
        "",
        f"    {as_typed('hypensearch.encode', *encode, 'encoder', '--encoder', name)}",
        "    python -m hypensearch.search --index INDEX --topics TOPICS --output RUN",
        "",
    ]


def _facts(model: DualEncoder, name: str) -> list[str]:
    kind, q_net = "Bi-encoder", "queries are vectors"
    if model.config.q_net is not None:
        kind, widths = "Hypencoder", ", ".join(map(str, model.config.q_net.dims))
        q_net = f"{model.config.q_net.num_blocks} hidden blocks, widths {widths}"
    count = sum(parameter.numel() for parameter in model.parameters())
    sides = "one encoder for queries and documents" if model.config.shared_encoder else "an encoder for each side"
    return [
        f"# {name.rpartition('/')[2]}",
        "",
        f"{kind} of {count:,} weights: {sides}, {model.passage_encoder.pooling} pooling, document vectors of "
        f"{model.dim} numbers; q-nets: {q_net}.",
        "",
    ]


def _refusal(repository: str, what: str, error: Exception) -> HypensearchError:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return HypensearchError(f"--push-to-hub {repository}: {what} ({reason})")
