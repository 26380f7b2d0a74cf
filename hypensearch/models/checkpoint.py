# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""A checkpoint on disk: found by folder, hub name or ``bundled``; its configuration, its checksums; written whole."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

import hypensearch
from hypensearch.errors import HypensearchError
from hypensearch.formats.door import root_of_checkpoint
from hypensearch.formats.files import replace_when_whole, sha256_of
from hypensearch.formats.json_files import digest_of_facts, read_json
from hypensearch.models.checkpoint_folder import CONFIG, checkpoint_folder, write_whole
from hypensearch.models.tokenizer import save_tokenizer
from hypensearch.models.weights import SPLIT_FILES, WEIGHT_FILES, released_weights, write_weights
from hypensearch.offline import is_offline

if TYPE_CHECKING:
    from hypensearch.models.dual_encoder import DualEncoder

BUNDLED = "bundled"
BUNDLED_FOLDER = Path(hypensearch.__file__).parent / "resources" / "model"
CHECKSUMS = "checksums"
CHECKED_FILES = (
    *WEIGHT_FILES,
    *("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json", "added_tokens.json"),
)
_HUB_FILES = (CONFIG, "tokenizer*", "vocab.txt", "special_tokens_map.json")


def find_checkpoint(name_or_path: str, revision: str | None = None, *, network: bool = True) -> Path:
    """Return the folder of a checkpoint: a local one, or the hub's, downloaded once.

    :param name_or_path: A folder, a hub name such as ``jfkback/hypencoder.6_layer``, or ``bundled``, the model inside
        the package (a folder of that name comes first).
    :param revision: Branch, tag or commit on the hub.
    :param network: Whether the hub may be asked, or its cache on this machine alone: for names out of files.
    :raises HypensearchError: When there is no such folder and the hub does not give it.
    """
    folder = _folder(name_or_path)
    if folder.is_dir():
        if not (folder / CONFIG).is_file():
            raise HypensearchError(f"{folder}: no {CONFIG} in this folder, so it is not a checkpoint")
        return checkpoint_folder(folder)
    if folder.exists():
        raise HypensearchError(f"{folder} is a file: wanted the folder of a checkpoint, or a hub name")
    if name_or_path == BUNDLED:
        return bundled_model()
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name_or_path) or name_or_path.startswith("."):
        raise HypensearchError(f"{name_or_path}: no such folder, and not a hub name such as jfkback/hypencoder.6_layer")
    return _download(name_or_path, revision, network=network and not is_offline())


def is_local(name_or_path: str) -> bool:
    """Return whether :func:`find_checkpoint` finds a name without the hub."""
    return _folder(name_or_path).exists() or name_or_path == BUNDLED


def bundled_model(folder: Path = BUNDLED_FOLDER) -> Path:
    """Return the checkpoint folder of the small trained model that ships inside the package.

    :raises HypensearchError: When this copy of the package has none.
    """
    if not (folder / CONFIG).is_file():
        raise HypensearchError(
            f"no model in {folder}: this copy of hypensearch was built without it; reinstall hypensearch, "
            "or name a model with --encoder (a checkpoint's folder or hub name)"
        )
    return folder


def read_config(folder: Path) -> dict[str, Any]:
    """Read a checkpoint's ``config.json``.

    :raises HypensearchError: When it is not a JSON object.
    """
    path = folder / CONFIG
    try:
        raw = read_json(path, within=root_of_checkpoint(folder))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise HypensearchError(f"{path}: not readable as JSON ({reason})") from None
    if not isinstance(raw, dict):
        raise HypensearchError(f"{path}: wanted a JSON object, found {type(raw).__name__}")
    return raw


def save_model(model: DualEncoder, folder: str | Path, *, compact: bool = False) -> None:
    """Write a checkpoint in our own format: loading it needs no other file and no hub.

    ``config.json`` with the transformers' configurations embedded, ``model.safetensors`` under the released names, and
    the tokenizer's files. A checkpoint that is there is replaced in one step.

    :param compact: Store weights in 8 bits, embeddings in 6 (:mod:`hypensearch.models.compact`): about a fifth of the
        size; only hypensearch reads it.
    """

    def write(folder: Path) -> None:
        if model.tokenizer is not None:
            save_tokenizer(model.tokenizer, folder)
        write_weights(released_weights(model, shared=model.config.shared_encoder), folder, compact=compact)
        write_config(with_checksums(own_config(model), folder), folder)

    write_whole(Path(folder), write, CHECKED_FILES)


