# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""What is made to fail: everything that writes, from nothing and in place of something older, and who reads it."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch

from hypensearch import cli
from hypensearch.__main__ import COMMANDS
from hypensearch.encode import EncodingOptions, OutputOptions, encode_corpus
from hypensearch.flat import FlatIndex
from hypensearch.flat.join import join_indexes
from hypensearch.formats.files import sha256_of
from hypensearch.formats.q_nets import open_q_nets, write_q_nets
from hypensearch.graph.builder import build_graph
from hypensearch.graph.options import GraphBuildOptions
from hypensearch.models import QNetConfig, load_model
from hypensearch.models.stored import architecture_facts, to_arrays
from hypensearch.search import HypencoderSearcher
from hypensearch.surrogate.builder import build_surrogate
from hypensearch.surrogate.store import open_surrogate
from hypensearch.train.config import to_json
from tests.commands import encode, write_corpus, write_topics
from tests.encode.hash_encoder import HashEncoder
from tests.search.strategies import random_q_nets, random_vectors, save_index
from tests.train.toy import make_backbone, make_data, make_settings

CPU = torch.device("cpu")
CONFIG = QNetConfig(dims=(8, 8, 1))
_WORDS = [f"word{number}" for number in range(60)]


@dataclass(frozen=True)
class Job:
    """Something that writes.

    :param old: Makes what is there before, in a folder that is given: nothing but inputs, or an older state.
    :param act: Does the whole work, resuming where it was stopped, and gives the exit code of a command.
    :param read: Gives what a reader finds there; raises HypensearchError where that is nothing or damaged.
    :param output: What is written, in that folder.
    :param manifests: Files whose every byte matters, as patterns below ``output``.
    :param resumes: Whether a stopped run resumes where it was, so that damage to what it left must be seen.
    :param checked: Whether what is written has checksums; runs and training records have none.
    :param same: Patterns of the files that are the same whenever they are written.
    :param share: Of the faults that others are given.
    """

    old: Callable[[Path], object]
    act: Callable[[Path], int]
    read: Callable[[Path], object]
    output: str = "out"
    manifests: tuple[str, ...] = ()
    resumes: bool = False
    checked: bool = True
    same: tuple[str, ...] = ("**/*",)
    share: float = 1.0


def _encode_jobs(root: Path) -> Iterator[tuple[str, Job]]:
    corpora = _corpora(root)
    for name, old in (("new", _nothing), ("in place of an older one", partial(_older_index, corpora))):
        act = partial(_encode, corpora / "new.jsonl", overwrite=old is not _nothing)
        yield f"encode, {name}", Job(old, act, _hits, manifests=("manifest.json",), resumes=True)


def _join_jobs(root: Path) -> Iterator[tuple[str, Job]]:
    yield "join", Job(partial(_parts, _corpora(root)), _join, _hits, manifests=("manifest.json",))


def _beside_jobs(root: Path) -> Iterator[tuple[str, Job]]:
    corpora = _corpora(root)
    beside = {
        "graph": (_graph, partial(_hits, searcher="graph"), "graphs/*/graph.json", True),
        "surrogate": (_surrogate, partial(_hits, searcher="surrogate"), "surrogate/surrogate.json", False),
    }
    for kind, (act, read, manifest, resumes) in beside.items():
        for name, older in (("new", False), ("in place of older ones", True)):
            old = partial(_index_with, corpora, kind, older)
            act = partial(act, overwrite=True) if kind == "graph" and older else act
            yield f"index, {kind}, {name}", Job(old, act, read, manifests=(manifest,), resumes=resumes)


def _q_net_jobs(root: Path) -> Iterator[tuple[str, Job]]:
    for name, old in (("new", _nothing), ("in place of older ones", partial(_q_nets, 1))):
        yield f"q-nets, {name}", Job(old, partial(_q_nets, 2), _read_q_nets, manifests=("manifest.json",))


