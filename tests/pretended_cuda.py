# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""A CUDA device for machines without one: its tensors say that they are on ``cuda:0`` and keep their numbers here.

Operations run on the CPU. Those that a GPU would refuse are refused: tensors of both devices in one operation, and
matrix products of two types. What makes a host wait for a GPU is counted, and so are the bytes that travel.
"""

from __future__ import annotations

import collections
import contextlib
import ctypes
import shutil
import subprocess
import tempfile
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from hypensearch.scoring import scorer

CPU, CUDA = torch.device("cpu"), torch.device("cuda:0")
MULTIPROCESSORS = 16
MEMORY = 139 << 30

_aten = torch.ops.aten
_INDEXING = {_aten.index.Tensor, _aten.index_put_.default, _aten.index_put.default, _aten._unsafe_index.Tensor}
_WAITS = {
    *(_aten._local_scalar_dense.default, _aten.nonzero.default, _aten.is_nonzero.default, _aten.equal.default),
    *(_aten.masked_select.default, _aten.bincount.default, _aten.unique_dim.default, _aten._unique2.default),
}
_PRODUCTS = {
    *(_aten.mm.default, _aten.mm.out, _aten.addmm.default, _aten.addmm.out),
    *(_aten.bmm.default, _aten.baddbmm.default),
}


@dataclass
class Counts:
    """What a GPU would have been asked for.

    :param waits: How often the host waits for it, by operation; copies from it are among them.
    :param to_device: Bytes that go to it.
    :param from_device: Bytes that come from it.
    """

    waits: collections.Counter[str] = field(default_factory=collections.Counter)
    to_device: int = 0
    from_device: int = 0

    def clear(self) -> None:
        self.waits.clear()
        self.to_device = self.from_device = 0


COUNTS = Counts()


class PretendedTensor(torch.Tensor):
    """A tensor on the pretended device; its numbers are in ``numbers``."""

    numbers: torch.Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, numbers: torch.Tensor) -> PretendedTensor:
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            numbers.size(),
            strides=numbers.stride(),
            storage_offset=numbers.storage_offset(),
            dtype=numbers.dtype,
            device=CUDA,
        )
        made.numbers = numbers
        return made

    def __repr__(self, **options: Any) -> str:
        return f"PretendedTensor({self.numbers})"

    def data_ptr(self) -> int:
        return self.numbers.data_ptr()

    def record_stream(self, stream: object) -> None:
        pass

    def tolist(self) -> list[Any]:
        COUNTS.waits["tolist"] += 1
        return self.numbers.tolist()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Everywhere(TorchDispatchMode):
    """Sees operations of ordinary tensors as well, those that make tensors on the device among them."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    has = torch._C._dispatch_has_kernel_for_dispatch_key
    if has(func.name(), "CompositeImplicitAutograd") and not has(func.name(), "CPU"):
        with _Everywhere():
            made = func.decompose(*args, **kwargs)
        if made is not NotImplemented:
            return made
    flat, spec = pytree.tree_flatten((args, kwargs))
    there = [value for value in flat if isinstance(value, PretendedTensor)]
    here = [value for value in flat if isinstance(value, torch.Tensor) and not isinstance(value, PretendedTensor)]
    _refuse(func, args, kwargs, there, [tensor for tensor in here if tensor.dim()])
    asked = kwargs.get("device")
    on_device = bool(there) if asked is None else torch.device(asked).type == "cuda"
    _count(func, args, there, on_device)
    numbers = [value.numbers if isinstance(value, PretendedTensor) else value for value in flat]
    args, kwargs = pytree.tree_unflatten(numbers, spec)
    if asked is not None:
        kwargs["device"] = CPU
    if "pin_memory" in kwargs:
        kwargs["pin_memory"] = False
    result = func(*args, **kwargs)
    if func is _aten._to_copy.default and result is args[0]:
        result = result.clone()
    wrappers = {id(tensor.numbers): tensor for tensor in there}

    def wrapped(value: Any) -> Any:
        if not isinstance(value, torch.Tensor) or isinstance(value, PretendedTensor):
            return value
        before = wrappers.get(id(value))
        if before is not None and before.shape == value.shape:
            return before
        return PretendedTensor(value) if on_device else value

    return pytree.tree_map(wrapped, result)


def _refuse(func: Any, args: Any, kwargs: Any, there: list[PretendedTensor], here: list[torch.Tensor]) -> None:
    if there and here and func is not _aten.copy_.default:
        values = args[2] if len(args) > 2 else None
        by_index = func in _INDEXING and isinstance(args[0], PretendedTensor)
        of_cpu = isinstance(values, torch.Tensor) and not isinstance(values, PretendedTensor) and values.dim()
        if not by_index or of_cpu:
            raise RuntimeError(f"{func}: expected all tensors to be on the same device, found cuda:0 and cpu")
    if there and func in _PRODUCTS and len({tensor.dtype for tensor in there}) > 1:
        raise RuntimeError(f"{func}: expected both to have the same dtype, found {[tensor.dtype for tensor in there]}")


def _count(func: Any, args: Any, there: list[PretendedTensor], on_device: bool) -> None:
    if there and func in _WAITS:
        COUNTS.waits[str(func)] += 1
    if there and func in _INDEXING and any(index is not None and index.dtype == torch.bool for index in args[1]):
        COUNTS.waits["index by truth values"] += 1
    if func is _aten._to_copy.default:
        source, goes_there = args[0], on_device
    elif func is _aten.copy_.default:
        source, goes_there = args[1], isinstance(args[0], PretendedTensor)
    else:
        return
    if isinstance(source, PretendedTensor) and not goes_there:
        COUNTS.waits["copy to the host"] += 1
        COUNTS.from_device += source.nbytes
    elif goes_there and not isinstance(source, PretendedTensor):
        COUNTS.to_device += source.nbytes


