# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Every reader of files, with valid files for each: what fuzzing damages and reads again."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable, Iterable
from contextlib import redirect_stderr
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from transformers import BertTokenizerFast

from hypensearch.errors import HypensearchError
from hypensearch.flat import FlatIndex
from hypensearch.flat.prebuilt import REGISTRY_VARIABLE, _unpack, find_prebuilt_index
from hypensearch.flat.progress import Progress, read_progress
from hypensearch.formats.corpus import TextRule, read_corpus
from hypensearch.formats.embeddings import faiss_flat_header, open_vectors
from hypensearch.formats.encoded_items import read_encoded_items
from hypensearch.formats.graph_jsonl import read_graph_jsonl
from hypensearch.formats.json_files import signed_json
from hypensearch.formats.q_nets import COMPACT, open_q_nets, write_q_nets
from hypensearch.formats.qrels import read_qrels
from hypensearch.formats.retrieved_items import read_retrieved_items
from hypensearch.formats.run import read_run
from hypensearch.formats.topics import read_kilt_topics, read_topics
from hypensearch.graph.builder import build_graph
from hypensearch.graph.options import GraphBuildOptions
from hypensearch.graph.store import GraphIndex
from hypensearch.models import QNetConfig
from hypensearch.models.checkpoint import read_config as read_checkpoint_config
from hypensearch.models.checkpoint import with_checksums
from hypensearch.models.config import parse_config
from hypensearch.models.stored import architecture_facts, from_arrays, states_to_arrays, to_arrays
from hypensearch.models.tokenizer import load_tokenizer
from hypensearch.models.weights import read_weights, write_weights
from hypensearch.rerank.vector_cache import VectorCache
from hypensearch.scoring.scorer import Scorer
from hypensearch.surrogate.builder import build_surrogate
from hypensearch.surrogate.search import SurrogateSearch
from hypensearch.surrogate.store import open_surrogate
from hypensearch.train.batches import Examples
from hypensearch.train.config import TrainingConfig, to_json
from hypensearch.train.config import read_config as read_training_config
from hypensearch.train.data import RecordFile
from hypensearch.train.history import read_history
from hypensearch.train.run import checkpoint_to_resume
from hypensearch.verify.findings import findings_of, size_of
from tests.formats.topic_files import CACM, TREC
from tests.fuzzing import Example, Reader
from tests.search.strategies import random_q_nets, random_vectors, save_index


def signed_anew(checksum: Callable[[dict[str, object]], str]) -> Callable[[bytes], bytes]:
    """Give damaged JSON the checksum that fits it, as one would who means harm."""

    def sign(data: bytes) -> bytes:
        try:
            facts = json.loads(data)
            facts.pop("checksum")
            signed = {**facts, "checksum": checksum(facts)}
            return (json.dumps(signed, indent=1, ensure_ascii=False) + "\n").encode("utf-8")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, UnicodeError):
            return data

    return sign


def _with_fitting_digest(
    manifest: Path, content: bytes, file: Path, sign: Callable[[bytes], bytes]
) -> Callable[[bytes], bytes]:
    """Let a manifest have the digest and the size of the damaged file, as one would who means harm."""
    whole = file.read_bytes()
    size = f'"bytes": {len(whole)}'

    def fit(data: bytes) -> bytes:
        fitting = content.replace(hashlib.sha256(whole).hexdigest().encode(), hashlib.sha256(data).hexdigest().encode())
        manifest.unlink()
        manifest.write_bytes(sign(fitting.replace(size.encode(), f'"bytes": {len(data)}'.encode())))
        return data

    return fit


def _as_index_signs(facts: dict[str, object]) -> str:
    return hashlib.sha256((json.dumps(facts, indent=1, ensure_ascii=False) + "\n").encode("utf-8")).hexdigest()


