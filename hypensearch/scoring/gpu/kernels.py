# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""A kernel that runs whole q-nets: a program takes a tile of documents through all blocks, query after query.

Between blocks a tile's states lie in a piece of memory of its program, small enough to stay in the GPU's L2 cache. A
block is a matrix product whose epilogue adds the bias, activates and gathers mean and variance of each row; a second,
cheap pass normalises and adds the residual. The last block is never stored: with ``w`` centred, the score of a
normalised row is ``sum(h * w) / std(h)``, so its sums are enough. Scores are either written, or only those that reach a
bar are appended to a list of candidates.

Widths need not be powers of two, nor equal: weights are padded with zeros (see
:mod:`hypensearch.scoring.gpu.triton_scorer`), and columns beyond a block's width are kept at zero.
"""

from typing import Any  # annotations are strings: Triton looks their names up in a world of its own

import triton
import triton.language as tl

EPS = tl.constexpr(1e-5)
BROKEN = tl.constexpr(0x7FC00000)  # NaN's bits, above those of every finite score


@triton.jit(do_not_specialize=["num_docs", "num_queries", "room"])  # another number compiles nothing
def score_tiles(
    vectors: "Any",  # (num_docs, DIM), in the dtype to compute in
    first_weights: "Any",  # (num_queries, DIM padded to INNER, WIDTH)
    hidden_weights: "Any",  # (num_queries, BLOCKS - 1, WIDTH, WIDTH)
    biases: "Any",  # (num_queries, BLOCKS, WIDTH), float32
    output_weights: "Any",  # (num_queries, 2, WIDTH), float32: centred where the norm comes last, and as they are
    widths: "Any",  # (BLOCKS,), int32
    states: "Any",  # (programs, 2, ROWS, WIDTH)
    scores: "Any",  # (num_queries, num_docs), float32; unused with APPEND
    bars: "Any",  # (num_queries,), float32: only scores at or above are appended
    counts: "Any",  # (num_queries,), int32: candidates that have been offered, stored or not
    candidates: "Any",  # (num_queries, room), int64
    docid_rank: "Any",  # (num_docs,), int32
    num_docs: "int",
    num_queries: "int",
    room: "int",
    DIM: tl.constexpr,
    WIDTH: tl.constexpr,
    BLOCKS: tl.constexpr,
    ACTIVATION: tl.constexpr,
    NORM: tl.constexpr,  # "none", "first" (before the residual) or "last"
    RESIDUAL: tl.constexpr,  # of all blocks but the last
    RESIDUAL_ON_LAST: tl.constexpr,
    PRECISION: tl.constexpr,
    WIDEN: tl.constexpr,  # the interpreter cannot multiply bfloat16: multiply float32 instead
    PADDED: tl.constexpr,  # whether a block is narrower than WIDTH
    APPEND: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    INNER: tl.constexpr,
) -> None:
    """Score all documents with all q-nets; a program takes every so-many-th tile, and query."""
    program = tl.program_id(1) * tl.num_programs(0) + tl.program_id(0)
    mine = states + program.to(tl.int64) * (2 * ROWS * WIDTH)
    for tile in range(tl.program_id(0), tl.cdiv(num_docs, ROWS), tl.num_programs(0)):
        rows = tile * ROWS + tl.arange(0, ROWS)
        there = rows < num_docs
        # A tile that is not full repeats the last document; its scores are thrown away.
        documents = vectors + tl.minimum(rows, num_docs - 1).to(tl.int64)[:, None] * DIM
        for query in range(tl.program_id(1), num_queries, tl.num_programs(1)):
            wide = tl.cast(query, tl.int64)
            found = _score_tile(
                documents,
                first_weights + wide * (tl.cdiv(DIM, INNER) * INNER * WIDTH),
                hidden_weights + wide * ((BLOCKS - 1) * WIDTH * WIDTH),
                biases + wide * (BLOCKS * WIDTH),
                output_weights + wide * (2 * WIDTH),
                widths,
                mine,
                DIM,
                WIDTH,
                BLOCKS,
                ACTIVATION,
                NORM,
                RESIDUAL,
                RESIDUAL_ON_LAST,
                PRECISION,
                WIDEN,
                PADDED,
                ROWS,
                COLUMNS,
                INNER,
            )
            _keep(
                found,
                there,
                rows,
                scores + wide * num_docs,
                bars + query,
                counts + query,
                candidates + wide * room,
                docid_rank,
                room,
                APPEND,
            )


@triton.jit
def _score_tile(
    documents: "Any",  # pointers to the rows, (ROWS, 1)
    first_weights: "Any",
    hidden_weights: "Any",
    biases: "Any",
    output_weights: "Any",
    widths: "Any",
    states: "Any",
    DIM: tl.constexpr,
    WIDTH: tl.constexpr,
    BLOCKS: tl.constexpr,
    ACTIVATION: tl.constexpr,
    NORM: tl.constexpr,
    RESIDUAL: tl.constexpr,
    RESIDUAL_ON_LAST: tl.constexpr,
    PRECISION: tl.constexpr,
    WIDEN: tl.constexpr,
    PADDED: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    INNER: tl.constexpr,
) -> "Any":
    """Score a tile of documents with one q-net, (ROWS,)."""
    if BLOCKS == 0:
        found = _inner_products(documents, output_weights, DIM, ROWS, INNER)
    else:
        own = states + tl.arange(0, ROWS)[:, None] * WIDTH
        if BLOCKS > 1:
            width = tl.load(widths)
            _block(
                documents, first_weights, biases, own, width,
                DIM, WIDTH, ACTIVATION, NORM, RESIDUAL, PRECISION, WIDEN, PADDED, ROWS, COLUMNS, INNER,
            )  # fmt: skip
        for block in range(1, BLOCKS - 1):
            width = tl.load(widths + block)
            _block(
                own + ((block - 1) % 2) * (ROWS * WIDTH),
                hidden_weights + (block - 1) * (WIDTH * WIDTH),
                biases + block * WIDTH,
                own + (block % 2) * (ROWS * WIDTH),
                width,
                WIDTH, WIDTH, ACTIVATION, NORM, RESIDUAL, PRECISION, WIDEN, PADDED, ROWS, COLUMNS, INNER,
            )  # fmt: skip
        width = tl.load(widths + BLOCKS - 1)
        if BLOCKS == 1:
            found = _last_block(
                documents, first_weights, biases, output_weights, width,
                DIM, WIDTH, ACTIVATION, NORM, RESIDUAL_ON_LAST, PRECISION, WIDEN, PADDED, ROWS, COLUMNS, INNER,
            )  # fmt: skip
        else:
            found = _last_block(
                own + (BLOCKS % 2) * (ROWS * WIDTH),
                hidden_weights + (BLOCKS - 2) * (WIDTH * WIDTH),
                biases + (BLOCKS - 1) * WIDTH,
                output_weights,
                width,
                WIDTH, WIDTH, ACTIVATION, NORM, RESIDUAL_ON_LAST, PRECISION, WIDEN, PADDED, ROWS, COLUMNS, INNER,
            )  # fmt: skip
            tl.debug_barrier()  # the next query writes where this one has read
    return found


@triton.jit
def _block(
    inputs: "Any",  # pointers to the rows, (ROWS, 1)
    weights: "Any",
    biases: "Any",
    outputs: "Any",  # pointers to the rows, (ROWS, 1)
    width: "int",
    DIM: tl.constexpr,
    WIDTH: tl.constexpr,
    ACTIVATION: tl.constexpr,
    NORM: tl.constexpr,
    RESIDUAL: tl.constexpr,
    PRECISION: tl.constexpr,
    WIDEN: tl.constexpr,
    PADDED: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    INNER: tl.constexpr,
) -> None:
    """Compute a hidden block and store its output."""
    seen, mean, squares = 0.0, tl.zeros((ROWS,), tl.float32), tl.zeros((ROWS,), tl.float32)
    for first in range(0, WIDTH, COLUMNS):
        columns = first + tl.arange(0, COLUMNS)
        there = (columns < width)[None, :]
        h = _activated_product(
            inputs, weights, biases, columns, DIM, WIDTH, ACTIVATION, PRECISION, WIDEN, ROWS, COLUMNS, INNER
        )
        if RESIDUAL and NORM != "first":
            h += _columns_of(inputs, columns, DIM, WIDTH)
        if PADDED:
            h = tl.where(there, h, 0.0)
        if NORM != "none":
            seen, mean, squares = _add_moments(seen, mean, squares, h, there, PADDED)
        if NORM != "none" and WIDTH == COLUMNS:  # the whole row is here
            h = (h - mean[:, None]) / tl.sqrt(squares / seen + EPS)[:, None]
            if RESIDUAL and NORM == "first":
                h += _columns_of(inputs, columns, DIM, WIDTH)
            if PADDED:
                h = tl.where(there, h, 0.0)
        tl.store(outputs + columns[None, :], h.to(outputs.dtype.element_ty))
    tl.debug_barrier()
    if NORM != "none" and WIDTH != COLUMNS:
        few: tl.constexpr = COLUMNS if COLUMNS < 32 else 32  # what is not needed stays out of registers
        scale = 1 / tl.sqrt(squares / seen + EPS)
        for first in tl.range(0, WIDTH, few, num_stages=3):
            columns = first + tl.arange(0, few)
            h = tl.load(outputs + columns[None, :]).to(tl.float32)
            h = (h - mean[:, None]) * scale[:, None]
            if RESIDUAL and NORM == "first":
                h += _columns_of(inputs, columns, DIM, WIDTH)
            if PADDED:
                h = tl.where((columns < width)[None, :], h, 0.0)
            tl.store(outputs + columns[None, :], h.to(outputs.dtype.element_ty))
        tl.debug_barrier()


@triton.jit
def _last_block(
    inputs: "Any",  # pointers to the rows, (ROWS, 1)
    weights: "Any",
    biases: "Any",
    output_weights: "Any",
    width: "int",
    DIM: tl.constexpr,
    WIDTH: tl.constexpr,
    ACTIVATION: tl.constexpr,
    NORM: tl.constexpr,
    RESIDUAL: tl.constexpr,
    PRECISION: tl.constexpr,
    WIDEN: tl.constexpr,
    PADDED: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    INNER: tl.constexpr,
) -> "Any":
    """Compute the last block and the output layer, nothing stored: the sums of each row give its score, (ROWS,)."""
    seen, mean, squares = 0.0, tl.zeros((ROWS,), tl.float32), tl.zeros((ROWS,), tl.float32)
    weighted = tl.zeros((ROWS,), tl.float32)
    added = tl.zeros((ROWS,), tl.float32)
    for first in range(0, WIDTH, COLUMNS):
        columns = first + tl.arange(0, COLUMNS)
        there = (columns < width)[None, :]
        h = _activated_product(
            inputs, weights, biases, columns, DIM, WIDTH, ACTIVATION, PRECISION, WIDEN, ROWS, COLUMNS, INNER
        )
        if RESIDUAL:
            before = _columns_of(inputs, columns, DIM, WIDTH)
            if NORM == "first":
                added += tl.sum(before * tl.load(output_weights + WIDTH + columns)[None, :], axis=1)
            else:
                h += before
        if PADDED:
            h = tl.where(there, h, 0.0)
        if NORM != "none":
            seen, mean, squares = _add_moments(seen, mean, squares, h, there, PADDED)
        weighted += tl.sum(h * tl.load(output_weights + columns)[None, :], axis=1)
    if NORM != "none":
        weighted /= tl.sqrt(squares / seen + EPS)
    return weighted + added


@triton.jit
def _activated_product(
    inputs: "Any",
    weights: "Any",
    biases: "Any",
    columns: "Any",
    DIM: tl.constexpr,
    WIDTH: tl.constexpr,
    ACTIVATION: tl.constexpr,
    PRECISION: tl.constexpr,
    WIDEN: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    INNER: tl.constexpr,
) -> "Any":
    """Multiply rows with some columns of the weights, add the bias and activate: float32, (ROWS, COLUMNS)."""
    sums = tl.zeros((ROWS, COLUMNS), tl.float32)
    for first in range(0, DIM, INNER):
        inner = first + tl.arange(0, INNER)
        if DIM % INNER == 0:
            x = tl.load(inputs + inner[None, :])
        else:
            x = tl.load(inputs + inner[None, :], mask=(inner < DIM)[None, :], other=0.0)
        w = tl.load(weights + inner[:, None] * WIDTH + columns[None, :])
        if WIDEN:
            x, w = x.to(tl.float32), w.to(tl.float32)
        sums = tl.dot(x, w, sums, input_precision=PRECISION)
    return _activate(sums + tl.load(biases + columns)[None, :], ACTIVATION)


@triton.jit
def _activate(x: "Any", ACTIVATION: tl.constexpr) -> "Any":
    """Apply the activation; NaN stays NaN."""
    if ACTIVATION == "relu":
        y = tl.where(x < 0, 0.0, x)
    elif ACTIVATION == "leaky_relu":
        y = tl.where(x < 0, 0.01 * x, x)
    elif ACTIVATION == "tanh":
        y = 2 / (1 + tl.exp(-2 * x)) - 1
    elif ACTIVATION == "sigmoid":
        y = 1 / (1 + tl.exp(-x))
    else:
        tl.static_assert(ACTIVATION == "gelu")
        y = 0.5 * x * (1 + tl.erf(x * 0.7071067811865476))
    return y


@triton.jit
def _columns_of(inputs: "Any", columns: "Any", DIM: tl.constexpr, WIDTH: tl.constexpr) -> "Any":
    """Read some columns below WIDTH of the block's input, zero beyond its own width: float32, (ROWS, COLUMNS)."""
    if DIM >= WIDTH:
        found = tl.load(inputs + columns[None, :])
    else:
        found = tl.load(inputs + columns[None, :], mask=(columns < DIM)[None, :], other=0.0)
    return found.to(tl.float32)


