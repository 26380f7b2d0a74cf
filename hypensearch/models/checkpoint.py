# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints on disk: finding one, reading its weights without running code, comparing them with the model's."""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hypensearch.errors import HypensearchError
from hypensearch.formats.door import is_plain, root_of_checkpoint
from hypensearch.formats.files import name_for_libraries, replace_when_whole, sha256_of
from hypensearch.formats.json_files import parse_json, read_json
from hypensearch.models import bundled
from hypensearch.models.checkpoint_folder import CONFIG, checkpoint_folder
from hypensearch.models.compact import METADATA_KEY, expand
from hypensearch.offline import is_offline

COMPACT = "weights.compact.safetensors"
CHECKSUMS = "checksums"
_MOST_NAMES = 1000
WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin", COMPACT)
CHECKED_FILES = (
    *WEIGHT_FILES,
    *("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json", "added_tokens.json"),
)
SPLIT_FILES = {
    "model.safetensors.index.json": "model-*.safetensors",
    "pytorch_model.bin.index.json": "pytorch_model-*.bin",
}
_PART = re.compile(r"((?:pytorch_)?model)-(\d{5})-of-(\d{5})\.(safetensors|bin)")
_HUB_FILES = (CONFIG, "tokenizer*", "vocab.txt", "special_tokens_map.json")

# From our parameter names to the released ones, tried in order.
_RENAMES = ((re.compile(r"^query_encoder\.hyper_head\."), "query_encoder."),)
# Parameters that no score depends on: absent from our model, and ignored where a file has them.
_IGNORED = re.compile(r"\.transformer\.(pooler\.|embeddings\.(position_ids|token_type_ids)$)")


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
    if name_or_path == bundled.NAME:
        return bundled.bundled_model()
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name_or_path) or name_or_path.startswith("."):
        raise HypensearchError(f"{name_or_path}: no such folder, and not a hub name such as jfkback/hypencoder.6_layer")
    return _download(name_or_path, revision, network=network and not is_offline())


def is_local(name_or_path: str) -> bool:
    """Tell whether :func:`find_checkpoint` finds a name without the hub."""
    return _folder(name_or_path).exists() or name_or_path == bundled.NAME


def _folder(name_or_path: str) -> Path:
    try:
        folder = Path(name_or_path).expanduser()
        folder.exists()
    except (OSError, RuntimeError, ValueError) as error:  # too long, nobody's home, a null byte, half a character
        raise HypensearchError(f"{name_or_path[:100]!r}: no such folder, and no hub name ({error})") from None
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


def read_weights(folder: Path) -> tuple[dict[str, Tensor], Path]:
    """Read a checkpoint's tensors, under the names of the file, and say from which file.

    Safetensors is preferred; a ``pytorch_model.bin`` is read with ``weights_only``, which runs no code. Where there is
    no such file, one that is split into parts is read, by its index if it has one.

    :raises HypensearchError: When there is no weight file, or it is damaged, or it holds more than tensors; when parts
        of a split one are missing, or do not hold what the index says.
    """
    root = root_of_checkpoint(folder)
    path = next((folder / name for name in WEIGHT_FILES if is_plain(folder / name, root)), None)
    if path is not None:
        return _read_file(path), path
    for index in (folder / name for name in SPLIT_FILES):
        if is_plain(index, root):
            return _read_parts(folder, _parts_of_index(index, root), index), index
    if parts := _numbered_parts(folder):
        return _read_parts(folder, dict.fromkeys(parts), folder / parts[0]), folder / parts[0]
    raise HypensearchError(f"{folder}: no weights, wanted {' or '.join(WEIGHT_FILES)}, or their parts with an index")


