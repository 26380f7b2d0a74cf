# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Compiles the scoring kernel for GPUs that are not there: ``python -m integrations.speed.kernels``.

Triton compiles without a driver for a GPU that is named; its wheel brings NVIDIA's ``ptxas``, ``cuobjdump`` and
``nvdisasm``. For each tiling that a search may launch on each GPU, a line says what its machine code needs. The exit
code is 1 if one takes more shared memory than the GPU has, other than our code predicts, computes products without
tensor cores, or keeps what registers have no room for in local memory inside an innermost loop.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from hypensearch.models import QNetConfig
from hypensearch.scoring.gpu.kernels import finish_rows, score_tiles
from hypensearch.scoring.gpu.layers import finish_constants
from hypensearch.scoring.gpu.triton_scorer import SHARED_MEMORY, Tiling, constants, shared_memory, tilings
from hypensearch.scoring.scorer import DTYPES

TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
_NUMBERS = {torch.bfloat16: "bf16", torch.float16: "fp16", torch.float32: "fp32"}
_SPILL = re.compile(r"\b(?:LDL|STL)\b")
_SCALARS = ("num_docs", "num_queries", "room")


def main(argv: Sequence[str] | None = None) -> int:
    """Compile and print.

    :return: The exit code: 1 if a kernel is not as it should be.
    """
    parser = argparse.ArgumentParser(prog="python -m integrations.speed.kernels", description=__doc__)
    parser.add_argument("--dims", type=int, nargs="+", default=[384, 768, 1024], help="widths of the q-nets")
    parser.add_argument("--blocks", type=int, nargs="+", default=[2, 6], help="hidden blocks of the q-nets")
    parser.add_argument("--precision", nargs="+", choices=["bf16", "fp16", "fp32"], default=["bf16", "fp16"])
    parser.add_argument("--gpus", nargs="+", default=["8.0", "8.9", "9.0", "10.0", "12.0"], help="compute capabilities")
    parser.add_argument("--tilings", type=int, help="only so many of each (all)")
    args = parser.parse_args(argv)
    print(f"Triton {triton.__version__}\n")
    columns = ("width", "blocks", "type", "GPU", "rows, columns, inner, warps, stages", "shared bytes", "of")
    print("|", " | ".join((*columns, "registers", "stack", "spills", "in loops")), "|")
    print("|" + "---|" * (len(columns) + 4))
    wrong = []
    for dim in args.dims:
        for blocks in args.blocks:
            config = QNetConfig(dims=(*[dim] * (blocks + 1), 1))
            for precision in args.precision:
                for gpu in args.gpus:
                    wrong += _compile_for(config, precision, gpu, args.tilings)
    print("\n".join(["", *wrong]))
    return 1 if wrong else 0


def _compile_for(config: QNetConfig, precision: str, gpu: str, most: int | None) -> list[str]:
    major, minor = gpu.split(".")
    capability, dtype, wrong = (int(major), int(minor)), DTYPES[precision], []
    for tiling in tilings(config, dtype, capability)[:most]:
        made = compile_kernel(config, dtype, tiling, capability)
        limit, predicted = SHARED_MEMORY[capability], shared_memory(tiling, dtype, capability)
        shape = ", ".join(map(str, (tiling.rows, tiling.columns, tiling.inner, tiling.warps, tiling.stages)))
        facts = (config.dims[0], config.num_blocks, precision, gpu, shape, f"{made.shared:,}", f"{limit:,}")
        print(
            "|",
            " | ".join(map(str, (*facts, made.registers, made.stack, made.spills, made.spills_in_loops))),
            "|",
            flush=True,
        )
        where = f"{config.dims[0]} x {config.num_blocks}, {precision}, GPU {gpu}, {shape}: "
        if made.shared > limit:
            wrong.append(f"{where}{made.shared:,} bytes of shared memory, the GPU has {limit:,}")
        if made.shared != predicted:
            wrong.append(f"{where}{made.shared:,} bytes of shared memory, {predicted:,} predicted")
        if made.spills_in_loops:
            wrong.append(f"{where}{made.spills_in_loops} loads and stores of local memory in its innermost loops")
        if not made.tensor_cores:
            wrong.append(f"{where}no tensor cores")
    for block in {0, config.num_blocks - 1}:
        made = compile_finish(config, dtype, block, capability)
        facts = (
            config.dims[0],
            config.num_blocks,
            precision,
            gpu,
            f"behind product {block + 1}",
            f"{made.shared:,}",
            "",
        )
        print("|", " | ".join(map(str, (*facts, made.registers, made.stack, made.spills, 0))), "|", flush=True)
        if made.spills:
            wrong.append(f"{config.dims[0]} wide, {precision}, GPU {gpu}: {made.spills} spills behind a product")
    return wrong


