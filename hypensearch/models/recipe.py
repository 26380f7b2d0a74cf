# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""How a backbone makes vectors of texts: read from the files of sentence-transformers, or from one of our checkpoints.

``modules.json`` names the steps, ``1_Pooling/config.json`` the pooling, ``config_sentence_transformers.json`` the
prompts and the similarity. What a Hypencoder cannot do is reported with its reason, and refused by a warm start.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from hypensearch.errors import HypensearchError
from hypensearch.formats.door import is_plain, root_of_checkpoint
from hypensearch.formats.json_files import read_json
from hypensearch.formats.schema import Short, checked
from hypensearch.models.checkpoint import BUNDLED, CONFIG, bundled_model, read_config
from hypensearch.models.config import parse_config
from hypensearch.offline import is_offline

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MODULES = "modules.json"
_POOLINGS = {"cls": "cls", "mean": "mean", "lasttoken": "last"}
_KNOWN_STEPS = (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"])
_QUERY_PROMPTS = ("query",)
_DOCUMENT_PROMPTS = ("document", "passage", "corpus")
_ON_THE_HUB = [MODULES, CONFIG, f"*/{CONFIG}", "config_sentence_transformers.json", "sentence_bert_config.json"]
_Kind = TypeVar("_Kind")


@dataclass(frozen=True)
class Recipe:
    """How a backbone makes vectors of texts.

    :param pooling: One of :data:`hypensearch.models.config.POOLINGS`.
    :param similarity: "cosine" or "dot".
    :param query_prompt: Put before every query.
    :param document_prompt: Put before every document.
    :param unsupported: What a Hypencoder does not do, in words; empty when it can do as the backbone does.
    """

    pooling: str = "cls"
    similarity: str = "cosine"
    query_prompt: str = ""
    document_prompt: str = ""
    unsupported: str = ""

    @property
    def prompts(self) -> tuple[str, str]:
        """Both prompts, the query's first."""
        return self.query_prompt, self.document_prompt

    def check_supported(self, name: str) -> None:
        """Refuse what a Hypencoder cannot do.

        :raises HypensearchError: Says what.
        """
        if self.unsupported:
            raise HypensearchError(f"{name}: {self.unsupported}; a warm start could not score as it does: start cold")


class _Module(msgspec.Struct):
    type: Short
    path: Short = ""

    @property
    def kind(self) -> str:
        return self.type.rpartition(".")[2]


class _Pooling(msgspec.Struct):
    """``1_Pooling/config.json``, in its newer form with one ``pooling_mode``."""

    pooling_mode: Short | list[Short] | None = None
    pooling_mode_cls_token: bool = False
    pooling_mode_mean_tokens: bool = False
    pooling_mode_lasttoken: bool = False
    pooling_mode_max_tokens: bool = False
    pooling_mode_mean_sqrt_len_tokens: bool = False
    pooling_mode_weightedmean_tokens: bool = False
    include_prompt: bool = True

    @property
    def modes(self) -> list[str]:
        if self.pooling_mode is not None:
            return [self.pooling_mode] if isinstance(self.pooling_mode, str) else self.pooling_mode
        prefix, flags = "pooling_mode_", msgspec.structs.asdict(self)
        chosen = [name for name, value in flags.items() if name.startswith(prefix) and value]
        return [name.removeprefix(prefix).removesuffix("_tokens").removesuffix("_token") for name in chosen] or ["mean"]


class _Settings(msgspec.Struct):
    """``config_sentence_transformers.json``."""

    prompts: dict[str, Short | None] = {}
    default_prompt_name: Short | None = None
    similarity_fn_name: Short | None = None

    def prompt(self, names: Sequence[str]) -> str:
        name = next((name for name in names if name in self.prompts), self.default_prompt_name)
        return (self.prompts.get(name) if name is not None else None) or ""


class _TextSettings(msgspec.Struct):
    """``sentence_bert_config.json``."""

    do_lower_case: bool | None = False


class _Code(msgspec.Struct):
    auto_map: dict[str, Any] | None = None


def read_recipe(name_or_path: str, tokenizer: PreTrainedTokenizerBase) -> Recipe | None:
    """Read how a backbone makes vectors.

    :param name_or_path: A folder or hub name of sentence-transformers, or a checkpoint of ours.
    :param tokenizer: The backbone's.
    :return: None where the files do not say: a plain transformer.
    :raises HypensearchError: When a file is damaged.
    """
    folder = _folder(name_or_path)
    if folder is None:
        return None
    if is_dual_encoder(folder):
        config = parse_config(read_config(folder), str(folder / CONFIG))
        similarity = "dot" if config.kind == "biencoder" else "cosine"
        return Recipe(config.document_pooling, similarity, config.query_prompt, config.document_prompt)
    if not (modules := _modules(folder)):
        return None
    paths = {module.kind: module.path for module in modules}
    settings = _read(folder, "config_sentence_transformers.json", _Settings) or _Settings()
    pooling = _read(folder, f"{paths.get('Pooling', '')}/{CONFIG}", _Pooling) or _Pooling()
    recipe = Recipe(
        pooling=_POOLINGS.get(pooling.modes[0], ""),
        similarity="cosine" if "Normalize" in paths else settings.similarity_fn_name or "cosine",
        query_prompt=settings.prompt(_QUERY_PROMPTS),
        document_prompt=settings.prompt(_DOCUMENT_PROMPTS),
    )
    of_transformer = paths.get("Transformer", "")
    text = _read(folder, f"{of_transformer}/sentence_bert_config.json", _TextSettings) or _TextSettings()
    code = (_read(folder, f"{of_transformer}/{CONFIG}", _Code) or _Code()).auto_map or {}
    lowers = bool(text.do_lower_case) and tokenizer("A Word")["input_ids"] != tokenizer("a word")["input_ids"]
    has_prompts = bool(recipe.query_prompt or recipe.document_prompt)
    reasons = {
        f"its vectors go through {', '.join(paths)}": [*paths] not in _KNOWN_STEPS,
        f"it pools by {' and '.join(pooling.modes)}": len(pooling.modes) != 1 or not recipe.pooling,
        f"it compares vectors by {recipe.similarity}": recipe.similarity not in ("cosine", "dot"),
        "it leaves the prompt's tokens out when it pools": has_prompts and not pooling.include_prompt,
        "it puts texts in lower case, which its tokenizer does not": lowers,
        "code of its own makes its vectors, which is not run": "AutoModel" in code,
    }
    return replace(recipe, unsupported="; ".join(reason for reason, applies in reasons.items() if applies))


def transformer_folder(name_or_path: str) -> str:
    """Return where the transformer of a backbone lies: its own name, but for folders of older sentence-transformers."""
    folder = Path(name_or_path).expanduser()
    if not is_plain(folder / MODULES):
        return name_or_path
    path = next((module.path for module in _modules(folder) if module.kind == "Transformer"), "")
    return str(folder / path) if path and is_plain(folder / path / CONFIG, root_of_checkpoint(folder)) else name_or_path


def is_dual_encoder(folder: Path) -> bool:
    """Return whether a folder holds a checkpoint of a Hypencoder or bi-encoder."""
    return is_plain(folder / CONFIG) and "passage_encoder_kwargs" in read_config(folder)


def _folder(name_or_path: str) -> Path | None:
    """Return a backbone's folder, or that of its small files from the hub; None when it cannot be had."""
    if name_or_path == BUNDLED:
        return bundled_model()
    if (folder := Path(name_or_path).expanduser()).is_dir():
        return folder
    from huggingface_hub import snapshot_download

    for local_only in (True,) if is_offline() else (True, False):
        with suppress(Exception):  # the hub's client raises many kinds
            found = Path(snapshot_download(name_or_path, allow_patterns=_ON_THE_HUB, local_files_only=local_only))
            if (found / CONFIG).is_file():
                return found
    return None


def _modules(folder: Path) -> list[_Module]:
    return _read(folder, MODULES, list[_Module]) or []


def _read(folder: Path, name: str, kind: type[_Kind]) -> _Kind | None:
    """Read a file of facts; None where there is none."""
    path, root = folder / name.lstrip("/"), root_of_checkpoint(folder)
    if not is_plain(path, root):
        return None
    try:
        return checked(read_json(path, within=root), kind)
    except (OSError, ValueError) as error:
        raise HypensearchError(f"{path}: not a file of sentence-transformers ({error})") from None
