# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Every format that strangers may hand over, honest, and what users do with it: what :mod:`tests.lies` lies about."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from transformers import BertConfig, BertModel, BertTokenizerFast

from hypensearch.errors import HypensearchError
from hypensearch.flat import FlatIndex, FlatIndexWriter
from hypensearch.flat.prebuilt import REGISTRY_VARIABLE, find_prebuilt_index
from hypensearch.flat.progress import read_progress
from hypensearch.formats.json_files import compact_signed_json, signed_json
from hypensearch.formats.q_nets import open_q_nets, write_q_nets
from hypensearch.graph.builder import build_graph
from hypensearch.graph.options import GraphBuildOptions
from hypensearch.models import QNetConfig, load_model
from hypensearch.models.new_model import new_hypencoder
from hypensearch.models.stored import architecture_facts, from_arrays, to_arrays
from hypensearch.rerank.vector_cache import VectorCache
from hypensearch.search import HypencoderSearcher
from hypensearch.surrogate.builder import build_surrogate
from hypensearch.verify.findings import findings_of
from hypensearch.verify.findings import size_of as size_of_folder
from tests.lies import Format
from tests.search.strategies import random_q_nets, random_vectors

NUM_DOCS, DIM = 40, 32
CONFIG = QNetConfig(dims=(DIM, DIM, 1))


def _index(folder: Path) -> FlatIndex:
    """An index with its texts."""
    docids = [f"d{number}" for number in range(NUM_DOCS)]
    raw = [json.dumps({"id": docid, "contents": f"text of {docid}"}).encode() for docid in docids]
    model = {"name": "toy", "revision": None, "fingerprint": "f00d", "kind": "hypencoder", "dim": DIM, "max_length": 64}
    with FlatIndexWriter(
        folder / "index",
        dim=DIM,
        model={**model, "prefix": ""},
        documents={"fields": ["contents"]},
        store_documents=True,
    ) as writer:
        writer.append(docids, random_vectors(NUM_DOCS, DIM), raw=raw)
        writer.finish(to_faiss=True)
    return FlatIndex.open(folder / "index")


def _search(searcher_name: str, **options: Any) -> Callable[[Path], None]:
    """Verify, open, search and show, as the commands do."""

    def use(folder: Path) -> None:
        path = str(folder / "index")
        size_of_folder(path)
        damaged = [finding.text for full in (False, True) for finding in findings_of(path, full=full)]
        with HypencoderSearcher(path, device="cpu", searcher=searcher_name, **options) as searcher:
            hits = searcher.search(random_q_nets(CONFIG, 1), k=5)
            assert searcher.stats.documents_scored <= NUM_DOCS + 1  # no lie about what was done
            rows = searcher.index.rows_of([hit.docid for hit in hits])
            for hit in hits:
                document = searcher.doc(hit.docid)
                assert document is None or "private" not in document.raw()
            searcher.index.documents([row for row in rows.tolist() if row >= 0])
            list(searcher.index.docids())
            with contextlib.suppress(HypensearchError):
                searcher.encode(["a text"])
        if damaged:
            raise HypensearchError("damaged")

    return use


def _graph(folder: Path) -> None:
    with _index(folder) as index:
        build_graph(index, torch.device("cpu"), GraphBuildOptions(degree=4))


def _codes(folder: Path) -> None:
    with _index(folder) as index:
        build_surrogate(index, random_q_nets(CONFIG, 9), torch.device("cpu"))


def _q_nets(folder: Path) -> None:
    q_nets = random_q_nets(CONFIG, 3)
    model = {"name": "toy", "fingerprint": "f00d", "max_length": 64}
    topics = {"1": "a", "2": "b", "3": "c"}
    write_q_nets(folder / "q", architecture_facts(CONFIG), model, topics, [to_arrays(q_nets)])


def _use_q_nets(folder: Path) -> None:
    list(findings_of(str(folder / "q"), full=True))
    stored = open_q_nets(folder / "q")
    found = stored.read(list(stored.topics))
    from_arrays(stored.architecture, [found[topic] for topic in stored.topics])


_WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefgh", *("##" + letter for letter in "abcdefgh"))


