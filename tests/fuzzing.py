# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Fuzzing of every reader: damaged and random files, each read under a bound on memory.

A reader may give a result or raise :class:`HypensearchError` in one line; anything else is a finding.
``python -m integrations.fuzz`` feeds each reader ten million bytes, ``test_fuzzing.py`` a small share.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import random
import resource
import struct
import tarfile
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from hypensearch.errors import HypensearchError
from hypensearch.formats.corpus import read_corpus
from hypensearch.formats.embeddings import faiss_flat_header, open_vectors
from hypensearch.formats.encoded_items import read_encoded_items
from hypensearch.formats.graph_jsonl import read_graph_jsonl
from hypensearch.formats.q_nets import open_q_nets, write_q_nets
from hypensearch.formats.qrels import read_qrels
from hypensearch.formats.retrieved_items import read_retrieved_items
from hypensearch.formats.run import read_run
from hypensearch.formats.topics import read_kilt_topics, read_topics
from hypensearch.index import FlatIndex
from hypensearch.index.graph import GraphIndex
from hypensearch.index.graph_builder import build_graph
from hypensearch.index.prebuilt import _unpack
from hypensearch.index.progress import Progress, read_progress
from hypensearch.models import QNetConfig
from hypensearch.models.checkpoint import read_config as read_checkpoint_config
from hypensearch.models.checkpoint import read_weights, write_weights
from hypensearch.models.config import parse_config
from hypensearch.models.stored import architecture_facts, from_arrays, to_arrays
from hypensearch.train.config import read_config as read_training_config
from tests.formats.topic_files import CACM, TREC
from tests.search.strategies import random_q_nets, random_vectors, save_index

MEMORY_BYTES = 2**30
_TOKENS = (b"\n", b"\r\n", b"\t", b" ", b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"{", b"}", b"[", b"]")
_TOKENS += (b'"', b"\\u", b"\\ud800", b",", b":", b"-", b"1e999", b"NaN", b"Infinity", b"null", b"true", b"[" * 3000)
_TOKENS += (b"9" * 5000, b"-1", b"0", b"1152921504606846976", b"18446744073709551616", b"../../x", b"/etc/passwd")
_TOKENS += (b'"' + b"x" * 300 + b'"', b'{"a":' * 2000, b"!!python/object/apply:os.getcwd []", b"&a [*a]", b"\x80\x02")
_NUMBERS = (0, 1, -1, 2**31 - 1, 2**31, 2**32 - 1, 2**60, 2**63 - 1, 2**64 - 1)


@dataclass(frozen=True)
class Example:
    """A valid file, which is damaged and read again.

    :param path: The file; what stands beside it stays whole.
    :param content: Its bytes, before ``wrap``.
    :param wrap: What is done to the damaged bytes: packing, signing anew.
    """

    path: Path
    content: bytes
    wrap: Callable[[bytes], bytes] = bytes


@dataclass(frozen=True)
class Reader:
    """Something that reads files from strangers.

    :param make: Writes valid files into a folder.
    :param read: Reads such a file wholly.
    """

    make: Callable[[Path], Sequence[Example]]
    read: Callable[[Path], object]


@dataclass
class Outcome:
    """What a reader did with what it was fed.

    :param num_bytes: Bytes fed to it.
    :param num_files: Files fed to it.
    :param read: Files that it read.
    :param refused: Files that it refused with a :class:`HypensearchError`.
    :param findings: Everything else: where it happened, and the bytes of the first file that did it.
    """

    num_bytes: int = 0
    num_files: int = 0
    read: int = 0
    refused: int = 0
    findings: dict[str, bytes] = field(default_factory=dict)


def fuzz(name: str, folder: Path, num_bytes: int, seed: int = 0) -> Outcome:
    """Feed a reader damaged and random files.

    :param name: One of :data:`READERS`.
    :param folder: An empty folder for the files.
    :param num_bytes: How much, at least.
    :param seed: Of the damages.
    """
    reader, outcome = READERS[name], Outcome()
    examples = reader.make(folder)
    for example in examples:  # what is whole is read
        example.path.write_bytes(example.wrap(example.content))
        reader.read(example.path)
    chance = random.Random(f"{name} {seed}")
    with memory_bounded(MEMORY_BYTES), warnings.catch_warnings(action="ignore"):
        while outcome.num_bytes < num_bytes:
            example = chance.choice(examples)
            data = example.wrap(damaged(example.content, chance))
            example.path.unlink()  # never changed in place: an older one may still be mapped
            example.path.write_bytes(data)
            outcome.num_files += 1
            outcome.num_bytes += max(1, len(data))
            _feed(reader, example.path, data, outcome)
            example.path.unlink()
            example.path.write_bytes(example.wrap(example.content))
    return outcome


