# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints to the hub, through huggingface_hub."""

from __future__ import annotations

import re
from pathlib import Path

from hypensearch.errors import HypensearchError
from hypensearch.models.checkpoint import SPLIT_FILES, WEIGHT_FILES

NOT_UPLOADED = ["training/*", "*.partial", ".*"]


def check_may_upload(repository: str) -> None:
    """Refuse what would fail after hours of training: a bad name, no token, no network wanted.

    :param repository: ``user/name``.
    :raises HypensearchError: Says what to do.
    """
    from huggingface_hub import constants, get_token

    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        raise HypensearchError(f"--push-to-hub {repository}: wanted a repository on the hub, user/name")
    if constants.HF_HUB_OFFLINE:
        raise HypensearchError(f"--push-to-hub {repository}: HF_HUB_OFFLINE is set, so nothing goes to the hub")
    if not get_token():
        raise HypensearchError(
            f"--push-to-hub {repository}: no token of the hub here: set HF_TOKEN, or log in once with hf auth login"
        )


def upload(folder: str | Path, repository: str, *, private: bool = False, revision: str | None = None) -> str:
    """Upload a checkpoint's folder, in one commit, and drop weight files of other kinds there.

    :param folder: A checkpoint; what a training run keeps in its folder ``training`` stays here.
    :param repository: ``user/name``, made when there is none.
    :param private: Whether a new repository is private.
    :param revision: Branch; the main one by default.
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
            revision=revision,
            ignore_patterns=NOT_UPLOADED,
            delete_patterns=[*WEIGHT_FILES, *SPLIT_FILES, *SPLIT_FILES.values()],
            commit_message="Upload a checkpoint of hypensearch",
        )
    except Exception as error:  # the hub's client raises many kinds
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise HypensearchError(f"--push-to-hub {repository}: the hub did not take it ({reason})") from None
    return str(commit.commit_url)


def has_card(repository: str) -> bool:
    """Tell whether a repository on the hub has a model card already."""
    from huggingface_hub import HfApi

    try:
        return bool(HfApi(library_name="hypensearch").file_exists(repository, "README.md"))
    except Exception as error:  # the hub's client raises many kinds
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise HypensearchError(f"--push-to-hub {repository}: the hub does not answer ({reason})") from None
