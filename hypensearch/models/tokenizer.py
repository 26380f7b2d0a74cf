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
import re
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from hypensearch.errors import HypensearchError
from hypensearch.formats.door import read_plain, root_of_checkpoint, stat_plain
from hypensearch.formats.files import name_for_libraries
from hypensearch.formats.json_files import MAX_BYTES, read_json
from hypensearch.offline import is_offline
from hypensearch.printing import visible_line

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "tokenizer.model", "vocab.json", "sentencepiece.bpe.model")
_SETTINGS = ("tokenizer_config.json", "special_tokens_map.json")
_OTHERS = ("config.json", "added_tokens.json", "merges.txt", "bpe.codes", "spiece.model", "spm.model")
_ON_THE_HUB = (*TOKENIZER_FILES, *_SETTINGS, *_OTHERS)
_PATH_KEYS = ("_file", "_ckpt", "_spm")
_WEIGHTS = (".safetensors", ".bin")
_READ_BY_LIBRARIES = (".json", ".txt", ".model", ".jinja", ".vocab", ".bpe", ".tiktoken", *_WEIGHTS)

_LONE_SURROGATES = re.compile("[\ud800-\udfff]")  # no characters, which tokenizers refuse
_TOKENIZING = threading.Lock()  # a tokenizer keeps the length to cut to, so threads would cut at each other's


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


def tokenize(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], max_length: int) -> dict[str, Tensor]:
    """Return ``input_ids`` and ``attention_mask`` of texts, *Shape:* ``(len(texts), seq_len)``, padded behind the text.

    :param max_length: Tokens kept of each text, special ones included.
    """
    texts = [_LONE_SURROGATES.sub("\ufffd", text) for text in texts]
    with _TOKENIZING:
        batch = tokenizer(texts, padding=True, truncation=True, max_length=max_length, return_tensors="pt")
    return {key: batch[key] for key in ("input_ids", "attention_mask")}


def prepared_tokenizer(tokenizer: PreTrainedTokenizerBase, where: str) -> PreTrainedTokenizerBase:
    """Have a tokenizer pad behind the text: the first token's state is pooled, and positions count from it.

    :param where: What it belongs to, for messages.
    :raises HypensearchError: When it has no pad token.
    """
    if tokenizer.pad_token_id is None:
        raise HypensearchError(
            f"{where}: its tokenizer has no pad token, so texts of a batch cannot be brought to one length: name one "
            "as pad_token in tokenizer_config.json"
        )
    tokenizer.padding_side = "right"
    return tokenizer


def has_tokenizer(folder: Path) -> bool:
    """Return whether a folder has a tokenizer of its own."""
    return any((folder / name).is_file() for name in TOKENIZER_FILES)


def load_tokenizer(name_or_path: str | Path, *, network: bool = True) -> PreTrainedTokenizerBase:
    """Load a tokenizer without running code of others.

    :param name_or_path: A folder, which then never reaches the network, or a hub name.
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


def save_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write a tokenizer without the length and the padding of its last use."""
    if (backend := getattr(tokenizer, "backend_tokenizer", None)) is not None:
        with _TOKENIZING:
            backend.no_truncation()
            backend.no_padding()
    with name_for_libraries(folder) as name:
        tokenizer.save_pretrained(name)


@contextmanager
def pretrained(name_or_path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Give a name and options for ``from_pretrained`` of transformers: no code of others, no network for a folder.

    :param name_or_path: A folder or a hub name.
    :raises HypensearchError: When the folder holds what must not be read.
    """
    folder = Path(name_or_path).expanduser()
    if folder.is_dir():
        check_library_files(folder)
    options = {"trust_remote_code": False, "local_files_only": folder.exists() or is_offline()}
    if not Path(name_or_path).exists():
        yield name_or_path, options
        return
    with name_for_libraries(name_or_path) as name:
        yield name, options


def check_library_files(folder: Path) -> None:
    """Check what libraries will read in a folder: plain files of it, of a size that such files have.

    :raises HypensearchError: Names what is a link out of it, a pipe, a device or too large.
    """
    root = root_of_checkpoint(folder)
    for path in sorted(folder.iterdir()):
        if path.suffix not in _READ_BY_LIBRARIES or (path.is_dir() and not path.is_symlink()):
            continue
        try:
            size = stat_plain(path, root).st_size
        except OSError as error:
            raise HypensearchError(f"{path}: {error.strerror}; take the checkpoint from where you trust") from None
        if size > MAX_BYTES and path.suffix not in _WEIGHTS:
            raise HypensearchError(f"{path}: {size:,} bytes, more than {MAX_BYTES:,}: no tokenizer has such a file")
        if path.name.endswith(".index.json"):
            _check_parts(path, root)


def _check_parts(index: Path, root: Path) -> None:
    """Check that weights in parts lie beside their index."""
    try:
        parts = read_json(index, within=root)["weight_map"].values()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # reported by the reader of the weights
        return
    if odd := next((part for part in parts if not isinstance(part, str) or "/" in part), None):
        raise HypensearchError(f"{index}: names {odd!r} as a part of the weights, which lie beside it")


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
        clean = {k: value for k, value in settings.items() if not (isinstance(value, str) and k.endswith(_PATH_KEYS))}
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
        msgspec.json.decode(read_plain(path, within=root), type=kind)
    except (OSError, RecursionError, msgspec.DecodeError) as error:
        raise HypensearchError(f"{path}: not a tokenizer's ({visible_line(error)[:200]})") from None


def _read_settings(path: Path, root: Path) -> dict[str, Any]:
    """Read settings, none of whose names, at any depth, may hold what a terminal would obey."""
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