def _feed(reader: Reader, path: Path, data: bytes, outcome: Outcome) -> None:
    try:
        reader.read(path)
        outcome.read += 1
    except HypensearchError as error:
        outcome.refused += 1
        if "\n" in str(error):
            outcome.findings.setdefault(f"an error of several lines: {str(error)[:200]!r}", data)
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = [frame for frame in traceback.extract_tb(error.__traceback__) if "hypensearch/" in frame.filename][-1]
        outcome.findings.setdefault(
            f"{type(error).__name__} in {os.path.basename(last.filename)}:{last.lineno}, called from "
            f"{os.path.basename(where.filename)}:{where.lineno}: {str(error)[:120]}",
            data,
        )


def damaged(content: bytes, chance: random.Random) -> bytes:
    """Damage a file: one to eight changes, or bytes that have nothing to do with it."""
    if chance.random() < 0.05:
        return chance.randbytes(chance.randrange(2000))
    data = bytearray(content)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        chance.choice(_DAMAGES)(data, chance)
    return bytes(data)


def _flip(data: bytearray, chance: random.Random) -> None:
    if data:
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def _insert(data: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(data) + 1)
    data[at:at] = chance.choice(_TOKENS) if chance.random() < 0.7 else chance.randbytes(chance.randrange(1, 9))


def _overwrite(data: bytearray, chance: random.Random) -> None:
    token, at = chance.choice(_TOKENS)[:40], chance.randrange(len(data) + 1)
    data[at : at + len(token)] = token


def _number(data: bytearray, chance: random.Random) -> None:
    """A size that claims too much, in binary."""
    number = struct.pack(chance.choice("<>") + "q", chance.choice(_NUMBERS) & (2**63 - 1))[: chance.choice((2, 4, 8))]
    at = chance.randrange(min(len(data), 256) + 1)
    data[at : at + len(number)] = number


def _digits(data: bytearray, chance: random.Random) -> None:
    """A size that claims too much, in text."""
    places = [at for at in range(len(data)) if 48 <= data[at] < 58]
    if places:
        start = end = chance.choice(places)
        while end < len(data) and 48 <= data[end] < 58:
            end += 1
        data[start:end] = str(chance.choice(_NUMBERS)).encode()


def _cut(data: bytearray, chance: random.Random) -> None:
    del data[chance.randrange(len(data) + 1) :]


def _drop(data: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(data) + 1)
    del data[at : at + chance.randrange(1, 40)]


def _repeat(data: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(data) + 1)
    data[at:at] = data[at : at + chance.randrange(1, 200)]


_DAMAGES = (_flip, _flip, _insert, _insert, _overwrite, _number, _digits, _cut, _drop, _repeat)


@contextmanager
def memory_bounded(num_bytes: int) -> Iterator[None]:
    """Let the process take so much more memory and no more: what asks for it gets a MemoryError."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    old = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + num_bytes, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, old)


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
    _all(read_corpus(path, delimiter="\t", shard_id=1, shard_num=2, allow_empty=True))


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
    return [*examples, *[Example(manifest, manifest.read_bytes(), signed_anew(_as_index_signs))] * len(examples)]


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
    build_graph(index, torch.device("cpu"), degree=3)
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


def _progress(folder: Path) -> list[Example]:
    Progress("0", 1, {"a": 1}, 3, "float32", None, None).write(str(folder))
    path = folder / "progress.json"
    return [Example(path, path.read_bytes()), Example(path, path.read_bytes(), signed_anew(_as_q_nets_sign))]


def _q_nets(folder: Path) -> list[Example]:
    q_nets = random_q_nets(QNetConfig(dims=(3, 3, 1)), 2)
    model = {"name": "toy", "fingerprint": "f00d"}
    facts = architecture_facts(q_nets.config)
    write_q_nets(folder / "q", facts, model, {"1": "a", "2": "b"}, [to_arrays(q_nets)])
    (block,) = (folder / "q").glob("*.safetensors")
    manifest = folder / "q" / "manifest.json"
    content = manifest.read_bytes()

    def fitting(data: bytes) -> bytes:
        """Keep the block's digest in the manifest right."""
        signed = content.replace(json.loads(content)["files"][0][1].encode(), hashlib.sha256(data).hexdigest().encode())
        manifest.unlink()
        manifest.write_bytes(signed_anew(_as_q_nets_sign)(signed))
        return data

    return [
        Example(manifest, content),
        Example(manifest, content, signed_anew(_as_q_nets_sign)),
        Example(block, block.read_bytes(), fitting),
        Example(block, block.read_bytes(), fitting),
    ]


def _read_q_nets(path: Path) -> None:
    stored = open_q_nets(path.parent)
    found = stored.read(list(stored.topics))
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
    import shutil

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
    "archives": Reader(_archive, _read_archive),
}
