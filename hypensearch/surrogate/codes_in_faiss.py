# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The codes of a surrogate search in an index of Faiss, which finds those of high inner products.

``INDEX/surrogate/faiss-ivf.index`` is Faiss' file, ``faiss-ivf.json`` tells which codes it was made of, and its digest:
Faiss looks little at what it takes in, so it is given nothing that has changed. Both go when codes are made anew.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from hypensearch.errors import HypensearchError, as_typed
from hypensearch.flat.index import FlatIndex
from hypensearch.formats.checked import check_once
from hypensearch.formats.files import replace_when_whole, sha256_of
from hypensearch.formats.json_files import check_signed, parse_json, read_bounded, signed_json
from hypensearch.surrogate.store import FOLDER, Surrogate, codes_digest

#: The forms that Faiss' index may have.
FORMS = ("faiss-flat", "faiss-ivf", "faiss-hnsw")

_READ_ROWS = 65536
_HNSW_LINKS = 32
_TRAINED_ON = 64  # documents of a list, for its centroid
_PROBED = 16  # one list in so many, at least 8
_LEAST_PROBED = 8


def build_codes_in_faiss(form: str, index: FlatIndex, surrogate: Surrogate) -> Path:
    """Make an index of the codes in Faiss, beside them.

    :param form: One of :data:`FORMS`.
    :return: Its file.
    :raises HypensearchError: When Faiss is not installed.
    """
    library = _faiss()
    num_docs = len(surrogate.codes)
    engine = _empty(library, form, surrogate)
    if not engine.is_trained:
        rows = np.random.default_rng(0).permutation(num_docs)[: _TRAINED_ON * engine.nlist]
        engine.train(_float(surrogate, np.sort(rows)))
        engine.nprobe = min(engine.nlist, max(_LEAST_PROBED, engine.nlist // _PROBED))
    for start in range(0, num_docs, _READ_ROWS):
        engine.add(_float(surrogate, slice(start, start + _READ_ROWS)))
    path = _path(form, index)
    path.with_suffix(".json").unlink(missing_ok=True)
    with replace_when_whole(path, follow_link=False) as file:
        file.write(library.serialize_index(engine).tobytes())
    facts = {"codes": codes_digest(surrogate), "documents": num_docs, "sha256": sha256_of(path)}
    with replace_when_whole(path.with_suffix(".json"), follow_link=False) as file:
        file.write(signed_json(facts))
    return path


def open_codes_in_faiss(form: str, index: FlatIndex, surrogate: Surrogate) -> Any:
    """Open what :func:`build_codes_in_faiss` made.

    :raises HypensearchError: When there is none, it is damaged or of other codes, or Faiss is not installed.
    """
    library, path = _faiss(), _path(form, index)
    make = f"make it with: {as_typed('hypensearch.index', '--index', index.folder, '--engine', form)}"
    try:
        content = read_bounded(path.with_suffix(".json"))
        facts = parse_json(content)
        check_signed(content, facts)
        belongs = facts["codes"] == codes_digest(surrogate)
        if not path.is_file():
            raise FileNotFoundError
        check_once(path.parent, {os.fspath(path): facts["sha256"]}, lambda: _check(path, facts["sha256"]))
        engine = library.read_index(os.fspath(path))
    except FileNotFoundError:
        raise HypensearchError(f"{index.folder} has no {form} of its codes; {make}") from None
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise HypensearchError(f"{path}: damaged ({str(error).splitlines()[0]}); {make}") from None
    if not belongs or (engine.ntotal, engine.d) != surrogate.codes.shape:
        raise HypensearchError(f"{path}: was made of other codes than lie beside it; {make}")
    return engine


def _check(path: Path, digest: str) -> None:
    if sha256_of(path) != digest:
        raise ValueError("its content has changed since it was written")


def _empty(library: Any, form: str, surrogate: Surrogate) -> Any:
    num_docs, size = surrogate.codes.shape
    product = library.METRIC_INNER_PRODUCT
    if form == "faiss-flat":
        return library.IndexFlatIP(size)
    if form == "faiss-hnsw":
        return library.IndexHNSWFlat(size, _HNSW_LINKS, product)
    lists = max(1, min(int(4 * num_docs**0.5), num_docs // _TRAINED_ON))
    return library.index_factory(size, f"IVF{lists},SQ8", product)


def _float(surrogate: Surrogate, rows: np.ndarray | slice) -> np.ndarray:
    scales = (np.asarray(surrogate.scales[rows]).astype(np.uint32) << 16).view(np.float32)
    return np.ascontiguousarray(surrogate.codes[rows].astype(np.float32) * scales[:, None])


def _path(form: str, index: FlatIndex) -> Path:
    return Path(index.folder) / FOLDER / f"{form}.index"


def _faiss() -> Any:
    try:
        import faiss
    except ImportError:
        raise HypensearchError("--engine faiss-* needs Faiss: pip install 'hypensearch[faiss]'") from None
    return faiss