def _parts_of_index(index: Path, root: Path) -> dict[str, set[str] | None]:
    """Return the files that an index names, and the tensors that are said to be in each."""
    try:
        weight_map = read_json(index, within=root)["weight_map"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise HypensearchError(f"{index}: no index of a split checkpoint ({type(error).__name__}: {error})") from None
    if not isinstance(weight_map, dict) or not weight_map:
        raise HypensearchError(f"{index}: its weight_map names no weights")
    suffix = ".safetensors" if index.name.startswith("model.safetensors") else ".bin"
    parts: dict[str, set[str] | None] = {}
    for tensor, name in weight_map.items():
        if not isinstance(name, str) or Path(name).name != name or not name.endswith(suffix) or "\0" in name:
            raise HypensearchError(f"{index}: {tensor} is said to be in {name!r}: wanted a {suffix} file beside it")
        tensors = parts.setdefault(name, set())
        assert tensors is not None
        tensors.add(tensor)
    return parts


def _numbered_parts(folder: Path) -> list[str]:
    """Return the parts of a checkpoint without an index, by their numbers."""
    found = sorted(path.name for path in folder.iterdir() if _PART.fullmatch(path.name))
    kinds = {_PART.sub(r"\1 \3 \4", name) for name in found}
    if len(kinds) > 1:
        raise HypensearchError(f"{folder}: parts of several checkpoints, such as {found[0]} and {found[-1]}")
    for kind in kinds:
        number = kind.split()[1]
        if len(found) != int(number):
            raise HypensearchError(
                f"{folder}: {len(found)} of {int(number)} parts of its weights are there ({found[0]}, ...)"
            )
    return found


def _read_parts(folder: Path, parts: Mapping[str, set[str] | None], index: Path) -> dict[str, Tensor]:
    """Read the parts of a split checkpoint, in which each tensor has to be once.

    :param parts: Names of files, with the tensors they have to hold; None for any.
    """
    root = root_of_checkpoint(folder)
    if missing := sorted(name for name in parts if not is_plain(folder / name, root)):
        raise HypensearchError(f"{index}: {len(missing)} of its {len(parts)} files are not there, such as {missing[0]}")
    weights: dict[str, Tensor] = {}
    for name, wanted in parts.items():
        part = _read_file(folder / name)
        wrong = set(part) ^ wanted if wanted is not None else set(part) & set(weights)
        if wrong:
            raise HypensearchError(
                f"{folder / name}: does not hold just the weights that {index.name} says, or other parts hold "
                f"them too; {len(wrong)} differ, such as {min(wrong)}"
            )
        weights |= part
    return weights


def _read_file(path: Path) -> dict[str, Tensor]:
    try:
        with name_for_libraries(path) as name:
            weights = _read_safetensors(name) if path.suffix == ".safetensors" else _read_bin(name)
    except Exception as error:  # both readers raise many kinds for damaged files
        reason = " ".join(str(error).split())[:200]
        raise HypensearchError(f"{path}: damaged, or not a file of plain tensors ({reason})") from None
    if not isinstance(weights, Mapping) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise HypensearchError(f"{path}: holds something else than named tensors")
    for name, tensor in weights.items():
        if (flaw := _flaw_of(name, tensor)) is not None:
            raise HypensearchError(f"{path}: {str(name)[:200]}: {flaw}; wanted named, dense tensors of floats")
    return dict(weights)


def _flaw_of(name: object, tensor: Tensor) -> str | None:
    """Say what keeps a tensor from being copied into a model; None when nothing does."""
    if not isinstance(name, str):
        return f"has a {type(name).__name__} as its name"
    if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_meta:
        kind = "quantised" if tensor.is_quantized else "without content" if tensor.is_meta else tensor.layout
        return f"is {kind}"
    if tensor.dtype not in _FLOATS and not _IGNORED.search(name):
        return f"is of {tensor.dtype}"
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        return f"says that it is {tuple(tensor.shape)}, and has no room for that"
    return None


_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def write_weights(weights: Mapping[str, Tensor], folder: Path, *, compact: bool = False) -> None:
    """Write a checkpoint's tensors.

    :param compact: See :mod:`hypensearch.models.compact`.
    """
    from safetensors.torch import save_file

    from hypensearch.models.compact import save_compact

    name = COMPACT if compact else "model.safetensors"
    # safetensors writes to a name, so it gets that of the open file
    with replace_when_whole(folder / name, follow_link=False) as file, name_for_libraries(file.name) as file_name:
        if compact:
            save_compact(weights, Path(file_name))
        else:
            save_file(dict(weights), file_name, metadata={"format": "pt"})


def write_config(raw: Mapping[str, Any], folder: Path) -> None:
    """Write a checkpoint's ``config.json``."""
    with replace_when_whole(folder / CONFIG, "w", follow_link=False) as file:
        file.write(json.dumps(raw, indent=2) + "\n")


def with_checksums(raw: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return a configuration that knows the digests of the files beside it, and its own."""
    facts = {key: value for key, value in raw.items() if key != CHECKSUMS}
    files = {name: sha256_of(folder / name) for name in CHECKED_FILES if (folder / name).is_file()}
    return {**facts, CHECKSUMS: {**files, CONFIG: _digest_of(facts)}}


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
        root = root_of_checkpoint(folder)
        if (_digest_of(facts) if name == CONFIG else sha256_of(folder / name, root)) != digest:
            raise HypensearchError(
                f"{folder / name}: has changed since the checkpoint was written; copy the checkpoint anew (or, when "
                f"the change is meant, remove {CHECKSUMS!r} from its {CONFIG})"
            )


def _digest_of(facts: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def load_weights(model: torch.nn.Module, weights: Mapping[str, Tensor], *, shared: bool, where: Path) -> None:
    """Copy a file's tensors into a model, all of them or none.

    :param model: The model, its parameters under our names.
    :param weights: Tensors under the released names.
    :param shared: Whether the two sides' transformers are one; a file may then have it under either name or both.
    :param where: The file, for messages.
    :raises HypensearchError: Lists by name every missing, unknown or misshapen tensor.
    """
    found, wanted = check_fit(model, weights, shared=shared, where=where)
    not_finite = [name for name in wanted if not torch.isfinite(found[name]).all()]
    if not_finite:
        raise HypensearchError(f"{where}: NaN or infinity in {_listed(not_finite)}")
    with torch.no_grad():
        for name, tensor in wanted.items():
            tensor.copy_(found[name])


def check_fit(
    model: torch.nn.Module, weights: Mapping[str, Tensor], *, shared: bool, where: Path
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Compare a file's tensors with a model's, which may be one without memory (on the device ``meta``).

    Parameters as :func:`load_weights`'s.

    :return: The file's tensors and the model's, by the same names.
    :raises HypensearchError: Lists by name every missing, unknown or misshapen tensor.
    """
    weights = _merge_shared(weights, where) if shared else dict(weights)
    wanted = {released_name(name): tensor for name, tensor in model.state_dict().items()}
    wanted = {name: tensor for name, tensor in wanted.items() if not _IGNORED.search(name)}
    if shared:
        wanted = {name: tensor for name, tensor in wanted.items() if not name.startswith("passage_encoder.")}
    found = {name: tensor for name, tensor in weights.items() if not _IGNORED.search(name)}
    _check_names(found, wanted, where)
    return found, wanted


def released_name(name: str) -> str:
    """Translate one of our parameter names to the released checkpoints' name."""
    for pattern, replacement in _RENAMES:
        name = pattern.sub(replacement, name)
    return name


def fingerprint(facts: str, tensors: Iterable[tuple[str, Tensor]]) -> str:
    """Identify weights, whatever file, dtype on disk or machine they came from.

    :param facts: What else the result depends on.
    :param tensors: The weights by name, in any order.
    :return: 32 hexadecimal digits of a hash over all names, shapes and values.
    """
    digest = hashlib.sha256(facts.encode())
    for name, tensor in sorted(tensors):
        digest.update(f"{name} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().to(device="cpu", dtype=torch.float32).contiguous().numpy().data)
    return digest.hexdigest()[:32]


def _check_names(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], where: Path) -> None:
    problems = [
        ("missing", sorted(set(wanted) - set(found))),
        ("unknown", sorted(set(found) - set(wanted))),
        (
            "misshapen",
            [
                f"{name} {tuple(found[name].shape)} instead of {tuple(wanted[name].shape)}"
                for name in sorted(set(found) & set(wanted))
                if found[name].shape != wanted[name].shape
            ],
        ),
    ]
    listed = [f"{len(names)} {kind}: {_listed(names)}" for kind, names in problems if names]
    if listed:
        raise HypensearchError(
            f"{where}: the weights do not fit the model that config.json describes; {'; '.join(listed)}"
        )


def _listed(names: Iterable[str]) -> str:
    """Name all tensors of any model there is; a stranger's file may have more."""
    return ", ".join(name[:200] for name in sorted(names)[:_MOST_NAMES])


def _merge_shared(weights: Mapping[str, Tensor], where: Path) -> dict[str, Tensor]:
    """Fold the document side's names into the query side's, where both are one transformer."""
    merged = {name: tensor for name, tensor in weights.items() if not name.startswith("passage_encoder.")}
    for name, tensor in weights.items():
        if not name.startswith("passage_encoder."):
            continue
        query_name = "query_encoder." + name.removeprefix("passage_encoder.")
        if query_name in merged and not _equal(merged[query_name], tensor):
            raise HypensearchError(
                f"{where}: config.json says that the encoder is shared, but {query_name} and {name} differ"
            )
        merged[query_name] = tensor
    return merged


def _equal(a: Tensor, b: Tensor) -> bool:
    return a.data_ptr() == b.data_ptr() or torch.equal(a, b)


def _read_safetensors(path: str) -> dict[str, Tensor]:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:  # type: ignore[no-untyped-call]
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        facts = (file.metadata() or {}).get(METADATA_KEY)
    return tensors if facts is None else expand(tensors, parse_json(facts))


def _read_bin(path: str) -> Any:
    is_archive = zipfile.is_zipfile(path)  # not so before torch 1.6; such files cannot be mapped
    if is_archive:
        with zipfile.ZipFile(path) as archive:
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                raise ValueError("packed, which torch never does")
    return torch.load(path, map_location="cpu", weights_only=True, mmap=is_archive)


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
        raise HypensearchError(
            f"{name}: no such folder here, and the hub does not give it (not in its cache on this machine; the hub "
            "itself is not asked offline, or for a name out of a file): name it with --encoder, or give a folder"
        )
    raise HypensearchError(
        f"{name}: no such folder here, and the hub does not give it ({reason}): give the folder of a checkpoint"
    )