def _tokenizer() -> BertTokenizerFast:
    return BertTokenizerFast(vocab={word: number for number, word in enumerate(_WORDS)})


def _transformer() -> BertModel:
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return BertModel(BertConfig(vocab_size=len(_WORDS), **sizes), add_pooling_layer=False)


def _checkpoint(compact: bool) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        q_net = QNetConfig(dims=(8, 8, 1))
        model = new_hypencoder(_transformer(), _tokenizer(), q_net=q_net, pooling="cls", widths=(2, 4))
        model.save_pretrained(folder / "model", compact=compact)
        config = folder / "model" / "config.json"
        config.write_text(json.dumps({**json.loads(config.read_text()), "checksums": {}}, indent=1))

    return make


def _use_checkpoint(folder: Path) -> None:
    with contextlib.suppress(HypensearchError):
        list(findings_of(str(folder / "model"), full=True))
    model = load_model(str(folder / "model"))
    model.encode_documents(["a bad cafe", ""], max_length=8)
    model.encode_queries(["a bad cafe"], max_length=8)


def _vector_cache(folder: Path) -> None:
    with VectorCache(folder / "cache", dim=3, facts={"encoder": "x"}) as cache:
        cache.append(["a", "b", "é"], random_vectors(3, 3))


def _use_vector_cache(folder: Path) -> None:
    with VectorCache(folder / "cache", dim=3, facts={"encoder": "x"}) as cache:
        cache.take(np.arange(len(cache)))
        cache.append([f"n{len(cache)}"], random_vectors(1, 3))
        cache.take(np.arange(len(cache)))


def _progress(folder: Path) -> None:
    writer = FlatIndexWriter(
        folder / "index", dim=3, model={"name": "toy"}, documents={"fields": []}, store_documents=True
    )
    raw = [b'{"id": "a"}', b'{"id": "b"}']
    writer.append(["a", "b"], random_vectors(2, 3), raw=raw, resume_at={"line": 2})
    writer.close()


def _use_progress(folder: Path) -> None:
    read_progress(str(folder / "index"))
    with FlatIndexWriter(
        folder / "index", dim=3, model={"name": "toy"}, documents={"fields": []}, store_documents=True
    ) as writer:
        writer.append(["c"], random_vectors(1, 3), raw=[b'{"id": "c"}'])
        writer.finish()


def _registry(folder: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        tar.addfile(tarfile.TarInfo("index/manifest.json"))
    data = buffer.getvalue()
    record = {"urls": [f"data:;base64,{base64.b64encode(data).decode()}"], "documents": 2, "filename": "x.tar.gz"}
    record["sha256"] = hashlib.sha256(data).hexdigest()
    (folder / "registry.json").write_text(json.dumps({"toy": record}))


def _use_registry(folder: Path) -> None:
    places = {REGISTRY_VARIABLE: str(folder / "registry.json"), "HYPENSEARCH_CACHE": str(folder / "cache")}
    with mock.patch.dict(os.environ, places), contextlib.redirect_stderr(io.StringIO()):
        find_prebuilt_index("toy")


def _unsigned(facts: dict[str, Any]) -> bytes:
    return json.dumps(facts).encode()


FORMATS = {
    "index": Format(_index, _search("exhaustive"), signed_json),
    "index, not checked": Format(_index, _search("exhaustive", check=False), signed_json),
    "graph": Format(_graph, _search("graph"), signed_json),
    "graph, not checked": Format(_graph, _search("graph", check=False), signed_json),
    "codes": Format(_codes, _search("surrogate"), signed_json),
    "codes, not checked": Format(_codes, _search("surrogate", check=False), signed_json),
    "stored q-nets": Format(_q_nets, _use_q_nets, compact_signed_json),
    "checkpoint": Format(_checkpoint(compact=False), _use_checkpoint, _unsigned),
    "compact checkpoint": Format(_checkpoint(compact=True), _use_checkpoint, _unsigned),
    "vectors kept for reranking": Format(_vector_cache, _use_vector_cache, _unsigned),
    "unfinished index": Format(_progress, _use_progress, compact_signed_json),
    "registry of prebuilt indexes": Format(_registry, _use_registry, _unsigned),
}