class _Stream:
    def __init__(self, *given: object, **options: object) -> None:
        self.device = CUDA

    def __enter__(self) -> _Stream:
        return self

    def __exit__(self, *error: object) -> None: ...

    def wait_event(self, event: object) -> None: ...

    def wait_stream(self, stream: object) -> None: ...

    def synchronize(self) -> None: ...


class _Event:
    def __init__(self, *given: object, **options: object) -> None: ...

    def record(self, *stream: object) -> None: ...

    def synchronize(self) -> None:
        COUNTS.waits["event"] += 1

    def elapsed_time(self, other: object) -> float:
        return 1.0


class _Kernel:
    """Runs a Triton kernel in its interpreter, on the numbers of pretended tensors."""

    def __init__(self, kernel: Any) -> None:
        self._kernel = kernel

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
        def launch(*tensors: Any, **constants: Any) -> None:
            given = [value for value in tensors if isinstance(value, torch.Tensor)]
            if not all(isinstance(value, PretendedTensor) and value.is_contiguous() for value in given):
                raise RuntimeError("a kernel takes contiguous tensors on the GPU")
            if "WIDEN" in constants:
                constants["WIDEN"] = given[0].dtype == torch.bfloat16
            numbers = [value.numbers if isinstance(value, PretendedTensor) else value for value in tensors]
            with torch.utils._python_dispatch._disable_current_modes():
                self._kernel[grid](*numbers, **constants)

        return launch


@contextlib.contextmanager
def pretended_cuda(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int] = (9, 0)) -> Iterator[Counts]:
    """Let this machine have a GPU; gives what is counted within."""
    if torch.cuda.is_available():
        pytest.skip("this machine has a real GPU")
    if shutil.which("c++") is None:
        pytest.skip("no C++ compiler: c++ builds the guard that torch wants of a device")
    ctypes.CDLL(str(_guard()), mode=ctypes.RTLD_GLOBAL)
    for name, value in _torch_cuda(capability).items():
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(torch, "tensor", _tensor(torch.tensor))
    monkeypatch.setattr(torch.Tensor, "__matmul__", _matmul(torch.Tensor.__matmul__))
    monkeypatch.setattr(torch.inference_mode, "__enter__", _enter_grad_mode)
    monkeypatch.setattr(torch.inference_mode, "__exit__", _exit_grad_mode)
    # Buffers of other tests were made in inference mode, and may be written to in no other.
    monkeypatch.setattr(scorer, "_of_this_thread", type(scorer._of_this_thread)())
    with contextlib.suppress(ImportError):
        from hypensearch.scoring.gpu import kernels

        for name in ("score_tiles", "finish_rows"):
            monkeypatch.setattr(kernels, name, _Kernel(getattr(kernels, name)))
    COUNTS.clear()
    # Parameters that move to the GPU are new ones: the memory of old ones cannot become a wrapper's.
    before = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        with _Everywhere():
            yield COUNTS
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(before)


def _torch_cuda(capability: tuple[int, int]) -> dict[str, Any]:
    properties = types.SimpleNamespace(multi_processor_count=MULTIPROCESSORS, name="Pretended", total_memory=MEMORY)
    return {
        "_lazy_init": lambda: None,
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "mem_get_info": lambda device=None: (MEMORY, MEMORY),
        "get_device_properties": lambda device=None: properties,
        "get_device_name": lambda device=None: f"Pretended {capability}",
        "get_device_capability": lambda device=None: capability,
        "Stream": _Stream,
        "Event": _Event,
        "current_stream": lambda device=None: _Stream(),
        "stream": lambda stream: contextlib.nullcontext(),
        "device": lambda device: contextlib.nullcontext(),
        "empty_cache": lambda: None,
        "synchronize": lambda device=None: None,
    }


def _tensor(plain: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    def tensor(data: Any, *, dtype: Any = None, device: Any = None, **options: Any) -> torch.Tensor:
        made = data.clone() if isinstance(data, PretendedTensor) else plain(data, dtype=dtype, **options)
        return made if device is None else made.to(device)

    return tensor


def _enter_grad_mode(self: Any) -> None:
    """Without gradients in the place of inference mode, whose tensors cannot be wrapped."""
    self.pretended = torch.set_grad_enabled(not self.mode)
    self.pretended.__enter__()


def _exit_grad_mode(self: Any, *error: Any) -> None:
    self.pretended.__exit__(*error)


def _matmul(plain: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    def matmul(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return right.T.mv(left) if left.dim() == 1 and right.dim() == 2 else plain(left, right)

    return matmul


def _guard() -> Path:
    """Build the guard once for a version of torch."""
    from torch.utils.cpp_extension import include_paths

    built = Path(tempfile.gettempdir()) / f"hypensearch-cuda-guard-{torch.__version__}.so"
    if not built.exists():
        source = Path(__file__).parent / "resources" / "cuda_guard.cpp"
        libraries = Path(torch.__file__).parent / "lib"
        with tempfile.TemporaryDirectory(dir=built.parent) as folder:
            made = Path(folder) / "guard.so"
            abi = f"-D_GLIBCXX_USE_CXX11_ABI={int(torch._C._GLIBCXX_USE_CXX11_ABI)}"
            includes = [f"-I{path}" for path in include_paths()]
            command = ["c++", "-std=c++20", "-shared", "-fPIC", abi, *includes, source, f"-L{libraries}", "-lc10"]
            subprocess.run([*command, "-o", made], check=True, capture_output=True)
            made.replace(built)
    return built
