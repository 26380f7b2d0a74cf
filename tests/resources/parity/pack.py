# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Pack the outputs of the authors' implementation into the small archives beside this file.

``python tests/resources/parity/pack.py FOLDER`` reads ``FOLDER/<variant>/`` and writes ``<variant>.tar.xz`` with the
same layout. Left out: what no test reads, q-nets beyond the first queries, and (set to zero) the embeddings of tokens
that occur nowhere, so that they compress.
"""

from __future__ import annotations

import io
import json
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

HERE = Path(__file__).parent
KEPT_QUERIES = 2
COPIED = [
    "manifest.json",
    "documents.jsonl",
    "queries.jsonl",
    "documents.npz",
    "scores.npz",
    "intermediates.npz",
    "encoded_items.docs",
    "qrels.json",
    "qrels.trec",
    "checkpoint/config.json",
    "checkpoint/tokenizer.json",
    "checkpoint/tokenizer_config.json",
    "retrieval_top50/metrics/aggregated_metrics.json",
    "retrieval_top50/metrics/per_query_metrics.json",
    "retrieval_top20_ignore_same_id/retrieved_items.jsonl",
]


def main(source: Path) -> None:
    for variant in sorted(path for path in source.iterdir() if path.is_dir()):
        with tempfile.TemporaryDirectory() as work:
            _collect(variant, Path(work))
            archive = HERE / f"{variant.name}.tar.xz"
            with tarfile.open(archive, "w:xz", preset=9) as tar:
                for path in sorted(Path(work).rglob("*")):
                    tar.add(path, path.relative_to(work), recursive=False, filter=_anonymous)
            print(archive, archive.stat().st_size)


def _collect(variant: Path, work: Path) -> None:
    for name in COPIED:
        _put(work / name, (variant / name).read_bytes())
    for config in variant.glob("base_encoder*/config.json"):
        _put(work / config.relative_to(variant), config.read_bytes())
    _put(work / "queries.npz", _npz(_first_queries(np.load(variant / "queries.npz"))))
    padded = dict(np.load(variant / "padded_batch.npz"))
    _put(work / "padded_batch.npz", _npz(padded if variant.name.startswith("a") else _first_queries(padded)))
    _put(work / "retrieval_top50/retrieved_items.jsonl", _without_content(variant / "retrieval_top50"))
    for path in [*variant.glob("neighbors_*.jsonl"), *variant.glob("approx/*.json")]:
        _put(work / path.relative_to(variant), path.read_bytes())
    _pack_weights(variant, work)


def _first_queries(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    large = ("weight_", "bias_")
    return {name: arrays[name][:KEPT_QUERIES] if name.startswith(large) else arrays[name] for name in arrays}


def _without_content(folder: Path) -> bytes:
    lines = (folder / "retrieved_items.jsonl").read_text(encoding="utf-8").split("\n")
    records = [json.loads(line) for line in lines if line]
    for record in records:
        record["items"] = [{"id": item["id"], "score": item["score"]} for item in record["items"]]
    return "".join(json.dumps(record) + "\n" for record in records).encode()


def _pack_weights(variant: Path, work: Path) -> None:
    used = np.unique(
        np.concatenate([np.load(variant / f"{side}.npz")["input_ids"].ravel() for side in ("documents", "queries")])
    )
    unused = np.setdiff1d(np.arange(100_000), used)
    binary = variant / "checkpoint" / "pytorch_model.bin"
    if binary.exists():
        weights = torch.load(binary, weights_only=True)
        _forget(weights, unused)
        torch.save(weights, work / "checkpoint" / "pytorch_model.bin")
    else:
        weights = load_file(variant / "checkpoint" / "model.safetensors")
        _forget(weights, unused)
        save_file(weights, work / "checkpoint" / "model.safetensors", metadata={"format": "pt"})


def _forget(weights: dict[str, torch.Tensor], unused: np.ndarray) -> None:
    for name, tensor in weights.items():
        if name.endswith("word_embeddings.weight"):
            tensor[torch.from_numpy(unused[unused < len(tensor)])] = 0


def _npz(arrays: dict[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def _put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    return member


if __name__ == "__main__":
    main(Path(sys.argv[1]))