def _run_jobs(root: Path) -> Iterator[tuple[str, Job]]:
    act = partial(_search, *_searched(root / "searched"))
    for name, old in (("new", _nothing), ("in place of an older one", partial(_text, "1 Q0 old 1 1.0 older\n"))):
        yield f"run, {name}", Job(old, act, _read_file, "out/run.txt", checked=False)


def _mine_jobs(root: Path) -> Iterator[tuple[str, Job]]:
    act = partial(_mine, _mine_inputs(root / "mined"))
    for name, old in (("new", _nothing), ("in place of older ones", partial(_text, "{}\n"))):
        yield f"mine, {name}", Job(old, act, _read_file, "out/run.txt", checked=False, resumes=True)


def _checkpoint_jobs(root: Path) -> Iterator[tuple[str, Job]]:
    models = _models(root / "models")
    for name, old in (("new", _nothing), ("in place of an older one", partial(_save, models / "older"))):
        act = partial(_save, models / "newer")
        yield f"checkpoint, {name}", Job(old, act, _read_checkpoint, manifests=("config.json",))


def _train_jobs(root: Path) -> Iterator[tuple[str, Job]]:
    folder = root / "training"
    importlib.import_module("hypensearch.train.run")  # a child that may write nowhere may not be able to read it either
    act = partial(_train, make_backbone(_folder(folder / "backbone")), make_data(_folder(folder / "data")))
    same = ("config.json", "*.safetensors", "tokenizer*", "vocab.txt")
    yield "train", Job(_nothing, act, _read_checkpoint, resumes=True, same=same, share=0.4)
    data = make_data(_folder(root / "resumed" / "data"))  # with a configuration of its own
    act = partial(_train, folder / "backbone", data)
    yield (
        "train, resumed",
        Job(partial(_half_trained, act), act, _read_checkpoint, resumes=True, same=same, share=0.4),
    )


def _repair_jobs(root: Path) -> Iterator[tuple[str, Job]]:
    old = partial(_damaged, _repairable(root / "repaired", _models(root / "models") / "newer"))
    yield "verify --repair", Job(old, _repair, _documents, manifests=("manifest.json",), share=0.4)


#: What makes the inputs of some jobs in a folder, and gives the jobs by name.
JOBS: dict[str, Callable[[Path], Iterator[tuple[str, Job]]]] = {
    "encode": _encode_jobs,
    "join": _join_jobs,
    "index": _beside_jobs,
    "q-nets": _q_net_jobs,
    "run": _run_jobs,
    "mine": _mine_jobs,
    "checkpoint": _checkpoint_jobs,
    "train": _train_jobs,
    "verify": _repair_jobs,
}


def _command(name: str, *argv: object) -> int:
    main = importlib.import_module(COMMANDS[name][0]).main
    try:
        return int(main([str(word) for word in argv]))
    except SystemExit as end:  # argparse's way
        return int(end.code or 0)


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def _nothing(work: Path) -> None:
    (work / "out").mkdir()
    (work / "out").rmdir()


def _text(text: str, work: Path) -> None:
    _write(work / "out" / "run.txt", text)


# Indexes.


@cache
def _corpora(root: Path) -> Path:
    folder = _folder(root / "corpora")
    for name, count, seed in (("new", 60, 1), ("old", 40, 2)):
        rng = random.Random(seed)
        texts = {f"{name}{number}": " ".join(rng.sample(_WORDS, 8)) for number in range(count)}
        write_corpus(folder / f"{name}.jsonl", texts)
    return folder


def _encode(corpus: Path, work: Path, *, folder: str = "out", overwrite: bool = False) -> int:
    encoding = EncodingOptions(batch_size=4, window_rows=16)
    out = OutputOptions(store_documents=True, to_faiss=True, overwrite=overwrite)
    return cli.run(lambda: encode_corpus(corpus, work / folder, HashEncoder, encoding=encoding, out=out))


def _older_index(corpora: Path, work: Path) -> None:
    _must(_encode(corpora / "old.jsonl", work))