def own_config(model: DualEncoder) -> dict[str, Any]:
    """Return the content of ``config.json`` in our own format, the transformers' configurations embedded."""
    sides = {"query": model.query_encoder.transformer, "document": model.passage_encoder.transformer}
    return {
        **{key: value for key, value in model.config.raw.items() if key != CHECKSUMS},
        "backbone_configs": {side: _config_of(transformer) for side, transformer in sides.items()},  # type: ignore[arg-type]
    }


def write_config(raw: Mapping[str, Any], folder: Path) -> None:
    """Write a checkpoint's ``config.json``."""
    with replace_when_whole(folder / CONFIG, "w", follow_link=False) as file:
        file.write(json.dumps(raw, indent=2) + "\n")


def with_checksums(raw: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return a configuration with the digests of the files beside it, and its own."""
    facts = {key: value for key, value in raw.items() if key != CHECKSUMS}
    files = {name: sha256_of(folder / name) for name in CHECKED_FILES if (folder / name).is_file()}
    return {**facts, CHECKSUMS: {**files, CONFIG: digest_of_facts(facts)}}


def check_files(raw: Mapping[str, Any], folder: Path) -> None:
    """Compare a checkpoint's files with the digests in its configuration; without any, as released, do nothing.

    :raises HypensearchError: Names the first file that is not what was written.
    """
    facts = {key: value for key, value in raw.items() if key != CHECKSUMS}
    checksums = raw.get(CHECKSUMS, {})
    if not isinstance(checksums, Mapping):
        raise HypensearchError(f"{folder / CONFIG}: damaged: {CHECKSUMS} is no object")
    for name, digest in checksums.items():
        if name not in (CONFIG, *CHECKED_FILES):
            raise HypensearchError(f"{folder / CONFIG}: damaged: {CHECKSUMS} names {name!r}")
        found = digest_of_facts(facts) if name == CONFIG else sha256_of(folder / name, root_of_checkpoint(folder))
        if found != digest:
            raise HypensearchError(
                f"{folder / name}: has changed since the checkpoint was written; copy the checkpoint again (or, when "
                f"the change is meant, remove {CHECKSUMS!r} from its {CONFIG})"
            )


def _config_of(transformer: nn.Module) -> dict[str, Any]:
    config: Any = transformer.config
    raw: dict[str, Any] = {**config.to_diff_dict(), "model_type": config.model_type}
    return {key: value for key, value in raw.items() if key not in ("_name_or_path", "transformers_version")}


def _folder(name_or_path: str) -> Path:
    try:
        folder = Path(name_or_path).expanduser()
        folder.exists()
    except (OSError, RuntimeError, ValueError) as error:  # too long, nobody's home, a null byte, half a character
        raise HypensearchError(f"{name_or_path[:100]!r}: no such folder, and no hub name ({error})") from None
    return folder


def _download(name: str, revision: str | None, *, network: bool) -> Path:
    from huggingface_hub import snapshot_download

    reason = "it is not in the hub's cache on this machine"
    for local_only in (True, False) if network else (True,):
        try:
            for weights in (*WEIGHT_FILES, *SPLIT_FILES):
                patterns = [*_HUB_FILES, weights, *([SPLIT_FILES[weights]] if weights in SPLIT_FILES else [])]
                folder = Path(
                    snapshot_download(name, revision=revision, allow_patterns=patterns, local_files_only=local_only)
                )
                if (folder / weights).is_file():
                    return folder
        except Exception as error:  # the hub's client raises many kinds
            reason = " ".join(str(error).split())[:160]
    if not network:
        reason = "not in its cache on this machine; the hub itself is not asked offline, or for a name out of a file"
    raise HypensearchError(
        f"{name}: no such folder here, and the hub does not give it ({reason}): name it with --encoder, or give the "
        "folder of a checkpoint"
    )
