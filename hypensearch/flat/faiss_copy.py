# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Pyserini's copy of an index: ``index`` (a Faiss IndexFlatIP) and ``docid``, for its FaissSearcher."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress

import numpy as np

from hypensearch.flat.manifest import DOCID, VECTORS
from hypensearch.formats.embeddings import FAISS_DOCID, FAISS_INDEX, faiss_flat_header
from hypensearch.formats.files import replace_when_whole
from hypensearch.formats.sealed import BLOCK_ROWS

FAISS_FILES = (FAISS_INDEX, FAISS_DOCID)


def write_faiss_copy(folder: str, shard_folder: str, num_docs: int, dim: int) -> None:
    """Write a shard's vectors and docids the way Pyserini has them; needs no Faiss.

    :param folder: Where to.
    :param shard_folder: A shard whose vectors are complete.
    :param num_docs: Its number of documents.
    :param dim: Size of a document vector.
    """
    vectors = np.load(os.path.join(shard_folder, VECTORS), mmap_mode="r")
    with suppress(FileNotFoundError):  # two files cannot change at once: new vectors never stand beside old docids
        os.unlink(os.path.join(folder, FAISS_DOCID))
    with replace_when_whole(os.path.join(folder, FAISS_INDEX), follow_link=False) as file:
        file.write(faiss_flat_header(num_docs, dim))
        for start in range(0, num_docs, BLOCK_ROWS):
            file.write(np.ascontiguousarray(vectors[start : start + BLOCK_ROWS], dtype=np.float32).data)
    with (
        replace_when_whole(os.path.join(folder, FAISS_DOCID), follow_link=False) as file,
        open(os.path.join(shard_folder, DOCID), "rb") as ids,
    ):
        shutil.copyfileobj(ids, file)
