# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The transformer under an encoder: where its configuration comes from, and how it is built.

A released checkpoint holds a transformer's weights but not its configuration, only the name of the model it was
started from. Head counts, for one, cannot be read off the weights, so a configuration is found or asked for,
never guessed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypensearch.errors import HypensearchError
from hypensearch.formats.door import is_plain
from hypensearch.formats.json_files import read_json
from hypensearch.models.encoder_check import check_takes_text
from hypensearch.offline import is_offline

if TYPE_CHECKING:
    from torch import nn
    from transformers import PretrainedConfig

logger = logging.getLogger(__name__)

BACKBONE_FLAG = "--backbone-config"


def _bert(layers: int, hidden: int, heads: int, vocab_size: int = 30522) -> dict[str, Any]:
    sizes = {"num_hidden_layers": layers, "hidden_size": hidden, "num_attention_heads": heads}
    return {"model_type": "bert", **sizes, "intermediate_size": 4 * hidden, "vocab_size": vocab_size}


_BERT_BASE = _bert(12, 768, 12)
_DISTILBERT = {"model_type": "distilbert"}

WELL_KNOWN: Mapping[str, Mapping[str, Any]] = {
    "bert-base-uncased": _BERT_BASE,
    "bert-large-uncased": _bert(24, 1024, 16),
    "bert-base-cased": _bert(12, 768, 12, vocab_size=28996),
    "bert-large-cased": _bert(24, 1024, 16, vocab_size=28996),
    "distilbert-base-uncased": _DISTILBERT,
    "distilbert/distilbert-base-uncased": _DISTILBERT,
    "sentence-transformers/msmarco-distilbert-base-tas-b": _DISTILBERT,
    "facebook/contriever": _BERT_BASE,
    "facebook/contriever-msmarco": _BERT_BASE,
    **{f"shitao/retromae{name}": _BERT_BASE for name in ("", "_msmarco", "_msmarco_finetune", "_beir")},
    "baai/bge-base-en-v1.5": _BERT_BASE,
    "baai/bge-small-en-v1.5": _bert(12, 384, 12),
    "intfloat/e5-base-v2": _BERT_BASE,
    "microsoft/minilm-l12-h384-uncased": _bert(12, 384, 12),
    "nreimers/minilm-l6-h384-uncased": _bert(6, 384, 12),
    "sentence-transformers/all-minilm-l6-v2": _bert(6, 384, 12),
    "sentence-transformers/all-minilm-l12-v2": _bert(12, 384, 12),
    **{
        f"google/bert_uncased_l-{layers}_h-{hidden}_a-{hidden // 64}": _bert(layers, hidden, hidden // 64)
        for layers in (2, 4, 6, 8, 10, 12)
        for hidden in (128, 256, 512, 768)
    },
}
"""Configurations of backbones by lower-case hub name, for machines that cannot reach the hub."""

# What would have transformers load code, or weights of other kinds.
_LOADS_MORE = {"auto_map", "quantization_config", "custom_pipelines", "experts_implementation"}
_LOADS_MORE |= {"_experts_implementation", "attn_implementation", "_attn_implementation"}
_LOADS_MORE |= {"_attn_implementation_internal"}
_MOST = {"layer": 256, "block": 1024, "group": 1024, "expert": 1024, "depth": 1024, "position": 2**20}
_MOST_VALUES = 4096
_NOT_ASKED = "in the hub's cache (the hub itself is asked only for checkpoints that are named by their hub names)"


def find_backbone_config(
    name: str,
    *,
    checkpoint: Path,
    embedded: Mapping[str, Any] | None = None,
    given: str | None = None,
    network: bool = True,
) -> PretrainedConfig:
    """Find a transformer's configuration.

    Looked for in this order: the one given by the user, the one embedded in the checkpoint's config, a local folder
    of that name (as it stands, in the checkpoint, beside it), the hub's cache, the hub, the table of well-known
    backbones.

    :param name: Hub name or folder, as the checkpoint gives it.
    :param checkpoint: The checkpoint's folder.
    :param embedded: The configuration the checkpoint embeds.
    :param given: Hub name, folder or ``config.json`` file given by the user.
    :param network: Whether the hub may be asked for the checkpoint's ``name``; its cache is looked at anyway.
    :raises HypensearchError: When none can be had; names the flag to give it with.
    """
    if given:
        return _given(given)
    if embedded:
        return _from_dict(embedded, f"{checkpoint}/config.json: backbone_configs")
    if folder := local_folder(name, checkpoint):
        return _from_file(folder / "config.json")
    if (config := _from_hub_or_table(name, network=network)) is None:
        raise HypensearchError(
            f"{checkpoint}: the configuration of its backbone {name!r} is neither in a folder of that name, nor "
            f"{'on the hub (not reachable, or no such model)' if network else _NOT_ASKED}, nor among the "
            f"{len(WELL_KNOWN)} well-known ones: give it with {BACKBONE_FLAG} FOLDER_OR_CONFIG_JSON"
        )
    return config


def local_folder(name: str, checkpoint: Path) -> Path | None:
    """Return the local folder that a checkpoint's ``model_name_or_path`` means, if there is one.

    A relative name is looked for beside the checkpoint and in it, then in the working directory.
    """
    if not name:
        return None
    given = Path(name).expanduser()
    places = [given] if given.is_absolute() else [checkpoint.parent / given, checkpoint / given, given]
    return next((place for place in places if is_plain(place / "config.json")), None)


def build_transformer(config: PretrainedConfig) -> nn.Module:
    """Build a transformer without its pooler, its weights not yet meaningful.

    :raises HypensearchError: When transformers does not know the architecture, or it is no encoder of text.
    """
    import torch

    try:
        with torch.random.fork_rng(devices=[]), _without_init():
            transformer = auto_class(config).from_config(config, dtype=torch.float32, trust_remote_code=False)
    except Exception as error:  # whatever transformers and torch raise for sizes that cannot be
        raise HypensearchError(
            f"no transformer can be built from its configuration of model_type {config.model_type!r} ({_reason(error)})"
        ) from None
    without_pooler(transformer)
    check_takes_text(transformer)
    return transformer


def auto_class(config: PretrainedConfig) -> Any:
    """Return the class of transformers that loads an encoder: of T5 and its kin the encoder alone.

    :raises HypensearchError: For other models of an encoder and a decoder.
    """
    from transformers import AutoModel, AutoModelForTextEncoding

    kind, whole, encoders = type(config), AutoModel._model_mapping, AutoModelForTextEncoding._model_mapping
    if kind in encoders and kind in whole and encoders[kind] is not whole[kind]:
        return AutoModelForTextEncoding
    if getattr(config, "is_encoder_decoder", False):
        raise HypensearchError(
            f"a transformer of model_type {config.model_type!r} has an encoder and a decoder: wanted an encoder alone, "
            "as BERT is"
        )
    return AutoModel


def without_pooler(transformer: nn.Module) -> None:
    """Take a transformer's pooler out, which no token state depends on, and put in what some models call unasked."""
    from torch import nn

    if getattr(transformer, "pooler", None) is not None:
        transformer.pooler = nn.Identity()


@contextmanager
def _without_init() -> Iterator[None]:
    """Skip drawing start values that a checkpoint overwrites anyway: most of the loading time."""
    from torch import nn

    names = ("normal_", "uniform_", "trunc_normal_", "kaiming_uniform_", "xavier_uniform_")
    saved = {name: getattr(nn.init, name) for name in names}
    try:
        for name in names:
            setattr(nn.init, name, lambda tensor, *args, **kwargs: tensor)
        yield
    finally:
        for name, function in saved.items():
            setattr(nn.init, name, function)


def _given(given: str) -> PretrainedConfig:
    path = Path(given).expanduser()
    if path.exists():
        return _from_file(path / "config.json" if path.is_dir() else path)
    if (config := _from_hub_or_table(given, network=True)) is None:
        raise HypensearchError(f"{BACKBONE_FLAG} {given}: no such file or folder, and no such model on a reachable hub")
    return config


def _from_hub_or_table(name: str, *, network: bool) -> PretrainedConfig | None:
    config = _from_hub(name, network=network)
    known = WELL_KNOWN.get(name.lower().strip("/").removeprefix("google-bert/"))
    if config is None and known is not None:
        logger.info("The hub cannot be reached: taking the built-in configuration of %s", name)
        return _from_dict(known, f"table of well-known backbones: {name}")
    return config


def _from_file(path: Path) -> PretrainedConfig:
    try:
        raw = read_json(path)
    except (OSError, ValueError) as error:
        raise HypensearchError(f"{path}: not a readable config.json of a transformer ({error})") from None
    return _from_dict(raw, str(path))


def _from_dict(raw: Mapping[str, Any], where: str) -> PretrainedConfig:
    from transformers import AutoConfig

    if not isinstance(raw, Mapping) or not isinstance(raw.get("model_type"), str):
        raise HypensearchError(f"{where}: not the configuration of a transformer, model_type is missing")
    options = {key: value for key, value in _harmless(raw).items() if key != "model_type"}
    _check_numbers(options, where)
    try:
        return AutoConfig.for_model(raw["model_type"], **options)
    except Exception as error:  # transformers raises many kinds for values that it does not take
        raise HypensearchError(
            f"{where}: the configuration of a {raw['model_type']!r} that transformers does not take ({_reason(error)})"
        ) from None


def _harmless(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _harmless(value) if isinstance(value, Mapping) else value
        for key, value in facts.items()
        if key not in _LOADS_MORE
    }


def _check_numbers(facts: Mapping[str, Any], where: str) -> None:
    """Refuse sizes that would have a transformer built for hours before they are compared with any weights."""
    for key, value in facts.items():
        numbers = [number for number in (value if isinstance(value, list) else [value]) if type(number) is int]
        most = next((most for word, most in _MOST.items() if word in key), 2**26)
        if max(map(abs, numbers), default=0) > most or (isinstance(value, list) and len(value) > _MOST_VALUES):
            raise HypensearchError(f"{where}: {key} is {str(value)[:40]}: no transformer has more than {most:,}")
        if isinstance(value, Mapping):
            _check_numbers(value, where)


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _from_hub(name: str, *, network: bool) -> PretrainedConfig | None:
    """Return a configuration from the hub's cache or the hub, None when neither has it."""
    from huggingface_hub import hf_hub_download

    for local_only in (True, False) if network and not is_offline() else (True,):
        try:
            return _from_file(Path(hf_hub_download(name, "config.json", local_files_only=local_only)))
        except HypensearchError:
            raise
        except Exception as error:  # the hub's client raises many kinds; all mean that it cannot give the file
            logger.debug("hub: %s: %s", name, error)
    return None