def _parts(corpora: Path, work: Path) -> None:
    _must(_encode(corpora / "new.jsonl", work, folder="one"))
    _must(_encode(corpora / "old.jsonl", work, folder="two"))


def _join(work: Path) -> int:
    return cli.run(lambda: join_indexes([work / "one", work / "two"], work / "out"))


def _index_with(corpora: Path, kind: str, older: bool, work: Path) -> None:
    _must(_encode(corpora / "new.jsonl", work))
    with FlatIndex.open(work / "out") as index:
        if kind == "graph" and older:
            build_graph(index, CPU, GraphBuildOptions(degree=4, name="g"))
        if kind == "surrogate" and older:
            build_surrogate(index, random_q_nets(CONFIG, 9, seed=5), CPU, seed=1)


def _graph(work: Path, *, overwrite: bool = False) -> int:
    more = ["--overwrite"] if overwrite else []
    flags = ["--degree", 6, "--name", "g", "--block-rows", 16, "--device", "cpu", *more]
    return _command("index", "--index", work / "out", *flags)


def _surrogate(work: Path) -> int:
    def build() -> None:
        with FlatIndex.open(work / "out") as index:
            build_surrogate(index, random_q_nets(CONFIG, 9, seed=6), CPU)

    return cli.run(build)


def _hits(work: Path, **options: object) -> object:
    if options.get("searcher") == "graph":
        options |= {"graph": "g", "ncandidates": 4, "max_iter": 3}
        options.setdefault("num_entry_points", 6)
    queries = random_q_nets(CONFIG, 5, seed=7)
    options.setdefault("searcher", "exhaustive")
    with HypencoderSearcher(work / "out", device="cpu", **options) as searcher:
        found = searcher.find(queries, 7)
        hits = [of_query.hits(searcher.index.docid) for of_query in found]
        return (
            [(hit.docid, hit.score) for of_query in hits for hit in of_query],
            [of_query.scored for of_query in found],
            [searcher.index.document(of_query[0].docid).raw() for of_query in hits],  # type: ignore[union-attr]
            _codes(searcher.index) if options["searcher"] == "surrogate" else None,
        )


def _codes(index: FlatIndex) -> list[bytes]:
    """The codes themselves: in a small index, whatever they are, all documents are scored."""
    codes = open_surrogate(index)
    assert codes is not None
    return [array.tobytes() for array in (codes.codes, codes.scales, codes.leverages, codes.sample, codes.outliers)]


def _documents(work: Path) -> object:
    with FlatIndex.open(work / "out") as index:
        index.check_once()
        vectors = np.concatenate([shard.vectors for shard in index.shards])
        return list(index.docids()), hashlib.sha256(vectors.tobytes()).hexdigest()


def _repairable(folder: Path, model: Path) -> Path:
    texts = {f"d{number}": " ".join(_WORDS[number % 50 : number % 50 + 5]) for number in range(40)}
    folder.mkdir()
    _must(_command("encode", *encode(write_corpus(folder / "corpus.jsonl", texts), folder / "index", model)))
    return folder / "index"


def _damaged(index: Path, work: Path) -> None:
    shutil.copytree(index, work / "out")
    (vectors,) = (work / "out").glob("*/vectors.npy")
    content = bytearray(vectors.read_bytes())
    content[-9] ^= 1
    vectors.write_bytes(content)


def _repair(work: Path) -> int:
    return _command("verify", work / "out", "--repair", "--device", "cpu")


# What comes of queries.


_TOPICS = {str(number): f"query {number}" for number in range(70)}


def _q_nets(seed: int, work: Path) -> int:
    q_nets = random_q_nets(CONFIG, len(_TOPICS), seed=seed)
    blocks = (to_arrays(q_nets[start : start + 64]) for start in range(0, len(q_nets), 64))
    facts = {"name": "toy", "fingerprint": f"{seed}"}
    return cli.run(lambda: write_q_nets(work / "out", architecture_facts(CONFIG), facts, _TOPICS, blocks))