def _as_q_nets_sign(facts: dict[str, object]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _texts(**files: str) -> Callable[[Path], list[Example]]:
    """Files of text; one that ends in ``.gz`` is damaged before and after packing."""

    def make(folder: Path) -> list[Example]:
        examples = []
        for name, text in files.items():
            path, data = folder / name.replace("__", "."), text.encode()
            packed = path.name.endswith(".gz")
            examples.append(Example(path, data, gzip.compress if packed else bytes))
            if packed:
                examples.append(Example(path, gzip.compress(data)))
        return examples

    return make


def _all(values: Iterable[object]) -> None:
    for _ in values:
        pass


_LINES = (
    '{"id": "d1", "title": "t", "text": "a b"}\n{"_id": 7, "contents": "x y \\ud83d\\ude00"}\n\n{"id":"é","text":"z"}\n'
)
_ARRAY = "[" + ", ".join(filter(None, _LINES.split("\n"))) + "]"


def _read_documents(path: Path) -> None:
    _all(read_corpus(path, allow_empty=True))
    _all(read_corpus(path, TextRule(delimiter="\t"), shard_id=1, shard_num=2, allow_empty=True))


def _items(folder: Path) -> list[Example]:
    from tests.formats.test_encoded_items import encoded, stream

    one = encoded("d1", "a text", np.arange(3, dtype=np.float32))
    whole = stream(one, encoded("d2", "", np.ones(3, dtype=np.float16), dtype="<f2"))
    path = folder / "encoded_items.docs"
    return [Example(path, whole), Example(path, one, lambda data: stream(one, data))]


def _read_items(path: Path) -> None:
    _all(read_encoded_items(path))
    _all(open_vectors(path).blocks(2))


def _embeddings(folder: Path) -> list[Example]:
    lines = '{"id": "d1", "contents": "a", "vector": [1, 2.5, -3e-2]}\n{"id": 2, "vector": [0.0, 1, 2]}\n'
    (folder / "faiss").mkdir()
    (folder / "faiss" / "docid").write_text("a\nb\n")
    flat = faiss_flat_header(2, 3) + random_vectors(2, 3).tobytes()
    examples = _texts(**{"embeddings__jsonl": lines, "e__jsonl__gz": lines})(folder)
    return [
        *examples,
        Example(folder / "faiss" / "index", flat),
        Example(folder / "faiss" / "docid", b"a\nb\n"),
    ]


def _read_embeddings(path: Path) -> None:
    _all(open_vectors(path.parent if path.parent.name == "faiss" else path).blocks(2))


def _index(folder: Path) -> list[Example]:
    save_index(folder / "index", random_vectors(5, 3)).close()
    names = [path for path in sorted((folder / "index").rglob("*")) if path.is_file() and path.name != ".lock"]
    examples = [Example(path, path.read_bytes()) for path in names]
    manifest = folder / "index" / "manifest.json"
    return [*examples, *[Example(manifest, manifest.read_bytes(), _sign_as_index)] * len(examples)]


_sign_as_index = signed_anew(_as_index_signs)


def _folder_of(path: Path, name: str) -> Path:
    return next(parent for parent in path.parents if parent.name == name)


def _read_index(path: Path) -> None:
    with FlatIndex.open(_folder_of(path, "index")) as index:
        index.verify()
        found = list(index.docids())
        index.rows_of([*found[:10], "none"])
        assert all(index.row_of(docid) is not None for docid in found[:10])
        for shard in index.shards:
            np.asarray(shard.vectors[:4]).sum()


def _graph(folder: Path) -> list[Example]:
    index = save_index(folder / "index", random_vectors(8, 3))
    build_graph(index, torch.device("cpu"), GraphBuildOptions(degree=3))
    index.close()
    names = [path for path in sorted((folder / "index" / "graphs").rglob("*")) if path.suffix in (".json", ".npy")]
    signed = [
        Example(path, path.read_bytes(), signed_anew(_as_index_signs)) for path in names if path.suffix == ".json"
    ]
    return [*[Example(path, path.read_bytes()) for path in names], *signed]


def _read_graph(path: Path) -> None:
    with FlatIndex.open(_folder_of(path, "index")) as index:
        graph = GraphIndex.open(index)
        graph.verify()
        graph.neighbours_of(0)


_CONFIG = QNetConfig(dims=(32, 32, 1))


def _surrogate(folder: Path) -> list[Example]:
    with save_index(folder / "index", random_vectors(50, 32)) as index:
        build_surrogate(index, random_q_nets(_CONFIG, 9), torch.device("cpu"))
    beside = folder / "index" / "surrogate"
    manifest, content, sign = beside / "surrogate.json", (beside / "surrogate.json").read_bytes(), _sign_as_index
    arrays = [(path, path.read_bytes()) for path in sorted(beside.glob("*.npy"))]
    damaged = [Example(path, whole) for path, whole in arrays]
    fitting = [Example(path, whole, _with_fitting_digest(manifest, content, path, sign)) for path, whole in arrays]
    return [Example(manifest, content), *[Example(manifest, content, sign)] * len(fitting), *damaged, *fitting]


def _read_surrogate(path: Path) -> None:
    with FlatIndex.open(_folder_of(path, "index")) as index:
        surrogate = open_surrogate(index)
        assert surrogate is not None
        surrogate.verify()
        q_nets = random_q_nets(_CONFIG, 1)
        (found,) = SurrogateSearch(index, surrogate, torch.device("cpu")).search(q_nets, 5)
        scores = Scorer(q_nets, torch.device("cpu")).score(torch.from_numpy(np.array(index.shards[0].vectors)))[0]
        np.testing.assert_allclose(found.scores, scores[found.rows], atol=1e-4)  # exact whatever the codes say


def _progress(folder: Path) -> list[Example]:
    Progress("0", 1, {"a": 1}, 3, "float32", None, None).write(str(folder))
    path = folder / "progress.json"
    return [Example(path, path.read_bytes()), Example(path, path.read_bytes(), signed_anew(_as_q_nets_sign))]


def _q_nets(folder: Path) -> list[Example]:
    q_nets = random_q_nets(QNetConfig(dims=(3, 3, 1)), 2)
    model = {"name": "toy", "fingerprint": "f00d"}
    facts = architecture_facts(q_nets.config)
    write_q_nets(folder / "q", facts, model, {"1": "a", "2": "b"}, [to_arrays(q_nets)])
    return _damaged_q_nets(folder)


def _token_states(folder: Path) -> list[Example]:
    arrays = states_to_arrays([torch.ones(2, 5), torch.zeros(3, 5)])
    model = {"name": "toy", "fingerprint": "f00d", "query_fingerprint": "beef", "width": None}
    facts = architecture_facts(QNetConfig(dims=(3, 3, 1)))
    write_q_nets(folder / "q", facts, model, {"1": "a", "2": "b"}, [arrays], form=COMPACT)
    return _damaged_q_nets(folder)


def _damaged_q_nets(folder: Path) -> list[Example]:
    (block,) = (folder / "q").glob("*.safetensors")
    manifest = folder / "q" / "manifest.json"
    content = manifest.read_bytes()

    fitting = _with_fitting_digest(manifest, content, block, signed_anew(_as_q_nets_sign))
    return [
        Example(manifest, content),
        Example(manifest, content, signed_anew(_as_q_nets_sign)),
        Example(block, block.read_bytes(), fitting),
        Example(block, block.read_bytes(), fitting),
    ]


def _read_q_nets(path: Path) -> None:
    stored = open_q_nets(path.parent)
    found = stored.read(list(stored.topics))
    if stored.form == COMPACT:
        return
    from_arrays(stored.architecture, [found[topic] for topic in stored.topics])


def _weights(suffix: str) -> Callable[[Path], list[Example]]:
    def make(folder: Path) -> list[Example]:
        tensors = {"a.weight": torch.arange(6.0).view(2, 3), "b": torch.ones(4)}
        if suffix == "bin":
            torch.save(tensors, folder / "pytorch_model.bin")
            return [Example(folder / "pytorch_model.bin", (folder / "pytorch_model.bin").read_bytes())]
        write_weights({**tensors, "c": torch.randn(64, 64)}, folder, compact=suffix == "compact")
        (path,) = folder.glob("*.safetensors")
        return [Example(path, path.read_bytes())]

    return make


def _checkpoint_config(folder: Path) -> list[Example]:
    raw = {
        "architectures": ["HypencoderDualEncoder"],
        "query_encoder_kwargs": {
            "model_name_or_path": "x",
            "converter_kwargs": {"vector_dimensions": [8, 8, 1], "activation_type": "relu", "do_residual": True},
            "base_encoder_output_dim": 8,
        },
        "passage_encoder_kwargs": {"model_name_or_path": "x", "pooling_type": "cls"},
        "shared_encoder": True,
    }
    return [Example(folder / "config.json", json.dumps(raw, indent=1).encode())]


def _tokenizer(folder: Path) -> list[Example]:
    BertTokenizerFast(vocab={word: n for n, word in enumerate(_VOCABULARY)}).save_pretrained(folder)
    return [Example(path, path.read_bytes()) for path in sorted(folder.iterdir())]


_VOCABULARY = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefgh", *("##" + letter for letter in "abcdefgh"))


def _read_tokenizer(path: Path) -> None:
    load_tokenizer(path.parent)(["a bad cafe"], truncation=True, max_length=16)


def _records(folder: Path) -> list[Example]:
    forms = [
        {"query": "q", "positive": "a", "negatives": ["b", {"text": "c", "score": 2}]},
        {"anchor": "q", "positive": "a", "negative_1": "b", "negative_2": "c", "label": [2.5, 1, 0]},
        {"query": "q", "pos": ["a"], "neg": ["b", "c"], "pos_scores": [1], "neg_scores": [0.5, 0.25]},
        {"query": {"id": "1", "content": "q"}, "items": [{"content": "a", "score": 1.5}, {"content": "b"}]},
        {"query": "q", "positive_passages": [{"title": "t", "text": "a"}], "negative_passages": []},
        ["q", "a", "b"],
        {"set": ["q", "a"]},
    ]
    lines = [json.dumps(form) + "\n" for form in forms]
    return _texts(**{f"r{n}__jsonl": 2 * line for n, line in enumerate(lines)}, all__jsonl="".join(lines))(folder)


def _read_records(path: Path) -> None:
    records = RecordFile(path)
    examples = Examples([records], num_negatives=2, seed=0)
    _all(examples[row] for row in range(len(records)))
    _all(records)


def _prebuilt(folder: Path) -> list[Example]:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        tar.addfile(tarfile.TarInfo("index/manifest.json"))
    data = archive.getvalue()
    url = f"data:;base64,{base64.b64encode(data).decode()}"  # damage leads to no host
    record = {"description": "x", "filename": "x.tar.gz", "urls": [url], "documents": 2}
    records = {"one": {**record, "md5": hashlib.md5(data).hexdigest()}}
    records["two"] = {**record, "sha256": hashlib.sha256(data).hexdigest()}
    return [Example(folder / "records.json", json.dumps(records, indent=1).encode())]


def _read_prebuilt(path: Path) -> None:
    places = {REGISTRY_VARIABLE: str(path), "HYPENSEARCH_CACHE": str(path.parent / "cache")}
    with mock.patch.dict(os.environ, places), redirect_stderr(io.StringIO()):
        try:
            for name in ("one", "two"):
                find_prebuilt_index(name)
        finally:
            shutil.rmtree(path.parent / "cache", ignore_errors=True)
    assert [other.name for other in path.parent.iterdir()] == [path.name]


def _kept_vectors(folder: Path) -> list[Example]:
    with VectorCache(folder, dim=3, facts={"encoder": "x"}) as cache:
        cache.append(["a", "b", "é"], random_vectors(3, 3))
    return [Example(path, path.read_bytes()) for path in sorted(folder.iterdir()) if path.name != ".lock"]


def _read_kept_vectors(path: Path) -> None:
    cache = VectorCache(path.parent, dim=3, facts={"encoder": "x"})
    wanted = dict(zip(("a", "b", "é"), random_vectors(3, 3), strict=True))
    known = [docid for docid in wanted if docid in cache]
    found = cache.take(np.array([cache.row_of(docid) for docid in known], dtype=np.int64))
    for docid, vector in zip(known, found, strict=True):
        assert np.array_equal(vector, wanted[docid])  # nothing wrong in silence
    cache.close()


def _training_run(folder: Path) -> list[Example]:
    history = '{"step": 0, "eval_mean": 0.5}\n{"step": 1, "loss": 2.5}\n{"step": 2, "loss": 2.25, "epoch": 1}\n'
    config = to_json(TrainingConfig(backbone="x", train=["a.jsonl"], output="out"))
    (folder / "checkpoint-1").mkdir()
    (folder / "config.json").write_text(config)
    examples = _texts(history__jsonl=history, config__json=config)(folder)
    (folder / "checkpoint-1" / "model.safetensors").write_bytes(b"weights")
    seal = {"files": {"model.safetensors": hashlib.sha256(b"weights").hexdigest()}}
    return [*examples, *_texts(**{"checkpoint-1/checksums__json": signed_json(seal).decode()})(folder)]


def _read_training_run(path: Path) -> None:
    folder = path.parent if path.parent.name != "checkpoint-1" else path.parent.parent
    read_history(folder)
    checkpoint_to_resume(TrainingConfig(backbone="x", train=["a.jsonl"], output="out", resume=True), folder)


def _verified(folder: Path) -> list[Example]:
    examples = []
    for make in (_index, _graph, _surrogate, _q_nets):
        (folder / make.__name__).mkdir()
        examples += make(folder / make.__name__)
    checkpoint = folder / "checkpoint"
    checkpoint.mkdir()
    (checkpoint / "model.safetensors").write_bytes(b"weights")
    config = json.dumps(with_checksums({"a": 1}, checkpoint)).encode()
    return [*examples, Example(checkpoint / "config.json", config)]


def _read_verified(path: Path) -> None:
    top = next(parent for parent in path.parents if parent.name in ("index", "q", "checkpoint"))
    size_of(str(top))
    for finding in (*findings_of(str(top), full=False), *findings_of(str(top), full=True)):
        raise HypensearchError(finding.text)


def _archive(folder: Path) -> list[Example]:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, size in (("index/manifest.json", 20), ("index/a", 600)):
            info = tarfile.TarInfo(name)
            info.size = size
            tar.addfile(info, io.BytesIO(b"x" * size))
    path = folder / "archive.tar"
    return [Example(path, buffer.getvalue()[:3072]), Example(path, buffer.getvalue()[:3072], gzip.compress)]


def _read_archive(path: Path) -> None:
    outside = set(path.parent.rglob("*"))
    try:
        _unpack(path, path.parent / "out")
    finally:
        shutil.rmtree(path.parent / "out", ignore_errors=True)
    assert set(path.parent.rglob("*")) == outside


#: Every reader of files that may come from strangers.
READERS = {
    "corpus": Reader(
        _texts(c__jsonl=_LINES, c__json=_ARRAY, c__jsonl__gz=_LINES),
        _read_documents,
    ),
    "topics": Reader(
        _texts(
            t__tsv="1\tone query\n2\tanother\n",
            t__json='{"1": {"title": "a"}, "010": {"title": "b"}}',
            t__jsonl='{"id": "1", "title": "a"}\n{"qid": 2, "title": "b"}\n',
            t__trec=TREC,
            cacm__query=CACM,
            t__tsv__gz="1\tone query\n2\tanother\n",
        ),
        lambda path: read_topics(path),
    ),
    "topics of kilt and raw_jsonl": Reader(
        _texts(a__kilt='{"id": "1", "input": "a", "query": "b"}\n{"id": 2, "input": "[START_ENT]x", "query": "y"}\n'),
        lambda path: (read_kilt_topics(path), read_topics(path, "raw_jsonl")),
    ),
    "qrels": Reader(
        _texts(q__txt="1 0 d1 1\n1 0 d2 0\n2 0 d1 -1\n", q__tsv="query-id\tcorpus-id\tscore\n1\td1\t1\n"),
        lambda path: read_qrels(path),
    ),
    "the authors' runs": Reader(
        _texts(r__jsonl='{"query": {"id": "1", "content": "a"}, "items": [{"id": "d", "score": 2.5}]}\n' * 2),
        lambda path: list(read_retrieved_items(path)),
    ),
    "runs": Reader(
        _texts(r__txt="1 Q0 d1 1 2.5 t\n1 Q0 d2 2 -1e-3 t\n", r__tsv="1\td1\t1\n1\td2\t2\n", r__txt__gz="1\td1\t1\n"),
        lambda path: read_run(path),
    ),
    "the authors' encoded items": Reader(_items, _read_items),
    "Pyserini's embeddings": Reader(_embeddings, _read_embeddings),
    "the authors' graph": Reader(
        _texts(g__jsonl='{"item_id": "a", "neighbors": ["b", 7]}\n{"item_id": 7, "neighbors": []}\n'),
        lambda path: _all(read_graph_jsonl(path)),
    ),
    "index": Reader(_index, _read_index),
    "graph": Reader(_graph, _read_graph),
    "progress of an index": Reader(_progress, lambda path: read_progress(str(path.parent))),
    "stored q-nets": Reader(_q_nets, _read_q_nets),
    "stored token states": Reader(_token_states, _read_q_nets),
    "safetensors": Reader(_weights("safetensors"), lambda path: read_weights(path.parent)),
    "compact weights": Reader(_weights("compact"), lambda path: read_weights(path.parent)),
    "pytorch_model.bin": Reader(_weights("bin"), lambda path: read_weights(path.parent)),
    "checkpoint's configuration": Reader(
        _checkpoint_config, lambda path: parse_config(read_checkpoint_config(path.parent), str(path))
    ),
    "training configuration": Reader(
        _texts(c__yaml="train: [a.jsonl]\noutput: out\nbackbone: x\nlearning_rate: 5e-5\nwidths: [1, 2]\n"),
        lambda path: read_training_config(str(path), {}),
    ),
    "training records": Reader(_records, _read_records),
    "a training run, to go on with": Reader(_training_run, _read_training_run),
    "codes of surrogate search": Reader(_surrogate, _read_surrogate),
    "tokenizers": Reader(_tokenizer, _read_tokenizer),
    "vectors kept for reranking": Reader(_kept_vectors, _read_kept_vectors),
    "folders that are verified": Reader(_verified, _read_verified),
    "records of prebuilt indexes": Reader(_prebuilt, _read_prebuilt),
    "archives": Reader(_archive, _read_archive),
}
