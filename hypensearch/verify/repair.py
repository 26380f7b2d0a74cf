# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Encodes the damaged rows of an index again, from its corpus; all others are kept as they are.

The repaired index is a new generation beside the old one, and becomes visible by one rename: searches are not
interrupted, and a kill loses nothing.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hypensearch.errors import HypensearchError
from hypensearch.flat.manifest import DOCID, DOCUMENTS, VECTORS, Manifest, ShardRecord, read_manifest
from hypensearch.formats.corpus import TextRule, read_corpus
from hypensearch.formats.npy import HEADER_BYTES
from hypensearch.verify.findings import Finding

if TYPE_CHECKING:
    import torch

    from hypensearch.encode import DocumentEncoder, EncodingOptions

_OF_THE_MODEL = ("name", "revision", "fingerprint", "kind", "dim", "max_length", "prefix")


def repair_index(
    folder: str, findings: Sequence[Finding], device: torch.device, *, corpus: str | None = None
) -> tuple[Manifest, bool]:
    """Repair an index.

    :param folder: The index folder; its manifest must be sound.
    :param findings: What a full look found.
    :param device: Where to encode.
    :param corpus: The corpus, where it has moved since it was encoded.
    :return: The new manifest, and whether every file is byte for byte what it was.
    :raises HypensearchError: When the corpus or the model is not the one the index was made of.
    """
    from hypensearch.encode import OutputOptions, encode_corpus

    manifest = read_manifest(folder)
    record, how = _what_was_encoded(folder, manifest)
    said = how["text"]
    text = TextRule(tuple(said["fields"]), said["docid_field"], said["delimiter"], said["title_field"])
    which = {"shard_id": said["shard_id"], "shard_num": said["shard_num"], "allow_empty": how["allow_empty"]}
    files = how["corpus"]
    path = corpus or (files[0] if len(files) == 1 else os.path.dirname(files[0]))
    if not os.path.exists(path):
        raise HypensearchError(f"{path}: the corpus of {folder} is not there; name it with --corpus")
    _check_corpus(folder, record, path, text, which)
    made = encode_corpus(
        path,
        folder,
        lambda: _load_encoder(folder, manifest, device),
        text=text,
        encoding=_encoding(manifest, how),
        out=OutputOptions(
            dtype=manifest.dtype,
            store_documents=DOCUMENTS in record.files,
            to_faiss=bool(manifest.extra_files),
            overwrite=True,
        ),
        **which,
        show_progress=True,
        known=_sound_rows(folder, manifest, record, findings),
    )
    return made, made.shards[0].files == record.files


def _sound_rows(
    folder: str, manifest: Manifest, record: ShardRecord, findings: Sequence[Finding]
) -> Callable[[range], np.ndarray | None]:
    """Give what reads rows out of the damaged file, None for those that are damaged."""
    path, dtype = os.path.join(folder, record.folder, VECTORS), np.dtype(manifest.dtype)
    damaged = [finding.rows for finding in findings if finding.rows is not None]
    if not os.path.exists(path):
        damaged = [range(record.num_docs)]

    def read(rows: range) -> np.ndarray | None:
        if any(rows.start < of.stop and of.start < rows.stop for of in damaged):
            return None
        row_bytes = manifest.dim * dtype.itemsize
        with open(path, "rb") as file:
            file.seek(HEADER_BYTES + rows.start * row_bytes)
            return np.frombuffer(file.read(len(rows) * row_bytes), dtype).reshape(len(rows), manifest.dim)

    return read


def _what_was_encoded(folder: str, manifest: Manifest) -> tuple[ShardRecord, dict[str, Any]]:
    """Give the shard, and how its corpus was encoded.

    :raises HypensearchError: Where there are several, or nobody knows.
    """
    if len(manifest.shards) > 1 or os.sep in manifest.shards[0].folder:
        homes = (os.path.normpath(os.path.join(folder, os.path.dirname(shard.folder))) for shard in manifest.shards)
        raise HypensearchError(
            f"{folder}: names the shards of other indexes; repair those ({', '.join(dict.fromkeys(homes))}), then join "
            "them again: python -m hypensearch.index.join --overwrite"
        )
    how = (manifest.shards[0].documents or {}).get("how")
    if not isinstance(how, dict):
        raise HypensearchError(
            f"{folder}: does not say how its corpus was encoded (imported vectors, or an earlier version); encode or "
            "import it again with --overwrite"
        )
    return manifest.shards[0], how


def _check_corpus(folder: str, record: ShardRecord, path: str, text: TextRule, which: dict[str, Any]) -> None:
    """Compare the corpus' docids with the digest of the index's, which holds even where its file is damaged."""
    digest = hashlib.sha256()
    for document in read_corpus(path, text, **which):
        digest.update(document.docid.encode("utf-8") + b"\n")
    if digest.hexdigest() != record.files[DOCID].sha256:
        raise HypensearchError(
            f"{path}: its docids are not those of {folder}: wanted the corpus that was encoded, see --corpus"
        )


def _encoding(manifest: Manifest, how: dict[str, Any]) -> EncodingOptions:
    from hypensearch.encode import EncodingOptions

    model = manifest.model or {}
    return EncodingOptions(
        batch_size=how["batch_size"],
        max_length=model["max_length"],
        prefix=model["prefix"],
        sort_by_length=how["sort_by_length"],
        window_rows=how["window_rows"],
        model_facts={key: value for key, value in model.items() if key not in _OF_THE_MODEL},
    )


def _load_encoder(folder: str, manifest: Manifest, device: torch.device) -> DocumentEncoder:
    import torch

    from hypensearch.models import load_model

    facts = manifest.model or {}
    model = load_model(
        facts["name"],
        revision=facts.get("revision"),
        backbone_config=facts.get("backbone_config"),
        count_padding=bool(facts.get("count_padding")),
        device=device,
        network=False,
    )
    if model.fingerprint != facts["fingerprint"]:
        raise HypensearchError(f"{facts['name']}: is no longer the model that made the vectors in {folder}")
    rounded = {"float16": torch.float16, "bfloat16": torch.bfloat16}.get(str(facts.get("precision")))
    return model if rounded is None else model.to(rounded)
