# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The tensors of a checkpoint: read without running code, compared with a model's, copied into it, written.

Files have the released code's names; :data:`_RENAMES` is where ours differ.
"""

from __future__ import annotations

import hashlib
import re
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hypensearch.errors import HypensearchError
from hypensearch.formats.door import is_plain, root_of_checkpoint
from hypensearch.formats.files import name_for_libraries, replace_when_whole
from hypensearch.formats.json_files import parse_json, read_json
from hypensearch.models.compact import METADATA_KEY, expand, save_compact

COMPACT = "weights.compact.safetensors"
WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin", COMPACT)
SPLIT_FILES = {
    "model.safetensors.index.json": "model-*.safetensors",
    "pytorch_model.bin.index.json": "pytorch_model-*.bin",
}

# From our parameter names to the released ones, tried in order.
_RENAMES = ((re.compile(r"^query_encoder\.hyper_head\."), "query_encoder."),)
# Parameters that no score depends on: absent from our model, and ignored where a file has them.
_IGNORED = re.compile(r"\.transformer\.(pooler\.|embeddings\.(position_ids|token_type_ids)$)")
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_MOST_NAMES = 1000  # named in a message: all of any real model


def released_name(name: str) -> str:
    """Translate one of our parameter names to the released checkpoints' name."""
    for pattern, replacement in _RENAMES:
        name = pattern.sub(replacement, name)
    return name


def released_weights(model: nn.Module, *, shared: bool) -> dict[str, Tensor]:
    """Return a dual encoder's weights under the released names.

    :param shared: Whether both sides are one transformer, whose weights are then returned once.
    """
    weights = {released_name(name): tensor for name, tensor in model.state_dict().items()}
    if shared:
        weights = {name: tensor for name, tensor in weights.items() if not name.startswith("passage_encoder.")}
    # tied ones, such as T5's embeddings, would be refused by safetensors
    seen: set[int] = set()
    for name, tensor in weights.items():
        weights[name] = tensor.clone() if tensor.data_ptr() in seen else tensor.contiguous()
        seen.add(tensor.data_ptr())
    return weights


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


def read_weights(folder: Path) -> tuple[dict[str, Tensor], Path]:
    """Read a checkpoint's tensors, under the names of the file, and return that file as well.

    Safetensors is preferred; a ``pytorch_model.bin`` is read with ``weights_only``, which runs no code. Without any
    such file, one that is split into parts is read by its index.

    :raises HypensearchError: When there is no weight file, or it is damaged, or it holds more than tensors; when parts
        of a split one are missing, or do not hold what the index says.
    """
    root = root_of_checkpoint(folder)
    for path in (folder / name for name in (*WEIGHT_FILES, *SPLIT_FILES)):
        if is_plain(path, root):
            return (_read_parts(path, root) if path.name in SPLIT_FILES else _read_file(path)), path
    raise HypensearchError(f"{folder}: no weights, wanted {' or '.join(WEIGHT_FILES)}, or their parts with an index")


def write_weights(weights: Mapping[str, Tensor], folder: Path, *, compact: bool = False) -> None:
    """Write a checkpoint's tensors.

    :param compact: See :mod:`hypensearch.models.compact`.
    """
    from safetensors.torch import save_file

    # safetensors writes to a name, so it gets that of the open file
    name = COMPACT if compact else "model.safetensors"
    with replace_when_whole(folder / name, follow_link=False) as file, name_for_libraries(file.name) as file_name:
        if compact:
            save_compact(weights, Path(file_name))
        else:
            save_file(dict(weights), file_name, metadata={"format": "pt"})


def load_weights(model: nn.Module, weights: Mapping[str, Tensor], *, shared: bool, where: Path) -> None:
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
    model: nn.Module, weights: Mapping[str, Tensor], *, shared: bool, where: Path
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Compare a file's tensors with a model's, which may be one without memory (on the device ``meta``).

    Parameters as :func:`load_weights`'s.

    :return: The file's tensors and the model's, by the same names.
    :raises HypensearchError: Lists by name every missing, unknown or misshapen tensor.
    """
    weights = _merge_shared(weights, where) if shared else weights
    found = {name: tensor for name, tensor in weights.items() if not _IGNORED.search(name)}
    wanted = {released_name(name): tensor for name, tensor in model.state_dict().items()}
    wanted = {
        name: tensor
        for name, tensor in wanted.items()
        if not _IGNORED.search(name) and not (shared and name.startswith("passage_encoder."))
    }
    problems = {
        "missing": sorted(set(wanted) - set(found)),
        "unknown": sorted(set(found) - set(wanted)),
        "misshapen": [
            f"{name} {tuple(found[name].shape)} instead of {tuple(wanted[name].shape)}"
            for name in sorted(set(found) & set(wanted))
            if found[name].shape != wanted[name].shape
        ],
    }
    if listed := [f"{len(names)} {kind}: {_listed(names)}" for kind, names in problems.items() if names]:
        raise HypensearchError(
            f"{where}: the weights do not fit the model that config.json describes; {'; '.join(listed)}"
        )
    return found, wanted


def _listed(names: Iterable[str]) -> str:
    return ", ".join(name[:200] for name in sorted(names)[:_MOST_NAMES])


def _merge_shared(weights: Mapping[str, Tensor], where: Path) -> dict[str, Tensor]:
    """Fold the document side's names into the query side's, where both are one transformer."""
    merged = {name: tensor for name, tensor in weights.items() if not name.startswith("passage_encoder.")}
    for name, tensor in weights.items():
        if not name.startswith("passage_encoder."):
            continue
        query_name = "query_encoder." + name.removeprefix("passage_encoder.")
        other = merged.get(query_name, tensor)
        if other.data_ptr() != tensor.data_ptr() and not torch.equal(other, tensor):
            raise HypensearchError(
                f"{where}: config.json says that the encoder is shared, but {query_name} and {name} differ"
            )
        merged[query_name] = tensor
    return merged


def _read_parts(index: Path, root: Path) -> dict[str, Tensor]:
    """Read the parts of a split checkpoint, each of which has to hold just the tensors that the index says."""
    parts = _parts_of(index, root)
    if missing := sorted(name for name in parts if not is_plain(index.parent / name, root)):
        raise HypensearchError(f"{index}: {len(missing)} of its {len(parts)} files are not there, such as {missing[0]}")
    weights: dict[str, Tensor] = {}
    for name, wanted in parts.items():
        part = _read_file(index.parent / name)
        if wrong := set(part) ^ wanted:
            raise HypensearchError(
                f"{index.parent / name}: does not hold just the weights that {index.name} says; "
                f"{len(wrong)} differ, such as {min(wrong)}"
            )
        weights |= part
    return weights


def _parts_of(index: Path, root: Path) -> dict[str, set[str]]:
    """Return the files that an index names, and the tensors that are said to be in each."""
    try:
        weight_map = read_json(index, within=root)["weight_map"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise HypensearchError(f"{index}: no index of a split checkpoint ({type(error).__name__}: {error})") from None
    if not isinstance(weight_map, dict) or not weight_map:
        raise HypensearchError(f"{index}: its weight_map names no weights")
    suffix = Path(SPLIT_FILES[index.name]).suffix
    parts: dict[str, set[str]] = {}
    for tensor, name in weight_map.items():
        if not isinstance(name, str) or Path(name).name != name or not name.endswith(suffix) or "\0" in name:
            raise HypensearchError(f"{index}: {tensor} is said to be in {name!r}: wanted a {suffix} file beside it")
        parts.setdefault(name, set()).add(tensor)
    return parts


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