def _read_q_nets(work: Path) -> object:
    stored = open_q_nets(work / "out")
    arrays = stored.read(stored.topics)
    digest = hashlib.sha256(json.dumps([stored.topics, stored.model, stored.architecture]).encode())
    for tensors in arrays.values():
        for name, array in sorted(tensors.items()):
            digest.update(name.encode() + array.tobytes())
    return digest.hexdigest()


def _searched(folder: Path) -> tuple[Path, Path, Path]:
    topics = write_topics(_folder(folder) / "topics.tsv", _TOPICS)
    with save_index(folder / "index", random_vectors(60, 8)):
        _must(_q_nets(3, folder))
    return folder / "index", folder / "out", topics


def _search(index: Path, q_nets: Path, topics: Path, work: Path) -> int:
    flags = ["--index", index, "--encoded-queries", q_nets, "--topics", topics, "--hits", 20, "--batch-size", 4]
    return _command("search", *flags, "--device", "cpu", "--output", work / "out" / "run.txt")


def _mine_inputs(folder: Path) -> Path:
    write_corpus(_folder(folder) / "corpus.jsonl", {f"d{n}": " ".join(_WORDS[n : n + 20]) for n in range(40)})
    write_topics(folder / "topics.tsv", {str(n): _WORDS[n] for n in range(40)})
    _write(folder / "qrels.txt", "".join(f"{n} 0 d{n} 1\n" for n in range(40)))
    lines = [f"{n} Q0 d{(n + rank) % 40} {rank + 1} {20 - rank} x\n" for n in range(40) for rank in range(15)]
    _write(folder / "run.txt", "".join(lines))
    return folder


def _mine(folder: Path, work: Path) -> int:
    names = {"topics": "topics.tsv", "qrels": "qrels.txt", "run": "run.txt", "corpus": "corpus.jsonl"}
    flags = [word for name, file in names.items() for word in (f"--{name}", folder / file)]
    return _command("mine", *flags, "--output", work / "out" / "run.txt", "--negatives", 5)


def _read_file(work: Path) -> object:
    path = work / "out" / "run.txt"
    return sha256_of(path)


# Checkpoints.


@cache
def _models(folder: Path) -> Path:
    backbone, data = make_backbone(_folder(folder / "backbone")), make_data(_folder(folder / "data"))
    for name, seed in (("older", 1), ("newer", 2)):
        settings = {"seed": seed, "max_steps": 1, "eval_steps": 1, "validation": [], "output": str(folder / name)}
        config = make_settings(backbone, data, folder, **settings)
        _write(folder / "config.json", to_json(config))
        _must(_command("train", "--config", folder / "config.json"))
    return folder


def _save(model: Path, work: Path) -> int:
    return _command("convert", "--encoder", model, "--output", work / "out")


def _read_checkpoint(work: Path) -> object:
    model = load_model(str(work / "out"))
    return model.fingerprint, model.query_fingerprint, str(model.config.q_net)


def _train(backbone: Path, data: Path, work: Path) -> int:
    steps = {"max_steps": 6, "eval_steps": 2, "dropout": 0.1, "keep_checkpoints": 2}
    config = make_settings(backbone, data, work, output=str(work / "out"), **steps)
    path = data.parent / "config.json"
    if not path.exists():
        _write(path, to_json(config))
    more = ["--resume"] if list((work / "out" / "training").glob("checkpoint-*")) else []
    return _command("train", "--config", path, *more)


def _half_trained(act: Callable[[Path], int], work: Path) -> None:
    """What a training leaves that was stopped behind its last checkpoint but one."""
    _must(act(work))
    for path in (work / "out").iterdir():
        if path.is_file():
            path.unlink()
    shutil.rmtree(max((work / "out" / "training").glob("checkpoint-*")))


def _folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


def _must(code: int) -> None:
    assert code == os.EX_OK