@triton.jit
def _add_moments(seen: "Any", mean: "Any", squares: "Any", h: "Any", there: "Any", PADDED: tl.constexpr) -> "Any":
    """Update each row's moments with some of its columns (Chan, Golub, LeVeque), which cancels nothing.

    ``seen`` is the number of columns so far, the same for all rows.
    """
    if PADDED:
        more = tl.sum(tl.sum(there.to(tl.float32), axis=1), axis=0)
        of_these = tl.sum(h, axis=1) / tl.maximum(more, 1)
        apart = tl.where(there, h - of_these[:, None], 0.0)
    else:
        more = h.shape[1] + 0.0
        of_these = tl.sum(h, axis=1) / more
        apart = h - of_these[:, None]
    distance = of_these - mean
    total = seen + more
    share = more / total
    squares += tl.sum(apart * apart, axis=1) + distance * distance * seen * share
    return total, mean + distance * share, squares


@triton.jit
def _inner_products(
    documents: "Any", output_weights: "Any", DIM: tl.constexpr, ROWS: tl.constexpr, INNER: tl.constexpr
) -> "Any":
    """Score with a q-net without blocks, (ROWS,)."""
    sums = tl.zeros((ROWS,), tl.float32)
    for first in range(0, DIM, INNER):
        inner = first + tl.arange(0, INNER)
        w = tl.load(output_weights + inner)
        sums += tl.sum(_columns_of(documents, inner, DIM, tl.cdiv(DIM, INNER) * INNER) * w[None, :], axis=1)
    return sums


