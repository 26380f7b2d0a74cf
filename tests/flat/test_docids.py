# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from hypensearch.flat.docids import Docids, SeenDocids, rank_docids

docids = st.lists(
    st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"]), min_size=1, max_size=20), unique=True, max_size=30
)


def stored(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    lines = [text.encode() + b"\n" for text in texts]
    offsets = np.cumsum([0, *map(len, lines)]).astype(np.uint64)
    return np.frombuffer(b"".join(lines), np.uint8), offsets


@given(docids)
@example(["12345678", "1234567", "123456789", "12345678a", "12345678A"])
@example(["\U0001f600", "￿", "é", "z"])
def test_rank_is_the_place_in_pythons_order(texts):
    rank = rank_docids(*stored(texts))
    assert [text for _, text in sorted(zip(rank.tolist(), texts, strict=True))] == sorted(texts)


@given(docids, st.data())
def test_docids_read_as_a_list_does(texts, data):
    lazy = Docids(*stored(texts))
    assert len(lazy) == len(texts)
    assert list(lazy) == texts
    some = data.draw(st.slices(len(texts)))
    assert lazy[some] == texts[some]
    assert [lazy[row] for row in range(-len(texts), 0)] == texts


@given(st.lists(docids, max_size=8), docids)
def test_seen_docids_suspects_what_was_added_and_nothing_else(blocks, asked):
    seen = SeenDocids()
    for block in blocks:
        seen.add(block)
    added = {docid for block in blocks for docid in block}
    assert seen.suspects(asked) == [position for position, docid in enumerate(asked) if docid in added]


def test_seen_docids_take_eight_bytes_each():
    seen = SeenDocids()
    for start in range(0, 10_000, 100):
        seen.add([str(number) for number in range(start, start + 100)])
    assert sum(run.nbytes for run in seen._runs) == 80_000
    assert len(seen._runs) < 15