@dataclass(frozen=True)
class Compiled:
    """What a kernel needs of a GPU.

    :param shared: Bytes of shared memory of a program.
    :param registers: Registers of a thread, at most 255.
    :param stack: Bytes of local memory of a thread: what registers had no room for.
    :param spills: Loads and stores of local memory in the machine code.
    :param spills_in_loops: Those of them that lie in innermost loops.
    :param tensor_cores: Instructions of matrix products in it.
    """

    shared: int
    registers: int
    stack: int
    spills: int
    spills_in_loops: int
    tensor_cores: int


def compile_kernel(config: QNetConfig, dtype: torch.dtype, tiling: Tiling, capability: tuple[int, int]) -> Compiled:
    """Compile the kernel of whole q-nets as a launch on a GPU of that compute capability would."""
    options = {"num_warps": tiling.warps, "num_stages": tiling.stages}
    return _compile(score_tiles, constants(config, dtype, tiling, append=True), dtype, capability, options)


def compile_finish(config: QNetConfig, dtype: torch.dtype, block: int, capability: tuple[int, int]) -> Compiled:
    """Compile the kernel of what follows a block's product."""
    return _compile(finish_rows, finish_constants(config, block, append=True), dtype, capability, {"num_warps": 8})


def _compile(
    kernel: Any, fixed: Mapping[str, object], dtype: torch.dtype, capability: tuple[int, int], options: dict[str, int]
) -> Compiled:
    source = ASTSource(
        kernel,
        {name: "constexpr" if name in fixed else _type(name, dtype) for name in kernel.arg_names},
        dict(fixed),
        # Pointers are those of whole tensors, and aligned; numbers are not specialised.
        {
            (place,): [["tt.divisibility", 16]]
            for place, name in enumerate(kernel.arg_names)
            if name not in fixed and name not in _SCALARS
        },
    )
    target = GPUTarget("cuda", 10 * capability[0] + capability[1], 32)
    made = triton.compile(source, target=target, options=options)
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(made.asm["cubin"])
        file.flush()
        usage = _output("cuobjdump", "-res-usage", file.name)
        code = _output("nvdisasm", "-c", file.name)
    return Compiled(
        shared=made.metadata.shared,
        registers=int(re.search(r"REG:(\d+)", usage)[1]),  # type: ignore[index]
        stack=int(re.search(r"STACK:(\d+)", usage)[1]),  # type: ignore[index]
        spills=len(_SPILL.findall(code)),
        spills_in_loops=sum(len(_SPILL.findall(loop)) for loop in _innermost_loops(code)),
        tensor_cores=len(re.findall(r"\b(?:HGMMA|HMMA|UTCHMMA|UTCMMA)", code)),
    )


def _innermost_loops(code: str) -> Iterator[str]:
    """Give what lies between a label and a jump back to it, where no other such pair lies in between."""
    lines = code.splitlines()
    labels = {label[1]: number for number, line in enumerate(lines) if (label := re.match(r"(\.L_\w+):", line))}
    loops = []
    for number, line in enumerate(lines):
        jump = re.search(r"\bBRA\b.*`\((\.L_\w+)\)", line)
        if jump and labels.get(jump[1], number) < number:
            loops.append((labels[jump[1]], number))
    for start, end in loops:
        if not any((start, end) != other and start <= other[0] and other[1] <= end for other in loops):
            yield "\n".join(lines[start:end])


def _type(name: str, dtype: torch.dtype) -> str:
    if name in _SCALARS:
        return "i32"
    if name in ("vectors", "first_weights", "hidden_weights", "states", "inputs", "outputs"):
        return f"*{_NUMBERS[dtype]}"
    if name in ("widths", "counts", "docid_rank"):
        return "*i32"
    return "*i64" if name == "candidates" else "*fp32"


def _output(tool: str, *arguments: str) -> str:
    done = subprocess.run([TOOLS / tool, *arguments], capture_output=True, text=True)
    return done.stdout + done.stderr


if __name__ == "__main__":
    raise SystemExit(main())
