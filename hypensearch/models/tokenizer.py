# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Tokenizers, of a checkpoint's folder or of a backbone, read as files of others: they name no other file.

transformers and tokenizers open whatever path stands in the place of a vocabulary, pass positional arguments that a
file has, and print settings of tokens that they do not know. So a tokenizer's files are checked against a schema, and
paths among its settings (which older versions of transformers wrote of the machine they ran on) are left out.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from hypensearch.errors import HypensearchError
from hypensearch.formats.door import root_of_checkpoint
from hypensearch.formats.files import name_for_libraries
from hypensearch.formats.json_files import read_bounded, read_json
from hypensearch.models.checkpoint_folder import check_library_files
from hypensearch.offline import is_offline
from hypensearch.printing import visible_line

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "tokenizer.model", "vocab.json", "sentencepiece.bpe.model")
_SETTINGS = ("tokenizer_config.json", "special_tokens_map.json")
_OTHERS = ("config.json", "added_tokens.json", "merges.txt", "bpe.codes", "spiece.model", "spm.model")
_ON_THE_HUB = (*TOKENIZER_FILES, *_SETTINGS, *_OTHERS)
_PATH_KEYS = ("_file", "_ckpt", "_spm")


class _Token(msgspec.Struct, forbid_unknown_fields=True):
    """An added token of ``tokenizer.json``."""

    id: int
    content: str
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool = False
    special: bool = False


class _Model(msgspec.Struct):
    vocab: dict[str, int] | list[Any] | None = None
    merges: list[Any] | None = None


class _TokenizerFile(msgspec.Struct):
    """``tokenizer.json``: a vocabulary, never the path of one."""

    model: _Model
    added_tokens: list[_Token] = []


class _Settings(msgspec.Struct):
    """``tokenizer_config.json`` and ``special_tokens_map.json``, which become arguments of the tokenizer's class."""

    vocab: dict[str, int] | list[Any] | None = None
    merges: list[Any] | None = None
    init_inputs: Annotated[list[Any], msgspec.Meta(max_length=0)] | None = None


def load_tokenizer(name_or_path: str | Path, *, network: bool = True) -> PreTrainedTokenizerBase:
    """Load a tokenizer; no code that comes with it is run, and nothing outside of its folder is read.

    :param name_or_path: A folder, which never reaches the network, or a hub name.
    :param network: Whether the hub may be asked, or its cache on this machine alone.
    :raises HypensearchError: When its files are not what a tokenizer's are, or cannot be loaded; says why.
    """
    from transformers import AutoTokenizer

    folder = Path(name_or_path)
    try:
        if not folder.is_dir():
            folder = _from_hub(str(name_or_path), network=network and not is_offline())
        with _cleaned(folder) as cleaned, name_for_libraries(cleaned) as name:
            tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
                name, trust_remote_code=False, local_files_only=True
            )
    except HypensearchError:
        raise
    except Exception as error:  # transformers and the hub raise many kinds
        raise HypensearchError(" ".join(str(error).split())[:160]) from None
    tokenizer.name_or_path = str(name_or_path)
    return tokenizer


def has_tokenizer(folder: Path) -> bool:
    """Tell whether a folder has a tokenizer of its own."""
    return any((folder / name).is_file() for name in TOKENIZER_FILES)


def _from_hub(name: str, *, network: bool) -> Path:
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(name, allow_patterns=list(_ON_THE_HUB), local_files_only=not network))


@contextmanager
def _cleaned(folder: Path) -> Iterator[Path]:
    """Check a tokenizer's files; gives their folder, or one of links to them whose settings have no paths."""
    check_library_files(folder)
    root = root_of_checkpoint(folder)
    _check(folder / "tokenizer.json", root, _TokenizerFile)
    written = {}
    for name in _SETTINGS:
        _check(folder / name, root, _Settings)
        settings = _read_settings(folder / name, root)
        clean = {key: value for key, value in settings.items() if not _is_a_path(key, value)}
        if clean != settings:
            written[name] = json.dumps(clean)
    if not written:
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="hypensearch-") as links:
        for path in folder.iterdir():
            if path.name in written:
                Path(links, path.name).write_text(written[path.name])
            elif path.is_file():
                os.symlink(path.resolve(), os.path.join(os.fsencode(links), os.fsencode(path.name)))
        yield Path(links)


def _check(path: Path, root: Path, kind: type[msgspec.Struct]) -> None:
    if not path.is_file():
        return
    try:
        msgspec.json.decode(read_bounded(path, within=root), type=kind)
    except (OSError, RecursionError, msgspec.DecodeError) as error:
        raise HypensearchError(f"{path}: not a tokenizer's ({visible_line(error)[:200]})") from None


def _read_settings(path: Path, root: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    settings = read_json(path, within=root)
    waiting: list[Any] = [settings]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if odd := next((name for name in value if visible_line(name) != name), None):
                raise HypensearchError(f"{path}: a setting is called {odd!r}; take the checkpoint from where you trust")
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
    return settings if isinstance(settings, dict) else {}


def _is_a_path(key: str, value: object) -> bool:
    return isinstance(value, str) and key.endswith(_PATH_KEYS)