@triton.jit
def _keys(found: "Any", docid_rank: "Any") -> "Any":
    """Pack scores and docids as :func:`hypensearch.scoring.top_k.pack` does."""
    broken = (tl.abs(found) == float("inf")) | (found != found)
    found = tl.where(found == 0, 0.0, found)  # -0 equals 0
    bits = tl.where(broken, BROKEN, found.to(tl.int32, bitcast=True))
    ordered = tl.where(bits < 0, bits ^ 0x7FFFFFFF, bits)
    return (ordered.to(tl.int64) << 32) + (0xFFFFFFFF - docid_rank.to(tl.int64))


@triton.jit
def _append(keys: "Any", chosen: "Any", count: "Any", candidates: "Any", room: "int") -> None:
    """Append the chosen keys where there is room, and count them all."""
    number = tl.sum(chosen.to(tl.int32))
    if number > 0:
        place = tl.atomic_add(count, number) + tl.cumsum(chosen.to(tl.int32)) - 1
        tl.store(candidates + place, keys, mask=chosen & (place < room))


@triton.jit(do_not_specialize=["num_docs", "room"])
def finish_rows(
    outputs: "Any",  # of a block's linear map, (num_docs, WIDTH); its states lie there afterwards, unless LAST
    inputs: "Any",  # of the block, (num_docs, WIDTH) with RESIDUAL
    output_weights: "Any",  # (WIDTH,), float32; used with LAST
    scores: "Any",  # (num_docs,), float32; used with LAST, unless APPEND
    bars: "Any",  # of the query; these four as in score_tiles
    counts: "Any",
    candidates: "Any",
    docid_rank: "Any",
    num_docs: "int",
    room: "int",
    WIDTH: tl.constexpr,
    ACTIVATION: tl.constexpr,
    NORM: tl.constexpr,
    RESIDUAL: tl.constexpr,
    LAST: tl.constexpr,
    APPEND: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,  # a power of two, WIDTH at least
) -> None:
    """Finish a block after its matrix product; a program takes some whole rows."""
    rows, columns = tl.program_id(0) * ROWS + tl.arange(0, ROWS), tl.arange(0, COLUMNS)
    there, inside = rows < num_docs, (columns < WIDTH)[None, :]
    places = rows.to(tl.int64)[:, None] * WIDTH + columns[None, :]
    mask = there[:, None] & inside
    h = _activate(tl.load(outputs + places, mask=mask, other=0.0).to(tl.float32), ACTIVATION)
    if RESIDUAL and NORM != "first":
        h += tl.load(inputs + places, mask=mask, other=0.0).to(tl.float32)
    h = tl.where(inside, h, 0.0)
    if NORM != "none":
        mean = tl.sum(h, axis=1) / WIDTH
        h = tl.where(inside, h - mean[:, None], 0.0)
        h /= tl.sqrt(tl.sum(h * h, axis=1) / WIDTH + EPS)[:, None]
    if RESIDUAL and NORM == "first":
        h += tl.load(inputs + places, mask=mask, other=0.0).to(tl.float32)
    if LAST:
        found = tl.sum(h * tl.load(output_weights + columns, mask=columns < WIDTH, other=0.0)[None, :], axis=1)
        _keep(found, there, rows, scores, bars, counts, candidates, docid_rank, room, APPEND)
    else:
        tl.store(outputs + places, h.to(outputs.dtype.element_ty), mask=mask)


@triton.jit
def _keep(
    found: "Any",
    there: "Any",
    rows: "Any",
    scores: "Any",
    bars: "Any",
    counts: "Any",
    candidates: "Any",
    docid_rank: "Any",
    room: "int",
    APPEND: tl.constexpr,
) -> None:
    """Store one query's scores of some rows, or append those that reach its bar."""
    if APPEND:
        keys = _keys(found, tl.load(docid_rank + rows, mask=there, other=0))
        chosen = there & ((found >= tl.load(bars)) | (tl.abs(found) == float("inf")) | (found != found))
        _append(keys, chosen, counts, candidates, room)
    else:
        tl.store(scores + rows, found, mask=there)
